//! The calls of the API.

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;
use tokio::time::Instant;
use url::Url;

use super::errors::{Subject, classify, says_absent};
use super::user::{id_of, read};
use crate::domain::{AccountId, AttributePath, Code, Failure, FailureClass, Snapshot, Timestamp};
use crate::systems::Record;
use crate::systems::http::{Answer, Call, Http, below};

/// One organisation's users at one address.
#[derive(Debug)]
pub struct Client {
    pub http: Http,
    url: Url,
    organization: String,
    api_key: SecretString,
}

/// A page of users, as they were sent.
pub struct List {
    pub users: Vec<Json>,
    /// When it was asked for, in the system's clock.
    pub sent_at: Timestamp,
    /// Some of it was not UTF-8.
    pub lossy: bool,
}

/// A user, and the object that showed them.
#[derive(Debug)]
pub struct Current {
    pub snapshot: Snapshot,
    pub user: Json,
}

/// What became of a user asked for by id.
pub enum Fetched {
    Found(Box<Current>),
    Absent(Timestamp),
    Unreadable { code: Code, attribute: Option<AttributePath> },
}

impl Client {
    pub fn new(http: Http, url: Url, organization: u64, api_key: SecretString) -> Self {
        Self { http, url, organization: organization.to_string(), api_key }
    }

    async fn send(
        &self,
        call: Call,
        method: Method,
        account: Option<&AccountId>,
        ask: Ask<'_>,
    ) -> Result<Answer, Failure> {
        let mut segments = vec!["v4", "organizations", &self.organization, "users"];
        segments.extend(account.map(AccountId::as_str));
        let url = below(&self.url, &segments)?;
        let request = self.http.client().request(method, url).bearer_auth(self.api_key.expose_secret());
        let request = match ask {
            Ask::Query(query) => request.query(query),
            Ask::Body(body) => request.json(body),
            Ask::Nothing => request,
        };
        self.http.send(call, request).await
    }

    /// One page of the list.
    pub async fn list(
        &self,
        operation: &'static str,
        query: &[(&'static str, String)],
        deadline: Option<Instant>,
    ) -> Result<List, Failure> {
        let call = Call::read(operation).by(deadline);
        let answer = self.send(call, Method::GET, None, Ask::Query(query)).await?;
        if answer.status != StatusCode::OK {
            return Err(classify(&answer, Subject::Roster));
        }
        match answer.json()? {
            Json::Array(users) => Ok(List { users, sent_at: answer.sent_at, lossy: answer.lossy }),
            _ => Err(answer.unreadable("the list of users is no list")),
        }
    }

    /// One user.
    pub async fn fetch(
        &self,
        operation: &'static str,
        account: &AccountId,
        deadline: Option<Instant>,
    ) -> Result<Fetched, Failure> {
        let answer = self.send(Call::read(operation).by(deadline), Method::GET, Some(account), Ask::Nothing).await?;
        if answer.status.is_success() {
            return self.shown(&answer, account, answer.sent_at);
        }
        match says_absent(&answer) {
            true => Ok(Fetched::Absent(answer.sent_at)),
            false => Err(classify(&answer, Subject::Roster)),
        }
    }

    /// The user that an answer shows.
    ///
    /// # Errors
    /// It shows none, or another one.
    pub fn shown(&self, answer: &Answer, account: &AccountId, read_at: Timestamp) -> Result<Fetched, Failure> {
        let user = answer.json()?;
        if id_of(&user).as_ref() != Some(account) {
            return Err(answer.unreadable("the answer does not show the user who was asked for"));
        }
        Ok(match read(&user, read_at, answer.lossy) {
            Record::Account(snapshot) => Fetched::Found(Box::new(Current { snapshot, user })),
            Record::Unreadable { code, attribute, .. } => Fetched::Unreadable { code, attribute },
        })
    }

    /// Proves that the organisation's users are at our address and can be seen, so that a 404 is about one of them and not
    /// about the organisation, the key or a gateway that lost its routes.
    pub async fn prove_roster(&self, deadline: Option<Instant>) -> Result<(), Failure> {
        let list = self.list("probe", &[("skip", "0".to_owned()), ("take", "1".to_owned())], deadline).await?;
        if list.users.is_empty() {
            let text = "the list is empty, so that nothing tells a user who is gone from a key that sees nobody";
            return Err(Failure::new(FailureClass::Transient, Code::known("empty_list"), text));
        }
        Ok(())
    }

    /// Creates a user (`account` absent), or changes one. The answer has any status.
    pub async fn write(&self, call: Call, account: Option<&AccountId>, body: &Json) -> Result<Answer, Failure> {
        let method = if account.is_some() { Method::PUT } else { Method::POST };
        self.send(call, method, account, Ask::Body(body)).await
    }

    /// Ends a membership. The answer has any status.
    pub async fn remove(&self, call: Call, account: &AccountId) -> Result<Answer, Failure> {
        self.send(call, Method::DELETE, Some(account), Ask::Nothing).await
    }

    /// Sends a creation that nobody can carry out. It shows whether the key may create users.
    pub async fn try_to_create(&self, deadline: Option<Instant>) -> Result<Answer, Failure> {
        self.write(Call::read("probe").by(deadline), None, &Json::Object(serde_json::Map::new())).await
    }
}

/// What a request carries.
enum Ask<'a> {
    Query(&'a [(&'static str, String)]),
    Body(&'a Json),
    Nothing,
}

//! Calls to a SCIM server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::errors::{Subject, classify, says_absent};
use super::profile::Profile;
use super::resource::{id_of, key_of, member, read, text_of};
use crate::domain::{AccountId, Code, Failure, FailureClass, Snapshot, Timestamp};
use crate::systems::Record;
use crate::systems::http::{self, Answer, Call, Effect, Http};

/// How long a server's own word about itself is good.
const PROFILE_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long the assumed profile is good where the server did not say because it failed.
const ASSUMED_FOR: Duration = Duration::from_secs(5 * 60);

const MEDIA_TYPE: &str = "application/scim+json";

/// One server.
#[derive(Debug)]
pub struct Client {
    /// The HTTP client, its clock and its counts.
    pub http: Http,
    url: Url,
    token: Option<SecretString>,
    profile: Mutex<Option<(Instant, Arc<Profile>)>>,
    /// A PATCH was answered "not implemented", whatever the server says of itself.
    refuses_patch: AtomicBool,
}

/// What a GET of one account showed.
#[derive(Debug)]
pub enum Fetched {
    /// The account.
    Found(Box<Current>),
    /// There is none. The time is when it was asked, in the server's clock.
    Absent(Timestamp),
    /// It cannot be used.
    Unreadable {
        /// What is wrong.
        code: Code,
        /// The attribute at fault.
        attribute: Option<crate::domain::AttributePath>,
    },
}

/// An account as it is now.
#[derive(Debug)]
pub struct Current {
    /// The whole resource.
    pub resource: Json,
    /// What it means.
    pub snapshot: Snapshot,
    /// The answer's `ETag`: the surest form for `If-Match`.
    pub etag: Option<String>,
}

/// One page of a list.
#[derive(Debug)]
pub struct List {
    /// The resources.
    pub resources: Vec<Json>,
    /// How many the whole list has, if the server says so.
    pub total: Option<u64>,
    /// The next page's cursor, in cursor paging.
    pub next_cursor: Option<String>,
    /// When it was asked, in the server's clock.
    pub sent_at: Timestamp,
    /// Whether some of the answer was not UTF-8.
    pub lossy: bool,
}

impl Client {
    /// A client of the server whose `/Users` are below `url`.
    pub fn new(http: Http, url: Url, token: Option<SecretString>) -> Self {
        Self { http, url, token, profile: Mutex::default(), refuses_patch: AtomicBool::new(false) }
    }

    /// The address of the roster, or of one account.
    fn users(&self, account: Option<&AccountId>) -> Result<Url, Failure> {
        match account {
            Some(account) => http::below(&self.url, &["Users", account.as_str()]),
            None => http::below(&self.url, &["Users"]),
        }
    }

    async fn send(
        &self,
        call: Call,
        method: Method,
        url: Url,
        body: Option<&Json>,
        tag: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut request =
            self.http.client().request(method, url).header(ACCEPT, "application/scim+json, application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_string());
        }
        if let Some(tag) = tag {
            request = request.header(IF_MATCH, tag);
        }
        self.http.send(call, request).await
    }

    /// What the server can do, asked once a day.
    ///
    /// # Errors
    /// It gave no answer at all, or does not take the credential. A server that only lacks the page is fine.
    pub async fn profile(&self, deadline: Option<Instant>) -> Result<Arc<Profile>, Failure> {
        let mut known = self.profile.lock().await;
        if let Some((until, profile)) = &*known
            && Instant::now() < *until
        {
            return Ok(Arc::clone(profile));
        }
        let url = http::below(&self.url, &["ServiceProviderConfig"])?;
        let answer =
            self.send(Call::read("service_provider_config").by(deadline), Method::GET, url, None, None).await?;
        let (profile, good_for) = match answer.status.as_u16() {
            200..=299 => match answer.json() {
                Ok(config) if config.is_object() => (Profile::parse(&config), PROFILE_FOR),
                _ => (Profile::ASSUMED, ASSUMED_FOR),
            },
            401 | 429 => return Err(classify(&answer, Subject::Roster)),
            403 | 404 | 405 | 501 => (Profile::ASSUMED, PROFILE_FOR),
            _ => (Profile::ASSUMED, ASSUMED_FOR),
        };
        let profile = Arc::new(profile);
        self.refuses_patch.store(false, Ordering::Relaxed);
        *known = Some((Instant::now() + good_for, Arc::clone(&profile)));
        Ok(profile)
    }

    /// Whether accounts of a server with this profile can be patched.
    pub fn patches(&self, profile: &Profile) -> bool {
        profile.patch && !self.refuses_patch.load(Ordering::Relaxed)
    }

    /// Notes that the server refused PATCH as such. Asked again with the next profile.
    pub fn note_no_patch(&self) {
        self.refuses_patch.store(true, Ordering::Relaxed);
    }

    /// One page of the roster, or of what a filter finds.
    pub async fn list(
        &self,
        operation: &'static str,
        query: &[(&str, String)],
        deadline: Option<Instant>,
    ) -> Result<List, Failure> {
        let mut url = self.users(None)?;
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.send(Call::read(operation).by(deadline), Method::GET, url, None, None).await?;
        if !answer.status.is_success() {
            return Err(classify(&answer, Subject::Roster));
        }
        let mut body = answer.json()?;
        let total = member(&body, "totalResults").and_then(text_of).and_then(|total| total.parse().ok());
        let next_cursor = member(&body, "nextCursor").and_then(Json::as_str).filter(|next| !next.is_empty());
        let next_cursor = next_cursor.map(str::to_owned);
        let resources = match body.as_object_mut().and_then(|body| body.remove(&key_of(body, "Resources"))) {
            Some(Json::Array(resources)) => resources,
            // Left out or null where there are none.
            Some(Json::Null) | None if total.is_some() => Vec::new(),
            _ => return Err(answer.unreadable("the answer is not a list of SCIM resources")),
        };
        Ok(List { resources, total, next_cursor, sent_at: answer.sent_at, lossy: answer.lossy })
    }

    /// One account.
    ///
    /// # Errors
    /// Also a 404 that does not come from a SCIM server: only [`Client::prove_endpoint`] makes `Absent` a proof.
    pub async fn fetch(
        &self,
        operation: &'static str,
        account: &AccountId,
        deadline: Option<Instant>,
    ) -> Result<Fetched, Failure> {
        let url = self.users(Some(account))?;
        let answer = self.send(Call::read(operation).by(deadline), Method::GET, url, None, None).await?;
        if says_absent(&answer) {
            return Ok(Fetched::Absent(answer.sent_at));
        }
        if answer.status == StatusCode::NOT_FOUND {
            return Err(not_scim(&answer));
        }
        if !answer.status.is_success() {
            return Err(classify(&answer, Subject::Account));
        }
        self.current(&answer, account, answer.sent_at)
    }

    /// The account that an answer shows as it was at `read_at`.
    pub fn current(&self, answer: &Answer, account: &AccountId, read_at: Timestamp) -> Result<Fetched, Failure> {
        let resource = answer.json()?;
        if id_of(&resource).as_ref() != Some(account) {
            return Err(answer.unreadable("the answer is not the account that was asked for"));
        }
        let etag = answer.header(ETAG.as_str()).map(str::to_owned);
        Ok(match read(&resource, read_at, etag.as_deref(), answer.lossy) {
            Record::Account(snapshot) => Fetched::Found(Box::new(Current { resource, snapshot, etag })),
            Record::Unreadable { code, attribute, .. } => Fetched::Unreadable { code, attribute },
        })
    }

    /// Proves that a SCIM roster is served at our address, so that a 404 below it is about the account and not about a
    /// gateway that lost its routes.
    pub async fn prove_endpoint(&self, deadline: Option<Instant>) -> Result<(), Failure> {
        let query = [("startIndex", "1".to_owned()), ("count", "1".to_owned())];
        self.list("probe", &query, deadline).await.map(drop)
    }

    /// Creates an account. The answer has any status.
    pub async fn create(&self, body: &Json, deadline: Instant) -> Result<Answer, Failure> {
        let call = Call { operation: "create", effect: Effect::Write, deadline: Some(deadline) };
        self.send(call, Method::POST, self.users(None)?, Some(body), None).await
    }

    /// Changes an account, by PATCH or PUT, if it still has this version. The answer has any status.
    pub async fn change(
        &self,
        method: Method,
        account: &AccountId,
        body: &Json,
        tag: Option<&str>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let operation = if method == Method::PATCH { "patch" } else { "replace" };
        let call = Call { operation, effect: Effect::Write, deadline: Some(deadline) };
        self.send(call, method, self.users(Some(account))?, Some(body), tag).await
    }
}

/// A 404 in words that no SCIM server uses.
pub fn not_scim(answer: &Answer) -> Failure {
    if answer.is_html() {
        return answer.failure();
    }
    let code = Code::known("not_scim");
    answer.marked(Failure::new(FailureClass::Transient, code, "the answer does not come from a SCIM server"))
}

//! Calls to a SCIM server.

use std::sync::PoisonError;
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
use super::listing::Shown;
use super::profile::{Declared, Profile, Seen};
use super::resource::{has_text_boolean, id_of, key_of, member, read, server_tag, text_of};
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
    /// What the server says of itself, and until when that is good.
    declared: Mutex<Option<(Instant, Declared)>>,
    /// The same with what its answers showed, and until when that is good.
    profile: std::sync::Mutex<Option<(Instant, Profile)>>,
    /// Addresses end with a slash.
    slash: AtomicBool,
}

/// A request that writes; a change only if the account still has this tag.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// Creates an account.
    Create,
    /// Changes an account.
    Patch(&'a AccountId, Option<&'a str>),
    /// Replaces an account whole.
    Replace(&'a AccountId, Option<&'a str>),
    /// Deletes an account.
    Delete(&'a AccountId, Option<&'a str>),
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

impl Current {
    /// What to send in `If-Match`, if the server has versions.
    pub fn tag(&self) -> Option<&str> {
        self.etag.as_deref().or_else(|| server_tag(&self.snapshot.version))
    }
}

/// One page of a list.
#[derive(Debug)]
pub struct List {
    /// The resources.
    pub resources: Vec<Json>,
    /// How many the whole list has, if the server says so.
    pub total: Option<u64>,
    /// The number of the first resource, if the server says so.
    pub start_index: Option<u64>,
    /// The next page's cursor, in cursor paging.
    pub next_cursor: Option<String>,
    /// When it was asked, in the server's clock.
    pub sent_at: Timestamp,
    /// Whether some of the answer was not UTF-8.
    pub lossy: bool,
}

impl List {
    /// What a walk through the list needs to know of this page.
    pub fn shown(&self) -> Shown {
        Shown {
            received: self.resources.len(),
            head: self.resources.first().and_then(id_of),
            tail: self.resources.last().and_then(id_of),
            total: self.total,
            start_index: self.start_index,
            next_cursor: self.next_cursor.clone(),
        }
    }
}

impl Client {
    /// A client of the server whose `/Users` are below `url`.
    pub fn new(http: Http, url: Url, token: Option<SecretString>) -> Self {
        let (declared, profile) = (Mutex::default(), std::sync::Mutex::default());
        Self { http, url, token, declared, profile, slash: AtomicBool::new(false) }
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
        let slash = self.slash.load(Ordering::Relaxed);
        let answer = self.send_once(call, method.clone(), with_slash(&url, slash), body, tag).await?;
        // Whoever is sent elsewhere has done nothing yet. No other redirect is followed: it would carry the credential
        // to an address that nobody configured.
        if !slash && redirects_to_slash(&answer, &url) {
            self.slash.store(true, Ordering::Relaxed);
            return self.send_once(call, method, with_slash(&url, true), body, tag).await;
        }
        Ok(answer)
    }

    async fn send_once(
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

    /// How the server behaves, as far as is known. It is asked once a day, and what it showed is kept as long.
    ///
    /// # Errors
    /// It gave no answer at all, or does not take the credential. A server that only lacks the page is fine.
    pub async fn profile(&self, deadline: Option<Instant>) -> Result<Profile, Failure> {
        let mut declared = self.declared.lock().await;
        if let Some((until, _)) = &*declared
            && Instant::now() < *until
            && let Some((_, profile)) = &*self.locked()
        {
            return Ok(profile.clone());
        }
        let url = http::below(&self.url, &["ServiceProviderConfig"])?;
        let answer =
            self.send(Call::read("service_provider_config").by(deadline), Method::GET, url, None, None).await?;
        let (said, good_for) = match answer.status.as_u16() {
            200..=299 => match answer.json() {
                Ok(config) if config.is_object() => (Declared::parse(&config), PROFILE_FOR),
                _ => (Declared::ASSUMED, ASSUMED_FOR),
            },
            401 | 429 => return Err(classify(&answer, Subject::Roster)),
            403 | 404 | 405 | 501 => (Declared::ASSUMED, PROFILE_FOR),
            _ => (Declared::ASSUMED, ASSUMED_FOR),
        };
        let now = Instant::now();
        *declared = Some((now + good_for, said.clone()));
        let mut known = self.locked();
        let profile = match known.take() {
            // What was learnt outlives an assumption that is asked about again soon.
            Some((until, mut profile)) if now < until => {
                profile.declared = said;
                (until, profile)
            }
            _ => (now + PROFILE_FOR, Profile::new(said)),
        };
        Ok(known.insert(profile).1.clone())
    }

    /// The same without asking the server.
    pub fn known_profile(&self) -> Profile {
        self.locked().as_ref().map_or_else(|| Profile::new(Declared::ASSUMED), |(_, profile)| profile.clone())
    }

    /// Notes what an answer showed.
    pub fn learn(&self, seen: Seen) {
        let mut known = self.locked();
        let assumed = || (Instant::now() + PROFILE_FOR, Profile::new(Declared::ASSUMED));
        known.get_or_insert_with(assumed).1.learn(seen);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Profile)>> {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resources below an address of discovery; empty where there is none such.
    pub async fn discover(&self, page: &'static str) -> Result<Vec<Json>, Failure> {
        let url = http::below(&self.url, &[page])?;
        let answer = self.send(Call::read("discovery"), Method::GET, url, None, None).await?;
        if !answer.status.is_success() {
            let failure = classify(&answer, Subject::Account);
            let lasting = failure.class == FailureClass::Permanent || answer.status == StatusCode::NOT_FOUND;
            return if lasting { Ok(Vec::new()) } else { Err(failure) };
        }
        Ok(match answer.json()? {
            // Some give the resources without a list around them.
            Json::Array(resources) => resources,
            list => member(&list, "Resources").and_then(Json::as_array).cloned().unwrap_or_default(),
        })
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
        let start_index = member(&body, "startIndex").and_then(text_of).and_then(|first| first.parse().ok());
        let next_cursor = member(&body, "nextCursor").and_then(Json::as_str).filter(|next| !next.is_empty());
        let next_cursor = next_cursor.map(str::to_owned);
        let resources = match body.as_object_mut().and_then(|body| body.remove(&key_of(body, "Resources"))) {
            Some(Json::Array(resources)) => resources,
            // Left out or null where there are none.
            Some(Json::Null) | None if total.is_some() || is_list(&body) => Vec::new(),
            _ => return Err(answer.unreadable("the answer is not a list of SCIM resources")),
        };
        if resources.iter().any(has_text_boolean) {
            self.learn(Seen::TextBoolean);
        }
        Ok(List { resources, total, start_index, next_cursor, sent_at: answer.sent_at, lossy: answer.lossy })
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
        if has_text_boolean(&resource) {
            self.learn(Seen::TextBoolean);
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
        self.list("probe", &[("count", "1".to_owned())], deadline).await.map(drop)
    }

    /// Writes an account. The answer has any status.
    pub async fn write(&self, request: Request<'_>, body: Option<&Json>, deadline: Instant) -> Result<Answer, Failure> {
        let (operation, method, account, tag) = match request {
            Request::Create => ("create", Method::POST, None, None),
            Request::Patch(account, tag) => ("patch", Method::PATCH, Some(account), tag),
            Request::Replace(account, tag) => ("replace", Method::PUT, Some(account), tag),
            Request::Delete(account, tag) => ("delete", Method::DELETE, Some(account), tag),
        };
        let call = Call { operation, effect: Effect::Write, deadline: Some(deadline), urgent: false };
        self.send(call, method, self.users(account)?, body, tag).await
    }
}

fn with_slash(url: &Url, slash: bool) -> Url {
    let mut url = url.clone();
    if slash && !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

/// Whether an answer only wants a slash at the end of the address.
fn redirects_to_slash(answer: &Answer, url: &Url) -> bool {
    let location = answer.header("location").filter(|_| answer.status.is_redirection());
    location.and_then(|location| url.join(location).ok()) == Some(with_slash(url, true))
}

/// Whether a body says of itself that it is a list.
fn is_list(body: &Json) -> bool {
    let schemas = member(body, "schemas").and_then(Json::as_array).into_iter().flatten();
    schemas.filter_map(Json::as_str).any(|urn| urn.ends_with(":ListResponse"))
}

/// A 404 in words that no SCIM server uses.
pub fn not_scim(answer: &Answer) -> Failure {
    if answer.is_html() {
        return answer.failure();
    }
    let code = Code::known("not_scim");
    answer.marked(Failure::new(FailureClass::Transient, code, "the answer does not come from a SCIM server"))
}

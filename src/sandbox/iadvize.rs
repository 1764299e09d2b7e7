//! An imitation of iAdvize: operators over the GraphQL API and over REST v2, both on one store, with the logins, the
//! presence and the invitation mails around them.
//!
//! It answers below `/iadvize`: the token at `/iadvize/oauth2/token`, GraphQL at `/iadvize/graphql`, REST below
//! `/iadvize/api/2`. Where the vendor's documents are silent it has a contract of its own: the schema in
//! `graphql/schema.graphql` (its remarks name what is unconfirmed), the HTTP statuses of REST refusals, what REST
//! requires of a new operator, that an empty text clears on REST, the answer of `/operator/{id}/live`, and that an update
//! of somebody in a conversation is answered like one that was carried out.
//!
//! Known differences: REST lists are ordered by id, latest first; webhooks, statistics and writes of groups, skills and
//! websites are left out (405).

mod administration;
mod directory;
mod form;
mod graphql;
mod operator;
mod rest;
mod session;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

pub(super) use administration::HELP;

use super::clock::Clock;
use super::lock;
use super::log::{Actor, Contents, Entry, Log, System};
use directory::{Change, Directory, Refusal};
use operator::Operator;
use session::Sessions;

/// E-mail address by which clients of the GraphQL API log in: an administrator's.
pub const DEFAULT_USERNAME: &str = "sync@sandbox.example";
/// Its password. It protects nothing.
pub const DEFAULT_PASSWORD: &str = "sandbox-iadvize-password";
/// API key of the REST API. It protects nothing.
pub const DEFAULT_API_KEY: &str = "sandbox-iadvize-key";

/// Where it answers.
const ROOT: &str = "/iadvize";

/// One customer's iAdvize.
pub(super) struct Iadvize {
    clock: Clock,
    directory: Mutex<Directory>,
    sessions: Mutex<Sessions>,
    options: Mutex<Options>,
    /// When the latest REST calls arrived, in milliseconds, where these are limited.
    rest_calls: Mutex<VecDeque<i64>>,
    schema: graphql::Schema,
    log: Arc<Log>,
}

/// What can be set while it runs.
#[derive(Debug, Clone)]
struct Options {
    /// Logins of one user in a minute; more are answered 429.
    logins_per_minute: usize,
    /// How long a token lives.
    token_seconds: i64,
    /// REST calls in a second; no limit if absent.
    requests_per_second: Option<usize>,
    /// Most entries of a page.
    max_page: usize,
    /// How REST shows ids in lists.
    ids: Ids,
    /// So many updates meet an operator who began a conversation just before.
    busy_on_update: usize,
    /// Channels that the subscription has.
    channels: Vec<String>,
    /// Whether GraphQL knows the presence of users.
    presence: bool,
}

/// How REST shows ids in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ids {
    Number,
    Text,
    /// An object with the id and the rest, as the vendor's own client expects.
    Object,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            logins_per_minute: 10,
            token_seconds: 86_400,
            requests_per_second: None,
            max_page: 100,
            ids: Ids::Number,
            busy_on_update: 0,
            channels: ["chat", "call", "video", "third-party"].map(str::to_owned).to_vec(),
            presence: true,
        }
    }
}

/// Who asks.
struct Caller {
    actor: Actor,
    request: String,
}

impl Iadvize {
    pub fn new(log: Arc<Log>) -> Self {
        let clock = Clock::default();
        Self {
            directory: Mutex::new(Directory::new(clock.now_ms())),
            clock,
            sessions: Mutex::default(),
            options: Mutex::default(),
            rest_calls: Mutex::default(),
            schema: graphql::Schema::vendor(),
            log,
        }
    }

    fn options(&self) -> Options {
        lock(&self.options).clone()
    }

    fn api(self: &Arc<Self>) -> Router {
        let api = Router::new()
            .merge(session::routes())
            .merge(graphql::routes())
            .merge(rest::routes(self))
            .fallback(|| async { refusal(StatusCode::NOT_FOUND) })
            .with_state(Arc::clone(self));
        Router::new().nest(ROOT, api)
    }

    /// Creates an operator, who gets a mail.
    fn create(&self, caller: &Caller, fields: Map<String, Value>) -> Result<Arc<Operator>, Refusal> {
        let channels = self.options().channels;
        self.write(caller, "POST", |directory, now_ms| directory.create(fields, &channels, now_ms))
    }

    /// Changes an operator. A client's change disconnects, and does nothing to somebody in a conversation.
    fn update(&self, caller: &Caller, id: u64, fields: Map<String, Value>) -> Result<Arc<Operator>, Refusal> {
        let by_client = caller.actor == Actor::Client;
        let (channels, busy) = {
            let mut options = lock(&self.options);
            let busy = by_client && options.busy_on_update > 0;
            options.busy_on_update -= usize::from(busy);
            (options.channels.clone(), busy)
        };
        self.write(caller, "PUT", |directory, _| {
            if busy {
                directory.begin_conversation(id);
            }
            directory.update(id, fields, &channels, by_client)
        })
    }

    /// Deletes an operator: REST knows it no more, GraphQL shows it as deleted.
    fn remove(&self, caller: &Caller, id: u64) -> Result<Arc<Operator>, Refusal> {
        self.write(caller, "DELETE", |directory, now_ms| directory.delete(id, now_ms))
    }

    /// Writes and notes it in one step, so that the log has the order of the writes.
    fn write(
        &self,
        caller: &Caller,
        method: &'static str,
        work: impl FnOnce(&mut Directory, i64) -> Result<Change, Refusal>,
    ) -> Result<Arc<Operator>, Refusal> {
        let now_ms = self.clock.now_ms();
        let mut directory = lock(&self.directory);
        let Change { before, after } = work(&mut directory, now_ms)?;
        let contents = |operator: &Arc<Operator>| Arc::clone(operator) as Arc<dyn Contents>;
        self.log.wrote(Entry {
            at_ms: now_ms,
            system: System::Iadvize,
            actor: caller.actor,
            method,
            object: "Operator",
            account: after.id.to_string(),
            changed: before.as_ref().is_none_or(|before| before.fields != after.fields) || after.deleted_at.is_some(),
            before: before.as_ref().map(contents),
            after: after.deleted_at.is_none().then(|| contents(&after)),
            request: caller.request.clone(),
        });
        Ok(after)
    }
}

/// A refusal that is not about a value, in the words that both APIs have for it.
fn refusal(status: StatusCode) -> Response {
    let body = match status {
        StatusCode::UNAUTHORIZED => {
            json!({"error_description": "access token not valid", "error": "invalid_token"})
        }
        _ => {
            let message = status.canonical_reason().unwrap_or("Error");
            json!({"meta": {"status": "error", "message": message}})
        }
    };
    (status, axum::Json(body)).into_response()
}

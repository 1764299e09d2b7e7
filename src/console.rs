//! The HTTP API and the web console: what operators do, with a browser or a program.
//!
//! - [`access`], [`sessions`]: who asks, and what a role allows.
//! - [`act`], [`approvals`]: everything that changes something passes one function, which may wait for a second person.
//! - [`operations`]: what is asked of the installation, one file per subject: [`overview`], [`accounts`], [`letters`],
//!   [`retries`], [`held`], [`conflicts`], [`links`], [`audit`].
//! - [`api`]: the endpoints for programs; [`pages`]: the pages for people.
//! - `edge`: what holds for every request: limits, headers, where it comes from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::config::{ActKind, ApiConfig, ApiToken, Config, Role};
use crate::domain::Timestamp;
use crate::ops::connect::{Mode, operator_of_the_process};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::store::Store;

pub mod access;
pub mod accounts;
pub mod act;
pub mod api;
pub mod approvals;
pub mod audit;
pub mod conflicts;
mod doing;
mod edge;
pub mod held;
pub mod letters;
pub mod links;
pub mod operations;
pub mod overview;
pub mod pages;
mod parts;
pub mod problem;
pub mod retries;
mod serve;
pub mod sessions;
pub mod token;

use access::{Holders, NewToken};
use approvals::Approvals;
use operations::{Operations, Over};
use problem::Problem;
use retries::Retry;
use sessions::Sessions;

/// Requests under way have this long to end once the process shuts down.
const DRAIN: Duration = Duration::from_secs(2);

/// Everything that a request may need.
pub struct Console {
    operations: Arc<dyn Operations>,
    holders: Holders,
    two_person: Vec<ActKind>,
    approval_expires: Duration,
    approvals: Arc<Approvals>,
    sessions: Sessions,
    /// Requests of people with a token that are served at once.
    room: Semaphore,
    /// Requests of others.
    strangers: Semaphore,
}

impl Console {
    /// With these rights, over these operations.
    pub fn new(operations: Arc<dyn Operations>, config: &ApiConfig) -> Self {
        Self {
            operations,
            holders: Holders::new(config.tokens.values().cloned()),
            two_person: config.two_person.clone(),
            approval_expires: config.approval_expires,
            approvals: Arc::default(),
            sessions: Sessions::default(),
            room: Semaphore::new(edge::AT_ONCE),
            strangers: Semaphore::new(edge::STRANGERS_AT_ONCE),
        }
    }

    /// A retry by its name.
    async fn retry(&self, id: &str) -> Result<Retry, Problem> {
        let found = self.operations.retries().await?.into_iter().find(|retry| retry.retry == id);
        found.ok_or_else(|| Problem::not_found(format!("there is no retry {id}")))
    }
}

/// Now, by this machine's clock.
fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// All routes.
pub fn router(console: Arc<Console>) -> Router {
    let routes = Router::new().nest(api::ROOT, api::routes()).merge(pages::routes());
    edge::guarded(routes, &console).with_state(console)
}

/// What a person may say on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Arguments {
    /// Serve here, not where the configuration says. Another address than loopback needs tokens.
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
}

/// Serves API and pages until `stop`.
///
/// Where the configuration has no tokens, one is made for the person at the terminal, who is shown it; it ends with the
/// process.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    config: &Config,
    arguments: &Arguments,
    stop: CancellationToken,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut api = config.api.clone();
    api.listen = arguments.listen.unwrap_or(api.listen);
    let own = own_token(&mut api)?;
    let operations = Over::new(pipeline, mode, config, stop.clone());
    let console = Arc::new(Console::new(Arc::new(operations), &api));
    let listener = TcpListener::bind(api.listen).await;
    let listener = listener.with_context(|| format!("serving on {}; see [api] listen", api.listen))?;
    let address = listener.local_addr()?;
    match form {
        Form::Json => output::object(&serde_json::json!({
            "url": format!("http://{address}"), "token": own.as_ref().map(NewToken::expose),
        })),
        Form::Text => {
            output::line(format!("The console is at http://{address}, the API below /api/v1"));
            if let Some(token) = &own {
                output::line(format!("Sign in with this token, which ends with this process: {}", token.expose()));
            }
        }
    }
    tokio::select! {
        () = serve::serve(listener, router(console), stop.clone()) => {}
        // A client that never finishes its request must not keep the process.
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => {}
    }
    Ok(Exit::Done)
}

/// Refuses to serve the network where nobody has a token; on loopback one is made for whoever started this.
fn own_token(api: &mut ApiConfig) -> anyhow::Result<Option<NewToken>> {
    if !api.tokens.is_empty() {
        return Ok(None);
    }
    if !api.listen.ip().is_loopback() {
        let text = format!(
            "{} is not loopback, and the configuration has no tokens: `muster token new` makes one; or serve on 127.0.0.1",
            api.listen
        );
        return Err(crate::ops::sync::UsageError::new(text).into());
    }
    let token = NewToken::make()?;
    let (name, role, digest) = (operator_of_the_process(), Role::Admin, token.digest);
    api.tokens.insert("own".to_owned(), ApiToken { name, role, digest });
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(listen: &str) -> ApiConfig {
        let listen = listen.parse().unwrap();
        let approval_expires = Duration::from_secs(1);
        ApiConfig { listen, tokens: Default::default(), two_person: Vec::new(), approval_expires }
    }

    /// R78: nobody serves a network without tokens, and nobody at all without one.
    #[test]
    fn without_tokens_only_loopback_is_served_and_with_one_that_was_made() {
        for open in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert!(own_token(&mut api(open)).unwrap_err().to_string().contains("is not loopback"), "{open}");
        }
        for own in ["127.0.0.1:0", "[::1]:0", "127.8.8.8:0"] {
            let mut api = api(own);
            let token = own_token(&mut api).unwrap().unwrap();
            assert_eq!(api.tokens["own"].digest, token.digest, "{own}");
            assert!(own_token(&mut api).unwrap().is_none());
        }
    }
}

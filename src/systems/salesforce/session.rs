//! The session: a token, kept in memory, renewed once for all who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::assertion::Signer;
use super::errors;
use crate::domain::{Code, Failure, FailureClass};
use crate::systems::http::{self, Call, Http};

/// The grant type of a signed statement (RFC 7523).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token and where it is good.
#[derive(Debug)]
pub struct Session {
    /// The bearer token.
    pub token: SecretString,
    /// The org's own address, without a trailing slash's empty segment.
    pub instance: Url,
    /// When it must not be used any more; most orgs do not say.
    expires: Option<Instant>,
}

/// How the app proves who it is.
#[derive(Debug)]
pub enum Proof {
    /// By its secret.
    Secret {
        /// Consumer key of the app.
        client_id: String,
        /// Consumer secret of the app.
        client_secret: SecretString,
    },
    /// By a statement that it signs.
    Signature(Signer),
}

/// Gets sessions and keeps the last one.
#[derive(Debug)]
pub struct Sessions {
    url: Url,
    proof: Proof,
    state: Mutex<State>,
    /// Counts the times that a token was asked for. Whoever waited while one failed shares that failure.
    asked: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    instance_url: String,
    /// Seconds. Not documented, honoured where it is sent.
    expires_in: Option<u64>,
}

impl Sessions {
    /// Sessions of this app on the org at `url`, its My Domain address.
    pub fn new(url: Url, proof: Proof) -> Self {
        Self { url, proof, state: Mutex::default(), asked: AtomicU64::new(0) }
    }

    /// The session; a new one if there is none, or if `refused` is the one at hand. Concurrent callers share one request.
    pub async fn session(&self, http: &Http, refused: Option<&Arc<Session>>) -> Result<Arc<Session>, Failure> {
        let asked_before = self.asked.load(Ordering::SeqCst);
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, session))
            && session.expires.is_none_or(|expires| Instant::now() < expires)
        {
            return Ok(Arc::clone(session));
        }
        if self.asked.load(Ordering::SeqCst) != asked_before
            && let Some(failure) = &state.failure
        {
            return Err(failure.clone());
        }
        state.session = None;
        let result = self.ask(http).await;
        self.asked.fetch_add(1, Ordering::SeqCst);
        match result {
            Ok(session) => {
                let session = Arc::new(session);
                *state = State { session: Some(Arc::clone(&session)), failure: None };
                Ok(session)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    async fn ask(&self, http: &Http) -> Result<Session, Failure> {
        let url = http::below(&self.url, &["services", "oauth2", "token"])?;
        let request = http.client().post(url);
        let request = match &self.proof {
            Proof::Secret { client_id, client_secret } => request
                .basic_auth(client_id, Some(client_secret.expose_secret()))
                .form(&[("grant_type", "client_credentials")]),
            Proof::Signature(signer) => {
                let assertion = signer.sign(http.clock().now()).ok_or_else(|| {
                    let text = "the statement for the login could not be signed";
                    Failure::new(FailureClass::Unauthorised, Code::known("invalid_key"), text)
                })?;
                request.form(&[("grant_type", JWT_BEARER), ("assertion", &assertion)])
            }
        };
        let answer = http.send(Call::read("token"), request).await?;
        if !answer.status.is_success() {
            return Err(errors::classify_login(&answer));
        }
        let token: TokenAnswer = serde_json::from_str(&answer.body)
            .map_err(|_| answer.unreadable("the token endpoint's answer has no token"))?;
        let instance = instance(&self.url, &token.instance_url).ok_or_else(|| {
            let text = "the token endpoint named an instance that is not the org's";
            answer.marked(Failure::new(FailureClass::Permanent, Code::known("untrusted_instance"), text))
        })?;
        // A margin, so that no request is under way when the token dies.
        let expires = token.expires_in.map(|seconds| Instant::now() + Duration::from_secs(seconds) * 9 / 10);
        Ok(Session { token: token.access_token, instance, expires })
    }
}

/// The instance's address, if the token may be sent there: no weaker scheme, and the configured host or another one of
/// Salesforce's.
fn instance(configured: &Url, answered: &str) -> Option<Url> {
    let url: Url = answered.trim().trim_end_matches('/').parse().ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.path() == "/";
    let vendors = |url: &Url| {
        url.host_str().is_some_and(|host| host.ends_with(".salesforce.com") || host.ends_with(".salesforce.mil"))
    };
    let same =
        url.host_str() == configured.host_str() && url.port_or_known_default() == configured.port_or_known_default();
    let trusted = same || (vendors(&url) && vendors(configured));
    (plain && trusted && url.scheme() == configured.scheme()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_only_to_the_org() {
        let configured: Url = "https://acme.my.salesforce.com".parse().unwrap();
        for (answered, trusted) in [
            ("https://acme.my.salesforce.com/", true),
            (" https://acme.my.salesforce.com", true),
            ("https://acme--test.sandbox.my.salesforce.com", true),
            ("http://acme.my.salesforce.com", false),
            ("https://acme.my.salesforce.com.evil.example", false),
            ("https://evilsalesforce.com", false),
            ("https://user@acme.my.salesforce.com", false),
            ("https://acme.my.salesforce.com/path", false),
            ("acme", false),
        ] {
            assert_eq!(instance(&configured, answered).is_some(), trusted, "{answered}");
        }
        let loopback: Url = "http://127.0.0.1:8080".parse().unwrap();
        assert!(instance(&loopback, "http://127.0.0.1:8080").is_some());
        assert!(instance(&loopback, "http://127.0.0.1:8081").is_none());
    }

    #[test]
    fn debug_output_never_shows_a_secret() {
        let proof = Proof::Secret { client_id: "id".into(), client_secret: "hush".into() };
        let sessions = Sessions::new("https://x.example".parse().unwrap(), proof);
        assert!(!format!("{sessions:?}").contains("hush"));
    }
}

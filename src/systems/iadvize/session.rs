//! The token of the GraphQL API: fetched once for all who use the connector, kept in memory, renewed a few minutes early,
//! and asked for at most ten times a minute by all processes together.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::domain::rate::Window;
use crate::domain::{Code, Failure, FailureClass};
use crate::systems::budget::CallBudget;
use crate::systems::http::{self, Call, Http};

/// Logins in a stretch of time. The vendor blocks a user for a while after the tenth in a minute; they are counted
/// before they travel, so one is left out and a second added.
const LOGINS: Window = Window::new(9, Duration::from_secs(61));

/// A token is renewed this long before it dies.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// A refused login is not tried again for this long: each try counts, and a block stops everybody.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Gets tokens and keeps the last one.
#[derive(Debug)]
pub struct Sessions {
    url: Url,
    username: String,
    password: SecretString,
    logins: Arc<dyn CallBudget>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<(Arc<SecretString>, Instant)>,
    refusal: Option<(Failure, Instant)>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    /// Seconds.
    expires_in: Option<u64>,
}

impl Sessions {
    /// Sessions of this user at `url`.
    pub fn new(url: Url, username: String, password: SecretString, logins: Arc<dyn CallBudget>) -> Self {
        Self { url, username, password, logins, state: Mutex::default() }
    }

    /// The user whose token it is.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The token; a new one if there is none, or if `refused` is the one at hand. Whoever comes meanwhile waits for it.
    pub async fn token(
        &self,
        http: &Http,
        refused: Option<&Arc<SecretString>>,
        deadline: Option<Instant>,
    ) -> Result<Arc<SecretString>, Failure> {
        let mut state = match deadline {
            Some(deadline) => timeout_at(deadline, self.state.lock()).await.map_err(|_| {
                let text = "the time ran out before there was a token";
                Failure::new(FailureClass::Transient, Code::known("not_sent"), text)
            })?,
            None => self.state.lock().await,
        };
        let now = Instant::now();
        if let Some((token, renew_at)) = &state.token
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, token))
            && now < *renew_at
        {
            return Ok(Arc::clone(token));
        }
        if let Some((failure, until)) = &state.refusal
            && now < *until
        {
            return Err(failure.clone());
        }
        state.token = None;
        match self.ask(http, deadline).await {
            Ok((token, renew_at)) => {
                let token = Arc::new(token);
                *state = State { token: Some((Arc::clone(&token), renew_at)), refusal: None };
                Ok(token)
            }
            Err(failure) => {
                if failure.class == FailureClass::Unauthorised {
                    state.refusal = Some((failure.clone(), Instant::now() + REFUSED_FOR));
                }
                Err(failure)
            }
        }
    }

    async fn ask(&self, http: &Http, deadline: Option<Instant>) -> Result<(SecretString, Instant), Failure> {
        if let Some(wait) = self.logins.take("logins", &[LOGINS], false).await? {
            let text = "the logins that iAdvize allows in a minute are used up";
            let failure = Failure::new(FailureClass::Throttled, Code::known("login_limit"), text);
            return Err(Failure { retry_after: Some(wait), ..failure });
        }
        let form = [
            ("username", self.username.as_str()),
            ("password", self.password.expose_secret()),
            ("grant_type", "password"),
        ];
        let request = http.client().post(http::below(&self.url, &["oauth2", "token"])?).form(&form);
        let answer = http.send(Call::read("token").by(deadline), request).await?;
        if !answer.status.is_success() {
            let failure = answer.failure();
            let refused =
                matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if refused && !answer.is_html() {
                let (class, code) = (FailureClass::Unauthorised, Code::known("login_refused"));
                return Err(Failure { class, code, message: "the login was refused".into(), ..failure });
            }
            return Err(failure);
        }
        let token: TokenAnswer = serde_json::from_str(&answer.body)
            .map_err(|_| answer.unreadable("the token endpoint's answer has no token"))?;
        // A life of ten minutes or less has no five minutes to spare.
        let life = Duration::from_secs(token.expires_in.unwrap_or(86_400));
        let use_for = if life > 2 * EARLY { life - EARLY } else { life * 9 / 10 };
        Ok((token.access_token, Instant::now() + use_for))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems::budget::OwnCalls;

    #[test]
    fn debug_output_never_shows_a_secret() {
        let url = "https://x.example".parse().unwrap();
        let sessions = Sessions::new(url, "a@x.example".into(), "hush".into(), Arc::new(OwnCalls::default()));
        assert!(!format!("{sessions:?}").contains("hush"));
    }
}

//! Sessions of people at the pages: a cookie that stands for a token. They are kept in memory, so a restart ends them; and
//! a token that leaves the configuration ends those made from it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

use super::access::{digest_of, random_text};
use super::act::Outcome;

/// Name of the cookie.
const NAME: &str = "muster_session";

/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 60 * 60);

/// Sessions at once; a new one beyond that ends the one that is over first.
const MOST: usize = 1_000;

/// The sessions. Only digests of their names are kept, as of tokens.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

#[derive(Debug, Clone)]
struct Session {
    /// Digest of the token that it was made from.
    token: [u8; 32],
    until: Instant,
    /// What the next page tells, once.
    notice: Option<Outcome>,
}

/// Names a session within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId([u8; 32]);

impl Sessions {
    /// Begins one for the token of this digest; the value of the `Set-Cookie` header. `https`: the browser came that way, and
    /// shall send the cookie no other.
    pub fn begin(&self, token: [u8; 32], https: bool) -> anyhow::Result<String> {
        let name = random_text()?;
        let now = Instant::now();
        let mut sessions = self.0.lock().expect("nothing panics while the lock is held");
        sessions.retain(|_, session| session.until > now);
        if sessions.len() >= MOST {
            let first = sessions.iter().min_by_key(|(_, session)| session.until).map(|(name, _)| *name);
            first.and_then(|first| sessions.remove(&first));
        }
        sessions.insert(digest_of(&name), Session { token, until: now + LASTS, notice: None });
        let secure = if https { "; Secure" } else { "" };
        Ok(format!("{NAME}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", LASTS.as_secs()))
    }

    /// The session of a request, and the digest of the token that it was made from.
    pub fn of(&self, headers: &HeaderMap) -> Option<(SessionId, [u8; 32])> {
        let name = digest_of(name_in(headers)?);
        let sessions = self.0.lock().expect("nothing panics while the lock is held");
        let session = sessions.get(&name)?;
        (session.until > Instant::now()).then_some((SessionId(name), session.token))
    }

    /// Keeps what the next page of this session tells.
    pub fn notice(&self, session: &SessionId, outcome: Outcome) {
        let mut sessions = self.0.lock().expect("nothing panics while the lock is held");
        if let Some(session) = sessions.get_mut(&session.0) {
            session.notice = Some(outcome);
        }
    }

    /// Takes what the next page of this session tells.
    pub fn take_notice(&self, session: &SessionId) -> Option<Outcome> {
        self.0.lock().expect("nothing panics while the lock is held").get_mut(&session.0)?.notice.take()
    }

    /// Ends the session of this request; the value of the `Set-Cookie` header.
    pub fn end(&self, headers: &HeaderMap) -> String {
        if let Some(name) = name_in(headers) {
            self.0.lock().expect("nothing panics while the lock is held").remove(&digest_of(name));
        }
        format!("{NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }
}

fn name_in(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(NAME)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn a_session_lasts_until_it_is_ended() {
        let sessions = Sessions::default();
        let cookie = sessions.begin([7; 32], false).unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains("Secure"), "{cookie}");
        assert!(sessions.begin([7; 32], true).unwrap().ends_with("; Secure"));
        let pair = cookie.split(';').next().unwrap();
        let headers = with(&format!("other=1; {pair}"));
        let (session, token) = sessions.of(&headers).unwrap();
        assert_eq!(token, [7; 32]);
        sessions.notice(&session, Outcome::done("told once"));
        assert_eq!(sessions.take_notice(&session), Some(Outcome::done("told once")));
        assert_eq!(sessions.take_notice(&session), None);
        assert_eq!(sessions.of(&with("muster_session=guess")), None);
        sessions.end(&headers);
        assert_eq!(sessions.of(&headers), None);
    }
}

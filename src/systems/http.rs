//! What all connectors share of HTTP: one bounded client per system, its clock, its count of calls, and the failures
//! that mean the same everywhere. A connector adds what its own error bodies say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AGE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, RequestBuilder, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::CallReport;
use super::budget::Limits;
use crate::domain::attribute::MAX_VALUE_BYTES;
use crate::domain::{Code, Failure, FailureClass, Timestamp, Value};

mod clock;
mod failure;

pub use clock::SystemClock;
pub use failure::{MAX_RETRY_AFTER, REMEDIES, Remedy, find, remedy};

/// The largest answer that is read, in bytes after decompression.
pub const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter than the keep-alive of common servers and balancers, so that a write seldom meets a connection that the other
/// end is just closing: its effect would be in doubt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Headers by which vendors name a request for their support.
const REQUEST_ID_HEADERS: [&str; 5] =
    ["x-request-id", "request-id", "x-sfdc-request-id", "x-amzn-requestid", "x-correlation-id"];

/// What a client needs to know of its system.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The longest that one request may take, answer included.
    pub request_timeout: Duration,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Certificates to trust besides those of the machine, in PEM.
    pub ca_file: Option<PathBuf>,
    /// How often the system may be called, if it says so.
    pub limits: Option<Limits>,
}

/// A client that cannot be set up. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of `ca_file` cannot be read.
    #[error("cannot read the certificates in {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of `ca_file` holds no certificates in PEM.
    #[error("{path} holds no certificate in PEM")]
    CaFormat {
        /// The file.
        path: PathBuf,
    },
    /// The TLS or the HTTP library refuses the settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// A private key that cannot sign. Nothing of it is shown.
    #[error("the key is no private RSA key in PEM")]
    Key,
    /// The address cannot be the base of others.
    #[error("the url must begin with https:// or http:// and have no query")]
    Url,
}

/// Whether a call may change something, so that losing its answer leaves its effect in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Read,
    /// It may change something.
    Write,
}

/// How one request is to be made and counted.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Name of the operation, for [`CallReport`].
    pub operation: &'static str,
    /// Whether it may change something.
    pub effect: Effect,
    /// It ends by then and is not begun later; without one, the request's own time limit holds.
    pub deadline: Option<Instant>,
    /// It may use the calls that are kept for urgent work.
    pub urgent: bool,
}

impl Call {
    /// A call that reads, within the request's own time limit.
    pub fn read(operation: &'static str) -> Self {
        Self { operation, effect: Effect::Read, deadline: None, urgent: false }
    }

    /// A call that may change something, and ends by `deadline`.
    pub fn write(operation: &'static str, deadline: Instant) -> Self {
        Self { operation, effect: Effect::Write, deadline: Some(deadline), urgent: false }
    }

    /// The same, with this deadline.
    pub fn by(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// The same, urgent or not.
    pub fn urgent(self, urgent: bool) -> Self {
        Self { urgent, ..self }
    }
}

/// The HTTP client of one system.
#[derive(Debug)]
pub struct Http {
    client: reqwest::Client,
    clock: SystemClock,
    request_timeout: Duration,
    permits: Semaphore,
    limits: Option<Limits>,
    report: Mutex<Report>,
}

#[derive(Debug, Default)]
struct Report {
    calls: BTreeMap<(&'static str, u16), u64>,
    usage: Option<(u64, u64)>,
}

impl Http {
    /// Sets the client up, without connecting.
    pub fn new(settings: &HttpSettings) -> Result<Self, SetupError> {
        let concurrency = settings.concurrency.max(1);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the credential to an address that nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.request_timeout)
            .pool_max_idle_per_host(concurrency)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_keep_alive_interval(IDLE_TIMEOUT);
        if let Some(path) = &settings.ca_file {
            builder = builder.tls_certs_merge(certificates(path)?);
        }
        Ok(Self {
            client: builder.build().map_err(SetupError::Client)?,
            clock: SystemClock::default(),
            request_timeout: settings.request_timeout,
            permits: Semaphore::new(concurrency),
            limits: settings.limits.clone(),
            report: Mutex::default(),
        })
    }

    /// The client that requests are built with; [`Http::send`] sends them.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// The system's clock, from the answers so far.
    pub fn clock(&self) -> &SystemClock {
        &self.clock
    }

    /// Sends a request and reads the answer whole, whatever its status.
    ///
    /// # Errors
    /// There was no answer, or it is too large. A write is in doubt unless it surely was not sent.
    pub async fn send(&self, call: Call, request: RequestBuilder) -> Result<Answer, Failure> {
        let not_sent = || failure::transient("not_sent", "the time ran out before the request was sent", false);
        let permit = match call.deadline {
            Some(deadline) => timeout_at(deadline, self.permits.acquire()).await.map_err(|_| not_sent())?,
            None => self.permits.acquire().await,
        };
        let _permit = permit.expect("the semaphore is never closed");
        self.take_call(call).await?;
        let sent = Instant::now();
        if call.deadline.is_some_and(|deadline| deadline <= sent) {
            return Err(not_sent());
        }
        let limit = sent + self.request_timeout;
        let limit = call.deadline.map_or(limit, |deadline| deadline.min(limit));
        let result = match timeout_at(limit, self.exchange(call.effect, request, sent)).await {
            Ok(result) => result,
            Err(_) => Err(failure::timeout(call.effect)),
        };
        let status = match &result {
            Ok(answer) => answer.status.as_u16(),
            Err(failure) => failure.status.unwrap_or(0),
        };
        *self.locked().calls.entry((call.operation, status)).or_default() += 1;
        result
    }

    /// Waits until the system's windows have room for one more call.
    ///
    /// # Errors
    /// They have none before the call would be too late. It is throttled then: by ourselves, as the system would.
    async fn take_call(&self, call: Call) -> Result<(), Failure> {
        let Some(limits) = &self.limits else { return Ok(()) };
        let limit = call.deadline.unwrap_or_else(|| Instant::now() + self.request_timeout);
        while let Some(wait) = limits.budget.take("calls", &limits.windows, call.urgent).await? {
            let ready = Instant::now() + wait;
            if ready >= limit {
                let text = "the calls that the system allows are used up";
                let failure = Failure::new(FailureClass::Throttled, Code::known("own_rate_limit"), text);
                return Err(Failure { retry_after: Some(wait), ..failure });
            }
            tokio::time::sleep_until(ready).await;
        }
        Ok(())
    }

    async fn exchange(&self, effect: Effect, request: RequestBuilder, sent: Instant) -> Result<Answer, Failure> {
        let mut response = request.send().await.map_err(|error| failure::transport(&error, effect))?;
        let arrived = Instant::now();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        // An answer with `Age` comes out of a cache, and so does its date.
        if let (Some(date), None) = (header(DATE).and_then(failure::http_date), header(AGE)) {
            self.clock.observe(date, sent, arrived);
        }
        let retry_after = header(RETRY_AFTER).and_then(|text| failure::retry_after(text, self.clock.at(arrived)));
        let request_id = REQUEST_ID_HEADERS.iter().find_map(|name| response.headers().get(*name)).and_then(|value| {
            let text = value.to_str().ok()?;
            (1..=128).contains(&text.len()).then(|| text.to_owned())
        });
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure::transport(&error, effect))? {
            // Counted after decompression: a small answer may hold a very large one.
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                let code = Code::known("answer_too_large");
                let mut failure = Failure::new(FailureClass::Permanent, code, "the answer is larger than 32 MiB");
                failure.status = Some(status.as_u16());
                failure.request_id = request_id;
                failure.in_doubt = effect == Effect::Write;
                return Err(failure);
            }
            body.extend_from_slice(&chunk);
        }
        let (body, lossy) = match String::from_utf8(body) {
            Ok(text) => (text, false),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
        };
        Ok(Answer {
            status,
            headers,
            body,
            lossy,
            effect,
            // Both with what this very answer taught about the clock.
            sent_at: self.clock.at(sent),
            answered_at: self.clock.at(Instant::now()),
            retry_after,
            request_id,
        })
    }

    /// Notes how many calls of the system's own window are used and allowed.
    pub fn note_usage(&self, used: u64, allowed: u64) {
        self.locked().usage = Some((used, allowed));
    }

    /// Takes the report of the calls since the last time. The usage stays, since it is a state and no count.
    pub fn report(&self) -> CallReport {
        let mut report = self.locked();
        let calls = std::mem::take(&mut report.calls);
        CallReport {
            calls: calls.into_iter().map(|((operation, status), count)| (operation, status, count)).collect(),
            usage: report.usage,
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let pem = std::fs::read(path).map_err(|source| SetupError::CaFile { path: path.to_owned(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SetupError::CaFormat { path: path.to_owned() }),
    }
}

/// An answer, read whole.
#[derive(Clone)]
pub struct Answer {
    /// Its HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body. What is not UTF-8 has become U+FFFD, see `lossy`.
    pub body: String,
    /// Whether some of the body was not UTF-8. Then a text with U+FFFD is not what the system holds.
    pub lossy: bool,
    /// When the request was sent, in the system's clock: the time of a read.
    pub sent_at: Timestamp,
    /// When the answer had come, in the system's clock: the time of a write.
    pub answered_at: Timestamp,
    effect: Effect,
    retry_after: Option<Duration>,
    request_id: Option<String>,
}

impl std::fmt::Debug for Answer {
    /// Shows the status and never the body: people's data must not reach a log by way of `{:?}`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Answer {
    /// One of several answers that came in this one.
    pub fn part(&self, status: StatusCode, body: &serde_json::Value) -> Self {
        Self { status, body: body.to_string(), ..self.clone() }
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the body is a web page: then something between us and the system answered.
    pub fn is_html(&self) -> bool {
        let declared = self.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        declared || self.body.trim_start().starts_with('<')
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none, or was cut off. A write is in doubt.
    pub fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_str(&self.body).map_err(|_| self.unreadable("the answer is not JSON"))
    }

    /// The failure of an answer with an error status, from the status alone. A web page is a gateway's, whatever status
    /// it has, unless the status speaks of the credential or the rate.
    pub fn failure(&self) -> Failure {
        let by_status = failure::by_status(self.status, self.effect, self.retry_after);
        let spoken_by_gateway = matches!(by_status.class, FailureClass::Permanent) && self.is_html();
        if spoken_by_gateway && !self.status.is_redirection() {
            return self.marked(failure::transient("html_answer", "a web page answered in place of the system", false));
        }
        self.marked(by_status)
    }

    /// The failure of an answer that does not have the form it should. A write is in doubt.
    pub fn unreadable(&self, message: &'static str) -> Failure {
        let in_doubt = self.effect == Effect::Write;
        let failure = match self.is_html() {
            true => failure::transient("html_answer", "a web page answered in place of the system", in_doubt),
            false => failure::transient("unreadable_answer", message, in_doubt),
        };
        self.marked(failure)
    }

    /// The failure, with the status and the request id of this answer.
    pub fn marked(&self, mut failure: Failure) -> Failure {
        failure.status = Some(self.status.as_u16());
        failure.request_id.clone_from(&self.request_id);
        failure
    }
}

/// Checks a value that was read: it is not larger than any value may be, and truly what the system holds (`lossy`: some
/// of the answer was not UTF-8).
///
/// # Errors
/// The code for [`Record::Unreadable`](super::Record::Unreadable).
pub fn check_value(value: &Value, lossy: bool) -> Result<(), Code> {
    if value.size_bytes() > MAX_VALUE_BYTES {
        return Err(Code::known("value_too_large"));
    }
    let damaged = |text: &str| lossy && text.contains(char::REPLACEMENT_CHARACTER);
    let invalid = match value {
        Value::Text(text) => damaged(text),
        Value::Set(items) => items.iter().any(|item| damaged(item)),
        Value::Reference { account } => damaged(account.as_str()),
        Value::Bool(_) | Value::Int(_) => false,
    };
    if invalid { Err(Code::known("invalid_text")) } else { Ok(()) }
}

/// A time as HTTP headers have it, in whole seconds: `Sat, 21 Nov 2026 10:15:30 GMT`.
pub fn date_header(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0.div_euclid(1000) * 1000).unwrap_or_default();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

/// An address below `base`: its path, and these segments, each encoded whole.
///
/// # Errors
/// A segment that would be lost or would climb: empty, `.` or `..`.
pub fn below(base: &url::Url, segments: &[&str]) -> Result<url::Url, Failure> {
    let invalid =
        || Failure::new(FailureClass::Permanent, Code::known("invalid_id"), "this id cannot be in an address");
    if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
        return Err(invalid());
    }
    let mut url = base.clone();
    url.path_segments_mut().map_err(|()| invalid())?.pop_if_empty().extend(segments);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers_are_in_gmt_and_whole_seconds() {
        let time = failure::http_date("Sat, 21 Nov 2026 10:15:30 GMT").unwrap();
        assert_eq!(date_header(time + Duration::from_millis(999)), "Sat, 21 Nov 2026 10:15:30 GMT");
    }

    #[test]
    fn an_id_is_one_segment_of_the_address() {
        let base: url::Url = "https://x.example/scim/v2/".parse().unwrap();
        assert_eq!(below(&base, &["Users", "a/b?c"]).unwrap().as_str(), "https://x.example/scim/v2/Users/a%2Fb%3Fc");
        for bad in ["", ".", ".."] {
            assert_eq!(below(&base, &["Users", bad]).unwrap_err().code.as_str(), "invalid_id", "{bad:?}");
        }
    }

    #[test]
    fn damaged_and_oversized_values_are_named() {
        let text = |text: String| Value::Text(text);
        for (value, lossy, code) in [
            (text("Zo\u{fffd}".into()), true, Some("invalid_text")),
            // The character itself, sent as valid UTF-8, is a value like any other.
            (text("Zo\u{fffd}".into()), false, None),
            (text("a".repeat(MAX_VALUE_BYTES)), false, None),
            (text("a".repeat(MAX_VALUE_BYTES + 1)), false, Some("value_too_large")),
        ] {
            assert_eq!(check_value(&value, lossy).err().as_ref().map(Code::as_str), code);
        }
    }
}

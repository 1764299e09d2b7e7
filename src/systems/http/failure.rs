//! The failures that all systems share: no answer, an answer that is none, and bare HTTP statuses.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use reqwest::StatusCode;

use super::Effect;
use crate::domain::{Code, Failure, FailureClass, Timestamp};

/// The longest `Retry-After` that is obeyed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A code, and what a person does about it in one sentence.
pub type Remedy = (&'static str, &'static str);

/// Codes that any system can give.
pub const REMEDIES: &[Remedy] = &[
    ("unreachable", "Check the address in `url`, the network, and that the certificate is trusted (`ca_file`)."),
    ("timeout", "The system is slow: raise `request_timeout`, or lower `page_size` or `concurrency`."),
    ("connection_cut", "The system or something on the way ended the connection: look for a proxy with a short limit."),
    ("not_sent", "The time for this write ran out before it was sent: lower `concurrency` or raise the lease."),
    ("unreadable_answer", "What answered does not speak this system's language: check `url` and what lies on the way."),
    ("html_answer", "A web page answered in place of the system: check `url`, and the gateway on the way."),
    ("answer_too_large", "The answer exceeds 32 MiB: lower `page_size`."),
    ("redirected", "The system answers at another address: put that address in `url`."),
    ("server_error", "The system failed; if it goes on, give its support the request id."),
    (
        "throttled",
        "The system asks for fewer calls: it is obeyed; if it goes on, lower `concurrency` or ask for a larger quota.",
    ),
    (
        "own_rate_limit",
        "The calls that the system allows are used up for now: the rest waits by itself; ask the vendor for a larger \
         quota if it goes on.",
    ),
    ("unauthorised", "The credential is not accepted: renew it, and start the workers again with the new one."),
    ("forbidden", "The credential lacks the right for this: grant it in the system."),
    ("not_found", "The address does not exist on this system: check `url`."),
    ("not_supported", "The system does not offer this call."),
    ("conflict", "The system refuses because of another object: look at both there."),
    ("precondition_failed", "The account changed meanwhile: it is read again by itself."),
    ("request_too_large", "The values are larger than the system takes: shorten them."),
    ("address_too_long", "The address of this call is longer than the system takes: use a shorter value."),
    ("refused", "The system refuses this call: see the message and the system's own log."),
    ("invalid_text", "The record holds bytes that are not UTF-8: correct the text in the system."),
    (
        "value_too_large",
        "The value exceeds 64 KiB: shorten it in the system, or leave the attribute out of the mapping.",
    ),
    (
        "unexpected_value",
        "The value has another kind than the attribute should: correct it in the system, or leave it out.",
    ),
    ("invalid_id", "The id is not one that this system gives: correct the link."),
    ("invalid_position", "The saved place in the list is not one of this system: run a full sync."),
];

/// What a person does about a failure with this code, if it is one that all systems share.
pub fn remedy(code: &Code) -> Option<&'static str> {
    find(REMEDIES, code)
}

/// Looks a code up in a table of remedies.
pub fn find(table: &[Remedy], code: &Code) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == code.as_str()).map(|(_, remedy)| *remedy)
}

/// A failure that may pass by itself; with `in_doubt` if the call was a write that may have been carried out.
pub(super) fn transient(code: &'static str, message: impl Into<Cow<'static, str>>, in_doubt: bool) -> Failure {
    let failure = Failure::new(FailureClass::Transient, Code::known(code), message);
    if in_doubt { failure.in_doubt() } else { failure }
}

/// No answer: the request could not be sent, or its answer did not come whole.
pub(super) fn transport(error: &reqwest::Error, effect: Effect) -> Failure {
    if error.is_builder() {
        return Failure::new(FailureClass::Permanent, Code::known("refused"), "the request could not be built");
    }
    if error.is_connect() {
        // At this stage nothing of the request is part of the text.
        let cause = std::iter::successors(error.source(), |error| (*error).source()).last();
        let message = match cause {
            Some(cause) => Cow::Owned(format!("no connection: {cause}")),
            None => Cow::Borrowed("no connection"),
        };
        return transient("unreachable", message, false);
    }
    if error.is_timeout() {
        return timeout(effect);
    }
    transient("connection_cut", "the connection ended before the whole answer came", effect == Effect::Write)
}

/// No answer in time.
pub(super) fn timeout(effect: Effect) -> Failure {
    transient("timeout", "no answer in time", effect == Effect::Write)
}

/// What a bare HTTP status means, for a call with this effect.
pub(super) fn by_status(status: StatusCode, effect: Effect, retry_after: Option<Duration>) -> Failure {
    use FailureClass::{Permanent, Throttled, Transient, Unauthorised};
    // A 5xx says nothing about what was done: a gateway gives one for a call that the system behind it carried out.
    let in_doubt = effect == Effect::Write && (status.is_server_error() && status != 501 || status == 408);
    let (class, code, message) = match status.as_u16() {
        300..=399 => (Permanent, "redirected", "the system answered with a redirect"),
        401 => (Unauthorised, "unauthorised", "the credential was not accepted"),
        403 => (Permanent, "forbidden", "the credential lacks the right"),
        404 | 410 => (Permanent, "not_found", "there is nothing at this address"),
        405 | 501 => (Permanent, "not_supported", "the system does not offer this call"),
        408 => (Transient, "timeout", "the system gave up waiting"),
        409 => (Permanent, "conflict", "the system refused because of another object"),
        412 => (Transient, "precondition_failed", "the account changed meanwhile"),
        413 => (Permanent, "request_too_large", "the request is larger than the system takes"),
        414 | 431 => (Permanent, "address_too_long", "the address or the headers are longer than the system takes"),
        429 => (Throttled, "throttled", "the system asked for fewer calls"),
        503 if retry_after.is_some() => (Throttled, "throttled", "the system asked to be left alone for a while"),
        500..=599 => (Transient, "server_error", "the system failed"),
        _ => (Permanent, "refused", "the system refused the call"),
    };
    let mut failure = Failure::new(class, Code::known(code), message);
    failure.status = Some(status.as_u16());
    failure.retry_after = retry_after;
    failure.in_doubt = in_doubt;
    failure
}

/// The `Retry-After` header: seconds, or a date that is compared with the system's own clock. At most
/// [`MAX_RETRY_AFTER`]; `None` if it is neither.
pub(super) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let wait = if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has is simply very long.
        Duration::from_secs(header.parse().unwrap_or(u64::MAX))
    } else {
        http_date(header)?.since(now)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A date as HTTP headers have it.
pub(super) fn http_date(header: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(header).ok().map(|time| Timestamp(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_classified_once() {
        use FailureClass::{Permanent, Throttled, Transient, Unauthorised};
        let wait = Some(Duration::from_secs(3));
        for (status, wait, class, code, in_doubt) in [
            (301, None, Permanent, "redirected", false),
            (400, None, Permanent, "refused", false),
            (401, None, Unauthorised, "unauthorised", false),
            (403, None, Permanent, "forbidden", false),
            (405, None, Permanent, "not_supported", false),
            (408, None, Transient, "timeout", true),
            (413, None, Permanent, "request_too_large", false),
            (414, None, Permanent, "address_too_long", false),
            (429, wait, Throttled, "throttled", false),
            (500, None, Transient, "server_error", true),
            (501, None, Permanent, "not_supported", false),
            (502, None, Transient, "server_error", true),
            (503, None, Transient, "server_error", true),
            (503, wait, Throttled, "throttled", true),
            (504, None, Transient, "server_error", true),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = by_status(status, Effect::Write, wait);
            assert_eq!((failure.class, failure.code.as_str()), (class, code), "{status}");
            assert_eq!(failure.in_doubt, in_doubt, "{status}");
            assert!(!by_status(status, Effect::Read, wait).in_doubt, "a read of {status} is never in doubt");
            assert!(remedy(&failure.code).is_some(), "{code} has no remedy");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_absurd() {
        let now = http_date("Sat, 21 Nov 2026 10:15:30 GMT").unwrap();
        for (header, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sat, 21 Nov 2026 10:16:00 GMT", Some(30)),
            ("Sat, 21 Nov 2026 10:00:00 GMT", Some(0)),
            ("Sat, 21 Nov 2099 10:00:00 GMT", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{header:?}");
        }
    }
}

//! The answers of struck requests: made up, or real ones spoilt.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

use super::{Effect, FaultBody, RetryAfter};
use crate::sandbox::clock::http_date;
use crate::sandbox::imitation::Imitation;
use crate::sandbox::salesforce;

const GATEWAY_PAGE: &str = "<html><head><title>Service Unavailable</title></head><body><h1>The server is temporarily unable to \
                            service your request.</h1></body></html>";
const LOGIN_PAGE: &str = "<!DOCTYPE html><html><head><title>Log in</title></head><body><form method=\"post\" action=\"/login\">\
                          <input name=\"username\"/><input name=\"pw\" type=\"password\"/></form></body></html>";

/// The answer that takes the place of the real one; `None` where the effect leaves the real one.
pub(in crate::sandbox) fn instead(effect: &Effect, imitation: &dyn Imitation) -> Option<Response> {
    Some(match effect {
        Effect::TooManyRequests { retry_after } => {
            let mut response = imitation.refusal(StatusCode::TOO_MANY_REQUESTS);
            let after = match retry_after {
                RetryAfter::Absent => None,
                RetryAfter::Seconds(seconds) => Some(seconds.to_string()),
                RetryAfter::DateInSeconds(seconds) => Some(http_date(imitation.clock().now_ms() + seconds * 1000)),
                RetryAfter::Text(text) => Some(text.clone()),
            };
            if let Some(Ok(after)) = after.map(|after| after.parse()) {
                response.headers_mut().insert(header::RETRY_AFTER, after);
            }
            response
        }
        Effect::Status { status, body } | Effect::AppliedThenStatus { status, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match body {
                FaultBody::Native => imitation.refusal(status),
                FaultBody::Html => (status, Html(GATEWAY_PAGE)).into_response(),
                FaultBody::Empty => status.into_response(),
                FaultBody::Json(json) => (status, axum::Json(json.clone())).into_response(),
            }
        }
        Effect::LoginPage => Html(LOGIN_PAGE).into_response(),
        Effect::RequestLimitExceeded => salesforce::request_limit(),
        _ => return None,
    })
}

/// The bytes of a real answer, spoilt as the effect says.
pub(in crate::sandbox) fn garble(effect: &Effect, body: Bytes) -> Bytes {
    match effect {
        Effect::TruncatedJson => body.slice(..body.len() * 2 / 3),
        Effect::InvalidUtf8 => replace_one_text(&body, &[b'a', 0xC3, 0x28, b'b']),
        Effect::HugeAttribute { bytes } => replace_one_text(&body, &vec![b'x'; *bytes]),
        _ => body,
    }
}

/// Puts other bytes in the place of one text of the middle record.
fn replace_one_text(body: &Bytes, bytes: &[u8]) -> Bytes {
    const MARK: &str = "@@sandbox-mark@@";
    let Ok(mut json) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    let record = match first_list(&mut json) {
        Some(list) => {
            let middle = list.len() / 2;
            &mut list[middle]
        }
        None => &mut json,
    };
    if !mark(record, MARK) {
        return body.clone();
    }
    let text = json.to_string();
    let Some((before, after)) = text.split_once(MARK) else { return body.clone() };
    Bytes::from([before.as_bytes(), bytes, after.as_bytes()].concat())
}

/// The first list of records, however deep it lies.
fn first_list(json: &mut Value) -> Option<&mut Vec<Value>> {
    match json {
        Value::Array(list) if list.first().is_some_and(Value::is_object) => Some(list),
        Value::Object(fields) => fields.values_mut().find_map(first_list),
        _ => None,
    }
}

/// Marks the first text that is a plain attribute of a person.
fn mark(record: &mut Value, mark_text: &str) -> bool {
    const PLAIN: [&str; 8] = ["Title", "title", "LastName", "familyName", "FirstName", "displayName", "Name", "detail"];
    let Some(fields) = record.as_object_mut() else { return false };
    for name in PLAIN {
        if let Some(text @ Value::String(_)) = fields.get_mut(name) {
            *text = Value::String(mark_text.to_owned());
            return true;
        }
    }
    fields.get_mut("name").is_some_and(|name| mark(name, mark_text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_spoilt_in_one_place() {
        let body = Bytes::from(json!({"records": [{"Title": "a"}, {"Title": "b"}, {"Title": "c"}]}).to_string());
        let spoilt = garble(&Effect::InvalidUtf8, body.clone());
        assert!(std::str::from_utf8(&spoilt).is_err());
        assert_eq!(String::from_utf8_lossy(&spoilt), r#"{"records":[{"Title":"a"},{"Title":"a�(b"},{"Title":"c"}]}"#);
        let huge: Value =
            serde_json::from_slice(&garble(&Effect::HugeAttribute { bytes: 1000 }, body.clone())).unwrap();
        assert_eq!(huge["records"][1]["Title"].as_str().unwrap().len(), 1000);
        assert!(serde_json::from_slice::<Value>(&garble(&Effect::TruncatedJson, body.clone())).is_err());
        assert_eq!(garble(&Effect::Cut, body.clone()), body);
    }
}

//! What SCIM's errors mean: one table of its own words, and what a status means depending on what was asked.

use reqwest::StatusCode;
use serde_json::Value as Json;

use super::resource::member;
use crate::domain::FailureClass::{self, Permanent, Transient, Unauthorised};
use crate::domain::{AttributePath, Code, Failure};
use crate::systems::http::{self, Answer, Remedy};

/// SCIM's detail words (`scimType`), what they are called here, and what class they have.
const SCIM_TYPES: &[(&str, &str, FailureClass)] = &[
    ("uniqueness", "uniqueness", Permanent),
    ("invalidFilter", "invalid_filter", Permanent),
    ("tooMany", "too_many", Permanent),
    ("mutability", "mutability", Permanent),
    ("invalidSyntax", "invalid_syntax", Permanent),
    ("invalidPath", "invalid_path", Permanent),
    ("noTarget", "no_target", Permanent),
    ("invalidValue", "invalid_value", Permanent),
    ("invalidVers", "invalid_version", Permanent),
    ("sensitive", "sensitive", Permanent),
    ("invalidCursor", "invalid_cursor", Transient),
    ("expiredCursor", "expired_cursor", Transient),
    ("invalidCount", "invalid_count", Permanent),
];

/// What a person does about each code of this connector.
const REMEDIES: &[Remedy] = &[
    ("uniqueness", "Another account has this userName, e-mail or external id: link it, or change one of the two."),
    ("invalid_filter", "The server cannot search by this attribute: match on userName."),
    ("too_many", "The server finds too many accounts for one answer: lower `page_size`."),
    ("mutability", "The server does not let this attribute be changed: take it out of the mapping."),
    ("invalid_syntax", "The server does not understand the request: report it together with the server's name."),
    ("invalid_path", "The server does not know this attribute: take it out of the mapping."),
    ("no_target", "The entry that was to be changed is gone: run the sync again."),
    (
        "invalid_value",
        "The server refuses the value, or misses a required one: correct it, or map the required attribute.",
    ),
    (
        "invalid_version",
        "The server speaks another version of SCIM: put the address of its SCIM 2.0 interface in `url`.",
    ),
    ("sensitive", "The server refuses personal data in an address: it can only be matched by external id."),
    ("invalid_cursor", "The place in the list is not known any more: the list is read again by itself."),
    ("expired_cursor", "The place in the list expired: the list is read again by itself."),
    ("invalid_count", "The server refuses this page size: lower `page_size`."),
    ("unknown_attribute", "SCIM has no such attribute: correct the mapping."),
    ("incomplete_list", "The server listed fewer accounts than it says to have: it is tried again by itself."),
    ("not_scim", "What answers at this address is no SCIM server: check `url`."),
    ("read_back", "The write was carried out but could not be read back: it is read again by itself."),
];

/// What a person does about a failure with this code, in one sentence.
pub fn remedy(code: &Code) -> Option<&'static str> {
    http::find(REMEDIES, code).or_else(|| http::remedy(code))
}

/// What a request is about. It decides whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The roster: listing, searching, creating, discovery. Who may not do that may do nothing: the credential's fault.
    Roster,
    /// One account. Its owner may have protected just this one, and the others flow on.
    Account,
}

/// The members of a SCIM error body that matter.
struct ErrorBody {
    scim_type: Option<String>,
    detail: String,
}

fn error_body(answer: &Answer) -> Option<ErrorBody> {
    let body: Json = serde_json::from_str(&answer.body).ok()?;
    let text = |name| member(&body, name).and_then(Json::as_str).map(str::to_owned);
    let is_error = member(&body, "schemas")
        .and_then(Json::as_array)
        .is_some_and(|schemas| schemas.iter().any(|urn| urn.as_str().is_some_and(|urn| urn.ends_with(":Error"))));
    // Servers that leave `schemas` out still have one of SCIM's own members.
    let (scim_type, detail) = (text("scimType"), text("detail"));
    (is_error || scim_type.is_some() || detail.is_some())
        .then(|| ErrorBody { scim_type: scim_type.filter(|word| !word.is_empty()), detail: detail.unwrap_or_default() })
}

/// What an answer with an error status means. Its `detail` decides the attribute and stays out: it may quote values.
pub fn classify(answer: &Answer, subject: Subject) -> Failure {
    let by_status = answer.failure();
    if by_status.class == Unauthorised || by_status.retry_after.is_some() {
        return by_status;
    }
    if answer.status == StatusCode::FORBIDDEN && subject == Subject::Roster && !answer.is_html() {
        return Failure { class: Unauthorised, ..by_status };
    }
    let Some(word) = error_body(answer).and_then(|body| body.scim_type) else { return by_status };
    if !answer.status.is_client_error() || by_status.class == FailureClass::Throttled {
        return by_status;
    }
    match SCIM_TYPES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(&word)) {
        Some((known, code, class)) => {
            let message = format!("the server answered {known}").into();
            Failure { class: *class, code: Code::known(code), message, ..by_status }
        }
        None => Failure { code: Code::vendor(&word), ..by_status },
    }
}

/// Whether a 404 says, in the words of a SCIM server or in none, that there is no such account. A web page or another
/// program's error says nothing about accounts.
pub fn says_absent(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND
        && !answer.is_html()
        && (answer.body.trim().is_empty() || error_body(answer).is_some())
}

/// Whether an answer to a write says that a unique value is taken, and of which attribute if it says so.
/// `unique_sent`: whether the write had values that could be. Some servers answer 409 and no more, others 400.
pub fn says_taken(answer: &Answer, unique_sent: bool) -> Option<Option<AttributePath>> {
    let body = error_body(answer);
    let word = body.as_ref().and_then(|body| body.scim_type.as_deref());
    let taken = match answer.status {
        StatusCode::CONFLICT => {
            word.map_or(unique_sent && !answer.is_html(), |word| word.eq_ignore_ascii_case("uniqueness"))
        }
        StatusCode::BAD_REQUEST => word.is_some_and(|word| word.eq_ignore_ascii_case("uniqueness")),
        _ => false,
    };
    taken.then(|| body.and_then(|body| taken_attribute(&body.detail)))
}

/// Whether an answer to a write may object to its form and not to its values, and how far the server had read: 0 it did
/// not know the syntax, or does not say; 1 the path; 2 the value.
pub fn objects_to_form(answer: &Answer) -> Option<u8> {
    if answer.status != StatusCode::BAD_REQUEST || answer.is_html() {
        return None;
    }
    let word = error_body(answer).and_then(|body| body.scim_type).unwrap_or_default();
    match word.to_ascii_lowercase().as_str() {
        "" | "invalidsyntax" => Some(0),
        "invalidpath" | "invalidfilter" | "notarget" => Some(1),
        "invalidvalue" => Some(2),
        _ => None,
    }
}

/// Whether an answer to a write is a 400 that does not say what it objects to.
pub fn gives_no_reason(answer: &Answer) -> bool {
    answer.status == StatusCode::BAD_REQUEST && error_body(answer).is_none_or(|body| body.scim_type.is_none())
}

/// The attribute that an error's text speaks of.
fn taken_attribute(detail: &str) -> Option<AttributePath> {
    let words: Vec<String> = detail.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
    let says = |name: &str| words.iter().any(|word| word == name);
    let path = if says("username") {
        "userName"
    } else if says("email") || says("emails") {
        "emails"
    } else {
        return None;
    };
    Some(path.parse().expect("a constant path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_remedy() {
        for (_, code, _) in SCIM_TYPES {
            assert!(remedy(&Code::known(code)).is_some_and(|text| text.ends_with('.')), "{code}");
        }
        assert!(remedy(&Code::known("timeout")).is_some());
    }

    #[test]
    fn the_attribute_that_is_taken_is_named() {
        for (detail, expected) in [
            ("User with userName 'ada' already exists", Some("userName")),
            ("duplicate email address", Some("emails")),
            ("One or more of the attribute values are already in use or are reserved.", None),
        ] {
            assert_eq!(taken_attribute(detail).as_ref().map(AttributePath::as_str), expected, "{detail}");
        }
    }
}

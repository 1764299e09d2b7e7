//! What Salesforce's error codes mean: one table, and the reading of its four shapes of error bodies.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value as Json;

use super::fields;
use crate::domain::FailureClass::{self, Permanent, Throttled, Transient, Unauthorised};
use crate::domain::{AttributePath, Code, Failure};
use crate::systems::http::{self, Answer};

/// One error code of Salesforce.
struct Meaning {
    error_code: &'static str,
    class: FailureClass,
    remedy: &'static str,
}

const fn meaning(error_code: &'static str, class: FailureClass, remedy: &'static str) -> Meaning {
    Meaning { error_code, class, remedy }
}

const DAILY_LIMIT: &str = "REQUEST_LIMIT_EXCEEDED";
const CONCURRENT_LIMIT: &str = "CONCURRENT_LIMIT_EXCEEDED";

/// Every error code that is known, with what a person does about it.
const MEANINGS: &[Meaning] = &[
    meaning(
        "INVALID_SESSION_ID",
        Unauthorised,
        "The session is refused even when new: check the app's policies and the run-as user.",
    ),
    meaning(DAILY_LIMIT, Throttled, "The org's daily API calls are used up: wait, lower the schedule, or buy more."),
    // Not a code of Salesforce's own: the same code with another text, which passes within a minute.
    meaning(CONCURRENT_LIMIT, Throttled, "Too many long calls run in the org at once: lower the number of clients."),
    meaning("UNABLE_TO_LOCK_ROW", Transient, "Something else is writing the same record: it is tried again by itself."),
    meaning("SERVER_UNAVAILABLE", Transient, "Salesforce is busy: see its status page if it goes on."),
    meaning("UNKNOWN_EXCEPTION", Transient, "Salesforce failed: give its support the ErrorId and the request id."),
    meaning("QUERY_TIMEOUT", Transient, "The query ran too long: map fewer fields, or ask Salesforce for an index."),
    meaning(
        "INVALID_QUERY_LOCATOR",
        Transient,
        "The list's cursor expired: the read goes on from its keyset by itself.",
    ),
    meaning("TOO_MANY_APEX_REQUESTS", Transient, "The org is overloaded: it is tried again by itself."),
    meaning(
        "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE",
        Transient,
        "The org is in maintenance: wait until it ends.",
    ),
    meaning("API_CURRENTLY_DISABLED", Unauthorised, "The API is switched off for this org: ask Salesforce."),
    meaning(
        "API_DISABLED_FOR_ORG",
        Unauthorised,
        "The edition of this org has no API, or the run-as user lacks `API Enabled`.",
    ),
    meaning(
        "CLIENT_NOT_ACCESSIBLE_FOR_USER",
        Unauthorised,
        "Allow the app for the run-as user's profile or permission set.",
    ),
    meaning("INSUFFICIENT_ACCESS", Permanent, "Grant the run-as user the right to this object."),
    meaning("INSUFFICIENT_ACCESS_OR_READONLY", Permanent, "Grant the run-as user the right to this record."),
    meaning(
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        Permanent,
        "Grant the run-as user the right to the record referred to.",
    ),
    meaning(
        "INVALID_CROSS_REFERENCE_KEY",
        Permanent,
        "The record referred to does not exist: correct the mapping of the reference.",
    ),
    meaning(
        "NOT_FOUND",
        Permanent,
        "The object or record does not exist in this org: check `object` and the API version.",
    ),
    meaning("ENTITY_IS_DELETED", Permanent, "The record was deleted."),
    meaning("MALFORMED_ID", Permanent, "The id is of another object: correct the link."),
    meaning("MALFORMED_QUERY", Permanent, "The query is refused: this is a fault of Muster, please report it."),
    meaning(
        "INVALID_FIELD",
        Permanent,
        "A field does not exist or is hidden: give the run-as user read access to it, or remove it from `fields`.",
    ),
    meaning("INVALID_TYPE", Permanent, "The object is not visible: give the run-as user access to it."),
    meaning("JSON_PARSER_ERROR", Permanent, "The request is refused: this is a fault of Muster, please report it."),
    meaning("METHOD_NOT_ALLOWED", Permanent, "The call is refused: check the API version."),
    meaning(
        "UNSUPPORTED_API_VERSION",
        Permanent,
        "The org does not serve this API version: set `api_version` to one that it lists.",
    ),
    meaning("REQUIRED_FIELD_MISSING", Permanent, "Map the required field that is named."),
    meaning(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        Permanent,
        "Give the run-as user edit access to the field, or do not write it.",
    ),
    meaning(
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        Permanent,
        "A validation rule of this org refuses the value: correct the value or the rule.",
    ),
    meaning("FIELD_INTEGRITY_EXCEPTION", Permanent, "The value does not fit the field: correct it."),
    meaning("STRING_TOO_LONG", Permanent, "The value is longer than the field: shorten it."),
    meaning("INVALID_EMAIL_ADDRESS", Permanent, "The e-mail address is not valid: correct it."),
    meaning(
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        Permanent,
        "The value is not one of the field's list: correct the mapping.",
    ),
    meaning("DUPLICATE_VALUE", Permanent, "Another record has this unique value: look at both."),
    meaning(
        "DUPLICATE_USERNAME",
        Permanent,
        "The username is taken in this or another org, perhaps by a deactivated user: choose another.",
    ),
    meaning("DUPLICATE_COMM_NICKNAME", Permanent, "The nickname is taken: choose another."),
    meaning(
        "DUPLICATES_DETECTED",
        Permanent,
        "A duplicate rule of this org refuses the record: look at the record it names.",
    ),
    meaning("LICENSE_LIMIT_EXCEEDED", Permanent, "No licence is left: free or buy one."),
    meaning("INACTIVE_OWNER_OR_USER", Permanent, "The user referred to is inactive: choose another."),
    meaning(
        "CANNOT_DISABLE_LAST_ADMIN",
        Permanent,
        "The last administrator cannot be deactivated: appoint another first.",
    ),
    meaning("PORTAL_USER_ALREADY_EXISTS_FOR_CONTACT", Permanent, "The contact already has a user: link it."),
    meaning(
        "MIXED_DML_OPERATION",
        Permanent,
        "An automation of this org mixes users and other records in one step: change it.",
    ),
    meaning("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", Permanent, "A trigger or flow of this org fails: correct it."),
    // The token endpoint.
    meaning("invalid_client_id", Unauthorised, "The client id is not known here: check `client_id` and `url`."),
    meaning("invalid_client", Unauthorised, "The client secret is refused: check it, or rotate it."),
    meaning(
        "invalid_grant",
        Unauthorised,
        "Choose a run-as user in the app, let it be active, and use the org's My Domain address as `url`.",
    ),
    meaning("unsupported_grant_type", Unauthorised, "Switch the client credentials flow on in the app."),
    meaning("invalid_app_access", Unauthorised, "Approve the app for the run-as user."),
    meaning("inactive_user", Unauthorised, "The run-as user is inactive: activate it or choose another."),
    meaning("inactive_org", Unauthorised, "The org is locked: ask Salesforce."),
    meaning(
        "unsupported_token_type",
        Unauthorised,
        "Switch the flow on that `auth` names, in the app's OAuth settings.",
    ),
    meaning("invalid_request", Unauthorised, "Add the scopes `api` and `refresh_token` to the app."),
    // Not codes of Salesforce's own: causes that only the text of `invalid_grant` tells apart.
    meaning(
        "no_run_as_user",
        Unauthorised,
        "Choose the run-as user of the client credentials flow in the app, and let it be active.",
    ),
    meaning(
        "user_not_approved",
        Unauthorised,
        "In the app's policies set Permitted Users to `Admin approved users are pre-authorized`, and add the profile or a \
         permission set of the user that `username` names.",
    ),
    meaning(
        "invalid_audience",
        Unauthorised,
        "Set `audience` to https://login.salesforce.com, or to https://test.salesforce.com for a test org.",
    ),
    meaning(
        "invalid_assertion",
        Unauthorised,
        "Upload the certificate that belongs to the private key to the app, and check this machine's clock.",
    ),
    meaning("wrong_login_host", Unauthorised, "Use the org's own My Domain address as `url`."),
    meaning("ip_restricted", Unauthorised, "Allow this machine's address: in the app relax its IP restrictions."),
    meaning("invalid_key", Unauthorised, "Give the private RSA key of the app's certificate, in PEM."),
    meaning("rate_limit_exceeded", Throttled, "Too many logins: wait."),
    meaning("untrusted_instance", Permanent, "The token names another host than the org's: check `url`."),
    // A row of a call with many.
    meaning(
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        Transient,
        "Another record of the same call failed: it is tried again.",
    ),
    meaning("PROCESSING_HALTED", Transient, "Another part of the same call failed: it is tried again."),
    meaning("INVALID_ID_FIELD", Permanent, "The id is not one of this object: correct the link."),
    meaning("STORAGE_LIMIT_EXCEEDED", Permanent, "The org's storage is full: free some, or buy more."),
    meaning("INVALID_QUERY_FILTER_OPERATOR", Permanent, "This field cannot be searched: match on another attribute."),
    meaning("unknown_attribute", Permanent, "Add the field to `fields` of the system, or take it out of the mapping."),
    meaning("wrong_kind", Permanent, "The value has another kind than the field: correct the mapping."),
    meaning(
        "read_back",
        Transient,
        "The write was carried out but could not be read back: it is read again by itself.",
    ),
    meaning(
        "not_searchable",
        Permanent,
        "Salesforce cannot be searched by this attribute: match on userName or emails.",
    ),
];

/// What a person does about a failure with this code, in one sentence.
pub fn remedy(code: &Code) -> Option<&'static str> {
    let known = MEANINGS.iter().find(|meaning| meaning.error_code.eq_ignore_ascii_case(code.as_str()));
    known.map(|meaning| meaning.remedy).or_else(|| http::remedy(code))
}

/// One error of an answer.
struct ErrorEntry<'a> {
    error_code: &'a str,
    message: &'a str,
    field: Option<&'a str>,
}

/// The first error of a body: an array of errors, one bare error, or the token endpoint's own form.
fn first_error(body: &Json) -> Option<ErrorEntry<'_>> {
    let entry = body.as_array().map_or(Some(body), |entries| entries.first())?;
    let text = |key: &str| entry.get(key).and_then(Json::as_str);
    Some(ErrorEntry {
        error_code: text("errorCode").or_else(|| text("statusCode")).or_else(|| text("error"))?,
        message: text("message").or_else(|| text("error_description")).unwrap_or_default(),
        field: entry.get("fields").and_then(|fields| fields.get(0)).and_then(Json::as_str),
    })
}

/// What an answer with an error status means. The texts of Salesforce decide, and stay out: they quote values.
pub fn classify(answer: &Answer) -> Failure {
    let body = serde_json::from_str(&answer.body).unwrap_or(Json::Null);
    let by_status = answer.failure();
    match first_error(&body) {
        Some(entry) => meaning_of(&entry, by_status),
        None => by_status,
    }
}

/// What an error means. What its code does not say is as in `otherwise`.
fn meaning_of(entry: &ErrorEntry<'_>, otherwise: Failure) -> Failure {
    let (error_code, wait) = match entry.error_code {
        // One code for the quota of the day and for a crowd of the moment; only the text tells them apart.
        DAILY_LIMIT if entry.message.contains("Concurrent") => (CONCURRENT_LIMIT, Some(Duration::from_secs(30))),
        DAILY_LIMIT => (DAILY_LIMIT, Some(Duration::from_secs(15 * 60))),
        "rate_limit_exceeded" => (entry.error_code, Some(Duration::from_secs(60))),
        other => (other, None),
    };
    let known = MEANINGS.iter().find(|meaning| meaning.error_code == error_code);
    let lock_inside =
        error_code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" && entry.message.contains("UNABLE_TO_LOCK_ROW");
    let class = match known {
        _ if lock_inside => Transient,
        Some(meaning) => meaning.class,
        None => otherwise.class,
    };
    let message: Cow<'static, str> = match known {
        Some(_) => format!("Salesforce answered {error_code}").into(),
        None => "Salesforce answered an error that is not known here".into(),
    };
    let mut failure = Failure { class, code: Code::vendor(error_code), message, ..otherwise };
    failure.retry_after = failure.retry_after.or(wait);
    failure.attribute = entry.field.and_then(fields::path_of);
    failure
}

/// What a refused login means: the texts of `invalid_grant` tell what a person must change.
pub fn classify_login(answer: &Answer) -> Failure {
    /// What a text says (in lower case), and the cause that it gives away.
    const CAUSES: [(&str, &str); 8] = [
        ("no client credentials user", "no_run_as_user"),
        ("hasn't approved", "user_not_approved"),
        ("not admin approved", "user_not_approved"),
        ("audience", "invalid_audience"),
        ("assertion", "invalid_assertion"),
        ("expired", "invalid_assertion"),
        ("not supported on this domain", "wrong_login_host"),
        ("ip restricted", "ip_restricted"),
    ];
    let failure = classify(answer);
    let body = serde_json::from_str(&answer.body).unwrap_or(Json::Null);
    let Some(entry) = first_error(&body) else { return failure };
    let said = entry.message.to_lowercase();
    let known = matches!(entry.error_code, "invalid_grant" | "invalid_app_access");
    match CAUSES.iter().find(|(text, _)| known && said.contains(text)) {
        Some((_, cause)) => {
            let message = format!("Salesforce refused the login: {}", cause.replace('_', " ")).into();
            Failure { code: Code::known(cause), message, ..failure }
        }
        None => failure,
    }
}

/// Why one record was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another record has a value that must be unique.
    Exists(Option<AttributePath>),
    /// There is nothing at the address, as this failure says.
    Gone(Failure),
    /// Anything else.
    Failed(Failure),
}

/// What the answer to the write of a single record says, which is no success.
pub fn refusal(answer: &Answer) -> Refusal {
    let body = serde_json::from_str(&answer.body).unwrap_or(Json::Null);
    judge(first_error(&body).as_ref(), classify_write(answer))
}

/// What the answer to a write means, which is no success.
pub fn classify_write(answer: &Answer) -> Failure {
    let mut failure = classify(answer);
    // A page of a gateway says nothing about what the system behind it did.
    failure.in_doubt |= answer.is_html() && failure.class == Transient;
    failure
}

/// What a row of the answer to a call with many records says, which is no success. `answer`: the whole of it.
pub fn row_refusal(row: &Json, answer: &Answer) -> Refusal {
    let entry = row.get("errors").and_then(first_error);
    let Some(entry) = entry else {
        return Refusal::Failed(answer.unreadable("a row of the answer is neither a success nor an error"));
    };
    let failure = Failure::new(Permanent, Code::known("refused"), "Salesforce refused the record");
    let failure = answer.marked(meaning_of(&entry, failure));
    judge(Some(&entry), failure)
}

fn judge(entry: Option<&ErrorEntry<'_>>, failure: Failure) -> Refusal {
    match entry.map(|entry| entry.error_code) {
        Some("DUPLICATE_USERNAME" | "DUPLICATE_VALUE") => {
            Refusal::Exists(failure.attribute.or_else(|| entry.and_then(duplicated)))
        }
        Some("ENTITY_IS_DELETED" | "NOT_FOUND") => Refusal::Gone(failure),
        // With a field it speaks of a record that is referred to, without one of the record itself.
        Some("INVALID_CROSS_REFERENCE_KEY") if failure.attribute.is_none() => Refusal::Gone(failure),
        _ => Refusal::Failed(failure),
    }
}

/// The field of `duplicate value found: Ext__c duplicates value on record ...`: this error often has no list of fields.
fn duplicated(entry: &ErrorEntry<'_>) -> Option<AttributePath> {
    let (_, rest) = entry.message.split_once("duplicate value found: ")?;
    fields::path_of(rest.split_whitespace().next()?)
}

/// The error code of an answer, if its body has one.
pub fn error_code(answer: &Answer) -> Option<String> {
    let body: Json = serde_json::from_str(&answer.body).ok()?;
    first_error(&body).map(|entry| entry.error_code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_error_body_is_read() {
        for (name, body, code) in [
            ("array", include_str!("../../../tests/data/salesforce/error_session_expired.json"), "INVALID_SESSION_ID"),
            ("object", include_str!("../../../tests/data/salesforce/error_bare_object.json"), "NOT_FOUND"),
            ("collection row", include_str!("../../../tests/data/salesforce/error_row.json"), "DUPLICATE_USERNAME"),
            ("token", include_str!("../../../tests/data/salesforce/error_token.json"), "invalid_grant"),
        ] {
            let body = serde_json::from_str(body).unwrap();
            assert_eq!(first_error(&body).map(|entry| entry.error_code.to_owned()).as_deref(), Some(code), "{name}");
        }
        assert!(first_error(&serde_json::json!([])).is_none());
        assert!(first_error(&serde_json::json!("text")).is_none());
    }

    #[test]
    fn a_duplicated_field_is_named_also_without_a_list() {
        for (row, expected) in [
            (
                r#"{"statusCode":"DUPLICATE_USERNAME","message":"Duplicate Username.","fields":["Username"]}"#,
                "userName",
            ),
            (
                r#"{"statusCode":"DUPLICATE_VALUE","message":"duplicate value found: Ext__c duplicates value on record with id: 003x","fields":[]}"#,
                "native.Ext__c",
            ),
        ] {
            let row: Json = serde_json::from_str(row).unwrap();
            let entry = first_error(&row).unwrap();
            let failure = meaning_of(&entry, Failure::new(Permanent, Code::known("refused"), ""));
            let Refusal::Exists(Some(attribute)) = judge(Some(&entry), failure) else { panic!("{row}") };
            assert_eq!(attribute.as_str(), expected);
        }
    }

    #[test]
    fn no_code_is_listed_twice_and_each_has_a_remedy() {
        for (place, meaning) in MEANINGS.iter().enumerate() {
            let again = MEANINGS[place + 1..].iter().any(|other| other.error_code == meaning.error_code);
            assert!(!again, "{} is listed twice", meaning.error_code);
            assert!(remedy(&Code::vendor(meaning.error_code)).is_some_and(|text| text.ends_with('.')));
        }
        assert!(remedy(&Code::known("timeout")).is_some(), "the codes that all systems share have remedies too");
        assert_eq!(remedy(&Code::known("unheard_of")), None);
    }
}

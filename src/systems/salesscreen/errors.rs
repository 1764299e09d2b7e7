//! What refusals of SalesScreen mean. Their bodies are unconfirmed: `{"message", "errors": {field: [text]}}` is what is
//! expected, and this file alone reads it.

use reqwest::StatusCode;
use serde_json::Value as Json;

use super::user::attribute_of;
use crate::domain::{AttributePath, Code, Failure, FailureClass};
use crate::systems::http::{self, Answer, Remedy};

/// What a person does about each code of this connector.
const REMEDIES: &[Remedy] = &[
    (
        "invalid_value",
        "SalesScreen refuses the value: correct it where it comes from; its text is in SalesScreen's own words.",
    ),
    (
        "unknown_team",
        "Take the team's key from Settings > Mappings in SalesScreen, list it under `teams`, or correct the mapping: an \
         unknown key would make a second team.",
    ),
    ("unknown_attribute", "SalesScreen has no such attribute: correct the mapping."),
    ("partial_write", "Map `emails`, and give the person an e-mail address: SalesScreen takes a user only as a whole."),
    (
        "not_salesscreen",
        "What answers at this address is not SalesScreen's API: put its address without /api/v1 in `url`.",
    ),
    ("not_readable", "SalesScreen has no call that reads: nothing can be done but trust what was sent last."),
    (
        "unauthorised",
        "The key is not accepted: make one under Settings > Api Keys in SalesScreen, and start the workers again with it.",
    ),
];

/// Words by which a refusal of an e-mail address says that another user has it.
const TAKEN: [&str; 5] = ["already", "in use", "taken", "exists", "duplicate"];

/// What a person does about a failure with this code, in one sentence.
pub fn remedy(code: &Code) -> Option<&'static str> {
    http::find(REMEDIES, code).or_else(|| http::remedy(code))
}

/// What a refused write means.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// Another user has this unique value.
    Taken(AttributePath),
    /// Anything else.
    Failed(Failure),
}

/// The members that a refusal objects to, with what it says about each.
fn objections(answer: &Answer) -> Vec<(String, String)> {
    let body: Json = serde_json::from_str(&answer.body).unwrap_or_default();
    let errors = body.get("errors").and_then(Json::as_object).into_iter().flatten();
    errors.map(|(member, texts)| (member.clone(), texts.to_string().to_lowercase())).collect()
}

/// What an answer with an error status means. Its texts decide and stay out: they may quote values.
pub fn classify(answer: &Answer) -> Refusal {
    let by_status = answer.failure();
    match answer.status {
        // There is one right, that of the key.
        StatusCode::FORBIDDEN if !answer.is_html() => {
            let text = "the key was not accepted";
            let failure = Failure::new(FailureClass::Unauthorised, Code::known("unauthorised"), text);
            Refusal::Failed(answer.marked(failure))
        }
        // No account is looked for at this address, so it is the address that is wrong, for everybody.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if !answer.is_html() => {
            let text = "SalesScreen's API is not at this address";
            let failure = Failure::new(FailureClass::Transient, Code::known("not_salesscreen"), text);
            Refusal::Failed(answer.marked(failure))
        }
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY if !answer.is_html() => {
            let objections = objections(answer);
            let about_email = objections.iter().find(|(member, _)| member.eq_ignore_ascii_case("email"));
            let says_taken = |text: &str| TAKEN.iter().any(|word| text.contains(word));
            if about_email.is_some_and(|(_, text)| answer.status == StatusCode::CONFLICT || says_taken(text)) {
                return Refusal::Taken("emails".parse().expect("a constant path"));
            }
            let attribute = objections.iter().find_map(|(member, _)| attribute_of(member));
            Refusal::Failed(match attribute {
                Some(attribute) => {
                    let (class, code) = (FailureClass::Permanent, Code::known("invalid_value"));
                    answer.marked(Failure::new(class, code, "SalesScreen refuses a value").at(attribute))
                }
                None => by_status,
            })
        }
        _ => Refusal::Failed(by_status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_remedy() {
        for (code, text) in REMEDIES {
            assert!(text.ends_with('.'), "{code}");
        }
        assert!(remedy(&Code::known("throttled")).is_some());
    }
}

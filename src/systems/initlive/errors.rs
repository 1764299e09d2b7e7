//! What errors of InitLive mean. Their bodies are unconfirmed: `{"error", "fields": {field: text}}` is what is expected,
//! and this file alone reads it.

use reqwest::StatusCode;
use serde_json::Value as Json;

use super::attributes::{USERNAME, attribute_of};
use crate::domain::{AttributePath, Code, Failure, FailureClass};
use crate::systems::http::{self, Answer, Remedy};

/// The person keeps their profile: nobody else can change it.
pub const OWNED_ELSEWHERE: &str = "profile_owned_elsewhere";

/// What a person does about each code of this connector.
const REMEDIES: &[Remedy] = &[
    (
        OWNED_ELSEWHERE,
        "The person belongs to other organisations too and keeps their own profile: ask them to change it, and link the \
         two accounts by hand if they are not linked.",
    ),
    ("invalid_value", "InitLive refuses the value: correct it where it comes from."),
    ("invalid_date", "A date is written year first, as in 1999-12-31: correct it, or take it out of the mapping."),
    ("cannot_be_cleared", "InitLive has no user without this value: fill it in where it comes from."),
    ("unknown_attribute", "InitLive has no such attribute that can be written: correct the mapping."),
    ("not_initlive", "What answers at this address is not InitLive's API: put its address without /v4 in `url`."),
    ("no_organization", "The key does not reach this organisation: check `organization`, and whose key it is."),
    ("empty_list", "Nobody can be seen: check whether the key's owner is a Full Organization Manager."),
    ("incomplete_list", "The list of users could not be searched whole: it is tried again by itself."),
    ("read_back", "The write was carried out but could not be read back: it is read again by itself."),
    (
        "unauthorised",
        "The key is not accepted: look under Data Tools > API Access whether it is switched on and not expired, and that \
         its maker is a Full Organization Manager; start the workers again with a new one.",
    ),
];

/// Words by which a refusal of an e-mail address says that another user has it.
const TAKEN: [&str; 5] = ["already", "in use", "taken", "exists", "duplicate"];

/// What a person does about a failure with this code, in one sentence.
pub fn remedy(code: &Code) -> Option<&'static str> {
    http::find(REMEDIES, code).or_else(|| http::remedy(code))
}

/// What a request is about. It decides whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Any user: listing, reading, creating. Who may not do that may do nothing: the key's fault.
    Roster,
    /// A change of one user, who may keep their own profile, while the others flow on.
    User,
}

/// What a refusal says of each member.
fn objections(answer: &Answer) -> Vec<(String, String)> {
    let body: Json = serde_json::from_str(&answer.body).unwrap_or_default();
    let fields = body.get("fields").and_then(Json::as_object).into_iter().flatten();
    fields.map(|(member, text)| (member.clone(), text.to_string().to_lowercase())).collect()
}

/// What an answer with an error status means. Its texts decide and stay out: they may quote values.
pub fn classify(answer: &Answer, subject: Subject) -> Failure {
    use FailureClass::{Permanent, Transient, Unauthorised};
    let by_status = answer.failure();
    if answer.is_html() {
        return by_status;
    }
    let told = |class, code, text: &'static str| answer.marked(Failure::new(class, Code::known(code), text));
    match (answer.status, subject) {
        (StatusCode::FORBIDDEN, Subject::Roster) => told(Unauthorised, "unauthorised", "the key lacks the right"),
        (StatusCode::FORBIDDEN, Subject::User) => {
            told(Permanent, OWNED_ELSEWHERE, "the person keeps their profile, which nobody else may change")
        }
        // Paused and not buried: it concerns everybody, and a gateway may have lost its routes.
        (StatusCode::NOT_FOUND, Subject::Roster) if is_error(answer) => {
            told(Transient, "no_organization", "there is no such organisation for this key")
        }
        (StatusCode::NOT_FOUND, _) => told(Transient, "not_initlive", "the answer does not come from InitLive's API"),
        (StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY, _) => {
            let attribute = objections(answer).iter().find_map(|(member, _)| attribute_of(member));
            match attribute {
                Some(attribute) => told(Permanent, "invalid_value", "InitLive refuses a value").at(attribute),
                None => by_status,
            }
        }
        _ => by_status,
    }
}

/// Whether a 404 says, in the words of this API or in none, that there is no such user.
pub fn says_absent(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND && !answer.is_html() && (answer.body.trim().is_empty() || is_error(answer))
}

fn is_error(answer: &Answer) -> bool {
    serde_json::from_str::<Json>(&answer.body).is_ok_and(|body| body.get("error").is_some())
}

/// Whether an answer to a write says that somebody else has the e-mail address.
pub fn says_taken(answer: &Answer) -> Option<AttributePath> {
    let is_about = matches!(answer.status.as_u16(), 400 | 409 | 422) && !answer.is_html();
    let said = objections(answer).into_iter().find(|(member, _)| member.eq_ignore_ascii_case(USERNAME));
    let is_taken = |text: &str| answer.status == StatusCode::CONFLICT || TAKEN.iter().any(|word| text.contains(word));
    said.filter(|(_, text)| is_about && is_taken(text)).and_then(|_| attribute_of(USERNAME))
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

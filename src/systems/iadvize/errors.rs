//! What iAdvize's errors mean: the error types of GraphQL, the sentences of REST, and what a person does about each.

use reqwest::StatusCode;
use serde_json::Value as Json;

use super::attributes::{ATTRIBUTES, Wire};
use crate::domain::{AttributePath, Code, Failure, FailureClass};
use crate::systems::http::{self, Answer, Effect, Remedy};

/// Error types of GraphQL, what they are called here, and the attribute at fault. Types that stand in none of the public
/// copies of the reference, and are our own choice: `UserNotFoundError`, the `Invalid...` ones of roles, projects, skills,
/// groups and slots, `PasswordTooWeakError`, `ChannelNotSubscribedError`, and those of empty names.
pub const USER_ERRORS: &[(&str, &str, Option<&str>)] = &[
    ("EmailAlreadyUsedError", "email_exists", Some("emails")),
    ("SAMLUserIdAlreadyUsedError", "saml_id_exists", Some("native.samlId")),
    ("UserNotFoundError", "account_gone", None),
    ("InvalidEmailError", "invalid_email", Some("emails")),
    ("ExternalIdIsEmptyError", "external_id_refused", None),
    ("FirstNameIsEmptyError", "required_missing", Some("name.givenName")),
    ("LastNameIsEmptyError", "required_missing", Some("name.familyName")),
    ("UserNameIsEmptyError", "required_missing", Some("nickName")),
    ("SAMLUserIdIsEmptyError", "required_missing", Some("native.samlId")),
    ("InvalidAvatarUrlError", "invalid_avatar", Some("native.avatar")),
    ("ChatAndCallWithDisabledCallError", "chat_and_call_without_call", Some("native.chatAndCall")),
    ("ChatToVideoWithDisabledVideoError", "chat_to_video_without_video", Some("native.chatToVideo")),
    ("IncompatibleAskForNumberChoiceError", "phone_without_number", Some("native.callFrom")),
    ("InvalidRoleIdError", "unknown_role", Some("roles")),
    ("InvalidProjectIdsError", "unknown_project", Some("native.projects")),
    ("InvalidSkillIdsError", "unknown_skill", Some("native.skills")),
    ("InvalidGroupIdError", "unknown_group", Some("native.group")),
    ("InvalidNumberOfSlotsError", "too_many_slots", Some("native.chatSlots")),
    ("PasswordTooWeakError", "password_refused", None),
    ("ChannelNotSubscribedError", "channel_not_subscribed", None),
    ("CannotChangeOwnRoleError", "own_role", Some("roles")),
];

/// What a person does about each code of this connector.
const REMEDIES: &[Remedy] = &[
    ("login_refused", "Check `username` and `password`: the login of an administrator or manager of iAdvize."),
    ("login_limit", "iAdvize allows ten logins in a minute: look for another program that logs in with this user."),
    ("own_rate_limit", "It goes on by itself; if iAdvize allows more calls, raise `calls_per_second`."),
    ("email_exists", "Somebody in iAdvize has this e-mail address: link the two by hand, or correct one of them."),
    ("saml_id_exists", "Somebody in iAdvize has this SAML id: correct one of the two."),
    ("account_gone", "The operator was deleted in iAdvize: remove the link, or let the next sync decide."),
    ("invalid_email", "The address is no valid mailbox: correct it, since iAdvize mails the password link there."),
    ("external_id_refused", "iAdvize refused the partner's id as external id: report it."),
    ("required_missing", "iAdvize needs this value: fill it in the other system, or put it into `defaults`."),
    ("cannot_clear", "iAdvize cannot clear this: change it there by hand, or keep a value in the other system."),
    ("unknown_attribute", "This API of iAdvize has no such attribute: take it out of the mapping."),
    ("unknown_project", "No project of iAdvize has this name: make one, or correct the name."),
    ("unknown_group", "No group of iAdvize has this name: make one, or correct the name."),
    ("unknown_skill", "No skill of iAdvize has this name: make one, or correct the name."),
    ("unknown_role", "No role of iAdvize has this name: operator, manager, admin, or one that was made there."),
    ("ambiguous_name", "iAdvize has two entries of this name: rename one of them."),
    ("unknown_word", "iAdvize has other words for this: see docs/systems/iadvize.md."),
    ("invalid_language", "A language is two small letters, such as fr; over REST the main one is de, en, es or fr."),
    ("invalid_time_zone", "A time zone has a name such as Europe/Paris."),
    ("invalid_phone_number", "A number for calls begins with + and the code of the country."),
    ("invalid_avatar", "An avatar is the https address of a PNG, JPG or GIF, 60 by 60 pixels at best."),
    ("too_many_slots", "iAdvize allows 1 to 6 chats at once, and advises 4 at most."),
    ("too_few_slots", "iAdvize wants at least one chat at once: switch the channel off instead."),
    (
        "channel_not_subscribed",
        "The subscription does not have this channel: take it out of the mapping, or ask iAdvize.",
    ),
    ("chat_and_call_without_call", "Chats and calls at once need calls: switch these on."),
    ("chat_to_video_without_video", "From chat to video needs video: switch it on."),
    ("phone_without_number", "Calls on a phone need its number, or the question for it at each login."),
    ("own_role", "Nobody changes the own role: use another login for the synchronisation."),
    ("password_refused", "Muster sends no passwords: report it."),
    ("user_error", "iAdvize refuses the values: see the message."),
    ("invalid_value", "iAdvize refuses the value: correct it."),
    ("unknown_account", "iAdvize has no operator with this id: correct the link."),
    ("graphql_refused", "iAdvize does not understand the query: see what docs/systems/iadvize.md calls unconfirmed."),
    ("graphql_failed", "iAdvize failed in the middle of the query; if it goes on, give its support the time."),
    ("vendor_error", "iAdvize answered with an error that says no more; if it goes on, ask its support."),
    (
        "presence_unknown",
        "The presence of operators cannot be told: look at the rights, or set `presence = \"ignore\"`.",
    ),
    ("logged_in", "The operator is logged in: it is tried again by itself when nobody would be thrown out."),
    ("in_conversation", "iAdvize did not take the change, since the operator is working: it is tried again by itself."),
    (
        "not_taken",
        "iAdvize said yes and kept the old value: see whether the subscription and the rights allow this one.",
    ),
    ("not_searchable", "Operators are searched by emails and the partner's id only: match on emails."),
    ("read_back", "The write was carried out but could not be read back: it is read again by itself."),
];

/// What a person does about a failure with this code, in one sentence.
pub fn remedy(code: &Code) -> Option<&'static str> {
    http::find(REMEDIES, code).or_else(|| http::remedy(code))
}

/// A failure that no trying again mends, said by an answer.
pub fn permanent(answer: &Answer, code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    answer.marked(Failure::new(FailureClass::Permanent, code, message))
}

/// What an error type of GraphQL means. The vendor's message stays out: it may quote values.
pub fn user_error(answer: &Answer, typename: &str) -> Failure {
    // The older family of mutations has long names that begin alike.
    let known = USER_ERRORS.iter().find(|(known, ..)| typename.starts_with(known.trim_end_matches("Error")));
    let Some((kind, code, attribute)) = known else {
        let code = Code::vendor(typename);
        return permanent(answer, code, "iAdvize refuses the values");
    };
    let failure = permanent(answer, Code::known(code), format!("iAdvize answered {kind}"));
    Failure { attribute: attribute.map(|name| name.parse().expect("the names of this table are paths")), ..failure }
}

/// What the top-level errors of a GraphQL answer mean: nothing was carried out if it was refused before it began, else
/// nobody knows.
pub fn graphql_errors(answer: &Answer, errors: &[Json], effect: Effect) -> Failure {
    let says = |word: &str| {
        errors.iter().any(|error| {
            let text = |pointer: &str| error.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
            [text("/message"), text("/extensions/code")].iter().any(|text| text.to_ascii_lowercase().contains(word))
        })
    };
    // Begun, and failed at a field.
    if errors.iter().any(|error| error.get("path").is_some()) && !says("forbidden") {
        let failure = Failure::new(FailureClass::Transient, Code::known("graphql_failed"), "iAdvize failed at a field");
        let failure = answer.marked(failure);
        return if effect == Effect::Write { failure.in_doubt() } else { failure };
    }
    if says("forbidden") {
        return permanent(answer, Code::known("forbidden"), "the login may not do this");
    }
    permanent(answer, Code::known("graphql_refused"), "iAdvize refuses the query")
}

/// What REST says: `meta.status` decides, whatever the HTTP status is.
#[derive(Debug)]
pub enum Said {
    /// It was carried out.
    Success(Json),
    /// The operator of the address is not there.
    Unknown,
    /// A value was refused; of this field, if it is named.
    Refused(Option<String>, Failure),
}

/// What an answer of REST says.
///
/// # Errors
/// It is none in REST's envelope, or says that something broke or is not allowed.
pub fn rest_answer(answer: &Answer, effect: Effect) -> Result<Said, Failure> {
    let by_status = answer.failure();
    // Whoever is asked to wait waits, whatever else stands there.
    if answer.status == StatusCode::TOO_MANY_REQUESTS || !answer.status.is_success() && by_status.retry_after.is_some()
    {
        return Err(by_status);
    }
    let envelope: Option<Json> = serde_json::from_str(&answer.body).ok();
    let status = envelope.as_ref().and_then(|envelope| envelope.pointer("/meta/status")?.as_str()).map(str::to_owned);
    let (Some(envelope), Some(status)) = (envelope, status) else {
        return Err(match answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            true => answer.unreadable("the answer does not come from iAdvize's REST API"),
            false => by_status,
        });
    };
    let message = envelope.pointer("/meta/message").and_then(Json::as_str).unwrap_or_default();
    match status.as_str() {
        "success" => Ok(Said::Success(envelope)),
        "fail" if message.starts_with("Unknown '") && message.contains("with 'id'") => Ok(Said::Unknown),
        "fail" => {
            let field = quoted(message);
            let missing = message.ends_with("is missing.");
            let code = if missing { "required_missing" } else { "invalid_value" };
            let text = if missing { "iAdvize misses a value" } else { "iAdvize refuses a value" };
            let mut failure = permanent(answer, Code::known(code), text);
            failure.attribute = field.as_deref().and_then(attribute_of);
            Ok(Said::Refused(field, failure))
        }
        _ if message.eq_ignore_ascii_case("forbidden") || answer.status == StatusCode::FORBIDDEN => {
            let class = FailureClass::Unauthorised;
            let failure = Failure::new(class, Code::known("unauthorised"), "the API key was not accepted");
            Err(answer.marked(failure))
        }
        _ if !answer.status.is_success() => Err(by_status),
        _ => {
            let failure =
                Failure::new(FailureClass::Transient, Code::known("vendor_error"), "iAdvize reports an error");
            let failure = answer.marked(failure);
            Err(if effect == Effect::Write { failure.in_doubt() } else { failure })
        }
    }
}

/// The first word in quotes of a sentence.
fn quoted(message: &str) -> Option<String> {
    message.split('\'').nth(1).map(str::to_owned)
}

/// The attribute that REST calls by this name.
fn attribute_of(field: &str) -> Option<AttributePath> {
    let inside = |pointer: &str| pointer.split('/').nth(1) == Some(field);
    let field = if field == "role" { "roles" } else { field };
    let mut known = ATTRIBUTES.iter();
    let named = |pointer: &str| pointer.strip_prefix('/') == Some(field) || inside(pointer);
    known
        .find(|attribute| attribute.place(Wire::Rest).is_some_and(|place| named(place.write)))
        .map(|known| known.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_remedy() {
        for (_, code, _) in USER_ERRORS {
            assert!(remedy(&Code::known(code)).is_some_and(|text| text.ends_with('.')), "{code}");
        }
        assert!(remedy(&Code::known("timeout")).is_some());
    }

    #[test]
    fn fields_of_rest_are_named_by_their_attributes() {
        for (message, expected) in [
            ("Value of field 'email' is not valid.", Some("emails")),
            ("Field 'pseudo' is missing.", Some("nickName")),
            ("Value of field 'call_config' is not valid.", Some("native.callAskNumber")),
            ("Value of field 'role' is not valid.", Some("roles")),
            ("Something else.", None),
        ] {
            let found = quoted(message).as_deref().and_then(attribute_of);
            assert_eq!(found.as_ref().map(AttributePath::as_str), expected, "{message}");
        }
    }
}

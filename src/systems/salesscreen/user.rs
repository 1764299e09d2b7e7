//! A user of SalesScreen: the attributes that can be mapped, and the body of `User/Add` that carries them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::domain::{AccountId, AttributePath, Attributes, Code, Comparison, Failure, FailureClass, Value};
use crate::systems::salesforce::id::parse_id as parse_salesforce_id;
use crate::systems::{AttributeSchema, Schema, ValueKind};

/// Where the key of a user's team stands. Without a team, nothing of a user is shown (R50).
pub const TEAM: &str = "native.team";

const NAME: Comparison = Comparison { fold_case: false, trim: false, empty_is_clear: true };
const ADDRESS: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: true };

/// The attributes: canonical name, the member of the body, kind and comparison.
const ATTRIBUTES: &[(&str, &str, ValueKind, Comparison)] = &[
    ("emails", "email", ValueKind::Email, ADDRESS),
    ("name.givenName", "firstname", ValueKind::Text, NAME),
    ("name.familyName", "lastname", ValueKind::Text, NAME),
    (TEAM, "team", ValueKind::Text, NAME),
];

/// What is known of users, at an account that is called at most `concurrency` times at once.
pub fn schema(concurrency: usize) -> Schema {
    let attributes = ATTRIBUTES.iter().map(|(canonical, _, kind, comparison)| AttributeSchema {
        path: path(canonical),
        kind: *kind,
        max_chars: None,
        required: *canonical == "emails",
        writable: true,
        comparison: *comparison,
    });
    Schema {
        attributes: attributes.collect(),
        grain: Duration::from_secs(1),
        stamps: false,
        batch: 1,
        calls: concurrency,
        writable: true,
        readable: false,
        whole: true,
        shown_by: Some(path(TEAM)),
        partner: None,
        incremental: false,
        parse_id,
        search_lag: Duration::ZERO,
    }
}

/// [`TEAM`].
pub fn team() -> AttributePath {
    path(TEAM)
}

/// The canonical name of a member of the body, as errors name it.
pub fn attribute_of(member: &str) -> Option<AttributePath> {
    let attribute = ATTRIBUTES.iter().find(|(_, known, ..)| member.eq_ignore_ascii_case(known));
    attribute.map(|(canonical, ..)| path(canonical))
}

fn path(canonical: &str) -> AttributePath {
    canonical.parse().expect("the names of this table are paths")
}

/// The ids are those of the partner, mostly Salesforce's: of these, the short form of reports becomes the long one (R48).
fn parse_id(text: &str) -> Option<AccountId> {
    let text = text.trim();
    // Users and contacts. A number of 15 digits is somebody else's.
    let is_salesforce = (text.starts_with("005") || text.starts_with("003"))
        && matches!(text.len(), 15 | 18)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_salesforce { parse_salesforce_id(text) } else { text.parse().ok() }
}

/// The body that brings the user of `account` to these values. A name that is cleared is sent empty, since what happens to
/// one that is left out is unconfirmed. A team cannot be taken away: without one, the user stays where they are.
///
/// # Errors
/// A value that must not be sent: the refusal names the rule (B22).
pub fn body(account: &AccountId, values: &Attributes, teams: &BTreeMap<String, String>) -> Result<Json, Failure> {
    let mut body = json!({ "userId": account.as_str() });
    for (attribute, value) in values {
        let known = ATTRIBUTES.iter().find(|(canonical, ..)| *canonical == attribute.as_str());
        let Some((canonical, member, ..)) = known else {
            return Err(refused("unknown_attribute", "SalesScreen has no such attribute", attribute));
        };
        let text = match value {
            Some(Value::Text(text)) => text.as_str(),
            Some(_) => return Err(refused("unexpected_value", "this attribute takes a text", attribute)),
            None => "",
        };
        match *canonical {
            TEAM if text.is_empty() => {}
            TEAM => {
                let name = teams.get(text).ok_or_else(|| {
                    let rule = "this key is not among the `teams` of the configuration, and SalesScreen would make a \
                                second team of it";
                    refused("unknown_team", rule, attribute)
                })?;
                body[*member] = json!({ "key": text, "name": name });
            }
            _ => body[*member] = json!(text),
        }
    }
    if body["email"].as_str().is_none_or(|email| email.trim().is_empty()) {
        let rule = "each write needs the e-mail address and all other mapped values";
        return Err(refused("partial_write", rule, &path("emails")));
    }
    Ok(body)
}

/// Whether these values leave a user without a team that would show them.
pub fn lacks_team(values: &Attributes) -> bool {
    let team = values.iter().find(|(attribute, _)| attribute.as_str() == TEAM).and_then(|(_, value)| value.as_ref());
    team.and_then(Value::as_text).is_none_or(str::is_empty)
}

fn refused(code: &'static str, rule: &'static str, attribute: &AttributePath) -> Failure {
    Failure::new(FailureClass::Permanent, Code::known(code), rule).at(attribute.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn teams() -> BTreeMap<String, String> {
        [("north".to_owned(), "North".to_owned())].into()
    }

    fn body_of(pairs: &[(&str, Option<&str>)]) -> Result<Json, String> {
        let values = pairs.iter().map(|(name, value)| (path(name), value.map(Value::from))).collect();
        let account = "005RM000001iKYtYAM".parse().unwrap();
        body(&account, &values, &teams()).map_err(|failure| failure.code.to_string())
    }

    /// R50, B21, B22: a clear is sent as one, a team by its key and its name, and what must not be sent is not.
    #[test]
    fn a_body_carries_what_is_mapped() {
        let email = ("emails", Some("ada@x.example"));
        let expected = json!({"userId": "005RM000001iKYtYAM", "email": "ada@x.example", "firstname": "",
            "team": {"key": "north", "name": "North"}});
        assert_eq!(body_of(&[email, ("name.givenName", None), (TEAM, Some("north"))]), Ok(expected));
        let without = json!({"userId": "005RM000001iKYtYAM", "email": "ada@x.example"});
        assert_eq!(body_of(&[email, (TEAM, None)]), Ok(without));
        for (values, code) in [
            (&[email, (TEAM, Some("nowhere"))][..], "unknown_team"),
            (&[email, (TEAM, Some("North"))], "unknown_team"),
            (&[email, ("title", Some("Agent"))], "unknown_attribute"),
            (&[(TEAM, Some("north"))], "partial_write"),
            (&[("emails", None)], "partial_write"),
        ] {
            assert_eq!(body_of(values), Err(code.to_owned()), "{values:?}");
        }
    }

    /// R48: the short form of Salesforce's reports is the long one; what is not Salesforce's stays as it is.
    #[test]
    fn ids_have_one_form() {
        for (text, id) in [
            ("005RM000001iKYt", Some("005RM000001iKYtYAM")),
            (" 005RM000001iKYtYAM ", Some("005RM000001iKYtYAM")),
            ("005rm000001ikytYAM", None),
            ("005123456789012", Some("005123456789012")),
            ("ada@example.com", Some("ada@example.com")),
        ] {
            assert_eq!(parse_id(text).as_ref().map(AccountId::as_str), id, "{text}");
        }
    }
}

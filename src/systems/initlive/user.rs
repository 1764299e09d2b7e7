//! A user as the API shows and takes one.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use serde_json::{Map, Value as Json, json};
use siphasher::sip::SipHasher13;

use super::attributes::{ADDRESS, ATTRIBUTES, Attribute, BIRTH, EXTERNAL_ID, Place, USERNAME, attribute, parse_id};
use crate::domain::{
    AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Snapshot, Timestamp, Value, Version,
};
use crate::systems::http::check_value;
use crate::systems::{Record, ValueKind};

/// The id of a user, a number or the text of one.
pub fn id_of(user: &Json) -> Option<AccountId> {
    match user.get("id")? {
        Json::Number(number) => parse_id(&number.to_string()),
        Json::String(text) => parse_id(text),
        _ => None,
    }
}

/// The e-mail address of a user.
pub fn username_of(user: &Json) -> Option<&str> {
    user.get(USERNAME)?.as_str()
}

/// The partner's id, if the user has one.
pub fn partner_of(user: &Json) -> Option<AccountId> {
    user.get(EXTERNAL_ID)?.as_str()?.parse().ok()
}

/// Reads a user that was shown at `read_at`; `lossy`: some of the answer was not UTF-8.
pub fn read(user: &Json, read_at: Timestamp, lossy: bool) -> Record {
    let Some(account) = id_of(user) else {
        return Record::Unreadable { account: None, code: Code::known("invalid_id"), attribute: None };
    };
    let mut attributes = Attributes::new();
    for attribute in ATTRIBUTES {
        let value = match member(user, attribute.place) {
            // Not shown is not seen.
            None => continue,
            // Whatever else is kept there is no id, and not written over.
            Some(json) if attribute.canonical == EXTERNAL_ID && json.as_str().is_none() && !json.is_null() => continue,
            Some(json) => canonical(json, attribute.kind),
        };
        let checked = value.and_then(|value| match value {
            Some(value) => check_value(&value, lossy).map(|()| Some(value)),
            None => Ok(None),
        });
        match checked {
            Ok(value) => drop(attributes.insert(attribute.path(), value)),
            Err(code) => {
                return Record::Unreadable { account: Some(account), code, attribute: Some(attribute.path()) };
            }
        }
    }
    let modified_at = user.get("dateModified").and_then(Json::as_str).and_then(parse_time);
    // Without a stamp, whether a user moved on is told by what they hold.
    let tag = modified_at.is_none().then(|| contents_tag(&attributes));
    let version = Version { modified_at, read_at, tag }.without_future_stamp();
    Record::Account(Snapshot { account, version, attributes, partner: partner_of(user) })
}

/// Whether a user is in another state than the one that a write was decided on.
pub fn moved(now: &Snapshot, decided_on: &Version) -> bool {
    match (now.version.modified_at, decided_on.modified_at) {
        (Some(now), Some(then)) => now != then,
        _ => decided_on.tag.as_deref().is_some_and(|then| *contents_tag(&now.attributes) != *then),
    }
}

/// Whether the user has all these values already.
pub fn holds(user: &Json, values: &Attributes) -> bool {
    values.iter().all(|(path, value)| attribute(path).is_some_and(|attribute| has(user, attribute, value.as_ref())))
}

/// Byte for byte, but for what the API does not keep apart: absent, null and empty.
fn has(user: &Json, attribute: &Attribute, value: Option<&Value>) -> bool {
    let found = member(user, attribute.place).map_or(Ok(None), |json| canonical(json, attribute.kind));
    let kept = |value: Option<&Value>| value.filter(|value| value.as_text() != Some("")).cloned();
    found.is_ok_and(|found| kept(found.as_ref()) == kept(value))
}

/// The body that creates a user with these values, and with what they leave open from the defaults.
///
/// # Errors
/// A value that must not be sent.
pub fn creation(partner: &AccountId, values: &Attributes, defaults: &BTreeMap<String, Value>) -> Result<Json, Failure> {
    let given: Attributes =
        values.iter().filter(|(_, value)| value.is_some()).map(|(path, value)| (path.clone(), value.clone())).collect();
    let mut body = change(&given, &Json::Null)?;
    for (name, value) in defaults {
        body.entry(name.clone()).or_insert_with(|| plain(value));
    }
    body.insert(EXTERNAL_ID.to_owned(), json!(partner.as_str()));
    Ok(Json::Object(body))
}

/// The body that brings a user who was shown as `current` to these values. It carries what is written and nothing else,
/// but an address whole: whether one that is sent in part keeps the rest is unconfirmed.
///
/// # Errors
/// A value that must not be sent: the refusal names the rule (B22).
pub fn change(values: &Attributes, current: &Json) -> Result<Map<String, Json>, Failure> {
    let mut body = Map::new();
    for (path, value) in values {
        let Some(attribute) = attribute(path).filter(|attribute| attribute.writable) else {
            return Err(refused("unknown_attribute", "InitLive has no such attribute that can be written", path));
        };
        let text = match value {
            Some(Value::Text(text)) => Some(text.as_str()).filter(|text| !text.is_empty()),
            Some(_) => return Err(refused("unexpected_value", "this attribute takes a text", path)),
            None => None,
        };
        if attribute.required && text.is_none_or(|text| text.trim().is_empty()) {
            return Err(refused("cannot_be_cleared", "InitLive has no user without it", path));
        }
        if attribute.canonical == BIRTH && text.is_some_and(|text| text.parse::<jiff::civil::Date>().is_err()) {
            return Err(refused("invalid_date", "a date is written as in 1999-12-31", path));
        }
        match attribute.place {
            Place::Top(name) => drop(body.insert(name.to_owned(), json!(text))),
            Place::Address(name) => {
                let shown = current.get(ADDRESS).filter(|address| address.is_object());
                let address = body.entry(ADDRESS).or_insert_with(|| shown.cloned().unwrap_or_else(|| json!({})));
                address[name] = json!(text.unwrap_or_default());
            }
        }
    }
    Ok(body)
}

fn member(user: &Json, place: Place) -> Option<&Json> {
    match place {
        Place::Top(name) => user.get(name),
        Place::Address(name) => user.get(ADDRESS)?.get(name),
    }
}

/// A value under its canonical form; `None` is null, or an empty text, of which the API makes no difference.
fn canonical(json: &Json, kind: ValueKind) -> Result<Option<Value>, Code> {
    match (kind, json) {
        (_, Json::Null) => Ok(None),
        (ValueKind::Set, Json::Array(items)) => {
            let items = items.iter().map(|item| item.as_str().map(str::to_owned));
            let items: Option<_> = items.collect();
            items.map(|items| Some(Value::Set(items))).ok_or(Code::known("unexpected_value"))
        }
        (ValueKind::Text | ValueKind::Email, Json::String(text)) => {
            Ok(Some(text).filter(|text| !text.is_empty()).map(|text| Value::Text(text.clone())))
        }
        _ => Err(Code::known("unexpected_value")),
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Set(items) => json!(items),
        Value::Reference { account } => json!(account.as_str()),
    }
}

/// A tag for users without a stamp: the same for the same values, in every process.
fn contents_tag(attributes: &Attributes) -> Box<str> {
    let text = serde_json::to_string(attributes).expect("attributes are JSON");
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    format!("{:016x}", hasher.finish()).into()
}

fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_millisecond()))
}

fn refused(code: &'static str, rule: &'static str, attribute: &AttributePath) -> Failure {
    Failure::new(FailureClass::Permanent, Code::known(code), rule).at(attribute.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, Option<&str>)]) -> Attributes {
        pairs.iter().map(|(path, value)| (path.parse().unwrap(), value.map(Value::from))).collect()
    }

    fn ada() -> Json {
        json!({"id": 42, "username": "Ada@x.example", "firstName": "Ada", "phone": "", "gender": null,
            "address": {"city": "London", "street": "1 Row"}, "tags": ["Bar"], "externalId": "003x",
            "dateModified": "2026-11-21T10:00:00Z"})
    }

    #[test]
    fn a_user_is_read_under_canonical_names() {
        let Record::Account(snapshot) = read(&ada(), Timestamp(1_800_000_000_000), false) else { panic!() };
        assert_eq!((snapshot.account.as_str(), snapshot.partner), ("42", Some("003x".parse().unwrap())));
        let mut expected = values(&[
            ("emails", Some("Ada@x.example")),
            ("externalId", Some("003x")),
            ("name.givenName", Some("Ada")),
            ("phoneNumbers", None),
            ("native.gender", None),
            ("addresses.locality", Some("London")),
            ("addresses.streetAddress", Some("1 Row")),
        ]);
        expected.insert("native.tags".parse().unwrap(), Some(Value::Set(["Bar".to_owned()].into())));
        assert_eq!(snapshot.attributes, expected, "lastName was not shown, so it was not seen");
        assert!(snapshot.version.modified_at.is_some() && snapshot.version.tag.is_none());
        for (broken, account) in [(json!({"id": "x"}), None), (json!({"id": "42", "firstName": 1}), Some("42"))] {
            let Record::Unreadable { account: found, .. } = read(&broken, Timestamp(0), false) else { panic!() };
            assert_eq!(found.as_ref().map(AccountId::as_str), account);
        }
    }

    /// R9-R11, B21: only what is written is sent, a clear as null, and an address with the parts that it has.
    #[test]
    fn a_change_carries_only_what_is_written() {
        let body = change(&values(&[("phoneNumbers", None), ("addresses.locality", Some("Paris"))]), &ada()).unwrap();
        assert_eq!(Json::Object(body), json!({"phone": null, "address": {"city": "Paris", "street": "1 Row"}}));
        for (pair, code) in [
            (("emails", None), "cannot_be_cleared"),
            (("name.givenName", Some(" ")), "cannot_be_cleared"),
            (("native.dob", Some("10.12.1815")), "invalid_date"),
            (("native.tags", Some("Bar")), "unknown_attribute"),
            (("title", Some("x")), "unknown_attribute"),
        ] {
            assert_eq!(change(&values(&[pair]), &ada()).unwrap_err().code.as_str(), code, "{pair:?}");
        }
        assert!(holds(&ada(), &values(&[("phoneNumbers", None), ("addresses.region", None)])));
        assert!(!holds(&ada(), &values(&[("emails", Some("ada@x.example"))])));
    }

    #[test]
    fn a_creation_takes_from_the_defaults_what_is_open() {
        let defaults = [("langPref".to_owned(), Value::from("eng_can")), ("lastName".to_owned(), Value::from("-"))];
        let given = values(&[("emails", Some("a@b")), ("name.familyName", None), ("name.givenName", Some("Ada"))]);
        let body = creation(&"003x".parse().unwrap(), &given, &defaults.into()).unwrap();
        let expected = json!({"username": "a@b", "firstName": "Ada", "lastName": "-", "langPref": "eng_can", "externalId": "003x"});
        assert_eq!(body, expected);
    }

    #[test]
    fn a_user_moved_if_the_stamp_or_else_the_contents_did() {
        let at = |user: &Json| match read(user, Timestamp(1_800_000_000_000), false) {
            Record::Account(snapshot) => snapshot,
            Record::Unreadable { .. } => panic!(),
        };
        let (now, mut bare) = (at(&ada()), ada());
        assert!(!moved(&now, &now.version));
        assert!(moved(&now, &Version { modified_at: Some(Timestamp(0)), ..now.version.clone() }));
        bare["dateModified"] = Json::Null;
        let before = at(&bare);
        assert!(!moved(&before, &before.version));
        bare["firstName"] = json!("Augusta");
        assert!(moved(&at(&bare), &before.version));
    }
}

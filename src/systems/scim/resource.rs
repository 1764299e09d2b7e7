//! Reading a User resource, with the liberties that servers take.

use serde_json::{Map, Value as Json};
use siphasher::sip::SipHasher13;

use super::attributes::{ATTRIBUTES, Attribute, ENTERPRISE, Place};
use crate::domain::{AccountId, Attributes, Code, Snapshot, Timestamp, Value, Version};
use crate::systems::http::check_value;
use crate::systems::{Record, ValueKind};

/// A member of an object. SCIM's names have no letter case.
pub fn member<'j>(object: &'j Json, name: &str) -> Option<&'j Json> {
    let object = object.as_object()?;
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// The name under which an object has a member, whatever its letter case.
pub fn key_of(object: &Map<String, Json>, name: &str) -> String {
    let known = object.contains_key(name).then_some(name);
    known
        .or_else(|| object.keys().map(String::as_str).find(|key| key.eq_ignore_ascii_case(name)))
        .unwrap_or(name)
        .into()
}

/// A text, also where a server sends a number for one.
pub fn text_of(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Yes or no, also where a server sends a text for it.
pub fn bool_of(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(value) => Some(*value),
        Json::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Json::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The resource's id.
pub fn id_of(resource: &Json) -> Option<AccountId> {
    text_of(member(resource, "id")?)?.parse().ok()
}

/// The partner's id, as `externalId` names it.
pub fn partner_of(resource: &Json) -> Option<AccountId> {
    text_of(member(resource, "externalId")?)?.parse().ok()
}

/// The place in a list of the entry that has the type `kind`: the primary one if there are several. For `work`, an
/// entry without a type will do. A `home` address is never taken for the work one.
pub fn entry_of(list: &[Json], kind: &str) -> Option<usize> {
    let of_type = |entry: &Json| match member(entry, "type").and_then(Json::as_str) {
        Some(found) => found.eq_ignore_ascii_case(kind).then_some(0),
        None => (kind == "work").then_some(2),
    };
    let primary = |entry: &Json| member(entry, "primary").and_then(bool_of) == Some(true);
    let rank = |entry: &Json| of_type(entry).map(|rank| rank + u8::from(!primary(entry)));
    let ranked = list.iter().enumerate().filter_map(|(place, entry)| Some((rank(entry)?, place)));
    ranked.min().map(|(_, place)| place)
}

/// What the resource has at a place; `None` if it is unassigned (absent, null or an empty list are one to SCIM).
fn found(resource: &Json, place: Place) -> Option<&Json> {
    let json = match place {
        Place::Top(name) => member(resource, name),
        Place::Within(outer, name) => member(member(resource, outer)?, name),
        Place::Enterprise(name) => member(member(resource, ENTERPRISE)?, name),
        Place::Entry(name, kind) => {
            let list = member(resource, name)?.as_array()?;
            let entry = &list[entry_of(list, kind)?];
            // Some servers list bare texts.
            if entry.is_string() { Some(entry) } else { member(entry, "value") }
        }
    }?;
    (!json.is_null()).then_some(json)
}

/// The value of an attribute; `Ok(None)` if it is unassigned.
pub fn value_of(resource: &Json, attribute: &Attribute) -> Result<Option<Value>, Code> {
    let Some(json) = found(resource, attribute.place) else { return Ok(None) };
    let value = match attribute.kind {
        ValueKind::Bool => bool_of(json).map(Value::Bool),
        _ => text_of(json).map(Value::Text),
    };
    value.map(Some).ok_or(Code::known("unexpected_value"))
}

/// Reads a resource that was true at `read_at` in the server's clock. `tag` is the `ETag` of an answer that shows only
/// this resource; `lossy`: some of the answer was not UTF-8.
pub fn read(resource: &Json, read_at: Timestamp, tag: Option<&str>, lossy: bool) -> Record {
    let unreadable = |account, code, attribute| Record::Unreadable { account, code, attribute };
    let Some(account) = id_of(resource) else {
        return unreadable(None, Code::known("invalid_id"), None);
    };
    if check_value(&Value::from(account.as_str()), lossy).is_err() {
        return unreadable(None, Code::known("invalid_text"), None);
    }
    let mut attributes = Attributes::new();
    for attribute in ATTRIBUTES {
        let value = match value_of(resource, attribute) {
            Ok(value) => value,
            Err(code) => return unreadable(Some(account), code, Some(attribute.path())),
        };
        if let Some(Err(code)) = value.as_ref().map(|value| check_value(value, lossy)) {
            return unreadable(Some(account), code, Some(attribute.path()));
        }
        // Servers without the notion leave `active` out. That is no clear: it would read as "inactive".
        if value.is_none() && attribute.kind == ValueKind::Bool {
            continue;
        }
        attributes.insert(attribute.path(), value);
    }
    let meta = |name| member(member(resource, "meta")?, name);
    let modified_at = meta("lastModified").and_then(Json::as_str).and_then(parse_time);
    let tag = meta("version").and_then(Json::as_str).or(tag).filter(|tag| !tag.is_empty()).map(Box::from);
    // With neither a version nor a stamp, what the account holds is the only sign that it changed.
    let tag = tag.or_else(|| modified_at.is_none().then(|| contents_tag(&attributes)));
    let version = Version { modified_at, read_at, tag };
    Record::Account(Snapshot { account, version, attributes, partner: partner_of(resource) })
}

/// What tags begin with that come from us and not from the server.
const CONTENTS: &str = "~";

/// A tag for servers that have none: the same for the same values, in every process.
pub fn contents_tag(attributes: &Attributes) -> Box<str> {
    let text = serde_json::to_string(attributes).expect("attributes are JSON");
    format!("{CONTENTS}{:016x}", SipHasher13::new().hash(text.as_bytes())).into()
}

/// The tag of a version, if it came from the server: what `If-Match` may carry.
pub fn server_tag(version: &Version) -> Option<&str> {
    version.tag.as_deref().filter(|tag| !tag.starts_with(CONTENTS))
}

/// Whether a resource has a boolean as a text.
pub fn has_text_boolean(resource: &Json) -> bool {
    let text = |json: &Json| json.is_string() && bool_of(json).is_some();
    let entries = member(resource, "emails").and_then(Json::as_array).into_iter().flatten();
    member(resource, "active").is_some_and(text) || entries.filter_map(|entry| member(entry, "primary")).any(text)
}

/// A time as servers write it, mostly RFC 3339. Without a zone it is UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let local = text.parse::<jiff::civil::DateTime>().ok()?;
        local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp())
    });
    time.map(|time| Timestamp(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const READ_AT: Timestamp = Timestamp(1_800_000_000_000);

    fn snapshot(resource: &Json) -> Snapshot {
        match read(resource, READ_AT, None, false) {
            Record::Account(snapshot) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    fn value(snapshot: &Snapshot, path: &str) -> Option<Option<Value>> {
        snapshot.attributes.get(&path.parse().unwrap()).cloned()
    }

    #[test]
    fn a_full_user_is_read() {
        let resource = serde_json::from_str(include_str!("../../../tests/data/scim/user.json")).unwrap();
        let snapshot = snapshot(&resource);
        assert_eq!(snapshot.account.as_str(), "2819c223");
        assert_eq!(snapshot.partner.as_ref().map(AccountId::as_str), Some("0055g00000AbCdEQAZ"));
        assert_eq!(snapshot.version.tag.as_deref(), Some("W/\"1\""));
        assert_eq!(snapshot.version.modified_at.map(|time| time.to_string()).as_deref(), Some("2026-11-21T10:00:00Z"));
        for (path, expected) in [
            ("userName", Some("ada@example.com".into())),
            ("name.givenName", Some("Ada".into())),
            ("emails", Some("ada@example.com".into())),
            ("phoneNumbers", Some("tel:+44-20-5550100".into())),
            ("phoneNumbers.mobile", None),
            ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", Some("Support".into())),
            ("active", Some(Value::Bool(true))),
            ("userType", None),
        ] {
            assert_eq!(value(&snapshot, path), Some(expected), "{path}");
        }
    }

    /// B25: dialects of servers are borne.
    #[test]
    fn dialects_are_borne() {
        let snapshot = snapshot(&json!({
            "ID": 42, "USERNAME": "ada", "active": "False", "emails": null, "phoneNumbers": [],
            "meta": {"lastModified": "the day before"}
        }));
        assert_eq!(snapshot.account.as_str(), "42");
        assert_eq!(value(&snapshot, "userName"), Some(Some("ada".into())));
        assert_eq!(value(&snapshot, "active"), Some(Some(Value::Bool(false))));
        assert_eq!(value(&snapshot, "emails"), Some(None));
        assert_eq!(snapshot.version.modified_at, None);
        assert_eq!(snapshot.partner, None);
    }

    #[test]
    fn an_absent_active_is_not_seen_and_no_clear() {
        assert_eq!(value(&snapshot(&json!({"id": "1", "userName": "ada"})), "active"), None);
    }

    #[test]
    fn the_work_entry_is_chosen() {
        for (list, expected) in [
            (json!([{"value": "h", "type": "home", "primary": true}]), None),
            (json!([{"value": "h", "type": "home"}, {"value": "w", "type": "Work"}]), Some(1)),
            (json!([{"value": "a", "type": "work"}, {"value": "b", "type": "work", "primary": "True"}]), Some(1)),
            (json!([{"value": "u", "primary": true}, {"value": "w", "type": "work"}]), Some(1)),
            (json!([{"value": "u"}]), Some(0)),
        ] {
            assert_eq!(entry_of(list.as_array().unwrap(), "work"), expected, "{list}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let long = "x".repeat(70_000);
        for (resource, lossy, code, attribute) in [
            (json!({"userName": "ada"}), false, "invalid_id", None),
            (json!({"id": "1", "active": "perhaps"}), false, "unexpected_value", Some("active")),
            (json!({"id": "1", "title": {"a": 1}}), false, "unexpected_value", Some("title")),
            (json!({"id": "1", "title": long}), false, "value_too_large", Some("title")),
            (json!({"id": "1", "nickName": "Zo\u{fffd}"}), true, "invalid_text", Some("nickName")),
        ] {
            let Record::Unreadable { code: found, attribute: at, .. } = read(&resource, READ_AT, None, lossy) else {
                panic!("{code} was read")
            };
            assert_eq!((found.as_str(), at.as_ref().map(|path| path.as_str())), (code, attribute));
        }
    }
}

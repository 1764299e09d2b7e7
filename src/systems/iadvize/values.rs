//! Values of operators: checked before a call, written as an API wants them, and read from what it answers.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};
use siphasher::sip::SipHasher13;

use super::attributes::{
    ADVISED_SLOTS, ATTRIBUTES, Attribute, Clear, Form, GRAPHQL_BLOCKS, MAX_SLOTS, Member, Place, REST_BLOCKS, Rule,
    Wire, attribute, parse_id,
};
use super::tables::Tables;
use crate::domain::{
    AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Snapshot, Timestamp, Value, Version,
};
use crate::systems::http::check_value;
use crate::systems::{Record, ValueKind};

/// A refusal of a value before any call (B22). The text never shows the value.
pub fn refuse(path: &AttributePath, code: &'static str, what: &str) -> Failure {
    let text = format!("attribute {path} {what}");
    Failure::new(FailureClass::Permanent, Code::known(code), text).at(path.clone())
}

/// Checks values before a call: limits and vocabularies that need nothing from the system.
pub fn check(wire: Wire, values: &Attributes) -> Result<(), Failure> {
    for (path, value) in values {
        let Some((attribute, place)) = attribute(path).and_then(|known| Some((known, known.place(wire)?))) else {
            return Err(refuse(path, "unknown_attribute", "is none that this API of iAdvize has"));
        };
        match value {
            None if place.clear == Clear::Never => {
                return Err(refuse(path, "cannot_clear", "cannot be cleared over this API of iAdvize"));
            }
            None => {}
            Some(value) => obeys(attribute.rule, value).map_err(|(code, what)| refuse(path, code, what))?,
        }
    }
    Ok(())
}

/// Whether a value obeys a rule.
fn obeys(rule: Rule, value: &Value) -> Result<(), (&'static str, &'static str)> {
    let texts: Vec<&str> = match value {
        Value::Text(text) => vec![text],
        Value::Set(items) => items.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let all = |fits: fn(&str) -> bool| texts.iter().all(|text| fits(text));
    match rule {
        Rule::Any => Ok(()),
        Rule::Filled if !all(|text| !text.trim().is_empty()) => Err(("required_missing", "must not be empty")),
        Rule::Slots => match value {
            Value::Int(slots) if *slots > MAX_SLOTS => Err(("too_many_slots", "is above the 6 that iAdvize allows")),
            Value::Int(slots) if *slots < 1 => Err(("too_few_slots", "is below 1: switch the channel off instead")),
            _ => Ok(()),
        },
        Rule::Language if !all(|text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_lowercase())) => {
            Err(("invalid_language", "is no language code of two small letters (ISO 639-1)"))
        }
        Rule::TimeZone if !all(is_time_zone) => {
            Err(("invalid_time_zone", "is no name of a time zone, such as Europe/Paris"))
        }
        Rule::OneOf(words) if !texts.iter().all(|text| words.contains(text)) => {
            Err(("unknown_word", "is none of the words that iAdvize has for it"))
        }
        Rule::Phone if !all(|text| text.len() > 1 && text.starts_with('+')) => {
            Err(("invalid_phone_number", "does not begin with + and the code of a country"))
        }
        Rule::Avatar if !all(is_avatar) => Err(("invalid_avatar", "is not the https address of a PNG, JPG or GIF")),
        Rule::SomeOf if texts.is_empty() => Err(("required_missing", "names none, and one is needed")),
        _ => Ok(()),
    }
}

/// Whether a time zone has this name. Where the machine has no list of them, its form is all that is looked at.
fn is_time_zone(name: &str) -> bool {
    let formed = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte));
    formed && (jiff::tz::db().is_definitively_empty() || jiff::tz::TimeZone::get(name).is_ok())
}

/// Whether an address may be that of an avatar (R30). One that does not say its format is left to the vendor; the size
/// is advice and not looked at.
fn is_avatar(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let file = url.path().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let format = file.rsplit_once('.').map(|(_, format)| format);
    url.scheme() == "https" && format.is_none_or(|format| matches!(format, "png" | "jpg" | "jpeg" | "gif"))
}

/// Whether values give somebody more chats at once than the vendor advises (R32).
pub fn exceeds_advice(values: &Attributes) -> bool {
    let slots = |value: &Option<Value>| matches!(value, Some(Value::Int(slots)) if *slots > ADVISED_SLOTS);
    values
        .iter()
        .any(|(path, value)| attribute(path).is_some_and(|attribute| attribute.rule == Rule::Slots) && slots(value))
}

/// Whether names have to be turned into ids, for which the tables are needed.
pub fn needs_tables(wire: Wire, values: &Attributes) -> bool {
    values
        .keys()
        .filter_map(attribute)
        .filter_map(|attribute| attribute.place(wire))
        .any(|place| matches!(place.form, Form::Named(_) | Form::AllNamed(_)))
}

/// What is sent of these values. Blocks are filled from what the operator holds now.
///
/// # Errors
/// A name that is not in its table.
pub fn body(
    wire: Wire,
    values: &Attributes,
    current: Option<&Json>,
    tables: &Tables,
) -> Result<Map<String, Json>, Failure> {
    let mut body = json!({});
    for (path, value) in values {
        let Some((attribute, place)) = attribute(path).and_then(|known| Some((known, known.place(wire)?))) else {
            continue;
        };
        if let Some((block, members)) = block_of(wire, place)
            && body.pointer(block).is_none()
        {
            put(&mut body, block, whole_block(block, members, current));
        }
        let json = match value {
            Some(value) => written(attribute, place, value, tables)?,
            None => match place.clear {
                Clear::Null | Clear::Never => Json::Null,
                Clear::EmptyText => json!(""),
                Clear::EmptyList => json!([]),
            },
        };
        put(&mut body, place.write, json);
    }
    match body {
        Json::Object(body) => Ok(body),
        _ => Ok(Map::new()),
    }
}

fn block_of(wire: Wire, place: &Place) -> Option<(&'static str, &'static [Member])> {
    let blocks = match wire {
        Wire::Graphql => GRAPHQL_BLOCKS,
        Wire::Rest => REST_BLOCKS,
    };
    let inside = |block: &str| place.write.strip_prefix(block).is_some_and(|rest| rest.starts_with('/'));
    blocks.iter().find(|(block, _)| inside(block)).copied()
}

/// A block as the operator has it, or as a new one is. What is null is left out: null changes nothing.
fn whole_block(block: &str, members: &[Member], current: Option<&Json>) -> Json {
    let held = current.and_then(|current| current.pointer(block));
    let filled = members.iter().filter_map(|(name, default)| {
        let held = held.and_then(|held| held.get(name)).filter(|held| !held.is_null()).cloned();
        let value = held.unwrap_or_else(|| serde_json::from_str(default).expect("the defaults of this table are JSON"));
        (!value.is_null()).then(|| ((*name).to_owned(), value))
    });
    Json::Object(filled.collect())
}

fn put(body: &mut Json, pointer: &str, value: Json) {
    let mut slot = body;
    for key in pointer.split('/').skip(1) {
        slot = &mut slot[key];
    }
    *slot = value;
}

fn written(attribute: &Attribute, place: &Place, value: &Value, tables: &Tables) -> Result<Json, Failure> {
    let path = attribute.path();
    Ok(match (place.form, value) {
        (Form::Priority, Value::Bool(flag)) => json!(if *flag { 10 } else { 0 }),
        (Form::Words(words), Value::Text(text)) => {
            let word = words.iter().find(|(ours, _)| ours == text).map(|(_, theirs)| *theirs);
            json!(word.ok_or_else(|| refuse(&path, "unknown_word", "is none of the words that iAdvize has for it"))?)
        }
        (Form::Named(table), Value::Text(name)) => tables.id(table, name, &path)?,
        (Form::AllNamed(table), Value::Set(names)) => {
            let ids: Result<Vec<Json>, Failure> = names.iter().map(|name| tables.id(table, name, &path)).collect();
            json!(ids?)
        }
        (Form::RoleWord, Value::Text(role)) => {
            // A closed set over REST (R28).
            if !["operator", "manager", "admin"].contains(&role.as_str()) {
                return Err(refuse(&path, "unknown_role", "is no role of iAdvize: operator, manager or admin"));
            }
            json!([role])
        }
        (_, Value::Text(text)) if attribute.kind == ValueKind::Email => json!(text.trim()),
        (_, Value::Text(text)) => json!(text),
        (_, Value::Bool(flag)) => json!(flag),
        (_, Value::Int(number)) => json!(number),
        (_, Value::Set(items)) => json!(items),
        (_, Value::Reference { .. }) => {
            return Err(refuse(&path, "wrong_kind", "has a value of another kind than the target keeps"));
        }
    })
}

/// The id of an operator in any of the forms that answers have it: a number, digits, or an object that holds it.
pub fn id_of(json: &Json) -> Option<AccountId> {
    let id = match json.get("id")? {
        Json::Number(number) => number.as_u64()?,
        Json::String(text) => parse_id(text)?,
        inner @ Json::Object(_) => return id_of(inner),
        _ => return None,
    };
    id.to_string().parse().ok()
}

/// An entry of a list, of which the id may hold all the rest.
pub fn lifted(mut entry: Json) -> Json {
    match entry.get_mut("id").map(Json::take) {
        Some(Json::Object(mut inner)) => {
            if let Json::Object(outer) = entry {
                inner.extend(outer.into_iter().filter(|(name, _)| name != "id"));
            }
            Json::Object(inner)
        }
        Some(id) => {
            entry["id"] = id;
            entry
        }
        None => entry,
    }
}

/// The partner's id.
pub fn partner_of(wire: Wire, user: &Json) -> Option<AccountId> {
    let field = match wire {
        Wire::Graphql => "externalId",
        Wire::Rest => "external_id",
    };
    user.get(field)?.as_str()?.parse().ok()
}

/// What an answer shows of an operator.
pub fn read(wire: Wire, user: &Json, read_at: Timestamp, lossy: bool, tables: &Tables) -> Record {
    let Some(account) = id_of(user) else {
        return Record::Unreadable { account: None, code: Code::known("invalid_id"), attribute: None };
    };
    let mut attributes = Attributes::new();
    for attribute in ATTRIBUTES {
        let Some(place) = attribute.place(wire) else { continue };
        let Some(held) = user.pointer(place.read).or_else(|| empty_parent(user, place)) else { continue };
        let value = match value_of(place, held, tables) {
            Shown::Value(value) => value,
            Shown::Unknown => continue,
            Shown::Wrong => {
                let code = Code::known("unexpected_value");
                return Record::Unreadable { account: Some(account), code, attribute: Some(attribute.path()) };
            }
        };
        if let Some(value) = &value
            && let Err(code) = check_value(value, lossy)
        {
            return Record::Unreadable { account: Some(account), code, attribute: Some(attribute.path()) };
        }
        attributes.insert(attribute.path(), value);
    }
    let version = Version { modified_at: None, read_at, tag: Some(contents_tag(&attributes)) };
    Record::Account(Snapshot { account, version, attributes, partner: partner_of(wire, user) })
}

/// Null where what would hold the value is null itself: a user without a group has no name of one.
fn empty_parent<'j>(user: &'j Json, place: &Place) -> Option<&'j Json> {
    let (parent, _) = place.read.rsplit_once('/').filter(|(parent, _)| !parent.is_empty())?;
    user.pointer(parent).filter(|parent| parent.is_null())
}

/// What stands in a place.
enum Shown {
    Value(Option<Value>),
    /// It cannot be told: too long for one page, or an entry without a name that we may see.
    Unknown,
    Wrong,
}

fn value_of(place: &Place, held: &Json, tables: &Tables) -> Shown {
    let text = |text: &str| Some(Value::Text(text.to_owned())).filter(|_| !text.is_empty());
    let set = |items: BTreeSet<String>| Shown::Value(Some(Value::Set(items)).filter(|_| !is_empty(held)));
    match (place.form, held) {
        (_, Json::Null) => Shown::Value(None),
        (Form::Words(words), Json::String(word)) => match words.iter().find(|(_, theirs)| theirs == word) {
            Some((ours, _)) => Shown::Value(text(ours)),
            None => Shown::Wrong,
        },
        (Form::Priority, Json::Number(number)) => Shown::Value(Some(Value::Bool(number.as_i64() != Some(0)))),
        (Form::RoleWord, Json::Array(roles)) => {
            // The highest of them.
            let has = |word: &str| roles.iter().any(|role| role == word);
            Shown::Value(
                ["admin", "manager", "operator", "expert"].iter().find(|word| has(word)).and_then(|word| text(word)),
            )
        }
        (Form::Named(_), Json::String(name)) => Shown::Value(text(name)),
        (Form::Named(table), id @ Json::Number(_)) => match tables.name(table, id) {
            Some(name) => Shown::Value(text(name)),
            None => Shown::Unknown,
        },
        (Form::AllNamed(table), list) => match names(table, list, tables) {
            Some(names) if names.is_empty() => Shown::Value(None),
            Some(names) => set(names),
            None => Shown::Unknown,
        },
        (Form::Texts, Json::Array(items)) => {
            let texts: Option<BTreeSet<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map_or(Shown::Wrong, set)
        }
        (Form::Plain, Json::String(held)) => Shown::Value(text(held)),
        (Form::Plain, Json::Bool(flag)) => Shown::Value(Some(Value::Bool(*flag))),
        (Form::Plain, Json::Number(number)) => {
            number.as_i64().map_or(Shown::Wrong, |number| Shown::Value(Some(Value::Int(number))))
        }
        _ => Shown::Wrong,
    }
}

fn is_empty(held: &Json) -> bool {
    held.as_array().is_some_and(Vec::is_empty)
}

/// The names in a list of ids, of entries, or in a connection; `None` if they cannot all be told.
fn names(table: super::attributes::Table, list: &Json, tables: &Tables) -> Option<BTreeSet<String>> {
    if let Some(edges) = list.get("edges").and_then(Json::as_array) {
        if list.pointer("/pageInfo/hasNextPage").and_then(Json::as_bool) == Some(true) {
            return None;
        }
        return edges.iter().map(|edge| edge.pointer("/node/name")?.as_str().map(str::to_owned)).collect();
    }
    let name = |item: &Json| match item {
        Json::Object(_) => item.get("name")?.as_str().map(str::to_owned),
        id => tables.name(table, id).map(str::to_owned),
    };
    list.as_array()?.iter().map(name).collect()
}

/// Ids in what REST shows that the tables do not know, so that they have to be read again.
pub fn refers_to_unknown(user: &Json, tables: &Tables) -> bool {
    ATTRIBUTES.iter().filter_map(|attribute| attribute.rest.as_ref()).any(|place| {
        let (Form::Named(table) | Form::AllNamed(table)) = place.form else { return false };
        let ids: Vec<&Json> = match user.pointer(place.read) {
            Some(Json::Array(ids)) => ids.iter().collect(),
            Some(id @ Json::Number(_)) => vec![id],
            _ => Vec::new(),
        };
        ids.into_iter().any(|id| tables.has(table) && tables.name(table, id).is_none())
    })
}

/// A tag for a system without versions: the same for the same values, in every process.
fn contents_tag(attributes: &Attributes) -> Box<str> {
    let text = serde_json::to_string(attributes).expect("attributes are JSON");
    format!("~{:016x}", SipHasher13::new().hash(text.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AttributePath {
        text.parse().unwrap()
    }

    #[track_caller]
    fn refused(name: &str, value: Value, code: Option<&str>) {
        let values = Attributes::from([(path(name), Some(value))]);
        let result = check(Wire::Graphql, &values);
        assert_eq!(result.err().as_ref().map(|failure| failure.code.as_str().to_owned()).as_deref(), code, "{name}");
    }

    /// R30, R32, R34, R38, R40, R41, R42, B22: limits and vocabularies are checked before a call.
    #[test]
    fn values_are_checked_before_a_call() {
        let set = |items: &[&str]| Value::Set(items.iter().map(|item| (*item).to_owned()).collect());
        for (slots, code) in
            [(0, Some("too_few_slots")), (1, None), (4, None), (5, None), (6, None), (7, Some("too_many_slots"))]
        {
            refused("native.chatSlots", Value::Int(slots), code);
        }
        for (name, value, code) in [
            ("preferredLanguage", "fr".into(), None),
            ("preferredLanguage", "fr-FR".into(), Some("invalid_language")),
            ("native.languages", set(&["fr", "en"]), None),
            ("native.languages", set(&["fr", "English"]), Some("invalid_language")),
            ("timezone", "Europe/Paris".into(), None),
            ("timezone", "Paris time".into(), Some("invalid_time_zone")),
            ("native.dateFormat", "YMD".into(), None),
            ("native.dateFormat", "yyyy-mm-dd".into(), Some("unknown_word")),
            ("native.timeFormat", "MERIDIAN".into(), None),
            ("native.callFrom", "landline".into(), Some("unknown_word")),
            ("native.callNumber", "+33 1 23".into(), None),
            ("native.callNumber", "01 23".into(), Some("invalid_phone_number")),
            ("native.avatar", "https://x.example/a.PNG".into(), None),
            ("native.avatar", "https://x.example/a.jpg?size=60".into(), None),
            ("native.avatar", "https://x.example/a.webp".into(), Some("invalid_avatar")),
            ("native.avatar", "http://x.example/a.png".into(), Some("invalid_avatar")),
            ("native.projects", set(&[]), Some("required_missing")),
            ("nickName", " ".into(), Some("required_missing")),
            ("displayName", "x".into(), Some("unknown_attribute")),
        ] {
            refused(name, value, code);
        }
    }

    /// R32: more than four chats at once are allowed and remarked on.
    #[test]
    fn more_chats_than_advised_are_noticed() {
        for (slots, noticed) in [(4, false), (5, true)] {
            let values = Attributes::from([(path("native.chatSlots"), Some(Value::Int(slots)))]);
            assert_eq!(exceeds_advice(&values), noticed, "{slots}");
        }
    }

    /// B21: what can be cleared is cleared, and the rest refused by name.
    #[test]
    fn clears_are_carried_or_refused() {
        for (name, wire, code) in [
            ("name.givenName", Wire::Graphql, None),
            ("native.skills", Wire::Graphql, None),
            ("native.group", Wire::Graphql, Some("cannot_clear")),
            ("native.group", Wire::Rest, None),
            ("timezone", Wire::Graphql, Some("cannot_clear")),
            ("timezone", Wire::Rest, Some("unknown_attribute")),
        ] {
            let values = Attributes::from([(path(name), None)]);
            let code_found = check(wire, &values).err().map(|failure| failure.code.as_str().to_owned());
            assert_eq!(code_found.as_deref(), code, "{name} {wire:?}");
        }
    }

    /// R33, R36: a member of a block goes out with what the operator holds of the others.
    #[test]
    fn blocks_are_sent_whole() {
        let current = json!({"channels": {"chatConfiguration": {
            "hasPriorityOnChat": true, "isAllowChatToVideo": false, "isEnabled": true,
            "isSimultaneousCallAllowed": null, "numberOfSlots": 3,
        }}});
        let values = Attributes::from([(path("native.chatSlots"), Some(Value::Int(5)))]);
        let body = body(Wire::Graphql, &values, Some(&current), &Tables::default()).unwrap();
        let expected = json!({"channels": {"chatConfiguration": {
            "hasPriorityOnChat": true, "isAllowChatToVideo": false, "isEnabled": true, "numberOfSlots": 5,
        }}});
        assert_eq!(Json::Object(body), expected);
    }

    #[test]
    fn ids_come_in_three_forms() {
        for json in [json!({"id": 7}), json!({"id": "7"}), json!({"id": {"id": 7, "name": "x"}})] {
            assert_eq!(id_of(&json).unwrap().as_str(), "7");
        }
        assert_eq!(id_of(&json!({"id": "x"})), None);
        let lifted = lifted(json!({"id": {"id": "7", "name": "x"}, "_link": "/operator/7"}));
        assert_eq!(lifted, json!({"id": "7", "name": "x", "_link": "/operator/7"}));
    }
}

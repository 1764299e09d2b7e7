//! Values of operators: written as an API wants them, and read from what it answers.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};
use siphasher::sip::SipHasher13;

use super::attributes::{
    ATTRIBUTES, Attribute, Clear, EXTERNAL_ID, Form, GRAPHQL_BLOCKS, Member, Place, REST_BLOCKS, Table, Wire,
    attribute, parse_id,
};
use super::rules::refuse;
use super::tables::Tables;
use crate::domain::{AccountId, Attributes, Code, Failure, Snapshot, Timestamp, Value, Version};
use crate::systems::http::check_value;
use crate::systems::{Record, ValueKind};

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
        if attribute.canonical == EXTERNAL_ID {
            // Whatever else is kept there is no id, and not written over.
            let kept = partner_of(wire, user).map(|partner| Value::from(partner.as_str()));
            if kept.is_some() || held.is_null() || *held == "" {
                attributes.insert(attribute.path(), kept);
            }
            continue;
        }
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
fn names(table: Table, list: &Json, tables: &Tables) -> Option<BTreeSet<String>> {
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

    /// R33, R36: a member of a block goes out with what the operator holds of the others.
    #[test]
    fn blocks_are_sent_whole() {
        let current = json!({"channels": {"chatConfiguration": {
            "hasPriorityOnChat": true, "isAllowChatToVideo": false, "isEnabled": true,
            "isSimultaneousCallAllowed": null, "numberOfSlots": 3,
        }}});
        let values = Attributes::from([("native.chatSlots".parse().unwrap(), Some(Value::Int(5)))]);
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

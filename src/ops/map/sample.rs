//! Accounts to try a mapping on: out of a file, or made up.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value as Json;

use super::{Rules, Schema, Side, Snapshot, UsageError, Value};
use crate::domain::{AccountId, AttributePath, Attributes, Timestamp, Version};
use crate::systems::ValueKind;

/// Reads a file of accounts: a table with a header where it is called `.csv`, else JSON, one object a line.
pub(super) fn read(file: &Path, schema: &Schema) -> anyhow::Result<Vec<Snapshot>> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let is_table = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let accounts = if is_table { table(&bytes, schema) } else { objects(&bytes) };
    accounts.map_err(|problem| UsageError::new(format!("{}: {problem}", file.display())).into())
}

/// One object a line, under canonical names.
fn objects(bytes: &[u8]) -> Result<Vec<Snapshot>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let account = |(line, text): (usize, &str)| {
        let place = line + 1;
        let object: Json = serde_json::from_str(text).map_err(|error| format!("line {place} is no JSON: {error}"))?;
        let Json::Object(fields) = object else { return Err(format!("line {place} is no object")) };
        let mut attributes = Attributes::new();
        let mut id = None;
        for (name, value) in fields {
            if name == "id" {
                id = value.as_str().map(str::to_owned).or_else(|| value.as_i64().map(|id| id.to_string()));
                continue;
            }
            let path = path(&name).map_err(|problem| format!("line {place}: {problem}"))?;
            let value: Option<Value> = serde_json::from_value(value).map_err(|_| {
                format!("line {place}: {name} is neither a text, a whole number, true, false, null nor a list")
            })?;
            attributes.insert(path, value);
        }
        Ok(snapshot(id, place, attributes))
    };
    lines.map(account).collect()
}

/// A table whose header has canonical names; an empty cell is no value.
fn table(bytes: &[u8], schema: &Schema) -> Result<Vec<Snapshot>, String> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes);
    let unreadable = |error: csv::Error| format!("is no table: {error}");
    let header: Vec<String> = reader.headers().map_err(unreadable)?.iter().map(str::to_owned).collect();
    let mut accounts = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let (place, record) = (row + 2, record.map_err(unreadable)?);
        let mut attributes = Attributes::new();
        let mut id = None;
        for (name, cell) in header.iter().zip(&record) {
            if name == "id" {
                id = Some(cell.to_owned());
                continue;
            }
            let path = path(name)?;
            let kind = schema.attribute(&path).map(|attribute| attribute.kind);
            let value = value(cell, kind).map_err(|problem| format!("row {place}: {name} {problem}"))?;
            attributes.insert(path, value);
        }
        accounts.push(snapshot(id, place, attributes));
    }
    Ok(accounts)
}

fn path(name: &str) -> Result<AttributePath, String> {
    name.parse().map_err(|_| format!("{name:?} is no attribute"))
}

/// A cell as the attribute's kind of value.
fn value(cell: &str, kind: Option<ValueKind>) -> Result<Option<Value>, String> {
    if cell.is_empty() {
        return Ok(None);
    }
    let value = match kind {
        Some(ValueKind::Bool) => match cell.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Value::Bool(true),
            "false" | "no" | "0" => Value::Bool(false),
            _ => return Err("is neither true nor false".to_owned()),
        },
        Some(ValueKind::Int) => Value::Int(cell.parse().map_err(|_| "is no whole number".to_owned())?),
        Some(ValueKind::Set) => Value::Set(cell.split(';').map(|item| item.trim().to_owned()).collect()),
        _ => Value::from(cell),
    };
    Ok(Some(value))
}

fn snapshot(id: Option<String>, place: usize, attributes: Attributes) -> Snapshot {
    let account = id.and_then(|id| id.parse().ok()).unwrap_or_else(|| numbered(place));
    let version = Version { modified_at: None, read_at: Timestamp(0), tag: None };
    Snapshot { account, version, attributes, partner: None }
}

fn numbered(place: usize) -> AccountId {
    format!("line-{place}").parse().expect("letters, a dash and digits are an id")
}

/// One account that has a value in everything that is read.
pub(super) fn made_up(rules: &Rules, side: Side, schema: &Schema) -> Snapshot {
    let read = rules.attributes.values().filter(|rule| rule.mapping.converts(side));
    let attributes = read.flat_map(|rule| rule.sources(side)).filter(|path| !path.is_id()).map(|path| {
        let kind = schema.attribute(path).map(|attribute| attribute.kind);
        let value = match (path.as_str(), kind) {
            (_, Some(ValueKind::Bool)) => Value::Bool(true),
            (_, Some(ValueKind::Int)) => Value::Int(1),
            (_, Some(ValueKind::Set)) => Value::Set(["one".to_owned(), "two".to_owned()].into()),
            ("name.givenName", _) => Value::from("Ada"),
            ("name.familyName", _) => Value::from("Lovelace"),
            ("userName", _) | (_, Some(ValueKind::Email)) => Value::from("ada@example.com"),
            _ => Value::from("text"),
        };
        (path.clone(), Some(value))
    });
    let attributes = attributes.collect();
    Snapshot { account: "made-up".parse().expect("letters are an id"), ..snapshot(None, 0, attributes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_account() {
        let read =
            objects(b"{\"id\": 7, \"title\": null, \"native.skills\": [\"x\"]}\n\n{\"title\": \"Boss\"}\n").unwrap();
        assert_eq!(read.iter().map(|account| account.account.as_str()).collect::<Vec<_>>(), ["7", "line-3"]);
        assert_eq!(read[0].attributes[&"title".parse().unwrap()], None);
        assert_eq!(read[1].attributes[&"title".parse().unwrap()], Some("Boss".into()));
        for (bytes, said) in [
            (&b"{"[..], "line 1 is no JSON"),
            (b"[]", "line 1 is no object"),
            (b"\n{\"a b\": 1}", "line 2: \"a b\" is no attribute"),
            (b"{\"title\": 1.5}", "line 1: title is neither"),
            (b"\xff", "no UTF-8"),
        ] {
            let error = objects(bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_cell_is_what_its_attribute_is() {
        assert_eq!(value("", Some(ValueKind::Bool)), Ok(None));
        assert_eq!(value("yes", Some(ValueKind::Bool)), Ok(Some(true.into())));
        assert_eq!(value("7", Some(ValueKind::Int)), Ok(Some(Value::Int(7))));
        assert_eq!(value("7", None), Ok(Some("7".into())));
        assert!(value("maybe", Some(ValueKind::Bool)).is_err() && value("x", Some(ValueKind::Int)).is_err());
    }
}

//! The fields of the Salesforce User, their canonical names, and the reading of a row.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;

use super::id::parse_id;
use super::soql;
use crate::domain::{AttributePath, Attributes, Code, Comparison, Snapshot, Timestamp, Value, Version};
use crate::systems::http::check_value;
use crate::systems::{AttributeSchema, Record, Schema, ValueKind};

/// Salesforce has no empty text: it keeps one as null.
const TEXT: Comparison = Comparison { fold_case: false, trim: false, empty_is_clear: true };
/// Usernames and e-mail addresses: Salesforce lower-cases them, and compares them without case (R13).
const ADDRESS: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: true };

/// The stamp that moves with every change of a row, in whole seconds.
pub const STAMP: &str = "SystemModstamp";

/// How a native value becomes a canonical one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Plain,
    /// `en_US` is written `en-US`.
    Locale,
}

/// One field of the User object.
struct Field {
    native: &'static str,
    canonical: &'static str,
    kind: ValueKind,
    form: Form,
    /// Characters; 0: not known.
    max_chars: usize,
    required: bool,
    comparison: Comparison,
}

const fn text(native: &'static str, canonical: &'static str, max_chars: usize) -> Field {
    let (kind, form) = (ValueKind::Text, Form::Plain);
    Field { native, canonical, kind, form, max_chars, required: false, comparison: TEXT }
}

const fn required(field: Field) -> Field {
    Field { required: true, ..field }
}

const fn locale(field: Field) -> Field {
    Field { form: Form::Locale, ..field }
}

/// The mapped fields, under the names of the SCIM core and enterprise User.
const FIELDS: &[Field] = &[
    required(Field { comparison: ADDRESS, ..text("Username", "userName", 80) }),
    text("FirstName", "name.givenName", 40),
    required(text("LastName", "name.familyName", 80)),
    text("Name", "displayName", 203),
    required(text("Alias", "nickName", 8)),
    required(Field { kind: ValueKind::Email, comparison: ADDRESS, ..text("Email", "emails", 128) }),
    text("Phone", "phoneNumbers", 40),
    text("MobilePhone", "phoneNumbers.mobile", 40),
    text("Title", "title", 80),
    text("Department", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", 80),
    text("Division", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division", 80),
    text("EmployeeNumber", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber", 20),
    required(locale(text("LocaleSidKey", "locale", 40))),
    required(locale(text("LanguageLocaleKey", "preferredLanguage", 40))),
    required(text("TimeZoneSidKey", "timezone", 40)),
    Field { kind: ValueKind::Bool, ..text("IsActive", "active", 0) },
];

/// A field name as Salesforce has them, so that none can smuggle anything into a query.
pub fn is_field_name(name: &str) -> bool {
    (1..=80).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The canonical name of a mapped field.
pub fn path_of(native: &str) -> Option<AttributePath> {
    let field = FIELDS.iter().find(|field| field.native.eq_ignore_ascii_case(native))?;
    Some(path(field.canonical))
}

/// The field that has this canonical name, and a text in the form that the field keeps it in.
pub fn native_of(path: &AttributePath, text: &str) -> Option<(String, String)> {
    if let Some(native) = path.as_str().strip_prefix("native.") {
        return is_field_name(native).then(|| (native.to_owned(), text.to_owned()));
    }
    let field = FIELDS.iter().find(|field| field.canonical == path.as_str())?;
    let text = if field.form == Form::Locale { text.replace('-', "_") } else { text.to_owned() };
    (field.kind != ValueKind::Bool).then(|| (field.native.to_owned(), text))
}

fn path(canonical: &str) -> AttributePath {
    canonical.parse().expect("the names of this table are paths")
}

/// The fields that are read of a User, and what they are called.
#[derive(Debug, Clone)]
pub struct FieldSet {
    /// Native name, canonical path and form of each.
    fields: Vec<(String, AttributePath, Form)>,
}

impl FieldSet {
    /// The mapped fields and these native ones, which are called `native.<field>`.
    pub fn new(native: &[String]) -> Self {
        let mapped = FIELDS.iter().map(|field| (field.native.to_owned(), path(field.canonical), field.form));
        let native = native.iter().filter_map(|name| {
            let path = format!("native.{name}").parse().ok()?;
            is_field_name(name).then(|| (name.clone(), path, Form::Plain))
        });
        Self { fields: mapped.chain(native).collect() }
    }

    /// Native names, in the order of the table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(native, ..)| native.as_str())
    }

    /// The part of a query between `SELECT` and `FROM`. A field twice is an error to Salesforce.
    pub fn select(&self, hidden: &BTreeSet<String>) -> String {
        let mut taken = BTreeSet::from(["id".to_owned(), STAMP.to_ascii_lowercase()]);
        let names = self.names().filter(|name| !hidden.contains(*name) && taken.insert(name.to_ascii_lowercase()));
        let mut list = format!("Id, {STAMP}");
        for name in names {
            list.push_str(", ");
            list.push_str(name);
        }
        list
    }

    /// Reads one row of a query that was sent at `read_at` (Salesforce's clock). `lossy`: some of the answer was not
    /// UTF-8.
    pub fn read_row(&self, row: &Json, read_at: Timestamp, lossy: bool) -> Record {
        let unreadable = |account, code, attribute| Record::Unreadable { account, code, attribute };
        let Some(account) = row.get("Id").and_then(Json::as_str).and_then(parse_id) else {
            return unreadable(None, Code::known("invalid_id"), None);
        };
        let Some(modified_at) = stamp_of(row) else {
            return unreadable(Some(account), Code::known("unexpected_value"), None);
        };
        let mut attributes = Attributes::new();
        for (native, path, form) in &self.fields {
            // Fields that the run-as user may not see are left out of the query, and then out of the row.
            let Some(json) = row.get(native) else { continue };
            let Ok(value) = canonical(json, *form) else {
                return unreadable(Some(account), Code::known("unexpected_value"), Some(path.clone()));
            };
            if let Some(Err(code)) = value.as_ref().map(|value| check_value(value, lossy)) {
                return unreadable(Some(account), code, Some(path.clone()));
            }
            attributes.insert(path.clone(), value);
        }
        let version = Version { modified_at: Some(modified_at), read_at, tag: None };
        Record::Account(Snapshot { account, version, attributes, partner: None })
    }
}

/// The modification stamp of a row.
pub fn stamp_of(row: &Json) -> Option<Timestamp> {
    soql::parse_time(row.get(STAMP)?.as_str()?)
}

/// A field's value under its canonical form; `None` is null.
fn canonical(json: &Json, form: Form) -> Result<Option<Value>, ()> {
    match json {
        Json::Null => Ok(None),
        Json::Bool(value) => Ok(Some(Value::Bool(*value))),
        Json::String(text) if form == Form::Locale => Ok(Some(Value::Text(text.replace('_', "-")))),
        Json::String(text) => Ok(Some(Value::Text(text.clone()))),
        Json::Number(number) => Ok(Some(whole(number).map_or_else(|| Value::Text(number.to_string()), Value::Int))),
        // Compound fields and parent rows have no canonical form.
        Json::Array(_) | Json::Object(_) => Err(()),
    }
}

/// Numbers of Salesforce have decimals, `3.0`, also where they count something.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers that fit are cast")]
fn whole(number: &serde_json::Number) -> Option<i64> {
    let exact = |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
    number.as_i64().or_else(|| number.as_f64().and_then(exact))
}

/// What is known of the User object. Writing is not offered.
pub fn schema(native: &[String]) -> Schema {
    let mapped = FIELDS.iter().map(|field| AttributeSchema {
        path: path(field.canonical),
        kind: field.kind,
        max_chars: (field.max_chars > 0).then_some(field.max_chars),
        required: field.required,
        writable: false,
        comparison: field.comparison,
    });
    let native = native.iter().filter_map(|name| {
        Some(AttributeSchema {
            path: format!("native.{name}").parse().ok()?,
            // What kind a custom field has, only the org knows; a rule that reads it compares values, not kinds.
            kind: ValueKind::Text,
            max_chars: None,
            required: false,
            writable: false,
            comparison: TEXT,
        })
    });
    Schema {
        attributes: mapped.chain(native).collect(),
        grain: Duration::from_secs(1),
        batch: 200,
        calls: super::CONCURRENCY,
        writable: false,
        incremental: true,
        parse_id,
        search_lag: Duration::ZERO,
    }
}

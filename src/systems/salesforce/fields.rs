//! The fields that are read and written of one kind of record: the query's list, the reading of a row, and the values of
//! a write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::id::parse_id;
use super::object::{Form, Object, TEXT};
use super::soql;
use crate::domain::{
    AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Snapshot, Timestamp, Value, Version,
};
use crate::systems::http::check_value;
use crate::systems::{AttributeSchema, Record, Schema, ValueKind};

/// The stamp that moves with every change of a row, in whole seconds.
pub const STAMP: &str = "SystemModstamp";

/// Records that one call can write.
pub const BATCH: usize = 200;

/// Whether an account of the org may be used.
const ACTIVE: &str = "IsActive";

/// A field name as Salesforce has them, so that none can smuggle anything into a query.
pub fn is_field_name(name: &str) -> bool {
    (1..=80).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The canonical name of a field: of the tables, or `native.<field>`.
pub fn path_of(native: &str) -> Option<AttributePath> {
    let tables = Object::User.fields().iter().chain(Object::Contact.fields());
    match tables.into_iter().find(|field| field.native.eq_ignore_ascii_case(native)) {
        Some(field) => Some(field.path()),
        None => is_field_name(native).then(|| native_path(native)),
    }
}

/// What a field without a canonical name is called.
pub fn native_path(native: &str) -> AttributePath {
    format!("native.{native}").parse().expect("a field name is part of a path")
}

/// The fields of one kind of record, and what they are called.
#[derive(Debug, Clone)]
pub struct FieldSet {
    object: Object,
    /// Native name, canonical path and form of each.
    fields: Vec<(String, AttributePath, Form)>,
    /// The field that holds the partner's id.
    partner: Option<String>,
    /// What a new record gets in these fields, if nothing else does.
    defaults: BTreeMap<String, Value>,
}

impl FieldSet {
    /// The mapped fields of `object`, the `native` ones, and that of the partner's id, which are called
    /// `native.<field>`. Of `required` only whether it is filled is ever told.
    pub fn new(
        object: Object,
        native: &[String],
        partner: Option<&str>,
        required: Option<&str>,
        defaults: BTreeMap<String, Value>,
    ) -> Self {
        let mut fields: Vec<_> =
            object.fields().iter().map(|field| (field.native.to_owned(), field.path(), field.form)).collect();
        let is_required = |name: &str| required.is_some_and(|required| required.eq_ignore_ascii_case(name));
        let plain = native.iter().map(String::as_str).chain(partner).filter(|name| !is_required(name));
        let named = plain.map(|name| (name, Form::Plain)).chain(required.map(|name| (name, Form::Filled)));
        for (name, form) in named.filter(|(name, _)| is_field_name(name)) {
            let path = native_path(name);
            if fields.iter().all(|(_, known, _)| *known != path) {
                fields.push((name.to_owned(), path, form));
            }
        }
        Self { object, fields, partner: partner.map(str::to_owned), defaults }
    }

    /// Native names, in the order of the table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(native, ..)| native.as_str())
    }

    /// The field that holds the partner's id.
    pub fn partner(&self) -> Option<&str> {
        self.partner.as_deref()
    }

    /// What new records get in fields that nothing else fills.
    pub fn defaults(&self) -> &BTreeMap<String, Value> {
        &self.defaults
    }

    /// The field of an attribute.
    pub fn native(&self, path: &AttributePath) -> Option<&str> {
        self.fields.iter().find(|(_, known, _)| known == path).map(|(native, ..)| native.as_str())
    }

    /// The field of an attribute by whose text records can be found, and a text in the form that it is kept in.
    pub fn searchable(&self, path: &AttributePath, text: &str) -> Option<(String, String)> {
        if let Some(native) = path.as_str().strip_prefix("native.") {
            let is_told = !self.fields.iter().any(|(_, known, form)| known == path && *form == Form::Filled);
            return (is_field_name(native) && is_told).then(|| (native.to_owned(), text.to_owned()));
        }
        let field = self.object.fields().iter().find(|field| field.is(path))?;
        (field.kind != ValueKind::Bool).then(|| (field.native.to_owned(), native_text(text, field.form)))
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
        Record::Account(Snapshot { account, version, attributes, partner: self.partner_of(row) })
    }

    /// The partner's id that a row names. Anything else than a text or a number in that field is none.
    fn partner_of(&self, row: &Json) -> Option<AccountId> {
        match row.get(self.partner.as_deref()?)? {
            Json::String(text) => text.trim().parse().ok(),
            Json::Number(number) => whole(number)?.to_string().parse().ok(),
            _ => None,
        }
    }

    /// The fields of a change.
    ///
    /// # Errors
    /// A value that no field can hold, with its attribute.
    pub fn change(&self, values: &Attributes) -> Result<Map<String, Json>, Failure> {
        let mut fields = Map::new();
        for (path, value) in values {
            let Some((native, _, form)) = self.fields.iter().find(|(_, known, _)| known == path) else {
                let text = format!("a {} has no attribute {path}", self.object.name());
                return Err(
                    Failure::new(FailureClass::Permanent, Code::known("unknown_attribute"), text).at(path.clone())
                );
            };
            let json = value.as_ref().map_or(Ok(Json::Null), |value| to_json(value, *form));
            let json = json.map_err(|text| {
                Failure::new(FailureClass::Permanent, Code::known("wrong_kind"), text).at(path.clone())
            })?;
            fields.insert(native.clone(), json);
        }
        Ok(fields)
    }

    /// The fields of a new record: the values, the partner's id, and for what is then still open the defaults.
    ///
    /// # Errors
    /// See [`FieldSet::change`].
    pub fn create(&self, values: &Attributes, partner: &AccountId) -> Result<Map<String, Json>, Failure> {
        let mut fields = self.change(values)?;
        if let Some(field) = &self.partner {
            fields.insert(field.clone(), partner.as_str().into());
        }
        let is_open = |fields: &Map<String, Json>, name: &str| !fields.keys().any(|key| key.eq_ignore_ascii_case(name));
        for (name, value) in &self.defaults {
            if is_open(&fields, name)
                && let Ok(json) = to_json(value, Form::Plain)
            {
                fields.insert(name.clone(), json);
            }
        }
        // Nobody is created for a leaver, and what an org takes for granted here is not the same everywhere.
        if self.object == Object::User && is_open(&fields, ACTIVE) {
            fields.insert(ACTIVE.to_owned(), true.into());
        }
        Ok(fields)
    }

    /// What is known of this kind of record. What Salesforce wants of a new one, has no canonical name and is neither
    /// read nor given by default is listed as required and not writable: then none can be created.
    pub fn schema(&self) -> Schema {
        let has_default = |native: &str| self.defaults.keys().any(|name| name.eq_ignore_ascii_case(native));
        let mapped = self.object.fields().iter().map(|field| AttributeSchema {
            path: field.path(),
            kind: field.kind,
            max_chars: (field.max_chars > 0).then_some(field.max_chars),
            required: field.required && !has_default(field.native),
            writable: field.writable,
            comparison: field.comparison,
        });
        let of_kind = |name: &str, kind: ValueKind, required: bool, writable: bool| AttributeSchema {
            path: native_path(name),
            kind,
            max_chars: None,
            required,
            writable,
            comparison: TEXT,
        };
        let wanted = || self.object.further_required().iter().copied().filter(|name| !has_default(name));
        // What kind a custom field has, only the org knows; a rule that reads it compares values, not kinds.
        let native = |name: &str, required: bool, writable: bool| of_kind(name, ValueKind::Text, required, writable);
        let read = self.fields.iter().skip(self.object.fields().len()).map(|(name, _, form)| {
            let required = wanted().any(|wanted| wanted.eq_ignore_ascii_case(name));
            match form {
                Form::Filled => of_kind(name, ValueKind::Bool, required, false),
                Form::Plain | Form::Locale => native(name, required, true),
            }
        });
        let is_read = |name: &str| self.names().any(|read| read.eq_ignore_ascii_case(name));
        let missing = wanted().filter(|name| !is_read(name)).map(|name| native(name, true, false));
        Schema {
            attributes: mapped.chain(read).chain(missing).collect(),
            grain: Duration::from_secs(1),
            stamps: true,
            batch: BATCH,
            calls: super::CONCURRENCY,
            writable: true,
            readable: true,
            whole: false,
            shown_by: None,
            partner: None,
            incremental: true,
            parse_id: self.object.parse_id(),
            search_lag: Duration::ZERO,
        }
    }
}

/// The modification stamp of a row.
pub fn stamp_of(row: &Json) -> Option<Timestamp> {
    soql::parse_time(row.get(STAMP)?.as_str()?)
}

/// A field's value under its canonical form; `None` is null.
fn canonical(json: &Json, form: Form) -> Result<Option<Value>, ()> {
    match json {
        Json::String(text) if form == Form::Filled => Ok(Some(Value::Bool(!text.trim().is_empty()))),
        _ if form == Form::Filled => Ok(Some(Value::Bool(!json.is_null()))),
        Json::Null => Ok(None),
        Json::Bool(value) => Ok(Some(Value::Bool(*value))),
        Json::String(text) if form == Form::Locale => Ok(Some(Value::Text(text.replace('_', "-")))),
        Json::String(text) => Ok(Some(Value::Text(text.clone()))),
        Json::Number(number) => Ok(Some(whole(number).map_or_else(|| Value::Text(number.to_string()), Value::Int))),
        // Compound fields and parent rows have no canonical form.
        Json::Array(_) | Json::Object(_) => Err(()),
    }
}

fn native_text(text: &str, form: Form) -> String {
    match form {
        Form::Plain | Form::Filled => text.to_owned(),
        Form::Locale => text.replace('-', "_"),
    }
}

/// A value in the form that its field takes.
fn to_json(value: &Value, form: Form) -> Result<Json, &'static str> {
    match value {
        _ if form == Form::Filled => Err("this field is filled by people alone"),
        Value::Text(text) => Ok(native_text(text, form).into()),
        Value::Bool(value) => Ok((*value).into()),
        Value::Int(number) => Ok((*number).into()),
        Value::Reference { account } => Ok(account.as_str().into()),
        Value::Set(_) => Err("a field of Salesforce takes one value, and this is a set"),
    }
}

/// Numbers of Salesforce have decimals, `3.0`, also where they count something.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers that fit are cast")]
fn whole(number: &serde_json::Number) -> Option<i64> {
    let exact = |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
    number.as_i64().or_else(|| number.as_f64().and_then(exact))
}

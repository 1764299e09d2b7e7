//! The forms that values have in the file. Each says how it is read, what its JSON Schema is, and how it is shown.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::domain::Value;

use super::table::{Found, Place, Reader, Table, entries};
use super::words::{known_words, not_known, suggestion};

/// The form of a value.
pub(crate) trait Shape {
    type Value;

    /// JSON Schema of it (draft 7, which editors use for TOML).
    fn schema(&self) -> Json;

    /// The value, or `None` after at least one mistake was noted.
    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Self::Value>;
}

/// A form whose values can be written back, as defaults in the schema.
pub(crate) trait Scalar: Shape {
    fn show(&self, value: &Self::Value) -> Json;
}

/// Text with a rule. It must never be a secret, since a wrong one is quoted.
pub(crate) struct Text<T> {
    /// What it should be, with its article: `a prefix`.
    pub what: &'static str,
    /// The rule.
    pub rule: &'static str,
    pub parse: fn(&str) -> Option<T>,
}

impl<T> Shape for Text<T> {
    type Value = T;

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<T> {
        reader.is_plain(&found.place);
        let text = found.text(&format!("a string: {}", self.rule), reader)?;
        let value = (self.parse)(text);
        if value.is_none() {
            let cut: String = text.chars().take(60).collect();
            reader.mistake(&found.place, format!("{cut:?} is not {}", self.what), self.rule);
        }
        value
    }
}

impl<T: Display> Scalar for Text<T> {
    fn show(&self, value: &T) -> Json {
        json!(value.to_string())
    }
}

/// Text that a type parses: names and attribute paths.
pub(crate) fn parsed<T: FromStr>(what: &'static str, rule: &'static str) -> Text<T> {
    Text { what, rule, parse: |text| text.parse().ok() }
}

/// One of a few words.
pub(crate) struct Words<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Shape for Words<T> {
    type Value = T;

    fn schema(&self) -> Json {
        json!({ "enum": self.0.iter().map(|(word, _)| word).collect::<Vec<_>>() })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<T> {
        let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
        reader.is_plain(&found.place);
        let text = found.text(&format!("a string; {}", known_words(&words)), reader)?;
        let value = self.0.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if value.is_none() {
            reader.mistake(&found.place, not_known(text), suggestion(text, &words));
        }
        value
    }
}

impl<T: Copy + PartialEq> Scalar for Words<T> {
    fn show(&self, value: &T) -> Json {
        json!(self.0.iter().find(|(_, known)| known == value).map(|(word, _)| word))
    }
}

/// A single word, for what stands beside a table.
pub(crate) struct Word<T>(pub &'static str, pub fn() -> T);

impl<T> Shape for Word<T> {
    type Value = T;

    fn schema(&self) -> Json {
        json!({ "const": self.0 })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<T> {
        let expected = format!("{:?} or a table", self.0);
        let text = found.text(&expected, reader)?;
        if text == self.0 {
            reader.is_plain(&found.place);
            return Some((self.1)());
        }
        // Not quoted: it may be a secret beside `none`.
        reader.mistake(&found.place, format!("is not {expected}"), format!("expected {expected}"));
        None
    }
}

impl<T> Scalar for Word<T> {
    fn show(&self, _: &T) -> Json {
        json!(self.0)
    }
}

/// Yes or no.
pub(crate) struct Flag;

impl Shape for Flag {
    type Value = bool;

    fn schema(&self) -> Json {
        json!({ "type": "boolean" })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<bool> {
        reader.is_plain(&found.place);
        let value = found.value.as_bool();
        if value.is_none() {
            found.wrong_type("true or false", reader);
        }
        value
    }
}

impl Scalar for Flag {
    fn show(&self, value: &bool) -> Json {
        json!(value)
    }
}

/// A whole number within a range.
pub(crate) struct Whole<T>(pub RangeInclusive<T>);

impl<T: Copy + PartialOrd + Display + TryFrom<i64> + Into<u64>> Shape for Whole<T> {
    type Value = T;

    fn schema(&self) -> Json {
        let (least, most): (u64, u64) = ((*self.0.start()).into(), (*self.0.end()).into());
        json!({ "type": "integer", "minimum": least, "maximum": most })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<T> {
        let expected = format!("a whole number from {} to {}", self.0.start(), self.0.end());
        reader.is_plain(&found.place);
        let DeValue::Integer(digits) = found.value else {
            found.wrong_type(&expected, reader);
            return None;
        };
        let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
        let value = number.and_then(|number| T::try_from(number).ok()).filter(|number| self.0.contains(number));
        if value.is_none() {
            reader.mistake(&found.place, "is out of range", format!("expected {expected}"));
        }
        value
    }
}

impl<T: Copy + PartialOrd + Display + TryFrom<i64> + Into<u64>> Scalar for Whole<T> {
    fn show(&self, value: &T) -> Json {
        json!((*value).into())
    }
}

/// A duration within a range, as text: `15m`, `1h30m`, `250ms`, `30d`.
pub(crate) struct Lasting(pub RangeInclusive<Duration>);

impl Shape for Lasting {
    type Value = Duration;

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 2, "examples": ["8s", "15m", "1h30m"] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Duration> {
        let (least, most) = (show_duration(*self.0.start()), show_duration(*self.0.end()));
        let expected = format!("a duration from {least} to {most}, such as \"8s\", \"15m\" or \"1h30m\"");
        reader.is_plain(&found.place);
        let text = found.text(&expected, reader)?;
        let value = lasting(text);
        match value {
            Some(duration) if self.0.contains(&duration) => return value,
            Some(_) => reader.mistake(&found.place, "is out of range", format!("expected {expected}")),
            None => {
                let cut: String = text.chars().take(60).collect();
                reader.mistake(&found.place, format!("{cut:?} is not a duration"), format!("expected {expected}"));
            }
        }
        None
    }
}

impl Scalar for Lasting {
    fn show(&self, value: &Duration) -> Json {
        json!(show_duration(*value))
    }
}

/// The duration that a text names. A day has 24 hours.
pub(crate) fn lasting(text: &str) -> Option<Duration> {
    let is_count = |days: &str| !days.is_empty() && days.bytes().all(|byte| byte.is_ascii_digit());
    let (days, rest) = match text.split_once('d') {
        Some((days, rest)) if is_count(days) => (days.parse::<u32>().ok()?, rest),
        _ => (0, text),
    };
    let rest = match rest {
        "" if days > 0 => Duration::ZERO,
        rest => Duration::try_from(rest.parse::<SignedDuration>().ok()?).ok()?,
    };
    rest.checked_add(Duration::from_secs(24 * 60 * 60).checked_mul(days)?)
}

/// A duration as the file writes it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let text =
        SignedDuration::try_from(duration).map_or_else(|_| "for ever".to_owned(), |signed| format!("{signed:#}"));
    text.replace(' ', "")
}

/// A list without repetitions.
pub(crate) struct List<S> {
    pub of: S,
    /// Whether it may be empty.
    pub least: usize,
}

impl<S: Shape> Shape for List<S>
where
    S::Value: PartialEq,
{
    type Value = Vec<S::Value>;

    fn schema(&self) -> Json {
        json!({ "type": "array", "items": self.of.schema(), "uniqueItems": true, "minItems": self.least })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Self::Value> {
        let DeValue::Array(items) = found.value else {
            found.wrong_type("a list: [\"...\", \"...\"]", reader);
            return None;
        };
        if items.len() < self.least {
            reader.mistake(&found.place, "is empty", "name at least one");
            return None;
        }
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = Place { span: item.span(), key: format!("{}[{index}]", found.place.key) };
            let item = Found { value: item.get_ref(), place };
            match self.of.read(&item, reader) {
                Some(value) if values.contains(&value) => {
                    reader.mistake(&item.place, "is there twice", "name it once");
                }
                Some(value) => values.push(value),
                None => {}
            }
        }
        (values.len() == items.len()).then_some(values)
    }
}

impl<S: Scalar> Scalar for List<S>
where
    S::Value: PartialEq,
{
    fn show(&self, value: &Self::Value) -> Json {
        value.iter().map(|item| self.of.show(item)).collect()
    }
}

/// A form whose values become something else.
pub(crate) struct Mapped<S, M>(pub S, pub M);

impl<S: Shape, T, M: Fn(S::Value) -> T> Shape for Mapped<S, M> {
    type Value = T;

    fn schema(&self) -> Json {
        self.0.schema()
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<T> {
        self.0.read(found, reader).map(&self.1)
    }
}

/// A table.
pub(crate) struct Sub<F>(pub F);

impl<T, F: Fn(&mut Table<'_, '_>) -> Option<T>> Shape for Sub<F> {
    type Value = T;

    fn schema(&self) -> Json {
        Table::describe(&self.0)
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<T> {
        match found.value {
            DeValue::Table(table) => Table::read(table, found.place.clone(), reader, &self.0),
            _ => {
                found.wrong_type("a table: { key = ... }", reader);
                None
            }
        }
    }
}

/// Text, or a table for what the text cannot say.
pub(crate) struct Either<S, F>(pub S, pub F);

impl<S: Shape, F: Fn(&mut Table<'_, '_>) -> Option<S::Value>> Shape for Either<S, F> {
    type Value = S::Value;

    fn schema(&self) -> Json {
        json!({ "oneOf": [self.0.schema(), Table::describe(&self.1)] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<S::Value> {
        match found.value {
            DeValue::Table(table) => Table::read(table, found.place.clone(), reader, &self.1),
            _ => self.0.read(found, reader),
        }
    }
}

impl<S: Scalar, F: Fn(&mut Table<'_, '_>) -> Option<S::Value>> Scalar for Either<S, F> {
    fn show(&self, value: &S::Value) -> Json {
        self.0.show(value)
    }
}

/// A plain value: text, a whole number, or yes or no.
pub(crate) struct Plain;

impl Shape for Plain {
    type Value = Value;

    fn schema(&self) -> Json {
        json!({ "type": ["string", "integer", "boolean"] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Value> {
        reader.is_plain(&found.place);
        let value = match found.value {
            DeValue::String(text) => Some(Value::Text(text.to_string())),
            DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(Value::Int),
            _ => None,
        };
        if value.is_none() {
            found.wrong_type("a text, a whole number, or true or false", reader);
        }
        value
    }
}

/// A table of plain values whose keys are names that the file chooses.
pub(crate) struct Pairs<K, S> {
    pub name: Text<K>,
    pub value: S,
}

impl<K: Ord, S: Shape> Shape for Pairs<K, S> {
    type Value = BTreeMap<K, S::Value>;

    fn schema(&self) -> Json {
        let names = json!({ "description": self.name.rule });
        json!({ "type": "object", "propertyNames": names, "additionalProperties": self.value.schema() })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Self::Value> {
        if !found.value.is_table() {
            found.wrong_type("a table", reader);
            return None;
        }
        let (mut read, mut all_well) = (BTreeMap::new(), true);
        for (key, item) in entries(found) {
            let name = (self.name.parse)(key.get_ref());
            if name.is_none() {
                let place = Place { span: key.span(), key: item.place.key.clone() };
                reader.mistake(&place, format!("is not {}", self.name.what), self.name.rule);
            }
            match name.zip(self.value.read(&item, reader)) {
                Some((name, value)) => drop(read.insert(name, value)),
                None => all_well = false,
            }
        }
        all_well.then_some(read)
    }
}

impl<K: Ord, S: Shape> Scalar for Pairs<K, S> {
    fn show(&self, _: &Self::Value) -> Json {
        // The only default that such a table has.
        json!({})
    }
}

/// A table whose keys are names that the file chooses.
pub(crate) struct Entries<K, F> {
    pub name: Text<K>,
    pub read: F,
}

/// One of [`Entries`]; without a value if that has mistakes.
pub(crate) struct Entry<K, T> {
    pub name: K,
    pub place: Place,
    pub value: Option<T>,
}

impl<K, T, F: Fn(&mut Table<'_, '_>, &K) -> Option<T>> Entries<K, F> {
    /// Its JSON Schema; `sample` stands for any name.
    fn describe(&self, sample: &K) -> Json {
        json!({ "type": "object", "additionalProperties": Table::describe(|table| (self.read)(table, sample)) })
    }
}

impl<K, T, F: Fn(&mut Table<'_, '_>, &K) -> Option<T>> Shape for Entries<K, F> {
    type Value = Vec<Entry<K, T>>;

    fn schema(&self) -> Json {
        let sample = (self.name.parse)("name").expect("`name` is a name of every kind");
        let mut schema = self.describe(&sample);
        schema["propertyNames"] = json!({ "description": self.name.rule });
        schema
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Self::Value> {
        if !found.value.is_table() {
            found.wrong_type("a table", reader);
            return None;
        }
        let mut read = Vec::new();
        for (key, item) in entries(found) {
            let name = (self.name.parse)(key.get_ref());
            let Some(name) = name else {
                let place = Place { span: key.span(), key: item.place.key.clone() };
                reader.mistake(&place, format!("is not {}", self.name.what), self.name.rule);
                continue;
            };
            let value = Sub(|table: &mut Table<'_, '_>| (self.read)(table, &name)).read(&item, reader);
            read.push(Entry { name, place: item.place, value });
        }
        Some(read)
    }
}

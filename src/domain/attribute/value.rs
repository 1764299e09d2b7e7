//! What an attribute has.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::AccountId;

/// A value that an attribute has. A cleared attribute has none: see [`Attributes`](super::Attributes).
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text. An empty text is a value, not a clear.
    Text(String),
    /// Several texts without order, each once.
    Set(BTreeSet<String>),
    /// Another account of the same system, such as a manager.
    Reference {
        /// The account referred to.
        #[serde(rename = "ref")]
        account: AccountId,
    },
}

impl Value {
    /// Bytes of text in it, as far as [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES) is concerned.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Bool(_) | Self::Int(_) => 8,
            Self::Text(text) => text.len(),
            Self::Set(items) => items.iter().map(String::len).sum(),
            Self::Reference { account } => account.as_str().len(),
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// By its look, and at once: most of what messages and links consist of are values.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByLook)
    }
}

struct ByLook;

impl<'de> Visitor<'de> for ByLook {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false, a whole number, a text, a list of texts, or a reference")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Int).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut set = BTreeSet::new();
        while let Some(item) = items.next_element()? {
            set.insert(item);
        }
        Ok(Value::Set(set))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Value, A::Error> {
        #[derive(Deserialize)]
        struct Reference {
            #[serde(rename = "ref")]
            account: AccountId,
        }
        let Reference { account } = Reference::deserialize(MapAccessDeserializer::new(fields))?;
        Ok(Value::Reference { account })
    }
}

impl fmt::Debug for Value {
    /// Names the kind and never the value: people's data must not reach a log by way of `{:?}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Text(_) => "text",
            Self::Set(_) => "set",
            Self::Reference { .. } => "reference",
        })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_by_its_look() {
        let values = [
            (Value::Bool(true), "true"),
            (Value::Int(-7), "-7"),
            (Value::Int(i64::MAX), "9223372036854775807"),
            (Value::from(""), r#""""#),
            (Value::from("a\"\\b"), r#""a\"\\b""#),
            (Value::Set(BTreeSet::from(["a".to_owned(), "b".to_owned()])), r#"["a","b"]"#),
            (Value::Set(BTreeSet::new()), "[]"),
            (Value::Reference { account: "005".parse().unwrap() }, r#"{"ref":"005"}"#),
        ];
        for (value, text) in values {
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
            assert!(serde_json::from_str::<Value>(text).unwrap() == value, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in ["null", "1.5", "18446744073709551615", "[1]", "[null]", "{}", r#"{"ref":""}"#, r#"{"ref":5}"#] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
    }
}

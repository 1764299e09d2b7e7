//! Which letters are meant: a filter, ids, or all of them, as a form, a query or a body says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{AttributePath, ConnectionName, FailureClass, SystemName, Timestamp};
use crate::ops::dead::{self, Fitting, Meant};
use crate::ops::sync::UsageError;

/// A filter of letters: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct LetterAsk {
    /// Only those of this connection.
    pub connection: Option<String>,
    /// Only what this system refused, or what is wrong with its records.
    pub target: Option<String>,
    /// Only failures of this class: `transient`, `throttled`, `unauthorised`, `permanent` or `busy`.
    pub class: Option<String>,
    /// Only those with this code.
    pub code: Option<String>,
    /// Only those about this attribute.
    pub attribute: Option<String>,
    /// Only those about this account, as `<system>:<id>`, or about its partner.
    pub account: Option<String>,
    /// Only what was opened since: a time such as `2026-05-01T08:00:00Z`, or how long ago, such as `90m`, `12h` or `3d`.
    pub since: Option<String>,
    /// Only what was opened before this time, written likewise.
    pub until: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct PageAsk {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// Letters of the page at most: 50, or up to 500.
    #[serde(deserialize_with = "number")]
    #[schemars(with = "Option<u32>")]
    pub limit: Option<u32>,
}

/// A number, or the text of one: beside other fields of a query it comes as text.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u32),
        Text(String),
    }
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(number)) => Ok(Some(number)),
        Some(Written::Text(text)) if text.is_empty() => Ok(None),
        Some(Written::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// Which letters are meant: by their ids, by a filter, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LettersMeant {
    /// Their ids.
    pub letters: Vec<String>,
    /// A filter.
    pub filter: LetterAsk,
    /// All open letters.
    pub all: bool,
}

impl LetterAsk {
    /// As the command line has it.
    pub fn parse(&self) -> Result<Fitting, UsageError> {
        let time = |text: &Option<String>| -> Result<Option<Timestamp>, UsageError> {
            given(text).map(dead::time).transpose().map_err(UsageError::new)
        };
        let class = |text: &str| {
            let known = FailureClass::ALL.into_iter().find(|class| class.as_str() == text);
            known.ok_or_else(|| UsageError::new(format!("`{text}` is no class of failures")))
        };
        Ok(Fitting {
            connection: parsed::<ConnectionName>(&self.connection, "name of a connection")?,
            target: parsed::<SystemName>(&self.target, "name of a system")?,
            class: given(&self.class).map(class).transpose()?,
            code: given(&self.code).map(str::to_owned),
            attribute: parsed::<AttributePath>(&self.attribute, "attribute")?,
            account: given(&self.account).map(str::to_owned),
            since: time(&self.since)?,
            until: time(&self.until)?,
            older_than: None,
        })
    }

    /// The fields that are given, with their names, for a form or a link.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let Self { connection, target, class, code, attribute, account, since, until } = self;
        let all = [
            ("connection", connection),
            ("target", target),
            ("class", class),
            ("code", code),
            ("attribute", attribute),
            ("account", account),
            ("since", since),
            ("until", until),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, given(value)?.to_owned()))).collect()
    }

    /// The same as the query of a link.
    pub fn query(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(self.fields()).finish()
    }
}

/// What a field of a form or a query says; one that was left empty says nothing.
pub(in crate::console) fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn parsed<T: std::str::FromStr>(text: &Option<String>, what: &str) -> Result<Option<T>, UsageError>
where
    T::Err: std::fmt::Display,
{
    let parse =
        |text: &str| text.parse().map_err(|error: T::Err| UsageError::new(format!("`{text}` is no {what}: {error}")));
    given(text).map(parse).transpose()
}

impl LettersMeant {
    /// As the command line has it.
    pub fn parse(&self) -> Result<Meant, UsageError> {
        Ok(Meant { letters: self.letters.clone(), fitting: self.filter.parse()?, all: self.all })
    }

    /// In words.
    pub fn text(&self) -> String {
        let fields: Vec<_> = self.filter.fields().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        match (self.letters.as_slice(), fields.as_slice()) {
            ([one], _) => format!("letter {one}"),
            ([], []) => "all letters".to_owned(),
            ([], fields) => format!("letters with {}", fields.join(", ")),
            (ids, _) => crate::ops::output::count(ids.len(), "letter"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_of_a_form_mean_nothing() {
        let ask = LetterAsk { code: Some(" ".to_owned()), since: Some(String::new()), ..LetterAsk::default() };
        assert!(ask.parse().unwrap().is_open() && ask.fields().is_empty());
        assert!(LetterAsk { class: Some("odd".to_owned()), ..LetterAsk::default() }.parse().is_err());
        assert!(LetterAsk { connection: Some("A b".to_owned()), ..LetterAsk::default() }.parse().is_err());
    }
}

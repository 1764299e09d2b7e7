//! Which letters are meant: a filter, ids, or all of them, as a form, a query or a body says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::audit::account_named;
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
    /// Only what was opened longer ago than this, such as `90m`, `12h` or `3d`.
    pub older_than: Option<String>,
}

/// The same in a body. What it does not know is refused: a field that was misspelt would mean more letters than its author
/// does.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    connection: Option<String>,
    target: Option<String>,
    class: Option<String>,
    code: Option<String>,
    attribute: Option<String>,
    account: Option<String>,
    since: Option<String>,
    until: Option<String>,
    older_than: Option<String>,
}

/// The filter of a body.
pub(in crate::console) fn filter<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LetterAsk, D::Error> {
    let Written { connection, target, class, code, attribute, account, since, until, older_than } =
        Written::deserialize(deserializer)?;
    Ok(LetterAsk { connection, target, class, code, attribute, account, since, until, older_than })
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
    #[serde(deserialize_with = "filter")]
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
        let (until, older_than) = (time(&self.until)?, time(&self.older_than)?);
        if until.is_some() && older_than.is_some() {
            return Err(UsageError::new("give `until` or `older_than`, not both".to_owned()));
        }
        Ok(Fitting {
            connection: parsed::<ConnectionName>(&self.connection, "name of a connection")?,
            target: parsed::<SystemName>(&self.target, "name of a system")?,
            class: given(&self.class).map(class).transpose()?,
            code: given(&self.code).map(str::to_owned),
            attribute: parsed::<AttributePath>(&self.attribute, "attribute")?,
            account: given(&self.account).map(str::to_owned),
            since: time(&self.since)?,
            until,
            older_than,
        })
    }

    /// The same, without what is opened at `now` or later.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub fn as_of(&self, now: Timestamp) -> Result<Self, UsageError> {
        let until = self.parse()?.filter().until.map_or(now, |until| until.min(now));
        // To the millisecond, as letters are dated.
        let until =
            jiff::Timestamp::from_millisecond(until.0).map_or_else(|_| until.to_string(), |it| format!("{it:.3}"));
        Ok(Self { until: Some(until), older_than: None, ..self.clone() })
    }

    /// The fields that are given, with their names, for a form or a link.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let Self { connection, target, class, code, attribute, account, since, until, older_than } = self;
        let all = [
            ("connection", connection),
            ("target", target),
            ("class", class),
            ("code", code),
            ("attribute", attribute),
            ("account", account),
            ("since", since),
            ("until", until),
            ("older_than", older_than),
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
        let masked = |(name, value): (&str, String)| match name {
            // Whoever may not see values reads it as well.
            "account" => format!("{name} {}", account_named(&value)),
            _ => format!("{name} {value}"),
        };
        let fields: Vec<_> = self.filter.fields().into_iter().map(masked).collect();
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

    /// R78: a misspelt field does not widen what an act means, and a time can be given as an age.
    #[test]
    fn a_filter_of_a_body_has_no_unknown_field() {
        let meant = |text: &str| serde_json::from_str::<LettersMeant>(text);
        let refused = meant(r#"{"filter": {"code": "forbidden", "older": "3d"}}"#).unwrap_err().to_string();
        assert!(refused.contains("unknown field `older`"), "{refused}");
        let fitting =
            meant(r#"{"filter": {"code": "forbidden", "older_than": "3d"}}"#).unwrap().parse().unwrap().fitting;
        assert!(fitting.filter().until.is_some(), "{fitting:?}");
        let both = r#"{"filter": {"until": "3d", "older_than": "3d"}}"#;
        assert!(meant(both).unwrap().parse().is_err());
    }

    /// R78: what is opened after somebody asked is not part of what they asked for, whatever their filter says.
    #[test]
    fn a_filter_as_of_now_means_nothing_later() {
        let now = dead::time("2026-05-01T08:00:00Z").unwrap();
        let until = |ask: LetterAsk| ask.as_of(now).unwrap().parse().unwrap().filter().until;
        let given = |text: &str| Some(text.to_owned());
        assert_eq!(until(LetterAsk::default()), Some(now));
        assert_eq!(until(LetterAsk { until: given("2026-05-02T08:00:00Z"), ..LetterAsk::default() }), Some(now));
        let earlier = until(LetterAsk { until: given("2026-04-30T08:00:00.125Z"), ..LetterAsk::default() });
        assert_eq!(earlier, dead::time("2026-04-30T08:00:00.125Z").ok());
        let aged = LetterAsk { older_than: given("30m"), ..LetterAsk::default() };
        assert_eq!(aged.as_of(now).unwrap().older_than, None, "an age is a time from then on");
    }

    #[test]
    fn empty_fields_of_a_form_mean_nothing() {
        let ask = LetterAsk { code: Some(" ".to_owned()), since: Some(String::new()), ..LetterAsk::default() };
        assert!(ask.parse().unwrap().is_open() && ask.fields().is_empty());
        assert!(LetterAsk { class: Some("odd".to_owned()), ..LetterAsk::default() }.parse().is_err());
        assert!(LetterAsk { connection: Some("A b".to_owned()), ..LetterAsk::default() }.parse().is_err());
    }
}

//! `match` of a connection: by what existing accounts of the two systems are recognised as partners.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::attributes::AttributeConfig;
use super::connection::ATTRIBUTE_RULE;
use super::shape::{List, Scalar, Shape, parsed};
use super::table::{Found, Reader, Table};
use super::words::suggestion;
use crate::domain::AttributePath;
use crate::domain::matching::MatchKey;

/// One attribute, or a list of attributes that have to agree together.
struct Key;

impl Shape for Key {
    type Value = MatchKey;

    fn schema(&self) -> Json {
        let one = parsed::<AttributePath>("an attribute", ATTRIBUTE_RULE).schema();
        json!({ "oneOf": [one, { "type": "array", "items": one, "uniqueItems": true, "minItems": 1 }] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<MatchKey> {
        let one = || parsed::<AttributePath>("an attribute", ATTRIBUTE_RULE);
        match found.value {
            DeValue::Array(_) => List { of: one(), least: 1 }.read(found, reader).and_then(MatchKey::new),
            _ => one().read(found, reader).map(MatchKey::from),
        }
    }
}

impl Scalar for Key {
    fn show(&self, value: &MatchKey) -> Json {
        match value.paths() {
            [one] => json!(one),
            several => json!(several),
        }
    }
}

/// Reads the keys.
pub(super) fn match_on(table: &mut Table<'_, '_>) -> Option<Vec<MatchKey>> {
    let usual: AttributePath = "userName".parse().expect("userName is an attribute");
    table.default(
        "match",
        List { of: Key, least: 1 },
        vec![usual.into()],
        "By what existing accounts of the two systems are recognised as partners, the surest first: an attribute, or a list \
         of attributes that have to agree together, as in [\"emails\", [\"name.familyName\", \"title\"]].",
    )
}

/// Reports keys that name what is not kept in step: nothing would be known of it.
pub(super) fn check(
    table: &mut Table<'_, '_>,
    match_on: &[MatchKey],
    attributes: &BTreeMap<AttributePath, AttributeConfig>,
) {
    for path in match_on.iter().flat_map(MatchKey::paths).filter(|path| !attributes.contains_key(path)) {
        let mapped: Vec<_> = attributes.keys().map(AttributePath::as_str).collect();
        table.mistake(
            "match",
            format!("matches by {path}, which is not among the attributes"),
            suggestion(path.as_str(), &mapped),
        );
    }
}

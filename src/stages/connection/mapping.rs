//! From what the configuration says of an attribute's values to the way that they take, checked against both schemas.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::law;

use crate::config::AttributeConfig;
use crate::domain::mapping::{Conversion, Mapping, Step, ValueTable};
use crate::domain::rules::Flow;
use crate::domain::{Side, Sides};
use crate::systems::{AttributeSchema, Schema, ValueKind};

/// How the values of an attribute are called on each side.
///
/// # Errors
/// What the systems say against it, in sentences.
pub(super) fn mapping(
    config: &AttributeConfig,
    flow: Flow,
    ends: Sides<&AttributeSchema>,
    schemas: Sides<&Schema>,
) -> Result<Mapping, Vec<String>> {
    let mut problems = Vec::new();
    for side in Side::BOTH.into_iter().filter(|side| flow.writes(*side)) {
        if let Some(made) = &config.made[side] {
            let found = made.problems(schemas[side.other()], ends[side], config.values.is_some());
            problems.extend(found.into_iter().map(|problem| format!("to_{side}: {problem}")));
        }
    }
    let is_text = |end: &AttributeSchema| matches!(end.kind, ValueKind::Text | ValueKind::Email);
    if config.values.is_some() && !(is_text(ends.a) && is_text(ends.b)) {
        problems.push("`values` are for texts, and it is no text on both sides".to_owned());
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // A table takes texts and makes texts.
    let kind = |side: Side| if config.values.is_some() { ValueKind::Text } else { ends[side].kind };
    let formula =
        |side: Side| config.made[side].iter().map(move |made| Step::Formula(Arc::new(made.clone().making(kind(side)))));
    let table = || config.values.clone();
    match flow {
        Flow::Towards(side) => {
            let steps = formula(side).chain(table().map(Step::Table)).collect();
            Ok(Mapping::one_way(side.other(), Conversion(steps)))
        }
        Flow::Both if config.made.a.is_none() && config.values.is_none() => Ok(Mapping::default()),
        Flow::Both => {
            let ValueTable { entries, .. } = table().unwrap_or_default();
            let back = turned(&entries)?;
            let has_table = config.values.is_some();
            let there = formula(Side::B).chain(has_table.then(|| Step::Dictionary(entries))).collect();
            let back = has_table.then(|| Step::Dictionary(back)).into_iter().chain(formula(Side::A)).collect();
            let mapping = Mapping::both_ways(Conversion(there), Conversion(back));
            law::check(&mapping, ends, &known_texts(config)).map_err(|problem| vec![problem])?;
            Ok(mapping)
        }
        Flow::WatchedOn(_) => Ok(Mapping::default()),
    }
}

/// The texts that the configuration spells out.
fn known_texts(config: &AttributeConfig) -> Vec<String> {
    let made = Side::BOTH.into_iter().filter_map(|side| config.made[side].as_ref());
    let spelt = made.flat_map(|made| made.literals().iter().cloned());
    let listed = config.values.iter().flat_map(|table| table.entries.iter().flat_map(|(one, other)| [one, other]));
    spelt.chain(listed.cloned()).collect()
}

/// The table from the other side.
fn turned(entries: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut turned = BTreeMap::new();
    for (one, other) in entries {
        if let Some(first) = turned.insert(other.clone(), one.clone()) {
            return Err(vec![format!(
                "`values` call both {first:?} and {one:?} {other:?}, so that nobody can tell which one comes back; give each \
                 its own, or give the attribute the direction a_to_b"
            )]);
        }
    }
    Ok(turned)
}

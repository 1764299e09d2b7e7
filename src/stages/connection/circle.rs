//! Attributes that are made of each other in a circle: each of them flows one way, and all together they flow both ways,
//! with nobody to say that what comes back is what was sent (R87).

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::rules::{AttributeRule, Occasion};
use crate::domain::{AttributePath, Side};

/// An attribute of one side, under the side's own name.
type Place<'r> = (Side, &'r AttributePath);

/// A sentence for each attribute that is made of something that is made of it.
pub(super) fn problems(rules: &BTreeMap<AttributePath, AttributeRule>) -> Vec<String> {
    // What is written once follows nothing afterwards.
    let lasting: Vec<_> = rules.iter().filter(|(_, rule)| rule.occasion == Occasion::Always).collect();
    let made = |(path, rule): &(&AttributePath, &AttributeRule)| {
        let side = Side::BOTH.into_iter().find(|side| rule.flow.writes(*side))?;
        let is_one_way = !rule.flow.writes(side.other());
        let from = side.other();
        if !is_one_way || !rule.mapping.converts(from) {
            return None;
        }
        let others: Vec<_> = lasting.iter().filter(|(other, _)| other != path).map(|(_, rule)| *rule).collect();
        let reached = reached_from((side, &rule.names[side]), &others);
        let source = rule.sources(from).iter().find(|name| reached.contains(&(from, *name)))?;
        Some(format!(
            "attribute {path}: it is made of {from}.{source}, which is made of {side}.{} in turn, and nobody can tell whether \
             what comes back is what was sent; take one of them out, or set on = \"create\" for one",
            rule.names[side]
        ))
    };
    lasting.iter().filter_map(made).collect()
}

/// Everything that a change of one attribute changes by these rules, on both sides.
fn reached_from<'r>(start: Place<'r>, rules: &[&'r AttributeRule]) -> BTreeSet<Place<'r>> {
    let mut reached = BTreeSet::from([start]);
    let mut next = vec![start];
    while let Some((side, name)) = next.pop() {
        let follows = |rule: &&&AttributeRule| {
            let follows = rule.flow.contributes(side) && rule.flow.writes(side.other());
            follows && rule.sources(side).contains(name)
        };
        for rule in rules.iter().filter(follows) {
            let place = (side.other(), &rule.names[side.other()]);
            if reached.insert(place) {
                next.push(place);
            }
        }
    }
    reached
}

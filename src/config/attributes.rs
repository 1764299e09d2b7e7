//! `[connections.<name>.attributes]`: which attributes are kept in step, and how each differs from the connection.

use std::collections::BTreeMap;

use crate::domain::mapping::{Formula as _, ValueTable};
use crate::domain::rules::{Drift, Flow, Occasion};
use crate::domain::{AttributePath, Side, Sides};
use crate::expression::Computed;

use super::connection::{ATTRIBUTE_RULE, CONFLICTS, Conflict, End, FLOWS, side_named};
use super::shape::{Entries, Pairs, Text, Words, parsed};
use super::table::Table;

/// A mapped attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeConfig {
    /// What the two systems call it.
    pub names: Sides<AttributePath>,
    /// Which way it flows.
    pub flow: Flow,
    /// The side that wins a clash, whatever the connection says. Only where it flows both ways.
    pub owner: Option<Side>,
    /// Who wins a clash, if not as the connection says. Only where it flows both ways.
    pub conflict: Option<Conflict>,
    /// When it is written.
    pub occasion: Occasion,
    /// What happens to a value that the side written to has changed. Only where it flows one way.
    pub drift: Drift,
    /// What makes the values that are written to a side, out of the other side's accounts; `None`: they are taken as they
    /// are. Where it flows both ways there are two or none, each reading the other side's attribute alone.
    pub made: Sides<Option<Computed>>,
    /// What the values of the side that contributes are called on the other one; where it flows both ways, what side `a`'s
    /// are called on side `b`.
    pub values: Option<ValueTable>,
}

impl AttributeConfig {
    /// An attribute about which nothing in particular is said.
    pub fn plain(path: &AttributePath, flow: Flow) -> Self {
        let names = Sides { a: path.clone(), b: path.clone() };
        let (occasion, drift) = (Occasion::default(), Drift::default());
        Self { names, flow, owner: None, conflict: None, occasion, drift, made: Sides::default(), values: None }
    }
}

const EXPRESSION: Text<String> = Text {
    what: "an expression",
    rule: "an expression is CEL over the attributes of the other side, such as a.name.givenName + \" \" + a.name.familyName",
    parse: |text| Some(text.to_owned()),
};

const VALUE: Text<String> =
    Text { what: "a value", rule: "a value has 1 to 255 characters", parse: |text| value_text(text) };

fn value_text(text: &str) -> Option<String> {
    (1..=255).contains(&text.chars().count()).then(|| text.to_owned())
}

pub(super) fn attributes(
    table: &mut Table<'_, '_>,
    connection: Option<Flow>,
    ends: Option<&Sides<End>>,
) -> Option<Option<BTreeMap<AttributePath, AttributeConfig>>> {
    let shape = Entries {
        name: parsed::<AttributePath>("an attribute", ATTRIBUTE_RULE),
        read: |table: &mut Table<'_, '_>, path: &AttributePath| attribute(table, path, connection, ends),
    };
    let doc = "The attributes to keep in step, by their SCIM names; without this table all that both systems know.";
    let Some(entries) = table.optional("attributes", shape, doc)? else { return Some(None) };
    if entries.is_empty() {
        table.mistake("attributes", "maps nothing", "leave the table out to map all attributes that both systems know");
        return None;
    }
    entries.into_iter().map(|entry| entry.value.map(|value| (entry.name, value))).collect::<Option<_>>().map(Some)
}

fn attribute(
    table: &mut Table<'_, '_>,
    path: &AttributePath,
    connection: Option<Flow>,
    ends: Option<&Sides<End>>,
) -> Option<AttributeConfig> {
    table.advise_on_nested("quote a name that has dots: \"name.givenName\" = { ... }");
    let name = || parsed::<AttributePath>("an attribute", ATTRIBUTE_RULE);
    let a = table.optional("a", name(), "What side a calls it, if not the same.");
    let b = table.optional("b", name(), "What side b calls it, if not the same.");
    let to_a = table.optional(
        "to_a",
        EXPRESSION,
        "What makes the values for side a: a CEL expression over side b. Where the attribute flows both ways, to_b as well.",
    );
    let to_b = table.optional(
        "to_b",
        EXPRESSION,
        "What makes the values for side b: a CEL expression over side a, such as \"a.userName.lowerAscii()\".",
    );
    let flow = table.optional(
        "direction",
        Words(FLOWS),
        "Which way it flows, if not as the connection does. Only in a two-way connection.",
    );
    let owner = table.optional(
        "owner",
        parsed::<String>("the name of a system", "one of the two systems"),
        "The system that wins where both changed this attribute. Only where it flows both ways.",
    );
    let conflict = table.optional(
        "conflict",
        Words(CONFLICTS),
        "Who wins where both changed this attribute: the default system, or the later edit; as the connection says if left \
         out. Only where it flows both ways.",
    );
    let occasion = table.default(
        "on",
        Words(&[("always", Occasion::Always), ("create", Occasion::Create)]),
        Occasion::Always,
        "When it is written: on every change, or only when the account is created.",
    );
    let drift = table.optional(
        "drift",
        Words(&[("keep", Drift::Keep), ("enforce", Drift::Enforce)]),
        "What happens to a value that was changed on the side written to: it stays until the next change (default), or \
         it is overwritten at once. Only where it flows one way.",
    );
    let values = table.optional(
        "values",
        Pairs { name: VALUE, value: VALUE },
        "What values are called in the system written to: \"Sales EMEA\" = \"north\". Where it flows both ways: what side a's \
         are called on side b, and a value that is not listed does not flow.",
    );
    let otherwise = table.optional(
        "otherwise",
        VALUE,
        "What stands for a value that is not under `values`; without it, none does. Only where it flows one way.",
    );
    if path.is_active() {
        let remedy = "leave it out, and set leavers = \"deactivate\" on the connection if it shall be carried over";
        table.mistake("", "`active` is carried by the leaver policy, not as an attribute", remedy);
        return None;
    }
    let connection = connection?;
    let flow = flow?.unwrap_or(connection);
    if connection != Flow::Both && flow != connection {
        let remedy = "leave it out, or make the connection two_way";
        table.mistake("direction", "a one-way connection has no attributes that flow another way", remedy);
        return None;
    }
    let owner = match owner? {
        None => None,
        Some(_) if flow != Flow::Both => {
            table.mistake("owner", "has no meaning for an attribute that flows one way", "leave it out");
            return None;
        }
        Some(name) => Some(side_named(table, "owner", &name, ends?)?),
    };
    let conflict = conflict?;
    if conflict.is_some() && (flow != Flow::Both || owner.is_some()) {
        let problem = match owner {
            Some(_) => "the owner wins, so there is nothing else to say",
            None => "has no meaning for an attribute that flows one way",
        };
        table.mistake("conflict", problem, "leave it out");
        return None;
    }
    let drift = drift?;
    if drift.is_some() && flow == Flow::Both {
        table.mistake("drift", "has no meaning for an attribute that flows both ways", "leave it out");
        return None;
    }
    let values = match (values?, otherwise?) {
        (Some(_), Some(_)) if flow == Flow::Both => {
            let remedy = "leave it out, or give the attribute a direction of its own, a_to_b or b_to_a";
            let problem = "has no meaning both ways: from what stands for many values, nobody can tell which it was";
            table.mistake("otherwise", problem, remedy);
            return None;
        }
        (None, Some(_)) => {
            table.mistake("otherwise", "belongs to `values`, which are not there", "leave it out, or list values");
            return None;
        }
        (values, otherwise) => values.map(|entries| ValueTable { entries, otherwise }),
    };
    let names = Sides { a: a?.unwrap_or_else(|| path.clone()), b: b?.unwrap_or_else(|| path.clone()) };
    let made = made(table, Sides { a: to_a?, b: to_b? }, flow, &names)?;
    Some(AttributeConfig {
        names,
        made,
        flow,
        owner,
        conflict,
        occasion: occasion?,
        drift: drift.unwrap_or_default(),
        values,
    })
}

/// Reads what makes the values of each side.
fn made(
    table: &mut Table<'_, '_>,
    texts: Sides<Option<String>>,
    flow: Flow,
    names: &Sides<AttributePath>,
) -> Option<Sides<Option<Computed>>> {
    let mut made = Sides::default();
    for side in Side::BOTH {
        let (key, from) = (to(side), side.other());
        let Some(text) = &texts[side] else { continue };
        let computed = match Computed::parse(text, from) {
            Ok(computed) => computed,
            Err(error) => {
                table.mistake_within(key, error.at, error.problem, EXPRESSION.rule);
                return None;
            }
        };
        if !flow.writes(side) {
            let remedy = "leave it out, or give the attribute the direction two_way";
            table.mistake(key, format!("the attribute does not flow to side {side}"), remedy);
            return None;
        }
        if flow == Flow::Both && texts[from].is_none() {
            let back = to(from);
            let problem = format!("the attribute flows both ways, and nothing says what makes side {from}'s values");
            let remedy = format!("add {back}, or give the attribute the direction {}", one_way(side));
            table.mistake(key, problem, remedy);
            return None;
        }
        if flow == Flow::Both && computed.reads() != std::slice::from_ref(&names[from]) {
            let problem =
                format!("both ways, one attribute is made of one: it reads other than {from}.{}", names[from]);
            let remedy = format!("read that alone, or give the attribute the direction {}", one_way(side));
            table.mistake(key, problem, remedy);
            return None;
        }
        if flow != Flow::Both && table.has(from.as_str()) {
            let problem = format!("has no meaning: {key} says what the value is made of");
            table.mistake(from.as_str(), problem, "leave it out");
            return None;
        }
        made[side] = Some(computed);
    }
    Some(made)
}

/// The key of the expression that makes the values of a side.
fn to(side: Side) -> &'static str {
    match side {
        Side::A => "to_a",
        Side::B => "to_b",
    }
}

fn one_way(to: Side) -> &'static str {
    match to {
        Side::A => "b_to_a",
        Side::B => "a_to_b",
    }
}

/// Reports an attribute of a system that is mapped twice.
pub(super) fn check_names(table: &mut Table<'_, '_>, attributes: &BTreeMap<AttributePath, AttributeConfig>) {
    for side in Side::BOTH {
        let mut named: BTreeMap<&AttributePath, &AttributePath> = BTreeMap::new();
        // What is made of others has no name of its own where it comes from.
        let is_named = |attribute: &AttributeConfig| match attribute.made[side.other()] {
            Some(_) => attribute.flow.writes(side),
            None => true,
        };
        for (path, attribute) in attributes.iter().filter(|(_, attribute)| is_named(attribute)) {
            let name = &attribute.names[side];
            if let Some(first) = named.insert(name, path) {
                let problem = format!("{first} and {path} are both {name} on side {side}");
                table.mistake("attributes", problem, "map each attribute of a system once");
            }
        }
    }
}

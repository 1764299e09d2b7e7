//! A query bound to fields, and the way its rows are found.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::{Columns, Condition, Literal, Operator, Order, Query};
use crate::sandbox::salesforce::error::ApiError;
use crate::sandbox::salesforce::id;
use crate::sandbox::salesforce::object::{Access, Kind, Object};
use crate::sandbox::salesforce::org::{Org, Table};
use crate::sandbox::salesforce::row::{Cell, Row};

/// A field, seen from the rows of the queried object: references to follow, then the field there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sandbox::salesforce) struct Path {
    pub steps: Vec<Step>,
    pub place: usize,
    /// Name of the field, as the schema writes it.
    pub name: String,
}

/// One reference on the way to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox::salesforce) struct Step {
    /// Which field of the row it is.
    pub place: usize,
    /// The object that it leads to.
    pub to: &'static str,
    /// Its name in queries and answers.
    pub relationship: &'static str,
}

/// A query that can be run.
#[derive(Debug, Clone)]
pub(in crate::sandbox::salesforce) struct Plan {
    pub columns: Columns<Path>,
    pub object: Arc<Object>,
    condition: Option<Condition<Path>>,
    order: Vec<Order<Path>>,
    limit: usize,
    offset: usize,
}

pub(super) fn bind(query: Query, org: &Org) -> Result<Plan, ApiError> {
    let Some(table) = org.table(&query.object) else {
        return Err(ApiError::bad("INVALID_TYPE", format!("sObject type '{}' is not supported.", query.object)));
    };
    let object = Arc::clone(&table.object);
    let path = |name: &str| resolve(name, &object, org);
    let columns = match query.columns {
        Columns::Count => Columns::Count,
        Columns::Fields(names) => {
            let mut seen = HashSet::new();
            if let Some(twice) = names.iter().find(|name| !seen.insert(name.to_lowercase())) {
                return Err(ApiError::bad("INVALID_FIELD", format!("duplicate field selected: {twice}")));
            }
            Columns::Fields(names.iter().map(|name| path(name)).collect::<Result<_, _>>()?)
        }
    };
    if query.offset > 2000 {
        let message = "Maximum SOQL offset allowed is 2000";
        return Err(ApiError::bad("NUMBER_OUTSIDE_VALID_RANGE", message));
    }
    let order = query.order.into_iter().map(|order| {
        Ok(Order { path: path(&order.path)?, descending: order.descending, nulls_last: order.nulls_last })
    });
    Ok(Plan {
        columns,
        condition: query.condition.map(|condition| bind_condition(condition, &object, org)).transpose()?,
        order: order.collect::<Result<_, ApiError>>()?,
        limit: query.limit.unwrap_or(usize::MAX),
        offset: query.offset,
        object,
    })
}

fn resolve(name: &str, object: &Arc<Object>, org: &Org) -> Result<Path, ApiError> {
    let mut object = Arc::clone(object);
    let mut steps = Vec::new();
    let mut parts: Vec<&str> = name.split('.').collect();
    let field = parts.pop().unwrap_or_default();
    // `User.Email` is `Email`, as long as no relationship has that name.
    if parts.first().is_some_and(|part| part.eq_ignore_ascii_case(object.name) && object.relationship(part).is_none()) {
        parts.remove(0);
    }
    for part in parts {
        let Some((place, to)) = object.relationship(part) else {
            let message = format!("Didn't understand relationship '{part}' in field path.");
            return Err(ApiError::bad("INVALID_FIELD", message));
        };
        let Kind::Reference { relationship, .. } = object.fields[place].kind else { continue };
        steps.push(Step { place, to, relationship });
        object = Arc::clone(&org.table(to).ok_or_else(ApiError::not_found)?.object);
    }
    match object.index(field) {
        Some(place) if org.access(&object, place) != Access::Hidden => {
            Ok(Path { steps, place, name: object.fields[place].name.clone() })
        }
        _ => {
            let message = format!(
                "No such column '{field}' on entity '{}'. If you are attempting to use a custom field, be sure to append the \
                 '__c' after the custom field name.",
                object.name
            );
            Err(ApiError::bad("INVALID_FIELD", message))
        }
    }
}

fn bind_condition(condition: Condition<String>, object: &Arc<Object>, org: &Org) -> Result<Condition<Path>, ApiError> {
    let all = |terms: Vec<Condition<String>>| {
        terms.into_iter().map(|term| bind_condition(term, object, org)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match condition {
        Condition::All(terms) => Condition::All(all(terms)?),
        Condition::Any(terms) => Condition::Any(all(terms)?),
        Condition::Not(term) => Condition::Not(Box::new(bind_condition(*term, object, org)?)),
        Condition::Compare { path, operator, value } => {
            let path = resolve(&path, object, org)?;
            let value = typed(value, &path, operator, object, org)?;
            Condition::Compare { path, operator, value }
        }
        Condition::In { path, values } => {
            let path = resolve(&path, object, org)?;
            let values = values.into_iter().map(|value| typed(value, &path, Operator::Equal, object, org));
            Condition::In { values: values.collect::<Result<_, _>>()?, path }
        }
    })
}

/// Refuses a value of another type than the field's; brings ids to their long form and texts to small letters.
fn typed(
    value: Literal,
    path: &Path,
    operator: Operator,
    object: &Arc<Object>,
    org: &Org,
) -> Result<Literal, ApiError> {
    let last = path.steps.last().and_then(|step| org.table(step.to));
    let field = &last.map_or(object, |table| &table.object).fields[path.place];
    let mismatch = |wanted: &str| {
        let message = format!("value of filter criterion for field '{}' must be of type {wanted}", field.name);
        Err(ApiError::bad("INVALID_FIELD", message))
    };
    match (&field.kind, value) {
        (_, Literal::Null) => Ok(Literal::Null),
        (Kind::Boolean, Literal::Bool(flag)) => Ok(Literal::Bool(flag)),
        (Kind::Boolean, _) => mismatch("boolean and should not be enclosed in quotes"),
        (Kind::DateTime, Literal::DateTime(ms)) => Ok(Literal::DateTime(ms)),
        (Kind::DateTime, _) => mismatch("dateTime and should not be enclosed in quotes"),
        (Kind::Id | Kind::Reference { .. }, Literal::Text(text)) if operator != Operator::Like => {
            match id::parse(&text) {
                Some((prefix, serial)) => Ok(Literal::Text(id::id18(prefix, serial))),
                None if id::looks_like_id(&text) => Ok(Literal::Text(text)),
                None => Err(ApiError::bad("INVALID_QUERY_FILTER_OPERATOR", format!("invalid ID field: {text}"))),
            }
        }
        (_, Literal::Text(text)) if operator == Operator::Like => Ok(Literal::Text(text.to_lowercase())),
        (_, Literal::Text(text)) => Ok(Literal::Text(text.replace("\\_", "_").replace("\\%", "%").to_lowercase())),
        (_, _) => mismatch("string and should be enclosed in quotes"),
    }
}

/// The serials of the rows that a query returns, in its order. With `deleted`, those in the recycle bin as well.
pub(in crate::sandbox::salesforce) fn matches(plan: &Plan, org: &Org, deleted: bool) -> Vec<u64> {
    let Some(table) = org.table(plan.object.name) else { return Vec::new() };
    let fits = |row: &Arc<Row>| {
        (deleted || !row.deleted) && plan.condition.as_ref().is_none_or(|condition| holds(condition, row, org))
    };
    let take = plan.limit.saturating_add(plan.offset);
    let mut rows: Vec<&Arc<Row>> = match candidates(plan, table) {
        Candidates::Few(serials) => {
            serials.iter().filter_map(|serial| table.rows.get(serial)).filter(|row| fits(row)).collect()
        }
        Candidates::StampedFrom(floor) => {
            let rows = table
                .stamps
                .range((floor, 0)..)
                .filter_map(|(_, serial)| table.rows.get(serial))
                .filter(|row| fits(row));
            // Already in order: the rest need not be looked at.
            if plan.is_in_stamp_order() { rows.take(take).collect() } else { rows.collect() }
        }
    };
    if !plan.order.is_empty() && !plan.is_in_stamp_order() {
        rows.sort_by(|a, b| compare_rows(a, b, &plan.order, org));
    } else if plan.is_in_stamp_order() {
        rows.sort_by_key(|row| (row.stamp(), row.serial));
    }
    rows.into_iter().skip(plan.offset).take(plan.limit).map(|row| row.serial).collect()
}

enum Candidates {
    Few(BTreeSet<u64>),
    StampedFrom(i64),
}

impl Plan {
    /// Whether rows are wanted in the order of the stamp index: `ORDER BY SystemModstamp, Id`.
    fn is_in_stamp_order(&self) -> bool {
        let wanted = [self.object.stamps[0], 0];
        self.order.len() == 2
            && self
                .order
                .iter()
                .zip(wanted)
                .all(|(order, place)| order.path.steps.is_empty() && order.path.place == place && !order.descending)
    }
}

fn candidates(plan: &Plan, table: &Table) -> Candidates {
    let floor = |condition: &Condition<Path>| stamp_floor(condition, plan.object.stamps[0]);
    let few = plan.condition.as_ref().and_then(|condition| few(condition, table));
    match few {
        Some(serials) => Candidates::Few(serials),
        None => Candidates::StampedFrom(plan.condition.as_ref().and_then(floor).unwrap_or(i64::MIN)),
    }
}

/// The only rows that can fit, where an index knows them.
fn few(condition: &Condition<Path>, table: &Table) -> Option<BTreeSet<u64>> {
    let lookup = |path: &Path, value: &Literal| match value {
        Literal::Text(text) if path.steps.is_empty() && path.place == 0 => {
            Some(id::parse(text).map(|(_, serial)| serial).into_iter().collect())
        }
        Literal::Text(text) if path.steps.is_empty() => table.lookup(path.place, text),
        _ => None,
    };
    match condition {
        Condition::All(terms) => terms.iter().find_map(|term| few(term, table)),
        Condition::Compare { path, operator: Operator::Equal, value } => lookup(path, value),
        Condition::In { path, values } => {
            let sets: Option<Vec<BTreeSet<u64>>> = values.iter().map(|value| lookup(path, value)).collect();
            Some(sets?.into_iter().flatten().collect())
        }
        _ => None,
    }
}

/// The earliest stamp, in seconds, that a row which fits can have.
fn stamp_floor(condition: &Condition<Path>, stamp: usize) -> Option<i64> {
    match condition {
        Condition::All(terms) => terms.iter().filter_map(|term| stamp_floor(term, stamp)).max(),
        Condition::Any(terms) => {
            terms.iter().map(|term| stamp_floor(term, stamp)).collect::<Option<Vec<_>>>()?.into_iter().min()
        }
        Condition::Compare { path, operator, value: Literal::DateTime(ms) }
            if path.steps.is_empty() && path.place == stamp =>
        {
            matches!(operator, Operator::Equal | Operator::Greater | Operator::GreaterOrEqual)
                .then(|| ms.div_euclid(1000))
        }
        _ => None,
    }
}

/// The value of a field of a row, following references; null where one leads nowhere.
fn value<'a>(row: &'a Arc<Row>, path: &Path, org: &'a Org) -> &'a Cell {
    let mut row = row;
    for step in &path.steps {
        match row.cells[step.place].as_text().and_then(|id| org.by_id(step.to, id)) {
            Some(parent) => row = parent,
            None => return &Cell::Null,
        }
    }
    &row.cells[path.place]
}

fn holds(condition: &Condition<Path>, row: &Arc<Row>, org: &Org) -> bool {
    match condition {
        Condition::All(terms) => terms.iter().all(|term| holds(term, row, org)),
        Condition::Any(terms) => terms.iter().any(|term| holds(term, row, org)),
        Condition::Not(term) => !holds(term, row, org),
        Condition::Compare { path, operator, value: wanted } => compare(value(row, path, org), *operator, wanted, path),
        Condition::In { path, values } => {
            let cell = value(row, path, org);
            values.iter().any(|wanted| compare(cell, Operator::Equal, wanted, path))
        }
    }
}

fn compare(cell: &Cell, operator: Operator, wanted: &Literal, path: &Path) -> bool {
    let order = match (cell, wanted) {
        (Cell::Null, Literal::Null) => Some(Ordering::Equal),
        (Cell::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
        (Cell::Stamp(a), Literal::DateTime(b)) => Some((a * 1000).cmp(b)),
        (Cell::Text(text), Literal::Text(pattern)) if operator == Operator::Like => {
            return like(&text.to_lowercase().chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>());
        }
        // Ids alone tell capital from small letters.
        (Cell::Text(a), Literal::Text(b)) if path.name.ends_with("Id") && id::looks_like_id(b) => {
            Some((**a).cmp(b.as_str()))
        }
        (Cell::Text(a), Literal::Text(b)) => Some(a.to_lowercase().as_str().cmp(b.as_str())),
        _ => None,
    };
    match (operator, order) {
        // A null is unlike every value.
        (Operator::NotEqual, order) => order != Some(Ordering::Equal),
        (_, None) | (Operator::Like, _) => false,
        (Operator::Equal, Some(order)) => order.is_eq(),
        (Operator::Less, Some(order)) => order.is_lt(),
        (Operator::LessOrEqual, Some(order)) => order.is_le(),
        (Operator::Greater, Some(order)) => order.is_gt(),
        (Operator::GreaterOrEqual, Some(order)) => order.is_ge(),
    }
}

/// `%` is any text, `_` one letter, a backslash takes both their meaning away.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        ['\\', letter @ ('%' | '_'), rest @ ..] => text.first() == Some(letter) && like(&text[1..], rest),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest),
        [letter, rest @ ..] => text.first() == Some(letter) && like(&text[1..], rest),
    }
}

fn compare_rows(a: &Arc<Row>, b: &Arc<Row>, order: &[Order<Path>], org: &Org) -> Ordering {
    for order in order {
        let (a, b) = (value(a, &order.path, org), value(b, &order.path, org));
        let by_value = match (a, b) {
            (Cell::Null, Cell::Null) => Ordering::Equal,
            // Where nulls go is said outright, whatever the direction.
            (Cell::Null, _) => return if order.nulls_last { Ordering::Greater } else { Ordering::Less },
            (_, Cell::Null) => return if order.nulls_last { Ordering::Less } else { Ordering::Greater },
            (Cell::Stamp(a), Cell::Stamp(b)) => a.cmp(b),
            (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
            (Cell::Text(a), Cell::Text(b)) if order.path.name.ends_with("Id") => a.cmp(b),
            (Cell::Text(a), Cell::Text(b)) => a.to_lowercase().cmp(&b.to_lowercase()),
            _ => Ordering::Equal,
        };
        if by_value != Ordering::Equal {
            return if order.descending { by_value.reverse() } else { by_value };
        }
    }
    Ordering::Equal
}

//! What is common to all GraphQL services: a document is checked whole against the schema before any of it happens, and
//! answered with the fields that it asks for and no others.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::language::{Document, Field, Literal, Operation, Selection, Type, TypeKind, TypeRef, types};

/// Entries of a connection, if the client does not say.
const DEFAULT_PAGE: usize = 10;
/// Most entries of a connection within an entry of another.
const MAX_NESTED: usize = 100;

/// The types that a service has.
#[derive(Debug)]
pub(in crate::sandbox::iadvize) struct Schema {
    types: BTreeMap<String, Type>,
}

/// The arguments of a field, checked.
pub(super) type Arguments = Map<String, Value>;

/// Where entries of a connection are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub start: usize,
    pub end: usize,
}

impl Schema {
    /// The vendor's, as far as it is known, see `schema.graphql`.
    pub fn vendor() -> Self {
        Self { types: types(include_str!("schema.graphql")).expect("the schema is well-formed") }
    }

    fn of(&self, name: &str) -> Option<&Type> {
        self.types.get(name)
    }

    /// Checks an operation, and gives it its variables.
    pub(super) fn check(
        &self,
        document: &Document,
        operation: &Operation,
        variables: &Map<String, Value>,
    ) -> Result<(), String> {
        for (name, wanted) in &operation.variables {
            self.fits(variables.get(name), wanted)
                .map_err(|what| format!("Variable \"${name}\" got invalid value: {what}"))?;
        }
        let root = if operation.is_mutation { "Mutation" } else { "Query" };
        self.check_selection(document, operation, &operation.selection, root, variables, 0)
    }

    fn check_selection(
        &self,
        document: &Document,
        operation: &Operation,
        selection: &[Selection],
        on: &str,
        variables: &Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > 20 {
            return Err("The document is nested too deeply.".into());
        }
        for selected in selection {
            match selected {
                Selection::Field(field) if field.name == "__typename" => {}
                Selection::Field(field) => {
                    let unknown = || format!("Cannot query field \"{}\" on type \"{on}\".", field.name);
                    let (arguments, kind) =
                        self.of(on).and_then(|known| known.fields.get(&field.name)).ok_or_else(unknown)?;
                    self.check_arguments(operation, field, arguments, variables)?;
                    let name = kind.name();
                    let composite =
                        self.of(name).is_some_and(|known| matches!(known.kind, TypeKind::Object | TypeKind::Interface));
                    if composite == field.selection.is_empty() {
                        return Err(format!("Field \"{}\" has the wrong selection of subfields.", field.name));
                    }
                    self.check_selection(document, operation, &field.selection, name, variables, depth + 1)?;
                }
                Selection::Inline(inner, selection) => {
                    let inner = inner.as_deref().unwrap_or(on);
                    self.of(inner).ok_or_else(|| format!("Unknown type \"{inner}\"."))?;
                    self.check_selection(document, operation, selection, inner, variables, depth + 1)?;
                }
                Selection::Fragment(name) => {
                    let (inner, selection) =
                        document.fragments.get(name).ok_or_else(|| format!("Unknown fragment \"{name}\"."))?;
                    self.check_selection(document, operation, selection, inner, variables, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn check_arguments(
        &self,
        operation: &Operation,
        field: &Field,
        known: &BTreeMap<String, TypeRef>,
        variables: &Map<String, Value>,
    ) -> Result<(), String> {
        for (name, literal) in &field.arguments {
            if !known.contains_key(name) {
                return Err(format!("Unknown argument \"{name}\" on field \"{}\".", field.name));
            }
            if let Some(variable) = undeclared(literal, operation) {
                return Err(format!("Variable \"${variable}\" is not defined."));
            }
        }
        let given = arguments(field, variables);
        for (name, wanted) in known {
            self.fits(given.get(name), wanted).map_err(|what| format!("Argument \"{name}\": {what}"))?;
        }
        Ok(())
    }

    /// Whether a value (`None`: left out) has a type.
    fn fits(&self, value: Option<&Value>, wanted: &TypeRef) -> Result<(), String> {
        match (wanted, value) {
            (TypeRef::Required(_), None | Some(Value::Null)) => {
                Err(format!("Expected a value of type \"{}\", found null.", wanted.name()))
            }
            (_, None | Some(Value::Null)) => Ok(()),
            (TypeRef::Required(inner), value) => self.fits(value, inner),
            (TypeRef::List(inner), Some(Value::Array(items))) => {
                items.iter().try_for_each(|item| self.fits(Some(item), inner))
            }
            // One item stands for a list of one.
            (TypeRef::List(inner), value) => self.fits(value, inner),
            (TypeRef::Named(name), Some(value)) => self.fits_named(value, name),
        }
    }

    fn fits_named(&self, value: &Value, name: &str) -> Result<(), String> {
        let fits = match self.of(name) {
            Some(Type { kind: TypeKind::Enum, words, .. }) => {
                value.as_str().is_some_and(|word| words.iter().any(|known| known == word))
            }
            Some(Type { kind: TypeKind::Input, fields, .. }) => {
                let members = value.as_object().ok_or_else(|| format!("Expected type \"{name}\" to be an object."))?;
                if let Some(unknown) = members.keys().find(|member| !fields.contains_key(*member)) {
                    return Err(format!("Field \"{unknown}\" is not defined by type \"{name}\"."));
                }
                for (field, (_, wanted)) in fields {
                    self.fits(members.get(field), wanted).map_err(|what| format!("Field \"{field}\": {what}"))?;
                }
                true
            }
            _ => match name {
                "Int" | "LegacyId" => value.is_i64() || value.is_u64(),
                "Boolean" => value.is_boolean(),
                "ID" => value.is_string() || value.is_u64(),
                _ => value.is_string(),
            },
        };
        if fits { Ok(()) } else { Err(format!("Value cannot represent type \"{name}\".")) }
    }

    /// The fields of a value that are asked for.
    pub(super) fn project(
        &self,
        document: &Document,
        selection: &[Selection],
        on: &str,
        value: &Value,
        variables: &Map<String, Value>,
    ) -> Value {
        match value {
            Value::Array(items) => {
                items.iter().map(|item| self.project(document, selection, on, item, variables)).collect()
            }
            Value::Object(_) if !selection.is_empty() => {
                let mut shown = Map::new();
                self.gather(document, selection, on, value, variables, &mut shown);
                Value::Object(shown)
            }
            other => other.clone(),
        }
    }

    fn gather(
        &self,
        document: &Document,
        selection: &[Selection],
        on: &str,
        value: &Value,
        variables: &Map<String, Value>,
        shown: &mut Map<String, Value>,
    ) {
        let own = value.get("__typename").and_then(Value::as_str).unwrap_or(on);
        let applies = |wanted: &str| {
            wanted == own
                || wanted == on
                || self.of(own).is_some_and(|known| known.interfaces.iter().any(|interface| interface == wanted))
        };
        for selected in selection {
            match selected {
                Selection::Field(field) if field.name == "__typename" => {
                    shown.insert(field.alias.clone(), json!(own));
                }
                Selection::Field(field) => {
                    let held = value.get(&field.name).unwrap_or(&Value::Null);
                    let kind = [own, on].into_iter().find_map(|of| self.of(of)?.fields.get(&field.name));
                    let kind = kind.map_or("", |(_, kind)| kind.name());
                    let paged = match held {
                        Value::Array(items) if kind.ends_with("Connection") => {
                            let cut = cut(items.len(), &arguments(field, variables), MAX_NESTED);
                            Some(connection(&items[cut.start..cut.end], cut, items.len()))
                        }
                        _ => None,
                    };
                    let held = paged.as_ref().unwrap_or(held);
                    let inner = self.project(document, &field.selection, kind, held, variables);
                    shown.insert(field.alias.clone(), inner);
                }
                Selection::Inline(inner, selection) if inner.as_deref().is_none_or(applies) => {
                    self.gather(document, selection, inner.as_deref().unwrap_or(on), value, variables, shown);
                }
                Selection::Fragment(name) => {
                    if let Some((inner, selection)) = document.fragments.get(name)
                        && applies(inner)
                    {
                        self.gather(document, selection, inner, value, variables, shown);
                    }
                }
                Selection::Inline(..) => {}
            }
        }
    }
}

/// The first variable in a value that its operation does not declare.
fn undeclared<'l>(literal: &'l Literal, operation: &Operation) -> Option<&'l str> {
    match literal {
        Literal::Plain(_) => None,
        Literal::Variable(name) => {
            (!operation.variables.iter().any(|(known, _)| known == name)).then_some(name.as_str())
        }
        Literal::List(items) => items.iter().find_map(|item| undeclared(item, operation)),
        Literal::Object(members) => members.iter().find_map(|(_, member)| undeclared(member, operation)),
    }
}

/// The arguments of a field, with the variables put in. One whose variable is absent is left out.
pub(super) fn arguments(field: &Field, variables: &Map<String, Value>) -> Arguments {
    let given = field.arguments.iter();
    given.filter_map(|(name, literal)| Some((name.clone(), value_of(literal, variables)?))).collect()
}

fn value_of(literal: &Literal, variables: &Map<String, Value>) -> Option<Value> {
    Some(match literal {
        Literal::Plain(value) => value.clone(),
        Literal::Variable(name) => variables.get(name)?.clone(),
        Literal::List(items) => items.iter().map(|item| value_of(item, variables).unwrap_or_default()).collect(),
        Literal::Object(members) => {
            let members = members.iter();
            Value::Object(
                members.filter_map(|(name, member)| Some((name.clone(), value_of(member, variables)?))).collect(),
            )
        }
    })
}

/// Which of `count` entries the arguments of a connection ask for, at most `most`.
pub(super) fn cut(count: usize, arguments: &Arguments, most: usize) -> Cut {
    let number = |name: &str| arguments.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let after = arguments.get("after").and_then(Value::as_str).and_then(|cursor| {
        let decoded = STANDARD.decode(cursor).ok()?;
        String::from_utf8(decoded).ok()?.strip_prefix("place:")?.parse::<usize>().ok()
    });
    let start = after.map_or(0, |place| place + 1).min(count);
    Cut { start, end: count.min(start + number("first").unwrap_or(DEFAULT_PAGE).min(most)) }
}

/// A page of entries, as a connection shows it.
pub(super) fn connection(entries: &[Value], cut: Cut, count: usize) -> Value {
    let cursor = |place: usize| STANDARD.encode(format!("place:{place}"));
    let edges: Vec<Value> =
        (cut.start..).zip(entries).map(|(at, node)| json!({"cursor": cursor(at), "node": node})).collect();
    let end = (cut.end > cut.start).then(|| cursor(cut.end - 1));
    json!({"edges": edges, "pageInfo": {"hasNextPage": cut.end < count, "endCursor": end}})
}

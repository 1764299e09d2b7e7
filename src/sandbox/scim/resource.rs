//! What a client sends, brought to the form that is stored: attributes under their own names, values of their own types,
//! nothing that is unassigned, nothing that only the server may say.

use serde_json::{Map, Value, json};

use super::error::ScimError;
use super::schema::{Attribute, Kind, Type};

/// Checks and cleans a whole resource.
///
/// # Errors
/// `invalidSyntax` where `schemas` is wrong, `invalidValue` where a value is.
pub(super) fn normalise(kind: Type, input: &Map<String, Value>) -> Result<Map<String, Value>, ScimError> {
    check_schemas(kind, input)?;
    let mut resource = Map::new();
    let mut extended = false;
    for (name, value) in input {
        if let Some(schema) = kind.extension().filter(|schema| schema.id.eq_ignore_ascii_case(name)) {
            let Value::Object(fields) = value else {
                if value.is_null() {
                    continue;
                }
                return Err(wrong_type(name));
            };
            let extension = normalise_fields(&schema.attributes, fields)?;
            if !extension.is_empty() {
                resource.insert(schema.id.to_owned(), Value::Object(extension));
                extended = true;
            }
            continue;
        }
        let Some(attribute) = kind.attribute(name) else { continue };
        if attribute.is_read_only() || attribute.name == "schemas" || attribute.returned == "never" {
            continue;
        }
        if let Some(value) = normalise_value(attribute, value)? {
            resource.insert(attribute.name.to_owned(), value);
        }
    }
    for attribute in kind.schema().attributes.iter().filter(|attribute| attribute.required) {
        if !resource.contains_key(attribute.name) {
            return Err(ScimError::bad("invalidValue", format!("{} is required", attribute.name)));
        }
    }
    let mut schemas = vec![kind.schema().id];
    schemas.extend(kind.extension().filter(|_| extended).map(|schema| schema.id));
    resource.insert("schemas".into(), json!(schemas));
    Ok(resource)
}

/// Checks and cleans one value; `None` if it leaves the attribute unassigned.
///
/// # Errors
/// `invalidValue` where it has another type, or two primary values.
pub(super) fn normalise_value(attribute: &Attribute, value: &Value) -> Result<Option<Value>, ScimError> {
    match value {
        Value::Null => return Ok(None),
        Value::Array(items) if attribute.multi_valued => {
            let items = items.iter().filter_map(|item| normalise_one(attribute, item).transpose());
            let items: Vec<Value> = items.collect::<Result<_, _>>()?;
            if items.iter().filter(|item| item["primary"] == json!(true)).count() > 1 {
                return Err(ScimError::bad("invalidValue", format!("{} has two primary values", attribute.name)));
            }
            return Ok((!items.is_empty()).then_some(Value::Array(items)));
        }
        _ if attribute.multi_valued => return Err(wrong_type(attribute.name)),
        _ => {}
    }
    normalise_one(attribute, value)
}

/// The same for one value of an attribute that may have several.
pub(super) fn normalise_one(attribute: &Attribute, value: &Value) -> Result<Option<Value>, ScimError> {
    match (attribute.kind, value) {
        (_, Value::Null) => Ok(None),
        (Kind::Complex, Value::Object(fields)) => {
            let fields = normalise_fields(&attribute.sub_attributes, fields)?;
            Ok((!fields.is_empty()).then_some(Value::Object(fields)))
        }
        (Kind::Boolean, Value::Bool(_)) | (Kind::String | Kind::Reference | Kind::Binary, Value::String(_)) => {
            Ok(Some(value.clone()))
        }
        (Kind::DateTime, Value::String(text)) if text.parse::<jiff::Timestamp>().is_ok() => Ok(Some(value.clone())),
        _ => Err(wrong_type(attribute.name)),
    }
}

/// The same for the parts of a complex attribute or of an extension. Unknown names are ignored, as are read-only ones.
pub(super) fn normalise_fields(
    attributes: &[Attribute],
    fields: &Map<String, Value>,
) -> Result<Map<String, Value>, ScimError> {
    let mut normal = Map::new();
    for (name, value) in fields {
        let Some(attribute) = attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name)) else {
            continue;
        };
        if attribute.is_read_only() {
            continue;
        }
        if let Some(value) = normalise_value(attribute, value)? {
            normal.insert(attribute.name.to_owned(), value);
        }
    }
    Ok(normal)
}

fn check_schemas(kind: Type, input: &Map<String, Value>) -> Result<(), ScimError> {
    let schemas = input.iter().find(|(name, _)| name.eq_ignore_ascii_case("schemas")).map(|(_, value)| value);
    let has = schemas.and_then(Value::as_array).is_some_and(|urns| {
        urns.iter().any(|urn| urn.as_str().is_some_and(|urn| urn.eq_ignore_ascii_case(kind.schema().id)))
    });
    if has { Ok(()) } else { Err(ScimError::bad("invalidSyntax", format!("schemas must name {}", kind.schema().id))) }
}

pub(super) fn wrong_type(name: &str) -> ScimError {
    ScimError::bad("invalidValue", format!("{name} has a value of the wrong type"))
}

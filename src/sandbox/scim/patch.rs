//! PATCH: RFC 7644, section 3.5.2. Works on a copy; the caller keeps it only if every operation succeeded.

use serde_json::{Map, Value, json};

use super::error::ScimError;
use super::filter::{Target, ValueFilter, parse_target};
use super::path::Path;
use super::resource::{normalise_fields, normalise_one, normalise_value, wrong_type};
use super::schema::{Attribute, Kind, Type};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Replace,
    Remove,
}

/// Carries out the operations of a PATCH request.
///
/// # Errors
/// `invalidSyntax`, `invalidPath`, `invalidValue`, `noTarget`, `mutability`.
pub(super) fn apply(kind: Type, resource: &mut Map<String, Value>, request: &Value) -> Result<(), ScimError> {
    let syntax = |detail: &str| ScimError::bad("invalidSyntax", detail);
    let named = |object: &Value, name: &str| {
        object
            .as_object()
            .and_then(|fields| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()))
    };
    let message = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
    if !named(request, "schemas").is_some_and(|urns| urns.as_array().is_some_and(|urns| urns.contains(&json!(message))))
    {
        return Err(syntax("schemas must name the PatchOp message"));
    }
    let operations = named(request, "Operations");
    let operations = operations.as_ref().and_then(Value::as_array).ok_or_else(|| syntax("Operations is missing"))?;
    for operation in operations {
        let verb = match named(operation, "op").as_ref().and_then(Value::as_str).map(str::to_lowercase).as_deref() {
            Some("add") => Verb::Add,
            Some("replace") => Verb::Replace,
            Some("remove") => Verb::Remove,
            _ => return Err(syntax("op is none of add, replace, remove")),
        };
        let value = named(operation, "value");
        match (named(operation, "path"), value) {
            (Some(Value::String(path)), value) => one(kind, resource, verb, &path, value.as_ref())?,
            (Some(_), _) => return Err(ScimError::bad("invalidPath", "path is no text")),
            (None, _) if verb == Verb::Remove => return Err(ScimError::bad("noTarget", "remove needs a path")),
            (None, Some(Value::Object(fields))) => {
                for (path, value) in fields.iter().filter(|(path, _)| !path.eq_ignore_ascii_case("schemas")) {
                    one(kind, resource, verb, path, Some(value))?;
                }
            }
            (None, _) => return Err(ScimError::bad("invalidValue", "without a path, value is an object")),
        }
    }
    Ok(())
}

fn one(
    kind: Type,
    resource: &mut Map<String, Value>,
    verb: Verb,
    path: &str,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    let target = parse_target(path, kind)?;
    if [target.path.attribute, target.path.sub].into_iter().flatten().any(Attribute::is_read_only) {
        return Err(ScimError::bad("mutability", format!("{path} is read-only")));
    }
    if target.path.sub.is_some_and(|sub| sub.mutability == "immutable") {
        return Err(ScimError::bad("mutability", format!("{path} is immutable")));
    }
    if verb != Verb::Remove && value.is_none() {
        return Err(ScimError::bad("invalidValue", format!("{path} is given no value")));
    }
    let clears = verb == Verb::Remove || value.is_some_and(Value::is_null);
    if clears && target.path.sub.is_none() && target.path.attribute.is_some_and(|attribute| attribute.required) {
        return Err(ScimError::bad("mutability", format!("{path} is required")));
    }
    let value = value.unwrap_or(&Value::Null);
    let Target { path: Path { extension, attribute, sub }, chosen } = target;
    let Some(attribute) = attribute else { return extension_as_a_whole(kind, resource, verb, value) };
    let container = match extension {
        None => resource,
        Some(urn) => match resource.entry(urn).or_insert_with(|| json!({})) {
            Value::Object(fields) => fields,
            _ => return Err(wrong_type(urn)),
        },
    };
    match (chosen, sub) {
        (Some(chosen), sub) => chosen_values(container, attribute, &chosen, sub, verb, value)?,
        (None, Some(sub)) => sub_attribute(container, attribute, sub, verb, value)?,
        (None, None) => whole_attribute(container, attribute, verb, value)?,
    }
    tidy(container, attribute);
    Ok(())
}

fn extension_as_a_whole(
    kind: Type,
    resource: &mut Map<String, Value>,
    verb: Verb,
    value: &Value,
) -> Result<(), ScimError> {
    let Some(schema) = kind.extension() else { return Ok(()) };
    if verb == Verb::Remove {
        resource.remove(schema.id);
        return Ok(());
    }
    let Value::Object(fields) = value else { return Err(wrong_type(schema.id)) };
    let normal = normalise_fields(&schema.attributes, fields)?;
    match resource.entry(schema.id).or_insert_with(|| json!({})) {
        Value::Object(extension) => extension.extend(normal),
        other => *other = Value::Object(normal),
    }
    Ok(())
}

/// `emails[type eq "work"]` and `emails[type eq "work"].value`.
fn chosen_values(
    container: &mut Map<String, Value>,
    attribute: &Attribute,
    chosen: &ValueFilter,
    sub: Option<&Attribute>,
    verb: Verb,
    value: &Value,
) -> Result<(), ScimError> {
    let mut nothing = Vec::new();
    let items = match container.get_mut(attribute.name) {
        Some(Value::Array(items)) => items,
        _ => &mut nothing,
    };
    let places: Vec<usize> = (0..items.len()).filter(|place| chosen.holds(&items[*place])).collect();
    if places.is_empty() && verb != Verb::Remove {
        return Err(ScimError::bad("noTarget", format!("no value of {} is chosen", attribute.name)));
    }
    if verb == Verb::Remove && sub.is_none() {
        let mut place = 0;
        items.retain(|_| {
            place += 1;
            !places.contains(&(place - 1))
        });
        return Ok(());
    }
    let mut primary = None;
    for place in &places {
        let Value::Object(fields) = &mut items[*place] else { continue };
        match sub {
            Some(sub) => set(fields, sub, if verb == Verb::Remove { &Value::Null } else { value })?,
            None => {
                let Some(Value::Object(new)) = normalise_one(attribute, value)? else {
                    return Err(wrong_type(attribute.name));
                };
                if verb == Verb::Replace {
                    fields.clear();
                }
                fields.extend(new);
            }
        }
        if fields.get("primary") == Some(&json!(true)) {
            primary = Some(*place);
        }
    }
    if let Some(primary) = primary {
        keep_one_primary(items, primary);
    }
    Ok(())
}

fn sub_attribute(
    container: &mut Map<String, Value>,
    attribute: &Attribute,
    sub: &Attribute,
    verb: Verb,
    value: &Value,
) -> Result<(), ScimError> {
    let value = if verb == Verb::Remove { &Value::Null } else { value };
    match container.get_mut(attribute.name) {
        Some(Value::Array(items)) => {
            items.iter_mut().filter_map(Value::as_object_mut).try_for_each(|item| set(item, sub, value))
        }
        Some(Value::Object(fields)) => set(fields, sub, value),
        _ if verb == Verb::Remove => Ok(()),
        _ => {
            let mut fields = Map::new();
            set(&mut fields, sub, value)?;
            let fields = Value::Object(fields);
            container.insert(attribute.name.to_owned(), if attribute.multi_valued { json!([fields]) } else { fields });
            Ok(())
        }
    }
}

fn whole_attribute(
    container: &mut Map<String, Value>,
    attribute: &Attribute,
    verb: Verb,
    value: &Value,
) -> Result<(), ScimError> {
    let held = container.get_mut(attribute.name);
    match (verb, held) {
        // Some clients name the values to remove beside the path.
        (Verb::Remove, Some(Value::Array(items))) if value.is_array() => {
            let gone: Vec<&Value> =
                value.as_array().into_iter().flatten().map(|item| item.get("value").unwrap_or(item)).collect();
            items.retain(|item| !gone.contains(&item.get("value").unwrap_or(item)));
        }
        (Verb::Remove, _) => {
            container.remove(attribute.name);
        }
        (Verb::Add, Some(Value::Array(items))) => {
            let added = if value.is_array() { value.clone() } else { json!([value]) };
            let Some(Value::Array(added)) = normalise_value(attribute, &added)? else { return Ok(()) };
            for item in added {
                let key = |item: &Value| if attribute.name == "members" { item["value"].clone() } else { item.clone() };
                if items.iter().any(|held| key(held) == key(&item)) {
                    continue;
                }
                let is_primary = item["primary"] == json!(true);
                items.push(item);
                if is_primary {
                    let last = items.len() - 1;
                    keep_one_primary(items, last);
                }
            }
        }
        (_, Some(Value::Object(fields))) if attribute.kind == Kind::Complex => match value {
            // The parts that are not named stay.
            Value::Object(new) => {
                for (name, value) in new {
                    let Some(sub) = attribute.sub(name).filter(|sub| !sub.is_read_only()) else { continue };
                    set(fields, sub, value)?;
                }
            }
            Value::Null => {
                container.remove(attribute.name);
            }
            _ => return Err(wrong_type(attribute.name)),
        },
        (_, _) => {
            let wrapped = if attribute.multi_valued && value.is_object() { json!([value]) } else { value.clone() };
            match normalise_value(attribute, &wrapped)? {
                Some(value) => container.insert(attribute.name.to_owned(), value),
                None => container.remove(attribute.name),
            };
        }
    }
    Ok(())
}

fn set(fields: &mut Map<String, Value>, attribute: &Attribute, value: &Value) -> Result<(), ScimError> {
    match normalise_value(attribute, value)? {
        Some(value) => fields.insert(attribute.name.to_owned(), value),
        None => fields.remove(attribute.name),
    };
    Ok(())
}

fn keep_one_primary(items: &mut [Value], primary: usize) {
    for (place, item) in items.iter_mut().enumerate() {
        if place != primary && item["primary"] == json!(true) {
            item["primary"] = json!(false);
        }
    }
}

/// Takes away what is left of an attribute without values.
fn tidy(container: &mut Map<String, Value>, attribute: &Attribute) {
    if let Some(Value::Array(items)) = container.get_mut(attribute.name) {
        items.retain(|item| item.as_object().is_none_or(|fields| !fields.is_empty()));
    }
    let empty = match container.get(attribute.name) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        _ => false,
    };
    if empty {
        container.remove(attribute.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    fn patched(operations: Value) -> Result<Map<String, Value>, ScimError> {
        let ada = json!({
            "userName": "ada", "title": "Agent", "name": {"givenName": "Ada", "familyName": "Lovelace"},
            "emails": [{"value": "w", "type": "work", "primary": true}, {"value": "h", "type": "home"}],
            ENTERPRISE: {"department": "Support"},
        });
        let mut ada = ada.as_object().unwrap().clone();
        let request = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        apply(Type::User, &mut ada, &request).map(|()| ada)
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        for (operation, pointer, expected) in [
            (json!({"op": "add", "path": "nickName", "value": "A"}), "/nickName", json!("A")),
            (json!({"op": "REPLACE", "path": "title", "value": "Boss"}), "/title", json!("Boss")),
            (json!({"op": "replace", "path": "TITLE", "value": null}), "/title", Value::Null),
            (json!({"op": "remove", "path": "title"}), "/title", Value::Null),
            (json!({"op": "remove", "path": "nickName"}), "/nickName", Value::Null),
            (json!({"op": "replace", "path": "name.familyName", "value": "Byron"}), "/name/givenName", json!("Ada")),
            (
                json!({"op": "replace", "path": "name", "value": {"familyName": "Byron"}}),
                "/name/givenName",
                json!("Ada"),
            ),
            (json!({"op": "replace", "value": {"name.familyName": "Byron"}}), "/name/familyName", json!("Byron")),
            (json!({"op": "add", "value": {"title": "Boss", "nickName": "A"}}), "/nickName", json!("A")),
            (
                json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "n"}),
                "/emails/0/value",
                json!("n"),
            ),
            (
                json!({"op": "add", "path": "emails", "value": [{"value": "o", "primary": true}]}),
                "/emails/0/primary",
                json!(false),
            ),
            (json!({"op": "add", "path": "emails", "value": {"value": "o"}}), "/emails/2/value", json!("o")),
            (
                json!({"op": "add", "path": "emails", "value": [{"value": "h", "type": "home"}]}),
                "/emails/2",
                Value::Null,
            ),
            (json!({"op": "replace", "path": "emails", "value": [{"value": "o"}]}), "/emails/1", Value::Null),
            (json!({"op": "remove", "path": "emails[type eq \"work\"]"}), "/emails/0/value", json!("h")),
            (json!({"op": "remove", "path": "emails[type pr]"}), "/emails", Value::Null),
            (json!({"op": "remove", "path": "emails", "value": [{"value": "w"}]}), "/emails/0/value", json!("h")),
            (
                json!({"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}),
                "/emails/0/primary",
                json!(false),
            ),
        ] {
            let ada = Value::Object(
                patched(json!([operation])).unwrap_or_else(|error| panic!("{operation}: {}", error.detail)),
            );
            assert_eq!(ada.pointer(pointer).cloned().unwrap_or_default(), expected, "{operation}");
        }
        let path = format!("{ENTERPRISE}:costCenter");
        let ada = patched(json!([{"op": "add", "path": path, "value": "7"}])).unwrap();
        assert_eq!(ada[ENTERPRISE], json!({"department": "Support", "costCenter": "7"}));
    }

    #[test]
    fn wrong_operations_are_refused_with_their_type() {
        for (operation, scim_type) in [
            (json!({"op": "remove"}), "noTarget"),
            (json!({"op": "replace", "path": "emails[type eq \"fax\"].value", "value": "x"}), "noTarget"),
            (json!({"op": "replace", "path": "id", "value": "x"}), "mutability"),
            (json!({"op": "replace", "path": "meta.created", "value": "x"}), "mutability"),
            (json!({"op": "add", "path": "groups", "value": [{"value": "g"}]}), "mutability"),
            (json!({"op": "remove", "path": "userName"}), "mutability"),
            (json!({"op": "replace", "path": "bogus", "value": "x"}), "invalidPath"),
            (json!({"op": "replace", "path": "title[type eq \"x\"]", "value": "x"}), "invalidPath"),
            (json!({"op": "replace", "path": "emails[bogus eq \"x\"]", "value": "x"}), "invalidFilter"),
            (json!({"op": "move", "path": "title"}), "invalidSyntax"),
            (json!({"op": "replace", "path": "title", "value": 7}), "invalidValue"),
            (json!({"op": "replace", "path": "active", "value": "False"}), "invalidValue"),
            (json!({"op": "replace", "path": "title"}), "invalidValue"),
            (json!({"op": "replace", "value": "x"}), "invalidValue"),
        ] {
            assert_eq!(patched(json!([operation])).unwrap_err().scim_type, Some(scim_type), "{operation}");
        }
    }
}

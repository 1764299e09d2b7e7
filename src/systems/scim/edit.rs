//! Changing a resource: the body of a create, the operations of a PATCH, and the merge for servers without PATCH.

use serde_json::{Map, Value as Json, json};

use super::attributes::{ENTERPRISE, Place, USER, attribute};
use super::resource::{entry_of, key_of, member, text_of};
use crate::domain::{AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Value};

const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn place(path: &AttributePath) -> Result<Place, Failure> {
    attribute(path).map(|attribute| attribute.place).ok_or_else(|| {
        let code = Code::known("unknown_attribute");
        Failure::new(FailureClass::Permanent, code, "SCIM Users have no such attribute").at(path.clone())
    })
}

fn json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Text(text) => json!(text),
        Value::Set(items) => json!(items),
        Value::Reference { account } => json!({ "value": account }),
    }
}

/// A new resource with these values, that names its partner.
pub fn create(values: &Attributes, partner: &AccountId) -> Result<Json, Failure> {
    let mut resource = json!({ "schemas": [USER], "externalId": partner });
    merge(&mut resource, values)?;
    Ok(resource)
}

/// Puts values into a resource and leaves everything else in it as it is.
pub fn merge(resource: &mut Json, values: &Attributes) -> Result<(), Failure> {
    let mut extended = false;
    for (path, value) in values {
        let place = place(path)?;
        let value = value.as_ref().map(json);
        extended |= matches!(place, Place::Enterprise(_)) && value.is_some();
        let top = object(resource);
        match place {
            Place::Top(name) => set(top, name, value),
            Place::Within(outer, name) => set_within(top, outer, name, value),
            Place::Enterprise(name) => set_within(top, ENTERPRISE, name, value),
            Place::Entry(list, kind) => set_entry(top, list, kind, value),
        }
    }
    if extended {
        let top = object(resource);
        let schemas = top.entry(key_of(top, "schemas")).or_insert_with(|| json!([USER]));
        if let Some(schemas) = schemas.as_array_mut()
            && !schemas.iter().any(|schema| schema.as_str().is_some_and(|urn| urn.eq_ignore_ascii_case(ENTERPRISE)))
        {
            schemas.push(json!(ENTERPRISE));
        }
    }
    Ok(())
}

/// The object in a value; anything else becomes an empty one.
fn object(value: &mut Json) -> &mut Map<String, Json> {
    if !value.is_object() {
        *value = Json::Object(Map::new());
    }
    value.as_object_mut().expect("made an object")
}

fn set(object: &mut Map<String, Json>, name: &str, value: Option<Json>) {
    let key = key_of(object, name);
    match value {
        Some(value) => drop(object.insert(key, value)),
        None => drop(object.remove(&key)),
    }
}

fn set_within(top: &mut Map<String, Json>, outer: &str, name: &str, value: Option<Json>) {
    let key = key_of(top, outer);
    if value.is_none() && !top.contains_key(&key) {
        return;
    }
    let inner = object(top.entry(key.clone()).or_insert_with(|| json!({})));
    set(inner, name, value);
    if inner.is_empty() {
        top.remove(&key);
    }
}

fn set_entry(top: &mut Map<String, Json>, list: &str, kind: &str, value: Option<Json>) {
    let key = key_of(top, list);
    let entries = top.entry(key.clone()).or_insert_with(|| json!([]));
    if !entries.is_array() {
        *entries = json!([]);
    }
    let entries = entries.as_array_mut().expect("made an array");
    match (entry_of(entries, kind), value) {
        (Some(place), Some(value)) if entries[place].is_object() => {
            set(object(&mut entries[place]), "value", Some(value))
        }
        (Some(place), Some(value)) => entries[place] = value,
        (None, Some(value)) => {
            let entry = new_entry(list, kind, value, entries);
            entries.push(entry);
        }
        (Some(place), None) => drop(entries.remove(place)),
        (None, None) => {}
    }
    if entries.is_empty() {
        top.remove(&key);
    }
}

/// A new entry. The work address is the primary one unless another already is: at most one may be.
fn new_entry(list: &str, kind: &str, value: Json, others: &[Json]) -> Json {
    let mut entry = json!({ "value": value, "type": kind });
    if list == "emails" && others.is_empty() {
        entry["primary"] = json!(true);
    }
    entry
}

/// Whether a write needs to know the resource as it is: the entry that is meant depends on the others.
pub fn needs_current(values: &Attributes) -> bool {
    values.keys().any(|path| matches!(place(path), Ok(Place::Entry(..))))
}

/// A PATCH that puts these values into the resource, `current` as it is now (needed for entries of lists).
/// `whole_lists`: a list is given whole, with the entries that are not meant as they are, instead of choosing one entry.
pub fn patch(values: &Attributes, current: &Json, whole_lists: bool) -> Result<Json, Failure> {
    let mut operations = Vec::with_capacity(values.len());
    let mut lists = Vec::new();
    for (path, value) in values {
        let value = value.as_ref().map(json);
        let operation = match place(path)? {
            Place::Top(name) => Some(operation(name.to_owned(), value)),
            Place::Within(outer, name) => Some(operation(format!("{outer}.{name}"), value)),
            Place::Enterprise(name) => Some(operation(format!("{ENTERPRISE}:{name}"), value)),
            Place::Entry(list, _) if whole_lists => {
                lists.push((list, path.clone(), values[path].clone()));
                None
            }
            Place::Entry(list, kind) => entry_operation(list, kind, value, current),
        };
        operations.extend(operation);
    }
    lists.sort_by_key(|(list, ..)| *list);
    for entries in lists.chunk_by(|(one, ..), (other, ..)| one == other) {
        let list = entries[0].0;
        let values = entries.iter().map(|(_, path, value)| (path.clone(), value.clone())).collect();
        let mut resource = json!({ list: member(current, list).cloned().unwrap_or_default() });
        merge(&mut resource, &values)?;
        if resource.get(list).is_some() || member(current, list).is_some() {
            operations.push(operation(list.to_owned(), resource.get(list).cloned()));
        }
    }
    Ok(json!({ "schemas": [PATCH_OP], "Operations": operations }))
}

fn operation(path: String, value: Option<Json>) -> Json {
    match value {
        Some(value) => json!({ "op": "replace", "path": path, "value": value }),
        None => json!({ "op": "remove", "path": path }),
    }
}

/// The operation for one entry of a list; the other entries stay. `None` if there is nothing to remove.
fn entry_operation(list: &str, kind: &str, value: Option<Json>, current: &Json) -> Option<Json> {
    let none = Vec::new();
    let entries = member(current, list).and_then(Json::as_array).unwrap_or(&none);
    let Some(entry) = entry_of(entries, kind).map(|place| &entries[place]) else {
        let value = value?;
        return Some(json!({ "op": "add", "path": list, "value": [new_entry(list, kind, value, entries)] }));
    };
    let of_kind =
        |entry: &&Json| member(entry, "type").and_then(Json::as_str).is_some_and(|t| t.eq_ignore_ascii_case(kind));
    let filter = match entries.iter().filter(of_kind).count() {
        1 => format!("type eq \"{kind}\""),
        // A replace goes to every entry that the filter finds, so it must find only the one that is meant.
        _ => {
            let old = member(entry, "value").or(Some(entry)).and_then(text_of).unwrap_or_default();
            format!("value eq {}", json!(old))
        }
    };
    Some(match value {
        Some(value) => json!({ "op": "replace", "path": format!("{list}[{filter}].value"), "value": value }),
        None => json!({ "op": "remove", "path": format!("{list}[{filter}]") }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, Option<Value>)]) -> Attributes {
        pairs.iter().map(|(path, value)| (path.parse().unwrap(), value.clone())).collect()
    }

    #[test]
    fn a_create_names_its_partner_and_its_schemas() {
        let values = values(&[
            ("userName", Some("ada".into())),
            ("name.givenName", Some("Ada".into())),
            ("emails", Some("ada@x.example".into())),
            ("phoneNumbers.mobile", Some("1".into())),
            ("title", None),
            ("active", Some(Value::Bool(true))),
            ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", Some("Support".into())),
        ]);
        let body = create(&values, &"0055g00000AbCdEQAZ".parse().unwrap()).unwrap();
        assert_eq!(
            body,
            json!({
                "schemas": [USER, ENTERPRISE], "externalId": "0055g00000AbCdEQAZ", "userName": "ada", "active": true,
                "name": {"givenName": "Ada"},
                "emails": [{"value": "ada@x.example", "type": "work", "primary": true}],
                "phoneNumbers": [{"value": "1", "type": "mobile"}],
                ENTERPRISE: {"department": "Support"},
            })
        );
    }

    /// Whatever a PUT leaves out is cleared, so everything that is not meant stays, unknown attributes too.
    #[test]
    fn a_merge_keeps_what_it_does_not_mean() {
        let mut resource = json!({
            "schemas": [USER], "USERNAME": "ada", "externalId": "e", "urn:acme": {"x": 1}, "title": "t",
            "name": {"givenName": "Ada"},
            "emails": [{"value": "h", "type": "home"}, {"value": "w", "type": "work", "display": "d"}],
        });
        let values = values(&[
            ("userName", Some("ada2".into())),
            ("emails", Some("new".into())),
            ("title", None),
            ("name.givenName", None),
        ]);
        merge(&mut resource, &values).unwrap();
        assert_eq!(
            resource,
            json!({
                "schemas": [USER], "USERNAME": "ada2", "externalId": "e", "urn:acme": {"x": 1},
                "emails": [{"value": "h", "type": "home"}, {"value": "new", "type": "work", "display": "d"}],
            })
        );
    }

    /// B21: a clear is a `remove`.
    #[test]
    fn a_patch_has_one_operation_for_each_value() {
        let current =
            json!({"emails": [{"value": "w", "type": "work"}], "phoneNumbers": [{"value": "m", "type": "mobile"}]});
        for (path, value, expected) in [
            ("title", Some("t".into()), json!({"op": "replace", "path": "title", "value": "t"})),
            ("title", None, json!({"op": "remove", "path": "title"})),
            ("name.familyName", Some("L".into()), json!({"op": "replace", "path": "name.familyName", "value": "L"})),
            (
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division",
                None,
                json!({"op": "remove", "path": format!("{ENTERPRISE}:division")}),
            ),
            (
                "emails",
                Some("n".into()),
                json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "n"}),
            ),
            ("emails", None, json!({"op": "remove", "path": "emails[type eq \"work\"]"})),
            (
                "phoneNumbers",
                Some("1".into()),
                json!({"op": "add", "path": "phoneNumbers", "value": [{"value": "1", "type": "work"}]}),
            ),
        ] {
            let body = patch(&values(&[(path, value)]), &current, false).unwrap();
            assert_eq!(body["Operations"], json!([expected]), "{path}");
        }
        let nothing = patch(&values(&[("phoneNumbers", None)]), &current, false).unwrap();
        assert_eq!(nothing["Operations"], json!([]));
    }

    #[test]
    fn of_several_work_entries_only_the_chosen_one_is_meant() {
        let current = json!({"emails": [{"value": "a\"b", "type": "work"}, {"value": "c", "type": "work"}]});
        let body = patch(&values(&[("emails", Some("n".into()))]), &current, false).unwrap();
        assert_eq!(body["Operations"][0]["path"], json!(r#"emails[value eq "a\"b"].value"#));
    }

    /// For servers without filters in paths.
    #[test]
    fn a_list_given_whole_keeps_the_other_entries() {
        let current = json!({
            "emails": [{"value": "h", "type": "home"}, {"value": "w", "type": "work", "display": "d"}],
            "phoneNumbers": [{"value": "m", "type": "mobile"}, {"value": "f", "type": "fax"}],
        });
        let changed =
            values(&[("emails", Some("n".into())), ("phoneNumbers", Some("1".into())), ("phoneNumbers.mobile", None)]);
        let operations = patch(&changed, &current, true).unwrap()["Operations"].clone();
        assert_eq!(
            operations,
            json!([
                {"op": "replace", "path": "emails",
                    "value": [{"value": "h", "type": "home"}, {"value": "n", "type": "work", "display": "d"}]},
                {"op": "replace", "path": "phoneNumbers", "value": [{"value": "f", "type": "fax"}, {"value": "1", "type": "work"}]},
            ])
        );
        let cleared = values(&[("emails", None)]);
        let only = json!({"emails": [{"value": "w", "type": "work"}]});
        assert_eq!(patch(&cleared, &only, true).unwrap()["Operations"], json!([{"op": "remove", "path": "emails"}]));
    }

    #[test]
    fn an_attribute_that_scim_lacks_is_refused_by_name() {
        let failure = patch(&values(&[("shoeSize", Some(Value::Int(42)))]), &json!({}), false).unwrap_err();
        assert_eq!(failure.code.as_str(), "unknown_attribute");
        assert_eq!(failure.attribute.unwrap().as_str(), "shoeSize");
    }
}

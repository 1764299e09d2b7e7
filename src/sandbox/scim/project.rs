//! `attributes` and `excludedAttributes`: which parts of a resource an answer shows.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::path::Path;
use super::schema::Type;

/// The parts that a request wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Projection {
    /// Only these, and what is always shown.
    #[serde(default, deserialize_with = "names")]
    pub attributes: Vec<String>,
    /// All but these.
    #[serde(default, deserialize_with = "names")]
    pub excluded_attributes: Vec<String>,
}

/// Reads `a,b` of a URL as well as `["a","b"]` of a body.
fn names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        Joined(String),
        List(Vec<String>),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::Joined(joined) => {
            joined.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        }
        Names::List(list) => list,
    })
}

impl Projection {
    /// Cuts a resource down.
    pub fn apply(&self, kind: Type, resource: Map<String, Value>) -> Map<String, Value> {
        if !self.attributes.is_empty() {
            let mut shown = Map::new();
            for name in ["schemas", "id"] {
                shown.extend(resource.get(name).map(|value| (name.to_owned(), value.clone())));
            }
            for path in self.attributes.iter().filter_map(|name| Path::resolve(kind, name)) {
                copy(&resource, &mut shown, &path);
            }
            return shown;
        }
        let mut shown = resource;
        for path in self.excluded_attributes.iter().filter_map(|name| Path::resolve(kind, name)) {
            if path.attribute.is_none_or(|attribute| attribute.returned != "always") {
                remove(&mut shown, &path);
            }
        }
        shown
    }
}

fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, path: &Path) {
    let Some(attribute) = path.attribute else {
        to.extend(
            path.extension.and_then(|urn| from.get_key_value(urn)).map(|(urn, value)| (urn.clone(), value.clone())),
        );
        return;
    };
    if let Some(urn) = path.extension {
        let Some(Value::Object(inner)) = from.get(urn) else { return };
        let mut shown = match to.remove(urn) {
            Some(Value::Object(shown)) => shown,
            _ => Map::new(),
        };
        copy(inner, &mut shown, &Path { extension: None, ..*path });
        if !shown.is_empty() {
            to.insert(urn.to_owned(), Value::Object(shown));
        }
        return;
    }
    let Some(value) = from.get(attribute.name) else { return };
    let Some(sub) = path.sub else {
        to.insert(attribute.name.to_owned(), value.clone());
        return;
    };
    match (value, to.get_mut(attribute.name)) {
        (Value::Object(fields), Some(Value::Object(shown))) => {
            shown.extend(fields.get(sub.name).map(|value| (sub.name.to_owned(), value.clone())));
        }
        (Value::Array(items), Some(Value::Array(shown))) => {
            for (item, shown) in items.iter().zip(shown) {
                if let (Some(value), Some(shown)) = (item.get(sub.name), shown.as_object_mut()) {
                    shown.insert(sub.name.to_owned(), value.clone());
                }
            }
        }
        (value, _) => {
            to.insert(attribute.name.to_owned(), only(value, sub.name));
        }
    }
}

fn only(value: &Value, name: &str) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| only(item, name)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.get(name).map(|value| (name.to_owned(), value.clone())).into_iter().collect())
        }
        other => other.clone(),
    }
}

fn remove(fields: &mut Map<String, Value>, path: &Path) {
    let Some(attribute) = path.attribute else {
        if let Some(urn) = path.extension {
            fields.remove(urn);
        }
        return;
    };
    if let Some(urn) = path.extension {
        if let Some(Value::Object(inner)) = fields.get_mut(urn) {
            remove(inner, &Path { extension: None, ..*path });
        }
        return;
    }
    match (path.sub, fields.get_mut(attribute.name)) {
        (None, _) => {
            fields.remove(attribute.name);
        }
        (Some(sub), Some(Value::Object(inner))) => {
            inner.remove(sub.name);
        }
        (Some(sub), Some(Value::Array(items))) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| {
                item.remove(sub.name);
            });
        }
        _ => {}
    }
}

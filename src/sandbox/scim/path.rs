//! Names of attributes as they stand in filters, paths and lists: `userName`, `name.givenName`, with or without the URN of
//! their schema, in any letter case.

use serde_json::{Map, Value};

use super::schema::{Attribute, Type};

/// An attribute, or a sub-attribute, of a resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Path {
    /// URN of the extension that it belongs to.
    pub extension: Option<&'static str>,
    /// `None` where the extension as a whole is meant.
    pub attribute: Option<&'static Attribute>,
    pub sub: Option<&'static Attribute>,
}

impl Path {
    /// The attribute that a name means; `None` if there is none such.
    pub fn resolve(kind: Type, name: &str) -> Option<Self> {
        let under = |urn: &str| {
            name.get(..urn.len()).filter(|start| start.eq_ignore_ascii_case(urn)).map(|_| &name[urn.len()..])
        };
        if let Some(schema) = kind.extension()
            && let Some(rest) = under(schema.id)
        {
            let extension = Some(schema.id);
            if rest.is_empty() {
                return Some(Self { extension, attribute: None, sub: None });
            }
            let (attribute, sub) = split(rest.strip_prefix(':')?);
            let attribute = schema.attributes.iter().find(|known| known.name.eq_ignore_ascii_case(attribute))?;
            return Self { extension, attribute: Some(attribute), sub: None }.with_sub(sub);
        }
        let plain = under(kind.schema().id).and_then(|rest| rest.strip_prefix(':')).unwrap_or(name);
        let (attribute, sub) = split(plain);
        Self { extension: None, attribute: Some(kind.attribute(attribute)?), sub: None }.with_sub(sub)
    }

    fn with_sub(self, sub: Option<&str>) -> Option<Self> {
        match sub {
            None => Some(self),
            Some(sub) => Some(Self { sub: Some(self.attribute?.sub(sub)?), ..self }),
        }
    }

    /// The attribute that values are compared as: of `emails`, its `value`.
    pub fn compared(&self) -> Option<&'static Attribute> {
        let attribute = self.attribute?;
        self.sub.or_else(|| attribute.sub("value")).or(Some(attribute))
    }

    /// The values that a resource has there: none, one, or those of a multi-valued attribute.
    pub fn values<'a>(&self, resource: &'a Map<String, Value>) -> Vec<&'a Value> {
        let container = match self.extension {
            None => Some(resource),
            Some(urn) => resource.get(urn).and_then(Value::as_object),
        };
        let (Some(container), Some(attribute)) = (container, self.attribute) else {
            return self.extension.and_then(|urn| resource.get(urn)).into_iter().collect();
        };
        let within = |value: &'a Value| match (value, self.compared()) {
            (Value::Object(fields), Some(sub)) if attribute.name != sub.name || self.sub.is_some() => {
                fields.get(sub.name)
            }
            (value, _) => Some(value),
        };
        match container.get(attribute.name) {
            Some(Value::Array(items)) => items.iter().filter_map(within).collect(),
            Some(value) => within(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once('.') {
        Some((attribute, sub)) => (attribute, Some(sub)),
        None => (name, None),
    }
}

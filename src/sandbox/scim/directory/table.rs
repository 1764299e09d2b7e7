//! Resources of one type, and the indexes by which they are found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::sandbox::log::Contents;
use crate::sandbox::scim::schema::Type;

/// One resource at one moment: never changed, only replaced.
#[derive(Debug, Clone)]
pub(in crate::sandbox::scim) struct Resource {
    pub kind: Type,
    pub serial: u64,
    pub id: String,
    pub created_ms: i64,
    pub modified_ms: i64,
    /// As stored, with `id` and `meta`, without what is computed when shown: `groups`, `meta.location`.
    pub fields: Map<String, Value>,
}

impl Resource {
    /// `W/"17"`.
    pub fn version(&self) -> &str {
        self.fields["meta"]["version"].as_str().unwrap_or_default()
    }

    pub fn texts(&self, key: Key) -> Vec<String> {
        let texts: Vec<&Value> = match key {
            Key::UserName => self.fields.get("userName").into_iter().collect(),
            Key::ExternalId => self.fields.get("externalId").into_iter().collect(),
            Key::Email => {
                let emails = self.fields.get("emails").and_then(Value::as_array).into_iter().flatten();
                emails.filter_map(|email| email.get("value")).collect()
            }
        };
        texts.into_iter().filter_map(Value::as_str).map(|text| key.fold(text)).collect()
    }
}

impl Contents for Resource {
    fn to_json(&self) -> Value {
        Value::Object(self.fields.clone())
    }
}

/// Attributes by which users are found without looking at all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::sandbox::scim) enum Key {
    UserName,
    ExternalId,
    Email,
}

impl Key {
    const ALL: [Self; 3] = [Self::UserName, Self::ExternalId, Self::Email];

    pub fn fold(self, text: &str) -> String {
        if self == Self::ExternalId { text.to_owned() } else { text.to_lowercase() }
    }
}

/// All resources of one type, and the ways to find them.
#[derive(Default)]
pub(in crate::sandbox::scim) struct Table {
    pub resources: BTreeMap<u64, Arc<Resource>>,
    /// Id -> serial.
    pub serials: HashMap<String, u64>,
    lookups: HashMap<Key, HashMap<String, BTreeSet<u64>>>,
    /// (when last modified, serial) of every resource.
    pub modified: BTreeSet<(i64, u64)>,
}

impl Table {
    pub fn put(&mut self, resource: Arc<Resource>) {
        self.remove(resource.serial);
        let serial = resource.serial;
        self.serials.insert(resource.id.clone(), serial);
        self.modified.insert((resource.modified_ms, serial));
        for key in Key::ALL {
            for text in resource.texts(key) {
                self.lookups.entry(key).or_default().entry(text).or_default().insert(serial);
            }
        }
        self.resources.insert(serial, resource);
    }

    pub fn remove(&mut self, serial: u64) -> Option<Arc<Resource>> {
        let resource = self.resources.remove(&serial)?;
        self.serials.remove(&resource.id);
        self.modified.remove(&(resource.modified_ms, serial));
        for key in Key::ALL {
            let Some(lookup) = self.lookups.get_mut(&key) else { continue };
            for text in resource.texts(key) {
                if let Some(serials) = lookup.get_mut(&text) {
                    serials.remove(&serial);
                    if serials.is_empty() {
                        lookup.remove(&text);
                    }
                }
            }
        }
        Some(resource)
    }

    pub fn with(&self, key: Key, text: &str) -> BTreeSet<u64> {
        self.lookups.get(&key).and_then(|lookup| lookup.get(&key.fold(text))).cloned().unwrap_or_default()
    }
}

//! What kinds of records the org has, and which fields: the truth behind describe, queries and the checks of writes.

mod picklists;
mod standard;

use std::sync::Arc;

use serde::Deserialize;

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Id,
    Text,
    Email,
    Phone,
    /// Restricted: other values are refused.
    Picklist(&'static [&'static str]),
    Boolean,
    DateTime,
    /// The id of a record of object `to`, whose fields are reached as `relationship.Field`.
    Reference {
        to: &'static str,
        relationship: &'static str,
    },
}

/// What a client may do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read and write.
    ReadWrite,
    /// Read only.
    ReadOnly,
    /// Hidden by field-level security: neither describe nor queries know it.
    Hidden,
}

/// What a field holds in a new record that does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Initial {
    Null,
    True,
    False,
    /// Made up by the org, such as the nickname.
    Derived,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub name: String,
    pub label: String,
    pub kind: Kind,
    /// Most characters of a text; 0 where that says nothing.
    pub length: usize,
    /// Cannot be null.
    pub required: bool,
    pub initial: Initial,
    pub access: Access,
    pub unique: bool,
    pub id_lookup: bool,
    pub external_id: bool,
    pub custom: bool,
}

impl Field {
    fn new(name: &str, kind: Kind, length: usize) -> Self {
        Self {
            name: name.to_owned(),
            label: label(name),
            kind,
            length,
            required: false,
            initial: Initial::Null,
            access: Access::ReadWrite,
            unique: false,
            id_lookup: false,
            external_id: false,
            custom: false,
        }
    }

    fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    fn id_lookup(mut self) -> Self {
        self.id_lookup = true;
        self
    }

    fn initially(mut self, initial: Initial) -> Self {
        self.initial = initial;
        self
    }

    /// Whether records are found by it without reading all of them.
    pub fn indexed(&self) -> bool {
        self.unique || self.id_lookup
    }

    /// Whether describe calls it `createable` and `updateable`.
    pub fn writable(&self) -> bool {
        self.access == Access::ReadWrite
    }
}

/// A field that an administrator of the org has added to an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CustomField {
    /// `User`, `Contact` or `Account`.
    pub object: String,
    /// API name, ending in `__c`.
    pub name: String,
    /// What it holds.
    pub kind: CustomKind,
}

/// What a custom field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CustomKind {
    /// Text of at most 255 characters.
    Text,
    /// Text of at most 255 characters, marked External ID and Unique.
    ExternalId,
    /// Text of at most 255 characters, marked External ID, but not Unique.
    SharedExternalId,
    /// Yes or no; no in a new record.
    Checkbox,
}

/// One kind of record.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub name: &'static str,
    pub prefix: &'static str,
    pub fields: Vec<Field>,
    pub createable: bool,
    pub deletable: bool,
    /// Its records are about the set-up of the org: they cannot be written together with others.
    pub setup: bool,
    /// Where SystemModstamp, LastModifiedDate and CreatedDate are among the fields.
    pub stamps: [usize; 3],
}

impl Object {
    /// Field by name, in any letter case.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Field by relationship name, in any letter case, with the object that it leads to.
    pub fn relationship(&self, name: &str) -> Option<(usize, &'static str)> {
        self.fields.iter().enumerate().find_map(|(index, field)| match field.kind {
            Kind::Reference { to, relationship } if relationship.eq_ignore_ascii_case(name) => Some((index, to)),
            _ => None,
        })
    }

    fn new(name: &'static str, prefix: &'static str, mut fields: Vec<Field>) -> Self {
        fields.insert(0, Field::new("Id", Kind::Id, 18).read_only().id_lookup());
        for stamp in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
            fields.push(Field::new(stamp, Kind::DateTime, 0).read_only());
        }
        let last = fields.len() - 1;
        Self {
            name,
            prefix,
            fields,
            createable: false,
            deletable: false,
            setup: false,
            stamps: [last, last - 1, last - 2],
        }
    }
}

/// The objects of the org.
pub(super) fn objects(custom: &[CustomField]) -> Vec<Arc<Object>> {
    standard::objects()
        .into_iter()
        .map(|mut object| {
            for field in custom.iter().filter(|field| field.object == object.name) {
                // The stamps stay where they are.
                object.fields.push(custom_field(field));
            }
            Arc::new(object)
        })
        .collect()
}

fn custom_field(custom: &CustomField) -> Field {
    let field = match custom.kind {
        CustomKind::Text => Field::new(&custom.name, Kind::Text, 255),
        CustomKind::ExternalId => {
            Field { external_id: true, ..Field::new(&custom.name, Kind::Text, 255).unique().id_lookup() }
        }
        CustomKind::SharedExternalId => {
            Field { external_id: true, ..Field::new(&custom.name, Kind::Text, 255).id_lookup() }
        }
        CustomKind::Checkbox => Field::new(&custom.name, Kind::Boolean, 0).initially(Initial::False),
    };
    Field { custom: true, ..field }
}

/// `FirstName` is labelled `First Name`.
fn label(name: &str) -> String {
    let name = name.strip_suffix("__c").unwrap_or(name);
    let mut label = String::new();
    for letter in name.chars() {
        if letter == '_' {
            label.push(' ');
            continue;
        }
        if letter.is_ascii_uppercase() && label.chars().last().is_some_and(|last| last.is_ascii_lowercase()) {
            label.push(' ');
        }
        label.push(letter);
    }
    label
}

//! The attributes of a user: their canonical names, and the member of the API's object where each stands.
//!
//! `username` is the e-mail address, and stands here as `emails` alone: it has the form of one, is compared as one (R13),
//! and what guards changes of addresses looks at `emails`. Under a second name, `userName`, it would be two attributes of
//! one value, of which each write would undo the other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::search::KEPT;
use crate::domain::{AccountId, AttributePath, Comparison, Value};
use crate::systems::{AttributeSchema, Schema, ValueKind};

/// The partner's id.
pub const EXTERNAL_ID: &str = "externalId";
/// The e-mail address.
pub const USERNAME: &str = "username";
/// The member that holds the parts of the address.
pub const ADDRESS: &str = "address";

/// A list shows what was just written, as far as is known; some seconds are for copies of the data, the rest for what the
/// search keeps.
const SEARCH_LAG: Duration = Duration::from_secs(5).saturating_add(KEPT);

const TEXT: Comparison = Comparison { fold_case: false, trim: true, empty_is_clear: true };
const EMAIL: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: true };

/// Where an attribute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A member of the user.
    Top(&'static str),
    /// A part of the address.
    Address(&'static str),
}

/// One attribute that is mapped.
#[derive(Debug)]
pub struct Attribute {
    /// Canonical name.
    pub canonical: &'static str,
    /// Where it stands.
    pub place: Place,
    /// What kind of value it has.
    pub kind: ValueKind,
    /// Whether no user is without.
    pub required: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// How it is compared.
    pub comparison: Comparison,
}

const fn text(canonical: &'static str, place: Place) -> Attribute {
    Attribute { canonical, place, kind: ValueKind::Text, required: false, writable: true, comparison: TEXT }
}

const fn required(attribute: Attribute) -> Attribute {
    Attribute { required: true, ..attribute }
}

const fn read_only(attribute: Attribute) -> Attribute {
    Attribute { writable: false, ..attribute }
}

/// A date, as in `1815-12-10`.
pub const BIRTH: &str = "native.dob";

/// Every attribute that is read or written. `langPref` has codes of its own (`eng_can`) and is no `preferredLanguage`.
pub const ATTRIBUTES: &[Attribute] = &[
    required(Attribute { kind: ValueKind::Email, comparison: EMAIL, ..text("emails", Place::Top(USERNAME)) }),
    required(text("name.givenName", Place::Top("firstName"))),
    required(text("name.familyName", Place::Top("lastName"))),
    text("phoneNumbers", Place::Top("phone")),
    text("addresses.streetAddress", Place::Address("street")),
    text("addresses.locality", Place::Address("city")),
    text("addresses.region", Place::Address("state")),
    text("addresses.postalCode", Place::Address("postalCode")),
    text("addresses.country", Place::Address("country")),
    text(BIRTH, Place::Top("dob")),
    text("native.gender", Place::Top("gender")),
    text("native.tshirt", Place::Top("tshirt")),
    text("native.langPref", Place::Top("langPref")),
    text(EXTERNAL_ID, Place::Top(EXTERNAL_ID)),
    read_only(text("native.status", Place::Top("status"))),
    read_only(Attribute { kind: ValueKind::Set, ..text("native.tags", Place::Top("tags")) }),
];

impl Attribute {
    /// Its canonical name.
    pub fn path(&self) -> AttributePath {
        self.canonical.parse().expect("the names of this table are paths")
    }
}

/// The attribute of this canonical name.
pub fn attribute(path: &AttributePath) -> Option<&'static Attribute> {
    ATTRIBUTES.iter().find(|attribute| attribute.canonical == path.as_str())
}

/// The attribute that stands in this member, as errors name it.
pub fn attribute_of(member: &str) -> Option<AttributePath> {
    let is_it = |attribute: &&Attribute| match attribute.place {
        Place::Top(name) | Place::Address(name) => name.eq_ignore_ascii_case(member),
    };
    ATTRIBUTES.iter().find(is_it).map(Attribute::path)
}

/// What is known of users, in an organisation that is called at most `concurrency` times at once.
pub fn schema(concurrency: usize, defaults: &BTreeMap<String, Value>) -> Schema {
    let has_default = |place: Place| matches!(place, Place::Top(name) if defaults.contains_key(name));
    let attributes = ATTRIBUTES.iter().map(|attribute| AttributeSchema {
        path: attribute.path(),
        kind: attribute.kind,
        max_chars: None,
        required: attribute.required && !has_default(attribute.place),
        writable: attribute.writable,
        comparison: attribute.comparison,
    });
    Schema {
        attributes: attributes.collect(),
        grain: Duration::from_secs(1),
        stamps: true,
        batch: 1,
        calls: concurrency,
        writable: true,
        readable: true,
        whole: false,
        shown_by: None,
        partner: EXTERNAL_ID.parse().ok(),
        incremental: false,
        parse_id,
        search_lag: SEARCH_LAG,
    }
}

/// Ids are whole numbers.
pub fn parse_id(text: &str) -> Option<AccountId> {
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = text.parse().ok()?;
    number.to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_form() {
        for (text, id) in
            [("2008686", Some("2008686")), (" 0042 ", Some("42")), ("", None), ("-1", None), ("+1", None), ("1a", None)]
        {
            assert_eq!(parse_id(text).as_ref().map(AccountId::as_str), id, "{text:?}");
        }
    }

    #[test]
    fn every_attribute_is_found_by_its_name_and_its_member() {
        for known in ATTRIBUTES {
            assert!(attribute(&known.path()).is_some_and(|found| found.canonical == known.canonical));
            let (Place::Top(member) | Place::Address(member)) = known.place;
            assert_eq!(attribute_of(member), Some(known.path()), "{member}");
        }
    }
}

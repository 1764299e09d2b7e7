//! The attributes of a SCIM User: their canonical names, and where each stands in the resource.

use std::time::Duration;

use crate::domain::{AttributePath, Comparison};
use crate::systems::{AttributeSchema, Schema, ValueKind};

/// Schema of the core User.
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Schema of the enterprise extension, and the member of the resource that holds its attributes.
pub const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Servers that keep several copies of their data may need this long until a search finds what was just written.
const SEARCH_LAG: Duration = Duration::from_secs(5);

/// Text is kept as it is; an empty one is a value.
const EXACT: Comparison = Comparison { fold_case: false, trim: false, empty_is_clear: false };
/// `userName` and e-mail addresses (R13).
const ADDRESS: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: false };
/// An entry of a list without a value is no entry.
const ENTRY: Comparison = Comparison { fold_case: false, trim: false, empty_is_clear: true };
const EMAIL: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: true };

/// Where an attribute stands in the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A member of the resource.
    Top(&'static str),
    /// A member of a complex attribute.
    Within(&'static str, &'static str),
    /// The `value` of the entry of this type in a list.
    Entry(&'static str, &'static str),
    /// A member of the enterprise extension.
    Enterprise(&'static str),
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
    /// How servers compare it.
    pub comparison: Comparison,
}

const fn text(canonical: &'static str, place: Place) -> Attribute {
    Attribute { canonical, place, kind: ValueKind::Text, comparison: EXACT }
}

macro_rules! enterprise {
    ($name:literal) => {
        text(concat!("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:", $name), Place::Enterprise($name))
    };
}

/// Every attribute that is mapped. `externalId` is none of them: it carries the partner's id.
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute { comparison: ADDRESS, ..text("userName", Place::Top("userName")) },
    text("name.givenName", Place::Within("name", "givenName")),
    text("name.familyName", Place::Within("name", "familyName")),
    text("name.middleName", Place::Within("name", "middleName")),
    text("name.formatted", Place::Within("name", "formatted")),
    text("name.honorificPrefix", Place::Within("name", "honorificPrefix")),
    text("name.honorificSuffix", Place::Within("name", "honorificSuffix")),
    text("displayName", Place::Top("displayName")),
    text("nickName", Place::Top("nickName")),
    text("profileUrl", Place::Top("profileUrl")),
    text("title", Place::Top("title")),
    text("userType", Place::Top("userType")),
    text("preferredLanguage", Place::Top("preferredLanguage")),
    text("locale", Place::Top("locale")),
    text("timezone", Place::Top("timezone")),
    Attribute { kind: ValueKind::Email, comparison: EMAIL, ..text("emails", Place::Entry("emails", "work")) },
    Attribute { comparison: ENTRY, ..text("phoneNumbers", Place::Entry("phoneNumbers", "work")) },
    Attribute { comparison: ENTRY, ..text("phoneNumbers.mobile", Place::Entry("phoneNumbers", "mobile")) },
    enterprise!("employeeNumber"),
    enterprise!("costCenter"),
    enterprise!("organization"),
    enterprise!("division"),
    enterprise!("department"),
    Attribute { kind: ValueKind::Bool, ..text("active", Place::Top("active")) },
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

/// What is known of SCIM Users, at a server that is called at most `concurrency` times at once.
pub fn schema(concurrency: usize) -> Schema {
    let attributes = ATTRIBUTES.iter().map(|attribute| AttributeSchema {
        path: attribute.path(),
        kind: attribute.kind,
        max_chars: None,
        required: attribute.canonical == "userName",
        writable: true,
        comparison: attribute.comparison,
    });
    Schema {
        attributes: attributes.collect(),
        grain: Duration::from_secs(1),
        stamps: true,
        batch: 1,
        calls: concurrency.max(1),
        writable: true,
        readable: true,
        whole: false,
        shown_by: None,
        partner: None,
        incremental: false,
        parse_id: |text| text.trim().parse().ok(),
        search_lag: SEARCH_LAG,
    }
}

//! The kinds of record that can be kept in step, and their fields under canonical names.

use crate::domain::{AccountId, AttributePath, Comparison};
use crate::systems::ValueKind;

use super::id::parse_id;

/// Salesforce has no empty text: it keeps one as null. Space around a text is dropped.
pub const TEXT: Comparison = Comparison { fold_case: false, trim: true, empty_is_clear: true };
/// Usernames and e-mail addresses: Salesforce lower-cases them, and compares them without case (R13).
const ADDRESS: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: true };

/// Which kind of record a side of a connection keeps in step (R54).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// The people who log in to the org. They are deactivated, never deleted (R81).
    User,
    /// The people whom the org knows. They have no flag that says whether they are active.
    Contact,
}

impl Object {
    /// The kind of this name in the API.
    pub fn named(name: &str) -> Option<Self> {
        [Self::User, Self::Contact].into_iter().find(|object| object.name() == name)
    }

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Contact => "Contact",
        }
    }

    /// Its mapped fields.
    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Self::User => USER,
            Self::Contact => CONTACT,
        }
    }

    /// Fields without a canonical name that Salesforce wants of each new record.
    pub(super) fn further_required(self) -> &'static [&'static str] {
        match self {
            Self::User => &["ProfileId", "EmailEncodingKey"],
            Self::Contact => &[],
        }
    }

    /// Brings an id of such a record to its 18-character form.
    pub(super) fn parse_id(self) -> fn(&str) -> Option<AccountId> {
        match self {
            Self::User => |text| parse_id(text).filter(|id| id.as_str().starts_with("005")),
            Self::Contact => |text| parse_id(text).filter(|id| id.as_str().starts_with("003")),
        }
    }
}

/// How a native value becomes a canonical one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// `en_US` is written `en-US`.
    Locale,
    /// Whether there is anything in it. What it is goes no further than the row.
    Filled,
}

/// One mapped field.
pub struct Field {
    pub native: &'static str,
    canonical: &'static str,
    pub kind: ValueKind,
    pub form: Form,
    /// Characters; 0: not known.
    pub max_chars: usize,
    pub required: bool,
    pub writable: bool,
    pub comparison: Comparison,
}

impl Field {
    /// Its canonical name.
    pub fn path(&self) -> AttributePath {
        self.canonical.parse().expect("the names of these tables are paths")
    }

    /// Whether this is its canonical name.
    pub fn is(&self, path: &AttributePath) -> bool {
        self.canonical == path.as_str()
    }
}

const fn text(native: &'static str, canonical: &'static str, max_chars: usize) -> Field {
    let (kind, form) = (ValueKind::Text, Form::Plain);
    Field { native, canonical, kind, form, max_chars, required: false, writable: true, comparison: TEXT }
}

const fn required(field: Field) -> Field {
    Field { required: true, ..field }
}

const fn locale(field: Field) -> Field {
    Field { form: Form::Locale, ..field }
}

const fn email(native: &'static str, max_chars: usize) -> Field {
    Field { kind: ValueKind::Email, comparison: ADDRESS, ..text(native, "emails", max_chars) }
}

/// Salesforce makes it of the first and the last name.
const fn full_name(max_chars: usize) -> Field {
    Field { writable: false, ..text("Name", "displayName", max_chars) }
}

/// The User, under the names of the SCIM core and enterprise User.
const USER: &[Field] = &[
    required(Field { comparison: ADDRESS, ..text("Username", "userName", 80) }),
    text("FirstName", "name.givenName", 40),
    required(text("LastName", "name.familyName", 80)),
    full_name(203),
    required(text("Alias", "nickName", 8)),
    required(email("Email", 128)),
    text("Phone", "phoneNumbers", 40),
    text("MobilePhone", "phoneNumbers.mobile", 40),
    text("Title", "title", 80),
    text("Department", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", 80),
    text("Division", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division", 80),
    text("EmployeeNumber", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber", 20),
    required(locale(text("LocaleSidKey", "locale", 40))),
    required(locale(text("LanguageLocaleKey", "preferredLanguage", 40))),
    required(text("TimeZoneSidKey", "timezone", 40)),
    Field { kind: ValueKind::Bool, ..text("IsActive", "active", 0) },
];

/// The Contact, under the same names.
const CONTACT: &[Field] = &[
    text("Salutation", "name.honorificPrefix", 40),
    text("FirstName", "name.givenName", 40),
    required(text("LastName", "name.familyName", 80)),
    full_name(121),
    email("Email", 80),
    text("Phone", "phoneNumbers", 40),
    text("MobilePhone", "phoneNumbers.mobile", 40),
    text("Title", "title", 128),
    text("Department", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", 80),
];

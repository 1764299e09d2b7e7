//! Where each of the two imitated systems keeps a value, and when the two say the same.

use serde_json::Value;

/// How a value of the CRM is written in the directory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// As it is.
    Same,
    /// Upper and lower case are the same.
    Address,
    /// `en_US` is `en-US`.
    Locale,
}

/// The fields of the CRM, and where the directory keeps them: a JSON pointer, or a list and the type of its entry.
pub(super) const FIELDS: [(&str, Place, Form); 15] = [
    ("Username", Place::At("/userName"), Form::Address),
    ("FirstName", Place::At("/name/givenName"), Form::Same),
    ("LastName", Place::At("/name/familyName"), Form::Same),
    ("Name", Place::At("/displayName"), Form::Same),
    ("Email", Place::Entry("emails", "work"), Form::Address),
    ("Phone", Place::Entry("phoneNumbers", "work"), Form::Same),
    ("MobilePhone", Place::Entry("phoneNumbers", "mobile"), Form::Same),
    ("Title", Place::At("/title"), Form::Same),
    ("Department", Place::Enterprise("department"), Form::Same),
    ("Division", Place::Enterprise("division"), Form::Same),
    ("EmployeeNumber", Place::Enterprise("employeeNumber"), Form::Same),
    ("LocaleSidKey", Place::At("/locale"), Form::Locale),
    ("LanguageLocaleKey", Place::At("/preferredLanguage"), Form::Locale),
    ("TimeZoneSidKey", Place::At("/timezone"), Form::Same),
    ("IsActive", Place::At("/active"), Form::Same),
];

/// Where the directory keeps a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    At(&'static str),
    Entry(&'static str, &'static str),
    Enterprise(&'static str),
}

impl Place {
    pub(super) fn of(self, account: &Value) -> &Value {
        match self {
            Self::At(pointer) => account.pointer(pointer).unwrap_or(&Value::Null),
            Self::Entry(list, kind) => {
                let mut entries = account[list].as_array().into_iter().flatten();
                entries.find(|entry| entry["type"] == kind).map_or(&Value::Null, |entry| &entry["value"])
            }
            Self::Enterprise(name) => &account["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"][name],
        }
    }
}

/// Whether the two values say the same.
pub(super) fn same(crm: &Value, directory: &Value, form: Form) -> bool {
    match (crm.as_str(), directory.as_str()) {
        (Some(crm), Some(directory)) => match form {
            Form::Same => crm == directory,
            Form::Address => crm.to_lowercase() == directory.to_lowercase(),
            Form::Locale => crm.replace('_', "-") == directory,
        },
        _ => crm == directory,
    }
}

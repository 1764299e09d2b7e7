//! What kinds of records the org has, and which fields: the truth behind describe, queries and the checks of writes.

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
    /// `User` or `Contact`.
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
        Self { name, prefix, fields, createable: false, deletable: false, stamps: [last, last - 1, last - 2] }
    }
}

/// The objects of the org.
pub(super) fn objects(custom: &[CustomField]) -> Vec<Arc<Object>> {
    [user(), contact(), profile(), user_role()]
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
        CustomKind::Checkbox => Field::new(&custom.name, Kind::Boolean, 0).initially(Initial::False),
    };
    Field { custom: true, ..field }
}

fn user() -> Object {
    let text = |name, length| Field::new(name, Kind::Text, length);
    let phone = |name| Field::new(name, Kind::Phone, 40);
    let fields = vec![
        text("Username", 80).required().unique().id_lookup(),
        text("FirstName", 40),
        text("LastName", 80).required(),
        text("Name", 203).read_only(),
        Field::new("Email", Kind::Email, 128).required().id_lookup(),
        text("Alias", 8).required(),
        text("CommunityNickname", 40).required().unique().initially(Initial::Derived),
        Field::new("IsActive", Kind::Boolean, 0).initially(Initial::True),
        reference("ProfileId", "Profile", "Profile").required(),
        reference("UserRoleId", "UserRole", "UserRole"),
        reference("ManagerId", "User", "Manager"),
        Field::new("TimeZoneSidKey", Kind::Picklist(TIME_ZONES), 40).required(),
        Field::new("LocaleSidKey", Kind::Picklist(LOCALES), 40).required(),
        Field::new("LanguageLocaleKey", Kind::Picklist(LANGUAGES), 40).required(),
        Field::new("EmailEncodingKey", Kind::Picklist(ENCODINGS), 40).required(),
        text("FederationIdentifier", 512).unique().id_lookup(),
        text("EmployeeNumber", 20),
        text("Title", 80),
        text("Department", 80),
        text("Division", 80),
        text("CompanyName", 80),
        phone("Phone"),
        phone("MobilePhone"),
        phone("Fax"),
        phone("Extension"),
        text("Street", 255),
        text("City", 40),
        text("State", 80),
        text("PostalCode", 20),
        text("Country", 80),
        text("UserType", 40).read_only().initially(Initial::Derived),
        Field::new("LastLoginDate", Kind::DateTime, 0).read_only(),
    ];
    Object { createable: true, ..Object::new("User", "005", fields) }
}

fn contact() -> Object {
    let text = |name, length| Field::new(name, Kind::Text, length);
    let phone = |name| Field::new(name, Kind::Phone, 40);
    let fields = vec![
        text("Salutation", 40),
        text("FirstName", 40),
        text("LastName", 80).required(),
        text("Name", 121).read_only(),
        Field::new("Email", Kind::Email, 80).id_lookup(),
        phone("Phone"),
        phone("MobilePhone"),
        phone("HomePhone"),
        phone("Fax"),
        text("Title", 128),
        text("Department", 80),
        reference("OwnerId", "User", "Owner").required().initially(Initial::Derived),
        reference("ReportsToId", "Contact", "ReportsTo"),
        text("MailingStreet", 255),
        text("MailingCity", 40),
        text("MailingState", 80),
        text("MailingPostalCode", 20),
        text("MailingCountry", 80),
        Field::new("IsDeleted", Kind::Boolean, 0).read_only().initially(Initial::False),
        reference("MasterRecordId", "Contact", "MasterRecord").read_only(),
    ];
    Object { createable: true, deletable: true, ..Object::new("Contact", "003", fields) }
}

fn profile() -> Object {
    Object::new("Profile", "00e", vec![Field::new("Name", Kind::Text, 255).required()])
}

fn user_role() -> Object {
    Object::new("UserRole", "00E", vec![Field::new("Name", Kind::Text, 80).required()])
}

fn reference(name: &str, to: &'static str, relationship: &'static str) -> Field {
    Field::new(name, Kind::Reference { to, relationship }, 18)
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

const ENCODINGS: &[&str] =
    &["UTF-8", "ISO-8859-1", "ISO-8859-15", "Shift_JIS", "ISO-2022-JP", "EUC-JP", "ks_c_5601-1987", "Big5", "GB2312"];

const LANGUAGES: &[&str] = &[
    "en_US", "de", "es", "fr", "it", "ja", "sv", "ko", "zh_TW", "zh_CN", "pt_BR", "nl_NL", "da", "th", "fi", "ru",
    "es_MX", "no", "ar", "bg", "cs", "el", "en_GB", "hi", "hu", "iw", "pl", "pt_PT", "ro", "sk", "tr", "uk", "vi",
];

const LOCALES: &[&str] = &[
    "en_US", "en_GB", "en_AU", "en_CA", "en_IE", "en_IN", "fr_FR", "fr_BE", "fr_CA", "fr_CH", "de_DE", "de_AT",
    "de_CH", "es_ES", "es_MX", "it_IT", "pt_BR", "pt_PT", "nl_NL", "nl_BE", "sv_SE", "da_DK", "fi_FI", "no_NO",
    "pl_PL", "cs_CZ", "uk_UA", "ru_RU", "el_GR", "tr_TR", "ja_JP", "ko_KR", "zh_CN", "zh_TW", "ar_AE", "iw_IL",
    "hi_IN", "th_TH", "vi_VN",
];

const TIME_ZONES: &[&str] = &[
    "Europe/London",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Paris",
    "Europe/Berlin",
    "Europe/Madrid",
    "Europe/Rome",
    "Europe/Amsterdam",
    "Europe/Brussels",
    "Europe/Zurich",
    "Europe/Vienna",
    "Europe/Stockholm",
    "Europe/Warsaw",
    "Europe/Prague",
    "Europe/Athens",
    "Europe/Kyiv",
    "Europe/Istanbul",
    "Europe/Helsinki",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/Mexico_City",
    "America/Toronto",
    "Asia/Tokyo",
    "Asia/Seoul",
    "Asia/Shanghai",
    "Asia/Hong_Kong",
    "Asia/Singapore",
    "Asia/Kolkata",
    "Asia/Dubai",
    "Asia/Jerusalem",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Africa/Johannesburg",
    "GMT",
];

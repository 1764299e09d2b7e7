//! The objects that every org has, with the fields that a roster can use.

use super::picklists::{ENCODINGS, LANGUAGES, LOCALES, TIME_ZONES};
use super::{Field, Initial, Kind, Object};

pub(super) fn objects() -> [Object; 5] {
    [user(), contact(), account(), profile(), user_role()]
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
    Object { createable: true, setup: true, ..Object::new("User", "005", fields) }
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
        reference("AccountId", "Account", "Account"),
        reference("OwnerId", "User", "Owner").required().initially(Initial::Derived),
        reference("ReportsToId", "Contact", "ReportsTo"),
        text("MailingStreet", 255),
        text("MailingCity", 40),
        text("MailingState", 80),
        text("MailingPostalCode", 20),
        text("MailingCountry", 80),
        text("Description", 32_000),
        flag("HasOptedOutOfEmail"),
        flag("HasOptedOutOfFax"),
        flag("DoNotCall"),
        flag("IsEmailBounced").read_only(),
        text("EmailBouncedReason", 255).read_only(),
        flag("IsDeleted").read_only(),
        reference("MasterRecordId", "Contact", "MasterRecord").read_only(),
    ];
    Object { createable: true, deletable: true, ..Object::new("Contact", "003", fields) }
}

fn account() -> Object {
    let text = |name, length| Field::new(name, Kind::Text, length);
    let fields = vec![
        text("Name", 255).required(),
        text("AccountNumber", 40),
        Field::new("Phone", Kind::Phone, 40),
        text("BillingCity", 40),
        text("BillingCountry", 80),
        reference("OwnerId", "User", "Owner").required().initially(Initial::Derived),
        flag("IsDeleted").read_only(),
        reference("MasterRecordId", "Account", "MasterRecord").read_only(),
    ];
    Object { createable: true, deletable: true, ..Object::new("Account", "001", fields) }
}

fn profile() -> Object {
    Object::new("Profile", "00e", vec![Field::new("Name", Kind::Text, 255).required()])
}

fn user_role() -> Object {
    Object::new("UserRole", "00E", vec![Field::new("Name", Kind::Text, 80).required()])
}

/// No in a new record.
fn flag(name: &str) -> Field {
    Field::new(name, Kind::Boolean, 0).initially(Initial::False)
}

fn reference(name: &str, to: &'static str, relationship: &'static str) -> Field {
    Field::new(name, Kind::Reference { to, relationship }, 18)
}

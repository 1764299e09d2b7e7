//! What the org checks of a write, and which fields it fills itself.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Checks, DuplicateRule, Org, takes_licence};
use crate::sandbox::salesforce::error::ApiError;
use crate::sandbox::salesforce::id::{self, id18};
use crate::sandbox::salesforce::object::{Access, Kind, Object};
use crate::sandbox::salesforce::row::{Cell, Row};

impl Org {
    /// Puts what the client sent into the row, once each value is one that the field can hold.
    pub(super) fn apply(&self, row: &mut Row, input: &Map<String, Value>, checks: Checks) -> Result<(), ApiError> {
        let object = Arc::clone(&row.object);
        for (name, value) in input.iter().filter(|(name, _)| *name != "attributes") {
            let Some(place) = object.index(name) else {
                let message = format!("No such column '{name}' on sobject of type {}", object.name);
                return Err(ApiError::field("INVALID_FIELD", message, name));
            };
            let field = &object.fields[place];
            if checks.are_for_everybody() && self.access(&object, place) != Access::ReadWrite {
                let message = format!(
                    "Unable to create/update fields: {0}. Please check the security settings of this field and verify that it is \
                     read/write for your profile or permission set.",
                    field.name
                );
                return Err(ApiError::field("INVALID_FIELD_FOR_INSERT_UPDATE", message, &field.name));
            }
            row.cells[place] = self.cell(&object, place, value)?;
        }
        Ok(())
    }

    fn cell(&self, object: &Object, place: usize, value: &Value) -> Result<Cell, ApiError> {
        let field = &object.fields[place];
        let unreadable = || {
            let message = format!("Cannot deserialize the value of field {} as {:?}", field.name, field.kind);
            ApiError::bad("JSON_PARSER_ERROR", message)
        };
        let text = match (&field.kind, value) {
            (Kind::Boolean, Value::Bool(flag)) => return Ok(Cell::Bool(*flag)),
            (Kind::Boolean, _) => return Err(unreadable()),
            (_, Value::Null) => return Ok(Cell::Null),
            (Kind::DateTime, Value::String(text)) => {
                let at: jiff::Timestamp = text.parse().map_err(|_| unreadable())?;
                return Ok(Cell::Stamp(at.as_second()));
            }
            // Surrounding space is dropped, and nothing left is null.
            (_, Value::String(text)) => text.trim(),
            _ => return Err(unreadable()),
        };
        if text.is_empty() {
            return Ok(Cell::Null);
        }
        let field_error = |code, message| ApiError::field(code, message, &field.name);
        if field.length > 0 && text.chars().count() > field.length {
            let start: String = text.chars().take(field.length).collect();
            let message = format!("{}: data value too large: {start} (max length={})", field.label, field.length);
            return Err(field_error("STRING_TOO_LONG", message));
        }
        match &field.kind {
            Kind::Email if !has_email_form(text) => {
                Err(field_error("INVALID_EMAIL_ADDRESS", format!("{}: invalid email address: {text}", field.label)))
            }
            Kind::Picklist(values) if !values.contains(&text) => {
                let message = format!("{}: bad value for restricted picklist field: {text}", field.label);
                Err(field_error("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message))
            }
            Kind::Reference { to, .. } => self.reference(&field.label, &field.name, to, text),
            _ if field.name == "Username" && !has_email_form(text) => {
                let message = "Username must be in the form of an email address (for example, john@acme.com): Username";
                Err(field_error("FIELD_INTEGRITY_EXCEPTION", message.to_owned()))
            }
            _ if field.name == "Username" => Ok(Cell::text(&text.to_lowercase())),
            _ => Ok(Cell::text(text)),
        }
    }

    fn reference(&self, label: &str, name: &str, to: &str, text: &str) -> Result<Cell, ApiError> {
        let prefix = self.table(to).map_or("", |table| table.object.prefix);
        if !id::looks_like_id(text) || !text.starts_with(prefix) {
            let message = format!("{label}: id value of incorrect type: {text}");
            return Err(ApiError::field("MALFORMED_ID", message, name));
        }
        match self.by_id(to, text) {
            Some(row) if !row.deleted => Ok(Cell::text(&row.id())),
            _ => Err(ApiError::field("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", name)),
        }
    }

    /// Fills the fields that follow from others.
    pub(super) fn derive(&self, row: &mut Row) {
        let full_name: Vec<&str> =
            ["FirstName", "LastName"].iter().filter_map(|field| row.cell(field).as_text()).collect();
        let full_name = full_name.join(" ");
        let integration_user = id18("005", self.integration_user);
        let nickname = format!("{}{}", row.cell("Alias").as_text().unwrap_or("user"), row.serial);
        for (field, text) in
            [("UserType", "Standard".to_owned()), ("CommunityNickname", nickname), ("OwnerId", integration_user)]
        {
            if let Some(place) = row.object.index(field)
                && row.cells[place] == Cell::Null
            {
                row.cells[place] = Cell::text(&text);
            }
        }
        // Others have a name of their own.
        if row.object.index("LastName").is_some()
            && let Some(place) = row.object.index("Name")
        {
            row.cells[place] = if full_name.is_empty() { Cell::Null } else { Cell::text(&full_name) };
        }
    }

    pub(super) fn check_required(&self, row: &Row) -> Result<(), ApiError> {
        self.check_required_of(row, |_| true)
    }

    pub(super) fn check_required_of(&self, row: &Row, concerned: impl Fn(usize) -> bool) -> Result<(), ApiError> {
        let fields = row.object.fields.iter().enumerate();
        let missing: Vec<String> = fields
            .filter(|(place, field)| field.required && row.cells[*place] == Cell::Null && concerned(*place))
            .map(|(_, field)| field.name.clone())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("Required fields are missing: [{}]", missing.join(", "));
        Err(ApiError { fields: Some(missing), ..ApiError::bad("REQUIRED_FIELD_MISSING", message) })
    }

    pub(super) fn check_unique(&self, row: &Row) -> Result<(), ApiError> {
        let Some(table) = self.table(row.object.name) else { return Ok(()) };
        for (place, field) in row.object.fields.iter().enumerate().filter(|(_, field)| field.unique) {
            let Some(text) = row.cells[place].as_text() else { continue };
            let holder = table.lookup(place, text).unwrap_or_default().into_iter().find(|serial| *serial != row.serial);
            let reserved = field.name == "Username" && self.reserved_usernames.contains(&text.to_lowercase());
            let Some(holder) = holder.or(reserved.then_some(0)) else { continue };
            return Err(match field.name.as_str() {
                "Username" => ApiError::field(
                    "DUPLICATE_USERNAME",
                    "Duplicate Username.<br>The username already exists in this or another Salesforce organization. Usernames must be \
                     unique across all Salesforce organizations. To resolve, use a different username (it doesn't need to match the \
                     user's email address).",
                    "Username",
                ),
                "CommunityNickname" => ApiError::field(
                    "DUPLICATE_COMM_NICKNAME",
                    "Duplicate Nickname.<br>Another user has already selected this nickname.<br>Please select another.",
                    "CommunityNickname",
                ),
                name => {
                    let holder = id18(row.object.prefix, holder);
                    let message = format!("duplicate value found: {name} duplicates value on record with id: {holder}");
                    ApiError { fields: Some(Vec::new()), ..ApiError::bad("DUPLICATE_VALUE", message) }
                }
            });
        }
        Ok(())
    }

    /// Refuses a contact with the e-mail address of another, where the org has a rule against it.
    pub(super) fn check_duplicates(&self, row: &Row, checks: Checks) -> Result<(), ApiError> {
        let allows_save = match self.duplicate_rule {
            DuplicateRule::Off => return Ok(()),
            DuplicateRule::Alert => true,
            DuplicateRule::Block => false,
        };
        if row.object.name != "Contact" || checks == Checks::Seed || (allows_save && checks == Checks::AllowSave) {
            return Ok(());
        }
        let email = row.object.index("Email").and_then(|place| Some((place, row.cells[place].as_text()?)));
        let same = email.map(|(place, text)| self.with_key("Contact", place, text)).unwrap_or_default();
        let same: Vec<String> = same.into_iter().filter(|id| *id != row.id()).collect();
        if same.is_empty() {
            return Ok(());
        }
        Err(ApiError::duplicates("Use one of these records?", allows_save, &same))
    }

    pub(super) fn check_licence(&self, before: Option<&Row>, row: &Row) -> Result<(), ApiError> {
        let newly_taken = takes_licence(row) && !before.is_some_and(takes_licence);
        if newly_taken && self.licences.is_some_and(|licences| self.active_users >= licences) {
            return Err(ApiError {
                fields: Some(Vec::new()),
                ..ApiError::bad("LICENSE_LIMIT_EXCEEDED", "License Limit Exceeded")
            });
        }
        Ok(())
    }
}

/// One `@`, something before it, and a dot inside what comes after it.
fn has_email_form(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let domain_is_fine = domain.split('.').count() >= 2 && domain.split('.').all(|label| !label.is_empty());
    !local.is_empty()
        && domain_is_fine
        && !text.contains(|c: char| c.is_whitespace() || c == ',')
        && !domain.contains('@')
}

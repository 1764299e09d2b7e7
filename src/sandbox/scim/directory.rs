//! The directory: users and groups, and the writes that change them.

mod table;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::dialect::{self, Dialect, Quirk};
use super::error::ScimError;
use super::filter::{Filter, Operator};
use super::resource::normalise;
use super::schema::{Kind, Type};
use super::{patch, schema};
use crate::sandbox::clock::iso_ms;

pub(super) use table::Resource;
use table::{Key, Table};

/// A write that was carried out.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub before: Option<Arc<Resource>>,
    pub after: Option<Arc<Resource>>,
    pub changed: bool,
}

/// What a request asks the version of a resource to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Precondition {
    None,
    /// `If-Match`: one of these, as written.
    OneOf(String),
}

/// See the module.
#[derive(Default)]
pub(super) struct Directory {
    users: Table,
    groups: Table,
    /// User -> groups that have it as a member.
    memberships: HashMap<String, BTreeSet<u64>>,
    /// User names of users that are only hidden.
    buried: BTreeSet<String>,
    last_serial: u64,
    last_version: u64,
}

impl Directory {
    fn table(&self, kind: Type) -> &Table {
        match kind {
            Type::User => &self.users,
            Type::Group => &self.groups,
        }
    }

    fn table_mut(&mut self, kind: Type) -> &mut Table {
        match kind {
            Type::User => &mut self.users,
            Type::Group => &mut self.groups,
        }
    }

    pub fn get(&self, kind: Type, id: &str) -> Result<&Arc<Resource>, ScimError> {
        let table = self.table(kind);
        let serial = table.serials.get(id).ok_or_else(|| ScimError::not_found(kind.name()))?;
        table.resources.get(serial).ok_or_else(|| ScimError::not_found(kind.name()))
    }

    pub fn all(&self, kind: Type) -> impl Iterator<Item = &Arc<Resource>> {
        self.table(kind).resources.values()
    }

    /// Resources that fit a filter, in the order of their creation.
    pub fn select(&self, kind: Type, filter: Option<&Filter>) -> Vec<&Arc<Resource>> {
        let table = self.table(kind);
        let Some(filter) = filter else { return table.resources.values().collect() };
        let fits = |resource: &&Arc<Resource>| match filter.mentions("groups") {
            true => filter.holds(&self.with_groups(resource)),
            false => filter.holds(&resource.fields),
        };
        if let Some(serials) = self.candidates(kind, filter) {
            return serials.iter().filter_map(|serial| table.resources.get(serial)).filter(fits).collect();
        }
        table.resources.values().filter(fits).collect()
    }

    /// The only resources that can fit, where an index knows them.
    fn candidates(&self, kind: Type, filter: &Filter) -> Option<BTreeSet<u64>> {
        let table = self.table(kind);
        match filter {
            Filter::And(a, b) => self.candidates(kind, a).or_else(|| self.candidates(kind, b)),
            Filter::Compare { path, operator, value: Value::String(text) } if path.extension.is_none() => {
                let names = (path.attribute?.name, path.sub.map(|sub| sub.name));
                match (names, operator) {
                    (("id", None), Operator::Eq) => Some(table.serials.get(text).copied().into_iter().collect()),
                    (("userName", None), Operator::Eq) => Some(table.with(Key::UserName, text)),
                    (("externalId", None), Operator::Eq) => Some(table.with(Key::ExternalId, text)),
                    (("emails", None | Some("value")), Operator::Eq) => Some(table.with(Key::Email, text)),
                    (("meta", Some("lastModified")), Operator::Gt | Operator::Ge | Operator::Eq) => {
                        let floor = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
                        Some(table.modified.range((floor, 0)..).map(|(_, serial)| *serial).collect())
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The fields of a resource with the groups it is in.
    pub fn with_groups(&self, resource: &Resource) -> Map<String, Value> {
        let mut fields = resource.fields.clone();
        let groups = self.memberships.get(&resource.id).into_iter().flatten();
        let groups: Vec<Value> = groups
            .filter_map(|serial| self.groups.resources.get(serial))
            .map(|group| json!({"value": group.id, "display": group.fields["displayName"], "type": "direct", "$ref": format!("../Groups/{}", group.id)}))
            .collect();
        if resource.kind == Type::User && !groups.is_empty() {
            fields.insert("groups".into(), Value::Array(groups));
        }
        fields
    }

    pub fn create(&mut self, kind: Type, input: &Value, dialect: &Dialect, now_ms: i64) -> Result<Done, ScimError> {
        let fields = self.checked(kind, input, dialect, None)?;
        self.last_serial += 1;
        let resource = Resource {
            kind,
            serial: self.last_serial,
            id: match dialect.contains(&Quirk::NumericIds) {
                true => self.last_serial.to_string(),
                false => opaque_id(self.last_serial),
            },
            created_ms: now_ms,
            modified_ms: now_ms,
            fields,
        };
        Ok(Done { before: None, after: Some(self.commit(resource)), changed: true })
    }

    pub fn replace(
        &mut self,
        kind: Type,
        id: &str,
        input: &Value,
        precondition: &Precondition,
        dialect: &Dialect,
        now_ms: i64,
    ) -> Result<Done, ScimError> {
        let before = Arc::clone(self.get(kind, id)?);
        check_version(&before, precondition, dialect)?;
        let fields = self.checked(kind, input, dialect, Some(before.serial))?;
        Ok(self.update(before, fields, now_ms))
    }

    pub fn patch(
        &mut self,
        kind: Type,
        id: &str,
        request: &Value,
        precondition: &Precondition,
        dialect: &Dialect,
        now_ms: i64,
    ) -> Result<Done, ScimError> {
        let before = Arc::clone(self.get(kind, id)?);
        check_version(&before, precondition, dialect)?;
        let mut request = request.clone();
        for operation in request.get_mut("Operations").and_then(Value::as_array_mut).into_iter().flatten() {
            dialect::accept_operation(dialect, kind, operation);
        }
        let mut fields = before.fields.clone();
        patch::apply(kind, &mut fields, &request)?;
        let fields = self.checked(kind, &Value::Object(fields), dialect, Some(before.serial))?;
        Ok(self.update(before, fields, now_ms))
    }

    pub fn delete(
        &mut self,
        kind: Type,
        id: &str,
        precondition: &Precondition,
        dialect: &Dialect,
    ) -> Result<Done, ScimError> {
        let before = Arc::clone(self.get(kind, id)?);
        check_version(&before, precondition, dialect)?;
        if dialect.contains(&Quirk::SoftDelete) {
            self.buried.extend(before.texts(Key::UserName));
        }
        self.enrol(&before, false);
        self.table_mut(kind).remove(before.serial);
        if kind == Type::User {
            self.leave_groups(id);
        }
        Ok(Done { before: Some(before), after: None, changed: true })
    }

    /// Takes a deleted resource out of the groups it was in.
    fn leave_groups(&mut self, id: &str) {
        for serial in self.memberships.remove(id).unwrap_or_default() {
            let Some(group) = self.groups.resources.get(&serial) else { continue };
            let mut group = Resource::clone(group);
            if let Some(Value::Array(members)) = group.fields.get_mut("members") {
                members.retain(|member| member["value"] != json!(id));
            }
            if group.fields.get("members").is_some_and(|members| members.as_array().is_some_and(Vec::is_empty)) {
                group.fields.remove("members");
            }
            self.commit(group);
        }
    }

    /// What is stored of an input, once nothing speaks against it.
    fn checked(
        &self,
        kind: Type,
        input: &Value,
        dialect: &Dialect,
        own: Option<u64>,
    ) -> Result<Map<String, Value>, ScimError> {
        let mut input = input.clone();
        dialect::accept(dialect, kind, &mut input);
        let Value::Object(input) = &input else {
            return Err(ScimError::bad("invalidSyntax", "a resource is an object"));
        };
        let mut fields = normalise(kind, input)?;
        dialect::store(dialect, &mut fields);
        let plural = |value: &Value| value.as_array().is_some_and(|items| items.len() > 1);
        if dialect.contains(&Quirk::SingleValued)
            && fields.iter().any(|(name, value)| plural(value) && !matches!(name.as_str(), "schemas" | "members"))
        {
            return Err(ScimError::bad("invalidValue", "only one value is supported"));
        }
        if kind == Type::User
            && let Some(Value::String(name)) = fields.get("userName")
        {
            let holders = self.users.with(Key::UserName, name);
            if holders.iter().any(|serial| Some(*serial) != own) || self.buried.contains(&Key::UserName.fold(name)) {
                let refusal = ScimError::uniqueness("userName");
                let as_400 = dialect.contains(&Quirk::UniquenessAs400);
                return Err(if as_400 { ScimError { status: StatusCode::BAD_REQUEST, ..refusal } } else { refusal });
            }
        }
        for member in fields.get_mut("members").and_then(Value::as_array_mut).into_iter().flatten() {
            self.complete_member(member)?;
        }
        Ok(fields)
    }

    /// Says of a member what it is; it must exist.
    fn complete_member(&self, member: &mut Value) -> Result<(), ScimError> {
        let id = member["value"].as_str().unwrap_or_default().to_owned();
        let found = [Type::User, Type::Group].into_iter().find_map(|kind| self.get(kind, &id).ok());
        let Some(found) = found else {
            return Err(ScimError::bad("invalidValue", "a member does not exist"));
        };
        member["type"] = json!(found.kind.name());
        if member["$ref"].is_null() {
            member["$ref"] = json!(format!("..{}/{id}", found.kind.endpoint()));
        }
        Ok(())
    }

    fn update(&mut self, before: Arc<Resource>, fields: Map<String, Value>, now_ms: i64) -> Done {
        let own = |name: &str| matches!(name, "id" | "meta");
        let same = fields.iter().all(|(name, value)| before.fields.get(name) == Some(value))
            && before.fields.keys().all(|name| own(name) || fields.contains_key(name));
        if same {
            // Nothing changed, so neither the version nor the stamp does.
            return Done { after: Some(Arc::clone(&before)), before: Some(before), changed: false };
        }
        let resource = Resource {
            // Stamps of one resource never go back, even if the clock does.
            modified_ms: now_ms.max(before.modified_ms),
            fields,
            ..Resource::clone(&before)
        };
        Done { after: Some(self.commit(resource)), before: Some(before), changed: true }
    }

    fn commit(&mut self, mut resource: Resource) -> Arc<Resource> {
        self.last_version += 1;
        resource.fields.insert("id".into(), json!(resource.id));
        let meta = json!({
            "resourceType": resource.kind.name(),
            "created": iso_ms(resource.created_ms),
            "lastModified": iso_ms(resource.modified_ms),
            "version": format!("W/\"{}\"", self.last_version),
        });
        resource.fields.insert("meta".into(), meta);
        let resource = Arc::new(resource);
        if let Some(before) = self.table(resource.kind).resources.get(&resource.serial).cloned() {
            self.enrol(&before, false);
        }
        self.enrol(&resource, true);
        self.table_mut(resource.kind).put(Arc::clone(&resource));
        resource
    }

    /// Notes, or forgets, which users a group has.
    fn enrol(&mut self, group: &Resource, is_member: bool) {
        let members = group.fields.get("members").and_then(Value::as_array).into_iter().flatten();
        for id in members.filter_map(|member| member["value"].as_str()) {
            let groups = self.memberships.entry(id.to_owned()).or_default();
            if is_member {
                groups.insert(group.serial);
            } else {
                groups.remove(&group.serial);
            }
        }
    }
}

fn check_version(resource: &Resource, precondition: &Precondition, dialect: &Dialect) -> Result<(), ScimError> {
    let ignored = !dialect::has_versions(dialect) || dialect.contains(&Quirk::EtagIgnored);
    match precondition {
        Precondition::OneOf(tags) if !ignored && !tag_matches(tags, resource.version()) => {
            Err(ScimError::precondition())
        }
        _ => Ok(()),
    }
}

/// Whether an `If-Match` or `If-None-Match` names a version; weak and strong tags are compared alike.
pub(super) fn tag_matches(tags: &str, version: &str) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.split(',').any(|tag| tag.trim() == "*" || plain(tag) == plain(version))
}

/// An id that says nothing, but sorts as resources were created.
fn opaque_id(serial: u64) -> String {
    let mixed = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        serial,
        mixed & 0xffff,
        (mixed >> 16) & 0xfff,
        (mixed >> 28) & 0xfff,
        mixed >> 16
    )
}

/// The value that resources are sorted by: the primary one of several, else the first. Absent ones come last.
pub(super) fn sort_key(resource: &Map<String, Value>, path: &super::path::Path) -> (bool, String) {
    let multi_valued = path.attribute.is_some_and(|attribute| attribute.multi_valued);
    let primary = path.attribute.filter(|_| multi_valued).and_then(|attribute| {
        let items = resource.get(attribute.name)?.as_array()?;
        items.iter().find(|item| item["primary"] == json!(true))?.get(path.compared()?.name)
    });
    let value = primary.or_else(|| path.values(resource).into_iter().next());
    let text = match value {
        None => return (true, String::new()),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let exact = path.compared().is_some_and(|attribute| attribute.case_exact || attribute.kind == Kind::DateTime);
    (false, if exact { text } else { text.to_lowercase() })
}

/// A person as a user of the directory, with the given external id.
pub(super) fn user_of(person: &crate::sandbox::people::Person, external_id: Option<&str>) -> Value {
    let mut phones = vec![json!({"value": person.phone, "type": "work"})];
    phones.extend(person.mobile.as_ref().map(|mobile| json!({"value": mobile, "type": "mobile"})));
    json!({
        "schemas": [schema::USER, schema::ENTERPRISE],
        "externalId": external_id,
        "userName": person.user_name,
        "name": {"givenName": person.given_name, "familyName": person.family_name,
            "formatted": format!("{} {}", person.given_name, person.family_name)},
        "displayName": format!("{} {}", person.given_name, person.family_name),
        "title": person.title,
        "locale": person.locale.replace('_', "-"),
        "preferredLanguage": person.language.replace('_', "-"),
        "timezone": person.time_zone,
        "active": person.active,
        "emails": person.email.as_ref().map(|email| json!([{"value": email, "type": "work", "primary": true}])),
        "phoneNumbers": phones,
        schema::ENTERPRISE: {"employeeNumber": person.employee_number, "department": person.department},
    })
}

//! All operators, and what surrounds them: projects, groups, skills and roles to name, mails that were sent, people who
//! were thrown out of the conversation panel.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::DEFAULT_USERNAME;
use super::operator::{Operator, Presence, defaults};
use crate::sandbox::clock::iso_ms;

/// Why a write is refused; each API has its own words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// GraphQL's `__typename`.
    pub kind: &'static str,
    /// REST's name of the field.
    pub field: &'static str,
    /// The field is not there, rather than wrong.
    pub missing: bool,
}

const fn invalid(kind: &'static str, field: &'static str) -> Refusal {
    Refusal { kind, field, missing: false }
}

/// There is no such operator.
pub(super) const UNKNOWN: Refusal = invalid("UserNotFoundError", "id");

/// An operator before and after a write.
pub(super) struct Change {
    pub before: Option<Arc<Operator>>,
    pub after: Arc<Operator>,
}

/// See the module.
pub(super) struct Directory {
    operators: BTreeMap<u64, Arc<Operator>>,
    /// What operators refer to by id: `websites`, `groups`, `skills`.
    tables: BTreeMap<&'static str, BTreeMap<u64, String>>,
    /// Name and id of each role.
    roles: Vec<(String, String)>,
    mails: Vec<Value>,
    disconnections: Vec<Value>,
    last_id: u64,
}

/// Roles that everybody has. Their ids are UUIDs by our own contract.
const ROLES: [(&str, &str); 3] = [
    ("operator", "5f0c3a9e-0000-4000-8000-000000000001"),
    ("manager", "5f0c3a9e-0000-4000-8000-000000000002"),
    ("admin", "5f0c3a9e-0000-4000-8000-000000000003"),
];

impl Directory {
    pub fn new(now_ms: i64) -> Self {
        let table = |names: &[&str]| (1..).zip(names.iter().map(|name| (*name).to_owned())).collect();
        let tables = BTreeMap::from([
            ("websites", table(&["Shop", "Outlet"])),
            ("groups", table(&["Paris", "Lille"])),
            ("skills", table(&["After-sales", "Sales", "Technical"])),
        ]);
        let roles = ROLES.map(|(name, id)| (name.to_owned(), id.to_owned())).to_vec();
        let mut directory = Self {
            operators: BTreeMap::new(),
            tables,
            roles,
            mails: Vec::new(),
            disconnections: Vec::new(),
            last_id: 1000,
        };
        let mut fields = defaults();
        fields.extend([
            ("name".to_owned(), json!("Synchronisation")),
            ("pseudo".to_owned(), json!("sync")),
            ("email".to_owned(), json!(DEFAULT_USERNAME)),
            ("role".to_owned(), json!("admin")),
            ("website_list".to_owned(), json!([1])),
        ]);
        directory.insert(fields, now_ms);
        directory
    }

    /// Adds an operator without a mail and without a question.
    pub fn insert(&mut self, mut fields: Map<String, Value>, now_ms: i64) -> Arc<Operator> {
        self.last_id += 1;
        fields.insert("sso_key".into(), json!(Uuid::new_v4().simple().to_string()));
        let operator = Arc::new(Operator {
            id: self.last_id,
            fields,
            presence: Presence::Offline,
            logged_in_once: false,
            created_ms: now_ms,
            deleted_at: None,
        });
        self.operators.insert(operator.id, Arc::clone(&operator));
        operator
    }

    pub fn create(&mut self, fields: Map<String, Value>, channels: &[String], now_ms: i64) -> Result<Change, Refusal> {
        for field in ["name", "email", "pseudo"] {
            if fields.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(Refusal { missing: true, ..invalid("MissingFieldError", field) });
            }
        }
        let mut whole = defaults();
        whole.extend(fields);
        self.check(None, &whole, &whole, channels)?;
        let operator = self.insert(whole, now_ms);
        self.mails.push(json!({
            "to": operator.text("email"), "operator": operator.id, "subject": "Choose your password",
            "at": iso_ms(now_ms),
        }));
        Ok(Change { before: None, after: operator })
    }

    pub fn update(
        &mut self,
        id: u64,
        fields: Map<String, Value>,
        channels: &[String],
        by_client: bool,
    ) -> Result<Change, Refusal> {
        let before = Arc::clone(self.live(id).ok_or(UNKNOWN)?);
        let mut after = Operator::clone(&before);
        after.fields.extend(fields.clone());
        self.check(Some(id), &fields, &after.fields, channels)?;
        if by_client {
            match before.presence {
                Presence::Offline => {}
                Presence::Online => {
                    after.presence = Presence::Offline;
                    self.disconnections.push(json!({"operator": id}));
                }
                // Answered like any other, and not taken into account.
                Presence::Conversation => after.fields.clone_from(&before.fields),
            }
        }
        let after = Arc::new(after);
        self.operators.insert(id, Arc::clone(&after));
        Ok(Change { before: Some(before), after })
    }

    pub fn delete(&mut self, id: u64, now_ms: i64) -> Result<Change, Refusal> {
        let before = Arc::clone(self.live(id).ok_or(UNKNOWN)?);
        let after = Arc::new(Operator { deleted_at: Some(iso_ms(now_ms)), ..Operator::clone(&before) });
        self.operators.insert(id, Arc::clone(&after));
        Ok(Change { before: Some(before), after })
    }

    pub fn set_presence(&mut self, id: u64, presence: Presence) -> bool {
        let Some(operator) = self.operators.get_mut(&id) else { return false };
        let operator = Arc::make_mut(operator);
        operator.presence = presence;
        operator.logged_in_once |= presence != Presence::Offline;
        true
    }

    pub fn begin_conversation(&mut self, id: u64) {
        self.set_presence(id, Presence::Conversation);
    }

    /// An operator who is not deleted.
    pub fn live(&self, id: u64) -> Option<&Arc<Operator>> {
        self.any(id).filter(|operator| operator.deleted_at.is_none())
    }

    /// An operator, deleted or not.
    pub fn any(&self, id: u64) -> Option<&Arc<Operator>> {
        self.operators.get(&id)
    }

    /// All of them, deleted ones too, by id.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<Operator>> {
        self.operators.values()
    }

    pub fn table(&self, kind: &str) -> impl Iterator<Item = (u64, &str)> {
        self.tables.get(kind).into_iter().flatten().map(|(id, name)| (*id, name.as_str()))
    }

    /// Adds a website, a group, a skill or a role; its id.
    pub fn add(&mut self, kind: &'static str, name: &str) -> String {
        if kind == "roles" {
            let id = Uuid::new_v4().to_string();
            self.roles.push((name.to_owned(), id.clone()));
            return id;
        }
        let table = self.tables.entry(kind).or_default();
        let id = table.last_key_value().map_or(0, |(id, _)| *id) + 1;
        table.insert(id, name.to_owned());
        id.to_string()
    }

    pub fn name_of(&self, kind: &str, id: u64) -> Option<&str> {
        self.tables.get(kind)?.get(&id).map(String::as_str)
    }

    pub fn roles(&self) -> impl Iterator<Item = Value> {
        self.roles.iter().map(|(name, _)| self.role(name))
    }

    /// A role as GraphQL shows it.
    pub fn role(&self, name: &str) -> Value {
        let id = self.roles.iter().find(|(known, _)| known == name).map(|(_, id)| id);
        json!({"__typename": "ProfessionalRoleWithPermissions", "id": id, "name": name})
    }

    /// The name of the role with this id.
    pub fn role_name(&self, id: &str) -> Option<&str> {
        self.roles.iter().find(|(_, known)| known == id).map(|(name, _)| name.as_str())
    }

    pub fn mails(&self) -> &[Value] {
        &self.mails
    }

    pub fn disconnections(&self) -> &[Value] {
        &self.disconnections
    }

    /// Checks what is written (`sent`), and what would stand after it (`whole`).
    fn check(
        &self,
        own: Option<u64>,
        sent: &Map<String, Value>,
        whole: &Map<String, Value>,
        channels: &[String],
    ) -> Result<(), Refusal> {
        let text = |field: &str| sent.get(field).map(|value| value.as_str().unwrap_or_default());
        for (field, kind) in [("name", "LastNameIsEmptyError"), ("pseudo", "UserNameIsEmptyError")] {
            if text(field).is_some_and(|text| text.trim().is_empty()) {
                return Err(invalid(kind, if field == "name" { "name" } else { "pseudo" }));
            }
        }
        if let Some(email) = text("email") {
            if !is_email(email) {
                return Err(invalid("InvalidEmailError", "email"));
            }
            let taken = |operator: &&Arc<Operator>| {
                Some(operator.id) != own
                    && operator.deleted_at.is_none()
                    && operator.text("email").eq_ignore_ascii_case(email.trim())
            };
            if self.all().any(|operator| taken(&operator)) {
                return Err(invalid("EmailAlreadyUsedError", "email"));
            }
        }
        if let Some(saml) = text("saml_id").filter(|saml| !saml.is_empty())
            && self.all().any(|operator| Some(operator.id) != own && operator.text("saml_id") == saml)
        {
            return Err(invalid("SAMLUserIdAlreadyUsedError", "saml_id"));
        }
        let avatar_ok = |url: &str| {
            url.starts_with("https://") && [".png", ".jpg", ".jpeg", ".gif"].iter().any(|end| url.ends_with(end))
        };
        if text("avatar").is_some_and(|url| !url.is_empty() && !avatar_ok(url)) {
            return Err(invalid("InvalidAvatarUrlError", "avatar"));
        }
        for (field, kind) in
            [("chat_max_number", "InvalidNumberOfSlotsError"), ("third_party_slots", "InvalidNumberOfSlotsError")]
        {
            if sent.get(field).is_some_and(|slots| !slots.as_u64().is_some_and(|slots| (1..=6).contains(&slots))) {
                return Err(invalid(kind, if field == "chat_max_number" { field } else { "third_party" }));
            }
        }
        if text("role").is_some_and(|role| !self.roles.iter().any(|(name, _)| name == role)) {
            return Err(invalid("InvalidRoleIdError", "role"));
        }
        self.check_references(sent)?;
        check_channels(sent, whole, channels)
    }

    fn check_references(&self, sent: &Map<String, Value>) -> Result<(), Refusal> {
        let lists =
            [("website_list", "websites", "InvalidProjectIdsError"), ("skill_list", "skills", "InvalidSkillIdsError")];
        for (field, table, kind) in lists {
            let ids = sent.get(field).and_then(Value::as_array).into_iter().flatten();
            let mut ids = ids.map(|id| id.as_u64().and_then(|id| self.name_of(table, id)));
            if ids.any(|name| name.is_none()) {
                return Err(invalid(kind, field));
            }
        }
        let group = sent.get("group_id").filter(|group| !group.is_null());
        match group.map(|group| group.as_u64().and_then(|id| self.name_of("groups", id))) {
            Some(None) => Err(invalid("InvalidGroupIdError", "group_id")),
            _ => Ok(()),
        }
    }
}

fn check_channels(sent: &Map<String, Value>, whole: &Map<String, Value>, channels: &[String]) -> Result<(), Refusal> {
    let on = |fields: &Map<String, Value>, field: &str| fields.get(field) == Some(&Value::Bool(true));
    for (channel, field) in [
        ("chat", "chat_enabled"),
        ("call", "call_enabled"),
        ("video", "video_enabled"),
        ("third-party", "third_party_enabled"),
    ] {
        // Chat is what everybody has by default, so it only counts where somebody asks for it.
        if on(sent, field) && !channels.iter().any(|known| known == channel) {
            return Err(invalid("ChannelNotSubscribedError", field));
        }
    }
    if on(whole, "chat_and_call") && !on(whole, "call_enabled") {
        return Err(invalid("ChatAndCallWithDisabledCallError", "chat_and_call"));
    }
    if on(whole, "chat_to_video") && !on(whole, "video_enabled") {
        return Err(invalid("ChatToVideoWithDisabledVideoError", "chat_to_video"));
    }
    let by_phone = whole.get("call_from").is_some_and(|from| from == "PHONE");
    let number = whole.get("call_number").and_then(Value::as_str).unwrap_or_default();
    if by_phone && !on(whole, "call_ask") && number.is_empty() || !number.is_empty() && !number.starts_with('+') {
        return Err(invalid("IncompatibleAskForNumberChoiceError", "call_config"));
    }
    Ok(())
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.trim().split_once('@') else { return false };
    !local.is_empty() && !domain.is_empty() && !domain.contains('@') && !text.trim().contains(char::is_whitespace)
}

//! People, each once with one profile, and the organisations that they are members of.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ORGANIZATION;
use super::administration::{ExternalId, OwnedElsewhere, Switches};
use crate::sandbox::clock::iso_ms;

/// Members of the profile that are texts. The first three cannot be empty.
const TEXTS: [&str; 8] = ["username", "firstName", "lastName", "phone", "gender", "dob", "tshirt", "langPref"];
const REQUIRED: [&str; 3] = ["username", "firstName", "lastName"];
const ADDRESS: [&str; 5] = ["street", "city", "state", "postalCode", "country"];

/// Ids are as large as the product's.
const FIRST_ID: u64 = 2_008_686;

/// What is wrong with a request, by field.
pub type Errors = BTreeMap<String, String>;

/// Why a write is refused.
#[derive(Debug)]
pub enum Refused {
    Fields(Errors),
    /// There is no such member.
    Unknown,
    /// The person keeps their profile elsewhere.
    OwnedElsewhere,
}

/// A user of the organisation before and after a write.
pub struct Change {
    pub id: u64,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Debug, Clone)]
struct Person {
    profile: Map<String, Value>,
    created_ms: i64,
    modified_ms: i64,
    /// By the organisation's id.
    memberships: BTreeMap<u64, Membership>,
    /// Nobody is sent a password: an account is of use only after "Forgot Password".
    can_log_in: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Membership {
    external_id: Option<String>,
    tags: Vec<String>,
    status: String,
}

impl Default for Membership {
    fn default() -> Self {
        Self { external_id: None, tags: Vec::new(), status: "approved".to_owned() }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Directory {
    people: BTreeMap<u64, Person>,
}

impl Directory {
    /// `POST users`: a new person, or one who has an account already and becomes a member as they are.
    pub fn create(&mut self, body: &Value, switches: &Switches, now_ms: i64) -> Result<Change, Refused> {
        let mut profile = checked(body)?;
        for name in REQUIRED {
            if !profile.contains_key(name) {
                return Err(Refused::Fields([(name.to_owned(), "is required".to_owned())].into()));
            }
        }
        let username = profile["username"].as_str().unwrap_or_default();
        if let Some(id) = self.holder(username, None) {
            let before = self.shown(id);
            let person = self.people.get_mut(&id).ok_or(Refused::Unknown)?;
            person.memberships.entry(ORGANIZATION).or_default();
            return Ok(Change { id, before, after: self.shown(id) });
        }
        let external_id = taken_external_id(&mut profile, switches).flatten();
        let membership = Membership { external_id, ..Membership::default() };
        let id = self.people.last_key_value().map_or(FIRST_ID, |(last, _)| last + 1);
        let memberships = [(ORGANIZATION, membership)].into();
        let person = Person { profile, created_ms: now_ms, modified_ms: now_ms, memberships, can_log_in: false };
        self.people.insert(id, person);
        Ok(Change { id, before: None, after: self.shown(id) })
    }

    /// `PUT users/{id}`: what is sent is changed, the rest stays.
    pub fn update(&mut self, id: u64, body: &Value, switches: &Switches, now_ms: i64) -> Result<Change, Refused> {
        let before = self.shown(id).ok_or(Refused::Unknown)?;
        let elsewhere = self.people[&id].memberships.keys().any(|organization| *organization != ORGANIZATION);
        if elsewhere && switches.owned_elsewhere == OwnedElsewhere::Refused {
            return Err(Refused::OwnedElsewhere);
        }
        let mut profile = checked(body)?;
        if profile.get("username").and_then(Value::as_str).is_some_and(|name| self.holder(name, Some(id)).is_some()) {
            let text = "is already in use".to_owned();
            return Err(Refused::Fields([("username".to_owned(), text)].into()));
        }
        let external_id = taken_external_id(&mut profile, switches);
        self.change(id, now_ms, |person| {
            person.profile.extend(profile);
            if let (Some(external_id), Some(membership)) = (external_id, person.memberships.get_mut(&ORGANIZATION)) {
                membership.external_id = external_id;
            }
        });
        Ok(Change { id, before: Some(before), after: self.shown(id) })
    }

    /// `DELETE users/{id}`: the membership ends, the person stays.
    pub fn remove(&mut self, id: u64) -> Result<Change, Refused> {
        let before = self.shown(id).ok_or(Refused::Unknown)?;
        if let Some(person) = self.people.get_mut(&id) {
            person.memberships.remove(&ORGANIZATION);
        }
        Ok(Change { id, before: Some(before), after: None })
    }

    /// Adds a person as somebody at a screen does, with the words of [`Self::edit`].
    pub fn enter(&mut self, fields: &Map<String, Value>, now_ms: i64) -> Result<Change, String> {
        let id = self.people.last_key_value().map_or(FIRST_ID, |(last, _)| last + 1);
        let memberships = [(ORGANIZATION, Membership::default())].into();
        let profile = Map::new();
        let person = Person { profile, created_ms: now_ms, modified_ms: now_ms, memberships, can_log_in: true };
        self.people.insert(id, person);
        let entered = self.edit(id, fields, now_ms);
        if entered.is_err() {
            self.people.remove(&id);
        }
        entered.map(|change| Change { before: None, ..change })
    }

    /// Changes a person, and with `organizations`, `externalId`, `tags` and `status` their memberships; null clears.
    pub fn edit(&mut self, id: u64, fields: &Map<String, Value>, now_ms: i64) -> Result<Change, String> {
        if !self.people.contains_key(&id) {
            return Err("there is no such person".to_owned());
        }
        let of_membership = ["organizations", "tags", "status", "externalId", "canLogIn"];
        let known = |name: &str| TEXTS.contains(&name) || name == "address" || of_membership.contains(&name);
        if let Some(unknown) = fields.keys().find(|name| !known(name)) {
            return Err(format!("a user has no {unknown}"));
        }
        let told = |refused| match refused {
            Refused::Fields(errors) => errors.into_iter().map(|(field, text)| format!("{field} {text}")).collect(),
            _ => "refused".to_owned(),
        };
        let mut profile = checked(&Value::Object(fields.clone())).map_err(told)?;
        profile.remove("externalId");
        if profile.get("username").and_then(Value::as_str).is_some_and(|name| self.holder(name, Some(id)).is_some()) {
            return Err("somebody else has this username".to_owned());
        }
        let before = self.shown(id);
        self.change(id, now_ms, |person| {
            person.profile.extend(profile);
            if let Some(organizations) = fields.get("organizations").and_then(Value::as_array) {
                let wanted: Vec<u64> = organizations.iter().filter_map(Value::as_u64).collect();
                person.memberships.retain(|organization, _| wanted.contains(organization));
                for organization in wanted {
                    person.memberships.entry(organization).or_default();
                }
            }
            if let Some(can_log_in) = fields.get("canLogIn").and_then(Value::as_bool) {
                person.can_log_in = can_log_in;
            }
            let Some(membership) = person.memberships.get_mut(&ORGANIZATION) else { return };
            if let Some(external_id) = fields.get("externalId") {
                membership.external_id = external_id.as_str().map(str::to_owned);
            }
            if let Some(tags) = fields.get("tags").and_then(Value::as_array) {
                membership.tags = tags.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            }
            if let Some(status) = fields.get("status").and_then(Value::as_str) {
                membership.status = status.to_owned();
            }
        });
        Ok(Change { id, before, after: self.shown(id) })
    }

    /// Members of the organisation, in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = (u64, Value)> + '_ {
        self.people.keys().filter_map(|id| Some((*id, self.shown(*id)?)))
    }

    /// A member of the organisation, as the API shows one.
    pub fn shown(&self, id: u64) -> Option<Value> {
        let person = self.people.get(&id)?;
        let membership = person.memberships.get(&ORGANIZATION)?;
        let mut shown = Map::new();
        shown.insert("id".to_owned(), json!(id));
        for name in TEXTS {
            shown.insert(name.to_owned(), person.profile.get(name).cloned().unwrap_or_default());
        }
        let address = person.profile.get("address").cloned().unwrap_or_default();
        let part = |name: &str| address.get(name).cloned().unwrap_or_else(|| json!(""));
        shown.insert("address".to_owned(), ADDRESS.iter().map(|name| ((*name).to_owned(), part(name))).collect());
        shown.insert("externalId".to_owned(), json!(membership.external_id));
        shown.insert("tags".to_owned(), json!(membership.tags));
        shown.insert("status".to_owned(), json!(membership.status));
        shown.insert("dateCreated".to_owned(), json!(stamp(person.created_ms)));
        shown.insert("dateModified".to_owned(), json!(stamp(person.modified_ms)));
        Some(Value::Object(shown))
    }

    /// Everybody, as the administrator of the sandbox sees them: also those who are no members.
    pub fn people(&self) -> Vec<Value> {
        self.people.keys().filter_map(|id| self.person(*id)).collect()
    }

    /// One person, likewise.
    pub fn person(&self, id: u64) -> Option<Value> {
        let person = self.people.get(&id)?;
        let mut shown = self.shown(id).unwrap_or_else(|| {
            let mut profile = person.profile.clone();
            profile.insert("id".to_owned(), json!(id));
            Value::Object(profile)
        });
        shown["organizations"] = json!(person.memberships.keys().collect::<Vec<_>>());
        shown["canLogIn"] = json!(person.can_log_in);
        Some(shown)
    }

    fn change(&mut self, id: u64, now_ms: i64, work: impl FnOnce(&mut Person)) {
        let Some(person) = self.people.get_mut(&id) else { return };
        let before = person.clone();
        work(person);
        if person.profile != before.profile || person.memberships != before.memberships {
            person.modified_ms = now_ms;
        }
    }

    /// Who has this username, in any organisation. Letter case makes no difference.
    fn holder(&self, username: &str, apart_from: Option<u64>) -> Option<u64> {
        let wanted = username.trim().to_lowercase();
        let has = |person: &Person| {
            person.profile.get("username").and_then(Value::as_str).is_some_and(|name| name.to_lowercase() == wanted)
        };
        self.people.iter().find(|(id, person)| Some(**id) != apart_from && has(person)).map(|(id, _)| *id)
    }
}

/// In whole seconds, `2026-11-21T10:00:00Z`.
fn stamp(ms: i64) -> String {
    format!("{}Z", iso_ms(ms).split_once('.').map_or_else(String::new, |(seconds, _)| seconds.to_owned()))
}

/// Takes the external id out of what is sent, if the organisation keeps one.
fn taken_external_id(profile: &mut Map<String, Value>, switches: &Switches) -> Option<Option<String>> {
    let external_id = profile.remove("externalId")?;
    (switches.external_id == ExternalId::Kept).then(|| external_id.as_str().map(str::to_owned))
}

/// The members of a body that are known, if each is what it should be. Others are passed over.
fn checked(body: &Value) -> Result<Map<String, Value>, Refused> {
    let (mut known, mut errors) = (Map::new(), Errors::new());
    for name in TEXTS.into_iter().chain(["externalId"]) {
        let Some(value) = body.get(name) else { continue };
        let text = value.as_str().map(str::trim);
        let problem = match text {
            None if !value.is_null() => Some("is no text"),
            None | Some("") if REQUIRED.contains(&name) => Some("must not be empty"),
            Some(text) if name == "username" && !is_email(text) => Some("is no e-mail address"),
            Some(text) if name == "dob" && text.parse::<jiff::civil::Date>().is_err() => Some("is no date"),
            _ => None,
        };
        match problem {
            Some(problem) => drop(errors.insert(name.to_owned(), problem.to_owned())),
            None => drop(known.insert(name.to_owned(), text.map_or(Value::Null, |text| json!(text)))),
        }
    }
    match body.get("address") {
        None => {}
        Some(Value::Null) => drop(known.insert("address".to_owned(), json!({}))),
        Some(Value::Object(parts)) if parts.values().all(|part| part.is_string() || part.is_null()) => {
            let text = |name: &str| parts.get(name).and_then(Value::as_str).unwrap_or_default();
            let address: Map<_, _> = ADDRESS.iter().map(|name| ((*name).to_owned(), json!(text(name)))).collect();
            known.insert("address".to_owned(), Value::Object(address));
        }
        Some(_) => drop(errors.insert("address".to_owned(), "has parts that are texts".to_owned())),
    }
    if errors.is_empty() { Ok(known) } else { Err(Refused::Fields(errors)) }
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
}

//! What the product holds: users, teams, which id of the caller's stands for which user, and the records of their work.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Teams that are there from the start, as a person made them: key and name.
const TEAMS: [(&str, &str); 2] = [("north", "North"), ("south", "South")];

/// What `User/Add` does to a name that it leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absent {
    /// It is cleared.
    #[default]
    Clear,
    /// It stays.
    Keep,
}

/// What is wrong with a request, by field.
pub type Errors = BTreeMap<&'static str, String>;

/// A record before and after a write.
pub struct Change {
    pub object: &'static str,
    pub account: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    email: String,
    first_name: String,
    last_name: String,
    team: Option<String>,
    active: bool,
    /// The caller's id for this user; none for one whom a person made.
    external_id: Option<String>,
}

/// A user as the caller describes them.
#[derive(Debug)]
struct Described {
    user_id: String,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    /// Key and name.
    team: Option<(String, String)>,
}

/// See the module.
pub struct Workspace {
    /// By the product's own number.
    users: BTreeMap<u64, User>,
    /// Names by key.
    teams: BTreeMap<String, String>,
    /// Records by the caller's id: the user's number, and what was said of it.
    records: BTreeMap<String, (u64, Value)>,
    last_number: u64,
    absent: Absent,
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            teams: TEAMS.map(|(key, name)| (key.to_owned(), name.to_owned())).into(),
            records: BTreeMap::new(),
            last_number: 0,
            absent: Absent::default(),
        }
    }
}

impl Workspace {
    pub fn set_absent(&mut self, absent: Absent) {
        self.absent = absent;
    }

    /// `POST User/Add`: the user of this id is changed, or created if nobody has it.
    pub fn add_user(&mut self, body: &Value) -> Result<((), Vec<Change>), Errors> {
        let described = described(body)?;
        let number = self.mapped(&described.user_id);
        if self.has_email(&described.email, number) {
            return Err([("email", "The e-mail address is already in use by another user.".to_owned())].into());
        }
        let mut changes = Vec::new();
        if let Some((key, name)) = &described.team {
            changes.extend(self.name_team(key, name));
        }
        let old = number.and_then(|number| self.users.get(&number).cloned());
        let absent = |kept: Option<&String>| match self.absent {
            Absent::Clear => String::new(),
            Absent::Keep => kept.cloned().unwrap_or_default(),
        };
        let user = User {
            email: described.email,
            first_name: described.first_name.unwrap_or_else(|| absent(old.as_ref().map(|user| &user.first_name))),
            last_name: described.last_name.unwrap_or_else(|| absent(old.as_ref().map(|user| &user.last_name))),
            team: described.team.map(|(key, _)| key).or_else(|| old.as_ref()?.team.clone()),
            active: old.as_ref().is_none_or(|user| user.active),
            external_id: Some(described.user_id),
        };
        let number = number.unwrap_or_else(|| self.next_number());
        changes.push(self.put(number, user));
        Ok(((), changes))
    }

    /// `POST Record/Add`: records of work, of which each creates the user that it names if there is none.
    pub fn add_records(&mut self, body: &Value) -> Result<((), Vec<Change>), Errors> {
        let list = body.as_array().ok_or_else(|| Errors::from([("", "A list is expected.".to_owned())]))?;
        let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_whole = |record: &Value| {
            let user = record.get("user").unwrap_or(&Value::Null);
            ![text(record, "id"), text(record, "activityTypeName"), text(user, "id")].iter().any(String::is_empty)
        };
        if !list.iter().all(is_whole) {
            return Err([("", "A record needs id, activityTypeName and user.id.".to_owned())].into());
        }
        let mut changes = Vec::new();
        for record in list {
            let (id, user_id) = (text(record, "id"), text(&record["user"], "id"));
            let number = match self.mapped(&user_id) {
                Some(number) => number,
                None => {
                    let number = self.next_number();
                    let (email, external_id) = (text(&record["user"], "email"), Some(user_id));
                    let (first_name, last_name) = Default::default();
                    let user = User { email, first_name, last_name, team: None, active: true, external_id };
                    changes.push(self.put(number, user));
                    number
                }
            };
            let before = self.record_shown(&id);
            self.records.insert(id.clone(), (number, record.clone()));
            let after = self.record_shown(&id);
            changes.push(Change { object: "Record", account: id, before, after });
        }
        Ok(((), changes))
    }

    /// What a person enters: a user (`email`, `firstname`, `lastname`, `team` by key, `userId` for a mapping) or a team.
    pub fn create(&mut self, object: &str, fields: &Map<String, Value>) -> Result<(String, Vec<Change>), String> {
        if object == "Team" {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
            let key = text("key").ok_or("a team has a key")?;
            let change = self.name_team(&key, &text("name").unwrap_or_else(|| key.clone()));
            return Ok((key, change.into_iter().collect()));
        }
        let number = self.next_number();
        let blank = User {
            email: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            team: None,
            active: true,
            external_id: None,
        };
        let user = self.edited(blank, number, fields)?;
        let change = self.put(number, user);
        Ok((change.account.clone(), vec![change]))
    }

    /// What a person changes of a user; null clears.
    pub fn edit(&mut self, id: &str, fields: &Map<String, Value>) -> Result<((), Vec<Change>), String> {
        let number = self.number(id).ok_or("there is no such user")?;
        let user = self.edited(self.users[&number].clone(), number, fields)?;
        Ok(((), vec![self.put(number, user)]))
    }

    /// Removes a user with what was mapped to them, or a team of which nobody is a member any more.
    pub fn delete(&mut self, object: &str, id: &str) -> Result<((), Vec<Change>), String> {
        let before = self.record(object, id).ok_or("there is no such record")?;
        match object {
            "Team" => {
                self.teams.remove(id);
                self.users
                    .values_mut()
                    .filter(|user| user.team.as_deref() == Some(id))
                    .for_each(|user| user.team = None);
            }
            _ => {
                let number = self.number(id).ok_or("only users and teams can be removed")?;
                self.users.remove(&number);
                self.records.retain(|_, (of, _)| *of != number);
            }
        }
        let object = if object == "Team" { "Team" } else { "User" };
        Ok(((), vec![Change { object, account: id.to_owned(), before: Some(before), after: None }]))
    }

    pub fn records(&self, object: &str) -> Vec<Value> {
        match object {
            "Team" => self.teams.keys().filter_map(|key| self.record("Team", key)).collect(),
            "Record" => self.records.keys().filter_map(|id| self.record_shown(id)).collect(),
            _ => self.users.keys().filter_map(|number| self.shown(*number)).collect(),
        }
    }

    pub fn record(&self, object: &str, id: &str) -> Option<Value> {
        match object {
            "Team" => {
                let members = self.users.values().filter(|user| user.team.as_deref() == Some(id)).count();
                self.teams.get(id).map(|name| json!({"id": id, "key": id, "name": name, "members": members}))
            }
            "Record" => self.record_shown(id),
            _ => self.shown(self.number(id)?),
        }
    }

    fn edited(&self, mut user: User, number: u64, fields: &Map<String, Value>) -> Result<User, String> {
        for (name, value) in fields {
            let text = || value.as_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "email" => user.email = text(),
                "firstname" => user.first_name = text(),
                "lastname" => user.last_name = text(),
                "active" => user.active = value.as_bool().ok_or("active is true or false")?,
                "team" => user.team = value.as_str().map(str::to_owned),
                "userId" => user.external_id = value.as_str().map(str::to_owned),
                other => return Err(format!("a user has no {other}")),
            }
        }
        if !is_email(&user.email) || self.has_email(&user.email, Some(number)) {
            return Err("a user has an e-mail address of their own".to_owned());
        }
        if user.team.as_ref().is_some_and(|key| !self.teams.contains_key(key)) {
            return Err("there is no such team".to_owned());
        }
        let holder = user.external_id.as_deref().and_then(|id| self.mapped(id));
        if holder.is_some_and(|holder| holder != number) {
            return Err("this userId stands for somebody else".to_owned());
        }
        Ok(user)
    }

    /// A team that is named exists from then on. One that does is not renamed.
    fn name_team(&mut self, key: &str, name: &str) -> Option<Change> {
        if self.teams.contains_key(key) {
            return None;
        }
        self.teams.insert(key.to_owned(), name.to_owned());
        let after = self.record("Team", key);
        Some(Change { object: "Team", account: key.to_owned(), before: None, after })
    }

    fn put(&mut self, number: u64, user: User) -> Change {
        let before = self.shown(number);
        let account = user.external_id.clone().unwrap_or_else(|| number.to_string());
        self.users.insert(number, user);
        Change { object: "User", account, before, after: self.shown(number) }
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The user for whom an id of the caller's stands.
    fn mapped(&self, user_id: &str) -> Option<u64> {
        let holder = self.users.iter().find(|(_, user)| user.external_id.as_deref() == Some(user_id));
        holder.map(|(number, _)| *number)
    }

    /// The user of an id, the caller's or the product's.
    fn number(&self, id: &str) -> Option<u64> {
        self.mapped(id).or_else(|| id.parse().ok().filter(|number| self.users.contains_key(number)))
    }

    fn has_email(&self, email: &str, apart_from: Option<u64>) -> bool {
        let email = email.trim().to_lowercase();
        self.users.iter().any(|(number, user)| Some(*number) != apart_from && user.email.trim().to_lowercase() == email)
    }

    fn shown(&self, number: u64) -> Option<Value> {
        let user = self.users.get(&number)?;
        let team = user.team.as_ref().map(|key| json!({"key": key, "name": self.teams.get(key)}));
        Some(json!({
            "id": number.to_string(), "userId": user.external_id, "email": user.email, "firstname": user.first_name,
            "lastname": user.last_name, "team": team, "active": user.active,
        }))
    }

    /// A record counts only while its user has a team.
    fn record_shown(&self, id: &str) -> Option<Value> {
        let (number, record) = self.records.get(id)?;
        let visible = self.users.get(number).is_some_and(|user| user.team.is_some());
        let mut shown = record.clone();
        shown["visible"] = json!(visible);
        Some(shown)
    }
}

/// What the body of `User/Add` says, or what is wrong with it. Members that are not known are passed over.
fn described(body: &Value) -> Result<Described, Errors> {
    let mut errors = Errors::new();
    let mut text = |of: &Value, name: &str, error: &'static str| match of.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            errors.insert(error, "A text is expected.".to_owned());
            None
        }
    };
    let (user_id, email) = (text(body, "userId", "userId"), text(body, "email", "email"));
    let (first_name, last_name) = (text(body, "firstname", "firstname"), text(body, "lastname", "lastname"));
    let team = body.get("team").filter(|team| !team.is_null());
    let (key, name) = match team {
        Some(team) => (text(team, "key", "team"), text(team, "name", "team")),
        None => (None, None),
    };
    if team.is_some() && key.as_ref().is_none_or(String::is_empty) {
        errors.entry("team").or_insert_with(|| "A team has a key.".to_owned());
    }
    if user_id.as_ref().is_none_or(String::is_empty) {
        errors.entry("userId").or_insert_with(|| "The field is required.".to_owned());
    }
    if !email.as_deref().is_some_and(is_email) {
        errors.entry("email").or_insert_with(|| "A valid e-mail address is required.".to_owned());
    }
    match (user_id, email) {
        (Some(user_id), Some(email)) if errors.is_empty() => {
            let team = key.map(|key| (key.clone(), name.unwrap_or(key)));
            Ok(Described { user_id, email, first_name, last_name, team })
        }
        _ => Err(errors),
    }
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
}

//! The org: its tables, and the writes that change them.

mod check;
mod table;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use table::Table;

use super::error::ApiError;
use super::id::{self, id18};
use super::object::{Access, CustomField, Initial, Object, objects};
use super::row::{Cell, Row};

/// How much of a write is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checks {
    /// As for everybody.
    All,
    /// As for everybody, but what looks like a duplicate may be saved where the rule only warns.
    AllowSave,
    /// As for data that was there before the rules: required fields may be missing, read-only ones be set.
    Seed,
}

impl Checks {
    fn are_for_everybody(self) -> bool {
        self != Self::Seed
    }
}

/// What the org does about a contact with the e-mail address of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicateRule {
    /// Nothing.
    #[default]
    Off,
    /// Refuses it, unless the client says `Sforce-Duplicate-Rule-Header: allowSave=true`.
    Alert,
    /// Refuses it.
    Block,
}

/// A write that was carried out.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub before: Option<Arc<Row>>,
    pub after: Option<Arc<Row>>,
}

impl Done {
    /// Whether a field other than the stamps is different now.
    pub fn changed(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.differs(after),
            _ => true,
        }
    }
}

/// See the module.
pub(super) struct Org {
    tables: BTreeMap<&'static str, Table>,
    /// What the integration user may do with a field, where it is less than usual.
    pub access: HashMap<(&'static str, String), Access>,
    /// Usernames taken in other orgs of the world, in lower case.
    pub reserved_usernames: HashSet<String>,
    /// Most active users; `None`: no end.
    pub licences: Option<usize>,
    /// What happens to contacts that look like others.
    pub duplicate_rule: DuplicateRule,
    /// Whether a write always moves the stamp, even within one second.
    pub every_write_moves_stamp: bool,
    active_users: usize,
    /// The user as whom clients act.
    pub integration_user: u64,
}

impl Org {
    pub fn new(custom: &[CustomField], now: i64) -> Self {
        let tables = objects(custom).into_iter().map(|object| (object.name, Table::new(object))).collect();
        let mut org = Self {
            tables,
            access: HashMap::new(),
            reserved_usernames: HashSet::new(),
            licences: None,
            duplicate_rule: DuplicateRule::Off,
            every_write_moves_stamp: false,
            active_users: 0,
            integration_user: 0,
        };
        for (object, names) in [
            ("Profile", ["System Administrator", "Standard User", "Minimum Access - Salesforce"]),
            ("UserRole", ["Support", "Sales", "Operations"]),
        ] {
            for name in names {
                let fields = Map::from_iter([("Name".to_owned(), Value::from(name))]);
                org.create(object, &fields, now, Checks::Seed).expect("a name is all they need");
            }
        }
        let robot = super::seed::integration_user(&org.first_id("Profile"));
        let robot = org.create("User", &robot, now, Checks::Seed).expect("the robot's fields are right");
        org.integration_user = robot.after.map_or(0, |row| row.serial);
        org
    }

    /// The table of an object, in any letter case.
    pub fn table(&self, object: &str) -> Option<&Table> {
        self.tables
            .get(object)
            .or_else(|| self.tables.values().find(|table| table.object.name.eq_ignore_ascii_case(object)))
    }

    fn table_mut(&mut self, object: &str) -> Result<&mut Table, ApiError> {
        self.tables.get_mut(object).ok_or_else(ApiError::not_found)
    }

    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    pub fn access(&self, object: &Object, place: usize) -> Access {
        let field = &object.fields[place];
        self.access.get(&(object.name, field.name.clone())).copied().unwrap_or(field.access)
    }

    /// The id of the first record of an object.
    pub fn first_id(&self, object: &str) -> String {
        let table = self.table(object);
        let row = table.and_then(|table| table.rows.values().next());
        row.map(|row| row.id()).unwrap_or_default()
    }

    /// The record that an id in a path means.
    pub fn find(&self, object: &str, id: &str) -> Result<&Arc<Row>, ApiError> {
        let table = self.table(object).ok_or_else(ApiError::not_found)?;
        let (prefix, serial) = id::parse(id).ok_or_else(ApiError::not_found)?;
        if prefix != table.object.prefix {
            return Err(ApiError::not_found());
        }
        let row = table.rows.get(&serial).ok_or_else(ApiError::not_found)?;
        if row.deleted { Err(ApiError::deleted()) } else { Ok(row) }
    }

    /// The row of an id that a reference field holds.
    pub fn by_id(&self, object: &str, id: &str) -> Option<&Arc<Row>> {
        let (_, serial) = id::parse(id)?;
        self.table(object)?.rows.get(&serial)
    }

    /// Creates a record.
    ///
    /// # Errors
    /// What the org refuses, with the code that it has for it.
    pub fn create(
        &mut self,
        object: &str,
        input: &Map<String, Value>,
        now: i64,
        checks: Checks,
    ) -> Result<Done, ApiError> {
        let table = self.table(object).ok_or_else(ApiError::not_found)?;
        let (object, serial) = (Arc::clone(&table.object), table.next_serial);
        if checks.are_for_everybody() && !object.createable {
            return Err(ApiError::method("POST", "HEAD,GET"));
        }
        let mut cells = vec![Cell::Null; object.fields.len()];
        cells[0] = Cell::text(&id18(object.prefix, serial));
        for (place, field) in object.fields.iter().enumerate() {
            match field.initial {
                Initial::True => cells[place] = Cell::Bool(true),
                Initial::False => cells[place] = Cell::Bool(false),
                Initial::Null | Initial::Derived => {}
            }
        }
        let mut row = Row { object, serial, cells, deleted: false };
        row.cells[row.object.stamps[2]] = Cell::Stamp(now);
        row.set_stamp(now);
        self.apply(&mut row, input, checks)?;
        self.derive(&mut row);
        if checks.are_for_everybody() {
            self.check_required(&row)?;
        }
        self.check_unique(&row)?;
        self.check_licence(None, &row)?;
        self.check_duplicates(&row, checks)?;
        let table = self.table_mut(row.object.name)?;
        table.next_serial += 1;
        Ok(self.commit(row))
    }

    /// Changes a record.
    ///
    /// # Errors
    /// What the org refuses, with the code that it has for it.
    pub fn update(
        &mut self,
        object: &str,
        id: &str,
        input: &Map<String, Value>,
        now: i64,
        checks: Checks,
    ) -> Result<Done, ApiError> {
        let before = Arc::clone(self.find(object, id)?);
        if checks.are_for_everybody() && !before.object.createable {
            return Err(ApiError::method("PATCH", "HEAD,GET"));
        }
        let mut row = Row::clone(&before);
        self.apply(&mut row, input, checks)?;
        self.derive(&mut row);
        let moved = now.max(before.stamp() + i64::from(self.every_write_moves_stamp));
        if row.stamp() == before.stamp() {
            row.set_stamp(moved);
        }
        if checks.are_for_everybody() {
            let named =
                |place: usize| input.keys().any(|name| name.eq_ignore_ascii_case(&row.object.fields[place].name));
            self.check_required_of(&row, named)?;
        }
        self.check_unique(&row)?;
        self.check_licence(Some(&before), &row)?;
        if row.cell("Email") != before.cell("Email") {
            self.check_duplicates(&row, checks)?;
        }
        Ok(self.commit(row))
    }

    /// Deletes a record: it stays, for queryAll.
    ///
    /// # Errors
    /// 405 for users, 404 for what is not there.
    pub fn delete(&mut self, object: &str, id: &str, now: i64) -> Result<Done, ApiError> {
        let before = Arc::clone(self.find(object, id)?);
        if !before.object.deletable {
            return Err(ApiError::method("DELETE", "HEAD,GET,PATCH"));
        }
        let row = moved_to_bin(&before, true, now);
        Ok(Done { after: None, ..self.commit(row) })
    }

    /// Takes a record out of the recycle bin.
    ///
    /// # Errors
    /// 404 for what is not in it.
    pub fn undelete(&mut self, object: &str, id: &str, now: i64) -> Result<Done, ApiError> {
        let row = self.by_id(object, id).filter(|row| row.deleted).ok_or_else(ApiError::not_found)?;
        let mut row = moved_to_bin(&Arc::clone(row), false, now);
        row.put("MasterRecordId", Cell::Null);
        Ok(self.commit(row))
    }

    /// Merges a record into another: it goes to the recycle bin and names the other; of the other, only the stamp tells.
    ///
    /// # Errors
    /// 404 for what is not there, 405 for what cannot be merged.
    pub fn merge(&mut self, object: &str, winner: &str, loser: &str, now: i64) -> Result<[Done; 2], ApiError> {
        let kept = Arc::clone(self.find(object, winner)?);
        let lost = Arc::clone(self.find(object, loser)?);
        if !kept.object.deletable || kept.serial == lost.serial {
            return Err(ApiError::method("POST", "HEAD,GET,PATCH"));
        }
        let mut gone = moved_to_bin(&lost, true, now);
        gone.put("MasterRecordId", Cell::text(&kept.id()));
        let gone = Done { after: None, ..self.commit(gone) };
        let mut row = Row::clone(&kept);
        row.set_stamp(now.max(kept.stamp()));
        Ok([self.commit(row), gone])
    }

    /// Takes a record out of sight altogether, as when the integration user may no longer see it.
    ///
    /// # Errors
    /// 404 for what is not there.
    pub fn vanish(&mut self, object: &str, id: &str) -> Result<Done, ApiError> {
        let row = Arc::clone(self.find(object, id)?);
        self.count_active(&row, -1);
        let before = self.table_mut(row.object.name)?.remove(row.serial);
        Ok(Done { before, after: None })
    }

    /// Takes a write back, as when its transaction is rolled back. Its serial number stays used.
    pub fn undo(&mut self, done: &Done) {
        let Some(row) = done.before.as_ref().or(done.after.as_ref()) else { return };
        let serial = row.serial;
        let Ok(table) = self.table_mut(row.object.name) else { return };
        if let Some(now) = table.remove(serial) {
            self.count_active(&now, -1);
        }
        if let Some(before) = &done.before {
            self.count_active(before, 1);
            if let Ok(table) = self.table_mut(before.object.name) {
                table.put(Arc::clone(before));
            }
        }
    }

    /// The ids of the records that have this text in an indexed field.
    pub fn with_key(&self, object: &str, place: usize, text: &str) -> Vec<String> {
        let Some(table) = self.table(object) else { return Vec::new() };
        let serials = table.lookup(place, text).unwrap_or_default();
        let rows = serials.iter().filter_map(|serial| table.rows.get(serial));
        rows.filter(|row| !row.deleted).map(|row| row.id()).collect()
    }

    fn commit(&mut self, row: Row) -> Done {
        let row = Arc::new(row);
        self.count_active(&row, 1);
        let table = self.table_mut(row.object.name).expect("the row is of a table of the org");
        let before = table.put(Arc::clone(&row));
        if let Some(before) = &before {
            self.count_active(before, -1);
        }
        Done { before, after: Some(row) }
    }

    fn count_active(&mut self, row: &Row, by: isize) {
        if takes_licence(row) {
            self.active_users = self.active_users.saturating_add_signed(by);
        }
    }
}

fn moved_to_bin(before: &Row, deleted: bool, now: i64) -> Row {
    let mut row = before.clone();
    row.deleted = deleted;
    row.put("IsDeleted", Cell::Bool(deleted));
    row.set_stamp(now.max(before.stamp()));
    row
}

/// Answers 412 or 304 where the conditions of a request say so. They compare with LastModifiedDate, which may be earlier
/// than SystemModstamp; that and HTTP dates both have whole seconds.
pub(super) fn check_conditions(
    row: &Row,
    unmodified_since: Option<i64>,
    modified_since: Option<i64>,
) -> Result<(), ApiError> {
    if unmodified_since.is_some_and(|since| row.modified_at() > since) {
        return Err(ApiError::precondition(StatusCode::PRECONDITION_FAILED));
    }
    if modified_since.is_some_and(|since| row.modified_at() <= since) {
        return Err(ApiError::precondition(StatusCode::NOT_MODIFIED));
    }
    Ok(())
}

fn takes_licence(row: &Row) -> bool {
    *row.cell("IsActive") == Cell::Bool(true) && row.cell("UserType").as_text() == Some("Standard")
}

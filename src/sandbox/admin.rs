//! The administrator's view of a sandbox: what a person at the system would do, what a judge wants to know, and faults.
//!
//! [`Admin`] is the same in the process as `/_admin` is over HTTP; [`HELP`] documents the latter.

pub(super) mod http;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::faults::Fault;
use super::log::{Request, System, Write};
use super::people::Person;
use super::salesforce::SalesforceEdit;
use super::scim::Dialect;
use super::{World, people};

/// One effect a line, as a fault has it under `effect`.
pub(super) const FAULT_EXAMPLES: &str = r#"
  {"kind": "too-many-requests", "retry_after": {"seconds": 2}}
  {"kind": "too-many-requests", "retry_after": {"date-in-seconds": 2}}
  {"kind": "too-many-requests", "retry_after": "absent"}
  {"kind": "too-many-requests", "retry_after": {"text": "99999999999999"}}
  {"kind": "status", "status": 503, "body": "html"}
  {"kind": "status", "status": 400, "body": {"json": [{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access to this record"}]}}
  {"kind": "applied-then-status", "status": 500, "body": "native"}
  {"kind": "cut"}
  {"kind": "applied-then-cut"}
  {"kind": "truncated-json"}
  {"kind": "login-page"}
  {"kind": "slow", "ms": 500}
  {"kind": "hang"}
  {"kind": "applied-then-hang"}
  {"kind": "expired-session"}
  {"kind": "empty-list"}
  {"kind": "partial-list", "per_mille": 10, "totals": "kept"}
  {"kind": "partial-list", "per_mille": 10, "totals": "reduced"}
  {"kind": "invalid-utf8"}
  {"kind": "huge-attribute", "bytes": 4194304}
  {"kind": "request-limit-exceeded"}
  {"kind": "refuse-rows", "code": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access to this record", "every": 3}
  {"kind": "refuse-rows", "code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "No.", "fields": ["Title"], "containing": "ada@"}
  {"kind": "rows-then-cut", "rows": 20}
"#;

/// The HTTP API, in words.
pub const HELP: &str = r#"The administrator's API, JSON in and out, without a token, on the same port:

  GET    /_admin                             this text
  GET    /_admin/writes?after=N              writes that the systems carried out, in order, with attributes before and after
  GET    /_admin/requests                    requests counted by system, operation and status, and the latest one by one
  DELETE /_admin/log                         forgets both
  GET    /_admin/accounts?system=salesforce  all accounts of a system (also: scim; &object=Contact, &object=Groups)
  GET    /_admin/accounts/{system}/{id}      one of them

  POST   /_admin/faults                      puts a fault in force: {"on": {...}, "effect": {...}}; answers {"id": 1}
  GET    /_admin/faults                      faults in force, and how often each struck
  DELETE /_admin/faults                      ends all (or one: /_admin/faults/{id})
  POST   /_admin/release                     lets held requests go on

  POST   /_admin/seed                        {"system": "scim", "users": 100, "seed": 7, "missing_emails": true}
                                             {"system": "salesforce", "contacts": 50}
  POST   /_admin/salesforce/users            creates a user from fields (also: contacts, accounts, profiles)
  POST   /_admin/salesforce/users/{id}       edits it, like a person at the screen; null clears, SystemModstamp may be set
  POST   /_admin/salesforce/users/{id}/deactivate
  DELETE /_admin/salesforce/users/{id}       takes it out of sight (contacts: deletes)
  POST   /_admin/salesforce/contacts/{id}/undelete
  POST   /_admin/salesforce/contacts/{id}/merge      {"loser": "003..."}
  POST   /_admin/salesforce/settings         {"daily_requests": 10, "used_requests": 0, "max_page": 3, "token_seconds": 60,
                                              "flow": "disabled", "permitted_users": "self-authorized", "licences": 5, "reserved_usernames": ["a@b.example"],
                                              "access": {"User.Title": "hidden"}, "every_write_moves_stamp": true,
                                              "duplicate_rule": "alert"}
  POST   /_admin/salesforce/expire-sessions  all tokens die
  POST   /_admin/salesforce/drop-cursors     all query locators die
  POST   /_admin/scim/users                  creates a user (also: groups); schemas may be left out
  POST   /_admin/scim/users/{id}             edits it: {"title": "Agent", "name.familyName": "Byron", "nickName": null}
  POST   /_admin/scim/users/{id}/deactivate
  DELETE /_admin/scim/users/{id}
  PUT    /_admin/scim/dialect                ["patch-no-content", {"truncate-at": 40}, ...] or a name of --scim-dialect
  PUT    /_admin/scim/max-page               200
  POST   /_admin/clock                       {"system": "salesforce", "offset_ms": -600000}

A fault strikes requests that fit all of what stands under "on" (nothing: every request): "system", "method", "path" and
"body" (parts of them), then of those "every" n-th, with "probability" (drawn from "seed"), at most "times". Effects:
"#;

/// [`HELP`] with the effects.
pub fn help() -> String {
    format!("{HELP}{FAULT_EXAMPLES}")
}

/// The administrator's view, in the process. Refusals of the systems come back as text.
#[derive(Clone)]
pub struct Admin {
    world: Arc<World>,
}

impl Admin {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    /// Writes after this number, oldest first; 0 for all.
    pub fn writes(&self, after: u64) -> Vec<Write> {
        self.world.log.writes(after)
    }

    /// Writes so far.
    pub fn write_count(&self) -> u64 {
        self.world.log.write_count()
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.world.log.requests()
    }

    /// Requests by system, operation (`query`, `create`, ...) and HTTP status (0: cut).
    pub fn request_counts(&self) -> BTreeMap<(System, &'static str, u16), u64> {
        self.world.log.request_counts()
    }

    /// Forgets writes and requests.
    pub fn clear_log(&self) {
        self.world.log.clear();
    }

    /// Waits until something is true of the sandbox: looks again after every write, every answer and every held request.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut ticks = self.world.log.watch();
        loop {
            ticks.borrow_and_update();
            if condition(self) || ticks.changed().await.is_err() {
                return;
            }
        }
    }

    /// Puts a fault in force; its id.
    pub fn inject(&self, fault: Fault) -> u64 {
        self.world.faults.arm(fault)
    }

    /// Faults in force: id, fault, times that it struck.
    pub fn faults(&self) -> Vec<(u64, Fault, u64)> {
        self.world.faults.in_force()
    }

    /// Ends a fault; whether it was in force.
    pub fn end_fault(&self, id: u64) -> bool {
        self.world.faults.disarm(id)
    }

    /// Ends all faults. Held requests stay held.
    pub fn end_faults(&self) {
        self.world.faults.disarm_all();
    }

    /// Lets held requests go on.
    pub fn release(&self) {
        self.world.faults.release();
    }

    /// Requests held now.
    pub fn held(&self) -> usize {
        self.world.faults.held()
    }

    /// How far a system's clock is ahead of the machine's, in milliseconds.
    pub fn set_clock(&self, system: System, offset_ms: i64) {
        self.world.clock(system).set_offset_ms(offset_ms);
    }

    /// Adds generated people, unlogged, as data that was there before. Returns their ids.
    ///
    /// # Errors
    /// If they are there already.
    pub fn seed(&self, system: System, users: usize, seed: u64) -> Result<Vec<String>, String> {
        self.seed_people(system, &people::generate(users, seed))
    }

    /// Adds these people, unlogged.
    ///
    /// # Errors
    /// If they are there already.
    pub fn seed_people(&self, system: System, people: &[Person]) -> Result<Vec<String>, String> {
        match system {
            System::Salesforce => self.seed_salesforce_with(people),
            System::Scim => self.world.scim.seed(people),
        }
    }

    pub(super) fn seed_salesforce_with(&self, people: &[Person]) -> Result<Vec<String>, String> {
        self.world.salesforce.seed(people, 0)
    }

    /// Adds these people as contacts of the org, unlogged. Returns their ids.
    ///
    /// # Errors
    /// What the org refuses.
    pub fn seed_contacts(&self, people: &[Person]) -> Result<Vec<String>, String> {
        self.world.salesforce.seed_contacts(people)
    }

    /// Takes a contact or an account of the org out of the recycle bin.
    ///
    /// # Errors
    /// If it is not in there.
    pub fn undelete(&self, object: &str, id: &str) -> Result<(), String> {
        self.world.salesforce.undelete(object, id)
    }

    /// Merges one contact or account of the org into another: the loser goes to the recycle bin and names the winner.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn merge(&self, object: &str, winner: &str, loser: &str) -> Result<(), String> {
        self.world.salesforce.merge(object, winner, loser)
    }

    /// All accounts of a system: Salesforce users, the robot included, or SCIM users.
    pub fn accounts(&self, system: System) -> Vec<Value> {
        self.records(system, default_object(system))
    }

    /// All records of one kind: `User`, `Contact`, `Profile`; `Users`, `Groups`.
    pub fn records(&self, system: System, object: &str) -> Vec<Value> {
        match system {
            System::Salesforce => self.world.salesforce.records(object),
            System::Scim => self.world.scim.records(object),
        }
    }

    /// One account.
    pub fn account(&self, system: System, id: &str) -> Option<Value> {
        match system {
            System::Salesforce => self.world.salesforce.record(default_object(system), id),
            System::Scim => self.world.scim.record(default_object(system), id),
        }
    }

    /// Creates an account as a person would; its id.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn create(&self, system: System, fields: &Value) -> Result<String, String> {
        self.create_record(system, default_object(system), fields)
    }

    /// Creates a record of any kind; its id.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn create_record(&self, system: System, object: &str, fields: &Value) -> Result<String, String> {
        let fields = object_of(fields)?;
        match system {
            System::Salesforce => self.world.salesforce.create(object, fields),
            System::Scim => self.world.scim.administrator_creates(object, fields),
        }
    }

    /// Edits an account as a person would: `{"Title": "Agent"}`, `{"name.familyName": "Byron"}`; null clears.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn edit(&self, system: System, id: &str, fields: &Value) -> Result<(), String> {
        self.edit_record(system, default_object(system), id, fields)
    }

    /// Edits a record of any kind.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn edit_record(&self, system: System, object: &str, id: &str, fields: &Value) -> Result<(), String> {
        let fields = object_of(fields)?;
        match system {
            System::Salesforce => self.world.salesforce.edit(object, id, fields),
            System::Scim => self.world.scim.administrator_edits(object, id, fields),
        }
    }

    /// Deactivates an account as a person would.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn deactivate(&self, system: System, id: &str) -> Result<(), String> {
        let field = match system {
            System::Salesforce => "IsActive",
            System::Scim => "active",
        };
        self.edit(system, id, &Value::Object(Map::from_iter([(field.to_owned(), Value::Bool(false))])))
    }

    /// Deletes an account. A Salesforce user, which cannot be deleted, goes out of the integration user's sight.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete(&self, system: System, id: &str) -> Result<(), String> {
        self.delete_record(system, default_object(system), id)
    }

    /// Deletes a record of any kind.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete_record(&self, system: System, object: &str, id: &str) -> Result<(), String> {
        match system {
            System::Salesforce => self.world.salesforce.delete(object, id),
            System::Scim => self.world.scim.administrator_deletes(object, id),
        }
    }

    /// Changes limits, rights and switches of the org.
    ///
    /// # Errors
    /// If a field does not exist.
    pub fn configure_salesforce(&self, edit: SalesforceEdit) -> Result<(), String> {
        self.world.salesforce.configure(edit)
    }

    /// All tokens of the org die; their number.
    pub fn expire_sessions(&self) -> usize {
        self.world.salesforce.expire_sessions()
    }

    /// All query locators of the org die; their number.
    pub fn drop_cursors(&self) -> usize {
        self.world.salesforce.drop_cursors()
    }

    /// Gives the SCIM service other habits.
    pub fn set_dialect(&self, dialect: Dialect) {
        self.world.scim.set_dialect(dialect);
    }

    /// Most resources of a page of the SCIM service.
    pub fn set_scim_max_page(&self, max_page: usize) {
        self.world.scim.set_max_page(max_page);
    }
}

fn default_object(system: System) -> &'static str {
    match system {
        System::Salesforce => "User",
        System::Scim => "Users",
    }
}

fn object_of(fields: &Value) -> Result<&Map<String, Value>, String> {
    fields.as_object().ok_or_else(|| "attributes are a JSON object".to_owned())
}

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
use super::{World, iadvize, people, salesforce, salesscreen, scim};

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
  POST   /_admin/{system}/{records}          creates a record from fields: salesforce/users, scim/users, ...
  POST   /_admin/{system}/{records}/{id}     edits it, like a person at the screen; null clears
  POST   /_admin/{system}/users/{id}/deactivate
  DELETE /_admin/{system}/{records}/{id}     deletes it
  POST   /_admin/{system}/settings           changes limits and switches, see below
  POST   /_admin/clock                       {"system": "salesforce", "offset_ms": -600000}
"#;

const FAULTS_HELP: &str = r#"
A fault strikes requests that fit all of what stands under "on" (nothing: every request): "system", "method", "path" and
"body" (parts of them), then of those "every" n-th, with "probability" (drawn from "seed"), at most "times". Effects:
"#;

/// The HTTP API, in words: [`HELP`], what single systems have, and the effects of faults.
pub fn help() -> String {
    let systems: String = [salesforce::HELP, scim::HELP, iadvize::HELP, salesscreen::HELP]
        .map(|help| help.trim_start_matches('\n'))
        .concat();
    format!("{HELP}\n{systems}{FAULTS_HELP}{FAULT_EXAMPLES}")
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
        self.world.imitation(system).clock().set_offset_ms(offset_ms);
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
        self.world.imitation(system).seed(people)
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
        self.records(system, self.account_object(system))
    }

    /// All records of one kind: `User`, `Contact`, `Profile`; `Users`, `Groups`.
    pub fn records(&self, system: System, object: &str) -> Vec<Value> {
        self.world.imitation(system).records(object)
    }

    /// One account.
    pub fn account(&self, system: System, id: &str) -> Option<Value> {
        self.world.imitation(system).record(self.account_object(system), id)
    }

    /// Creates an account as a person would; its id.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn create(&self, system: System, fields: &Value) -> Result<String, String> {
        self.create_record(system, self.account_object(system), fields)
    }

    /// Creates a record of any kind; its id.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn create_record(&self, system: System, object: &str, fields: &Value) -> Result<String, String> {
        self.world.imitation(system).create(object, object_of(fields)?)
    }

    /// Edits an account as a person would: `{"Title": "Agent"}`, `{"name.familyName": "Byron"}`; null clears.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn edit(&self, system: System, id: &str, fields: &Value) -> Result<(), String> {
        self.edit_record(system, self.account_object(system), id, fields)
    }

    /// Edits a record of any kind.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn edit_record(&self, system: System, object: &str, id: &str, fields: &Value) -> Result<(), String> {
        self.world.imitation(system).edit(object, id, object_of(fields)?)
    }

    /// Deactivates an account as a person would.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn deactivate(&self, system: System, id: &str) -> Result<(), String> {
        let (field, value) = self.world.imitation(system).deactivation();
        self.edit(system, id, &Value::Object(Map::from_iter([(field.to_owned(), value)])))
    }

    /// Deletes an account. A Salesforce user, which cannot be deleted, goes out of the integration user's sight.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete(&self, system: System, id: &str) -> Result<(), String> {
        self.delete_record(system, self.account_object(system), id)
    }

    /// Deletes a record of any kind.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete_record(&self, system: System, object: &str, id: &str) -> Result<(), String> {
        self.world.imitation(system).delete(object, id)
    }

    /// Changes limits and switches of a system, as [`help`] names them.
    ///
    /// # Errors
    /// If there is no such switch.
    pub fn configure(&self, system: System, settings: Value) -> Result<(), String> {
        self.world.imitation(system).configure(settings)
    }

    /// What a system calls the records of a path: `users`, `contacts`.
    pub(super) fn object(&self, system: System, word: &str) -> Result<&'static str, String> {
        let objects = self.world.imitation(system).objects();
        let known = objects.iter().find(|(known, _)| *known == word);
        known.map(|(_, name)| *name).ok_or_else(|| format!("{word} is nothing that this system has"))
    }

    /// What a system calls its accounts.
    pub(super) fn account_object(&self, system: System) -> &'static str {
        self.world.imitation(system).objects()[0].1
    }

    /// Changes limits, rights and switches of the org.
    ///
    /// # Errors
    /// If a field does not exist.
    pub fn configure_salesforce(&self, edit: SalesforceEdit) -> Result<(), String> {
        self.world.salesforce.change(edit)
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

fn object_of(fields: &Value) -> Result<&Map<String, Value>, String> {
    fields.as_object().ok_or_else(|| "attributes are a JSON object".to_owned())
}

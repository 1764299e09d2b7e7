//! What the demo claims, and whether it is so. The claims are judged by what the imitated systems hold and what they
//! logged, not by what the pipeline says of itself; where the two are compared, both must say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::domain::CommandOutcome;
use crate::sandbox::Write;
use crate::store::Run;

mod fields;

use fields::{FIELDS, same};

/// The outage of the story, as the directory counted it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outage {
    /// People who were edited while it lasted, by their ids in the CRM.
    #[serde(skip)]
    pub edited: Vec<String>,
    /// How many they are.
    pub edits: usize,
    /// Requests that the directory answered with 503.
    pub unavailable: u64,
    /// Requests that it answered with 429 and a Retry-After.
    pub throttled: u64,
    /// The write of the directory's log after which it began, and the one with which the last edit was there.
    #[serde(skip)]
    pub between: (u64, u64),
}

/// The letter of the story.
#[derive(Debug, Clone, Serialize)]
pub struct Letter {
    /// Its id.
    pub id: String,
    /// What was wrong.
    pub code: String,
    /// What the person was told to do.
    pub remedy: Option<&'static str>,
}

/// All that the checks look at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The accounts of the CRM.
    pub people: Vec<Value>,
    /// The accounts of the directory.
    pub accounts: Vec<Value>,
    /// Who left during the story, by their ids in the CRM.
    pub leavers: BTreeSet<String>,
    /// What the pipeline wrote to the directory, by the directory's log.
    pub writes: Vec<Write>,
    /// Every run of the store.
    pub runs: Vec<Run>,
    /// The outage.
    pub outage: Outage,
    /// The letter that was opened.
    pub letter: Option<Letter>,
    /// Letters that are open at the end.
    pub open_letters: usize,
    /// Writes that the directory logged during the full sync at the end.
    pub idle_writes: usize,
}

/// A claim and whether it is so.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The claim.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// Whether it is so.
    pub passed: bool,
}

fn id_of<'v>(record: &'v Value, member: &str) -> &'v str {
    record[member].as_str().unwrap_or_default()
}

impl Evidence {
    /// Who has to have an account in the directory: everybody active in the CRM, and who left during the story.
    pub fn in_scope(&self) -> Vec<&Value> {
        let is_in = |person: &&Value| person["IsActive"] == true || self.leavers.contains(id_of(person, "Id"));
        self.people.iter().filter(is_in).collect()
    }

    /// Commands that the runs say were applied.
    pub fn applied(&self) -> usize {
        self.runs.iter().map(|run| run.commands(CommandOutcome::Applied) as usize).sum()
    }

    /// Judges every claim.
    pub fn check(&self) -> Vec<Check> {
        vec![
            self.everybody_once(),
            self.equal(),
            self.leavers_are_out(),
            self.outage_lost_nothing(),
            self.letter_was_closed(),
            self.writes_are_applied(),
            self.no_write_in_vain(),
            self.runs_add_up(),
            self.idle(),
        ]
    }

    /// The accounts of each person.
    fn by_partner(&self) -> BTreeMap<&str, Vec<&Value>> {
        let mut by_partner: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for account in &self.accounts {
            by_partner.entry(id_of(account, "externalId")).or_default().push(account);
        }
        by_partner
    }

    fn everybody_once(&self) -> Check {
        let by_partner = self.by_partner();
        let scope: BTreeSet<_> = self.in_scope().into_iter().map(|person| id_of(person, "Id")).collect();
        let missing = scope.iter().filter(|id| !by_partner.contains_key(**id)).count();
        let twice = by_partner.values().filter(|accounts| accounts.len() > 1).count();
        let strangers = by_partner.keys().filter(|id| !scope.contains(**id)).count();
        Check {
            what: "everybody in scope has one account",
            found: format!("{} in the CRM, {missing} missing, {twice} twice, {strangers} unknown", scope.len()),
            passed: !scope.is_empty() && (missing, twice, strangers) == (0, 0, 0),
        }
    }

    fn equal(&self) -> Check {
        let by_partner = self.by_partner();
        let (mut compared, mut different) = (0, BTreeMap::new());
        for person in self.in_scope() {
            for account in by_partner.get(id_of(person, "Id")).into_iter().flatten() {
                for (field, place, form) in FIELDS {
                    compared += 1;
                    if !same(&person[field], place.of(account), form) {
                        *different.entry(field).or_insert(0) += 1;
                    }
                }
            }
        }
        let count: i32 = different.values().sum();
        let fields: Vec<_> = different.keys().copied().collect();
        let named = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        Check {
            what: "both sides are equal, attribute by attribute",
            found: format!("{compared} values compared, {count} different{named}"),
            passed: compared > 0 && count == 0,
        }
    }

    fn leavers_are_out(&self) -> Check {
        let by_partner = self.by_partner();
        let is_out = |id: &&String| {
            by_partner
                .get(id.as_str())
                .is_some_and(|accounts| accounts.iter().all(|account| account["active"] == false))
        };
        let out = self.leavers.iter().filter(is_out).count();
        let inactive = self.accounts.iter().filter(|account| account["active"] != true).count();
        Check {
            what: "who left is deactivated, and nobody else",
            found: format!("{} left, {out} deactivated, {inactive} inactive in all", self.leavers.len()),
            passed: !self.leavers.is_empty() && out == self.leavers.len() && inactive == out,
        }
    }

    fn outage_lost_nothing(&self) -> Check {
        let (after, until) = self.outage.between;
        let by_id: BTreeMap<_, _> =
            self.accounts.iter().map(|account| (id_of(account, "id"), id_of(account, "externalId"))).collect();
        let mut written: BTreeMap<&str, usize> = BTreeMap::new();
        for write in self.writes.iter().filter(|write| write.sequence > after && write.sequence <= until) {
            *written.entry(by_id.get(write.account.as_str()).copied().unwrap_or_default()).or_default() += 1;
        }
        let edited: BTreeSet<_> = self.outage.edited.iter().map(String::as_str).collect();
        let once = edited.iter().filter(|id| written.get(**id) == Some(&1)).count();
        let total: usize = written.values().sum();
        let refused = self.outage.unavailable + self.outage.throttled;
        Check {
            what: "the outage lost nothing and doubled nothing",
            found: format!("{} edits, {refused} refusals, {once} written once, {total} writes", edited.len()),
            passed: !edited.is_empty()
                && once == edited.len()
                && total == once
                && self.outage.unavailable > 0
                && self.outage.throttled > 0,
        }
    }

    fn letter_was_closed(&self) -> Check {
        let opened = usize::from(self.letter.is_some());
        Check {
            what: "the dead letter is closed",
            found: format!("{opened} opened, {} open", self.open_letters),
            passed: opened == 1 && self.open_letters == 0,
        }
    }

    fn writes_are_applied(&self) -> Check {
        let (written, applied) = (self.writes.len(), self.applied());
        Check {
            what: "the directory's log and the runs count the same writes",
            found: format!("{written} logged, {applied} applied"),
            passed: written > 0 && written == applied,
        }
    }

    fn no_write_in_vain(&self) -> Check {
        let vain = self.writes.iter().filter(|write| !write.changed).count();
        Check {
            what: "every write changed something",
            found: format!("{} writes, {vain} without effect", self.writes.len()),
            passed: vain == 0,
        }
    }

    fn runs_add_up(&self) -> Check {
        let adds_up = |run: &&Run| run.failed.is_none() && run.is_over();
        let good = self.runs.iter().filter(adds_up).count();
        let read: u64 = self.runs.iter().map(|run| u64::from(run.read)).sum();
        let emitted: u64 = self.runs.iter().map(|run| u64::from(run.emitted)).sum();
        Check {
            what: "every change and every command has one outcome",
            found: format!("{good} of {} runs add up, {read} changes, {emitted} commands", self.runs.len()),
            passed: good > 0 && good == self.runs.len(),
        }
    }

    fn idle(&self) -> Check {
        Check {
            what: "a full sync of equal systems writes nothing",
            found: format!("{} writes", self.idle_writes),
            passed: self.idle_writes == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{ChangeOutcome, Timestamp};
    use crate::sandbox::{Actor, System};
    use crate::store::RunKind;

    fn person(number: usize, active: bool) -> Value {
        json!({
            "Id": format!("005{number}"), "Username": format!("Ada{number}@demo.example"), "LastName": "Lovelace",
            "LocaleSidKey": "fr_FR", "Phone": "+33 1", "IsActive": active,
        })
    }

    fn account(number: usize, active: bool) -> Value {
        json!({
            "id": number.to_string(), "externalId": format!("005{number}"), "userName": format!("ada{number}@demo.example"),
            "name": {"familyName": "Lovelace"}, "locale": "fr-FR", "active": active,
            "phoneNumbers": [{"type": "mobile"}, {"type": "work", "value": "+33 1"}],
        })
    }

    fn write(sequence: u64, account: usize) -> Write {
        Write {
            sequence,
            at: String::new(),
            system: System::Scim,
            actor: Actor::Client,
            method: "PATCH",
            object: "User".to_owned(),
            account: account.to_string(),
            before: None,
            after: None,
            changed: true,
            created: false,
            request: String::new(),
        }
    }

    fn run(applied: u32) -> Run {
        Run {
            read: 4,
            changes: vec![(ChangeOutcome::Accepted, 4)],
            emitted: applied,
            commands: vec![(CommandOutcome::Applied, applied)],
            ..Run::new("r1".parse().unwrap(), RunKind::Sync, "ada@example".to_owned(), Timestamp(0))
        }
    }

    /// Three people, one of whom left; one was edited during the outage. Somebody was inactive from the beginning.
    fn good() -> Evidence {
        Evidence {
            people: vec![person(1, true), person(2, true), person(3, false), person(4, false)],
            accounts: vec![account(1, true), account(2, true), account(3, false)],
            leavers: BTreeSet::from(["0053".to_owned()]),
            writes: vec![write(10, 1), write(11, 2), write(12, 3), write(13, 3), write(15, 1)],
            runs: vec![run(5)],
            outage: Outage {
                edited: vec!["0051".to_owned()],
                edits: 1,
                unavailable: 3,
                throttled: 1,
                between: (13, 15),
            },
            letter: Some(Letter { id: "l".to_owned(), code: "uniqueness".to_owned(), remedy: None }),
            open_letters: 0,
            idle_writes: 0,
        }
    }

    fn failed(evidence: &Evidence) -> Vec<&'static str> {
        evidence.check().into_iter().filter(|check| !check.passed).map(|check| check.what).collect()
    }

    #[test]
    fn what_is_so_passes() {
        assert_eq!(failed(&good()), Vec::<&str>::new());
    }

    /// One by one, everything that can be wrong is seen.
    #[test]
    fn what_is_not_so_fails() {
        type Damage = fn(&mut Evidence);
        let wrong: [(&str, Damage); 20] = [
            ("has one account", |e| drop(e.accounts.pop())),
            ("has one account", |e| e.accounts.push(account(2, true))),
            ("has one account", |e| e.accounts.push(account(9, true))),
            ("attribute by attribute", |e| e.accounts[0]["name"]["familyName"] = json!("Byron")),
            ("attribute by attribute", |e| e.accounts[0]["title"] = json!("Countess")),
            ("attribute by attribute", |e| e.people[1]["Phone"] = Value::Null),
            ("attribute by attribute", |e| e.accounts[1]["locale"] = json!("fr_FR")),
            ("is deactivated", |e| e.accounts[2]["active"] = json!(true)),
            ("is deactivated", |e| e.accounts[0]["active"] = json!(false)),
            ("the outage", |e| e.writes.retain(|write| write.sequence != 15)),
            ("the outage", |e| e.writes.push(write(14, 1))),
            ("the outage", |e| e.writes.push(write(14, 2))),
            ("the outage", |e| e.outage.unavailable = 0),
            ("the dead letter", |e| e.open_letters = 1),
            ("the dead letter", |e| e.letter = None),
            ("count the same writes", |e| e.runs = vec![run(4)]),
            ("every write changed", |e| e.writes[0].changed = false),
            ("has one outcome", |e| e.runs[0].read += 1),
            ("has one outcome", |e| e.runs[0].failed = Some("the CRM is away".to_owned())),
            ("writes nothing", |e| e.idle_writes = 1),
        ];
        for (number, (claim, spoil)) in wrong.into_iter().enumerate() {
            let mut evidence = good();
            spoil(&mut evidence);
            let failed = failed(&evidence);
            assert!(failed.iter().any(|what| what.contains(claim)), "{number}: {claim} is not among {failed:?}");
        }
    }
}

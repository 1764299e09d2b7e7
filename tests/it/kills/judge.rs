//! What must be true at the end, whatever died meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use muster::domain::RunId;
use muster::sandbox::{Actor, Admin, System, Write};
use muster::stages::producer::new_run_id;
use muster::store::{Run, RunKind, Store, SyncRequest};
use serde_json::Value;

use crate::pipeline::{CONNECTION, PATIENCE, Rig, assert_adds_up, directory_by_partner};

/// What a person may edit in the org, and where it arrives in the directory.
const MAPPED: [(&str, &str); 6] = [
    ("Username", "/userName"),
    ("FirstName", "/name/givenName"),
    ("LastName", "/name/familyName"),
    ("Title", "/title"),
    ("Email", "/emails/0/value"),
    ("IsActive", "/active"),
];

/// As the two systems compare them: addresses without case, nothing and empty are the same.
pub fn comparable(field: &str, value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::Null) => Value::Null,
        Some(Value::String(text)) if text.is_empty() => Value::Null,
        Some(Value::String(text)) if matches!(field, "Username" | "Email") => text.trim().to_lowercase().into(),
        Some(value) => value.clone(),
    }
}

/// What differs between the two sides. Somebody who left before an account was made for them has none.
pub fn differences(admin: &Admin) -> Vec<String> {
    let (org, directory) = (admin.accounts(System::Salesforce), admin.accounts(System::Scim));
    let by_partner = directory_by_partner(&directory);
    let mut differences = Vec::new();
    for user in &org {
        let id = user["Id"].as_str().unwrap();
        let Some(account) = by_partner.get(id) else {
            if user["IsActive"] == true {
                differences.push(format!("{id} has no account"));
            }
            continue;
        };
        for (field, place) in MAPPED {
            let (here, there) = (comparable(field, user.get(field)), comparable(field, account.pointer(place)));
            if here != there {
                differences.push(format!("{id} {field}: {here} in the org, {there} in the directory"));
            }
        }
    }
    if directory.len() != by_partner.len() {
        differences.push(format!("{} accounts of the directory name nobody", directory.len() - by_partner.len()));
    }
    differences
}

/// Asserts that both sides are equal, and, by the directory's own log, that nobody was created twice.
pub fn assert_in_step(admin: &Admin) {
    let differences = differences(admin);
    assert!(
        differences.is_empty(),
        "{} differences: {:#?}",
        differences.len(),
        &differences[..differences.len().min(20)]
    );
    let writes = admin.writes(0);
    for name in ["externalId", "userName"] {
        let mut created = BTreeSet::new();
        for write in writes.iter().filter(|write| write.system == System::Scim && write.created) {
            let text = write.after.as_ref().unwrap()[name].as_str().unwrap().to_lowercase();
            assert!(created.insert(text), "created twice: {write:#?}");
        }
    }
    let deleted = writes.iter().find(|write| write.method == "DELETE");
    assert!(deleted.is_none(), "{deleted:#?}");
}

/// I5: what was written of one attribute of one account never goes back to an older value of its source. Returns the
/// writes that do.
pub fn backward_writes(writes: &[Write]) -> Vec<&Write> {
    // The values that each attribute had in the org, oldest first.
    let mut history = BTreeMap::<(String, &str), Vec<Value>>::new();
    for write in writes.iter().filter(|write| write.system == System::Salesforce) {
        for (field, _) in MAPPED {
            let values = history.entry((write.account.clone(), field)).or_default();
            for state in [&write.before, &write.after].into_iter().flatten() {
                let value = comparable(field, state.get(field));
                if values.last() != Some(&value) {
                    values.push(value);
                }
            }
        }
    }
    let mut reached = BTreeMap::<(String, &str), usize>::new();
    let mut backward = Vec::new();
    for write in writes.iter().filter(|write| write.system == System::Scim && write.actor == Actor::Client) {
        let Some(after) = &write.after else { continue };
        let partner = after["externalId"].as_str().unwrap_or_default().to_owned();
        for (field, place) in MAPPED {
            let Some(values) = history.get(&(partner.clone(), field)) else { continue };
            let value = comparable(field, after.pointer(place));
            let age = values.iter().rposition(|known| *known == value);
            let age = age.unwrap_or_else(|| panic!("{field} was never {value} in the org: {write:#?}"));
            let newest = reached.entry((partner.clone(), field)).or_default();
            if age < *newest {
                backward.push(write);
            }
            *newest = age.max(*newest);
        }
    }
    backward
}

pub async fn runs(store: &impl Store) -> Vec<Run> {
    store.runs(&CONNECTION.parse().unwrap(), 1_000).await.unwrap()
}

/// Waits until every run is over, live ones included.
pub async fn settle(store: &impl Store) {
    let began = Instant::now();
    loop {
        let mut left = runs(store).await;
        left.retain(|run| !run.is_over());
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "still not over: {left:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts, once every run is over, that both sides are equal, nobody was created twice, nothing older overwrote
/// anything newer, all runs add up, and nothing waits for a person.
pub async fn assert_nothing_lost_and_nothing_doubled(rig: &Rig, admin: &Admin, store: &impl Store) {
    assert_in_step(admin);
    for run in runs(store).await {
        assert_adds_up(&run);
        assert_eq!(run.failed, None, "{run:#?}");
    }
    let letters = rig.muster(&["dead", "list", "--json"]).await;
    assert_eq!(letters.stdout, "", "{letters:?}");
    let writes = admin.writes(0);
    let backward = backward_writes(&writes);
    assert!(backward.is_empty(), "{backward:#?}");
}

/// Asks for a run as `muster sync` does, but never does its work itself where nobody else does.
pub async fn ask(store: &impl Store, kind: RunKind) -> RunId {
    let run = new_run_id();
    let request = SyncRequest { run: run.clone(), kind, by: "ada@test".to_owned(), only: None };
    store.request(&CONNECTION.parse().unwrap(), &request).await.unwrap();
    run
}

//! Acts that wait for a second person. They are kept in memory: should this process end before anybody approves one,
//! nothing was done, and it has to be asked for again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::act::Act;
use super::problem::Problem;
use crate::domain::Timestamp;

/// Acts that are remembered, those that were decided included.
const KEPT: usize = 500;

/// An act that waits, or that was decided about.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its name.
    pub id: String,
    /// The act.
    pub act: Act,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub asked_at: Timestamp,
    /// Until when somebody may approve it.
    pub expires_at: Timestamp,
    /// What was decided, by whom, and what came of it.
    pub decided: Option<Decided>,
}

/// What a second person decided.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Who.
    pub by: String,
    /// Whether the act was approved.
    pub approved: bool,
    /// What came of it; `None` while it is being done.
    pub outcome: Option<String>,
}

/// The same for people and programs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Approval {
    /// Its name.
    pub id: String,
    /// The kind of act.
    pub act: String,
    /// The act in words.
    pub what: String,
    /// Who asked for it.
    pub by: String,
    /// When it was asked for.
    pub asked_at: String,
    /// Until when it may be approved.
    pub expires_at: String,
    /// `waiting`, `approved`, `rejected` or `expired`.
    pub state: String,
    /// Who decided.
    pub decided_by: Option<String>,
    /// What came of it.
    pub outcome: Option<String>,
}

/// The acts that wait.
#[derive(Debug, Default)]
pub struct Approvals(Mutex<BTreeMap<u64, Waiting>>);

impl Approvals {
    /// Notes an act that waits from now on.
    pub fn add(&self, act: Act, by: &str, now: Timestamp, lasts: Duration) -> Waiting {
        let mut all = self.0.lock().expect("nothing panics while the lock is held");
        let number = all.last_key_value().map_or(1, |(last, _)| last + 1);
        let (id, by) = (number.to_string(), by.to_owned());
        let waiting = Waiting { id, act, by, asked_at: now, expires_at: now + lasts, decided: None };
        all.insert(number, waiting.clone());
        while all.len() > KEPT {
            all.pop_first();
        }
        waiting
    }

    /// All of them, the latest first.
    pub fn list(&self, now: Timestamp) -> Vec<Approval> {
        let all = self.0.lock().expect("nothing panics while the lock is held");
        all.values().rev().map(|waiting| waiting.shown(now)).collect()
    }

    /// Decides about one. It is decided once, in time, and never by the person who asked.
    pub fn decide(&self, id: &str, by: &str, approved: bool, now: Timestamp) -> Result<Waiting, Problem> {
        let mut all = self.0.lock().expect("nothing panics while the lock is held");
        let unknown = || Problem::not_found(format!("no act {id} waits for approval"));
        let waiting = id.parse().ok().and_then(|number: u64| all.get_mut(&number)).ok_or_else(unknown)?;
        if let Some(decided) = &waiting.decided {
            let message = format!("{} has decided about it already", decided.by);
            return Err(Problem::conflict("decided", message, "look at the list of approvals"));
        }
        if waiting.expires_at <= now {
            let next = "ask for the act again";
            return Err(Problem::conflict("expired", "it waited too long and has expired", next));
        }
        // Whoever asked may take it back, but not approve it.
        if approved && waiting.by == by {
            let next = "ask another person with the role approver";
            return Err(Problem::conflict("same_person", "nobody approves what they asked for themselves", next));
        }
        waiting.decided = Some(Decided { by: by.to_owned(), approved, outcome: None });
        Ok(waiting.clone())
    }

    /// Who asked for it.
    pub fn asked_by(&self, id: &str) -> Option<String> {
        let all = self.0.lock().expect("nothing panics while the lock is held");
        all.get(&id.parse().ok()?).map(|waiting| waiting.by.clone())
    }

    /// Notes what came of one that was approved.
    pub fn note(&self, id: &str, outcome: String) {
        let mut all = self.0.lock().expect("nothing panics while the lock is held");
        let waiting = id.parse().ok().and_then(|number: u64| all.get_mut(&number));
        if let Some(decided) = waiting.and_then(|waiting| waiting.decided.as_mut()) {
            decided.outcome = Some(outcome);
        }
    }
}

impl Waiting {
    fn shown(&self, now: Timestamp) -> Approval {
        let state = match &self.decided {
            Some(Decided { approved: true, .. }) => "approved",
            Some(Decided { approved: false, .. }) => "rejected",
            None if self.expires_at <= now => "expired",
            None => "waiting",
        };
        Approval {
            id: self.id.clone(),
            act: self.act.name().to_owned(),
            what: self.act.text(),
            by: self.by.clone(),
            asked_at: self.asked_at.to_string(),
            expires_at: self.expires_at.to_string(),
            state: state.to_owned(),
            decided_by: self.decided.as_ref().map(|decided| decided.by.clone()),
            outcome: self.decided.as_ref().and_then(|decided| decided.outcome.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn pause() -> Act {
        Act::Pause { connection: None }
    }

    /// R78: an act that needs two persons is decided once, in time, by another person.
    #[test]
    fn the_same_person_cannot_approve_and_nobody_twice() {
        let approvals = Approvals::default();
        let now = Timestamp(1_000);
        let id = approvals.add(pause(), "alice", now, HOUR).id;
        let code = |result: Result<Waiting, Problem>| result.map(|_| ()).map_err(|problem| problem.told.code);
        assert_eq!(code(approvals.decide(&id, "alice", true, now)), Err("same_person".to_owned()));
        assert_eq!(code(approvals.decide("77", "bob", true, now)), Err("not_found".to_owned()));
        assert_eq!(approvals.list(now)[0].state, "waiting");
        assert_eq!(code(approvals.decide(&id, "bob", true, now)), Ok(()));
        assert_eq!(code(approvals.decide(&id, "carol", true, now)), Err("decided".to_owned()));
        let late = approvals.add(pause(), "alice", now, HOUR).id;
        assert_eq!(code(approvals.decide(&late, "bob", true, now + HOUR)), Err("expired".to_owned()));
        assert_eq!(approvals.list(now + HOUR)[0].state, "expired");
        let own = approvals.add(pause(), "alice", now, HOUR).id;
        assert_eq!(code(approvals.decide(&own, "alice", false, now)), Ok(()), "whoever asked may take it back");
    }
}

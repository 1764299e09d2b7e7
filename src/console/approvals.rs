//! Acts that wait for a second person. They are kept in memory: should this process end before anybody approves one,
//! nothing was done, and it has to be asked for again.

use std::sync::Mutex;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::access::random_text;
use super::act::Act;
use super::problem::Problem;
use crate::domain::Timestamp;

/// Acts that are remembered, those that were decided included. So many may wait at once.
const KEPT: usize = 500;

/// Characters of an act's name, six bits of chance each.
const ID_CHARS: usize = 16;

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

/// An act with everything that it is about, for who is to approve it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApprovalPage {
    /// The act.
    #[serde(flatten)]
    pub approval: Approval,
    /// What it is about, one by one, as it is now; of much, the first.
    pub parts: Vec<Part>,
    /// Whether there is more of it than these.
    pub has_more: bool,
}

/// One thing that an act is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Part {
    /// What: an account, a letter, a value, or a line of a file.
    pub subject: String,
    /// What there is to know of it.
    pub text: String,
}

/// The acts that wait, and those that were decided about, in the order in which they were asked for.
#[derive(Debug, Default)]
pub struct Approvals(Mutex<Vec<Waiting>>);

impl Approvals {
    /// Notes an act that waits from now on.
    ///
    /// Its name is one that no other act has, also not one of an earlier process: whoever approves by a list that they saw
    /// then means none of these.
    ///
    /// # Errors
    /// As many wait as are kept, or the machine gives no random numbers.
    pub fn add(&self, act: Act, by: &str, now: Timestamp, lasts: Duration) -> Result<Waiting, Problem> {
        let mut id = random_text()?;
        id.truncate(ID_CHARS);
        let mut all = self.0.lock().expect("nothing panics while the lock is held");
        if all.len() >= KEPT {
            let over = all.iter().position(|waiting| waiting.is_over(now));
            let over = over.ok_or_else(|| {
                let message = format!("{KEPT} acts wait for approval already");
                Problem::conflict("too_many", message, "have some of them approved or refused first")
            })?;
            all.remove(over);
        }
        let waiting = Waiting { id, act, by: by.to_owned(), asked_at: now, expires_at: now + lasts, decided: None };
        all.push(waiting.clone());
        Ok(waiting)
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<Waiting> {
        let all = self.0.lock().expect("nothing panics while the lock is held");
        all.iter().find(|waiting| waiting.id == id).cloned()
    }

    /// All of them, the latest first.
    pub fn list(&self, now: Timestamp) -> Vec<Approval> {
        let all = self.0.lock().expect("nothing panics while the lock is held");
        all.iter().rev().map(|waiting| waiting.shown(now)).collect()
    }

    /// Decides about one. It is decided once, in time, and never by the person who asked.
    pub fn decide(&self, id: &str, by: &str, approved: bool, now: Timestamp) -> Result<Waiting, Problem> {
        let mut all = self.0.lock().expect("nothing panics while the lock is held");
        let unknown = || Problem::not_found(format!("no act {id} waits for approval"));
        let waiting = all.iter_mut().find(|waiting| waiting.id == id).ok_or_else(unknown)?;
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
        self.get(id).map(|waiting| waiting.by)
    }

    /// Notes what came of one that was approved.
    pub fn note(&self, id: &str, outcome: String) {
        let mut all = self.0.lock().expect("nothing panics while the lock is held");
        let waiting = all.iter_mut().find(|waiting| waiting.id == id);
        if let Some(decided) = waiting.and_then(|waiting| waiting.decided.as_mut()) {
            decided.outcome = Some(outcome);
        }
    }
}

impl Waiting {
    /// Whether nobody can decide about it any more, and what came of it is known.
    fn is_over(&self, now: Timestamp) -> bool {
        match &self.decided {
            Some(decided) => !decided.approved || decided.outcome.is_some(),
            None => self.expires_at <= now,
        }
    }

    /// As people and programs see it.
    pub fn shown(&self, now: Timestamp) -> Approval {
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
        let id = approvals.add(pause(), "alice", now, HOUR).unwrap().id;
        let code = |result: Result<Waiting, Problem>| result.map(|_| ()).map_err(|problem| problem.told.code);
        assert_eq!(code(approvals.decide(&id, "alice", true, now)), Err("same_person".to_owned()));
        assert_eq!(code(approvals.decide("77", "bob", true, now)), Err("not_found".to_owned()));
        assert_eq!(approvals.list(now)[0].state, "waiting");
        assert_eq!(code(approvals.decide(&id, "bob", true, now)), Ok(()));
        assert_eq!(code(approvals.decide(&id, "carol", true, now)), Err("decided".to_owned()));
        let late = approvals.add(pause(), "alice", now, HOUR).unwrap().id;
        assert_eq!(code(approvals.decide(&late, "bob", true, now + HOUR)), Err("expired".to_owned()));
        assert_eq!(approvals.list(now + HOUR)[0].state, "expired");
        let own = approvals.add(pause(), "alice", now, HOUR).unwrap().id;
        assert_eq!(code(approvals.decide(&own, "alice", false, now)), Ok(()), "whoever asked may take it back");
    }

    /// R78: a name that was seen before a restart means no act of today.
    #[test]
    fn no_two_processes_give_the_same_name() {
        let name = || Approvals::default().add(pause(), "alice", Timestamp(1), HOUR).unwrap().id;
        let (before, after) = (name(), name());
        assert_eq!(before.len(), ID_CHARS);
        assert_ne!(before, after);
    }

    /// R78: whoever asks for many acts drops no act of others that waits; what is over makes room.
    #[test]
    fn many_acts_drop_none_that_waits() {
        let approvals = Approvals::default();
        let now = Timestamp(1_000);
        let first = approvals.add(pause(), "alice", now, HOUR).unwrap().id;
        let second = approvals.add(pause(), "alice", now, HOUR).unwrap().id;
        for _ in 2..KEPT {
            approvals.add(pause(), "mallory", now, HOUR).unwrap();
        }
        let full = approvals.add(pause(), "mallory", now, HOUR).map(|_| ()).unwrap_err();
        assert_eq!(full.told.code, "too_many");
        approvals.decide(&second, "bob", true, now).unwrap();
        assert!(approvals.add(pause(), "mallory", now, HOUR).is_err(), "it is being done");
        approvals.note(&second, "done".to_owned());
        approvals.add(pause(), "mallory", now, HOUR).unwrap();
        assert!(approvals.get(&first).is_some() && approvals.get(&second).is_none());
    }
}

//! Sending letters again from pages and API: each is a retry of the store, which this process carries out in the
//! background. Should it die, the retry is carried on from here or from the command line.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::act::{Act, Outcome};
use super::letters::LettersMeant;
use super::operations::Over;
use crate::broker::Broker;
use crate::domain::redrive::{Phase, Redrive, Which};
use crate::ops::audit::{self, Who};
use crate::ops::connect::operator;
use crate::ops::dead::{self, Pace};
use crate::ops::sync::UsageError;
use crate::store::Store;

/// Retries that this process carries out, by their names.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<String, Arc<Stopper>>>);

/// What stops a retry.
#[derive(Debug, Default)]
struct Stopper {
    stop: CancellationToken,
    /// Who did, once somebody has.
    by: OnceLock<String>,
}

/// A retry that this process carries out, and no other task of it at the same time. Dropped, it is so no more.
#[derive(Debug)]
struct Held {
    retries: Arc<Retries>,
    id: String,
    stopper: Arc<Stopper>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.retries.lock().remove(&self.id);
    }
}

/// A retry.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Retry {
    /// Its name.
    pub retry: String,
    /// Who began it.
    pub by: String,
    /// When.
    pub began_at: String,
    /// `canary`, `going`, `stopped` or `done`.
    pub phase: String,
    /// Why it stopped.
    pub why: Option<String>,
    /// What was meant, in words.
    pub what: String,
    /// How many letters were meant when it began.
    pub meant: u64,
    /// How many were sent.
    pub sent: u64,
    /// How many were closed, since nothing was lacking any more.
    pub closed: u64,
    /// How many cannot be sent.
    pub left: u64,
    /// Per cent of what was meant that was dealt with.
    pub progress: u8,
    /// So many are sent first.
    pub canary: u32,
    /// Letters a second at most.
    pub rate: Option<u32>,
    /// What came of the commands so far.
    pub outcomes: BTreeMap<String, u32>,
    /// Commands of which that is not known yet.
    pub in_flight: i64,
    /// Whether this process carries it out.
    pub is_here: bool,
}

impl Retry {
    /// Whether something of it may still change.
    pub fn is_open(&self) -> bool {
        matches!(self.phase.as_str(), "canary" | "going") || self.in_flight > 0
    }

    /// Whether it can be carried on.
    pub fn can_resume(&self) -> bool {
        self.phase == "stopped" || (self.phase != "done" && !self.is_here)
    }

    /// The outcomes as one line.
    pub fn outcomes_text(&self) -> String {
        let mut parts: Vec<_> = self.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        if self.in_flight > 0 {
            parts.push(format!("{} under way", self.in_flight));
        }
        if parts.is_empty() { "nothing yet".to_owned() } else { parts.join(", ") }
    }
}

impl Retries {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Stopper>>> {
        self.0.lock().expect("nothing panics while the lock is held")
    }

    /// Takes a retry in hand, until `stop` or until somebody stops it; `None`: it is in hand already.
    fn take(self: &Arc<Self>, id: &str, stop: &CancellationToken) -> Option<Held> {
        let mut all = self.lock();
        if all.contains_key(id) {
            return None;
        }
        let stopper = Arc::new(Stopper { stop: stop.child_token(), by: OnceLock::new() });
        all.insert(id.to_owned(), Arc::clone(&stopper));
        Some(Held { retries: Arc::clone(self), id: id.to_owned(), stopper })
    }

    /// Stops one in the name of a person; whether it is in hand.
    fn stop(&self, id: &str, by: String) -> bool {
        let stopper = self.lock().get(id).cloned();
        let Some(stopper) = stopper else { return false };
        // The first who stops it is named.
        stopper.by.get_or_init(|| by);
        stopper.stop.cancel();
        true
    }

    fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }
}

impl<B: Broker, S: Store> Over<B, S> {
    pub(super) async fn retry_list(&self) -> anyhow::Result<Vec<Retry>> {
        let mut retries = Vec::new();
        for redrive in self.pipeline.store.redrives().await? {
            let (outcomes, in_flight) = dead::so_far(&self.pipeline, &redrive).await?;
            let outcomes = outcomes.into_iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect();
            retries.push(self.shown(&redrive, outcomes, in_flight));
        }
        Ok(retries)
    }

    fn shown(&self, redrive: &Redrive, outcomes: BTreeMap<String, u32>, in_flight: i64) -> Retry {
        let (phase, why) = match &redrive.phase {
            Phase::Canary => ("canary", None),
            Phase::Going => ("going", None),
            Phase::Stopped { why, .. } => ("stopped", Some(why.clone())),
            Phase::Done => ("done", None),
        };
        let what = match &redrive.which {
            Which::Letters(ids) => match ids.as_slice() {
                [one] => format!("letter {one}"),
                ids => crate::ops::output::count(ids.len(), "letter"),
            },
            Which::Fitting(filter) => {
                let parts = [
                    filter.connection.as_ref().map(|it| format!("connection {it}")),
                    filter.target.as_ref().map(|it| format!("target {it}")),
                    filter.class.map(|it| format!("class {it}")),
                    filter.code.as_ref().map(|it| format!("code {it}")),
                    filter.attribute.as_ref().map(|it| format!("attribute {it}")),
                ];
                let parts: Vec<_> = parts.into_iter().flatten().collect();
                if parts.is_empty() { "all letters".to_owned() } else { format!("letters with {}", parts.join(", ")) }
            }
        };
        let progress = (redrive.dealt_with() * 100).checked_div(redrive.meant).unwrap_or(100).min(100);
        Retry {
            retry: redrive.id.clone(),
            by: redrive.by.clone(),
            began_at: redrive.began_at.to_string(),
            phase: phase.to_owned(),
            why,
            what,
            meant: redrive.meant,
            sent: redrive.sent,
            closed: redrive.closed,
            left: redrive.left,
            progress: u8::try_from(progress).unwrap_or(100),
            canary: redrive.canary,
            rate: redrive.rate,
            outcomes,
            in_flight,
            is_here: self.retries.has(&redrive.id),
        }
    }

    pub(super) async fn begin_retry(
        &self,
        act: &Act,
        (meant, canary, rate): (&LettersMeant, u32, Option<u32>),
        by: &str,
    ) -> anyhow::Result<Outcome> {
        if rate.is_some_and(|rate| !(1..=100_000).contains(&rate)) {
            return Err(UsageError::new("the rate is 1 to 100000 letters a second".to_owned()).into());
        }
        let which = meant.parse()?.which(&self.pipeline).await?;
        let pace = Pace { canary, rate, wait: false };
        let Some(mut redrive) = dead::planned(&self.pipeline, which, pace).await? else {
            return Ok(Outcome::done("no open letters are meant; nothing was sent"));
        };
        let under_way = || UsageError::new(format!("retry {} is under way", redrive.id));
        let held = self.retries.take(&redrive.id, &self.stop).ok_or_else(under_way)?;
        // Known from now on, so that whoever asks for it next finds it.
        redrive.revision = 1;
        by.clone_into(&mut redrive.by);
        anyhow::ensure!(self.pipeline.store.save_redrive(&redrive).await?, "the retry could not be noted; ask again");
        let letters = crate::ops::output::count(usize::try_from(redrive.meant).unwrap_or(usize::MAX), "letter");
        let mut outcome = Outcome::done(format!("Retry {} sends {letters} again", redrive.id));
        outcome.retry = Some(redrive.id.clone());
        outcome.next = self.how_to_start().await?;
        self.carry_on(held, redrive, act, by);
        Ok(outcome)
    }

    /// Stops a retry in the name of whoever acts.
    pub(super) async fn stop_retry(&self, id: &str) -> anyhow::Result<Outcome> {
        if self.retries.stop(id, operator()) {
            return Ok(Outcome::done(format!("Retry {id} stops; what was sent already is written")));
        }
        let known = self.pipeline.store.redrives().await?.into_iter().find(|redrive| redrive.id == id);
        let text = match known {
            None => format!("there is no retry {id}"),
            Some(redrive) if redrive.is_over() => format!("retry {id} has come to its end already"),
            Some(_) => format!("retry {id} is not carried out by this process: stop it where it was begun"),
        };
        Err(UsageError::new(text).into())
    }

    pub(super) async fn resume_retry(&self, act: &Act, id: &str, by: &str) -> anyhow::Result<Outcome> {
        // Before anything is waited for: of two who ask at once, one carries it on.
        let under_way = || UsageError::new(format!("retry {id} is under way"));
        let held = self.retries.take(id, &self.stop).ok_or_else(under_way)?;
        let redrive = dead::taken_up(&self.pipeline, Some(id)).await?;
        if redrive.is_over() {
            return Err(UsageError::new(format!("retry {id} has come to its end already")).into());
        }
        let mut outcome = Outcome::done(format!("Retry {id} goes on"));
        outcome.retry = Some(id.to_owned());
        outcome.next = self.how_to_start().await?;
        self.carry_on(held, redrive, act, by);
        Ok(outcome)
    }

    /// Carries a retry out in the background, in the name of the person who asks for it now. The log of acts has it as begun
    /// until it has come to its end.
    fn carry_on(&self, held: Held, redrive: Redrive, act: &Act, by: &str) {
        let (pipeline, mode) = (self.pipeline.clone(), self.mode.clone());
        let (who, noted) = (Who::with_token(by), act.noted());
        tokio::spawn(async move {
            let Stopper { stop, by } = &*held.stopper;
            let work = dead::carry_out(&pipeline, &mode, redrive, stop, by);
            if let Err(error) = audit::recorded(&pipeline, &who, noted, work).await {
                tracing::error!("Retry {} ended: {error:#}; it can be carried on", held.id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R78: a retry is carried out once at a time, so that whoever stops it stops all of it, and is named.
    #[test]
    fn a_retry_is_in_one_hand() {
        let (retries, process) = (Arc::<Retries>::default(), CancellationToken::new());
        let held = retries.take("r1", &process).unwrap();
        assert!(retries.take("r1", &process).is_none(), "another task has it");
        let other = retries.take("r2", &process).unwrap();
        assert!(retries.stop("r1", "bob".to_owned()) && retries.stop("r1", "carol".to_owned()));
        assert_eq!(held.stopper.by.get().map(String::as_str), Some("bob"));
        assert!(held.stopper.stop.is_cancelled() && !other.stopper.stop.is_cancelled());
        drop(held);
        assert!(!retries.has("r1") && retries.has("r2"));
        assert!(!retries.stop("r1", "bob".to_owned()), "nothing is under way");
        process.cancel();
        assert!(other.stopper.stop.is_cancelled() && other.stopper.by.get().is_none());
        assert!(retries.take("r1", &process).is_some());
    }
}

//! What this process knows of how the calls of each system fare, and how it tells the others: [`crate::domain::circuit`]
//! decides, the store keeps what was decided.
//!
//! While all goes well nothing is told, and nothing more is asked than whoever calls asks anyhow. A failure is told at once;
//! then, for as long as there are failures, what goes well is told as well, once a second at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Halt, Pipeline};
use crate::broker::Broker;
use crate::clock;
use crate::domain::circuit::{Admission, Circuit, Fared, Open, Report, Symptom};
use crate::domain::{Code, Failure, FailureClass, SystemName, Timestamp, Token};
use crate::failpoint::hit;
use crate::store::{Store, SystemState};
use crate::systems::Written;

/// How often what goes well is told while there are failures.
const TOLD_WELL: Duration = Duration::from_secs(1);

/// How often a circuit is decided anew that others change meanwhile. What is told later is not lost.
const TRIES: u32 = 10;

/// Writes in a row that may be refused for lack of a right and count as refusals of those accounts. More of them, with no
/// write that goes well, and it is the right of everybody that is missing.
const REFUSED_ALONE: u32 = 3;

/// What this process knows of all systems' circuits.
#[derive(Debug, Default)]
pub struct Circuits(Mutex<BTreeMap<SystemName, Arc<Line>>>);

/// What this process knows of one system's.
#[derive(Debug, Default)]
pub(crate) struct Line {
    known: Mutex<Known>,
    /// Held by whoever tells the store, so that one tells for all.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    circuit: Circuit,
    /// When the circuit was as it is known, in the store's clock and by this process's own.
    as_of: Option<(Timestamp, Instant)>,
    /// When this process heard of that.
    heard_at: Option<Instant>,
    /// Writes refused in a row as if the credential had no right, though it is accepted elsewhere.
    refused_alone: u32,
    /// Calls that nobody was told of.
    untold: Report,
    untold_since: Option<Instant>,
    /// The latest failure that was told.
    symptom: Option<Symptom>,
    told_at: Option<Instant>,
    /// The probe that this process makes.
    probe: Option<Token>,
    /// Grows whenever what is under way says nothing any more: the circuit opened, or a probe begins.
    era: Era,
}

/// When a call was begun, as far as that decides whether it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Era(u32);

impl Circuits {
    fn line(&self, system: &SystemName) -> Arc<Line> {
        let mut lines = self.0.lock().expect("nothing panics while the lock is held");
        match lines.get(system) {
            Some(line) => Arc::clone(line),
            None => Arc::clone(lines.entry(system.clone()).or_default()),
        }
    }
}

impl Line {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while the lock is held")
    }

    /// What the store answered to a question sent at `asked_at`.
    pub(crate) fn learn(&self, asked_at: Instant, state: &SystemState) {
        self.known().learn(&state.circuit, state.now, asked_at);
    }

    /// Whether a call may be made, as far as this process knows.
    pub(crate) fn admission(&self) -> Admission {
        let known = self.known();
        known.circuit.admission(known.now())
    }

    /// Whether the probe that is due is to be made without anybody's work: every second one, since the work that fails may be
    /// what fails everywhere.
    pub(crate) fn probes_neutrally(&self) -> bool {
        self.known().circuit.open.as_ref().is_some_and(|open| open.probes % 2 == 1)
    }

    /// Whether nobody is called, as far as this process knows.
    pub(crate) fn is_open(&self) -> bool {
        self.known().circuit.open.is_some()
    }

    /// Notes how many writes of a call went well, and how many were refused for lack of a right: whether those may have been
    /// refused for the sake of their accounts.
    fn may_be_refused_alone(&self, well: usize, refused: usize) -> bool {
        let mut known = self.known();
        if well > 0 {
            known.refused_alone = 0;
        }
        known.refused_alone = known.refused_alone.saturating_add(u32::try_from(refused).unwrap_or(u32::MAX));
        known.refused_alone <= REFUSED_ALONE
    }

    /// For [`Pipeline::fared`], asked before the call.
    pub(crate) fn era(&self) -> Era {
        self.known().era
    }

    /// Notes how a call fared that was begun in `era`. Whether the store is to be told.
    fn note(&self, era: Era, fared: &Fared, window: Duration) -> bool {
        let (mut known, now) = (self.known(), clock::now());
        if era != known.era {
            return false;
        }
        // What went well long ago says nothing of today.
        if known.untold_since.is_none_or(|since| now.duration_since(since) >= window) {
            (known.untold, known.untold_since) = (Report::default(), Some(now));
        }
        known.untold.add(fared);
        let is_told_lately = known.told_at.is_some_and(|told_at| now.duration_since(told_at) < TOLD_WELL);
        match fared {
            Fared::Nothing => false,
            Fared::Ill(_) => true,
            Fared::Well => known.probe.is_some() || known.circuit.is_troubled() && !is_told_lately,
        }
    }
}

impl Known {
    /// The store's clock.
    fn now(&self) -> Timestamp {
        self.as_of.map_or(Timestamp(0), |(then, at)| then + (clock::now() - at))
    }

    fn learn(&mut self, circuit: &Circuit, now: Timestamp, at: Instant) {
        // An answer from before, that was longer on its way. A store that lost its memory shows a lower one later as well.
        if circuit.revision < self.circuit.revision && self.heard_at.is_some_and(|heard_at| at <= heard_at) {
            return;
        }
        self.heard_at = Some(clock::now());
        let opens = self.circuit.open.is_none() && circuit.open.is_some();
        let is_of_another = |open: &Open| open.probe.map(|probe| probe.token) != self.probe;
        if opens || self.probe.is_some() && circuit.open.as_ref().is_none_or(is_of_another) {
            self.begin_era(None);
        }
        self.circuit = circuit.clone();
        self.as_of = Some((now, at));
    }

    fn begin_era(&mut self, probe: Option<Token>) {
        self.era = Era(self.era.0.wrapping_add(1));
        (self.untold, self.probe) = (Report::default(), probe);
    }
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    pub(crate) fn line(&self, system: &SystemName) -> Arc<Line> {
        self.circuits.line(system)
    }

    /// What the store says of a system, which this process then knows.
    pub(crate) async fn state_of(&self, stop: &CancellationToken, system: &SystemName) -> Result<SystemState, Halt> {
        let asked_at = clock::now();
        let state = self.ask(stop, || self.store.system(system)).await?;
        self.line(system).learn(asked_at, &state);
        Ok(state)
    }

    /// Takes the probe that is due; `false`: somebody else did, or the store does not say.
    pub(crate) async fn take_probe(&self, system: &SystemName) -> bool {
        let line = self.line(system);
        let token = Token(fastrand::u64(..));
        let (taken, now) = {
            let known = line.known();
            (known.circuit.take_probe(token, known.now(), self.settings.lease), known.now())
        };
        let Some(taken) = taken else { return false };
        let at = clock::now();
        if !matches!(self.store.save_circuit(system, &taken).await, Ok(true)) {
            return false;
        }
        let mut known = line.known();
        known.begin_era(Some(token));
        known.learn(&taken, now, at);
        debug!("Probing {system}");
        true
    }

    /// Notes how a call of a system fared that was begun in `era`, and tells the store where that matters to others.
    pub(crate) async fn fared(&self, system: &SystemName, era: Era, fared: impl Into<Fared>) {
        let line = self.line(system);
        if line.note(era, &fared.into(), self.settings.circuit.window) {
            self.tell(system, &line, false).await;
        }
    }

    /// A command has used up its attempts: whether it is not given up, since it is the system that fails. Where nobody else
    /// called lately, the system itself is asked: some accounts fail wherever they are sent.
    pub(crate) async fn spares(&self, system: &SystemName, failed: u32) -> bool {
        let line = self.line(system);
        let is_spared = || line.known().circuit.spares(failed, self.settings.attempts, &self.settings.circuit);
        if is_spared() {
            return true;
        }
        let era = line.era();
        let answer = self.ask_neutrally(system).await;
        let is_well = answer == Fared::Well;
        self.fared(system, era, answer).await;
        if !is_well {
            self.tell(system, &line, true).await;
        }
        line.is_open()
    }

    /// Makes the probe that is due without anybody's work.
    pub(crate) async fn probe(&self, system: &SystemName) {
        if self.take_probe(system).await {
            let era = self.line(system).era();
            let answer = self.ask_neutrally(system).await;
            hit("circuit.probed");
            self.fared(system, era, answer).await;
        }
    }

    /// Tells accounts that a system keeps from us, and answers as if the credential had no right at all, from a credential that
    /// has none: where the system takes it for anything else, and takes writes of others, the refusal is the account's own, and
    /// stops nobody else.
    pub(crate) async fn judge_refusals(&self, system: &SystemName, written: &mut [Written]) {
        let is_refused = |failure: &Failure| failure.class == FailureClass::Unauthorised && failure.status == Some(403);
        let well = written.iter().filter(|written| matches!(written, Written::Done(_) | Written::Ended)).count();
        let refusals = |written: &Written| matches!(written, Written::Failed(failure) if is_refused(failure));
        let refused = written.iter().filter(|written| refusals(written)).count();
        if !self.line(system).may_be_refused_alone(well, refused) || refused == 0 {
            return;
        }
        if self.ask_neutrally(system).await != Fared::Well {
            return;
        }
        for written in written {
            if let Written::Failed(failure) = written
                && is_refused(failure)
            {
                let message = "the system takes the credential, but not for this account";
                failure.class = FailureClass::Permanent;
                (failure.code, failure.message) = (Code::known("account_refused"), message.into());
            }
        }
    }

    /// How a call fares that concerns no account.
    async fn ask_neutrally(&self, name: &SystemName) -> Fared {
        let Some(system) = self.systems.get(name) else { return Fared::Nothing };
        match clock::timeout_at(clock::now() + self.settings.deadline, system.probe()).await {
            Ok(answer) => Fared::from(&answer),
            Err(_) => Fared::from(&crate::systems::unanswered()),
        }
    }

    /// Tells the store what nobody was told of. What it does not take is told the next time.
    async fn tell(&self, system: &SystemName, line: &Line, is_last: bool) {
        let _telling = line.telling.lock().await;
        let (report, era) = {
            let mut known = line.known();
            // Whoever came before has told it.
            if known.untold == Report::default() && !is_last {
                return;
            }
            known.told_at = Some(clock::now());
            let mut report = Report { probe: known.probe, is_last, ..std::mem::take(&mut known.untold) };
            match &report.symptom {
                Some(symptom) => known.symptom = Some(symptom.clone()),
                // The last attempt's failure was told before anybody knew that it was the last.
                None if is_last => report.symptom = known.symptom.clone(),
                None => {}
            }
            (report, known.era)
        };
        for _ in 0..TRIES {
            match self.decide(system, line, &report).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    debug!("Did not tell how calls of {system} fare: {error}");
                    break;
                }
            }
        }
        let mut known = line.known();
        if known.era == era {
            known.untold = report.plus(&known.untold);
        }
    }

    /// Decides the circuit anew, and puts what was decided in its place. `false`: another one is there by now.
    async fn decide(
        &self,
        system: &SystemName,
        line: &Line,
        report: &Report,
    ) -> Result<bool, crate::store::StoreError> {
        let at = clock::now();
        let SystemState { circuit: before, now, .. } = self.store.system(system).await?;
        let after = before.after(report, now, &self.settings.circuit);
        if after != before && !self.store.save_circuit(system, &after).await? {
            return Ok(false);
        }
        hit("circuit.decided");
        line.known().learn(&after, now, at);
        match (&before.open, &after.open) {
            (None, Some(open)) => {
                self.metrics.circuit_opened(system, open.why);
                let (class, code) = (open.symptom.class, &open.symptom.code);
                warn!(
                    %system, %class, %code,
                    "Nobody calls {system} any more, since its calls fail ({code}); the first try is due at {}", open.probe_at
                );
            }
            (Some(open), None) => {
                info!(%system, "{system} is called again; it was not since {}", open.since);
            }
            (Some(before), Some(open)) if open.probes > before.probes => {
                info!(%system, "{system} still fails ({}); the next try is due at {}", open.symptom.code, open.probe_at);
            }
            _ => {}
        }
        self.metrics.circuit(system, after.open.as_ref());
        Ok(true)
    }

    /// Looks at all systems, and makes a probe where one is due and no work waits that would make it.
    pub(crate) async fn look_after_circuits(&self) {
        for name in self.systems.keys() {
            let asked_at = clock::now();
            let state = match self.store.system(name).await {
                Ok(state) => state,
                Err(error) => {
                    debug!("Did not look at the circuit of {name}: {error}");
                    return;
                }
            };
            let line = self.line(name);
            line.learn(asked_at, &state);
            self.metrics.circuit(name, state.circuit.open.as_ref());
            let is_rested = state.not_before.is_none_or(|until| until <= state.now);
            if is_rested && state.circuit.is_probe_overdue(state.now, &self.settings.circuit) {
                self.probe(name).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(revision: u64) -> Circuit {
        (0..revision).fold(Circuit::default(), |circuit, _| circuit.closed(Timestamp(1)))
    }

    /// F22: an answer that was longer on its way does not undo what was learnt meanwhile; a store that lost its memory does.
    #[test]
    fn an_older_answer_that_comes_later_says_nothing() {
        let mut known = Known::default();
        let asked_at = clock::now();
        known.learn(&circuit(5), Timestamp(1_000), asked_at);
        known.probe = Some(Token(1));
        known.learn(&circuit(4), Timestamp(999), asked_at);
        assert_eq!((known.circuit.revision, known.probe), (5, Some(Token(1))));
        known.learn(&circuit(4), Timestamp(2_000), clock::now() + Duration::from_secs(1));
        assert_eq!((known.circuit.revision, known.probe), (4, None));
    }
}

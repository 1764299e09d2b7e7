//! How a snapshot of one side changes the link: the three-way merge. [`decide`] is the merge table, one row an arm;
//! [`resolve`] asks it for each attribute and carries the answers out.

use super::account::{Freshness, READ_UNCERTAINTY, Snapshot, Version};
use super::attribute::{AttributePath, Attributes, Value};
use super::breaker;
use super::guard::Risk;
use super::hold::Hold;
use super::id::{Side, Sides};
use super::link::{Absence, Link, Origin, Register};
use super::mapping::Flaw;
use super::outcome::ChangeOutcome;
use super::pending::pending;
use super::rules::{AttributeRule, Drift, Leavers, Policy, Rules, View};
use super::time::Timestamp;
use super::undo::remember;

pub use super::journal::{JournalReason, Lost};

/// Proofs of absence, each from a complete read and a probe of its own, before an account counts as gone (B12).
pub const ABSENCE_PROOFS: u8 = 2;

/// How far the difference of two systems' clocks may be off: their `Date` headers have whole seconds.
const SKEW_UNCERTAINTY_MS: u64 = 1_000;

/// What a snapshot says about one attribute, and what follows. The rows of the merge table, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The side holds the register's value. Where it is the other side's value, both agree and a hold ends.
    Agree,
    /// The side holds what it was last seen to hold.
    NoEdit,
    /// The side holds what it was last seen to hold, and was modified after a write of ours left: perhaps that write
    /// landed and a person took it back. The register stays, the value is journalled, and the side counts as behind.
    InDoubt,
    /// A write of ours, of this generation, may have put the value there: our own hand, not an edit.
    OwnHand {
        /// The generation of that write.
        generation: u32,
    },
    /// First sight of a value that asserts nothing: noted as base, no more. Nothing is cleared on a first sight.
    Noted,
    /// First sight of a value that stays as it is although the register is a clear.
    LeftAlone,
    /// First sight of a differing value after a loss of the store: which is the later one cannot be told.
    BaseLost,
    /// An edit by a side that may not contribute this attribute.
    Drift,
    /// A value of a side that does not count since a person pinned the attribute to the other one: it is kept in the
    /// journal and set back.
    SetBack,
    /// Both sides edited the attribute since they last agreed, and this side loses.
    ConflictLost,
    /// Both sides edited the attribute since they last agreed, and this side wins.
    ConflictWon,
    /// An edit.
    Edit,
}

/// What [`decide`] looks at: one attribute of one snapshot of side `side`.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The link before.
    pub link: &'q Link,
    /// The side that was read.
    pub side: Side,
    /// The attribute.
    pub path: &'q AttributePath,
    /// Its value in the snapshot, as the link keeps it.
    pub value: Option<&'q Value>,
    /// The snapshot.
    pub snapshot: &'q Snapshot,
    /// The snapshot's version.
    pub version: &'q Version,
    /// The attribute's rule.
    pub rule: &'q AttributeRule,
    /// The connection's rules.
    pub rules: &'q Rules,
    /// Now, in the store's clock.
    pub now: Timestamp,
}

/// **The merge table.** The first row that fits decides.
pub fn decide(question: Question<'_>) -> Decision {
    let Question { link, side, path, value, rule, rules, .. } = question;
    let state = &link.sides[side];
    let register = link.registers.get(path);
    let digest = rules.digest(side, path, value);
    let base = state.seen.get(path).copied();
    let agrees = register.is_some_and(|register| rules.digest(side, path, register.value.as_ref()) == digest);

    if agrees {
        return Decision::Agree;
    }
    if base == Some(digest) {
        let modified_since_a_write_left = state.open_intents(path).any(|intent| question.is_modified_after(intent));
        return if register.is_some() && modified_since_a_write_left { Decision::InDoubt } else { Decision::NoEdit };
    }
    if let Some(generation) = state.intended(path, digest) {
        return Decision::OwnHand { generation };
    }
    // The answer that shows what the side makes of it is lost, or on its way.
    if let Some(generation) = state.intended_otherwise(path, || question.shown()) {
        return Decision::OwnHand { generation };
    }
    let contributes = question.counts(side);
    let is_pinned_away = !contributes && rule.flow.contributes(side);
    if base.is_none() {
        let base_lost = link.origin == Origin::Rebuilt && contributes && question.counts(side.other());
        return match register {
            _ if is_pinned_away && value.is_some() => Decision::SetBack,
            None if value.is_none() || !contributes => Decision::Noted,
            // The other side was seen to have none: it was cleared there, or never filled in.
            None if base_lost && link.sides[side.other()].seen.contains_key(path) => Decision::BaseLost,
            None => Decision::Edit,
            // The other side has nothing here, and this side was not asked to clear what it has.
            Some(Register { value: None, .. }) if !contributes => Decision::LeftAlone,
            Some(_) if base_lost => Decision::BaseLost,
            Some(Register { value: None, .. }) => Decision::Edit,
            // The register flows here, whoever was first: this side has no value, or its value does not count.
            Some(_) if value.is_none() || !contributes => Decision::Noted,
            Some(register) => question.clash(register),
        };
    }
    if !contributes {
        return if is_pinned_away { Decision::SetBack } else { Decision::Drift };
    }
    match register {
        Some(Register { hold: Some(Hold::BaseLost { .. }), .. }) => Decision::Edit,
        // What a person refused contends with nothing.
        Some(register) if register.by != side && register.is_rejected(question.now) => Decision::Edit,
        Some(register) if register.by != side && register.applied[side] != register.generation => {
            question.clash(register)
        }
        _ => Decision::Edit,
    }
}

impl<'q> Question<'q> {
    /// The value as the side itself calls it.
    fn shown(&self) -> Option<&'q Value> {
        self.snapshot.attributes.get(&self.rule.names[self.side])?.as_ref()
    }

    /// Whether values of `side` count: by the rule, and by what a person pinned.
    fn counts(&self, side: Side) -> bool {
        let pin = self.link.pins.get(self.path);
        self.rule.flow.contributes(side) && pin.is_none_or(|pin| pin.side == side)
    }

    /// Who wins a clash of this value with the register's.
    fn clash(&self, register: &Register) -> Decision {
        if !self.counts(self.side.other()) {
            return Decision::ConflictWon;
        }
        let wins = match self.rule.policy {
            Policy::DefaultSystem(default) => default == self.side,
            Policy::LastWrite { default, a_ahead_ms } => {
                let on_clock_of_b = |side, version: &Version| {
                    version.modified_at.map(|at| if side == Side::A { at.0 - a_ahead_ms } else { at.0 })
                };
                // A stamp ahead of its own system's clock was set aside when it was read.
                match (on_clock_of_b(self.side, self.version), on_clock_of_b(register.by, &register.at)) {
                    // What is closer than the two clocks are known is a tie.
                    (Some(own), Some(other)) if own.abs_diff(other) > SKEW_UNCERTAINTY_MS => own > other,
                    _ => default == self.side,
                }
            }
        };
        if wins { Decision::ConflictWon } else { Decision::ConflictLost }
    }

    /// Whether the side was modified after the state that `intent` was conditioned on.
    fn is_modified_after(&self, intent: &super::link::Intent) -> bool {
        let Some(conditioned_on) = &intent.conditioned_on else { return false };
        let state = &self.link.sides[self.side];
        let judged_before = state.seen_at.as_ref().is_some_and(|seen_at| {
            seen_at.modified_at == self.version.modified_at && seen_at.settled(self.rules.grain[self.side])
        });
        match (self.version.modified_at, conditioned_on.modified_at) {
            (Some(now), Some(then)) => now > then && (!judged_before || state.partial),
            // Without stamps it cannot be told.
            _ => true,
        }
    }
}

/// What a change does to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The link after.
    pub link: Link,
    /// Whether the link must be committed. An unchanged account read again on a settled base need not be: whatever was
    /// read between then and now shows the same.
    pub changed: bool,
    /// What became of the change.
    pub outcome: ChangeOutcome,
    /// Values for the journal.
    pub lost: Vec<Lost>,
    /// The account must be read again: what was read cannot be ordered.
    pub reread: bool,
    /// The sides that lack something now, for each of which a command follows.
    pub emits: Sides<bool>,
    /// Attributes that went to and fro too often and are frozen from now on (B4).
    pub frozen: Vec<AttributePath>,
    /// Attributes of which the link could not keep what the snapshot shows.
    pub flaws: Vec<(AttributePath, Flaw)>,
}

impl Resolution {
    /// Nothing is known that was not known before, and no command follows.
    fn unusable(link: &Link, reread: bool) -> Self {
        Self {
            link: link.clone(),
            changed: false,
            outcome: ChangeOutcome::Stale,
            lost: Vec::new(),
            reread,
            emits: Sides::default(),
            frozen: Vec::new(),
            flaws: Vec::new(),
        }
    }
}

impl Resolution {
    /// The same, where the account that was seen on `side` is protected or is not; `None` leaves it as it was.
    pub fn protected(mut self, side: Side, is_protected: Option<bool>) -> Self {
        let Some(is_protected) = is_protected else { return self };
        if self.outcome != ChangeOutcome::Stale && self.link.sides[side].protected != is_protected {
            self.link.sides[side].protected = is_protected;
            self.changed = true;
        }
        self
    }

    /// The same, where the account that was seen on `side` fits the connection's scope or does not; `None` leaves it as
    /// it was. Once it fits again, the other side is behind by whatever happened meanwhile.
    pub fn in_scope(mut self, side: Side, fits: Option<bool>, rules: &Rules) -> Self {
        let Some(out_of_scope) = fits.map(|fits| !fits) else { return self };
        if self.outcome == ChangeOutcome::Stale || self.link.sides[side].out_of_scope == out_of_scope {
            return self;
        }
        self.link.sides[side].out_of_scope = out_of_scope;
        self.changed = true;
        self.emits = Sides::from_fn(|side| pending(&self.link, side, rules).is_some());
        self
    }
}

/// What a snapshot of `side` does to the link. The caller has made sure that the snapshot was read in the link's epoch
/// and belongs to the account on that side.
pub fn resolve(link: &Link, side: Side, snapshot: &Snapshot, rules: &Rules, now: Timestamp) -> Resolution {
    let view = rules.view(side, snapshot);
    let inbound = &view.values;
    let version = snapshot.version.clone().without_future_stamp();
    let state = &link.sides[side];
    let freshness = state.seen_at.as_ref().map_or(Freshness::Newer, |seen_at| version.against(seen_at));
    match freshness {
        Freshness::Older => {
            // A read counts from its sending and may show what happened later; only a stamp says that it does not.
            let older_by_stamp = state.seen_at.as_ref().is_some_and(|seen_at| version.is_stamped_before(seen_at));
            let reread = state.partial || (!older_by_stamp && differs(link, side, inbound, rules));
            return Resolution::unusable(link, reread);
        }
        Freshness::Tie if differs(link, side, inbound, rules) => return Resolution::unusable(link, true),
        Freshness::Tie | Freshness::Newer => {}
    }

    let mut after = link.clone();
    breaker::forget_old_turns(&mut after, rules, now);
    let mut lost = Vec::new();
    let mut outcome = ChangeOutcome::Unchanged;
    for (path, value) in inbound {
        let Some(rule) = rules.attributes.get(path) else { continue };
        let question =
            Question { link, side, path, value: value.as_ref(), snapshot, version: &version, rule, rules, now };
        let decision = decide(question);
        carry_out(decision, question, &mut after, &mut lost);
        outcome = match (outcome, decision) {
            (_, Decision::Edit | Decision::ConflictWon) => ChangeOutcome::Accepted,
            (ChangeOutcome::Unchanged, Decision::ConflictLost | Decision::SetBack) => ChangeOutcome::ConflictLost,
            (outcome, _) => outcome,
        };
    }

    let settled_before = state.seen_at.as_ref().is_some_and(|seen_at| {
        seen_at.settled(rules.grain[side]) && seen_at.modified_at == version.modified_at && seen_at.tag == version.tag
    });
    let state = &mut after.sides[side];
    // A sight from before the proofs, delivered late, says nothing against them.
    state.absence = state.absence.filter(|absence| absence.last_at >= version.read_at);
    let partial = rules.is_partial(side, &view);
    // Once: what a complete read does not show either is not there to be written.
    let reread = partial && (state.seen_at.is_none() || (!state.partial && rules.is_torn(side, snapshot)));
    if freshness == Freshness::Tie {
        // The same sight delivered again: what it cost is in the journal.
        lost.clear();
    } else {
        state.partial = partial;
        forget_intents_that_are_over(state, &view, version.read_at);
    }
    state.mark_untold(&view);
    remember(link, &mut after, Some((side, inbound)), rules);
    // Only `seen_at` could still move, and on a settled base that says nothing new.
    let moves = freshness == Freshness::Newer && (after != *link || !settled_before);
    let changed = moves || after != *link;
    if moves {
        after.sides[side].seen_at = Some(version);
    }
    let stays = after.left(side).is_none();
    if let Some(stop) = &after.sides[side.other()].stop
        && stop.risk != Some(Risk::Create)
        && stays
    {
        // It came back: the next time that it leaves is another matter.
        after.sides[side.other()].stop = None;
    }
    let changed = changed || after.sides[side.other()].stop != link.sides[side.other()].stop;
    let emits = Sides::from_fn(|side| pending(&after, side, rules).is_some());
    let frozen = breaker::newly_frozen(link, &after);
    Resolution { changed, link: after, outcome, lost, reread, emits, frozen, flaws: view.flaws }
}

/// Whether the snapshot shows anything else than the side's base.
pub(super) fn differs(link: &Link, side: Side, inbound: &Attributes, rules: &Rules) -> bool {
    let seen = &link.sides[side].seen;
    inbound.iter().any(|(path, value)| seen.get(path) != Some(&rules.digest(side, path, value.as_ref())))
}

/// Does to the link what was decided for one attribute.
fn carry_out(decision: Decision, question: Question<'_>, after: &mut Link, lost: &mut Vec<Lost>) {
    let Question { side, path, value, version, rule, rules, .. } = question;
    let digest = rules.digest(side, path, value);
    after.sides[side].seen.insert(path.clone(), digest);
    let first_lost = lost.len();
    let journal = |lost: &mut Vec<Lost>, side, value: Option<&Value>, reason| {
        lost.push(Lost { path: path.clone(), side, value: value.cloned(), reason, generation: 0 });
    };
    let other_side_has = holds(after, side.other(), path, value, rules);
    let register = after.registers.get_mut(path);
    match (decision, register) {
        (Decision::Agree, Some(register)) => {
            register.applied[side] = register.generation;
            if register.by != side {
                register.hold = None;
            }
        }
        (Decision::InDoubt, Some(register)) => {
            register.applied[side] = 0;
            journal(lost, side, value, JournalReason::MayBeAPersons);
        }
        (Decision::OwnHand { generation }, Some(register)) => {
            register.applied[side] = generation;
            journal(lost, side, value, JournalReason::MayBeAPersons);
        }
        (Decision::LeftAlone, Some(register)) => register.applied[side] = register.generation,
        (Decision::BaseLost, Some(register)) => register.hold = Some(Hold::BaseLost { other: value.cloned() }),
        (Decision::BaseLost, None) => {
            let mut applied = Sides::default();
            applied[side] = 1;
            let hold = Some(Hold::BaseLost { other: None });
            let (value, at) = (value.cloned(), Version { tag: None, ..version.clone() });
            after.registers.insert(path.clone(), Register { value, at, by: side, generation: 1, applied, hold });
        }
        (Decision::Drift, Some(register)) if rule.drift == Drift::Enforce => {
            register.applied[side] = 0;
            breaker::set_back(after, side, path, value, rules, question.now);
        }
        (Decision::ConflictLost, Some(_)) => journal(lost, side, value, JournalReason::ConflictLost),
        (Decision::SetBack, register) => {
            if let Some(register) = register {
                register.applied[side] = 0;
                breaker::set_back(after, side, path, value, rules, question.now);
            }
            journal(lost, side, value, JournalReason::Pinned);
        }
        (Decision::ConflictWon | Decision::Edit, register) => {
            let previous = register.as_deref();
            if let Some(previous) = previous {
                if decision == Decision::ConflictWon {
                    journal(lost, side.other(), previous.value.as_ref(), JournalReason::ConflictLost);
                }
                if let Some(Hold::BaseLost { other }) = &previous.hold {
                    let overruled = if previous.by == side { other.as_ref() } else { previous.value.as_ref() };
                    journal(lost, side.other(), overruled, JournalReason::Overruled);
                }
                if decision == Decision::Edit && previous.by != side && previous.is_rejected(question.now) {
                    journal(lost, side.other(), previous.value.as_ref(), JournalReason::Overruled);
                }
            }
            let generation = previous.map_or(0, |previous| previous.generation) + 1;
            let mut applied = previous.map(|previous| previous.applied).unwrap_or_default();
            applied[side] = generation;
            if other_side_has {
                applied[side.other()] = generation;
            }
            // Only the stamp is ever compared; a tag for each attribute would be most of the link.
            let at = Version { tag: None, ..version.clone() };
            let next = Register { value: value.cloned(), at, by: side, generation, applied, hold: None };
            let before = after.registers.insert(path.clone(), next);
            if let Some(before) = before {
                breaker::replaced(after, path, &before, rules, question.now);
            }
        }
        (
            Decision::Agree
            | Decision::NoEdit
            | Decision::InDoubt
            | Decision::OwnHand { .. }
            | Decision::Noted
            | Decision::LeftAlone
            | Decision::Drift
            | Decision::ConflictLost,
            _,
        ) => {}
    }
    let generation = after.registers.get(path).map_or(0, |register| register.generation);
    lost[first_lost..].iter_mut().for_each(|lost| lost.generation = generation);
}

/// Whether `side` was last seen to hold this very value, and no open write can have changed that.
pub(super) fn holds(link: &Link, side: Side, path: &AttributePath, value: Option<&Value>, rules: &Rules) -> bool {
    let state = &link.sides[side];
    state.seen.get(path) == Some(&rules.digest(side, path, value)) && state.open_intents(path).next().is_none()
}

/// Drops what a snapshot sent after the end of a write has settled: that write can put nothing there any more.
fn forget_intents_that_are_over(state: &mut super::link::SideState, view: &View, read_at: Timestamp) {
    for intent in &mut state.intents {
        // Both times are known to the second only, and neither is ever taken for later than it is.
        if intent.over_at + READ_UNCERTAINTY <= read_at {
            // The account is there, so no deletion took effect.
            intent.writes.retain(|path, _| !view.shows(path) && !path.is_id());
        }
    }
    state.intents.retain(|intent| !intent.writes.is_empty());
}

/// What a proof of absence does to the link (B12): nothing before the account was proven absent
/// [`ABSENCE_PROOFS`] times in a row, then what the connection's policy for leavers says.
pub fn resolve_absence(link: &Link, side: Side, read_at: Timestamp, rules: &Rules) -> Resolution {
    let state = &link.sides[side];
    let seen_later = state.seen_at.as_ref().is_some_and(|seen_at| seen_at.read_at >= read_at);
    let counted = state.absence.is_some_and(|absence| absence.last_at >= read_at);
    if state.account.is_none() || seen_later || counted {
        return Resolution::unusable(link, false);
    }
    let mut after = link.clone();
    let proofs = state.absence.map_or(0, |absence| absence.proofs).saturating_add(1);
    after.sides[side].absence = Some(Absence { proofs, last_at: read_at });

    let mut outcome = ChangeOutcome::Unchanged;
    let active = AttributePath::active();
    let follows = rules.leavers != Leavers::Report
        && rules.attributes.get(&active).is_some_and(|rule| rule.flow.contributes(side));
    if after.sides[side].is_gone() && follows {
        // Should it come back active, that is an edit.
        let off_digest = rules.digest(side, &active, Some(&Value::Bool(false)));
        after.sides[side].seen.insert(active.clone(), off_digest);
        let off = Some(Value::Bool(false));
        let register = after.registers.get(&active);
        // That it goes is news, also of an account that was off before: what the partner was made since is from before that, and
        // whether it was on or off when the store was lost is no question any more.
        let is_news = |register: &Register| match &register.hold {
            Some(Hold::BaseLost { .. }) => true,
            Some(Hold::Stopped(_)) => false,
            None => !link.sides[side].is_gone() && !holds(link, side.other(), &active, off.as_ref(), rules),
        };
        if register.is_none_or(|register| register.value != off || is_news(register)) {
            let generation = register.map_or(0, |register| register.generation) + 1;
            let mut applied = register.map(|register| register.applied).unwrap_or_default();
            applied[side] = generation;
            let at = Version { modified_at: None, read_at, tag: None };
            after.registers.insert(active, Register { value: off, at, by: side, generation, applied, hold: None });
            outcome = ChangeOutcome::Accepted;
        }
    }
    let emits = Sides::from_fn(|side| pending(&after, side, rules).is_some());
    let (lost, frozen, flaws) = (Vec::new(), Vec::new(), Vec::new());
    Resolution { changed: true, link: after, outcome, lost, reread: false, emits, frozen, flaws }
}

#[cfg(test)]
pub(super) mod tests;

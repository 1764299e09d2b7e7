//! What can happen in a state, and what follows from it.

use muster::domain::course::{Course, course};
use muster::domain::{AttributePath, Rules, Side, Timestamp, Value};
use stateright::{Model, Property};

use super::judge::{bounded, converged, nothing_lost};
use super::setup::{STEP_MS, Setup, edit_of, path, typed};
use super::state::{State, Writer};

/// The model: one link under a configuration.
#[derive(Debug, Clone)]
pub struct OneLink {
    pub setup: Setup,
    /// By epoch.
    pub rules: Vec<Rules>,
    /// The first state.
    pub beginning: Option<State>,
}

/// One thing that happens. Changes and requests go by their place in the state's lists, writers by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A person types a value that nobody typed before.
    Edit(Side, u8),
    /// A person puts back what an edit replaced.
    PutBack(Side, u8),
    /// The person leaves, or comes back.
    Move,
    /// The clocks go on.
    Tick,
    /// Nothing happens until the next lease, or what else has an end, is over.
    Expire,
    /// The producer reads an account and publishes it.
    Read(Side),
    /// It shows one attribute of it, as a change event does.
    ReadOne(Side, u8),
    /// A read is sent.
    Ask(Side),
    /// It is answered, and shows what is there now.
    Answer(Side),
    /// The mapper takes a change.
    Map(usize),
    /// It takes it, and the broker delivers it once more later.
    MapTwice(usize),
    /// It dies between its commit and its publish.
    MapDies(usize),
    /// A free writer takes a command.
    Take(Side),
    /// A writer takes its next step.
    Go(usize),
    /// It is killed before.
    Die(usize),
    /// It is killed while its request is on the way.
    DieSending(usize),
    /// It gives up waiting for the answer; the request is still on the way.
    TimeOut(usize),
    /// Its request lands, and it is killed before it hears of it.
    LoseAnswer(usize),
    /// A request that was left behind lands.
    Land(usize),
    /// The store loses its memory.
    LoseStore,
}

use Action::*;

impl OneLink {
    /// The state after an action; `None` if it cannot happen now, or changes nothing that matters.
    pub fn after(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.act(&mut next, action)?;
        self.drop_what_says_nothing(&mut next);
        let next = next.encoded(&self.setup);
        (next.code != state.code).then_some(next)
    }

    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Edit(side, attribute) => {
                state.trouble.edits = state.trouble.edits.checked_sub(1)?;
                let path = path(attribute);
                let before = state.systems[side].values.get(&path).cloned().flatten();
                let edit = state.judge.edit(side, attribute, before.as_ref());
                self.type_in(state, side, path, typed(edit))
            }
            PutBack(side, attribute) => {
                state.trouble.edits = state.trouble.edits.checked_sub(1)?;
                let path = path(attribute);
                let now = edit_of(state.systems[side].values.get(&path)?.as_ref())?;
                let before = state.judge.over(now)?;
                state.judge.put_back(side, attribute, before, Some(&typed(now)));
                self.type_in(state, side, path, typed(before))
            }
            Move => {
                state.moves = state.moves.checked_sub(1)?;
                let active = AttributePath::active();
                let is_active = state.systems.a.values[&active] == Some(Value::Bool(true));
                self.type_in(state, Side::A, active, Value::Bool(!is_active))
            }
            Tick => {
                state.now += STEP_MS;
                self.drop_overdue(state);
                Some(())
            }
            Expire => self.expire(state),
            Read(side) => {
                if !self.is_to_be_read(state, side) {
                    self.may_read(state).then_some(())?;
                    state.trouble.reads = state.trouble.reads.checked_sub(1)?;
                } else if state.systems[side].modified == state.now && state.asked[side].is_none() {
                    state.trouble.hasty_reads = state.trouble.hasty_reads.checked_sub(1)?;
                }
                state.systems[side].exists.then_some(())?;
                self.read(state, side, state.now, state.epoch, None)
            }
            ReadOne(side, attribute) => {
                (self.may_read(state) && state.systems[side].exists).then_some(())?;
                state.trouble.partial_reads = state.trouble.partial_reads.checked_sub(1)?;
                self.read(state, side, state.now, state.epoch, Some(attribute))
            }
            Ask(side) => {
                state.trouble.late_reads = state.trouble.late_reads.checked_sub(1)?;
                let is_free = state.reading[side].is_none() && state.systems[side].exists && self.may_read(state);
                is_free.then_some(())?;
                state.reading[side] = Some((state.now, state.epoch));
                Some(())
            }
            Answer(side) => {
                let (sent, epoch) = state.reading[side].take()?;
                self.read(state, side, sent, epoch, None)
            }
            Map(index) => self.map(state, index, false, false),
            MapTwice(index) => {
                state.trouble.duplicates = state.trouble.duplicates.checked_sub(1)?;
                self.map(state, index, false, true)
            }
            MapDies(index) => {
                state.trouble.crashes = state.trouble.crashes.checked_sub(1)?;
                self.map(state, index, true, true)
            }
            Take(side) => {
                let free = state.writers.iter().position(Writer::is_idle)?;
                state.writers[free] = self.take(state, side)?;
                Some(())
            }
            Go(writer) => {
                let before = state.writers.get(writer)?.clone();
                state.writers[writer] = self.go_on(state, before)?;
                Some(())
            }
            Die(writer) => {
                state.trouble.crashes = state.trouble.crashes.checked_sub(1)?;
                let work = state.writers.get(writer)?.work()?.clone();
                state.writers[writer] = self.dies(state, &work);
                Some(())
            }
            DieSending(writer) | TimeOut(writer) => {
                state.trouble.crashes = state.trouble.crashes.checked_sub(1)?;
                let before = state.writers.get(writer)?.clone();
                state.writers[writer] = self.leave_behind(state, &before, matches!(action, TimeOut(_)))?;
                Some(())
            }
            LoseAnswer(writer) => {
                state.trouble.crashes = state.trouble.crashes.checked_sub(1)?;
                let before = state.writers.get(writer)?.clone();
                state.writers[writer] = self.lose_answer(state, &before)?;
                Some(())
            }
            Land(index) => {
                (index < state.left_behind.len()).then_some(())?;
                let request = state.left_behind.remove(index);
                self.land(state, &request);
                Some(())
            }
            LoseStore => {
                state.trouble.losses = state.trouble.losses.checked_sub(1)?;
                self.lose_store(state);
                Some(())
            }
        }
    }

    /// Takes away what could only ever be delivered in vain: a sight that its stamp proves older than what is known, and a
    /// command for a side that lacks nothing, as whatever it lacks later brings a command of its own.
    fn drop_what_says_nothing(&self, state: &mut State) {
        let State { link, changes, epoch, .. } = state;
        changes.retain(|change| {
            let known = &link.sides[change.side];
            let is_older = |seen_at| change.snapshot.version.is_stamped_before(seen_at);
            let owes = change.owed.a || change.owed.b;
            owes || link.epoch != *epoch || known.partial || !known.seen_at.as_ref().is_some_and(is_older)
        });
        for side in Side::BOTH.into_iter().filter(|side| state.commands[*side] > 0).collect::<Vec<_>>() {
            let (rules, now) = (self.rules(state.epoch), Timestamp(state.now));
            if let Course::Over(_) = course(&state.link, side, rules, state.epoch, now, false) {
                state.commands[side] = 0;
            }
        }
    }

    fn type_in(&self, state: &mut State, side: Side, path: AttributePath, value: Value) -> Option<()> {
        let system = &mut state.systems[side];
        system.exists.then_some(())?;
        system.change(&[(path, Some(value))].into(), state.now, self.setup.normalises[side]);
        Some(())
    }

    /// The next end of a lease, of a creation that may be under way, or of a quarantine. A holder that lives misses the
    /// end of its lease only so often.
    fn expire(&self, state: &mut State) -> Option<()> {
        let sides = [&state.link.sides.a, &state.link.sides.b];
        let leases = sides.iter().filter_map(|side| side.lease.as_ref()).map(|lease| lease.until.0);
        let intents = sides.iter().flat_map(|side| &side.intents).map(|intent| intent.until.0);
        let ends = leases.chain(intents).chain([state.quarantine_until]);
        let end = ends.filter(|end| *end > state.now).min()?;
        let missed = state.writers.iter().filter_map(Writer::work).any(|work| work.lease_until <= end);
        if missed {
            state.trouble.expiries = state.trouble.expiries.checked_sub(1)?;
        }
        state.now = end;
        self.drop_overdue(state);
        Some(())
    }

    fn drop_overdue(&self, state: &mut State) {
        let now = state.now;
        state.left_behind.retain(|request| now <= request.land_until);
    }
}

impl Model for OneLink {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.beginning.iter().cloned().collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let trouble = &state.trouble;
        if trouble.edits > 0 {
            for (side, attribute) in &self.setup.typists {
                actions.push(Edit(*side, *attribute));
                if self.setup.reuse {
                    actions.push(PutBack(*side, *attribute));
                }
            }
        }
        if state.moves > 0 {
            actions.push(Move);
        }
        actions.extend([Tick, Expire]);
        for side in Side::BOTH {
            if self.is_to_be_read(state, side) || trouble.reads > 0 {
                actions.push(Read(side));
            }
            if trouble.partial_reads > 0 {
                actions.extend((0..self.setup.attributes).map(|attribute| ReadOne(side, attribute)));
            }
            if trouble.late_reads > 0 {
                actions.push(Ask(side));
            }
            if state.reading[side].is_some() {
                actions.push(Answer(side));
            }
            if state.commands[side] > 0 {
                actions.push(Take(side));
            }
        }
        for change in 0..state.changes.len() {
            actions.push(Map(change));
            if trouble.duplicates > 0 {
                actions.push(MapTwice(change));
            }
            if trouble.crashes > 0 {
                actions.push(MapDies(change));
            }
        }
        for (number, writer) in state.writers.iter().enumerate().filter(|(_, writer)| !writer.is_idle()) {
            actions.push(Go(number));
            if trouble.crashes > 0 {
                actions.push(Die(number));
                if self.about_to_send(state, writer).is_some() {
                    actions.extend([DieSending(number), TimeOut(number), LoseAnswer(number)]);
                }
            }
        }
        actions.extend((0..state.left_behind.len()).map(Land));
        if trouble.losses > 0 {
            actions.push(LoseStore);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.after(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("both sides end up equal", |_, state: &State| !state.is_at_rest() || converged(state)),
            Property::always("no edit is lost", |_, state: &State| !state.is_at_rest() || nothing_lost(state)),
            Property::always("writes are bounded", |_, state: &State| bounded(state)),
            Property::always("no newer value is overwritten", |_, state: &State| !state.judge.faults.stale_overwrite),
            Property::always("nothing is overwritten on the strength of a loss", |_, state: &State| {
                !state.judge.faults.overwritten_after_loss
            }),
            Property::always("nothing is taken for an edit that nobody made", |_, state: &State| {
                !state.judge.faults.phantom
            }),
            Property::always("no account is created twice", |_, state: &State| state.systems.b.created <= 1),
        ]
    }
}

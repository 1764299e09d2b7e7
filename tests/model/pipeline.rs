//! Producer, mapper and store: what is not a writer.

use muster::domain::course::quarantine_ends;
use muster::domain::link::{Link, Origin};
use muster::domain::resolve::resolve;
use muster::domain::{Attributes, Epoch, LinkId, Side, Sides, Snapshot, Timestamp, Value};

use super::act::OneLink;
use super::judge::Judge;
use super::remote::Remote;
use super::setup::{DEADLINE, FIRST_EPOCH, Setup, Start, account, lease, path, typed};
use super::state::{State, Writer};

impl OneLink {
    pub fn new(setup: Setup) -> Self {
        let rules = (0..3).map(|epoch| setup.rules(Epoch(FIRST_EPOCH.0 + epoch))).collect();
        let mut model = Self { rules, beginning: None, setup };
        model.beginning = Some(model.begin());
        model
    }

    /// The first state: what the setup's start says, and everything that follows of itself has happened.
    fn begin(&self) -> State {
        let setup = &self.setup;
        let now = 1_000_000;
        let mut judge = Judge::default();
        let mut values = Sides::<Attributes>::default();
        for attribute in 0..setup.attributes {
            for side in Side::BOTH {
                let value = match setup.start {
                    Start::InSync => typed(0),
                    Start::OnlyA if side == Side::B => continue,
                    Start::Different | Start::OnlyA => typed(judge.edit(side, attribute, None)),
                };
                values[side].insert(path(attribute), Some(value));
            }
        }
        if setup.leaver {
            let exists = |side| side == Side::A || setup.start != Start::OnlyA;
            for side in Side::BOTH.into_iter().filter(|side| exists(*side)) {
                values[side].insert(muster::domain::AttributePath::active(), Some(Value::Bool(true)));
            }
        }
        let mut link = Link::new(LinkId(1), FIRST_EPOCH, Origin::FirstMatch, Side::A, account(Side::A));
        if setup.start != Start::OnlyA {
            link.sides.b.account = Some(account(Side::B));
        }
        let Sides { a, b } = values;
        let mut state = State {
            now,
            epoch: FIRST_EPOCH,
            quarantine_until: 0,
            link,
            systems: Sides { a: Remote::new(a, true, now), b: Remote::new(b, setup.start != Start::OnlyA, now) },
            changes: Vec::new(),
            commands: Sides::default(),
            writers: vec![Writer::Idle; setup.writers],
            left_behind: Vec::new(),
            asked: Sides::default(),
            reading: Sides::default(),
            moves: if setup.leaver { 2 } else { 0 },
            trouble: setup.trouble,
            tokens: 0,
            judge,
            code: 0,
        };
        state.now += 10_000;
        let begins_with = match setup.start {
            Start::InSync => &Side::BOTH[..],
            Start::OnlyA => &Side::BOTH[..1],
            Start::Different => &[],
        };
        for side in begins_with {
            let found = self.look(&state, *side, state.now);
            let emits = self.hear(&mut state, *side, &found, FIRST_EPOCH);
            Side::BOTH.into_iter().filter(|side| emits[*side]).for_each(|side| self.command(&mut state, side));
            state.systems[*side].unread = false;
        }
        state.encoded(setup)
    }

    /// What the mapper commits for a sight of an account; the sides for which a command follows.
    pub fn hear(&self, state: &mut State, side: Side, snapshot: &Snapshot, read_in: Epoch) -> Sides<bool> {
        if !state.epoch.accepts(read_in) {
            return Sides::default();
        }
        let mut link = state.link.clone();
        link.enter(state.epoch);
        if link.sides[side].account.is_none() {
            link.take_in(side, snapshot, self.rules(state.epoch));
        }
        if link.sides[side].seen_at.is_none() {
            state.judge.is_first_read(side, &snapshot.attributes);
        }
        let resolution = resolve(&link, side, snapshot, self.rules(state.epoch), Timestamp(state.now));
        if resolution.changed {
            state.link = resolution.link;
        }
        if resolution.reread {
            state.asked[side] = Some(state.now);
        }
        state.judge.journal(&resolution.lost);
        state.judge.look_for_phantoms(&state.link);
        resolution.emits
    }

    /// The mapper takes a change from the queue. It may die between its commit and its publish; the change may come
    /// again.
    pub fn map(&self, state: &mut State, index: usize, dies: bool, again: bool) -> Option<()> {
        let mut change = state.changes.get(index)?.clone();
        let emits = self.hear(state, change.side, &change.snapshot, change.epoch);
        for side in Side::BOTH {
            if dies {
                change.owed[side] |= emits[side];
            } else if emits[side] || std::mem::take(&mut change.owed[side]) {
                self.command(state, side);
            }
        }
        if dies || again {
            state.changes[index] = change;
        } else {
            state.changes.remove(index);
        }
        Some(())
    }

    /// The producer reads an account, as somebody asked or since its last state is not known settled.
    pub fn read(&self, state: &mut State, side: Side, sent: i64, read_in: Epoch, only: Option<u8>) -> Option<()> {
        let mut snapshot = self.look(state, side, sent);
        if let Some(attribute) = only {
            snapshot.attributes.retain(|name, _| *name == path(attribute));
        } else {
            let system = &mut state.systems[side];
            system.unread &= !system.is_settled_by(&snapshot, sent);
            system.read_at = Some(sent);
            if state.asked[side].is_some_and(|asked| asked < sent) {
                state.asked[side] = None;
            }
        }
        state.publish(side, snapshot, read_in);
        Some(())
    }

    /// Whether a read makes sense now: it is asked for, or what is there was not read settled.
    pub fn is_to_be_read(&self, state: &State, side: Side) -> bool {
        let asked = state.asked[side].is_some_and(|asked| asked < state.now);
        let system = &state.systems[side];
        let unread = system.unread && system.read_at != Some(state.now);
        system.exists && self.may_read(state) && (unread || asked)
    }

    /// No read before the quarantine of a new epoch is over.
    pub fn may_read(&self, state: &State) -> bool {
        state.now >= state.quarantine_until
    }

    /// The store loses its memory: what comes back is the bare pairing, or the link as it was in the beginning.
    pub fn lose_store(&self, state: &mut State) {
        let beginning = self.beginning.as_ref().expect("the model has begun");
        if self.setup.restores {
            state.link = beginning.link.clone();
        } else {
            let mut link = Link::new(LinkId(1), state.epoch, Origin::Rebuilt, Side::A, account(Side::A));
            if state.link.sides.b.account.is_some() || state.systems.b.exists {
                link.sides.b.account = Some(account(Side::B));
            }
            state.link = link;
        }
        state.epoch = Epoch(state.epoch.0 + 1);
        let began_at = Timestamp(state.now);
        state.quarantine_until = quarantine_ends(began_at, lease(state.now), DEADLINE, self.setup.search_lag).0;
        state.asked = Sides::default();
        for system in [&mut state.systems.a, &mut state.systems.b] {
            (system.unread, system.read_at) = (system.exists, None);
        }
        state.judge.lost = true;
        // Whatever is under way is not finished, and each attribute begins anew.
        state.judge.unfinished();
    }
}

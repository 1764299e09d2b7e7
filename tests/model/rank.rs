//! What two states must differ in to be two. Times, generations, tags and tokens only ever meet in comparisons, so each
//! is replaced by its rank among those of its kind, where a gap that no rule can tell from a longer one counts as that
//! one. Hence the clocks may run for ever in finitely many states. What nothing is decided by is left out: revisions,
//! notes for people, the order of the broker and which of the writers is the first.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use muster::domain::link::{Intent, Link};
use muster::domain::{AttributePath, Attributes, Digest, Side, Snapshot, Value, Version};

use super::judge::Judge;
use super::remote::{Remote, clock};
use super::setup::{Condition, Setup, edit_of, number};
use super::state::{Request, State, Work, Writer};

/// The kinds of numbers that are compared with each other, and nothing else.
#[derive(Clone, Copy)]
enum Kind {
    Clock(Side),
    Store,
    Tag(Side),
    Token,
    Generation(u8),
}

const KINDS: usize = 9;

impl Kind {
    fn index(self, setup: &Setup) -> usize {
        match self {
            // The two clocks meet where the later edit wins.
            Self::Clock(Side::B) if !setup.compares_clocks() => 1,
            Self::Clock(_) => 0,
            Self::Store => 2,
            Self::Tag(Side::A) => 3,
            Self::Tag(Side::B) => 4,
            Self::Token => 5,
            Self::Generation(attribute) => 6 + usize::from(attribute),
        }
    }
}

/// A gap from here on is as good as any longer one: one more than the grain of stamps, and than what orders two reads.
const LONG_MS: i64 = 1_001;

struct Encoder<'e> {
    setup: &'e Setup,
    numbers: [Vec<i64>; KINDS],
    /// Ranks of `numbers`; empty while those are being collected.
    ranks: [Vec<u32>; KINDS],
    out: Vec<u32>,
}

impl State {
    /// Computes the code anew.
    pub fn encoded(mut self, setup: &Setup) -> Self {
        let mut encoder =
            Encoder { setup, numbers: Default::default(), ranks: Default::default(), out: Vec::with_capacity(256) };
        encoder.state(&self);
        encoder.rank();
        encoder.out.clear();
        encoder.state(&self);
        let mut hasher = DefaultHasher::new();
        for word in &encoder.out {
            hasher.write_u32(*word);
        }
        self.code = hasher.finish();
        self
    }
}

impl Encoder<'_> {
    fn rank(&mut self) {
        for (kind, numbers) in self.numbers.iter_mut().enumerate() {
            numbers.sort_unstable();
            numbers.dedup();
            let longest = if kind < 2 { LONG_MS } else { 1 };
            let mut rank = 0;
            let gaps = numbers.iter().scan(None, |before, at| {
                let gap = before.replace(*at).map_or(0, |before| (at - before).min(longest));
                rank += u32::try_from(gap).unwrap();
                Some(rank)
            });
            self.ranks[kind] = gaps.collect();
        }
    }

    fn number(&mut self, kind: Kind, number: i64) {
        let index = kind.index(self.setup);
        let ahead = match kind {
            Kind::Clock(Side::A) => self.setup.a_ahead_ms,
            _ => 0,
        };
        let number = number - ahead;
        if self.ranks[index].is_empty() {
            self.numbers[index].push(number);
        } else {
            let at = self.numbers[index].binary_search(&number).expect("it was collected");
            self.out.push(self.ranks[index][at]);
        }
    }

    fn put(&mut self, word: impl Into<u32>) {
        self.out.push(word.into());
    }

    /// What is inside in any order.
    fn any_order<T>(&mut self, items: impl Iterator<Item = T>, mut encode: impl FnMut(&mut Self, T)) {
        let start = self.out.len();
        let mut parts: Vec<Vec<u32>> = items
            .map(|item| {
                encode(self, item);
                self.out.split_off(start)
            })
            .collect();
        parts.sort_unstable();
        for part in parts {
            self.put(u32::MAX);
            self.out.extend(part);
        }
        self.put(u32::MAX - 1);
    }

    fn state(&mut self, state: &State) {
        for side in Side::BOTH {
            self.number(Kind::Clock(side), clock(side, self.setup, state.now).0);
        }
        self.number(Kind::Store, state.now);
        self.put(u32::try_from(state.epoch.0).unwrap());
        self.put(state.now < state.quarantine_until);
        if state.now < state.quarantine_until {
            self.number(Kind::Store, state.quarantine_until);
        }
        self.link(&state.link);
        for side in Side::BOTH {
            self.remote(side, &state.systems[side]);
            self.put(state.systems[side].read_at == Some(state.now));
            self.put(state.commands[side]);
            self.put(state.asked[side].is_some_and(|asked| asked < state.now));
            self.put(state.asked[side].is_some());
            if let Some((sent, epoch)) = state.reading[side] {
                self.number(Kind::Clock(side), clock(side, self.setup, sent).0);
                self.put(u32::try_from(epoch.0).unwrap());
            }
        }
        self.any_order(state.changes.iter(), |encoder, change| {
            encoder.snapshot(change.side, &change.snapshot);
            encoder.put(u32::try_from(change.epoch.0).unwrap());
            encoder.put(change.owed.a);
            encoder.put(change.owed.b);
        });
        self.any_order(state.writers.iter(), |encoder, writer| encoder.writer(writer));
        self.any_order(state.left_behind.iter(), |encoder, request| encoder.request(request));
        let trouble = state.trouble;
        for left in [
            state.moves,
            trouble.edits,
            trouble.crashes,
            trouble.expiries,
            trouble.duplicates,
            trouble.reads,
            trouble.hasty_reads,
            trouble.late_reads,
            trouble.partial_reads,
            trouble.losses,
        ] {
            self.put(left);
        }
        self.judge(&state.judge);
    }

    fn link(&mut self, link: &Link) {
        self.put(u32::try_from(link.epoch.0).unwrap());
        self.put(matches!(link.origin, muster::domain::link::Origin::Rebuilt));
        for side in Side::BOTH {
            let state = &link.sides[side];
            self.put(state.account.is_some());
            for (path, digest) in &state.seen {
                self.path(path);
                self.digest(*digest);
            }
            self.put(u32::MAX);
            self.version(side, state.seen_at.as_ref());
            for intent in &state.intents {
                self.intent(side, intent);
            }
            self.put(u32::MAX);
            if let Some(lease) = &state.lease {
                self.token(lease.token.0);
                self.number(Kind::Store, lease.until.0);
            }
            self.put(state.partial);
            self.put(state.dead.is_some());
        }
        for (path, register) in &link.registers {
            self.path(path);
            self.value(register.value.as_ref());
            self.put(register.by as u32);
            let generation = Kind::Generation(number(path));
            self.number(generation, 0);
            for number in [register.generation, register.applied.a, register.applied.b] {
                self.number(generation, i64::from(number));
            }
            self.put(register.hold.is_some());
            if self.setup.compares_clocks() {
                self.version(register.by, Some(&register.at));
            }
        }
        self.put(u32::MAX);
    }

    fn intent(&mut self, side: Side, intent: &Intent) {
        self.token(intent.token.0);
        for (path, (digest, generation)) in &intent.writes {
            self.path(path);
            self.digest(*digest);
            self.number(Kind::Generation(number(path)), i64::from(*generation));
        }
        self.version(side, intent.conditioned_on.as_ref());
        self.number(Kind::Clock(side), intent.over_at.0);
        if intent.conditioned_on.is_none() {
            // Of a creation alone: what was there before is none of it.
            self.number(Kind::Clock(side), intent.begun_at.0);
        }
        self.number(Kind::Store, intent.until.0);
    }

    fn remote(&mut self, side: Side, remote: &Remote) {
        self.put(remote.exists);
        self.put(remote.unread);
        self.put(remote.created);
        if remote.exists {
            self.values(&remote.values);
            self.number(Kind::Clock(side), clock(side, self.setup, remote.modified).0);
            if self.setup.conditions[side] == Condition::Tag {
                self.number(Kind::Tag(side), remote.version);
            }
            if !self.setup.search_lag.is_zero() {
                self.number(Kind::Clock(side), clock(side, self.setup, remote.created_at).0);
            }
        }
    }

    fn writer(&mut self, writer: &Writer) {
        match writer {
            Writer::Idle => self.put(0_u32),
            Writer::Begun(work) => self.work(2, work),
            Writer::Checked(work) => self.work(3, work),
            Writer::Unread(work) => self.work(4, work),
            Writer::Answered(work, answer) => {
                self.work(5, work);
                self.snapshot(work.side, answer);
            }
            Writer::Moved(work, found) => {
                self.work(6, work);
                self.snapshot(work.side, found);
            }
        }
    }

    fn work(&mut self, phase: u32, work: &Work) {
        self.put(phase);
        self.token(work.token.0);
        for (path, generation) in &work.wanted.generations {
            self.path(path);
            self.number(Kind::Generation(number(path)), i64::from(*generation));
        }
        self.number(Kind::Store, work.send_until);
        self.number(Kind::Store, work.lease_until);
        self.request(&work.request);
    }

    fn request(&mut self, request: &Request) {
        self.put(request.side as u32);
        self.values(&request.values);
        self.version(request.side, request.base.as_ref());
        self.number(Kind::Store, request.land_until);
        if let Some(checked) = &request.checked {
            self.values(checked);
        }
        self.put(u32::try_from(request.epoch.0).unwrap());
    }

    fn judge(&mut self, judge: &Judge) {
        self.out.extend(judge.words());
    }

    fn snapshot(&mut self, side: Side, snapshot: &Snapshot) {
        self.put(side as u32);
        self.version(side, Some(&snapshot.version));
        self.values(&snapshot.attributes);
        self.put(snapshot.partner.is_some());
    }

    fn version(&mut self, side: Side, version: Option<&Version>) {
        let Some(version) = version else { return self.put(0_u32) };
        self.put(1_u32);
        if let Some(modified_at) = version.modified_at {
            self.number(Kind::Clock(side), modified_at.0);
        }
        self.number(Kind::Clock(side), version.read_at.0);
        self.put(version.tag.is_some());
        if let Some(tag) = &version.tag {
            match self.setup.conditions[side] {
                Condition::Tag => self.number(Kind::Tag(side), tag.parse().unwrap()),
                // It is what the account held, and says it in full.
                _ => self.put(tag.parse::<u32>().unwrap()),
            }
        }
    }

    fn values(&mut self, values: &Attributes) {
        for (path, value) in values {
            self.path(path);
            self.value(value.as_ref());
        }
        self.put(u32::MAX);
    }

    fn value(&mut self, value: Option<&Value>) {
        self.put(match value {
            None => 0,
            Some(Value::Bool(flag)) => 1 + u32::from(*flag),
            // As it was typed, or as a system made it.
            Some(Value::Text(text)) => 3 + 2 * u32::from(edit_of(value).unwrap()) + u32::from(text.starts_with('v')),
            Some(other) => unreachable!("nobody types {other:?}"),
        });
    }

    fn path(&mut self, path: &AttributePath) {
        self.put(number(path));
    }

    fn digest(&mut self, digest: Digest) {
        self.put(digest.0 as u32);
        self.put((digest.0 >> 32) as u32);
    }

    fn token(&mut self, token: u64) {
        self.number(Kind::Token, i64::try_from(token).unwrap());
    }
}

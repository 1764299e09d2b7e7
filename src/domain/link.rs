//! The link: one account on side `a`, one on side `b`, and what is known of both. It is the truth of the pipeline:
//! messages are hints, and what a side lacks is computed from here. One document, replaced by compare-and-set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::account::{Snapshot, Version};
use super::attribute::{AttributePath, Attributes, Digest, Value};
use super::breaker::Turn;
use super::deferral::Deferral;
use super::failure::{Code, Failure};
use super::hold::{Hold, Stop};
use super::id::{AccountId, Epoch, LinkId, RunId, Side, Sides, Token};
use super::matching::Ambiguity;
use super::rules::{Departure, Rules, View};
use super::time::Timestamp;
use super::write::may_be_kept_as;

/// What is known of one pair of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its id within the connection.
    #[serde(rename = "i")]
    pub id: LinkId,
    /// Counts the commits of this document; 0 before the first. The store compares it at each commit.
    #[serde(rename = "v")]
    pub revision: u64,
    /// The store's epoch in which the rest was learnt. In another one it is only a hint: see [`Link::enter`].
    #[serde(rename = "e")]
    pub epoch: Epoch,
    /// How the two accounts came together.
    #[serde(rename = "o")]
    pub origin: Origin,
    /// The two ends.
    #[serde(rename = "s")]
    pub sides: Sides<SideState>,
    /// The value of each attribute that the two sides agreed on or were told.
    #[serde(rename = "r")]
    pub registers: BTreeMap<AttributePath, Register>,
    /// Attributes for which, on this link, one side alone counts: a person said so.
    #[serde(rename = "p", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<AttributePath, Pin>,
    /// Attributes that lately changed more than once, with those changes, the oldest first: what the loop breaker counts.
    #[serde(rename = "l", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub turns: BTreeMap<AttributePath, Vec<Turn>>,
    /// Why its one account gets no partner for the time being: several could be meant.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub ambiguity: Option<Box<Ambiguity>>,
}

/// From here on only one side counts for an attribute of a link: what is changed on the other one is kept in the journal
/// and set back, until a person takes the pin away (B5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The side that counts.
    #[serde(rename = "s")]
    pub side: Side,
    /// Who said so: `user@host`.
    #[serde(rename = "b")]
    pub by: String,
    /// When, in the store's clock.
    #[serde(rename = "t")]
    pub at: Timestamp,
}

/// How the two accounts came together. It decides what differing values mean when both are first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// They met for the first time: differing values go to the policy.
    #[serde(rename = "f")]
    FirstMatch,
    /// They were linked before and the store forgot it: the older value cannot be told, so differing values that both
    /// sides may contribute are held (`base_lost`).
    #[serde(rename = "r")]
    Rebuilt,
}

/// What is known of one end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SideState {
    /// The account; absent while there is none, or none is known.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The three-way merge's base: what this side was last seen to hold, as digests under its own comparison.
    #[serde(rename = "s", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<AttributePath, Digest>,
    /// When that was true; absent until this side was read in this epoch.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Version>,
    /// Writes that were begun and whose answer has not been committed.
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    pub intents: Vec<Intent>,
    /// The one writer that may write this side now.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Set while a refused write waits for a person: no new command until what is pending, or the rules, change.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Burial>,
    /// The account does not fit the connection's scope (any more): the link stays, and nothing is written to either side
    /// (R8).
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_scope: bool,
    /// Proofs in a row that the account is not there.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<Absence>,
    /// `seen_at` was last moved by a snapshot that did not show every attribute. An older one that shows more is not
    /// used either, but then the account is read again.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// What the system said to the last write. Nothing is decided by it: people ask for it.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub last_write: Option<LastWrite>,
    /// A guard stopped the creation of the account.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// The account was found to be one of the protected ones when it was last read.
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// The account that was here last, and how it parted from its partner, who had left.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub parting: Option<Box<Parting>>,
    /// A write waits until nobody works with the account.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub deferral: Option<Deferral>,
    /// Values that it was last seen to hold and that are not what both sides should have, so that they can be brought back
    /// should a write overwrite them ([`undo`](super::undo)). Nothing else is decided by it.
    #[serde(rename = "o", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: Attributes,
}

/// How an account parted from its partner, who had left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parting {
    /// The account.
    #[serde(rename = "a")]
    pub account: AccountId,
    /// How.
    #[serde(rename = "h")]
    pub how: Departure,
    /// Why.
    #[serde(rename = "w")]
    pub why: Left,
    /// When, by the clock of the writer's machine: only people read it.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The run that brought it about.
    #[serde(rename = "r")]
    pub run: RunId,
    /// Nothing was left to do: the account was gone already.
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    pub was_gone: bool,
    /// When it was over for certain, in the clock of the account's system: who is read there later is there (again).
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub over_at: Option<Timestamp>,
}

impl Parting {
    /// Whether the account is no longer to be found under its id.
    pub fn is_final(&self) -> bool {
        self.how != Departure::Detach || self.was_gone
    }

    /// Whether a sight of the account is one from before, delivered late.
    pub fn outdates(&self, snapshot: &Snapshot) -> bool {
        let is_before = |over_at| snapshot.version.read_at <= over_at;
        self.is_of(&snapshot.account) && self.over_at.is_some_and(is_before)
    }

    /// Whether this id is that of the account, and stands for nobody any more.
    pub fn is_of(&self, account: &AccountId) -> bool {
        self.is_final() && self.account == *account
    }
}

/// In which way an account left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// It may not be used any more.
    Inactive,
    /// It was proven gone.
    Gone,
}

/// What a system said to the last write of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWrite {
    /// When the answer came, by the clock of the writer's machine: only people read it.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// What it said.
    #[serde(rename = "a")]
    pub answer: WriteAnswer,
    /// HTTP status of a refusal or failure; absent if there was no answer.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The vendor's id of a request that was refused or failed, cut at [`REQUEST_ID_CHARS`].
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
}

/// The longest part of a vendor's request id that a link keeps.
pub const REQUEST_ID_CHARS: usize = 64;

/// What a system can say to a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteAnswer {
    /// The account was created.
    Created,
    /// The account was changed.
    Updated,
    /// Instead of creating it, an account that was there was linked.
    Found,
    /// Nothing was written: somebody had changed the account since it was last seen.
    Moved,
    /// Nothing is known to have been written, for this reason.
    Failed(Code),
}

impl LastWrite {
    /// A write that went well, or that had nothing to fail.
    pub fn new(at: Timestamp, answer: WriteAnswer) -> Self {
        Self { at, answer, status: None, request_id: None }
    }

    /// A write that failed.
    pub fn failed(at: Timestamp, failure: &Failure) -> Self {
        let cut = |id: &String| id.chars().take(REQUEST_ID_CHARS).collect::<String>().into_boxed_str();
        Self {
            at,
            answer: WriteAnswer::Failed(failure.code.clone()),
            status: failure.status,
            request_id: failure.request_id.as_ref().map(cut),
        }
    }
}

/// Proofs in a row that an account is not there (B12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// How many.
    #[serde(rename = "n")]
    pub proofs: u8,
    /// When the last of them was read, in the system's clock: the same proof delivered twice counts once.
    #[serde(rename = "t")]
    pub last_at: Timestamp,
}

/// The value that both sides should have of one attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The value; `None` is a clear. Kept because it is needed to write the other side.
    #[serde(rename = "v")]
    pub value: Option<Value>,
    /// The version of the snapshot that set it.
    #[serde(rename = "t")]
    pub at: Version,
    /// The side whose edit it was.
    #[serde(rename = "b")]
    pub by: Side,
    /// Counts the values of this register, from 1.
    #[serde(rename = "g")]
    pub generation: u32,
    /// The generation that each side is *known to hold now*; 0 for none. It may go down: a late write of ours, or an
    /// older value of ours found on the side, sets it back.
    #[serde(rename = "p")]
    pub applied: Sides<u32>,
    /// Why this attribute is not written for the time being.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// A write that was begun. Written to the store before the request leaves; removed by the answer to that very write, or
/// by the first snapshot sent after the request can no longer take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The write's own token.
    #[serde(rename = "k")]
    pub token: Token,
    /// What it may put on the side: digest and generation of each attribute.
    #[serde(rename = "w")]
    pub writes: BTreeMap<AttributePath, (Digest, u32)>,
    /// The texts among it, as the side calls them: a system may keep another form of one than it was sent, of which the
    /// digest says nothing.
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<AttributePath, Value>,
    /// The side's `seen_at` on which the write was conditioned; absent for a creation.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conditioned_on: Option<Version>,
    /// When it was begun, in the target's clock and not later than the truth: no request of it can have taken effect
    /// before.
    #[serde(rename = "b", default)]
    pub begun_at: Timestamp,
    /// From here on, in the target's clock, no request of this write can take effect any more.
    #[serde(rename = "o")]
    pub over_at: Timestamp,
    /// The same point in the store's clock: until then a search after a foreign creation proves nothing.
    #[serde(rename = "u")]
    pub until: Timestamp,
}

/// One writer's exclusive hold of one side of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    #[serde(rename = "k")]
    pub token: Token,
    /// When it ends, in the store's clock.
    #[serde(rename = "u")]
    pub until: Timestamp,
}

/// A write that began and whose end nobody knows yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// Until when it may take effect, in the store's clock.
    pub until: Timestamp,
}

/// Marks a side whose pending values were refused for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burial {
    /// Digest of what was pending, and of the rules' version. While it still matches, nothing is sent again.
    #[serde(rename = "p")]
    pub pending: Digest,
    /// Code of the refusal, for `status`.
    #[serde(rename = "c")]
    pub code: String,
}

impl Intent {
    /// Whether this creation may have made the account that is seen here. One that was there before is none of ours, though
    /// a search of ours found it. Neither is one that was changed since and holds something else than what we sent: if
    /// somebody edited what was there before, its stamp looks like that of a creation. Without a stamp it cannot be told, and
    /// nothing is claimed.
    pub fn may_have_created(&self, side: Side, seen: &Snapshot, rules: &Rules) -> bool {
        let stamp = seen.version.modified_at;
        let modified_since = stamp.is_some_and(|modified_at| modified_at + rules.grain[side] >= self.begun_at);
        if self.conditioned_on.is_some() || !modified_since {
            return false;
        }
        self.writes.iter().all(|(path, (sent, _))| {
            let Some(rule) = rules.attributes.get(path) else { return true };
            let Some(Ok(value)) = rule.look(side, seen) else { return true };
            let shown = || seen.attributes.get(&rule.names[side]).and_then(Option::as_ref);
            rules.digest(side, path, value.as_ref()) == *sent || may_be_kept_as(self.texts.get(path), shown())
        })
    }

    /// Whether it is the deletion or removal of the account.
    pub fn ends_the_account(&self) -> bool {
        self.writes.keys().any(AttributePath::is_id)
    }
}

impl Link {
    /// A link of which only the account on `side` is known.
    pub fn new(id: LinkId, epoch: Epoch, origin: Origin, side: Side, account: AccountId) -> Self {
        let mut sides = Sides::<SideState>::default();
        sides[side].account = Some(account);
        let (registers, pins, turns) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { id, revision: 0, epoch, origin, sides, registers, pins, turns, ambiguity: None }
    }

    /// Brings a link of another epoch into this one. What it remembers may be older than the truth, so all of it but
    /// the pairing and what people decided about it is dropped: both sides are read again before anything is decided.
    pub fn enter(&mut self, epoch: Epoch) {
        if self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        if self.sides.a.account.is_some() && self.sides.b.account.is_some() {
            self.origin = Origin::Rebuilt;
        }
        self.registers.clear();
        self.turns.clear();
        for side in Side::BOTH {
            let SideState { account, parting, dead, .. } = std::mem::take(&mut self.sides[side]);
            // What was refused is tried again; that there is a letter is known, so that a success closes it.
            let dead = dead.map(|dead| Burial { pending: Digest(0), ..dead });
            self.sides[side] = SideState { account, parting, dead, ..SideState::default() };
        }
    }

    /// Drops every value that is remembered of the accounts, and whatever was noted of values; the accounts stay, how they
    /// parted, and what people decided about them: a creation that was refused stays so. Both sides are read again before
    /// anything is decided. Whether there was something to drop.
    ///
    /// # Errors
    /// A write is under way at `now` (store clock), or one without an answer may still take effect. What was noted of it is
    /// all that keeps an account from being created twice, so nothing is dropped.
    pub fn forget_values(&mut self, now: Timestamp) -> Result<bool, UnderWay> {
        let open = Side::BOTH.into_iter().flat_map(|side| {
            let SideState { lease, intents, .. } = &self.sides[side];
            lease.iter().map(|lease| lease.until).chain(intents.iter().map(|intent| intent.until))
        });
        if let Some(until) = open.filter(|until| *until > now).max() {
            return Err(UnderWay { until });
        }
        let before = (self.registers.clone(), self.turns.clone(), self.sides.clone());
        self.registers.clear();
        self.turns.clear();
        for side in Side::BOTH {
            let SideState { account, parting, absence, out_of_scope, protected, stop, dead, .. } =
                std::mem::take(&mut self.sides[side]);
            // That there is a letter is known, so that a success closes it.
            let dead = dead.map(|dead| Burial { pending: Digest(0), ..dead });
            let kept =
                SideState { account, parting, absence, out_of_scope, protected, stop, dead, ..SideState::default() };
            self.sides[side] = kept;
        }
        Ok(before != (self.registers.clone(), self.turns.clone(), self.sides.clone()))
    }

    /// Whether the account of `side` left, and how: it was proven gone, or is known to be no longer active.
    pub fn left(&self, side: Side) -> Option<Left> {
        let is_off =
            |active: &Register| active.value == Some(Value::Bool(false)) && active.applied[side] == active.generation;
        if self.sides[side].account.is_none() {
            None
        } else if self.sides[side].is_gone() {
            Some(Left::Gone)
        } else {
            self.registers.get(&AttributePath::active()).filter(|active| is_off(active)).map(|_| Left::Inactive)
        }
    }

    /// Tells one leaving from another: what a person decided about one leaving says nothing of the next.
    pub fn leaving(&self) -> u32 {
        self.registers.get(&AttributePath::active()).map_or(1, |active| active.generation)
    }

    /// How the account that `side` had last parted from its partner, where it has had no other since.
    pub fn parted(&self, side: Side) -> Option<&Parting> {
        self.sides[side].parting.as_deref().filter(|_| self.sides[side].account.is_none())
    }

    /// Takes in the account of `side` since it names its partner here (R43): one that we
    /// created and whose answer was lost, or, where no write of ours can explain it, one of a link that the store forgot.
    pub fn take_in(&mut self, side: Side, snapshot: &Snapshot, rules: &Rules) {
        let state = &mut self.sides[side];
        let created_by_us = state.intents.iter().any(|intent| intent.may_have_created(side, snapshot, rules));
        state.account = Some(snapshot.account.clone());
        self.ambiguity = None;
        if !created_by_us {
            self.origin = Origin::Rebuilt;
        }
    }

    /// Lets an account take the place of the one of `side`, which is proven gone, since it names the same partner. Of the
    /// newcomer nothing is known but what was seen of it.
    pub fn succeed(&mut self, side: Side, snapshot: &Snapshot, rules: &Rules) {
        self.sides[side] = SideState { protected: self.sides[side].protected, ..SideState::default() };
        for register in self.registers.values_mut() {
            register.applied[side] = 0;
            register.hold = None;
        }
        // The id of who is gone is nothing that the partner should be told any more.
        self.registers.retain(|path, _| rules.attributes.get(path).is_none_or(|rule| !rule.names[side].is_id()));
        self.take_in(side, snapshot, rules);
    }

    /// Whether both ends have an account.
    pub fn is_paired(&self) -> bool {
        Side::BOTH.iter().all(|side| self.sides[*side].account.is_some())
    }
}

impl SideState {
    /// Whether the account was proven gone.
    pub fn is_gone(&self) -> bool {
        self.absence.is_some_and(|absence| absence.proofs >= super::resolve::ABSENCE_PROOFS)
    }

    /// Whether a writer holds the lease at `now` (store clock).
    pub fn leased(&self, now: Timestamp) -> Option<Lease> {
        self.lease.filter(|lease| lease.until > now)
    }

    /// What the side was last seen to hold of an attribute; `None`: it never showed it, or holds what cannot be told.
    pub fn told(&self, path: &AttributePath) -> Option<Digest> {
        self.seen.get(path).copied().filter(|seen| *seen != Digest::UNTOLD)
    }

    /// Notes of which attributes the side holds what cannot be told. That may be worth more than what the link keeps, so
    /// nothing is written over it, and what it is changed to next is an edit, though it be a clear or what was there before.
    pub fn mark_untold(&mut self, view: &View) {
        self.seen.extend(view.flaws.iter().map(|(path, _)| (path.clone(), Digest::UNTOLD)));
    }

    /// Whether nobody writes here at `now`, in the store's clock, and no write is known that may not be over.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.intents.is_empty() && self.lease.is_none_or(|lease| lease.until <= now)
    }

    /// Whether all that the side showed could be told.
    pub fn tells_all(&self, rules: &Rules) -> bool {
        rules.attributes.keys().all(|path| self.seen.get(path) != Some(&Digest::UNTOLD))
    }

    /// The generation that some write, begun and not known to be over, may have put here with this digest.
    pub fn intended(&self, path: &AttributePath, digest: Digest) -> Option<u32> {
        // The latest write of that value is the likeliest author.
        self.intents.iter().rev().find_map(|intent| match intent.writes.get(path) {
            Some((intended, generation)) if *intended == digest => Some(*generation),
            _ => None,
        })
    }

    /// The generation that some write, begun and not known to be over, may have put here in the form that the side gave it.
    /// `shown`: what the side holds, as it calls it.
    pub fn intended_otherwise<'v>(&self, path: &AttributePath, shown: impl Fn() -> Option<&'v Value>) -> Option<u32> {
        self.intents.iter().rev().find_map(|intent| {
            let (_, generation) = intent.writes.get(path)?;
            may_be_kept_as(intent.texts.get(path), shown()).then_some(*generation)
        })
    }

    /// The open writes of this attribute.
    pub fn open_intents<'l>(&'l self, path: &'l AttributePath) -> impl Iterator<Item = &'l Intent> {
        self.intents.iter().filter(move |intent| intent.writes.contains_key(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::guard::Risk;
    use crate::domain::hold::{Ruling, Verdict, Why};
    use crate::domain::{Digest, Version};

    #[test]
    fn who_is_forgotten_leaves_ids_and_no_value() {
        let mut link = Link::new(LinkId(1), Epoch(2), Origin::FirstMatch, Side::A, "a1".parse().unwrap());
        let bare = link.clone();
        assert_eq!(link.forget_values(Timestamp(2)), Ok(false), "there was nothing");
        let at = Version { modified_at: None, read_at: Timestamp(3), tag: None };
        let path: AttributePath = "emails".parse().unwrap();
        let side = &mut link.sides[Side::A];
        side.seen.insert(path.clone(), Digest(7));
        side.seen_at = Some(at.clone());
        side.intents.push(Intent {
            token: Token(1),
            writes: [(path.clone(), (Digest(7), 1))].into(),
            texts: [(path.clone(), Value::from("ada@x.example"))].into(),
            conditioned_on: None,
            begun_at: Timestamp(1),
            over_at: Timestamp(2),
            until: Timestamp(2),
        });
        let value = Some(Value::from("ada@x.example"));
        let (applied, by) = (Sides { a: 1, b: 0 }, Side::A);
        link.registers.insert(path, Register { value, at, by, generation: 1, applied, hold: None });
        assert_eq!(link.forget_values(Timestamp(2)), Ok(true));
        assert_eq!(link, bare);
    }

    /// Otherwise the next reading would create the account once more, or one that a person refused.
    #[test]
    fn what_is_under_way_and_what_was_refused_is_not_forgotten() {
        let link = Link::new(LinkId(1), Epoch(2), Origin::FirstMatch, Side::A, "a1".parse().unwrap());
        let intent = Intent {
            token: Token(1),
            writes: BTreeMap::new(),
            texts: BTreeMap::new(),
            conditioned_on: None,
            begun_at: Timestamp(1),
            over_at: Timestamp(8),
            until: Timestamp(9),
        };
        let (mut leased, mut begun) = (link.clone(), link.clone());
        leased.sides[Side::B].lease = Some(Lease { token: Token(1), until: Timestamp(9) });
        begun.sides[Side::B].intents.push(intent);
        for before in [leased, begun] {
            let mut link = before.clone();
            assert_eq!(link.forget_values(Timestamp(8)), Err(UnderWay { until: Timestamp(9) }));
            assert_eq!(link, before, "nothing is dropped");
            assert_eq!(link.forget_values(Timestamp(9)), Ok(true));
            assert!(link.sides[Side::B].lease.is_none() && link.sides[Side::B].intents.is_empty());
        }
        let mut refused = link;
        let ruling = Ruling { verdict: Verdict::Rejected, by: "ada".to_owned(), at: Timestamp(1) };
        let stop = Stop { ruling: Some(ruling), ..Stop::new(Why::OverBudget, Risk::Create, Timestamp(1)) };
        refused.sides[Side::B].stop = Some(stop.clone());
        refused.forget_values(Timestamp(9)).unwrap();
        assert_eq!(refused.sides[Side::B].stop, Some(stop));
    }
}

//! What is asked of links and what is committed: claims, questions, and the atomic step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::journal::{JournalReason, Lost};
use crate::domain::undo::Overwritten;
use crate::domain::{
    AccountId, AttributePath, ChangeOutcome, CommandOutcome, DeadLetter, Epoch, LetterId, Link, LinkId, RunId, Side,
    Sides, Timestamp, Value,
};

/// What uniquely belongs to one link of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Claim {
    /// An account of one side.
    Account(Side, AccountId),
    /// A value of a matching key, normalised: attribute, equals sign, digest of the value.
    Key(Side, String),
}

impl Claim {
    /// The claims of a link's accounts.
    pub fn of_accounts(link: &Link) -> Vec<Self> {
        let account = |side: Side| Some(Self::Account(side, link.sides[side].account.clone()?));
        Side::BOTH.into_iter().filter_map(account).collect()
    }
}

/// Asks for the link of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// The claims that would find it, the surest first; the first that any link holds decides.
    pub claims: Vec<Claim>,
    /// The letter that a good reading of the account heals; `open_letter` tells whether it is open.
    pub letter: Option<LetterId>,
}

/// Answer to a [`Find`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The link, and which of the claims found it (an index into `claims`).
    pub link: Option<(Link, usize)>,
    /// Whether the letter asked about is open.
    pub open_letter: bool,
}

/// Links with the store's time and epoch at which they were read.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The store's clock.
    pub now: Timestamp,
    /// The epoch that the answer belongs to.
    pub epoch: Epoch,
    /// One answer for each question, in the same order.
    pub items: Vec<T>,
}

/// One atomic step: all of it happens, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The link as it shall be. Its `revision` is the one that was read (0 for a new link); the store puts the next.
    pub link: Option<Link>,
    /// Claims that the link takes; one that another link holds fails the commit.
    pub claim: Vec<Claim>,
    /// Claims that the link gives up.
    pub release: Vec<Claim>,
    /// A link that ends, as it was read: it and the claims of its accounts are gone, and `link` may take them in the same
    /// step.
    pub ended: Option<Link>,
    /// The outcome to count, at most once for its place in the run.
    pub count: Option<Count>,
    /// Letters that are open from now on (replacing one of the same id).
    pub open: Vec<DeadLetter>,
    /// Letters that are closed.
    pub close: Vec<LetterId>,
    /// Accounts to be read again, by the reader of that side.
    pub reread: Vec<(Side, AccountId)>,
    /// Values that lost, kept so that they can be given back.
    pub journal: Vec<JournalEntry>,
    /// What a write that leaves next overwrites, so that it can be undone (B13).
    pub overwrite: Option<Overwrite>,
}

/// What a write overwrites, and where it is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwrite {
    /// The run that brought the write about.
    pub run: RunId,
    /// How long all of the run is kept, from now on.
    pub kept: Duration,
    /// What is overwritten.
    pub entry: Overwritten,
}

/// Which outcome to count, and for which place in which run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Count {
    /// The terminal outcome of change `number`, and the sides for which it emits a command.
    Change {
        /// The run.
        run: RunId,
        /// The change's number.
        number: u32,
        /// What became of it.
        outcome: ChangeOutcome,
        /// The sides for which a command follows: each is counted as emitted once.
        emits: Sides<bool>,
    },
    /// The terminal outcome of the command that change `number` emitted for `side`.
    Command {
        /// The run.
        run: RunId,
        /// The number of the change that caused it.
        number: u32,
        /// The side that it was to write.
        side: Side,
        /// What became of it.
        outcome: CommandOutcome,
    },
}

impl Count {
    /// The run that it is counted in.
    pub fn run(&self) -> &RunId {
        let (Self::Change { run, .. } | Self::Command { run, .. }) = self;
        run
    }
}

/// What became of a [`Commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It happened. For a counted change: the sides for which an earlier delivery of the same change had already
    /// counted a command as emitted that has no outcome yet. That command may never have been published, so it must be
    /// published again.
    Done {
        /// See above; both false for everything but a counted change.
        owed: Sides<bool>,
    },
    /// Nothing happened: the link, or the one that was to end, was committed by somebody else since it was read.
    Moved,
    /// Nothing happened: another link holds this claim.
    Taken {
        /// The claim.
        claim: Claim,
        /// Who holds it.
        holder: LinkId,
    },
}

/// A value that did not win. Kept for a while, so that it can be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The link.
    pub link: LinkId,
    /// The attribute, as the link names it.
    pub attribute: AttributePath,
    /// The side whose value it was.
    pub side: Side,
    /// The value; `None` for a clear, and where it was erased.
    pub value: Option<Value>,
    /// The value was erased, since the person asked to be forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_erased: bool,
    /// Why it is kept.
    pub reason: JournalReason,
    /// When it was seen, in the store's clock.
    pub seen_at: Timestamp,
    /// Generation of the register's value that it lost to.
    #[serde(default)]
    pub generation: u32,
    /// The accounts of the link at that time, so that the entry can be named when the link is gone.
    #[serde(default)]
    pub accounts: Sides<Option<AccountId>>,
    /// The entry whose value a person gave back in the place of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_back: Option<GaveBack>,
}

impl JournalEntry {
    /// The entry about a value that this link lost at `seen_at`.
    pub fn new(link: &Link, lost: Lost, seen_at: Timestamp) -> Self {
        let Lost { path, side, value, reason, generation } = lost;
        let accounts = Sides::from_fn(|side| link.sides[side].account.clone());
        let (is_erased, gave_back) = (false, None);
        Self {
            link: link.id,
            attribute: path,
            side,
            value,
            is_erased,
            reason,
            seen_at,
            generation,
            accounts,
            gave_back,
        }
    }
}

/// A person gave a value back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaveBack {
    /// The entry that had it.
    pub entry: EntryId,
    /// Who: `user@host`.
    pub by: String,
    /// Whether the attribute was pinned to the side whose value it was.
    pub pinned: bool,
}

/// Names an entry of a connection's journal: what a store calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId(pub(super) String);

impl EntryId {
    /// The entry of this id, if it has the form of one: digits, perhaps with a dash.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        is_id.then(|| Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An entry of a connection's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: EntryId,
    /// What is kept.
    pub entry: JournalEntry,
}

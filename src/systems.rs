//! What the stages see of an outside system. Each system is one folder: its wire types, its connector, its schema. They
//! speak canonical attributes and classified failures to the rest.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::deferral::InUse;
use crate::domain::{
    AccountId, AttributePath, Attributes, Code, Comparison, Failure, FailureClass, Snapshot, Timestamp, Version,
};

pub mod budget;
pub mod http;
pub mod iadvize;
pub mod initlive;
pub mod kind;
pub mod salesforce;
pub mod salesscreen;
pub mod scim;

/// What a system holds of an account, and under which rules: the same for all accounts of one kind.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The attributes that can be mapped, by their canonical names.
    pub attributes: Vec<AttributeSchema>,
    /// The grain of the modification stamp: two changes closer together than this may carry the same one.
    pub grain: Duration,
    /// Whether it says when an account was changed last.
    pub stamps: bool,
    /// Accounts that one call can write.
    pub batch: usize,
    /// Calls that one process may have under way at it at once.
    pub calls: usize,
    /// Whether accounts can be written at all.
    pub writable: bool,
    /// Whether accounts can be read. Where they cannot, nobody calls [`System::read`] or [`System::get`], a search finds
    /// nothing, and the answer to a write shows what was sent: the link's own memory is all that is known of the side.
    pub readable: bool,
    /// Whether a write must carry every mapped value and not only those that changed: the system may clear what it is
    /// not sent.
    pub whole: bool,
    /// An attribute without which an account is there and shows nothing: SalesScreen's team (R50).
    pub shown_by: Option<AttributePath>,
    /// The attribute that is the system's own field for the partner's id, where it has one that can be written later. It
    /// takes nothing else.
    pub partner: Option<AttributePath>,
    /// Whether the system can list accounts changed since a position.
    pub incremental: bool,
    /// Brings an account id as people write it (Salesforce's 15 characters) to the form that [`AccountId`]s have; `None`
    /// if it is none.
    pub parse_id: fn(&str) -> Option<AccountId>,
    /// Longest time between a write and the moment when a search finds it.
    pub search_lag: Duration,
}

/// One attribute of a [`Schema`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeSchema {
    /// Canonical name.
    pub path: AttributePath,
    /// What kind of value it has.
    pub kind: ValueKind,
    /// Longest text in characters, if the system has a limit.
    pub max_chars: Option<usize>,
    /// Whether an account cannot be created without it, nor have it cleared.
    pub required: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// How the system compares values.
    pub comparison: Comparison,
}

/// The id that a system gave to an account.
static OWN_ID: LazyLock<AttributeSchema> = LazyLock::new(|| AttributeSchema {
    path: AttributePath::id(),
    kind: ValueKind::Text,
    max_chars: None,
    required: false,
    writable: false,
    comparison: Comparison::default(),
});

/// The kind of an attribute's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Text.
    Text,
    /// Text that must have the form of an e-mail address (R18).
    Email,
    /// Yes or no.
    Bool,
    /// A whole number.
    Int,
    /// Several texts.
    Set,
    /// Another account of the same system.
    Reference,
}

impl Schema {
    /// The attribute of this name. Every account has its own id, `id`, whether or not that is listed.
    pub fn attribute(&self, path: &AttributePath) -> Option<&AttributeSchema> {
        let own_id = path.is_id().then(|| &*OWN_ID);
        self.attributes.iter().find(|attribute| attribute.path == *path).or(own_id)
    }
}

/// One thing that [`System::preflight`] looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at, such as `token` or `field Email`.
    pub subject: String,
    /// `None`: it is well. Else what is wrong and what to do.
    pub problem: Option<String>,
    /// Whether a run would fail for it, account by account: no run begins before it is mended (R6). A system that does
    /// not answer, and what a person should only know, block nothing.
    pub blocks: bool,
}

impl Finding {
    /// It is well, or something to know that is no fault.
    pub fn well(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), problem: None, blocks: false }
    }

    /// It has to be mended before anything can run.
    pub fn wrong(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { subject: subject.into(), problem: Some(problem.into()), blocks: true }
    }

    /// A person should see to it, and runs may begin.
    pub fn advice(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { blocks: false, ..Self::wrong(subject, problem) }
    }

    /// It could not be looked at for this reason, which `told` says to a person.
    pub fn failed(subject: impl Into<String>, failure: &Failure, told: impl Into<String>) -> Self {
        let blocks = matches!(failure.class, FailureClass::Permanent | FailureClass::Unauthorised);
        Self { blocks, ..Self::wrong(subject, told) }
    }
}

/// What a connection does to the accounts of a system, for [`System::prove_rights`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// Attributes whose values are taken from here, under the system's own names.
    pub reads: Vec<AttributePath>,
    /// Attributes that are written, under the system's own names.
    pub attributes: Vec<AttributePath>,
    /// Whether accounts are created.
    pub creates: bool,
}

/// What a read of accounts covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFrom {
    /// Every account, from the beginning.
    Start,
    /// Accounts changed since a watermark that an earlier read ended with; overlaps by at least the stamp's grain.
    Watermark(String),
    /// On from a page of the same read.
    Position(String),
}

/// One page of accounts.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// What was read.
    pub records: Vec<Record>,
    /// Where it goes on.
    pub next: Next,
    /// How many accounts the whole read will list, if the system says so.
    pub expected: Option<u64>,
}

/// One record of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An account.
    Account(Snapshot),
    /// Something listed that cannot be used.
    Unreadable {
        /// The account, if it has a usable id.
        account: Option<AccountId>,
        /// What is wrong.
        code: Code,
        /// The attribute at fault.
        attribute: Option<AttributePath>,
    },
}

/// Where a read goes on after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// At this position of the same read.
    Page(String),
    /// That was the last page.
    End {
        /// Where the next incremental read begins; absent if the system has none.
        watermark: Option<String>,
        /// Whether the pages of this read, taken together, are proven to be every account there is: the count that the
        /// system gave was reached and stayed the same. Only such a read can show that an account is gone (B12).
        proven_complete: bool,
        /// Some account was read within its stamp's grain and may change again under the same stamp: read again from
        /// the watermark after this time.
        unsettled: Option<Duration>,
    },
}

/// What became of one account asked for by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// There it is.
    Found(Snapshot),
    /// The system says that there is no such account. The time is when it was asked, in its own clock.
    Absent(Timestamp),
    /// There it is, but it cannot be used.
    Unreadable {
        /// What is wrong.
        code: Code,
        /// The attribute at fault.
        attribute: Option<AttributePath>,
    },
}

/// By what an account is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// The field in which the system keeps the partner's id.
    Partner(AccountId),
    /// The value of an attribute.
    Attribute(AttributePath, String),
}

/// A write of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What to do.
    pub action: Action,
    /// Values under the system's own attribute names; `None` clears.
    pub values: Attributes,
    /// It cannot wait until others have made their calls (B19).
    pub urgent: bool,
    /// Whether an account that somebody works with is written.
    pub in_use: InUse,
}

impl Write {
    /// A write that waits for its turn, and until nobody works with the account.
    pub fn new(action: Action, values: Attributes) -> Self {
        Self { action, values, urgent: false, in_use: InUse::Spare }
    }
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Creates an account that carries its partner's id wherever the system has a field for it.
    Create {
        /// The account on the other side.
        partner: AccountId,
    },
    /// Changes an account, unless it was changed since.
    Update {
        /// The account.
        account: AccountId,
        /// The state that the write was decided on.
        unless_changed_since: Version,
    },
    /// Takes an account out of the roster, unless it was changed since: only where the kind of system knows such a thing.
    Remove {
        /// The account.
        account: AccountId,
        /// The state that this was decided on.
        unless_changed_since: Version,
    },
    /// Deletes an account, unless it was changed since: only where the kind of system can.
    Delete {
        /// The account.
        account: AccountId,
        /// The state that this was decided on.
        unless_changed_since: Version,
    },
}

impl Action {
    /// The account that is there already.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Create { .. } => None,
            Self::Update { account, .. } | Self::Remove { account, .. } | Self::Delete { account, .. } => Some(account),
        }
    }
}

/// What a connector says to an action that its kind of system does not know; the configuration does not let it come so
/// far.
pub(crate) fn not_offered() -> Failure {
    let text = "this kind of system cannot do that to an account; see `leavers` of the connection";
    Failure::new(FailureClass::Permanent, Code::known("not_offered"), text)
}

/// What a call comes to whose answer nobody waits for any longer.
pub(crate) fn unanswered() -> Failure {
    Failure::new(FailureClass::Transient, Code::known("timeout"), "no answer in time")
}

/// Answer to a [`Write`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// Done. The snapshot is what the account holds now: from the answer, or read back.
    Done(Snapshot),
    /// Done: the account is removed or deleted.
    Ended,
    /// Nothing was written: the account is no longer in the state that the write was decided on. This is its state.
    Moved(Snapshot),
    /// Nothing was written: there is no such account (any more).
    Gone(Timestamp),
    /// Nothing was written: an account with this unique value exists.
    Exists {
        /// The attribute that must be unique, if the system said which.
        attribute: Option<AttributePath>,
    },
    /// It failed, and perhaps was carried out all the same: [`Failure::in_doubt`].
    Failed(Failure),
}

/// What the answers of a system said about calling it, collected since it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallReport {
    /// Calls sent, by operation (`query`, `create`, ...) and HTTP status (0: no answer).
    pub calls: Vec<(&'static str, u16, u64)>,
    /// Calls used and allowed in the system's own window, as it last said.
    pub usage: Option<(u64, u64)>,
}

/// A system: one organisation, one login, one API budget.
#[async_trait]
pub trait System: Send + Sync + 'static {
    /// What it holds.
    fn schema(&self) -> &Schema;

    /// Proves credentials, rights and fields, without changing anything.
    async fn preflight(&self) -> Vec<Finding>;

    /// Proves that what a connection reads and writes can be read and written, as far as that can be told without changing
    /// anything. The rest shows in dead letters.
    async fn prove_rights(&self, _rights: &Rights) -> Vec<Finding> {
        Vec::new()
    }

    /// Asks whether the system answers and takes the credential: one cheap call that changes nothing. A system that cannot be
    /// read has a call of its own for that.
    async fn probe(&self) -> Result<(), Failure> {
        self.read(&ReadFrom::Start).await.map(drop)
    }

    /// Reads one page of accounts.
    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure>;

    /// Reads accounts by id; one answer for each, in the same order.
    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure>;

    /// Accounts that were merged into others that are there, each with that other one, as far back as a read from there
    /// reaches.
    async fn merges(&self, _from: &ReadFrom) -> Result<Vec<(AccountId, AccountId)>, Failure> {
        Ok(Vec::new())
    }

    /// For accounts that are not there: the account that each was merged into and that is there, where the system knows;
    /// one answer for each, in the same order.
    async fn merged_into(&self, gone: &[AccountId]) -> Result<Vec<Option<AccountId>>, Failure> {
        Ok(vec![None; gone.len()])
    }

    /// Searches accounts, by the keys of as many accounts as one write has; for each key, in the same order, the accounts
    /// that have the value, each once. They truly have it: the connector checks, since some systems ignore filters.
    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure>;

    /// Writes accounts, at most `schema().batch`; one answer for each, in the same order. Every request of it ends, and
    /// can take effect no more, by `deadline`.
    async fn write(&self, writes: &[Write], deadline: tokio::time::Instant) -> Vec<Written>;

    /// Now, in the system's clock, and not later than the truth: for `read_at`. Own clock until it first answered.
    fn clock(&self) -> Timestamp;

    /// The same, if an answer has shown its clock: what can be compared with other systems' clocks.
    fn shown_clock(&self) -> Option<Timestamp> {
        None
    }

    /// Whether accounts can be searched for by this attribute, under the system's own name: by others
    /// [`System::search`] fails.
    fn searches_by(&self, _attribute: &AttributePath) -> bool {
        true
    }

    /// What a person should do about a failure with this code, in one sentence.
    fn remedy(&self, code: &Code) -> Option<&'static str>;

    /// Takes the report of the calls since the last time.
    fn report(&self) -> CallReport;
}

/// The systems of a configuration, shared by all tasks of a process.
pub type SharedSystem = Arc<dyn System>;

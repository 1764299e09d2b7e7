//! The pure core: every decision of the pipeline, as functions over plain types. Nothing below this module knows a
//! clock, a network, the environment or a task; time and chance come in as arguments.
//!
//! Read [`link`] for what is known of two accounts, [`resolve`] for how a snapshot changes it (the merge table, one
//! function), [`pending`] for what a side lacks, [`course`] for what becomes of a command, and [`write`](mod@write) for what a
//! writer does about it.

pub mod account;
pub mod attribute;
pub mod audit;
pub mod breaker;
pub mod change;
pub mod circuit;
pub mod command;
pub mod course;
pub mod dead_letter;
pub mod deferral;
pub mod explain;
pub mod failure;
pub mod foresight;
pub mod give_back;
pub mod guard;
pub mod history;
pub mod hold;
pub mod id;
pub mod journal;
pub mod link;
pub mod mapping;
pub mod matching;
pub mod outcome;
pub mod pairing;
pub mod pending;
pub mod rate;
pub mod redrive;
pub mod resolve;
pub mod retention;
pub mod rules;
pub mod schedule;
mod text;
pub mod time;
pub mod undo;
pub mod watch;
pub mod write;

pub use account::{Freshness, Snapshot, Version};
pub use attribute::{AttributePath, Attributes, Comparison, Digest, DigestKey, Value};
pub use change::{Cause, Change, Lane, Sighting};
pub use command::Command;
pub use dead_letter::{
    DeadLetter, FailedAttempt, Fingerprint, LetterContent, LetterEntry, LetterGroup, LetterId, LetterPlace, Resolution,
};
pub use failure::{Code, Failure, FailureClass};
pub use id::{AccountId, ConnectionName, Epoch, LinkId, RunId, Side, Sides, SystemName, Token};
pub use link::Link;
pub use outcome::{ChangeOutcome, CommandOutcome};
pub use rules::Rules;
pub use time::Timestamp;

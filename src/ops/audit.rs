//! What people did, and who, when, why and with what end: the log of acts.
//!
//! [`recorded`] is the one door: whatever changes something for a person goes through it, from the command line and from
//! the API alike. It notes that the act begins, lets it happen, and notes how it ended. Where the first note cannot be
//! made, nothing is done. An act that is killed stays as begun and not ended.
//!
//! An entry is durable in the store before the act begins. A copy goes to the log of dead letters in the broker, which
//! outlives a store that is lost; the act does not wait for it, and where the broker cannot be reached the copy is missing.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Context as _;
use tracing::{error, warn};

use super::connect::{self, Unfit};
use super::exit::Exit;
use super::sync::UsageError;
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, PublishError};
use crate::domain::audit::{About, Act, ChainId, Door, End, Entry, Line, Outcome, Why};
use crate::domain::{LetterEntry, Timestamp};
use crate::failpoint::hit;
use crate::stages::Pipeline;
use crate::store::{Store, StoreError};

mod command;
mod list;
mod verify;

pub use command::{Command, run};
pub(crate) use list::{Told, latest};

/// How long the broker is waited for with a copy.
const COPYING: Duration = Duration::from_secs(3);

/// How often the end of an act is noted again where the store does not answer, a second apart.
const TRIES: u32 = 10;

/// Who acts, and which way they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// `user@host`, or the name of an API token.
    pub by: String,
    /// Which way.
    pub door: Door,
}

impl Who {
    /// Whoever runs this command.
    pub fn at_the_command_line() -> Self {
        Self { by: connect::operator(), door: Door::Cli }
    }

    /// Whoever has the API token of this name.
    pub fn with_token(name: &str) -> Self {
        Self { by: name.to_owned(), door: Door::Api }
    }
}

/// What an act came to, as its last entry says.
pub trait Ended {
    /// The word for it.
    fn outcome(&self) -> Outcome;
}

impl Ended for () {
    fn outcome(&self) -> Outcome {
        Outcome::Done
    }
}

impl Ended for Exit {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Done | Self::Changes => Outcome::Done,
            Self::Attention => Outcome::Attention,
            Self::Usage => Outcome::Refused,
            Self::Failed => Outcome::Failed,
        }
    }
}

/// The act that is under way in this task.
#[derive(Clone)]
struct UnderWay {
    by: String,
    learned: Arc<Mutex<Learned>>,
}

/// What is known of an act only when it is done.
#[derive(Clone, Default)]
struct Learned {
    about: Option<About>,
    counts: BTreeMap<String, u64>,
}

impl UnderWay {
    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().expect("nothing panics while the lock is held")
    }
}

tokio::task_local! {
    static ACT: UnderWay;
}

/// Who acts now, in an act that is recorded.
pub(super) fn acting() -> Option<String> {
    ACT.try_with(|act| act.by.clone()).ok()
}

/// Adds to what the last entry of the act that is under way counts. Outside of one it does nothing.
pub fn count(what: &str, more: u64) {
    // Without an act there is nobody to tell.
    ACT.try_with(|act| *act.learned().counts.entry(what.to_owned()).or_default() += more).unwrap_or_default();
}

/// Adds accounts that the act that is under way turned out to be about, as `<system>:<id>`. Outside of one it does nothing.
pub fn concerns(accounts: &[String]) {
    let add = |act: &UnderWay| {
        let mut learned = act.learned();
        learned.about = Some(learned.about.take().unwrap_or_default().accounts(accounts));
    };
    // Without an act there is nobody to tell.
    ACT.try_with(add).unwrap_or_default();
}

/// Does `work` as an act of this person: notes that it begins, does it, and notes how it ended.
///
/// # Errors
///
/// That of `work`; or that the act could not be noted, and then nothing was done. Whether its end could be noted is no
/// matter of the result: it was done, and the log shows it as not ended.
pub async fn recorded<B: Broker, S: Store, T: Ended>(
    pipeline: &Pipeline<B, S>,
    who: &Who,
    act: Act,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let Act { verb, about: meant, why } = act;
    let why = why.cut();
    let entry = |place: Place, act, about, why, outcome, counts| {
        let Place { chain, number, at } = place;
        let (by, door) = (who.by.clone(), who.door);
        Entry { chain, number, at, act, by, door, verb, about, why, outcome, counts }
    };
    let begins = |place: Place| {
        let act = place.number;
        entry(place, act, Some(meant.clone()), why.clone(), Outcome::Begun, BTreeMap::new())
    };
    let begun = append(&pipeline.store, begins, 0).await.context("what is done is noted first, and that failed")?;
    hit("audit.begun");
    let under_way = UnderWay { by: who.by.clone(), learned: Arc::default() };
    let (result, is_copied) =
        tokio::join!(ACT.scope(under_way.clone(), work), copy(&pipeline.broker, vec![begun.line.clone()]));
    hit("audit.acted");
    let outcome = match &result {
        Ok(ended) => ended.outcome(),
        Err(error) if error.is::<UsageError>() || error.is::<Unfit>() => Outcome::Refused,
        Err(_) => Outcome::Failed,
    };
    let Learned { about, counts } = under_way.learned().clone();
    let ends = |place: Place| entry(place, begun.place.number, about.clone(), Why::default(), outcome, counts.clone());
    let mut lines = if is_copied { Vec::new() } else { vec![begun.line.clone()] };
    match append(&pipeline.store, ends, TRIES).await {
        Ok(ended) => lines.push(ended.line),
        Err(error) => error!("Act {} is over, and the log of acts does not say so: {error}", begun.place.number),
    }
    if !lines.is_empty() && !copy(&pipeline.broker, lines).await {
        warn!("Act {} is noted in the store, and not in the broker, which did not answer", begun.place.number);
    }
    result
}

/// Where an entry is to stand.
struct Place {
    chain: ChainId,
    number: u64,
    at: Timestamp,
}

/// An entry that was appended.
struct Appended {
    line: Line,
    place: End,
}

/// Appends an entry behind the last one, whoever else appends meanwhile. Where the store does not answer it is asked so many
/// times more.
async fn append<S: Store>(store: &S, entry: impl Fn(Place) -> Entry, mut tries: u32) -> Result<Appended, StoreError> {
    let mut unsure = Vec::new();
    loop {
        match try_to_append(store, &entry, &mut unsure).await {
            Ok(Some(appended)) => return Ok(appended),
            Ok(None) => {}
            Err(StoreError::Unavailable(_)) if tries > 0 => {
                tries -= 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Appends an entry; `None` if somebody else was quicker. `unsure` are those of which it is not known whether they were
/// appended: a script whose answer was lost may run after any later look, until its place is taken.
async fn try_to_append<S: Store>(
    store: &S,
    entry: impl Fn(Place) -> Entry,
    unsure: &mut Vec<Appended>,
) -> Result<Option<Appended>, StoreError> {
    let mut appended = None;
    for (at, Appended { line, place }) in unsure.iter().enumerate() {
        if store.acts(place.number - 1, 1).await?.first() == Some(line) {
            appended = Some(at);
        }
    }
    if let Some(at) = appended {
        return Ok(Some(unsure.swap_remove(at)));
    }
    let ends = store.acts_ends().await?;
    let before = ends.last.clone().unwrap_or_else(|| End::before_all(ChainId(fastrand::u64(..))));
    let (chain, number) = (before.chain, before.number + 1);
    let (line, hash) = Line::seal(&entry(Place { chain, number, at: ends.now }), &before.hash);
    let appended = Appended { line, place: End { chain, number, hash } };
    match store.append_act(ends.last.as_ref(), &appended.line, &appended.place).await {
        Ok(is_appended) => Ok(Some(appended).filter(|_| is_appended)),
        Err(error) => {
            unsure.push(appended);
            Err(error)
        }
    }
}

/// Copies entries to the log in the broker; whether it took them.
async fn copy<B: Broker>(broker: &B, lines: Vec<Line>) -> bool {
    let entries = lines.into_iter().map(|line| LetterEntry::Act { line }).collect();
    let outgoing = vec![Outgoing { to: Destination::Dead, message: Message::new(Payload::Letters(entries)) }];
    let publish = async {
        match broker.publish(outgoing.clone()).await {
            // Before the first worker ran there is no log.
            Err(PublishError::Unroutable { .. }) if broker.declare(&[]).await.is_ok() => broker.publish(outgoing).await,
            answer => answer,
        }
    };
    matches!(tokio::time::timeout(COPYING, publish).await, Ok(Ok(())))
}

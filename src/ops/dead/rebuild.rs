//! `muster dead rebuild`: the store's index of open letters, made anew from the append-only log. The log says which
//! letters are open; the store only knows them faster.

use std::collections::{BTreeMap, BTreeSet};

use super::moved::{self, Moved};
use super::select::Letters;
use super::{find, log, log_closed};
use crate::broker::{Broker, BrokerError};
use crate::domain::redrive::{LetterFilter, Which};
use crate::domain::{ConnectionName, DeadLetter, LetterContent, LetterEntry, LetterId, Resolution};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::stages::Pipeline;
use crate::store::Store;

/// How often a log is read again whose reading was cut off.
const TRIES: usize = 3;

/// Letters that are filed at a time.
const AT_ONCE: usize = 200;

/// Makes the index anew. Workers may be at work meanwhile, and nothing that is open disappears.
pub async fn rebuild<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, form: Form) -> anyhow::Result<Exit> {
    // What the index has is looked at first: whatever is opened meanwhile is in the log before it is in the index, so
    // that what the index has and the log closed, is closed.
    let mut known = BTreeSet::new();
    let everything = Which::Fitting(LetterFilter::default());
    let mut letters = Letters::of(pipeline, &everything, None).await?;
    while let Some(letter) = letters.next(pipeline).await? {
        known.insert(letter.id);
    }
    let Log { open, .. } = fold(pipeline, &known).await?;
    let lost: Vec<&DeadLetter> = open.values().filter(|letter| !known.contains(&letter.id)).collect();
    let is_here = |letter: &DeadLetter| is_ours(pipeline, letter.connection.as_ref());
    let (lost, foreign): (Vec<&DeadLetter>, Vec<_>) = lost.into_iter().partition(|letter| is_here(letter));
    for page in lost.chunks(AT_ONCE) {
        let page: Vec<DeadLetter> = page.iter().map(|letter| (*letter).clone()).collect();
        pipeline.store.file_letters(&page, &[]).await?;
    }
    // What was closed while this was read is closed again, and what was opened again stays.
    let Log { open: now_open, silent_about } = fold(pipeline, &known).await?;
    // A log that says nothing of a letter was lost, or has dropped its entries by now: that closes nothing.
    let is_closed =
        |id: &&LetterId| !open.contains_key(*id) && !now_open.contains_key(*id) && !silent_about.contains(*id);
    let mut stale: Vec<LetterId> = known.iter().filter(is_closed).cloned().collect();
    stale.extend(lost.iter().map(|letter| &letter.id).filter(|id| !now_open.contains_key(id)).cloned());
    for page in stale.chunks(AT_ONCE) {
        pipeline.store.file_letters(&[], page).await?;
    }
    let logged_again = log_again(pipeline, &silent_about).await?;
    let (mut moved, mut healed, mut unknown) = (0, 0, 0);
    for letter in now_open.values().filter(|letter| is_here(letter)) {
        let (LetterContent::Command { .. }, Some((name, side, link))) = (&letter.content, letter.id.link()) else {
            continue;
        };
        match moved::follow(pipeline, letter, (&name, side, link)).await? {
            Moved::Stays => {}
            Moved::To(_) => moved += 1,
            Moved::Healed => healed += 1,
            Moved::Unknown => unknown += 1,
        }
    }
    let (back, closed, foreign) = (lost.len(), stale.len(), foreign.len());
    if form == Form::Json {
        output::object(&serde_json::json!({
            "in_log": now_open.len(), "brought_back": back, "closed": closed, "moved": moved, "healed": healed,
            "without_link": unknown, "of_other_connections": foreign, "logged_again": logged_again,
        }));
        return Ok(Exit::Done);
    }
    let letters = |count: usize| output::count(count, "letter");
    output::line(format!(
        "The log has {} open; {} brought back, {closed} closed",
        letters(now_open.len()),
        letters(back)
    ));
    if moved + healed > 0 {
        output::line(format!(
            "{moved} are about links made anew and moved there; {healed} of such lack nothing any more"
        ));
    }
    if unknown > 0 {
        output::line(format!(
            "{} about accounts that the store does not know: after a full sync of their connections, run this again",
            letters(unknown)
        ));
    }
    if logged_again > 0 {
        output::line(format!(
            "{} missing in the log, which was lost or has dropped them by age: open as before, and in it again",
            letters(logged_again)
        ));
    }
    if foreign > 0 {
        output::line(format!("{} of connections that are not configured here stay in the log only", letters(foreign)));
    }
    Ok(Exit::Done)
}

fn is_ours<B, S>(pipeline: &Pipeline<B, S>, name: Option<&ConnectionName>) -> bool {
    name.is_none_or(|name| pipeline.connections.contains_key(name))
}

/// What the log of letters says.
struct Log {
    /// The letters that are open by it.
    open: BTreeMap<LetterId, DeadLetter>,
    /// Of the letters that it was asked about, those that no entry names.
    silent_about: BTreeSet<LetterId>,
}

/// Reads the log, and looks in it for these letters.
async fn fold<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, about: &BTreeSet<LetterId>) -> Result<Log, BrokerError> {
    let mut tries = 0;
    loop {
        let mut log = Log { open: BTreeMap::new(), silent_about: about.clone() };
        let take = |entry: LetterEntry| {
            match &entry {
                LetterEntry::Opened { letter } => drop(log.silent_about.remove(&letter.id)),
                LetterEntry::Closed { id, .. } => drop(log.silent_about.remove(id)),
                LetterEntry::Act { .. } => {}
            }
            entry.carry_out(&mut log.open);
        };
        match pipeline.broker.read_log(take).await {
            Ok(()) => return Ok(log),
            Err(_) if tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Appends open letters to the log of which it says nothing; how many.
async fn log_again<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letters: &BTreeSet<LetterId>,
) -> anyhow::Result<usize> {
    let mut logged = 0;
    for id in letters {
        let Some(letter) = still_open(pipeline, id).await? else { continue };
        log(pipeline, vec![LetterEntry::Opened { letter: Box::new(letter) }]).await?;
        // What healed in between was closed in the log before it was opened there.
        if still_open(pipeline, id).await?.is_none() {
            log_closed(pipeline, std::slice::from_ref(id), &Resolution::Healed).await?;
        }
        logged += 1;
    }
    Ok(logged)
}

async fn still_open<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    id: &LetterId,
) -> anyhow::Result<Option<DeadLetter>> {
    match find(pipeline, id.as_str()).await {
        Ok(letter) => Ok(Some(letter)),
        Err(error) if error.is::<UsageError>() => Ok(None),
        Err(error) => Err(error),
    }
}

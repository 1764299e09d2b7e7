//! `muster dead rebuild`: the store's index of open letters, made anew from the append-only log. The log says which
//! letters are open; the store only knows them faster.

use std::collections::{BTreeMap, BTreeSet};

use super::moved::{self, Moved};
use super::select::Letters;
use crate::broker::{Broker, BrokerError};
use crate::domain::redrive::{LetterFilter, Which};
use crate::domain::{ConnectionName, DeadLetter, LetterContent, LetterId};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
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
    let open = fold(pipeline).await?;
    let lost: Vec<&DeadLetter> = open.values().filter(|letter| !known.contains(&letter.id)).collect();
    let is_here = |letter: &DeadLetter| is_ours(pipeline, letter.connection.as_ref());
    let (lost, foreign): (Vec<&DeadLetter>, Vec<_>) = lost.into_iter().partition(|letter| is_here(letter));
    for page in lost.chunks(AT_ONCE) {
        let page: Vec<DeadLetter> = page.iter().map(|letter| (*letter).clone()).collect();
        pipeline.store.file_letters(&page, &[]).await?;
    }
    // What was closed while this was read is closed again, and what was opened again stays.
    let now_open = fold(pipeline).await?;
    let is_closed = |id: &&LetterId| !open.contains_key(*id) && !now_open.contains_key(*id);
    let mut stale: Vec<LetterId> = known.iter().filter(is_closed).cloned().collect();
    stale.extend(lost.iter().map(|letter| &letter.id).filter(|id| !now_open.contains_key(id)).cloned());
    for page in stale.chunks(AT_ONCE) {
        pipeline.store.file_letters(&[], page).await?;
    }
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
            "without_link": unknown, "of_other_connections": foreign,
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
    if foreign > 0 {
        output::line(format!("{} of connections that are not configured here stay in the log only", letters(foreign)));
    }
    Ok(Exit::Done)
}

fn is_ours<B, S>(pipeline: &Pipeline<B, S>, name: Option<&ConnectionName>) -> bool {
    name.is_none_or(|name| pipeline.connections.contains_key(name))
}

/// The letters that are open by the log.
async fn fold<B: Broker, S: Store>(pipeline: &Pipeline<B, S>) -> Result<BTreeMap<LetterId, DeadLetter>, BrokerError> {
    let mut tries = 0;
    loop {
        let mut open = BTreeMap::new();
        match pipeline.broker.read_log(|entry| entry.carry_out(&mut open)).await {
            Ok(()) => return Ok(open),
            Err(_) if tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

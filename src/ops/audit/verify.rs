//! `muster audit verify`: whether the log of acts is what was written.
//!
//! What the store has is followed line by line, and compared with its own note of the end and with the copies in the
//! broker. What the copies have of other chains is followed too: those are logs that a store has forgotten.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::list::each_line_behind;
use crate::broker::{Broker, BrokerError};
use crate::domain::LetterEntry;
use crate::domain::audit::{ChainId, End, Flaw, Follower, Line};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::store::{ActsEnds, Store};

/// How often a log is read again whose reading was cut off.
const TRIES: usize = 3;

/// Copies of entries, by chain and number. One that was copied twice in two forms has both.
type Copies = BTreeMap<ChainId, BTreeMap<u64, Vec<Line>>>;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    anchor: Option<End>,
    last: Option<End>,
    entries: u64,
    /// Entries of the store that have a copy.
    copied: u64,
    flaw: Option<Flaw>,
    /// Chains that only the copies have: how many entries, from where to where, and what is wrong.
    forgotten: Vec<Forgotten>,
}

#[derive(Debug)]
struct Forgotten {
    chain: ChainId,
    entries: usize,
    first: u64,
    last: u64,
    flaw: Option<Flaw>,
}

/// Checks it.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    kept: &[End],
    store_only: bool,
    form: Form,
) -> anyhow::Result<Exit> {
    // The copies first: an entry is in the store before its copy is made.
    let copies = if store_only { None } else { Some(copies(&pipeline.broker).await?) };
    let found = looked(&pipeline.store, copies.as_ref(), kept).await?;
    report(&found, copies.is_some(), form);
    let is_flawed = found.flaw.is_some() || found.forgotten.iter().any(|chain| chain.flaw.is_some());
    Ok(if is_flawed { Exit::Failed } else { Exit::Done })
}

async fn copies<B: Broker>(broker: &B) -> anyhow::Result<Copies> {
    let mut tries = 0;
    loop {
        let mut copies = Copies::new();
        let take = |entry| {
            let LetterEntry::Act { line } = entry else { return };
            let Some(place) = line.place() else { return };
            let known = copies.entry(place.chain).or_default().entry(place.number).or_default();
            if !known.contains(&line) {
                known.push(line);
            }
        };
        match broker.read_log(take).await {
            // Nobody ever worked there.
            Ok(()) | Err(BrokerError::Missing(_)) => return Ok(copies),
            Err(_) if tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks, and once more where the oldest entries were forgotten meanwhile: then lines are gone that were to come.
async fn looked<S: Store>(store: &S, copies: Option<&Copies>, kept: &[End]) -> anyhow::Result<Found> {
    let mut tries = 0;
    loop {
        let noted = store.acts_ends().await?;
        let found = look(store, &noted, copies, kept).await?;
        if found.flaw.is_none() || tries == TRIES || store.acts_ends().await?.anchor == noted.anchor {
            return Ok(found);
        }
        tries += 1;
    }
}

async fn look<S: Store>(store: &S, noted: &ActsEnds, copies: Option<&Copies>, kept: &[End]) -> anyhow::Result<Found> {
    let mut found = Found { anchor: noted.anchor.clone(), ..Found::default() };
    let mut follower = Follower::new(noted.anchor.clone());
    let mut places = HashMap::<u64, End>::new();
    // Where somebody took the note of the end away, the entries tell the chain.
    let first = store.acts(noted.anchor.as_ref().map_or(0, |anchor| anchor.number), 1).await?;
    let own = noted.last.as_ref().map(|last| last.chain).or_else(|| Some(first.first()?.place()?.chain));
    let copied = own.and_then(|own| copies?.get(&own));
    found.flaw = noted.anchor.as_ref().zip(copied).and_then(|(anchor, copied)| cut(anchor, copied, noted));
    each_line_behind(store, noted.anchor.as_ref(), |line| {
        if found.flaw.is_some() {
            return;
        }
        match follower.follow(&line) {
            Ok(place) => {
                let number = place.number;
                found.entries += 1;
                places.insert(number, place.clone());
                let copies = copied.and_then(|copied| copied.get(&number));
                match copies.is_none_or(|copies| copies.len() == 1 && copies.contains(&line)) {
                    true => found.copied += u64::from(copies.is_some()),
                    false => found.flaw = Some(Flaw::OtherCopy { number }),
                }
            }
            Err(flaw) => found.flaw = Some(flaw),
        }
    })
    .await?;
    found.last = follower.last().cloned();
    if found.flaw.is_none() {
        let reached = found.last.as_ref().map_or(0, |last| last.number);
        let is_passed = |last: &End| noted.anchor.as_ref() == Some(last) || places.get(&last.number) == Some(last);
        let noted = match &noted.last {
            // Somebody may have acted meanwhile: then the end that was noted was passed on the way.
            Some(last) if !is_passed(last) => Some(last.number),
            // The first act may have been noted meanwhile.
            None if reached > 0 && store.acts_ends().await?.last.is_none() => Some(0),
            _ => None,
        };
        let copied = copied.and_then(|copied| copied.keys().next_back().copied()).filter(|last| *last > reached);
        found.flaw = copied.or(noted).map(|noted| Flaw::OtherEnd { found: reached, noted });
    }
    found.forgotten = copies.into_iter().flatten().filter(|(chain, _)| own != Some(**chain)).map(forgotten).collect();
    let is_here = |end: &End| places.get(&end.number) == Some(end) || found.anchor.as_ref() == Some(end);
    let is_forgotten = |end: &End| {
        let copies =
            copies.filter(|_| own != Some(end.chain)).and_then(|copies| copies.get(&end.chain)?.get(&end.number));
        copies.is_some_and(|copies| copies.iter().any(|line| line.place().as_ref() == Some(end)))
    };
    let missing = kept.iter().find(|end| !is_here(end) && !is_forgotten(end));
    let missing = missing.map(|end| Flaw::NotHere { number: end.number, chain: end.chain });
    found.flaw = found.flaw.or(missing);
    Ok(found)
}

/// What copies say against a beginning that is not kept any more: the anchor is not the entry that it names, or one before it
/// is too young to be forgotten. The copies are older than the note of the anchor, and so is the time to which ages are told.
fn cut(anchor: &End, copied: &BTreeMap<u64, Vec<Line>>, noted: &ActsEnds) -> Option<Flaw> {
    let is_other = |line: &Line| line.place().as_ref() != Some(anchor);
    if copied.get(&anchor.number).is_some_and(|lines| lines.iter().any(is_other)) {
        return Some(Flaw::OtherCopy { number: anchor.number });
    }
    let oldest = noted.now - noted.kept;
    let is_young = |line: &Line| line.entry().is_some_and(|entry| entry.at >= oldest);
    let young = copied.range(..=anchor.number).find(|(_, lines)| lines.iter().any(is_young));
    young.map(|(number, _)| Flaw::CutTooEarly { number: *number })
}

/// Follows a chain of which only copies are left. The log that they are in drops its oldest, so the first that is there is
/// believed.
fn forgotten((chain, copies): (&ChainId, &BTreeMap<u64, Vec<Line>>)) -> Forgotten {
    let lines: Vec<&Line> = copies.values().filter_map(|lines| lines.first()).collect();
    let begins_it = lines.first().and_then(|line| line.place()).filter(|first| first.number > 1);
    let mut follower = Follower::new(begins_it.clone());
    let mut rest = lines.iter().skip(usize::from(begins_it.is_some()));
    let doubled = copies.iter().find(|(_, lines)| lines.len() > 1);
    let flaw = doubled.map(|(number, _)| Flaw::OtherCopy { number: *number });
    let flaw = flaw.or_else(|| rest.find_map(|line| follower.follow(line).err()));
    let number = |at: Option<&u64>| at.copied().unwrap_or_default();
    Forgotten {
        chain: *chain,
        entries: lines.len(),
        first: number(copies.keys().next()),
        last: number(copies.keys().next_back()),
        flaw,
    }
}

fn report(found: &Found, with_copies: bool, form: Form) {
    let Found { anchor, last, entries, copied, flaw, forgotten } = found;
    let said = |flaw: &Option<Flaw>| flaw.as_ref().map(ToString::to_string);
    if form == Form::Json {
        let forgotten: Vec<_> = forgotten
            .iter()
            .map(|chain| {
                json!({
                    "chain": chain.chain, "entries": chain.entries, "first": chain.first, "last": chain.last,
                    "flaw": said(&chain.flaw),
                })
            })
            .collect();
        output::object(&json!({
            "intact": flaw.is_none(), "flaw": said(flaw), "entries": entries,
            "anchor": anchor.as_ref().map(ToString::to_string), "end": last.as_ref().map(ToString::to_string),
            "copied": with_copies.then_some(copied), "forgotten": forgotten,
        }));
        return;
    }
    match flaw {
        None => output::line(format!("{} of the log of acts follow from each other", counted(*entries))),
        Some(flaw) => {
            output::line(format!("Not intact: {flaw}. The {} before are as they were written", counted(*entries)))
        }
    }
    if let Some(anchor) = anchor {
        output::line(format!("Entries up to {} are not kept any more: {anchor}", anchor.number));
    }
    if with_copies {
        output::line(format!("{} have the same copy in the log of dead letters", counted(*copied)));
    }
    for chain in forgotten {
        let Forgotten { chain, entries, first, last, flaw } = chain;
        let state =
            flaw.as_ref().map_or("they follow from each other".to_owned(), |flaw| format!("not intact: {flaw}"));
        output::line(format!(
            "The log of dead letters has {} of another log of acts, {chain}, {first} to {last}, which this store has forgotten: {state}",
            counted(u64::try_from(*entries).unwrap_or(u64::MAX)),
        ));
    }
    if let Some(last) = last.as_ref().filter(|_| flaw.is_none()) {
        output::line(format!("It ends with {last}"));
        output::line(
            "Keep that line elsewhere: `muster audit verify --end` proves later that nothing before it was cut off",
        );
    }
}

fn counted(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

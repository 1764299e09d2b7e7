//! Which letters are meant: a filter as people type it, and the letters that fit it, oldest first, page by page.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::find;
use crate::broker::Broker;
use crate::domain::redrive::{LetterFilter, Which};
use crate::domain::{
    AttributePath, ConnectionName, DeadLetter, FailureClass, Fingerprint, LetterId, LetterPlace, Side, SystemName,
    Timestamp,
};
use crate::ops::sync::UsageError;
use crate::stages::Pipeline;
use crate::store::{Claim, Find, Store, StoreError};

/// Letters of one fingerprint that are loaded at a time.
const PAGE: usize = 100;

/// How often a store that loses its memory meanwhile is asked again.
const EPOCHS: usize = 5;

/// Which letters are meant; those that fit everything that is given.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which letters")]
pub struct Fitting {
    /// Only those of this connection.
    #[arg(long)]
    pub connection: Option<ConnectionName>,
    /// Only what this system refused, or what is wrong with its records.
    #[arg(long, value_name = "SYSTEM")]
    pub target: Option<SystemName>,
    /// Only failures of this class.
    #[arg(long, value_parser = classes())]
    pub class: Option<FailureClass>,
    /// Only those with this code.
    #[arg(long)]
    pub code: Option<String>,
    /// Only those about this attribute.
    #[arg(long)]
    pub attribute: Option<AttributePath>,
    /// Only those about this account, as `<system>:<id>`, or about its partner.
    #[arg(long)]
    pub account: Option<String>,
    /// Only what was opened since: a time such as 2026-05-01T08:00:00Z, or how long ago, such as 90m, 12h or 3d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only what was opened before this time, written likewise.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only what was opened longer ago than this, such as 90m, 12h or 3d.
    #[arg(long, value_name = "AGE", value_parser = time, conflicts_with = "until")]
    pub older_than: Option<Timestamp>,
}

fn classes() -> impl TypedValueParser<Value = FailureClass> {
    PossibleValuesParser::new(FailureClass::ALL.map(FailureClass::as_str)).map(|word| {
        let known = FailureClass::ALL.into_iter().find(|class| class.as_str() == word);
        known.expect("the parser before has refused every other word")
    })
}

/// A time as people type it.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(time.as_millisecond()));
    }
    let ago = text.parse::<jiff::Span>().ok().filter(|span| span.is_positive());
    let then = ago.and_then(|span| jiff::Zoned::now().checked_sub(span).ok());
    match then {
        Some(then) => Ok(Timestamp(then.timestamp().as_millisecond())),
        None => Err("write a time such as 2026-05-01T08:00:00Z, or how long ago, such as 90m, 12h or 3d".to_owned()),
    }
}

impl Fitting {
    /// Whether every open letter is meant.
    pub fn is_open(&self) -> bool {
        self.account.is_none() && self.filter().is_open()
    }

    /// The filter, but for the account.
    pub fn filter(&self) -> LetterFilter {
        let Self { connection, target, class, code, attribute, account: _, since, until, older_than } = self.clone();
        LetterFilter { connection, target, class, code, attribute, since, until: until.or(older_than) }
    }

    /// What is meant, with the account looked up.
    pub(crate) async fn which<B: Broker, S: Store>(&self, pipeline: &Pipeline<B, S>) -> anyhow::Result<Which> {
        let filter = self.filter();
        known(pipeline, filter.connection.as_ref())?;
        let Some(account) = &self.account else { return Ok(Which::Fitting(filter)) };
        let ids = letters_of(pipeline, account).await?;
        let mut meant = Vec::new();
        for id in ids {
            match find(pipeline, id.as_str()).await {
                Ok(letter) if filter.fits(&letter) => meant.push(letter.id),
                Ok(_) => {}
                Err(error) if error.is::<UsageError>() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Which::Letters(meant))
    }
}

fn known<B, S>(pipeline: &Pipeline<B, S>, name: Option<&ConnectionName>) -> Result<(), UsageError> {
    let Some(name) = name.filter(|name| !pipeline.connections.contains_key(*name)) else { return Ok(()) };
    let known = pipeline.connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
    Err(UsageError::new(format!("there is no connection {name}; the configuration has: {known}")))
}

/// The ids that letters about this account or its partner have, where there are any.
async fn letters_of<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, text: &str) -> anyhow::Result<BTreeSet<LetterId>> {
    let named = text.split_once(':').and_then(|(system, id)| Some((system.parse::<SystemName>().ok()?, id)));
    let Some((system, id)) = named.filter(|(system, _)| pipeline.systems.contains_key(system)) else {
        let example = pipeline.systems.keys().next().map_or("crm", SystemName::as_str);
        let text = format!("`{text}` is no account; write <system>:<id>, such as {example}:005...");
        return Err(UsageError::new(text).into());
    };
    let mut ids = BTreeSet::new();
    for connection in pipeline.connections.values() {
        let name = &connection.name;
        for side in Side::BOTH.into_iter().filter(|side| connection.systems[*side] == system) {
            let Some(account) = connection.parse_id(side, id) else { continue };
            ids.insert(LetterId::of_account(name, side, &account));
            let question = Find { claims: vec![Claim::Account(side, account)], letter: None };
            let mut found = pipeline.store.find(name, vec![question.clone()]).await;
            for _ in 0..EPOCHS {
                let Err(StoreError::EpochChanged(_)) = found else { break };
                pipeline.store.epoch(name).await?;
                found = pipeline.store.find(name, vec![question.clone()]).await;
            }
            for (link, _) in found?.items.into_iter().filter_map(|found| found.link) {
                for side in Side::BOTH {
                    ids.insert(LetterId::of_link(name, side, link.id));
                    ids.extend(link.sides[side].account.as_ref().map(|it| LetterId::of_account(name, side, it)));
                }
            }
        }
    }
    Ok(ids)
}

/// Letters of one cause, over all connections that are meant.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) letters: u64,
    /// How many of them are about an account.
    pub(crate) accounts: u64,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
}

/// The shelves that letters of a filter may lie on.
fn shelves<B, S>(pipeline: &Pipeline<B, S>, filter: &LetterFilter) -> Vec<Option<ConnectionName>> {
    let is_meant = |name: &&ConnectionName| filter.connection.as_ref().is_none_or(|only| only == *name);
    let connections = pipeline.connections.keys().filter(is_meant).cloned().map(Some);
    connections.chain([None]).collect()
}

/// The letters that a filter means, by cause: most letters first.
pub(crate) async fn groups<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    filter: &LetterFilter,
) -> anyhow::Result<Vec<Group>> {
    let mut groups = BTreeMap::<Fingerprint, Group>::new();
    let mut add = |fingerprint: Fingerprint, letters: u64, accounts: u64, first_at: Timestamp, last_at: Timestamp| {
        let group = groups.entry(fingerprint.clone()).or_insert(Group {
            fingerprint,
            letters: 0,
            accounts: 0,
            first_at,
            last_at,
        });
        group.letters += letters;
        group.accounts += accounts;
        group.first_at = group.first_at.min(first_at);
        group.last_at = group.last_at.max(last_at);
    };
    for shelf in shelves(pipeline, filter) {
        if shelf.is_none() && filter.connection.is_some() {
            // Those about messages do not lie by connection; they are few.
            let mut letters = Letters::on(pipeline, vec![None], filter.clone(), None).await?;
            while let Some(letter) = letters.next(pipeline).await? {
                add(letter.fingerprint, 1, 0, letter.first_at, letter.last_at);
            }
            continue;
        }
        for group in pipeline.store.letter_groups(shelf.as_ref(), &filter.when()).await? {
            if filter.fits_cause(&group.fingerprint) {
                let accounts = if shelf.is_some() { group.letters } else { 0 };
                add(group.fingerprint, group.letters, accounts, group.first_at, group.last_at);
            }
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.letters));
    Ok(groups)
}

/// Letters that are meant, oldest first. Only a page of each cause is in memory.
pub(crate) struct Letters {
    filter: LetterFilter,
    when: Range<Timestamp>,
    streams: Vec<Stream>,
    /// The one that was handed out last. One that failed again since then, as something else, is not handed out twice.
    last: Option<LetterPlace>,
}

/// Letters of one fingerprint on one shelf.
struct Stream {
    shelf: Option<ConnectionName>,
    fingerprint: Option<Fingerprint>,
    loaded: VecDeque<DeadLetter>,
    after: Option<LetterPlace>,
    ended: bool,
}

impl Letters {
    /// Those behind `after`.
    pub(crate) async fn of<B: Broker, S: Store>(
        pipeline: &Pipeline<B, S>,
        which: &Which,
        after: Option<LetterPlace>,
    ) -> anyhow::Result<Self> {
        match which {
            Which::Fitting(filter) => Self::on(pipeline, shelves(pipeline, filter), filter.clone(), after).await,
            Which::Letters(ids) => {
                let mut letters = Vec::new();
                for id in ids {
                    match find(pipeline, id.as_str()).await {
                        Ok(letter) => letters.push(letter),
                        // Closed meanwhile.
                        Err(error) if error.is::<UsageError>() => {}
                        Err(error) => return Err(error),
                    }
                }
                letters.sort_by_key(DeadLetter::place);
                let loaded = letters.into();
                let stream = Stream { shelf: None, fingerprint: None, loaded, after: None, ended: true };
                let filter = LetterFilter::default();
                Ok(Self { when: filter.when(), filter, streams: vec![stream], last: after })
            }
        }
    }

    async fn on<B: Broker, S: Store>(
        pipeline: &Pipeline<B, S>,
        shelves: Vec<Option<ConnectionName>>,
        filter: LetterFilter,
        after: Option<LetterPlace>,
    ) -> anyhow::Result<Self> {
        let (when, mut streams) = (filter.when(), Vec::new());
        for shelf in shelves {
            for group in pipeline.store.letter_groups(shelf.as_ref(), &when).await? {
                if filter.fits_cause(&group.fingerprint) {
                    streams.push(Stream {
                        shelf: shelf.clone(),
                        fingerprint: Some(group.fingerprint),
                        loaded: VecDeque::new(),
                        after: after.clone(),
                        ended: false,
                    });
                }
            }
        }
        Ok(Self { filter, when, streams, last: after })
    }

    /// The next one.
    pub(crate) async fn next<B: Broker, S: Store>(
        &mut self,
        pipeline: &Pipeline<B, S>,
    ) -> Result<Option<DeadLetter>, StoreError> {
        loop {
            for stream in &mut self.streams {
                stream.load(pipeline, &self.when).await?;
            }
            let streams = self.streams.iter_mut().filter(|stream| !stream.loaded.is_empty());
            let first = streams.min_by(|one, other| one.place().cmp(&other.place()));
            let Some(letter) = first.and_then(|stream| stream.loaded.pop_front()) else { return Ok(None) };
            let is_new = |last: &LetterPlace| (letter.first_at, &letter.id) > (last.first_at, &last.id);
            let is_new = self.last.as_ref().is_none_or(is_new);
            if is_new && self.filter.fits(&letter) {
                self.last = Some(letter.place());
                return Ok(Some(letter));
            }
        }
    }

    /// The next ones, at most so many.
    pub(crate) async fn take<B: Broker, S: Store>(
        &mut self,
        pipeline: &Pipeline<B, S>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters = Vec::new();
        while letters.len() < limit
            && let Some(letter) = self.next(pipeline).await?
        {
            letters.push(letter);
        }
        Ok(letters)
    }
}

impl Stream {
    /// Where the next letter stands; none is copied for that, since it is asked for each letter of every stream.
    fn place(&self) -> Option<(Timestamp, &LetterId)> {
        self.loaded.front().map(|letter| (letter.first_at, &letter.id))
    }

    async fn load<B: Broker, S: Store>(
        &mut self,
        pipeline: &Pipeline<B, S>,
        when: &Range<Timestamp>,
    ) -> Result<(), StoreError> {
        let Some(fingerprint) = &self.fingerprint else { return Ok(()) };
        while self.loaded.is_empty() && !self.ended {
            let (shelf, after) = (self.shelf.as_ref(), self.after.as_ref());
            let (page, next) = pipeline.store.letter_page(shelf, fingerprint, when, after, PAGE).await?;
            self.loaded = page.into();
            self.ended = next.is_none();
            self.after = next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_type_them() {
        assert_eq!(time("2026-05-01T08:00:00Z"), Ok(Timestamp(1_777_622_400_000)));
        let ago = |text: &str| jiff::Timestamp::now().as_millisecond() - time(text).unwrap().0;
        for (text, hours) in [("90m", 1), ("12h", 12), ("3d", 72), ("2 hours", 2)] {
            assert_eq!(ago(text) / 3_600_000, hours, "{text}");
        }
        for wrong in ["", "yesterday", "-3d", "3"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}

//! `muster forget`: erases what is remembered of a person, and leaves the fact (B17 is for those who are still there).
//!
//! Erased are values: of conflicts, of recorded changes, of messages that nobody could read, and of links that have one
//! account left. What stays are ids, and what the log of acts says. Every step may be made again: killed in the middle, the
//! same command finishes the work.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::json;

use super::audit;
use super::connect::Mode;
use super::dead::log_closed;
use super::exit::Exit;
use super::explain::find;
use super::output::{self, Form};
use crate::broker::{Broker, LETTER_LOG_KEPT};
use crate::domain::dead_letter::DiscardReason;
use crate::domain::{
    AccountId, AttributePath, ConnectionName, DeadLetter, LetterContent, LetterEntry, LetterId, Link, LinkId,
    Resolution, Side, Timestamp, Value,
};
use crate::failpoint::hit;
use crate::stages::{self, Pipeline};
use crate::store::{Commit, Committed, Erased, Person, Store, StoreError};

/// How it is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Nothing is erased; what would be is told.
    pub dry_run: bool,
    /// A person at a terminal is not asked first.
    pub sure: bool,
}

/// An id or a name with fewer characters stands in too many texts that are about somebody else.
const SHORTEST_NAME: usize = 4;

/// Attributes by whose values a message may name a person.
const NAMES: [&str; 2] = ["emails", "userName"];

/// What was found of the person, and erased.
#[derive(Debug, Default)]
struct Tally {
    conflicts: u64,
    history: u64,
    overwritten: u64,
    letters: u64,
    log_entries: u64,
    /// Values in links that have one account left.
    values: u64,
    /// Values in links of two accounts: they stay, since they are needed to keep the two in step.
    kept: u64,
}

/// The person: who they are on each connection.
#[derive(Debug, Default)]
struct Subject {
    /// `<system>:<id>`.
    accounts: BTreeSet<String>,
    on: BTreeMap<ConnectionName, Person>,
    links: Vec<(ConnectionName, Link)>,
}

/// Erases what is remembered of the person who has this account.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    account: &str,
    options: Options,
    form: Form,
) -> anyhow::Result<Exit> {
    let subject = gather(pipeline, account).await?;
    let accounts: Vec<_> = subject.accounts.iter().cloned().collect();
    audit::concerns(&accounts);
    if !options.dry_run && !options.sure && std::io::stdin().is_terminal() && !confirmed(&accounts)? {
        output::line("Nothing was erased");
        return Ok(Exit::Done);
    }
    let really = !options.dry_run;
    let mut tally = Tally::default();
    // Links last: their values are among those by which messages are found.
    let names = subject.names();
    let stays_until = messages(pipeline, &names, really, &mut tally).await?;
    hit("forget.letters");
    for (name, person) in &subject.on {
        let Erased { conflicts, history, overwritten } = pipeline.store.erase(name, person, really).await?;
        tally.conflicts += conflicts;
        tally.history += history;
        tally.overwritten += overwritten;
    }
    hit("forget.entries");
    for (name, link) in &subject.links {
        let values = link.registers.len() as u64;
        match link.is_paired() {
            true => {
                tally.kept += values;
                tally.overwritten += forget_before(pipeline, name, link.id, really).await?;
            }
            false => tally.values += empty(pipeline, name, link.id, really).await?,
        }
    }
    if really {
        pipeline.store.scrub().await?;
    }
    for (what, count) in tally.counts() {
        audit::count(what, count);
    }
    report(&accounts, &tally, stays_until, mode, options, form);
    Ok(Exit::Done)
}

/// Who the person is: the account that was named, its partners, and the partners of those.
async fn gather<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, account: &str) -> anyhow::Result<Subject> {
    let mut subject = Subject::default();
    let (mut to_ask, mut asked) = (vec![account.to_owned()], BTreeSet::new());
    while let Some(account) = to_ask.pop() {
        if !asked.insert(account.clone()) {
            continue;
        }
        for meant in find::find(pipeline, &account, None, false).await? {
            let connection = &meant.connection;
            let person = subject.on.entry(connection.name.clone()).or_default();
            for side in Side::BOTH {
                let of_link = meant.link.as_ref().and_then(|link| link.sides[side].parting.as_ref());
                let parted = of_link.map(|parting| parting.account.clone());
                for account in meant.accounts[side].iter().cloned().chain(parted) {
                    let named = format!("{}:{account}", connection.systems[side]);
                    subject.accounts.insert(named.clone());
                    person.accounts[side].insert(account);
                    to_ask.push(named);
                }
            }
            if let Some(link) = meant.link
                && person.links.insert(link.id)
            {
                subject.links.push((connection.name.clone(), link));
            }
        }
    }
    Ok(subject)
}

impl Subject {
    /// The texts by which a message may name the person.
    fn names(&self) -> Vec<String> {
        let ids = self.on.values().flat_map(|person| Side::BOTH.map(|side| person.accounts[side].iter()));
        let ids = ids.flatten().map(AccountId::to_string);
        let known = NAMES.map(|name| name.parse::<AttributePath>().expect("the names of this table are paths"));
        let registers =
            self.links.iter().flat_map(|(_, link)| known.iter().filter_map(|path| link.registers.get(path)));
        let values = registers.filter_map(|register| match &register.value {
            Some(Value::Text(text)) => Some(text.to_string()),
            _ => None,
        });
        let names: BTreeSet<String> = ids.chain(values).filter(|name| name.chars().count() >= SHORTEST_NAME).collect();
        names.into_iter().collect()
    }
}

/// Whether a letter is about a message that nobody could read and that names the person: one of the names as a whole string
/// of JSON.
fn is_meant(letter: &DeadLetter, names: &[String]) -> bool {
    let LetterContent::Message { body, .. } = &letter.content else { return false };
    let Some(bytes) = stages::from_base64(body) else { return false };
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    names.iter().any(|name| text.contains(&format!("\"{}\"", name.to_lowercase())))
}

/// Closes letters about messages that name the person, and erases the bytes of such messages from the log of letters where
/// that can be done; else the time until which they stay there, if there are any.
async fn messages<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    names: &[String],
    really: bool,
    tally: &mut Tally,
) -> anyhow::Result<Option<Timestamp>> {
    let mut open: Vec<LetterId> = Vec::new();
    for connection in pipeline.connections.keys().map(Some).chain([None]) {
        let letters = pipeline.store.letters(connection).await?;
        open.extend(letters.into_iter().filter(|letter| is_meant(letter, names)).map(|letter| letter.id));
    }
    tally.letters = open.len() as u64;
    if really && !open.is_empty() {
        let text = Some("the person was forgotten".to_owned());
        let resolution = Resolution::Discarded { reason: DiscardReason::Obsolete, text };
        log_closed(pipeline, &open, &resolution).await?;
        pipeline.store.file_letters(&[], &open).await?;
    }
    let mut latest = None;
    pipeline
        .broker
        .read_log(|entry| {
            if let LetterEntry::Opened { letter } = entry
                && is_meant(&letter, names)
            {
                tally.log_entries += 1;
                latest = latest.max(Some(letter.last_at));
            }
        })
        .await?;
    let is_fixed = !pipeline.broker.rewrites_log();
    if really && !is_fixed && latest.is_some() {
        let names = names.to_vec();
        let without_bytes = move |entry: &LetterEntry| match entry {
            LetterEntry::Opened { letter } if is_meant(letter, &names) => {
                let mut letter = letter.clone();
                if let LetterContent::Message { body, .. } = &mut letter.content {
                    body.clear();
                }
                Some(LetterEntry::Opened { letter })
            }
            _ => None,
        };
        pipeline.broker.rewrite_log(without_bytes).await?;
    }
    Ok(latest.filter(|_| is_fixed).map(|latest| latest + LETTER_LOG_KEPT))
}

/// Drops what a link with one account remembers but the pairing; how many values that are.
async fn empty<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    link: LinkId,
    really: bool,
) -> Result<u64, StoreError> {
    change(pipeline, name, link, really, |link| {
        let values = if link.is_paired() { 0 } else { link.registers.len() as u64 };
        (values, !link.is_paired() && link.forget_values())
    })
    .await
}

/// Drops what a link of two accounts keeps only so that a write can be undone; how many values that are.
async fn forget_before<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    link: LinkId,
    really: bool,
) -> Result<u64, StoreError> {
    change(pipeline, name, link, really, |link| {
        let mut dropped = 0;
        for side in Side::BOTH {
            let before = &mut link.sides[side].before;
            let kept = before.len();
            // That there was nothing is nothing of theirs.
            before.retain(|_, value| value.is_none());
            dropped += (kept - before.len()) as u64;
        }
        (dropped, dropped > 0)
    })
    .await
}

/// Changes a link, if `really`. `forget` drops values of it, and says how many, and whether anything of the link is another.
async fn change<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    link: LinkId,
    really: bool,
    forget: impl Fn(&mut Link) -> (u64, bool),
) -> Result<u64, StoreError> {
    loop {
        // Only this question lets the store begin a new memory, where it has lost the old one.
        let epoch = pipeline.store.epoch(name).await?;
        let loaded = pipeline.store.load(name, &[link]).await?.items.into_iter().next().flatten();
        let Some(mut link) = loaded else { return Ok(0) };
        let (values, changes) = forget(&mut link);
        if !really || !changes {
            return Ok(values);
        }
        let commit = Commit { link: Some(link), ..Commit::default() };
        match pipeline.store.commit(name, epoch.id, &[commit]).await {
            Ok(committed) if matches!(committed.first(), Some(Committed::Done { .. })) => return Ok(values),
            // Somebody worked on it: once more.
            Ok(_) | Err(StoreError::EpochChanged(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Tally {
    fn counts(&self) -> [(&'static str, u64); 6] {
        let Self { conflicts, history, overwritten, letters, log_entries, values, kept: _ } = *self;
        [
            ("conflicts", conflicts),
            ("history", history),
            ("overwritten", overwritten),
            ("letters", letters),
            ("log_entries", log_entries),
            ("values", values),
        ]
    }
}

/// Asks on standard error, which a terminal shows even where the output goes elsewhere.
fn confirmed(accounts: &[String]) -> std::io::Result<bool> {
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "Erase what is remembered of {} for good? [y/N] ", accounts.join(", "))?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn report(
    accounts: &[String],
    tally: &Tally,
    stays_until: Option<Timestamp>,
    mode: &Mode,
    options: Options,
    form: Form,
) {
    let elsewhere = elsewhere(mode, options.dry_run);
    if form == Form::Json {
        let counts: BTreeMap<_, _> = tally.counts().into();
        output::object(&json!({
            "accounts": accounts, "dry_run": options.dry_run, "erased": counts, "kept_in_links": tally.kept,
            "log_stays_until": stays_until, "elsewhere": elsewhere,
        }));
        return;
    }
    let verb = if options.dry_run { "Would erase" } else { "Erased" };
    output::line(format!("{verb} of {}:", accounts.join(", ")));
    for (count, what) in [
        (tally.conflicts, "values of conflicts; that there were conflicts stays"),
        (tally.history, "recorded changes"),
        (tally.overwritten, "writes' values before them, kept for `muster undo`; that there were writes stays"),
        (tally.letters, "letters about messages that name them"),
        (if stays_until.is_none() { tally.log_entries } else { 0 }, "entries' bytes in the log of letters"),
        (tally.values, "values in links with one account left"),
    ] {
        output::line(format!("  {count:>6} {what}"));
    }
    if tally.kept > 0 {
        output::line(format!(
            "{} in links stay: the accounts are linked, and kept in step. End that first: delete the account where it comes \
             from, or `muster links remove`; then run this again",
            output::count(usize::try_from(tally.kept).unwrap_or(usize::MAX), "value")
        ));
    }
    if let Some(until) = stays_until {
        let entries = output::count(usize::try_from(tally.log_entries).unwrap_or(usize::MAX), "message");
        output::line(format!(
            "{entries} that name them stay in the log of letters, which cannot be changed: RabbitMQ drops the last by {until}"
        ));
    }
    elsewhere.iter().for_each(output::line);
}

/// Where the person may still be found, and what is to be done about it.
fn elsewhere(mode: &Mode, dry_run: bool) -> Vec<&'static str> {
    let mut places = Vec::new();
    match mode {
        Mode::Distributed => places.push(
            "Redis has erased them from memory; its append-only file has them until it is rewritten (BGREWRITEAOF), and \
             snapshots until the next one",
        ),
        Mode::Embedded(_) => {}
    }
    places.extend([
        "Backups have them until they are thrown away",
        "Messages under way may have them: run this again once `muster status` shows empty queues",
        "As long as a system has the account and the connection is about it, it is read again: delete it there first",
    ]);
    if dry_run { Vec::new() } else { places }
}

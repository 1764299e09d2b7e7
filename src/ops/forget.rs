//! `muster forget`: erases what is remembered of a person, and leaves the fact (B17 is for those who are still there).
//!
//! Erased are values: of conflicts, of recorded changes, of messages that nobody could work on, and of links that have one
//! account left. What stays are ids, and what the log of acts says. Every step may be made again: killed in the middle, the
//! same command finishes the work.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::json;

use super::audit;
use super::connect::Mode;
use super::exit::Exit;
use super::explain::find;
use super::output::{self, Form};
use crate::broker::Broker;
use crate::domain::link::UnderWay;
use crate::domain::{ConnectionName, Link, LinkId, Side, Timestamp};
use crate::failpoint::hit;
use crate::stages::Pipeline;
use crate::store::{Commit, Committed, Erased, Person, Store, StoreError};

mod messages;

use messages::Names;

/// How it is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Nothing is erased; what would be is told.
    pub dry_run: bool,
    /// A person at a terminal is not asked first.
    pub sure: bool,
}

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
    /// Connections that are read whole, because a message that was closed cannot be read.
    reads: BTreeSet<ConnectionName>,
    /// Until when writes are under way whose links cannot be emptied yet, in the store's clock.
    under_way: Option<Timestamp>,
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
    let stays_until = messages::forget(pipeline, &Names::of(&subject), really, &mut tally).await?;
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
            false => match empty(pipeline, name, link.id, really).await? {
                Emptied::Of(values) => tally.values += values,
                Emptied::Not(UnderWay { until }) => tally.under_way = tally.under_way.max(Some(until)),
            },
        }
    }
    if really {
        pipeline.store.scrub().await?;
    }
    for (what, count) in tally.counts() {
        audit::count(what, count);
    }
    report(&accounts, &tally, stays_until, mode, options, form);
    Ok(if tally.under_way.is_some() { Exit::Attention } else { Exit::Done })
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

/// What became of a link.
enum Emptied {
    /// So many values were dropped, or would be.
    Of(u64),
    /// Nothing: whether an account was just created is known in no other place.
    Not(UnderWay),
}

/// Drops the values that a link with one account remembers.
async fn empty<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    link: LinkId,
    really: bool,
) -> Result<Emptied, StoreError> {
    let emptied = change(pipeline, name, link, really, |link, now| {
        if link.is_paired() {
            return (Emptied::Of(0), false);
        }
        let values = link.registers.len() as u64;
        if !really {
            return (Emptied::Of(values), false);
        }
        match link.forget_values(now) {
            Ok(changes) => (Emptied::Of(values), changes),
            Err(under_way) => (Emptied::Not(under_way), false),
        }
    });
    Ok(emptied.await?.unwrap_or(Emptied::Of(0)))
}

/// Drops what a link of two accounts keeps only so that a write can be undone; how many values that are.
async fn forget_before<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    link: LinkId,
    really: bool,
) -> Result<u64, StoreError> {
    let dropped = change(pipeline, name, link, really, |link, _| {
        let mut dropped = 0;
        for side in Side::BOTH {
            let before = &mut link.sides[side].before;
            let kept = before.len();
            // That there was nothing is nothing of theirs.
            before.retain(|_, value| value.is_none());
            dropped += (kept - before.len()) as u64;
        }
        (dropped, dropped > 0)
    });
    Ok(dropped.await?.unwrap_or_default())
}

/// Changes a link, if `really`. `forget` drops values of it at a time of the store's clock, and says what it did, and whether
/// anything of the link is another. `None`: there is no such link.
async fn change<B: Broker, S: Store, T>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    link: LinkId,
    really: bool,
    forget: impl Fn(&mut Link, Timestamp) -> (T, bool),
) -> Result<Option<T>, StoreError> {
    loop {
        // Only this question lets the store begin a new memory, where it has lost the old one.
        let epoch = pipeline.store.epoch(name).await?;
        let loaded = pipeline.store.load(name, &[link]).await?;
        let (now, loaded) = (loaded.now, loaded.items.into_iter().next().flatten());
        let Some(mut link) = loaded else { return Ok(None) };
        let (told, changes) = forget(&mut link, now);
        if !really || !changes {
            return Ok(Some(told));
        }
        let commit = Commit { link: Some(link), ..Commit::default() };
        match pipeline.store.commit(name, epoch.id, &[commit]).await {
            Ok(committed) if matches!(committed.first(), Some(Committed::Done { .. })) => {
                return Ok(Some(told));
            }
            // Somebody worked on it: once more.
            Ok(_) | Err(StoreError::EpochChanged(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Tally {
    fn counts(&self) -> [(&'static str, u64); 6] {
        let Self { conflicts, history, overwritten, letters, log_entries, values, .. } = *self;
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
            "log_stays_until": stays_until, "elsewhere": elsewhere, "reads": tally.reads,
            "under_way_until": tally.under_way,
        }));
        return;
    }
    let verb = if options.dry_run { "Would erase" } else { "Erased" };
    output::line(format!("{verb} of {}:", accounts.join(", ")));
    for (count, what) in [
        (tally.conflicts, "values of conflicts; that there were conflicts stays"),
        (tally.history, "recorded changes"),
        (tally.overwritten, "writes' values before them, kept for `muster undo`; that there were writes stays"),
        (tally.letters, "letters' messages about them; what such a message says of others stays"),
        (if stays_until.is_none() { tally.log_entries } else { 0 }, "entries' bytes in the log of letters"),
        (tally.values, "values in links with one account left"),
    ] {
        output::line(format!("  {count:>6} {what}"));
    }
    if !tally.reads.is_empty() {
        let reads: Vec<_> = tally.reads.iter().map(ConnectionName::as_str).collect();
        let verb = if options.dry_run { "would be" } else { "will be" };
        output::line(format!(
            "A message that names them and cannot be read may have had changes of others: {} {verb} read whole",
            reads.join(", ")
        ));
    }
    if let Some(until) = tally.under_way {
        output::line(format!(
            "A write is under way for a link with one account left, and its values stay until its end is known: run this \
             again after {until}"
        ));
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

//! `muster held approve` and `muster held reject`.
//!
//! An approval travels with the command that it is about, so that nothing can come between the two: killed in the middle,
//! what was sent is written, and what was not is held as before. A rejection is noted in the link, 200 links at a time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::{AT_ONCE, Filter, Item, counted, gather};
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::domain::hold::{Approval, Verdict, Why, rule};
use crate::domain::{Cause, ChangeOutcome, Command, ConnectionName, Lane, LinkId, RunId, Side, Sides, Timestamp};
use crate::failpoint::hit;
use crate::ops::audit;
use crate::ops::connect::{Mode, operator};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::ops::worker::{how_to_start, missing};
use crate::stages::Pipeline;
use crate::stages::producer::new_run_id;
use crate::store::{Commit, Committed, Count, Run, RunKind, Store};

/// What is decided about, and how.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// What is meant.
    pub filter: Filter,
    /// Whether everything that the filter leaves is meant, although it names nothing in particular.
    pub all: bool,
    /// Whether a person at a terminal is not asked first.
    pub sure: bool,
}

/// What is decided about one side of one link.
type Rulings = BTreeMap<(LinkId, Side), Approval>;

/// Lets held writes pass: each goes to the writers.
pub async fn approve<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    decision: &Decision,
    form: Form,
) -> anyhow::Result<Exit> {
    let (items, left) = meant(pipeline, decision, Verdict::Approved).await?;
    if !confirmed(&items, decision, "Let")? {
        return Ok(Exit::Done);
    }
    let sent = carry_out(pipeline, &items, Verdict::Approved).await?;
    audit::count("left", left.len() as u64);
    report(&items, &left, Verdict::Approved, form);
    if form == Form::Text && sent > 0 {
        how_to_start(&missing(&pipeline.store).await?, mode).into_iter().for_each(output::line);
    }
    Ok(if left.is_empty() { Exit::Done } else { Exit::Attention })
}

/// Refuses held writes: they are not written until the source changes the value.
pub async fn reject<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    decision: &Decision,
    form: Form,
) -> anyhow::Result<Exit> {
    let (items, left) = meant(pipeline, decision, Verdict::Rejected).await?;
    if !confirmed(&items, decision, "Refuse")? {
        return Ok(Exit::Done);
    }
    carry_out(pipeline, &items, Verdict::Rejected).await?;
    audit::count("left", left.len() as u64);
    report(&items, &left, Verdict::Rejected, form);
    Ok(Exit::Done)
}

/// Sends what is approved to the writers, or notes what is rejected; how many sides of links a writer is asked for.
pub(crate) async fn carry_out<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    items: &[Item],
    verdict: Verdict,
) -> anyhow::Result<usize> {
    let mut sent = 0;
    for (name, rulings) in by_connection(items) {
        match verdict {
            Verdict::Approved => sent += send(pipeline, &name, rulings).await?,
            Verdict::Rejected => refuse(pipeline, &name, rulings).await?,
        }
    }
    let what = if verdict == Verdict::Approved { "approved" } else { "rejected" };
    audit::count(what, items.len() as u64);
    Ok(sent)
}

/// Why something that is held cannot be decided so.
fn obstacle(item: &Item, verdict: Verdict) -> Option<&'static str> {
    let stop = item.stop.as_ref().filter(|_| verdict == Verdict::Approved)?;
    let is_spared = stop.why == Why::Protected && item.is_protected;
    is_spared.then_some("the account is protected: take it out of `protected` first")
}

/// What is decided about, and what is left out with the reason.
pub(crate) async fn meant<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    decision: &Decision,
    verdict: Verdict,
) -> anyhow::Result<(Vec<Item>, Vec<(Item, &'static str)>)> {
    let Filter { connection, risk, accounts, writes, rejected } = &decision.filter;
    let names_nothing = connection.is_none() && risk.is_none() && accounts.is_empty() && writes.is_empty();
    if names_nothing && !decision.all {
        let text = "name accounts as `muster held list` shows them, or use --connection, --risk or --all";
        return Err(UsageError::new(text.to_owned()).into());
    }
    let items = gather(pipeline, &decision.filter).await?;
    if let ([_, ..], []) = (accounts.as_slice(), items.as_slice()) {
        let but = if *rejected { "" } else { ", unless it was rejected: see `muster held list --rejected`" };
        return Err(UsageError::new(format!("nothing is held of {}{but}", accounts.join(", "))).into());
    }
    let (mut meant, mut left) = (Vec::new(), Vec::new());
    for item in items {
        // Which of two values is right is a question about each of them.
        let is_alone = accounts.is_empty() && writes.is_empty();
        let alone = (item.stop.is_none() && is_alone).then_some("base_lost is decided one by one: name the account");
        match alone.or_else(|| obstacle(&item, verdict)) {
            Some(reason) => left.push((item, reason)),
            None => meant.push(item),
        }
    }
    Ok((meant, left))
}

/// Asks a person at a terminal, on standard error, which is shown there even where the output goes elsewhere.
fn confirmed(items: &[Item], decision: &Decision, verb: &str) -> std::io::Result<bool> {
    if decision.sure || items.is_empty() || !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    let mut by_risk = BTreeMap::<&str, usize>::new();
    items.iter().for_each(|item| *by_risk.entry(item.risk()).or_default() += 1);
    let kinds: Vec<_> = by_risk.iter().map(|(risk, count)| format!("{count} {risk}")).collect();
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "{verb} {} ({})? [y/N] ", counted(items.len()), kinds.join(", "))?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn by_connection(items: &[Item]) -> BTreeMap<ConnectionName, Rulings> {
    let (by, at) = (operator(), Timestamp(jiff::Timestamp::now().as_millisecond()));
    let mut connections = BTreeMap::<ConnectionName, Rulings>::new();
    for item in items {
        let rulings = connections.entry(item.connection.clone()).or_default();
        let approval = rulings.entry((item.link, item.side)).or_insert_with(|| Approval::new(by.clone(), at));
        approval.add(item.path.as_ref(), item.generation);
    }
    connections
}

/// Sends a command with its approval for each side, and returns how many.
async fn send<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    rulings: Rulings,
) -> anyhow::Result<usize> {
    let connection = &pipeline.connections[name];
    let epoch = pipeline.store.epoch(name).await?;
    let run = Run::new(new_run_id(), RunKind::Retry, operator(), epoch.now);
    pipeline.store.begin_run(name, &run).await?;
    let rulings: Vec<_> = rulings.into_iter().collect();
    for rulings in rulings.chunks(AT_ONCE) {
        let first = pipeline.store.reserve(name, &run.id, u32::try_from(rulings.len())?, None).await?;
        let mut by_side = Sides::<Vec<Command>>::default();
        let mut counts = Vec::new();
        for (number, ((link, side), approval)) in (first.unwrap_or_default()..).zip(rulings) {
            let cause = Cause { run: run.id.clone(), number };
            counts.push(counted_change(&run.id, number, *side));
            by_side[*side].push(Command {
                connection: name.clone(),
                link: *link,
                side: *side,
                cause,
                lane: Lane::Live,
                approval: Some(Box::new(approval.clone())),
                failed: Vec::new(),
            });
        }
        let mut outgoing = Vec::new();
        for side in Side::BOTH {
            let queue = Queue::commands(&connection.systems[side], Lane::Live);
            outgoing.extend(by_side[side].chunks(pipeline.commands_at_once(&queue)).map(|commands| Outgoing {
                to: Destination::Queue(queue.clone()),
                message: Message::new(Payload::Commands(commands.to_vec())),
            }));
        }
        pipeline.broker.publish(outgoing).await?;
        hit("held.sent");
        // Counted afterwards: a command that nobody sent would keep the run open for ever.
        pipeline.store.commit(name, epoch.id, &counts).await?;
    }
    Ok(rulings.len())
}

fn counted_change(run: &RunId, number: u32, side: Side) -> Commit {
    let mut emits = Sides { a: false, b: false };
    emits[side] = true;
    let count = Count::Change { run: run.clone(), number, outcome: ChangeOutcome::Unchanged, emits };
    Commit { count: Some(count), ..Commit::default() }
}

/// Notes in the links that a person refused what is held.
async fn refuse<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    rulings: Rulings,
) -> anyhow::Result<()> {
    let mut left: Vec<_> = rulings.into_iter().collect();
    while !left.is_empty() {
        let now: Vec<_> = left.drain(..left.len().min(AT_ONCE)).collect();
        let ids: Vec<_> = now.iter().map(|((link, _), _)| *link).collect();
        let loaded = pipeline.store.load(name, &ids).await?;
        let mut steps = Vec::new();
        for (ruling, link) in now.into_iter().zip(loaded.items) {
            let ((_, side), approval) = &ruling;
            let link = link.filter(|link| link.epoch == loaded.epoch);
            if let Some(refused) = link.and_then(|link| rule(&link, *side, approval, Verdict::Rejected)) {
                steps.push((ruling, Commit { link: Some(refused), ..Commit::default() }));
            }
        }
        let (rulings, commits): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        let committed = pipeline.store.commit(name, loaded.epoch, &commits).await?;
        hit("held.rejected");
        // A link that moved is looked at again, and so is the other side of one that was just committed.
        let moved = rulings.into_iter().zip(committed).filter(|(_, done)| !matches!(done, Committed::Done { .. }));
        left.extend(moved.map(|(ruling, _)| ruling));
    }
    Ok(())
}

fn report(items: &[Item], left: &[(Item, &'static str)], verdict: Verdict, form: Form) {
    let word = match verdict {
        Verdict::Approved => "approved",
        Verdict::Rejected => "rejected",
    };
    if form == Form::Json {
        for item in items {
            let mut line = item.json();
            line["decided"] = word.into();
            output::object(&line);
        }
        for (item, reason) in left {
            let mut line = item.json();
            line["left"] = (*reason).into();
            output::object(&line);
        }
        return;
    }
    for (item, reason) in left {
        output::line(format!("{}: {}: left as it is, {reason}", item.name(), item.what()));
    }
    output::line(match (verdict, items.len()) {
        (_, 0) => format!("Nothing was {word}"),
        (Verdict::Approved, count) => {
            format!("{} approved; the writers write what still has the value that was shown", counted(count))
        }
        (Verdict::Rejected, count) => {
            format!("{} rejected; nothing of it is written until the source changes the value", counted(count))
        }
    });
}

//! `muster undo`: what the writes of a run have overwritten is brought back (B13), where nobody has changed it since.
//!
//! What is brought back is a person's decision, as a value that is given back: it becomes what both sides should have, in one
//! step of the store with a request to read both accounts again, and then a command goes to the writers, which ask their
//! guards and look at the target as ever. An undo of a run has one id, so begun again after a crash it carries on under the
//! same numbers, and nothing is done or counted twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::connect::{Mode, operator};
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use super::worker::{how_to_start, missing};
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::domain::pending::pending;
use crate::domain::rules::{Departure, Flow};
use crate::domain::undo::{Act, Restore, Skip, Target, deactivate, restore, targets};
use crate::domain::{
    AccountId, AttributePath, Attributes, Cause, ChangeOutcome, Command, ConnectionName, Epoch, Lane, Link, RunId,
    Side, Sides,
};
use crate::failpoint::hit;
use crate::stages::{Connection, Pipeline};
use crate::store::{Commit, Committed, Count, Run, RunKind, Store, StoreError};
use crate::systems::Lookup;

mod report;

use report::{Entry, Report, Verdict};

/// How it is wanted.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The run.
    pub run: RunId,
    /// Its connection, which must be named where several have a run of this id.
    pub connection: Option<ConnectionName>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Take the right to use their accounts away from those that the run has created.
    pub deactivate_created: bool,
    /// Wait until the writers are done.
    pub wait: bool,
}

/// Links that are loaded, decided about and sent at a time.
const AT_ONCE: usize = 100;

/// Entries that are read at a time.
const PAGE: usize = 1_000;

/// How often links that others commit meanwhile are decided about anew.
const TRIES: usize = 20;

/// How long a system is waited for that says what accounts hold.
const LOOK: Duration = Duration::from_secs(30);

/// The wait between two looks at what the writers have done.
const POLL: Duration = Duration::from_millis(100);

/// Brings back what a run has overwritten.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    ask: Ask,
    stop: CancellationToken,
    form: Form,
) -> anyhow::Result<Exit> {
    let connection = find(pipeline, &ask).await?;
    let targets = done_by(pipeline, &connection, &ask.run).await?;
    let undoing = Undoing { pipeline, connection: &connection, ask: &ask };
    let mut report = Report::new(&connection, &ask);
    if !ask.dry_run && !targets.is_empty() {
        undoing.begin(targets.len()).await?;
    }
    for (place, chunk) in targets.chunks(AT_ONCE).enumerate() {
        anyhow::ensure!(!stop.is_cancelled(), "stopped; the same command carries it on");
        let first = u32::try_from(place * AT_ONCE)?;
        report.entries.extend(undoing.chunk(first, chunk).await?);
    }
    if ask.wait && !ask.dry_run && !targets.is_empty() {
        report.done = Some(undoing.follow(&stop).await?);
    }
    let exit = report.print(form);
    if form == Form::Text && !ask.dry_run && report.writes() {
        how_to_start(&missing(&pipeline.store).await?, mode).into_iter().for_each(output::line);
    }
    Ok(exit)
}

/// The connection of a run that may be undone. Live runs are named after their hour, so that every connection may have one.
async fn find<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, ask: &Ask) -> anyhow::Result<Arc<Connection>> {
    let (id, mut found) = (&ask.run, Vec::new());
    if let Some(name) = ask.connection.as_ref().filter(|name| pipeline.connections.get(name).is_none()) {
        return Err(UsageError::new(format!("there is no connection {name}")).into());
    }
    for (name, connection) in pipeline.connections.iter() {
        if ask.connection.as_ref().is_some_and(|asked| asked != name) {
            continue;
        }
        let run = pipeline.store.run(name, id).await?;
        let is_noted = !pipeline.store.overwritten(name, id, 0, 1).await?.is_empty();
        if run.is_some() || is_noted {
            found.push((connection, run, is_noted));
        }
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(connection, ..)| connection.name.as_str()).collect();
        let text = format!("{} have a run {id}: say which one is meant with --connection", names.join(" and "));
        return Err(UsageError::new(text).into());
    }
    let Some((connection, run, is_noted)) = found.pop() else {
        return Err(
            UsageError::new(format!("there is no run {id}, or it was too long ago; see `muster status`")).into()
        );
    };
    let name = &connection.name;
    if run.is_some_and(|run| run.kind != RunKind::Live && !run.is_over()) {
        let text = format!(
            "run {id} of {name} is still under way: `muster pause {name}` stops its writes, and then \
                            nothing of it is over; wait for its end, see `muster status`"
        );
        return Err(UsageError::new(text).into());
    }
    if !is_noted && connection.undo.is_none() {
        let text = format!("{name} keeps nothing of what its writes overwrite (`undo = \"off\"`)");
        return Err(UsageError::new(text).into());
    }
    Ok(Arc::clone(connection))
}

/// What the run did, in the order in which it began to.
async fn done_by<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    run: &RunId,
) -> Result<Vec<Target>, StoreError> {
    let epoch = pipeline.store.epoch(&connection.name).await?.id;
    let mut notes = Vec::new();
    loop {
        let page = pipeline.store.overwritten(&connection.name, run, notes.len(), PAGE).await?;
        if page.is_empty() {
            return Ok(targets(notes, &connection.rules(epoch)));
        }
        notes.extend(page);
    }
}

/// An undo under way in this process.
struct Undoing<'u, B, S> {
    pipeline: &'u Pipeline<B, S>,
    connection: &'u Connection,
    ask: &'u Ask,
}

/// What is decided about one target.
struct Decided {
    /// The link after, if anything of it changes.
    link: Option<Link>,
    /// The sides that lack something now.
    emits: Sides<bool>,
    entries: Vec<Entry>,
}

impl<B: Broker, S: Store> Undoing<'_, B, S> {
    /// The run in which the commands of this undo are counted: the same whenever the run is undone.
    fn id(&self) -> RunId {
        let id = format!("undo-{}", self.ask.run);
        id.parse().unwrap_or_else(|_| self.ask.run.clone())
    }

    /// Begins that run, or takes it up, and sees to it that it has a number for each target.
    async fn begin(&self, targets: usize) -> anyhow::Result<()> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let began_at = store.epoch(name).await?.now;
        store.begin_run(name, &Run::new(self.id(), RunKind::Retry, operator(), began_at)).await?;
        // As many as there are targets, however many processes undo the run: a number too many would keep it open for ever.
        store.reserve_up_to(name, &self.id(), u32::try_from(targets)?).await?;
        hit("undo.reserved");
        Ok(())
    }

    /// Decides about a few targets, whose numbers begin with `first`, and has done what was decided.
    async fn chunk(&self, first: u32, targets: &[Target]) -> anyhow::Result<Vec<Entry>> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let mut entries: Vec<Vec<Entry>> = targets.iter().map(|_| Vec::new()).collect();
        let mut left: Vec<usize> = (0..targets.len()).collect();
        let mut sent = Vec::new();
        let mut epoch = Epoch(0);
        for _ in 0..TRIES {
            let ids: Vec<_> = left.iter().map(|place| targets[*place].link).collect();
            let loaded = store.load(name, &ids).await?;
            epoch = loaded.epoch;
            let rules = self.connection.rules(epoch);
            // What is undone already need not be asked for: begun again, the command gets on.
            let open: Vec<usize> = left
                .iter()
                .zip(&loaded.items)
                .filter(|(place, link)| !link.as_ref().is_some_and(|link| targets[**place].is_undone(link, &rules)))
                .map(|(place, _)| *place)
                .collect();
            let today = self.today(targets, &open).await?;
            let mut commits = Vec::new();
            let mut committing = Vec::new();
            for (place, link) in std::mem::take(&mut left).into_iter().zip(loaded.items) {
                let decided = self.decide(&targets[place], link, loaded.epoch, today.get(&place));
                entries[place] = decided.entries;
                match decided.link {
                    Some(link) if !self.ask.dry_run => {
                        let accounts =
                            Side::BOTH.into_iter().filter_map(|side| Some((side, link.sides[side].account.clone()?)));
                        commits.push(Commit { reread: accounts.collect(), link: Some(link), ..Commit::default() });
                        committing.push((place, decided.emits));
                    }
                    _ => sent.push((place, decided.emits)),
                }
            }
            let committed = match store.commit(name, loaded.epoch, &commits).await {
                // Everything is decided anew in the new epoch.
                Err(StoreError::EpochChanged(_)) => vec![Committed::Moved; commits.len()],
                committed => committed?,
            };
            for ((place, emits), committed) in committing.into_iter().zip(committed) {
                match committed {
                    Committed::Done { .. } => sent.push((place, emits)),
                    Committed::Moved | Committed::Taken { .. } => left.push(place),
                }
            }
            if left.is_empty() {
                break;
            }
        }
        anyhow::ensure!(left.is_empty(), "others work on {} all the time; try again", targets[left[0]].link);
        if !self.ask.dry_run {
            hit("undo.restored");
            self.send(first, targets, &sent, epoch).await?;
        }
        Ok(entries.into_iter().flatten().collect())
    }

    /// What the accounts of these targets hold now, under the names of the link, where they can be read: of the side that was
    /// written, and of the other one where its values count as well.
    async fn today(
        &self,
        targets: &[Target],
        places: &[usize],
    ) -> anyhow::Result<BTreeMap<usize, Sides<Option<Today>>>> {
        let mut today = BTreeMap::<usize, Sides<Option<Today>>>::new();
        let rules = self.connection.template();
        let flows_both_ways = |target: &Target| {
            let flow = |path: &AttributePath| rules.attributes.get(path).map(|rule| rule.flow);
            target.values.keys().any(|path| flow(path) == Some(Flow::Both))
        };
        for side in Side::BOTH {
            let system = &self.connection.systems[side];
            let end = &self.connection.ends[side];
            let of_side = |place: &&usize| {
                let target = &targets[**place];
                target.act == Act::Changed && (target.side == side || flows_both_ways(target))
            };
            let asked: Vec<(usize, AccountId)> = places
                .iter()
                .filter(of_side)
                .filter_map(|place| Some((*place, targets[*place].accounts[side].clone()?)))
                .collect();
            if asked.is_empty() || !end.schema().readable {
                continue;
            }
            if let Some(until) = self.pipeline.store.system(system).await?.for_calls().not_before {
                anyhow::bail!("{system} is not called before {until}, so it cannot be asked what was edited since");
            }
            let accounts: Vec<_> = asked.iter().map(|(_, account)| account.clone()).collect();
            let mut found = Vec::with_capacity(accounts.len());
            // In pieces, so that a system which takes few calls a second is not given up for having been asked much at once.
            for piece in accounts.chunks(end.schema().batch.max(end.schema().calls).max(1)) {
                let answer = tokio::time::timeout(LOOK, end.get(piece)).await;
                let answer = answer.map_err(|_| anyhow::anyhow!("{system} does not answer"))?;
                let answer = answer.map_err(|failure| anyhow::anyhow!("{system} cannot be asked: {failure}"))?;
                anyhow::ensure!(answer.len() == piece.len(), "{system} left questions unanswered");
                found.extend(answer);
            }
            for ((place, _), lookup) in asked.into_iter().zip(found) {
                let held = match lookup {
                    Lookup::Found(snapshot) => Today::Holds(rules.inbound(side, &snapshot)),
                    Lookup::Absent(_) => Today::Gone,
                    Lookup::Unreadable { .. } => Today::Unreadable,
                };
                today.entry(place).or_default()[side] = Some(held);
            }
        }
        Ok(today)
    }

    /// What is brought back of one target.
    fn decide(
        &self,
        target: &Target,
        link: Option<Link>,
        epoch: Epoch,
        today: Option<&Sides<Option<Today>>>,
    ) -> Decided {
        let (connection, side) = (self.connection, target.side);
        let entry = |path: Option<&AttributePath>, verdict: Verdict| {
            let account = target.accounts[side].clone();
            let partner = target.accounts[side.other()].clone();
            Entry::new(connection, side, account, partner, path, verdict)
        };
        let nothing =
            |verdict: Verdict| Decided { link: None, emits: Sides::default(), entries: vec![entry(None, verdict)] };
        let Some(link) = link else { return nothing(Verdict::Cannot("its link has ended since")) };
        if link.epoch != epoch {
            return nothing(Verdict::Skipped(Skip::Unread));
        }
        match target.act {
            Act::Parted(Departure::Detach) => {
                return nothing(Verdict::Cannot("it was detached: `muster links add` links the two again"));
            }
            Act::Parted(Departure::Remove) => {
                return nothing(Verdict::Cannot("it was removed: it is added again when its partner comes back"));
            }
            Act::Parted(Departure::Delete) => {
                return nothing(Verdict::Cannot("it was deleted, which nobody can take back"));
            }
            Act::Created if link.sides[side].account.is_none() => return nothing(Verdict::NotDone),
            Act::Created => {
                let why = "nobody can tell whether this run created it: it was found, or the answer was lost";
                return Decided {
                    entries: vec![entry(None, Verdict::Cannot(why)).of(&link, side)],
                    ..nothing(Verdict::NotDone)
                };
            }
            Act::Made if link.sides[side].account.is_none() => return nothing(Verdict::NotDone),
            Act::Made | Act::Changed | Act::Kept if link.sides[side].account != target.accounts[side] => {
                return nothing(Verdict::Cannot("its partner has another account since"));
            }
            Act::Made if !self.ask.deactivate_created => {
                return Decided {
                    entries: vec![entry(None, Verdict::Created).of(&link, side)],
                    ..nothing(Verdict::Created)
                };
            }
            Act::Made | Act::Changed | Act::Kept => {}
        }
        let mut held = Sides::default();
        match today.and_then(|today| today[side].as_ref()) {
            None => {}
            Some(Today::Holds(shown)) => held[side] = Some(shown),
            Some(Today::Gone) => return nothing(Verdict::Cannot("it is not there any more")),
            Some(Today::Unreadable) => return nothing(Verdict::Cannot("it cannot be read")),
        }
        match today.and_then(|today| today[side.other()].as_ref()) {
            None => {}
            Some(Today::Holds(shown)) => held[side.other()] = Some(shown),
            Some(Today::Gone) => return nothing(Verdict::Cannot("its partner is not there any more")),
            Some(Today::Unreadable) => return nothing(Verdict::Cannot("its partner cannot be read")),
        }
        let rules = connection.rules(epoch);
        let mut after = link.clone();
        let mut entries = Vec::new();
        let is_made = target.act == Act::Made;
        // All that can be taken back of a creation is the right to use the account.
        let values = target.values.iter().filter(|(path, _)| !is_made || **path == AttributePath::active());
        for (path, written) in values {
            let flows_back = rules.attributes.get(path).is_some_and(|rule| rule.flow.contributes(side));
            let source = if flows_back { side } else { side.other() };
            let read_at = connection.ends[source].clock();
            let what = Restore { side, path, written, today: held, read_at };
            let restored = if is_made { deactivate(&after, what, &rules) } else { restore(&after, what, &rules) };
            let verdict = match restored {
                Ok(restored) => {
                    after = restored;
                    Verdict::Undone
                }
                Err(Skip::AlreadyUndone) => Verdict::Undone,
                Err(Skip::NotMapped) if is_made => {
                    Verdict::Cannot("it was created, and this connection deactivates nobody; nobody is deleted either")
                }
                Err(skip) => Verdict::Skipped(skip),
            };
            entries.push(entry(Some(path), verdict).of(&link, side));
        }
        let undone = entries.iter().any(|entry| entry.verdict == Verdict::Undone);
        // Asked for again where it was lacking already: whoever brought it back may have died before asking.
        let emits = Sides::from_fn(|side| undone && pending(&after, side, &rules).is_some());
        Decided { link: (after != link).then_some(after), emits, entries }
    }

    /// Asks the writers for what is lacking now, and counts it.
    async fn send(
        &self,
        first: u32,
        targets: &[Target],
        sent: &[(usize, Sides<bool>)],
        epoch: Epoch,
    ) -> anyhow::Result<()> {
        let (name, id) = (&self.connection.name, self.id());
        let mut by_side = Sides::<Vec<Command>>::default();
        let mut counts = Vec::new();
        for (place, emits) in sent {
            let number = first + u32::try_from(*place)?;
            for side in Side::BOTH.into_iter().filter(|side| emits[*side]) {
                by_side[side].push(Command {
                    connection: name.clone(),
                    link: targets[*place].link,
                    side,
                    cause: Cause { run: id.clone(), number },
                    lane: Lane::Live,
                    approval: None,
                    failed: Vec::new(),
                });
            }
            let outcome = if emits.a || emits.b { ChangeOutcome::Accepted } else { ChangeOutcome::Unchanged };
            let count = Count::Change { run: id.clone(), number, outcome, emits: *emits };
            counts.push(Commit { count: Some(count), ..Commit::default() });
        }
        let mut outgoing = Vec::new();
        for side in Side::BOTH {
            let queue = Queue::commands(&self.connection.systems[side], Lane::Live);
            outgoing.extend(by_side[side].chunks(self.pipeline.commands_at_once(&queue)).map(|commands| Outgoing {
                to: Destination::Queue(queue.clone()),
                message: Message::new(Payload::Commands(commands.to_vec())),
            }));
        }
        let asked = by_side.a.len() + by_side.b.len();
        self.pipeline.broker.publish(outgoing).await?;
        hit("undo.sent");
        // Counted afterwards: a command that nobody sent would keep the run open for ever.
        self.pipeline.store.commit(name, epoch, &counts).await?;
        let by = operator();
        info!(connection = %name, run = %self.ask.run, by, "{by} undoes run {} of {name}: {asked} writes", self.ask.run);
        Ok(())
    }

    /// Waits until the writers are done.
    async fn follow(&self, stop: &CancellationToken) -> anyhow::Result<Run> {
        loop {
            let run = self.pipeline.store.run(&self.connection.name, &self.id()).await?;
            let run = run.ok_or_else(|| anyhow::anyhow!("the store lost run {}; run the command again", self.id()))?;
            if run.is_over() {
                return Ok(run);
            }
            tokio::select! {
                () = stop.cancelled() => anyhow::bail!("stopped waiting for run {}; the writers go on with it", run.id),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

/// What an account holds now.
enum Today {
    Holds(Attributes),
    Gone,
    Unreadable,
}

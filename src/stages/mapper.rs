//! The mapper: finds the link of each change, lets the domain resolve it, commits, and asks writers for what is now
//! lacking. It acknowledges a message when every change of it is committed and every command that follows is confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

mod flawed;
mod history;
mod linking;
mod loops;
mod merging;

pub use history::judge;
pub use linking::INCOMPLETE_LINK;

use linking::{Linked, Linking, Refusal, Sighted, question};

use super::writer::commands_per_message;
use super::{Connection, Halt, Pipeline, give_back, intake::Intake, letters::wall_clock, work};
use crate::broker::message::{MAX_ITEMS, Payload};
use crate::broker::{Broker, BrokerError, Delivery, Destination, Message, Outgoing, Queue};
use crate::domain::deferral::end_idle;
use crate::domain::pending::{lacking, pending};
use crate::domain::resolve::{Resolution, resolve, resolve_absence};
use crate::domain::{
    AccountId, AttributePath, Cause, Change, ChangeOutcome, Code, Command, CommandOutcome, DeadLetter, Epoch,
    FailureClass, Fingerprint, Lane, LetterContent, LetterId, Link, LinkId, Rules, Side, Sides, Sighting, SystemName,
    Timestamp,
};
use crate::failpoint::hit;
use crate::store::{Commit, Committed, Count, JournalEntry, Store, StoreError};

/// Maps changes until `stop`.
pub async fn run<B: Broker, S: Store>(pipeline: Pipeline<B, S>, stop: CancellationToken) -> Result<(), BrokerError> {
    let beat = tokio::spawn({
        let (pipeline, stop) = (pipeline.clone(), stop.clone());
        async move { pipeline.beat("mapper", stop).await }
    });
    let worker = pipeline.clone();
    let result = work(
        &pipeline,
        pipeline.change_queues(),
        stop.clone(),
        |_| MAX_ITEMS,
        move |deliveries, give_up| {
            let pipeline = worker.clone();
            async move { pipeline.map_deliveries(deliveries, give_up).await }
        },
    )
    .await;
    stop.cancel();
    if let Err(error) = beat.await {
        warn!("The mapper's heartbeat ended badly: {error}");
    }
    result
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Maps deliveries of one queue together.
    pub(crate) async fn map_deliveries<D: Delivery>(&self, deliveries: Vec<D>, stop: CancellationToken) {
        hit("mapper.received");
        match self.map_messages(&deliveries, &stop).await {
            Ok(()) => {
                for delivery in deliveries {
                    delivery.ack().await;
                    hit("mapper.acked");
                }
            }
            Err(halt) => give_back(deliveries, halt, &stop).await,
        }
    }

    async fn map_messages<D: Delivery>(&self, deliveries: &[D], stop: &CancellationToken) -> Result<(), Halt> {
        let mut by_connection = BTreeMap::<_, Vec<&Change>>::new();
        let mut suspects = Vec::new();
        let lane = match deliveries.first().map(D::queue) {
            Some(Queue::ChangesBulk(_)) => Lane::Bulk,
            _ => Lane::Live,
        };
        for delivery in deliveries {
            let traceparent = delivery.message().ok().and_then(|message| message.traceparent.as_deref());
            match self.take_in(stop, delivery, changes_of, |change| Payload::Changes(vec![change])).await? {
                Intake::Work(changes, alone) => {
                    suspects.extend(alone);
                    for change in changes {
                        match self.connections.get(&change.connection) {
                            Some(connection) => {
                                by_connection.entry((&connection.name, traceparent)).or_default().push(change);
                            }
                            None => self.open_orphan_letter(stop, change, delivery).await?,
                        }
                    }
                }
                Intake::Settled => {}
                Intake::Poison(change) => self.count_unusable(stop, change, "poison_message").await?,
            }
        }
        let mut outgoing = Vec::new();
        for ((name, traceparent), changes) in by_connection {
            let connection = &self.connections[name];
            let commands = self.map_changes(stop, connection, changes, lane).await?;
            outgoing.extend(command_messages(connection, commands, traceparent));
        }
        if !outgoing.is_empty() {
            self.broker.publish(outgoing).await?;
        }
        hit("mapper.published");
        Ok(())
    }

    /// Maps changes of one connection, and returns the commands that follow.
    async fn map_changes(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
        changes: Vec<&Change>,
        lane: Lane,
    ) -> Result<Vec<Command>, Halt> {
        let mut commands = Vec::new();
        let mut left = changes;
        // Changes of one link in one page, or a link that another mapper commits meanwhile: the losers go round again.
        while !left.is_empty() {
            left = self.map_round(stop, connection, left, lane, &mut commands).await?;
        }
        Ok(commands)
    }

    /// One round, with one question and one commit for all: find, resolve, commit. Returns the changes whose link had
    /// moved on, and those of an epoch that is over.
    async fn map_round<'c>(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
        changes: Vec<&'c Change>,
        lane: Lane,
        commands: &mut Vec<Command>,
    ) -> Result<Vec<&'c Change>, Halt> {
        let name = &connection.name;
        let questions = || changes.iter().map(|change| question(change, connection)).collect();
        let found = match self.ask(stop, || self.store.find(name, questions())).await {
            Err(Halt::NewEpoch) => return Ok(changes),
            found => found?,
        };
        let found = match self.find_partners(stop, connection, &changes, found).await {
            Err(Halt::NewEpoch) => return Ok(changes),
            found => found?,
        };
        hit("mapper.found");
        let rules = self.rules_now(stop, connection, found.epoch).await?;
        let desk = Desk { connection, rules: &rules, epoch: found.epoch, now: found.now, lane };
        let mut recorded = Vec::new();
        let map = |(change, sighted): (&&Change, Sighted)| {
            recorded.extend(desk.record(change, &sighted));
            desk.map(change, sighted)
        };
        let mut mapped: Vec<_> = changes.iter().zip(found.items).map(map).collect();
        if !recorded.is_empty() {
            // Before it is decided for good: whoever dies in between decides it once more, and records it once more.
            self.ask(stop, || self.store.record(name, &recorded)).await?;
            hit("mapper.recorded");
        }
        let letters = mapped.iter_mut().flat_map(|mapped| &mut mapped.commit.open);
        let letters = try_join_all(letters.map(async |letter| {
            *letter = self.join(stop, letter.clone()).await?;
            Ok::<_, Halt>(letter.clone())
        }));
        self.log_opened(&letters.await?).await?;
        let healed: Vec<_> = mapped.iter().flat_map(|mapped| mapped.commit.close.clone()).collect();
        self.log_healed(&healed, "mapper").await?;
        for _ in &healed {
            self.metrics.letter_healed(name);
        }
        let commits: Vec<_> = mapped.iter_mut().map(|mapped| std::mem::take(&mut mapped.commit)).collect();
        let committed = match self.ask(stop, || self.store.commit(name, found.epoch, &commits)).await {
            Err(Halt::NewEpoch) => return Ok(changes),
            committed => committed?,
        };
        hit("mapper.committed");
        let mut left = Vec::new();
        for ((change, mapped), committed) in changes.into_iter().zip(mapped).zip(committed) {
            let Committed::Done { owed } = committed else {
                left.push(change);
                continue;
            };
            self.metrics.change(name, mapped.outcome);
            self.tell_of_loops(connection, change, &mapped.frozen);
            let Some(link) = mapped.link else {
                self.close_owed(stop, change, mapped.outcome, owed).await?;
                continue;
            };
            for side in Side::BOTH.into_iter().filter(|side| mapped.emits[*side] || owed[*side]) {
                let lane = if mapped.urgent[side] { Lane::Live } else { lane };
                let command = Command {
                    connection: name.clone(),
                    link,
                    side,
                    cause: change.cause.clone(),
                    lane,
                    approval: None,
                    failed: Vec::new(),
                };
                commands.push(command);
            }
        }
        Ok(left)
    }

    /// A change for a connection that is not configured (any more): it has a letter with its bytes, and is counted.
    async fn open_orphan_letter<D: Delivery>(
        &self,
        stop: &CancellationToken,
        change: &Change,
        delivery: &D,
    ) -> Result<(), Halt> {
        let now = wall_clock();
        // A retry is another message. Were the letter's id the same, a second failure could open it just before the retry
        // closes it, and be forgotten.
        let id = format!("{}/{}", delivery.message_id(), change.cause.number);
        let message = Message::new(Payload::Changes(vec![change.clone()]));
        let letter = DeadLetter {
            id: LetterId::of_message(&id),
            fingerprint: fingerprint(None, Code::known("unknown_connection"), None),
            connection: None,
            account: change.account().cloned(),
            partner: None,
            first_at: now,
            last_at: now,
            failures: 1,
            message: format!(
                "a change is for connection {}, which is not configured here; configure it and retry the letter",
                change.connection
            ),
            first_message: None,
            attempts: Vec::new(),
            status: None,
            request_id: None,
            content: LetterContent::Message {
                queue: delivery.queue().to_string(),
                body: super::letters::base64(&message.encode()),
            },
        };
        let letters = [letter];
        self.log_opened(&letters).await?;
        self.ask(stop, || self.store.file_letters(&letters, &[])).await?;
        self.count_unusable(stop, change, "unknown_connection").await
    }

    /// Counts a change that nobody could work on.
    async fn count_unusable(&self, stop: &CancellationToken, change: &Change, code: &str) -> Result<(), Halt> {
        debug!("Counting change {} of run {} as undecodable: {code}", change.cause.number, change.cause.run);
        let outcome = ChangeOutcome::Undecodable;
        self.metrics.change(&change.connection, outcome);
        if !self.connections.contains_key(&change.connection) {
            // A connection that is not configured may have no books, and asking for its epoch would open some.
            let count = Some(count(&change.cause, outcome, Sides::default()));
            let commit = Commit { count, ..Commit::default() };
            let counted = || async {
                match self.store.commit(&change.connection, change.epoch, std::slice::from_ref(&commit)).await {
                    Ok(_) | Err(StoreError::EpochChanged(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            };
            return self.ask(stop, counted).await;
        }
        let owed = self.tally(stop, &change.connection, count(&change.cause, outcome, Sides::default())).await?;
        self.close_owed(stop, change, outcome, owed).await
    }

    /// Closes the books on commands that an earlier delivery of this change, or the command that it stands for, left
    /// without an outcome, where the change leads to no link that could be worked on: else the run would never be over.
    async fn close_owed(
        &self,
        stop: &CancellationToken,
        change: &Change,
        outcome: ChangeOutcome,
        owed: Sides<bool>,
    ) -> Result<(), Halt> {
        let outcome = match outcome {
            // There is a letter, and what heals it emits a command of its own.
            ChangeOutcome::Undecodable | ChangeOutcome::Refused => CommandOutcome::Dead,
            _ => CommandOutcome::Superseded,
        };
        for side in Side::BOTH.into_iter().filter(|side| owed[*side]) {
            let Cause { run, number } = change.cause.clone();
            self.tally(stop, &change.connection, Count::Command { run, number, side, outcome }).await?;
            self.metrics.command(&change.connection, outcome);
        }
        Ok(())
    }
}

/// Messages for the writers: the commands of one target and lane together.
fn command_messages(connection: &Connection, commands: Vec<Command>, traceparent: Option<&str>) -> Vec<Outgoing> {
    let mut by_queue = BTreeMap::<Queue, (usize, Vec<Command>)>::new();
    for command in commands {
        let size = commands_per_message(connection.ends[command.side].schema());
        let queue = Queue::commands(&connection.systems[command.side], command.lane);
        by_queue.entry(queue).or_insert_with(|| (size, Vec::new())).1.push(command);
    }
    let messages = by_queue.iter().flat_map(|(queue, (size, commands))| {
        commands.chunks(*size).map(|commands| Outgoing {
            to: Destination::Queue(queue.clone()),
            message: Message {
                traceparent: traceparent.map(ToOwned::to_owned),
                ..Message::new(Payload::Commands(commands.to_vec()))
            },
        })
    });
    messages.collect()
}

fn changes_of(payload: &Payload) -> Option<&[Change]> {
    match payload {
        Payload::Changes(changes) => Some(changes),
        _ => None,
    }
}

fn count(cause: &Cause, outcome: ChangeOutcome, emits: Sides<bool>) -> Count {
    Count::Change { run: cause.run.clone(), number: cause.number, outcome, emits }
}

fn fingerprint(target: Option<&SystemName>, code: Code, attribute: Option<AttributePath>) -> Fingerprint {
    Fingerprint { target: target.cloned(), class: FailureClass::Permanent, code, attribute }
}

/// What one change comes to.
struct Mapped {
    commit: Commit,
    outcome: ChangeOutcome,
    link: Option<LinkId>,
    emits: Sides<bool>,
    /// The sides whose command takes a right away: it travels live.
    urgent: Sides<bool>,
    /// Attributes that the loop breaker has frozen (B4).
    frozen: Vec<AttributePath>,
}

/// Where changes of one connection are mapped: what stays the same for a page.
struct Desk<'d> {
    connection: &'d Connection,
    rules: &'d Rules,
    epoch: Epoch,
    now: Timestamp,
    lane: Lane,
}

impl Desk<'_> {
    fn map(&self, change: &Change, sighted: Sighted) -> Mapped {
        if !self.epoch.accepts(change.epoch) {
            return self.unlinked(change, ChangeOutcome::Stale);
        }
        match &change.seen {
            Sighting::Present { snapshot } => {
                let side = change.side;
                let fits = self.connection.fits(side, snapshot);
                let resolve = |link: &Link, fits| {
                    resolve(link, side, snapshot, self.rules, self.now)
                        .in_scope(side, fits, self.rules)
                        .protected(side, self.connection.protects(side, snapshot))
                };
                let open_letter = sighted.found.open_letter;
                match self.link_for(side, snapshot, sighted, fits) {
                    Linked::Nowhere => {
                        let mut mapped = self.unlinked(change, ChangeOutcome::OutOfScope);
                        if open_letter {
                            // It is no matter of this connection any more.
                            mapped.commit.close.push(LetterId::of_account(
                                &self.connection.name,
                                side,
                                &snapshot.account,
                            ));
                        }
                        mapped
                    }
                    Linked::Refused { link: None, refusal } => {
                        let mapped = self.unlinked(change, ChangeOutcome::Refused);
                        self.with_letter(mapped, change, refusal)
                    }
                    Linked::Refused { link: Some(link), refusal } => {
                        // As if it were out of scope: nobody is created for it meanwhile.
                        let resolution = resolve(&link, Some(false));
                        if resolution.outcome == ChangeOutcome::Stale {
                            return self.resolved(change, resolution, Linking::default());
                        }
                        let resolution = Resolution { outcome: ChangeOutcome::Refused, ..resolution };
                        let mapped = self.resolved(change, resolution, Linking::default());
                        self.with_letter(mapped, change, refusal)
                    }
                    Linked::To { link, linking, quarrel } => {
                        let mut resolution = resolve(&link, fits);
                        let flawed = self.flawed(change, &mut resolution, fits);
                        // What was seen before, or not this time, says nothing against the letter.
                        let heals = resolution.outcome != ChangeOutcome::Stale
                            && (fits == Some(false) || resolution.link.sides[side].tells_all(self.rules));
                        let mut mapped = self.resolved(change, resolution, linking);
                        match quarrel {
                            Some(quarrel) => mapped = self.with_letter(mapped, change, quarrel),
                            None if flawed.is_some() => mapped.commit.open.extend(flawed),
                            None if open_letter && heals => {
                                let letter = LetterId::of_account(&self.connection.name, side, &snapshot.account);
                                mapped.commit.close.push(letter);
                            }
                            None => {}
                        }
                        mapped
                    }
                }
            }
            Sighting::Absent { account, read_at } => match sighted.found.link {
                Some((mut link, _)) if link.sides[change.side].account.as_ref() == Some(account) => {
                    link.enter(self.epoch);
                    let resolution = resolve_absence(&link, change.side, *read_at, self.rules);
                    let is_gone = resolution.link.sides[change.side].is_gone();
                    let mut mapped = self.resolved(change, resolution, Linking::default());
                    if is_gone && sighted.found.open_letter {
                        // Nothing is wrong any more with what is not there.
                        mapped.commit.close.push(LetterId::of_account(&self.connection.name, change.side, account));
                    }
                    mapped
                }
                _ => self.unlinked(change, ChangeOutcome::OutOfScope),
            },
            Sighting::Merged { account, into } => self.merged(change, account, into, sighted),
            Sighting::Unreadable { account, code, attribute } => {
                let mut mapped = self.unlinked(change, ChangeOutcome::Undecodable);
                let what = match (account, attribute) {
                    (Some(account), Some(attribute)) => format!("attribute {attribute} of account {account}"),
                    (Some(account), None) => format!("account {account}"),
                    (None, _) => "a record without a usable id".to_owned(),
                };
                let message =
                    format!("{what} cannot be read: {code}; correct it there, the next read heals this letter");
                mapped.commit.open.push(self.letter(change, account.clone(), code.clone(), attribute.clone(), message));
                mapped
            }
        }
    }

    fn unlinked(&self, change: &Change, outcome: ChangeOutcome) -> Mapped {
        Mapped {
            commit: Commit { count: Some(count(&change.cause, outcome, Sides::default())), ..Commit::default() },
            outcome,
            link: None,
            emits: Sides::default(),
            urgent: Sides::default(),
            frozen: Vec::new(),
        }
    }

    /// The same, with a letter about the account that says why it is not linked as it wishes.
    fn with_letter(&self, mut mapped: Mapped, change: &Change, refusal: Refusal) -> Mapped {
        let Refusal { code, message } = refusal;
        let account = change.account().cloned();
        mapped.commit.open.push(self.letter(change, account, Code::known(code), None, message));
        mapped
    }

    fn resolved(&self, change: &Change, resolution: Resolution, linking: Linking) -> Mapped {
        let Resolution { mut link, mut changed, outcome, lost, reread, emits, frozen, flaws: _ } = resolution;
        let id = link.id;
        let mut close = Vec::new();
        for side in Side::BOTH {
            // What was refused is no longer wanted, or is there all the same.
            if link.sides[side].dead.is_some() && lacking(&link, side, self.rules).is_none() {
                link.sides[side].dead = None;
                changed = true;
                close.push(LetterId::of_link(&self.connection.name, side, id));
            }
        }
        changed |= end_idle(&mut link, self.rules);
        let urgent = Sides::from_fn(|side| {
            emits[side] && pending(&link, side, self.rules).is_some_and(|pending| pending.deactivates())
        });
        let journal = lost.into_iter().map(|lost| JournalEntry::new(&link, lost, self.now)).collect();
        let Linking { claim, release, ended, reread: mut rereads } = linking;
        close.extend(ended.iter().flat_map(|ended| LetterId::of_refusals(&self.connection.name, ended)));
        if let Some(account) = change.account().filter(|_| reread) {
            rereads.push((change.side, account.clone()));
        }
        Mapped {
            commit: Commit {
                link: (changed || !claim.is_empty()).then_some(link),
                claim,
                release,
                ended: ended.map(|ended| *ended),
                count: Some(count(&change.cause, outcome, emits)),
                reread: rereads,
                journal,
                close,
                ..Commit::default()
            },
            outcome,
            link: Some(id),
            emits,
            urgent,
            frozen,
        }
    }

    fn letter(
        &self,
        change: &Change,
        account: Option<AccountId>,
        code: Code,
        attribute: Option<AttributePath>,
        message: String,
    ) -> DeadLetter {
        let name = &self.connection.name;
        let id = match &account {
            Some(account) => LetterId::of_account(name, change.side, account),
            None => LetterId::of_message(&format!("{}/{}", change.cause.run, change.cause.number)),
        };
        let now = wall_clock();
        DeadLetter {
            id,
            fingerprint: fingerprint(Some(&self.connection.systems[change.side]), code, attribute),
            connection: Some(name.clone()),
            account,
            partner: None,
            first_at: now,
            last_at: now,
            failures: 1,
            message,
            first_message: None,
            attempts: Vec::new(),
            status: None,
            request_id: None,
            content: LetterContent::Account { side: change.side },
        }
    }
}

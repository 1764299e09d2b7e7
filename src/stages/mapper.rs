//! The mapper: finds the link of each change, lets the domain resolve it, commits, and asks writers for what is now
//! lacking. It acknowledges a message when every change of it is committed and every command that follows is confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::writer::commands_per_message;
use super::{Connection, Halt, Pipeline, give_back, intake::Intake, letters::wall_clock, work};
use crate::broker::message::{MAX_ITEMS, Payload};
use crate::broker::{Broker, BrokerError, Delivery, Destination, Message, Outgoing, Queue};
use crate::domain::link::Origin;
use crate::domain::pending::{lacking, pending};
use crate::domain::resolve::{Resolution, resolve, resolve_absence};
use crate::domain::{
    AccountId, AttributePath, Cause, Change, ChangeOutcome, Code, Command, CommandOutcome, DeadLetter, Epoch,
    FailureClass, Fingerprint, Lane, LetterContent, LetterId, Link, LinkId, Rules, Side, Sides, Sighting, SystemName,
    Timestamp, Value,
};
use crate::failpoint::hit;
use crate::store::{Claim, Commit, Committed, Count, Find, Found, JournalEntry, Store, StoreError};

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
    pub(super) async fn map_deliveries<D: Delivery>(&self, deliveries: Vec<D>, stop: CancellationToken) {
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
        hit("mapper.found");
        let rules = connection.rules(found.epoch);
        let desk = Desk { connection, rules: &rules, epoch: found.epoch, now: found.now };
        let mut mapped: Vec<_> = changes.iter().zip(found.items).map(|(change, item)| desk.map(change, item)).collect();
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
        let commits = || mapped.iter().map(|mapped| mapped.commit.clone()).collect();
        let committed = match self.ask(stop, || self.store.commit(name, found.epoch, commits())).await {
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
            let Some(link) = mapped.link else {
                self.close_owed(stop, change, mapped.outcome, owed).await?;
                continue;
            };
            for side in Side::BOTH.into_iter().filter(|side| mapped.emits[*side] || owed[*side]) {
                let lane = if mapped.urgent[side] { Lane::Live } else { lane };
                let command =
                    Command { connection: name.clone(), link, side, cause: change.cause.clone(), lane, approval: None };
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
                match self.store.commit(&change.connection, change.epoch, vec![commit.clone()]).await {
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

/// How the link of a change is found: by its own account, else by the partner that it names.
fn question(change: &Change, connection: &Connection) -> Find {
    let mut claims = Vec::new();
    if let Some(account) = change.account() {
        claims.push(Claim::Account(change.side, account.clone()));
    }
    if let Some(partner) = partner(change, connection) {
        claims.push(Claim::Account(change.side.other(), partner));
    }
    let letter = change.account().map(|account| LetterId::of_account(&connection.name, change.side, account));
    Find { claims, letter }
}

/// The account of the other side that a snapshot names, in the other system's own form. Something else kept in that
/// field (another tool's id) is no partner.
fn partner(change: &Change, connection: &Connection) -> Option<AccountId> {
    let Sighting::Present { snapshot } = &change.seen else { return None };
    connection.parse_id(change.side.other(), snapshot.partner.as_ref()?.as_str())
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
}

/// Where changes of one connection are mapped: what stays the same for a page.
struct Desk<'d> {
    connection: &'d Connection,
    rules: &'d Rules,
    epoch: Epoch,
    now: Timestamp,
}

impl Desk<'_> {
    fn map(&self, change: &Change, found: Found) -> Mapped {
        if change.epoch != self.epoch {
            return self.unlinked(change, ChangeOutcome::Stale);
        }
        match &change.seen {
            Sighting::Present { snapshot } => {
                let side = change.side;
                let fits = self.connection.fits(side, snapshot);
                let (link, claim) = match self.link_for(change, found.link, fits) {
                    Ok(Some(linked)) => linked,
                    Ok(None) => return self.unlinked(change, ChangeOutcome::OutOfScope),
                    Err(holder) => return self.refused(change, &holder),
                };
                let resolution = resolve(&link, side, snapshot, self.rules, self.now)
                    .in_scope(side, fits, self.rules)
                    .protected(side, self.connection.protects(side, snapshot));
                let mut mapped = self.resolved(change, resolution, claim);
                if found.open_letter {
                    mapped.commit.close.push(LetterId::of_account(&self.connection.name, side, &snapshot.account));
                }
                mapped
            }
            Sighting::Absent { account, read_at } => match found.link {
                Some((mut link, _)) if link.sides[change.side].account.as_ref() == Some(account) => {
                    link.enter(self.epoch);
                    self.resolved(change, resolve_absence(&link, change.side, *read_at, self.rules), Vec::new())
                }
                _ => self.unlinked(change, ChangeOutcome::OutOfScope),
            },
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

    /// The link that a snapshot belongs to, with the claims that it newly takes. `None`: nobody asked for one.
    /// An error names the account that is linked already.
    #[allow(clippy::type_complexity, reason = "a link and its claims, or none, or who is in the way")]
    fn link_for(
        &self,
        change: &Change,
        found: Option<(Link, usize)>,
        fits: Option<bool>,
    ) -> Result<Option<(Link, Vec<Claim>)>, AccountId> {
        let Sighting::Present { snapshot } = &change.seen else { return Ok(None) };
        let side = change.side;
        match found {
            Some((mut link, index)) => {
                link.enter(self.epoch);
                let state = &mut link.sides[side];
                match &state.account {
                    Some(account) if *account == snapshot.account => Ok(Some((link, Vec::new()))),
                    Some(other) => Err(other.clone()),
                    // It was found by the partner that it names (R43): an account that we created and whose answer was
                    // lost, or a link that the store forgot.
                    None => {
                        debug_assert_eq!(index, 1);
                        let created_by_us = !state.intents.is_empty();
                        state.account = Some(snapshot.account.clone());
                        if !created_by_us {
                            link.origin = Origin::Rebuilt;
                        }
                        Ok(Some((link, vec![Claim::Account(side, snapshot.account.clone())])))
                    }
                }
            }
            None => {
                let id = LinkId(fastrand::u64(..));
                let own = Claim::Account(side, snapshot.account.clone());
                match partner(change, self.connection) {
                    Some(partner) => {
                        let mut link = Link::new(id, self.epoch, Origin::Rebuilt, side, snapshot.account.clone());
                        link.sides[side.other()].account = Some(partner.clone());
                        Ok(Some((link, vec![own, Claim::Account(side.other(), partner)])))
                    }
                    None => {
                        let active = AttributePath::active();
                        let leaver = snapshot.attributes.get(&active) == Some(&Some(Value::Bool(false)));
                        let wanted = self.rules.contributes(side) && !leaver && fits == Some(true);
                        Ok(wanted.then(|| {
                            (Link::new(id, self.epoch, Origin::FirstMatch, side, snapshot.account.clone()), vec![own])
                        }))
                    }
                }
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
        }
    }

    /// The account names a partner that is linked with another account (R2): the first link stays.
    fn refused(&self, change: &Change, holder: &AccountId) -> Mapped {
        let mut mapped = self.unlinked(change, ChangeOutcome::Refused);
        let account = change.account().cloned();
        let message = format!(
            "{} names a partner that is linked with {holder} already; the first link stays. Clear the id there, or \
             remove the first link",
            account.as_ref().map_or("an account", AccountId::as_str),
        );
        mapped.commit.open.push(self.letter(change, account, Code::known("already_linked"), None, message));
        mapped
    }

    fn resolved(&self, change: &Change, resolution: Resolution, claim: Vec<Claim>) -> Mapped {
        let Resolution { mut link, mut changed, outcome, lost, reread, emits } = resolution;
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
        let urgent = Sides::from_fn(|side| {
            emits[side] && pending(&link, side, self.rules).is_some_and(|pending| pending.deactivates())
        });
        let journal = lost
            .into_iter()
            .map(|lost| JournalEntry {
                link: id,
                attribute: lost.path,
                side: lost.side,
                value: lost.value,
                reason: lost.reason,
                seen_at: self.now,
            })
            .collect();
        let reread = match change.account() {
            Some(account) if reread => vec![(change.side, account.clone())],
            _ => Vec::new(),
        };
        Mapped {
            commit: Commit {
                link: (changed || !claim.is_empty()).then_some(link),
                claim,
                count: Some(count(&change.cause, outcome, emits)),
                reread,
                journal,
                close,
                ..Commit::default()
            },
            outcome,
            link: Some(id),
            emits,
            urgent,
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
            status: None,
            request_id: None,
            content: LetterContent::Account { side: change.side },
        }
    }
}

//! The writer: takes commands in waves of what the target takes at once, and brings each side up to date under a lease,
//! with the write noted before it leaves. It acknowledges a message when every command of it has an outcome, waits on
//! the retry ladder, or goes on as a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Connection, Halt, Pipeline, give_back, intake::Intake, work};
use crate::broker::message::{MAX_ITEMS, Payload};
use crate::broker::{Broker, BrokerError, Delivery, Queue};
use crate::clock;
use crate::domain::{Command, CommandOutcome, ConnectionName, FailedAttempt, Link, LinkId, Side, Sighting};
use crate::failpoint::hit;
use crate::store::{Count, Store};
use crate::systems::Schema;

mod attempt;
mod create;
mod follow_ups;
mod guard;
mod lane;
mod part;
mod pauses;
mod settle;
mod turns;
mod wave;

use attempt::Attempt;
use follow_ups::FollowUps;
pub(crate) use pauses::BELIEVED as PAUSES_BELIEVED;
pub(crate) use turns::Turns;
use wave::Wave;

/// Writes until `stop`.
pub async fn run<B: Broker, S: Store>(pipeline: Pipeline<B, S>, stop: CancellationToken) -> Result<(), BrokerError> {
    let beat = tokio::spawn({
        let (pipeline, stop) = (pipeline.clone(), stop.clone());
        async move { pipeline.beat("writer", stop).await }
    });
    let worker = pipeline.clone();
    let turns = Arc::new(Turns::new(&pipeline));
    let room = {
        let pipeline = pipeline.clone();
        move |queue: &Queue| pipeline.commands_at_once(queue)
    };
    let result = work(&pipeline, pipeline.command_queues(), stop.clone(), room, move |deliveries, give_up| {
        let (pipeline, turns) = (worker.clone(), Arc::clone(&turns));
        async move { pipeline.write_deliveries(deliveries, &turns, give_up).await }
    })
    .await;
    stop.cancel();
    if let Err(error) = beat.await {
        warn!("The writer's heartbeat ended badly: {error}");
    }
    result
}

/// What becomes of one command, as far as its message is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It has its outcome, which is counted.
    Over,
    /// It comes back after this wait, with so many failed attempts.
    Later { after: Duration, attempt: u32 },
    /// It failed, and comes back after this wait with so many failed attempts, this one among them.
    Again { after: Duration, attempt: u32, failed: Box<FailedAttempt> },
    /// What was seen of the account goes to the mapper as a change in the command's place: the same cause carries on,
    /// so that the run is not over before it is mapped.
    Change(Box<Sighting>),
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Commands of this queue that are worked on as one wave.
    pub(crate) fn commands_at_once(&self, queue: &Queue) -> usize {
        let (Queue::Commands(name) | Queue::CommandsBulk(name)) = queue else { return 1 };
        self.systems.get(name).map_or(1, |system| commands_per_message(system.schema()))
    }

    /// Works on the commands of deliveries of one queue together.
    pub(crate) async fn write_deliveries<D: Delivery>(
        &self,
        deliveries: Vec<D>,
        turns: &Turns,
        stop: CancellationToken,
    ) {
        hit("writer.received");
        match self.write_messages(&deliveries, turns, &stop).await {
            Ok(()) => {
                for delivery in deliveries {
                    delivery.ack().await;
                    hit("writer.acked");
                }
            }
            Err(halt) => give_back(deliveries, halt, &stop).await,
        }
    }

    async fn write_messages<D: Delivery>(
        &self,
        deliveries: &[D],
        turns: &Turns,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let mut waves = BTreeMap::<(&ConnectionName, Side), Vec<Order>>::new();
        let mut suspects = Vec::new();
        for delivery in deliveries {
            let commands = match self.take_in(stop, delivery, commands_of, |one| Payload::Commands(vec![one])).await? {
                Intake::Work(commands, alone) => {
                    suspects.extend(alone);
                    commands
                }
                Intake::Settled => continue,
                Intake::Poison(command) => {
                    self.count_command(stop, command, CommandOutcome::Dead).await?;
                    continue;
                }
            };
            let message = Origin {
                attempt: delivery.attempt(),
                redelivered: delivery.redeliveries() > 0 || delivery.attempt() > 0,
                queue: delivery.queue(),
                traceparent: delivery.message().ok().and_then(|message| message.traceparent.as_deref()),
            };
            for command in commands {
                match self.connections.get(&command.connection) {
                    Some(connection) => {
                        waves.entry((&connection.name, command.side)).or_default().push(Order { command, message });
                    }
                    None => {
                        let name = &command.connection;
                        let text = format!("a command is for connection {name}, which is not configured here");
                        let code = crate::domain::Code::known("unknown_connection");
                        self.open_message_letter(stop, delivery, code, text).await?;
                        self.count_command(stop, command, CommandOutcome::Dead).await?;
                    }
                }
            }
        }
        for ((name, side), orders) in waves {
            self.write_wave(stop, &self.connections[name], side, orders, turns).await?;
        }
        Ok(())
    }

    /// Works on commands for one side of one connection, all at the same time.
    async fn write_wave(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
        side: Side,
        orders: Vec<Order<'_>>,
        turns: &Turns,
    ) -> Result<(), Halt> {
        let ids: Vec<LinkId> = orders.iter().map(|order| order.command.link).collect();
        let loaded_at = clock::now();
        let loaded = self.ask(stop, || self.store.load(&connection.name, &ids)).await?;
        hit("writer.loaded");
        let wave = Wave {
            pipeline: self,
            stop,
            connection,
            side,
            rules: connection.rules(loaded.epoch),
            epoch: loaded.epoch,
            now: loaded.now,
            loaded_at,
            gate: turns.gate(&connection.systems[side]),
            line: self.line(&connection.systems[side]),
            pauses: &turns.pauses,
            asked: Default::default(),
        };
        let wave = &wave;
        let mut by_link = BTreeMap::<LinkId, (Option<Link>, Vec<Order<'_>>)>::new();
        for (order, link) in orders.into_iter().zip(loaded.items) {
            by_link.entry(order.command.link).or_insert_with(|| (link, Vec::new())).1.push(order);
        }
        let attempts = by_link.into_values().map(|(link, orders)| wave.attempt_in_turn(link, orders));
        let fates = wave.serve(join_all(attempts)).await.into_iter().flatten();
        let mut follow_ups = FollowUps::default();
        let mut halted = None;
        for (order, fate) in fates {
            match fate {
                // The message comes again, but not what the others of its wave have seen.
                Err(halt) => halted = Some(halt),
                Ok(fate) => follow_ups.add(order, fate, wave.epoch),
            }
        }
        if halted.is_some() {
            // They come again with it.
            follow_ups.waiting.clear();
        }
        let outgoing = follow_ups.messages(commands_per_message(wave.system().schema()));
        if !outgoing.is_empty() {
            self.broker.publish(outgoing).await?;
        }
        halted.map_or(Ok(()), Err)
    }

    /// Counts the outcome of a command that changes no link.
    async fn count_command(
        &self,
        stop: &CancellationToken,
        command: &Command,
        outcome: CommandOutcome,
    ) -> Result<(), Halt> {
        self.tally(stop, &command.connection, count(command, outcome)).await?;
        self.metrics.command(&command.connection, outcome);
        Ok(())
    }
}

impl<B: Broker, S: Store> Wave<'_, B, S> {
    /// Attempts commands for one account, one after the other: the second would only find the lease of the first.
    async fn attempt_in_turn<'m>(
        &self,
        mut link: Option<Link>,
        orders: Vec<Order<'m>>,
    ) -> Vec<(Order<'m>, Result<Fate, Halt>)> {
        let mut fates: Vec<(Order<'m>, Result<Fate, Halt>)> = Vec::with_capacity(orders.len());
        for order in orders {
            let attempt = Attempt { wave: self, command: order.command, message: order.message };
            let fate = match fates.last() {
                None => attempt.run(link.take()).await,
                Some((_, Err(halt))) => Err(halt.clone()),
                // What the first waits for, the second waits for as well.
                Some((_, Ok(Fate::Later { after, .. } | Fate::Again { after, .. }))) => Ok(attempt.later(*after)),
                Some((_, Ok(Fate::Over | Fate::Change(_)))) => match self.reload(order.command.link).await {
                    Ok(link) => attempt.run(link).await,
                    Err(halt) => Err(halt),
                },
            };
            fates.push((order, fate));
        }
        fates
    }
}

/// A command, and the message that it came with.
#[derive(Clone, Copy)]
struct Order<'m> {
    command: &'m Command,
    message: Origin<'m>,
}

/// What a message says about its commands besides what they are.
#[derive(Clone, Copy)]
struct Origin<'m> {
    attempt: u32,
    /// It was here before: if the work is done, another delivery of it did it.
    redelivered: bool,
    queue: &'m Queue,
    traceparent: Option<&'m str>,
}

/// Commands that go in one message: as many accounts as one call writes, or as many as there may be calls of one account
/// under way, so that a message is one wave.
pub(super) fn commands_per_message(schema: &Schema) -> usize {
    schema.batch.max(schema.calls).clamp(1, MAX_ITEMS)
}

fn commands_of(payload: &Payload) -> Option<&[Command]> {
    match payload {
        Payload::Commands(commands) => Some(commands),
        _ => None,
    }
}

fn count(command: &Command, outcome: CommandOutcome) -> Count {
    Count::Command { run: command.cause.run.clone(), number: command.cause.number, side: command.side, outcome }
}

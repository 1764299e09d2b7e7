//! The writer: takes commands in waves of what the target takes at once, and brings each side up to date under a lease,
//! with the write noted before it leaves. It acknowledges a message when every command of it has an outcome, waits on
//! the retry ladder, or goes on as a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::producer::page;
use super::{Connection, Halt, Pipeline, give_back, intake::Intake, work};
use crate::broker::message::Payload;
use crate::broker::{Broker, BrokerError, Delivery, Destination, Message, Outgoing, Queue};
use crate::domain::{Change, Command, CommandOutcome, ConnectionName, LinkId, Sighting, SystemName};
use crate::failpoint::hit;
use crate::store::{Count, Store};

mod attempt;
mod settle;

use attempt::Attempt;

/// Writes until `stop`.
pub async fn run<B: Broker, S: Store>(pipeline: Pipeline<B, S>, stop: CancellationToken) -> Result<(), BrokerError> {
    let beat = tokio::spawn({
        let (pipeline, stop) = (pipeline.clone(), stop.clone());
        async move { pipeline.beat("writer", stop).await }
    });
    let worker = pipeline.clone();
    let turns = Arc::new(Turns::new(&pipeline));
    let result = work(&pipeline, pipeline.command_queues(), stop.clone(), move |delivery, give_up| {
        let (pipeline, turns) = (worker.clone(), Arc::clone(&turns));
        async move { pipeline.write_delivery(delivery, &turns, give_up).await }
    })
    .await;
    stop.cancel();
    if let Err(error) = beat.await {
        warn!("The writer's heartbeat ended badly: {error}");
    }
    result
}

/// How many writes this process may have begun at each system: as many as it takes at once. A write that waited for its
/// turn after it was begun would wait its lease away, and fail without a request.
pub(super) struct Turns(BTreeMap<SystemName, Semaphore>);

impl Turns {
    pub(super) fn new<B, S>(pipeline: &Pipeline<B, S>) -> Self {
        let turns = |system: &crate::systems::SharedSystem| Semaphore::new(system.schema().batch.max(1));
        Self(pipeline.systems.iter().map(|(name, system)| (name.clone(), turns(system))).collect())
    }
}

/// What becomes of one command, as far as its message is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It has its outcome, which is counted.
    Over,
    /// It comes back after this wait, with so many failed attempts.
    Later { after: Duration, attempt: u32 },
    /// What was seen of the account goes to the mapper as a change in the command's place: the same cause carries on,
    /// so that the run is not over before it is mapped.
    Change(Box<Sighting>),
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    pub(super) async fn write_delivery<D: Delivery>(&self, delivery: D, turns: &Turns, stop: CancellationToken) {
        hit("writer.received");
        match self.write_message(&delivery, turns, &stop).await {
            Ok(()) => {
                delivery.ack().await;
                hit("writer.acked");
            }
            Err(halt) => give_back(delivery, halt, &stop).await,
        }
    }

    async fn write_message<D: Delivery>(
        &self,
        delivery: &D,
        turns: &Turns,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let commands = |payload: &Payload| match payload {
            Payload::Commands(commands) => Some(commands.clone()),
            _ => None,
        };
        let intake = self.take_in(stop, delivery, commands, |command| Payload::Commands(vec![command])).await?;
        let (commands, _alone) = match intake {
            Intake::Work(commands, alone) => (commands, alone),
            Intake::Settled => return Ok(()),
            Intake::Poison(command) => return self.count_command(stop, &command, CommandOutcome::Dead).await,
        };
        let again = Again {
            attempt: delivery.attempt(),
            redelivered: delivery.redeliveries() > 0 || delivery.attempt() > 0,
            queue: delivery.queue().clone(),
            traceparent: delivery.message().ok().and_then(|message| message.traceparent.clone()),
        };
        let mut by_connection = BTreeMap::<ConnectionName, Vec<Command>>::new();
        for command in commands {
            by_connection.entry(command.connection.clone()).or_default().push(command);
        }
        for (name, commands) in by_connection {
            match self.connections.get(&name) {
                Some(connection) => self.write_commands(stop, connection, commands, turns, &again).await?,
                None => {
                    let text = format!("a command is for connection {name}, which is not configured here");
                    let code = crate::domain::Code::known("unknown_connection");
                    self.open_message_letter(stop, delivery, code, text).await?;
                    for command in commands {
                        self.count_command(stop, &command, CommandOutcome::Dead).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Works on commands of one connection, wave after wave.
    async fn write_commands(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
        commands: Vec<Command>,
        turns: &Turns,
        again: &Again,
    ) -> Result<(), Halt> {
        for wave in commands.chunks(self.settings.calls_in_flight.max(1)) {
            let ids: Vec<LinkId> = wave.iter().map(|command| command.link).collect();
            let loaded_at = tokio::time::Instant::now();
            let loaded = self.ask(stop, || self.store.load(&connection.name, &ids)).await?;
            hit("writer.loaded");
            let (epoch, now) = (loaded.epoch, loaded.now);
            let mut attempts = Vec::new();
            for (command, link) in wave.iter().zip(loaded.items) {
                let turns = &turns.0[&connection.systems[command.side]];
                let attempt = Attempt { pipeline: self, stop, connection, command, again, turns, epoch, loaded_at };
                attempts.push(async move { (command, attempt.run(link, now).await) });
            }
            let fates = futures_util::future::join_all(attempts).await;
            let (mut outgoing, mut waiting, mut halted) = (Vec::new(), Vec::new(), None);
            for (command, fate) in fates {
                match fate {
                    // The message comes again, but not what the others of its wave have seen.
                    Err(halt) => halted = Some(halt),
                    Ok(Fate::Over) => {}
                    Ok(Fate::Later { after, attempt }) => waiting.push(Outgoing {
                        to: Destination::Retry { home: again.queue.clone(), after },
                        message: Message {
                            attempt,
                            traceparent: again.traceparent.clone(),
                            ..Message::new(Payload::Commands(vec![command.clone()]))
                        },
                    }),
                    Ok(Fate::Change(seen)) => outgoing.push(Outgoing {
                        to: Destination::Queue(Queue::Changes),
                        message: Message {
                            traceparent: again.traceparent.clone(),
                            ..Message::new(Payload::Changes(vec![Change {
                                connection: command.connection.clone(),
                                side: command.side,
                                cause: command.cause.clone(),
                                epoch,
                                seen: page::fitting(*seen),
                            }]))
                        },
                    }),
                }
            }
            if halted.is_none() {
                outgoing.extend(waiting);
            }
            if !outgoing.is_empty() {
                self.broker.publish(outgoing).await?;
            }
            if let Some(halt) = halted {
                return Err(halt);
            }
        }
        Ok(())
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

/// What a message says about its commands besides what they are.
struct Again {
    attempt: u32,
    /// It was here before: if the work is done, another delivery of it did it.
    redelivered: bool,
    queue: Queue,
    traceparent: Option<String>,
}

fn count(command: &Command, outcome: CommandOutcome) -> Count {
    Count::Command { run: command.cause.run.clone(), number: command.cause.number, side: command.side, outcome }
}

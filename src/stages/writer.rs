//! The writer: takes commands in waves of what the target takes at once, and brings each side up to date under a lease,
//! with the write noted before it leaves. It acknowledges a message when every command of it has an outcome, waits on
//! the retry ladder, or goes on as a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Connection, Halt, Pipeline, intake::Intake, work};
use crate::broker::message::Payload;
use crate::broker::{Broker, BrokerError, Delivery, Destination, Message, Outgoing, Queue};
use crate::domain::{Change, Command, CommandOutcome, ConnectionName, LinkId, Sighting};
use crate::failpoint::hit;
use crate::store::{Commit, Count, Store};

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
    let result = work(&pipeline, pipeline.command_queues(), stop.clone(), move |delivery, give_up| {
        let pipeline = worker.clone();
        async move { pipeline.write_delivery(delivery, give_up).await }
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
    /// What was seen of the account goes to the mapper as a change in the command's place: the same cause carries on,
    /// so that the run is not over before it is mapped.
    Change(Box<Sighting>),
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    async fn write_delivery<D: Delivery>(&self, delivery: D, stop: CancellationToken) {
        hit("writer.received");
        match self.write_message(&delivery, &stop).await {
            Ok(()) => {
                delivery.ack().await;
                hit("writer.acked");
            }
            // Dropped unsettled, the delivery comes again.
            Err(Halt::Stopped) => debug!("Gave a message back, the process stops"),
            Err(halt) => warn!("Gave a message back: {halt}"),
        }
    }

    async fn write_message<D: Delivery>(&self, delivery: &D, stop: &CancellationToken) -> Result<(), Halt> {
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
                Some(connection) => self.write_commands(stop, connection, commands, &again).await?,
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
                let attempt = Attempt { pipeline: self, stop, connection, command, again, epoch, loaded_at };
                attempts.push(async move { (command, attempt.run(link, now).await) });
            }
            let fates = futures_util::future::join_all(attempts).await;
            let mut outgoing = Vec::new();
            for (command, fate) in fates {
                match fate? {
                    Fate::Over => {}
                    Fate::Later { after, attempt } => outgoing.push(Outgoing {
                        to: Destination::Retry { home: again.queue.clone(), after },
                        message: Message {
                            attempt,
                            traceparent: again.traceparent.clone(),
                            ..Message::new(Payload::Commands(vec![command.clone()]))
                        },
                    }),
                    Fate::Change(seen) => outgoing.push(Outgoing {
                        to: Destination::Queue(Queue::Changes),
                        message: Message {
                            traceparent: again.traceparent.clone(),
                            ..Message::new(Payload::Changes(vec![Change {
                                connection: command.connection.clone(),
                                side: command.side,
                                cause: command.cause.clone(),
                                epoch,
                                seen: *seen,
                            }]))
                        },
                    }),
                }
            }
            if !outgoing.is_empty() {
                self.broker.publish(outgoing).await?;
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
        let commit = Commit { count: Some(count(command, outcome)), ..Commit::default() };
        // The epoch does not matter to a count; the one of today accepts it.
        let epoch = self.ask(stop, || self.store.epoch(&command.connection)).await?.id;
        match self.ask(stop, || self.store.commit(&command.connection, epoch, vec![commit.clone()])).await {
            Ok(_) | Err(Halt::NewEpoch) => {
                self.metrics.command(&command.connection, outcome);
                Ok(())
            }
            Err(halt) => Err(halt),
        }
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

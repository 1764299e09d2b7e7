//! The writer: takes commands in waves of what the target takes at once, and brings each side up to date under a lease,
//! with the write noted before it leaves. It acknowledges a message when every command of it has an outcome, waits on
//! the retry ladder, or goes on as a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::producer::page;
use super::{Connection, Halt, Pipeline, give_back, intake::Intake, work};
use crate::broker::message::MAX_ITEMS;
use crate::broker::message::Payload;
use crate::broker::{Broker, BrokerError, Delivery, Destination, Message, Outgoing, Queue};
use crate::domain::{Change, Command, CommandOutcome, ConnectionName, Epoch, LinkId, Side, Sighting};
use crate::failpoint::hit;
use crate::store::{Count, Store};
use crate::systems::Schema;

mod attempt;
mod create;
mod lane;
mod settle;
mod turns;
mod wave;

use attempt::Attempt;
pub(super) use turns::Turns;
use wave::Wave;

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
        let intake = self.take_in(stop, delivery, commands_of, |command| Payload::Commands(vec![command])).await?;
        let (commands, _alone) = match intake {
            Intake::Work(commands, alone) => (commands, alone),
            Intake::Settled => return Ok(()),
            Intake::Poison(command) => return self.count_command(stop, command, CommandOutcome::Dead).await,
        };
        let again = Again {
            attempt: delivery.attempt(),
            redelivered: delivery.redeliveries() > 0 || delivery.attempt() > 0,
            queue: delivery.queue().clone(),
            traceparent: delivery.message().ok().and_then(|message| message.traceparent.clone()),
        };
        let mut waves = BTreeMap::<(&ConnectionName, Side), Vec<&Command>>::new();
        for command in commands {
            waves.entry((&command.connection, command.side)).or_default().push(command);
        }
        for ((name, side), commands) in waves {
            match self.connections.get(name) {
                Some(connection) => self.write_wave(stop, connection, side, commands, turns, &again).await?,
                None => {
                    let text = format!("a command is for connection {name}, which is not configured here");
                    let code = crate::domain::Code::known("unknown_connection");
                    self.open_message_letter(stop, delivery, code, text).await?;
                    for command in commands {
                        self.count_command(stop, command, CommandOutcome::Dead).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Works on commands for one side of one connection, all at the same time.
    async fn write_wave(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
        side: Side,
        commands: Vec<&Command>,
        turns: &Turns,
        again: &Again,
    ) -> Result<(), Halt> {
        let ids: Vec<LinkId> = commands.iter().map(|command| command.link).collect();
        let loaded_at = Instant::now();
        let loaded = self.ask(stop, || self.store.load(&connection.name, &ids)).await?;
        hit("writer.loaded");
        let wave = Wave {
            pipeline: self,
            stop,
            connection,
            side,
            again,
            rules: connection.rules(loaded.epoch),
            epoch: loaded.epoch,
            now: loaded.now,
            loaded_at,
            gate: turns.gate(&connection.systems[side]),
            asked: Default::default(),
        };
        let wave = &wave;
        let attempts = commands.into_iter().zip(loaded.items).map(|(command, link)| async move {
            let fate = Attempt { wave, command }.run(link).await;
            (command, fate)
        });
        let fates = wave.serve(join_all(attempts)).await;
        let mut follow_ups = FollowUps::default();
        let mut halted = None;
        for (command, fate) in fates {
            match fate {
                // The message comes again, but not what the others of its wave have seen.
                Err(halt) => halted = Some(halt),
                Ok(fate) => follow_ups.add(command, fate, wave.epoch),
            }
        }
        if halted.is_some() {
            // They come again with it.
            follow_ups.waiting.clear();
        }
        let outgoing = follow_ups.messages(again, commands_per_message(wave.system().schema()));
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

/// Commands that go in one message: as many accounts as one call writes, or as many as there may be calls of one account
/// under way, so that a message is one wave.
pub(super) fn commands_per_message(schema: &Schema) -> usize {
    schema.batch.max(schema.calls).clamp(1, MAX_ITEMS)
}

/// What goes on after a wave.
#[derive(Default)]
struct FollowUps {
    changes: Vec<Change>,
    /// By failed attempts and wait in whole seconds, rounded up: what waits equally long goes on as one message, so that
    /// a refused batch is one call again. With each the longest wait of its commands.
    waiting: BTreeMap<(u32, u64), (Duration, Vec<Command>)>,
}

impl FollowUps {
    fn add(&mut self, command: &Command, fate: Fate, epoch: Epoch) {
        match fate {
            Fate::Over => {}
            Fate::Later { after, attempt } => {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                let (longest, commands) = self.waiting.entry((attempt, seconds)).or_default();
                *longest = after.max(*longest);
                commands.push(command.clone());
            }
            Fate::Change(seen) => self.changes.push(Change {
                connection: command.connection.clone(),
                side: command.side,
                cause: command.cause.clone(),
                epoch,
                seen: page::fitting(*seen),
            }),
        }
    }

    fn messages(self, again: &Again, size: usize) -> Vec<Outgoing> {
        let mut outgoing = page::messages(&Queue::Changes, self.changes);
        for ((attempt, _), (after, commands)) in self.waiting {
            outgoing.extend(commands.chunks(size).map(|commands| Outgoing {
                to: Destination::Retry { home: again.queue.clone(), after },
                message: Message { attempt, ..Message::new(Payload::Commands(commands.to_vec())) },
            }));
        }
        for Outgoing { message, .. } in &mut outgoing {
            message.traceparent.clone_from(&again.traceparent);
        }
        outgoing
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

fn commands_of(payload: &Payload) -> Option<&[Command]> {
    match payload {
        Payload::Commands(commands) => Some(commands),
        _ => None,
    }
}

fn count(command: &Command, outcome: CommandOutcome) -> Count {
    Count::Command { run: command.cause.run.clone(), number: command.cause.number, side: command.side, outcome }
}

//! What goes on after a wave: changes for the mapper, and commands that come again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Fate, Order, Origin};
use crate::broker::message::Payload;
use crate::broker::{Destination, Message, Outgoing, Queue};
use crate::domain::dead_letter::add_attempts;
use crate::domain::{Change, Command, Epoch};
use crate::stages::producer::page;

/// What goes on after a wave.
#[derive(Default)]
pub(super) struct FollowUps<'m> {
    changes: BTreeMap<Option<&'m str>, Vec<Change>>,
    /// What waits equally long goes on as one message, so that a refused call is one call again. With each the longest
    /// wait of its commands.
    pub(super) waiting: BTreeMap<Wait<'m>, (Duration, Vec<Command>)>,
}

/// What commands that wait have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait<'m> {
    home: &'m Queue,
    traceparent: Option<&'m str>,
    attempt: u32,
    /// Rounded up.
    seconds: u64,
}

impl<'m> FollowUps<'m> {
    pub(super) fn add(&mut self, Order { command, message }: Order<'m>, fate: Fate, epoch: Epoch) {
        match fate {
            Fate::Over => {}
            Fate::Later { after, attempt } => self.wait(command.clone(), message, after, attempt),
            Fate::Again { after, attempt, failed } => {
                let mut command = command.clone();
                add_attempts(&mut command.failed, [*failed]);
                self.wait(command, message, after, attempt);
            }
            Fate::Change(seen) => self.changes.entry(message.traceparent).or_default().push(Change {
                connection: command.connection.clone(),
                side: command.side,
                cause: command.cause.clone(),
                epoch,
                seen: page::fitting(*seen),
            }),
        }
    }

    fn wait(&mut self, command: Command, message: Origin<'m>, after: Duration, attempt: u32) {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        let wait = Wait { home: message.queue, traceparent: message.traceparent, attempt, seconds };
        let (longest, commands) = self.waiting.entry(wait).or_default();
        *longest = after.max(*longest);
        commands.push(command);
    }

    pub(super) fn messages(self, size: usize) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        for (traceparent, changes) in self.changes {
            outgoing.extend(page::messages(&Queue::Changes, changes).into_iter().map(|mut page| {
                page.message.traceparent = traceparent.map(ToOwned::to_owned);
                page
            }));
        }
        for (Wait { home, traceparent, attempt, .. }, (after, commands)) in self.waiting {
            outgoing.extend(commands.chunks(size).map(|commands| Outgoing {
                to: Destination::Retry { home: home.clone(), after },
                message: Message {
                    attempt,
                    traceparent: traceparent.map(ToOwned::to_owned),
                    ..Message::new(Payload::Commands(commands.to_vec()))
                },
            }));
        }
        outgoing
    }
}

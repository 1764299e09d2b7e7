//! Pages of changes: what fits into one message.

use crate::broker::message::{MAX_BODY_BYTES, MAX_ITEMS, Payload};
use crate::broker::{Destination, Message, Outgoing, Queue};
use crate::domain::attribute::MAX_VALUE_BYTES;
use crate::domain::{AccountId, Attributes, Change, Code, Sighting, Timestamp};
use crate::systems::{Lookup, Record};

/// The message's share that is not items: envelope and commas.
const ENVELOPE_BYTES: usize = 4096;

/// Puts changes into messages of at most [`MAX_ITEMS`] items and [`MAX_BODY_BYTES`] bytes.
pub(in crate::stages) fn messages(queue: &Queue, changes: Vec<Change>) -> Vec<Outgoing> {
    let mut pages: Vec<Vec<Change>> = Vec::new();
    let mut size = usize::MAX;
    for change in changes {
        let bytes = size_bytes(&change);
        match pages.last_mut() {
            Some(page) if page.len() < MAX_ITEMS && size + bytes <= MAX_BODY_BYTES - ENVELOPE_BYTES => {
                size += bytes;
                page.push(change);
            }
            _ => {
                size = bytes;
                pages.push(vec![change]);
            }
        }
    }
    pages
        .into_iter()
        .map(|page| Outgoing { to: Destination::Queue(queue.clone()), message: Message::new(Payload::Changes(page)) })
        .collect()
}

fn size_bytes(change: &Change) -> usize {
    serde_json::to_vec(change).map_or(MAX_BODY_BYTES, |body| body.len() + 1)
}

/// What a listed record shows. A value over the size limit makes it unreadable, and only it.
pub(super) fn sighting(record: Record) -> Sighting {
    match record {
        Record::Account(snapshot) => fitting(Sighting::Present { snapshot }),
        Record::Unreadable { account, code, attribute } => Sighting::Unreadable { account, code, attribute },
    }
}

/// A sighting that fits into a message: one with a value over the size limit is unreadable.
pub(in crate::stages) fn fitting(seen: Sighting) -> Sighting {
    match seen {
        Sighting::Present { snapshot } => match oversized(&snapshot.attributes) {
            Some(path) => Sighting::Unreadable {
                account: Some(snapshot.account),
                code: Code::known("value_too_large"),
                attribute: Some(path),
            },
            None => Sighting::Present { snapshot },
        },
        other => other,
    }
}

/// What asking for an account by its id shows; the time if it is not there, which proves nothing by itself.
pub(super) fn looked_up(account: &AccountId, lookup: Lookup) -> Result<Sighting, Timestamp> {
    match lookup {
        Lookup::Found(snapshot) => Ok(sighting(Record::Account(snapshot))),
        Lookup::Absent(read_at) => Err(read_at),
        Lookup::Unreadable { code, attribute } => {
            Ok(Sighting::Unreadable { account: Some(account.clone()), code, attribute })
        }
    }
}

fn oversized(attributes: &Attributes) -> Option<crate::domain::AttributePath> {
    let mut total = 0;
    for (path, value) in attributes {
        let bytes = value.as_ref().map_or(0, crate::domain::Value::size_bytes);
        total += bytes;
        // An account whose attributes are each small enough and together are not, is told by the largest part so far.
        if bytes > MAX_VALUE_BYTES || total > MAX_BODY_BYTES / 2 {
            return Some(path.clone());
        }
    }
    None
}

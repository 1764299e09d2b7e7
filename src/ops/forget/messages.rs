//! Messages that nobody could work on, and that hold something of a person: they lie in letters, and in the log of letters.
//!
//! A page has items about many people. What is about others stays where it is: their changes are in this message alone, since
//! the producer is past them. Where a message cannot be read, nobody can tell whose the rest of it is, so the connections are
//! read whole before it is closed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Subject, Tally};
use crate::broker::message::Payload;
use crate::broker::{Broker, LETTER_LOG_KEPT, Message};
use crate::domain::dead_letter::DiscardReason;
use crate::domain::{
    AccountId, AttributePath, Change, ConnectionName, DeadLetter, LetterContent, LetterEntry, Resolution, Side, Sides,
    Sighting, Timestamp, Value,
};
use crate::ops::dead::{log, log_closed};
use crate::ops::sync;
use crate::stages::{self, Pipeline};
use crate::store::Store;

/// An id or a name with fewer characters stands in too many texts that are about somebody else.
const SHORTEST_NAME: usize = 4;

/// Attributes by whose values a message may name a person.
const NAMES: [&str; 2] = ["emails", "userName"];

/// By what a message may name the person.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    accounts: BTreeMap<ConnectionName, Sides<BTreeSet<AccountId>>>,
    /// Ids and names, in small letters.
    texts: BTreeSet<String>,
}

/// What a message holds of the person.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    /// Every item is about them.
    All,
    /// Some items are: this is the message without them, as a letter keeps it.
    Some(String),
    /// It cannot be read, and one of the names is a whole string of its JSON.
    Unreadable,
}

fn names() -> [AttributePath; 2] {
    NAMES.map(|name| name.parse().expect("the names of this table are paths"))
}

impl Names {
    /// Those of this person.
    pub(super) fn of(subject: &Subject) -> Self {
        let accounts: BTreeMap<_, _> =
            subject.on.iter().map(|(name, person)| (name.clone(), person.accounts.clone())).collect();
        let ids = accounts.values().flat_map(|accounts| Side::BOTH.map(|side| accounts[side].iter()));
        let ids = ids.flatten().map(AccountId::to_string);
        let registers = subject.links.iter().flat_map(|(_, link)| {
            names().into_iter().filter_map(|path| link.registers.get(&path)).map(|register| register.value.as_ref())
        });
        let values = registers.filter_map(|value| value?.as_text().map(ToString::to_string));
        let texts = ids.chain(values).filter(|name| name.chars().count() >= SHORTEST_NAME);
        let texts = texts.map(|name| name.to_lowercase()).collect();
        Self { texts, accounts }
    }

    fn has(&self, text: &str) -> bool {
        self.texts.contains(&text.to_lowercase())
    }

    /// Whether a change is about the person's account, and not about one whose values name them.
    fn are_of(&self, change: &Change) -> bool {
        let is_theirs = |account: &AccountId| {
            let known = self.accounts.get(&change.connection);
            known.is_some_and(|known| known[change.side].contains(account)) || self.has(&account.to_string())
        };
        let Sighting::Present { snapshot } = &change.seen else { return change.account().is_some_and(is_theirs) };
        let is_named = |path: &AttributePath| {
            let value = snapshot.attributes.get(path).and_then(Option::as_ref);
            value.and_then(Value::as_text).is_some_and(|text| self.has(text))
        };
        is_theirs(&snapshot.account) || names().iter().any(is_named)
    }

    /// What a letter's message holds of the person; `None`: nothing, or it is about no message.
    fn in_letter(&self, letter: &DeadLetter) -> Option<Held> {
        let LetterContent::Message { body, .. } = &letter.content else { return None };
        let bytes = stages::from_base64(body)?;
        match Message::decode(&bytes, 0, None) {
            Ok(Message { id, payload: Payload::Changes(changes), .. }) => {
                let (theirs, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| self.are_of(change));
                match (theirs.is_empty(), others.is_empty()) {
                    (true, _) => None,
                    (false, true) => Some(Held::All),
                    (false, false) => {
                        let payload = Payload::Changes(others);
                        let rest = Message { id, attempt: 0, traceparent: None, payload };
                        Some(Held::Some(stages::base64(&rest.encode())))
                    }
                }
            }
            // Commands name links, and hold no value.
            Ok(Message { payload: Payload::Commands(_), .. }) => None,
            Ok(_) | Err(_) => {
                let text = String::from_utf8_lossy(&bytes).to_lowercase();
                self.texts.iter().any(|name| text.contains(&format!("\"{name}\""))).then_some(Held::Unreadable)
            }
        }
    }

    /// The letter without what it holds of the person; `None`: it holds nothing.
    fn without(&self, letter: &DeadLetter) -> Option<DeadLetter> {
        let rest = match self.in_letter(letter)? {
            Held::All | Held::Unreadable => String::new(),
            Held::Some(rest) => rest,
        };
        let mut letter = letter.clone();
        if let LetterContent::Message { body, .. } = &mut letter.content {
            *body = rest;
        }
        Some(letter)
    }
}

/// Takes what letters hold of the person out of them, closes those that are about nobody else, and erases the same from the
/// log of letters where that can be done; else the time until which it stays there, if there is any.
pub(super) async fn forget<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    names: &Names,
    really: bool,
    tally: &mut Tally,
) -> anyhow::Result<Option<Timestamp>> {
    let (mut closed, mut kept) = (Vec::new(), Vec::new());
    for connection in pipeline.connections.keys().map(Some).chain([None]) {
        for letter in pipeline.store.letters(connection).await? {
            match names.in_letter(&letter) {
                None => continue,
                Some(Held::All) => closed.push(letter.id),
                Some(Held::Some(_)) => kept.extend(names.without(&letter)),
                Some(Held::Unreadable) => {
                    let concerned = |name: &&ConnectionName| letter.connection.as_ref().is_none_or(|of| of == *name);
                    tally.reads.extend(pipeline.connections.keys().filter(concerned).cloned());
                    closed.push(letter.id);
                }
            }
        }
    }
    tally.letters = (closed.len() + kept.len()) as u64;
    if really {
        // First: whoever is killed between the two finds the letters open, and asks once more.
        for name in &tally.reads {
            sync::request(pipeline, name, &sync::Ask { only: None, full: true, wait: false }).await?;
        }
        if !kept.is_empty() {
            let opened = |letter: &DeadLetter| LetterEntry::Opened { letter: Box::new(letter.clone()) };
            log(pipeline, kept.iter().map(opened).collect()).await?;
            pipeline.store.file_letters(&kept, &[]).await?;
        }
        if !closed.is_empty() {
            let text = Some("the person was forgotten".to_owned());
            log_closed(pipeline, &closed, &Resolution::Discarded { reason: DiscardReason::Obsolete, text }).await?;
            pipeline.store.file_letters(&[], &closed).await?;
        }
    }
    from_the_log(pipeline, names, really, tally).await
}

async fn from_the_log<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    names: &Names,
    really: bool,
    tally: &mut Tally,
) -> anyhow::Result<Option<Timestamp>> {
    let mut latest = None;
    pipeline
        .broker
        .read_log(|entry| {
            if let LetterEntry::Opened { letter } = entry
                && names.in_letter(&letter).is_some()
            {
                tally.log_entries += 1;
                latest = latest.max(Some(letter.last_at));
            }
        })
        .await?;
    let is_fixed = !pipeline.broker.rewrites_log();
    if really && !is_fixed && latest.is_some() {
        let names = names.clone();
        let without = move |entry: &LetterEntry| match entry {
            LetterEntry::Opened { letter } => {
                let letter = Box::new(names.without(letter)?);
                Some(LetterEntry::Opened { letter })
            }
            _ => None,
        };
        pipeline.broker.rewrite_log(without).await?;
    }
    Ok(latest.filter(|_| is_fixed).map(|latest| latest + LETTER_LOG_KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Attributes, Cause, Code, Epoch, FailureClass, Fingerprint, LetterId, Snapshot, Version};

    fn change(account: &str, email: &str, manager: &str) -> Change {
        let value = |(path, text): (&str, &str)| (path.parse().unwrap(), Some(Value::from(text)));
        let attributes: Attributes = [("emails", email), ("manager", manager)].into_iter().map(value).collect();
        let version = Version { modified_at: None, read_at: Timestamp(1), tag: None };
        let snapshot = Snapshot { account: account.parse().unwrap(), partner: None, version, attributes };
        let cause = Cause { run: "r1".parse().unwrap(), number: 1 };
        let seen = Sighting::Present { snapshot };
        Change { connection: "crm-scim".parse().unwrap(), side: Side::A, cause, epoch: Epoch(1), seen }
    }

    fn letter(body: &[u8]) -> DeadLetter {
        let code = Code::known("unknown_connection");
        DeadLetter {
            id: LetterId::of_message("m"),
            fingerprint: Fingerprint { target: None, class: FailureClass::Permanent, code, attribute: None },
            connection: None,
            account: None,
            partner: None,
            first_at: Timestamp(1),
            last_at: Timestamp(1),
            failures: 1,
            message: String::new(),
            first_message: None,
            attempts: Vec::new(),
            status: None,
            request_id: None,
            content: LetterContent::Message { queue: "muster.changes".to_owned(), body: stages::base64(body) },
        }
    }

    /// Forgetting one person loses nobody else's change, although their records name that person.
    #[test]
    fn what_is_about_others_stays() {
        let names = Names { texts: ["ada@x.example".to_owned(), "0051".to_owned()].into(), ..Names::default() };
        let page = |changes: &[Change]| letter(&Message::new(Payload::Changes(changes.to_vec())).encode());
        let by_id = change("0051", "old@x.example", "");
        let by_name = change("0059", "Ada@X.example", "");
        let colleague = change("0052", "bob@x.example", "0051");
        assert_eq!(
            names.in_letter(&page(std::slice::from_ref(&colleague))),
            None,
            "to name somebody is not to be them"
        );
        assert_eq!(names.in_letter(&page(&[by_id.clone(), by_name.clone()])), Some(Held::All));
        let left = names.without(&page(&[by_id, colleague.clone(), by_name])).unwrap();
        let LetterContent::Message { body, .. } = &left.content else { unreachable!("it is about a message") };
        let rest = Message::decode(&stages::from_base64(body).unwrap(), 0, None).unwrap();
        assert_eq!(rest.payload, Payload::Changes(vec![colleague]));
        assert_eq!(names.without(&left), None, "nothing of them is left");
        assert_eq!(names.in_letter(&letter(b"{\"broken\": \"ADA@x.example\"")), Some(Held::Unreadable));
        assert_eq!(names.in_letter(&letter(b"{\"broken\": \"canada@x.example\"")), None);
    }
}

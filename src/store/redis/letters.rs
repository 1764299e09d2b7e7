//! Open letters. Those about a link or an account lie with their connection. Those about a message lie by themselves,
//! also where the connection is known: their id does not name it, so that they could not be closed otherwise.
//!
//! An index keeps them by fingerprint and by the time when they were opened: each of its members begins with the
//! fingerprint, so that those of one fingerprint lie together, and goes on with the time in figures of equal number.

use std::ops::Range;

use redis::{Pipeline, cmd};

use super::RedisStore;
use super::keys::{self, Keys, REDRIVES_KEPT, REDRIVES_OPEN_KEPT};
use super::pool::failed;
use super::script::{Call, FILE_LETTERS, SAVE_REDRIVE};
use crate::domain::redrive::Redrive;
use crate::domain::{ConnectionName, DeadLetter, Fingerprint, LetterGroup, LetterId, LetterPlace, Timestamp};
use crate::store::{LetterPage, StoreError};

/// First part of the id of a letter about a message.
const MESSAGE: &str = "message";
/// Letters in one script: a script runs alone, and must not keep others waiting.
const LETTERS: usize = 200;

impl RedisStore {
    /// See [`Store::file_letters`](crate::store::Store::file_letters).
    pub(super) async fn file(&self, open: &[DeadLetter], close: &[LetterId]) -> Result<(), StoreError> {
        let mut shelves = std::collections::BTreeMap::<Shelf, (Vec<&DeadLetter>, Vec<&LetterId>)>::new();
        for letter in open {
            let shelf = Shelf::of(letter.connection.as_ref(), &letter.id);
            shelves.entry(shelf).or_default().0.push(letter);
        }
        for id in close {
            let first = first_part(id);
            // A connection may be called `message` as well.
            if let Ok(connection) = first.parse() {
                shelves.entry(Shelf::Connection(connection)).or_default().1.push(id);
            }
            if first == MESSAGE {
                shelves.entry(Shelf::Messages).or_default().1.push(id);
            }
        }
        for (shelf, (open, close)) in shelves {
            for open in open.chunks(LETTERS) {
                self.file_in(&shelf, open, &[]).await?;
            }
            for close in close.chunks(LETTERS) {
                self.file_in(&shelf, &[], close).await?;
            }
        }
        Ok(())
    }

    async fn file_in(&self, shelf: &Shelf, open: &[&DeadLetter], close: &[&LetterId]) -> Result<(), StoreError> {
        let keys = self.shelf(shelf);
        let mut call = Call::new([keys.letters(), keys.letter_index(), keys.letter_groups()]);
        call.number(open.len());
        open.iter().for_each(|letter| push_letter(&mut call, letter));
        for id in close {
            call.arg(id.as_str());
        }
        FILE_LETTERS.run(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::letter`](crate::store::Store::letter).
    pub(super) async fn open_letter(
        &self,
        connection: Option<&ConnectionName>,
        id: &LetterId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let key = self.shelf(&Shelf::of(connection, id)).letters();
        let question = cmd("HGET").arg(key).arg(id.as_str()).to_owned();
        let stored: Option<String> = question.query_async(&mut *self.pool.lend().await?).await.map_err(failed)?;
        stored.map(|stored| parse(id.as_str(), &stored)).transpose()
    }

    /// See [`Store::letters`](crate::store::Store::letters).
    pub(super) async fn open_letters(
        &self,
        connection: Option<&ConnectionName>,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters = self.message_letters().await?;
        letters.retain(|letter| letter.connection.as_ref() == connection);
        if let Some(connection) = connection {
            letters.extend(self.letters_in(&self.keys(connection).letters()).await?);
        }
        letters.sort_by_key(DeadLetter::place);
        Ok(letters)
    }

    /// Letters about messages, of any connection or none.
    pub(super) async fn message_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.letters_in(&self.shelf(&Shelf::Messages).letters()).await
    }

    /// See [`Store::letter_groups`](crate::store::Store::letter_groups).
    pub(super) async fn groups_of_letters(
        &self,
        connection: Option<&ConnectionName>,
        when: &Range<Timestamp>,
    ) -> Result<Vec<LetterGroup>, StoreError> {
        let keys = self.shelf(&Shelf::named(connection));
        let mut server = self.pool.lend().await?;
        let known = cmd("HGETALL").arg(keys.letter_groups()).to_owned();
        let mut known: Vec<(String, i64)> = known.query_async(&mut *server).await.map_err(failed)?;
        known.sort();
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let mut questions = Pipeline::new();
        for (group, _) in &known {
            let (from, to) = (format!("[{group} {}", figures(when.start)), format!("({group} {}", figures(when.end)));
            questions.cmd("ZLEXCOUNT").arg(keys.letter_index()).arg(&from).arg(&to);
            questions.cmd("ZRANGEBYLEX").arg(keys.letter_index()).arg(from).arg(to).arg("LIMIT").arg(0).arg(1);
        }
        let answers: Vec<redis::Value> = questions.query_async(&mut *server).await.map_err(failed)?;
        let mut groups = Vec::new();
        for ((group, last_at), answers) in known.into_iter().zip(answers.chunks(2)) {
            let answer = |at: usize| answers.get(at).cloned().unwrap_or(redis::Value::Nil);
            let letters: u64 = redis::from_redis_value(answer(0)).map_err(|_| unreadable(&group))?;
            let first: Vec<String> = redis::from_redis_value(answer(1)).map_err(|_| unreadable(&group))?;
            let Some(first) = first.first() else { continue };
            let place = placed(&group, first).ok_or_else(|| unreadable(&group))?;
            let fingerprint = Fingerprint::from_key(&group).ok_or_else(|| unreadable(&group))?;
            groups.push(LetterGroup { fingerprint, letters, first_at: place.first_at, last_at: Timestamp(last_at) });
        }
        Ok(groups)
    }

    /// See [`Store::letter_page`](crate::store::Store::letter_page).
    pub(super) async fn page_of_letters(
        &self,
        connection: Option<&ConnectionName>,
        fingerprint: &Fingerprint,
        when: &Range<Timestamp>,
        after: Option<&LetterPlace>,
        limit: usize,
    ) -> Result<LetterPage, StoreError> {
        let (keys, group) = (self.shelf(&Shelf::named(connection)), fingerprint.key());
        let from = match after.filter(|after| after.first_at >= when.start) {
            Some(after) => format!("({}", member(&group, after)),
            None => format!("[{group} {}", figures(when.start)),
        };
        let page = cmd("ZRANGEBYLEX")
            .arg(keys.letter_index())
            .arg(from)
            .arg(format!("({group} {}", figures(when.end)))
            .arg("LIMIT")
            .arg(0)
            .arg(limit)
            .to_owned();
        let mut server = self.pool.lend().await?;
        let members: Vec<String> = page.query_async(&mut *server).await.map_err(failed)?;
        let places = members.iter().map(|member| placed(&group, member).ok_or_else(|| unreadable(&group)));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let next = places.last().filter(|_| places.len() == limit).cloned();
        if places.is_empty() {
            return Ok((Vec::new(), None));
        }
        let mut load = cmd("HMGET").arg(keys.letters()).to_owned();
        for place in &places {
            load.arg(place.id.as_str());
        }
        let stored: Vec<Option<String>> = load.query_async(&mut *server).await.map_err(failed)?;
        // One that was closed meanwhile is not open.
        let stored = places.iter().zip(stored).filter_map(|(place, stored)| Some((place, stored?)));
        let letters = stored.map(|(place, stored)| parse(place.id.as_str(), &stored));
        Ok((letters.collect::<Result<_, _>>()?, next))
    }

    /// See [`Store::save_redrive`](crate::store::Store::save_redrive).
    pub(super) async fn keep_redrive(&self, redrive: &Redrive) -> Result<bool, StoreError> {
        let mut call = Call::new([keys::redrives(&self.prefix)]);
        call.arg(&redrive.id).number(redrive.revision - 1).arg(super::json(redrive)).number(REDRIVES_KEPT);
        call.number(REDRIVES_OPEN_KEPT);
        call.number(redrive.revision).number(redrive.saved_at.0);
        SAVE_REDRIVE.run(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::redrives`](crate::store::Store::redrives).
    pub(super) async fn kept_redrives(&self) -> Result<Vec<Redrive>, StoreError> {
        let all = cmd("HVALS").arg(keys::redrives(&self.prefix)).to_owned();
        let all: Vec<String> = all.query_async(&mut *self.pool.lend().await?).await.map_err(failed)?;
        let unreadable = || StoreError::Unusable("a retry noted in the store is unreadable".to_owned());
        let read = |stored: &String| {
            let json = stored.splitn(3, ' ').nth(2).ok_or_else(unreadable)?;
            serde_json::from_str(json).map_err(|_| unreadable())
        };
        let mut redrives: Vec<Redrive> = all.iter().map(read).collect::<Result<_, _>>()?;
        redrives.sort_by_key(|redrive| std::cmp::Reverse((redrive.began_at, redrive.id.clone())));
        Ok(redrives)
    }

    fn shelf(&self, shelf: &Shelf) -> Keys {
        match shelf {
            Shelf::Connection(connection) => self.keys(connection),
            Shelf::Messages => Keys::of_messages(&self.prefix),
        }
    }

    async fn letters_in(&self, key: &str) -> Result<Vec<DeadLetter>, StoreError> {
        let mut server = self.pool.lend().await?;
        let mut letters = std::collections::BTreeMap::new();
        let mut cursor = "0".to_owned();
        // Page by page: other processes wait while the server answers, and there may be many.
        loop {
            let scan = cmd("HSCAN").arg(key).arg(&cursor).arg("COUNT").arg(500).to_owned();
            let (next, page): (String, Vec<(String, String)>) = scan.query_async(&mut *server).await.map_err(failed)?;
            for (id, stored) in page {
                let letter = parse(&id, &stored)?;
                letters.insert(id, letter);
            }
            if next == "0" {
                return Ok(letters.into_values().collect());
            }
            cursor = next;
        }
    }
}

/// Where letters lie.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Shelf {
    Connection(ConnectionName),
    Messages,
}

impl Shelf {
    fn named(connection: Option<&ConnectionName>) -> Self {
        connection.cloned().map_or(Self::Messages, Self::Connection)
    }

    fn of(connection: Option<&ConnectionName>, id: &LetterId) -> Self {
        Self::named(connection.filter(|_| first_part(id) != MESSAGE))
    }
}

/// A letter that is opened, as the scripts take it: id, place, last failure, letter.
pub(super) fn push_letter(call: &mut Call, letter: &DeadLetter) {
    let place = member(&letter.fingerprint.key(), &letter.place());
    call.arg(letter.id.as_str()).arg(place).number(letter.last_at.0).arg(super::json(letter));
}

/// A place as member of the index.
fn member(group: &str, place: &LetterPlace) -> String {
    format!("{group} {} {}", figures(place.first_at), place.id)
}

/// The place of a member of this group.
fn placed(group: &str, member: &str) -> Option<LetterPlace> {
    let (first_at, id) = member.strip_prefix(group)?.strip_prefix(' ')?.split_once(' ')?;
    Some(LetterPlace { first_at: Timestamp(first_at.parse().ok()?), id: LetterId::from_text(id) })
}

/// A time so that texts compare as times do. Nothing was opened before 1970, or will be after the year 30000.
fn figures(at: Timestamp) -> String {
    format!("{:015}", at.0.clamp(0, 999_999_999_999_999))
}

fn parse(id: &str, stored: &str) -> Result<DeadLetter, StoreError> {
    let letter = stored.split_once('\n').and_then(|(_, letter)| serde_json::from_str(letter).ok());
    letter.ok_or_else(|| StoreError::Unusable(format!("letter {id} in the store is unreadable")))
}

fn unreadable(group: &str) -> StoreError {
    StoreError::Unusable(format!(
        "the index of letters is unreadable at {group:?}; `muster dead rebuild` makes it anew"
    ))
}

fn first_part(id: &LetterId) -> &str {
    id.as_str().split('/').next().unwrap_or_default()
}

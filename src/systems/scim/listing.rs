//! Where a read of the roster stands, and whether it showed every account.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::domain::{AccountId, Code, Failure, FailureClass};

/// Reads under way of which the ids are kept. An older one loses its proof, and nothing else.
const MAX_READS: usize = 4;

/// One read between two of its pages. Its JSON is the text of [`ReadFrom::Position`](crate::systems::ReadFrom).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Tells this read from others of this process, see [`Listings`].
    read: u64,
    /// Pages read.
    page: u32,
    /// The cursor of the next page, in cursor paging.
    cursor: Option<String>,
    /// Resources received.
    received: u64,
    /// What the first page said there are.
    total: Option<u64>,
    /// Whether every page said so, and no more came.
    steady: bool,
    /// The first account of the last page. A server that ignores `startIndex` gives it again.
    head: Option<AccountId>,
    /// The last account of the last page, while `first` is not known.
    #[serde(default)]
    tail: Option<AccountId>,
    /// The number of the first resource, 1 by the RFC and 0 at some servers, once it is known.
    #[serde(default)]
    first: Option<u64>,
}

/// What one page showed.
#[derive(Debug, Default)]
pub struct Shown {
    /// Resources received.
    pub received: usize,
    /// Its first account.
    pub head: Option<AccountId>,
    /// Its last account.
    pub tail: Option<AccountId>,
    /// How many the whole list has, if the server says so.
    pub total: Option<u64>,
    /// The number of its first resource, if the server says so.
    pub start_index: Option<u64>,
    /// The cursor of the next page. A server that gives one pages by cursor, whatever it was asked for.
    pub next_cursor: Option<String>,
}

/// What to do after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// There is more.
    More,
    /// That was all.
    End,
}

impl Position {
    /// Before the first page. `read` is a random number.
    pub fn start(read: u64) -> Self {
        Self {
            read,
            page: 0,
            cursor: None,
            received: 0,
            total: None,
            steady: true,
            head: None,
            tail: None,
            first: None,
        }
    }

    /// A read that goes on.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        serde_json::from_str(text).map_err(|_| {
            let code = Code::known("invalid_position");
            Failure::new(FailureClass::Permanent, code, "the saved place in the list is not one of a SCIM read")
        })
    }

    /// The text of it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    /// Whether no page was read yet.
    pub fn is_start(&self) -> bool {
        self.page == 0
    }

    /// The query of the next page. It begins behind what was *received*: servers may give fewer than asked for.
    ///
    /// The first page is asked for without a number, so that the server begins where it begins to count. As long as
    /// that is not known, the next page begins with the last account of the one before: at a server that counts from
    /// 1 it comes again, at one that counts from 0 the next one comes.
    pub fn query(&self, count: usize, by_cursor: bool) -> Vec<(&'static str, String)> {
        let count = ("count", count.to_string());
        match &self.cursor {
            Some(cursor) => vec![("cursor", cursor.clone()), count],
            None if by_cursor => vec![("cursor", String::new()), count],
            None if self.is_start() => vec![count],
            None => {
                let first = self.first.unwrap_or(u64::from(self.tail.is_none()));
                vec![("startIndex", (self.received + first).to_string()), count]
            }
        }
    }

    /// Whether fewer came than the server said there are.
    pub fn fell_short(&self) -> bool {
        self.total.is_some_and(|total| self.received < total)
    }

    /// Notes a page when `asked` resources were asked for. `by_cursor`: it was asked for by cursor.
    pub fn passed(&mut self, shown: Shown, asked: usize, by_cursor: bool) -> After {
        let start = self.is_start();
        if start {
            self.total = shown.total;
            self.first = shown.start_index.map(|first| first.min(1));
        }
        self.steady &= shown.total.is_some() && shown.total == self.total;
        let came_again = !start && self.tail.is_some() && shown.head == self.tail;
        let by_cursor = by_cursor || self.cursor.is_some() || shown.next_cursor.is_some();
        if !start && !by_cursor && self.first.is_none() && shown.head.is_some() {
            self.first = Some(u64::from(came_again));
        }
        let repeated = !start && !came_again && shown.head.is_some() && shown.head == self.head;
        let received = shown.received - usize::from(came_again && !by_cursor);
        self.page += 1;
        self.received += received as u64;
        self.head = shown.head;
        self.tail = shown.tail.filter(|_| self.first.is_none());
        self.cursor = shown.next_cursor;
        if self.total.is_some_and(|total| self.received > total) {
            self.steady = false;
        }
        if repeated {
            self.steady = false;
            return After::End;
        }
        if by_cursor {
            return if self.cursor.is_some() { After::More } else { After::End };
        }
        if shown.received == 0 {
            return After::End;
        }
        // Some servers give the number of this page as the total: one that just equals a full page is not believed.
        let doubtful = start && received >= asked && shown.total == Some(received as u64);
        match self.total {
            Some(total) if self.received == total && !doubtful => After::End,
            _ => After::More,
        }
    }
}

/// The ids that were seen in reads under way, as 64-bit digests with the page where each was first seen. Kept in memory
/// only: a read that goes on in another process ends without a proof.
#[derive(Debug, Default)]
pub struct Listings {
    reads: Vec<(u64, Seen)>,
}

#[derive(Debug, Default)]
struct Seen {
    hasher: RandomState,
    pages: HashMap<u64, u32>,
}

impl Listings {
    /// Begins the page that `position` stands before. A page that is read again replaces what it showed before.
    pub fn begin(&mut self, position: &Position) {
        if position.is_start() {
            self.reads.retain(|(read, _)| *read != position.read);
            if self.reads.len() >= MAX_READS {
                self.reads.remove(0);
            }
            self.reads.push((position.read, Seen::default()));
        } else if let Some(seen) = self.seen(position) {
            seen.pages.retain(|_, page| *page < position.page);
        }
    }

    /// Notes an account of the page that `position` stands before. Whether it is new to this read.
    pub fn note(&mut self, position: &Position, account: &AccountId) -> bool {
        let Some(seen) = self.seen(position) else { return true };
        let digest = seen.hasher.hash_one(account.as_str());
        seen.pages.insert(digest, position.page).is_none_or(|page| {
            seen.pages.insert(digest, page);
            false
        })
    }

    /// Ends a read. Whether it showed every account: the total was the same on every page, and as many distinct
    /// accounts came.
    pub fn end(&mut self, position: &Position) -> bool {
        let Some(place) = self.reads.iter().position(|(read, _)| *read == position.read) else { return false };
        // The ids stay until the next read begins, in case this page is read again.
        let distinct = self.reads[place].1.pages.len() as u64;
        position.steady && position.total == Some(distinct)
    }

    fn seen(&mut self, position: &Position) -> Option<&mut Seen> {
        self.reads.iter_mut().find(|(read, _)| *read == position.read).map(|(_, seen)| seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> AccountId {
        number.to_string().parse().unwrap()
    }

    fn shown(ids: &[usize], total: Option<u64>) -> Shown {
        let account = |number: Option<&usize>| number.map(|number| id(*number));
        let (head, tail) = (account(ids.first()), account(ids.last()));
        Shown { received: ids.len(), head, tail, total, ..Shown::default() }
    }

    /// Reads pages of (total, ids) until the end. Whether it ended with a proof.
    fn walk(pages: &[(Option<u64>, &[usize])], asked: usize) -> (usize, bool) {
        let mut listings = Listings::default();
        let mut position = Position::start(7);
        for (number, (total, ids)) in pages.iter().enumerate() {
            listings.begin(&position);
            for number in *ids {
                listings.note(&position, &id(*number));
            }
            let shown = Shown { start_index: (number == 0).then_some(1), ..shown(ids, *total) };
            if position.passed(shown, asked, false) == After::End {
                return (number + 1, listings.end(&position));
            }
        }
        (pages.len() + 1, false)
    }

    /// B12: only a list whose total stayed the same, and was reached with distinct accounts, is a proof.
    #[test]
    fn a_list_is_complete_only_if_its_count_was_reached_and_stayed() {
        for (name, pages, asked, expected) in [
            ("empty", &[(Some(0), &[][..])][..], 2, (1, true)),
            ("one page", &[(Some(1), &[1])], 2, (1, true)),
            ("shorter pages than asked", &[(Some(3), &[1]), (Some(3), &[2]), (Some(3), &[3])], 2, (3, true)),
            ("the total changed", &[(Some(3), &[1, 2]), (Some(4), &[3, 4])], 2, (3, false)),
            ("an account twice", &[(Some(3), &[1, 2]), (Some(3), &[2])], 2, (2, false)),
            ("it ends early", &[(Some(3), &[1, 2]), (Some(3), &[])], 2, (2, false)),
            ("no total", &[(None, &[1, 2]), (None, &[])], 2, (2, false)),
            ("the total of the page", &[(Some(2), &[1, 2]), (Some(1), &[3]), (Some(0), &[])], 2, (3, false)),
            ("exactly one page", &[(Some(2), &[1, 2]), (Some(2), &[])], 2, (2, true)),
            ("startIndex is ignored", &[(Some(4), &[1, 2]), (Some(4), &[1, 2])], 2, (2, false)),
        ] {
            assert_eq!(walk(pages, asked), expected, "{name}");
        }
    }

    #[test]
    fn a_page_that_is_read_again_is_not_taken_for_known() {
        let mut listings = Listings::default();
        let position = Position::start(7);
        listings.begin(&position);
        assert!(listings.note(&position, &id(1)));
        assert!(!listings.note(&position, &id(1)));
        listings.begin(&position);
        assert!(listings.note(&position, &id(1)));
        let next = Position { page: 1, ..position };
        listings.begin(&next);
        assert!(!listings.note(&next, &id(1)));
        listings.begin(&next);
        assert!(!listings.note(&next, &id(1)), "it belongs to the first page");
    }

    #[test]
    fn a_read_of_another_process_proves_nothing() {
        let position = Position { page: 3, total: Some(0), ..Position::start(9) };
        assert!(!Listings::default().end(&Position::parse(&position.to_text()).unwrap()));
    }

    #[test]
    fn the_next_page_begins_behind_what_was_received() {
        let mut position = Position::start(1);
        assert_eq!(position.query(50, false), [("count", "50".to_owned())]);
        position.passed(Shown { start_index: Some(1), ..shown(&[1, 2, 3], Some(90)) }, 50, false);
        assert_eq!(position.query(50, false)[0], ("startIndex", "4".to_owned()));
        let mut position = Position::start(1);
        assert_eq!(position.query(50, true)[0], ("cursor", String::new()));
        let page = || Shown { next_cursor: Some("abc".into()), ..shown(&[1, 2, 3], None) };
        assert_eq!(position.passed(page(), 50, true), After::More);
        assert_eq!(position.query(50, true)[0], ("cursor", "abc".to_owned()));
        // A server that gives a cursor pages by cursor, whether it said so before or not.
        let mut position = Position::start(1);
        assert_eq!(position.passed(page(), 50, false), After::More);
        assert_eq!(position.query(50, false)[0], ("cursor", "abc".to_owned()));
        assert_eq!(position.passed(shown(&[4], None), 50, false), After::End);
    }

    /// B25: from which number a server counts shows without a question of its own.
    #[test]
    fn a_list_is_walked_from_0_or_from_1() {
        for (first, says) in [(0, true), (0, false), (1, true), (1, false)] {
            for page_size in 1..=7 {
                let roster: Vec<usize> = (1..=6).collect();
                let (mut position, mut seen) = (Position::start(1), Vec::<usize>::new());
                for asked in 0.. {
                    assert!(asked < 10, "{first} {says} {page_size}");
                    let query = position.query(page_size, false);
                    let start = query.iter().find(|(name, _)| *name == "startIndex");
                    let start: usize = start.map_or(first, |(_, number)| number.parse().unwrap());
                    let ids: Vec<usize> = roster.iter().skip(start - first).take(page_size).copied().collect();
                    seen.extend(&ids);
                    let start_index = says.then_some(start as u64);
                    if position.passed(Shown { start_index, ..shown(&ids, Some(6)) }, page_size, false) == After::End {
                        break;
                    }
                }
                seen.dedup();
                assert_eq!(seen, roster, "{first} {says} {page_size}");
                assert!(position.steady && !position.fell_short(), "{first} {says} {page_size}");
            }
        }
    }
}

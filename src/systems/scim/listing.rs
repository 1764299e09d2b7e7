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
        Self { read, page: 0, cursor: None, received: 0, total: None, steady: true, head: None }
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
    pub fn query(&self, count: usize, by_cursor: bool) -> Vec<(&'static str, String)> {
        let count = ("count", count.to_string());
        if by_cursor || self.cursor.is_some() {
            return vec![("cursor", self.cursor.clone().unwrap_or_default()), count];
        }
        vec![("startIndex", (self.received + 1).to_string()), count]
    }

    /// Whether fewer came than the server said there are.
    pub fn fell_short(&self) -> bool {
        self.total.is_some_and(|total| self.received < total)
    }

    /// Notes a page of `received` resources when `asked` were asked for.
    pub fn passed(
        &mut self,
        received: usize,
        asked: usize,
        head: Option<AccountId>,
        total: Option<u64>,
        next_cursor: Option<String>,
        by_cursor: bool,
    ) -> After {
        let first = self.is_start();
        if first {
            self.total = total;
        }
        self.steady &= total.is_some() && total == self.total;
        let repeated = !first && head.is_some() && head == self.head;
        self.page += 1;
        self.received += received as u64;
        self.head = head;
        self.cursor = next_cursor.filter(|_| by_cursor);
        if self.total.is_some_and(|total| self.received > total) {
            self.steady = false;
        }
        if received == 0 && !by_cursor {
            return After::End;
        }
        if repeated {
            self.steady = false;
            return After::End;
        }
        if by_cursor {
            return if self.cursor.is_some() { After::More } else { After::End };
        }
        // Some servers give the number of this page as the total: one that just equals a full page is not believed.
        let doubtful = first && received >= asked && total == Some(received as u64);
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

    /// Reads pages of (total, ids) until the end. Whether it ended with a proof.
    fn walk(pages: &[(Option<u64>, &[usize])], asked: usize) -> (usize, bool) {
        let mut listings = Listings::default();
        let mut position = Position::start(7);
        for (number, (total, ids)) in pages.iter().enumerate() {
            listings.begin(&position);
            for number in *ids {
                listings.note(&position, &id(*number));
            }
            let head = ids.first().map(|number| id(*number));
            if position.passed(ids.len(), asked, head, *total, None, false) == After::End {
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
        assert_eq!(position.query(50, false), [("startIndex", "1".to_owned()), ("count", "50".to_owned())]);
        position.passed(30, 50, Some(id(1)), Some(90), None, false);
        assert_eq!(position.query(50, false)[0].1, "31");
        let mut position = Position::start(1);
        assert_eq!(position.query(50, true)[0], ("cursor", String::new()));
        assert_eq!(position.passed(30, 50, Some(id(1)), None, Some("abc".into()), true), After::More);
        assert_eq!(position.query(50, true)[0], ("cursor", "abc".to_owned()));
    }
}

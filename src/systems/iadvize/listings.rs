//! Where a read of all operators stands, and whether it showed every one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::transport::{Listed, Mark};
use crate::domain::{AccountId, Code, Failure, FailureClass};

/// Reads under way of which the ids are kept. An older one loses its proof, and nothing else.
const MAX_READS: usize = 4;

/// One read between two of its pages. Its JSON is the text of [`ReadFrom::Position`](crate::systems::ReadFrom).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Tells this read from others of this process.
    read: u64,
    /// Pages read.
    page: u32,
    /// The next page; none at the beginning.
    pub mark: Option<Mark>,
    /// What the first page said there are.
    count: Option<u64>,
    /// Whether every page said so.
    steady: bool,
}

impl Position {
    /// Before the first page. `read` is a random number.
    pub fn start(read: u64) -> Self {
        Self { read, page: 0, mark: None, count: None, steady: true }
    }

    /// A read that goes on.
    ///
    /// # Errors
    /// The text is none of ours.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        serde_json::from_str(text).map_err(|_| {
            let code = Code::known("invalid_position");
            Failure::new(FailureClass::Permanent, code, "the saved place in the list is not one of an iAdvize read")
        })
    }

    /// The text of it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    /// Notes a page.
    pub fn passed(&mut self, listed: &Listed) {
        if self.page == 0 {
            self.count = listed.count;
        }
        self.steady &= listed.count.is_some() && listed.count == self.count;
        self.page += 1;
        self.mark.clone_from(&listed.next);
    }
}

/// The operators that were seen in reads under way, with the page where each was first seen. Kept in memory only: a read
/// that goes on in another process ends without a proof.
#[derive(Debug, Default)]
pub struct Listings {
    reads: Vec<(u64, HashMap<AccountId, u32>)>,
}

impl Listings {
    /// Begins the page that `position` stands before. A page that is read again replaces what it showed before.
    pub fn begin(&mut self, position: &Position) {
        if position.page == 0 {
            self.reads.retain(|(read, _)| *read != position.read);
            if self.reads.len() >= MAX_READS {
                self.reads.remove(0);
            }
            self.reads.push((position.read, HashMap::new()));
        } else if let Some(seen) = self.seen(position) {
            seen.retain(|_, page| *page < position.page);
        }
    }

    /// Notes an operator of the page that `position` stands before. Whether it is new to this read.
    pub fn note(&mut self, position: &Position, account: &AccountId) -> bool {
        let Some(seen) = self.seen(position) else { return true };
        let is_new = !seen.contains_key(account);
        seen.entry(account.clone()).or_insert(position.page);
        is_new
    }

    /// Ends a read. Whether it showed every operator: the count was the same on every page, and as many were seen (B12).
    pub fn end(&mut self, position: &Position) -> bool {
        let place = self.reads.iter().position(|(read, _)| *read == position.read);
        let seen = place.map(|place| self.reads.remove(place).1.len() as u64);
        position.steady && position.count.is_some() && seen == position.count
    }

    fn seen(&mut self, position: &Position) -> Option<&mut HashMap<AccountId, u32>> {
        self.reads.iter_mut().find(|(read, _)| *read == position.read).map(|(_, seen)| seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn listed(count: Option<u64>, next: Option<u64>) -> Listed {
        Listed { users: Vec::new(), at: Timestamp(0), lossy: false, count, next: next.map(Mark::Page) }
    }

    /// B12: only a read that reached a count which never changed shows that somebody is gone.
    #[test]
    fn a_read_is_proven_by_its_count() {
        for (counts, ids, proven) in [
            ([Some(3), Some(3)], [1, 2, 3], true),
            ([Some(3), Some(4)], [1, 2, 3], false),
            // One came twice while another slid away.
            ([Some(3), Some(3)], [1, 2, 2], false),
            ([None, None], [1, 2, 3], false),
        ] {
            let (mut listings, mut position) = (Listings::default(), Position::start(7));
            let ids: Vec<AccountId> = ids.iter().map(|id: &i32| id.to_string().parse().unwrap()).collect();
            for (page, (ids, count)) in [(&ids[..2], counts[0]), (&ids[2..], counts[1])].into_iter().enumerate() {
                position = Position::parse(&position.to_text()).unwrap();
                listings.begin(&position);
                for id in ids {
                    listings.note(&position, id);
                }
                position.passed(&listed(count, (page == 0).then_some(2)));
            }
            assert_eq!(listings.end(&position), proven, "{counts:?} {ids:?}");
        }
    }
}

//! Walking through a list that is a bare array, page by page, and what such a walk proves.
//!
//! Pages are asked for by `skip` and `take`, and each begins with the last user of the page before: if that user is there
//! again, nobody slipped between the pages, since whoever is removed before them moves everybody after forward. The walk
//! ends when a page has nothing but that user. A walk whose pages all joined has shown everyone that the service lists
//! (B12). What it cannot show is that the service lists everyone: there is no count. So nobody is gone by a walk alone: the
//! probe by id has to agree, and a list that is empty is no proof at all, for it looks the same without permission.
//!
//! A service that ignores both answers with everybody at once, which is a whole list as well. It is told by that it gives
//! more users than were asked for, so after a page that came short, only one more user is asked for.

use serde::{Deserialize, Serialize};

use crate::domain::{AccountId, Code, Failure, FailureClass};

/// One walk between two of its pages. Its JSON is the text of [`ReadFrom::Position`](crate::systems::ReadFrom).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Walk {
    /// Pages read.
    page: u32,
    /// Users received, each counted once.
    received: u64,
    /// The first user of the last page. A service that ignores `skip` gives it again.
    head: Option<AccountId>,
    /// The last user of the last page.
    tail: Option<AccountId>,
    /// Whether a page did not begin where the one before ended.
    torn: bool,
    /// Whether the first page had more users than were asked for.
    beyond: bool,
    /// Whether the last page had fewer new users than were asked for: most likely it was the last one.
    short: bool,
}

/// What comes after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Another page.
    More,
    /// Nothing: that was the list.
    End {
        /// Whether the pages have shown everyone that the service lists.
        whole: bool,
    },
}

impl Walk {
    /// A walk that goes on.
    ///
    /// # Errors
    /// The text is no walk's.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        serde_json::from_str(text).map_err(|_| {
            let code = Code::known("invalid_position");
            Failure::new(FailureClass::Permanent, code, "the saved place in the list is not one of an InitLive read")
        })
    }

    /// The text of it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    /// The query of the next page, where pages have `take` new users.
    pub fn query(&self, take: usize) -> [(&'static str, String); 2] {
        let overlap = usize::from(self.tail.is_some());
        let skip = self.received - overlap as u64;
        [("skip", skip.to_string()), ("take", (self.asked(take) + overlap).to_string())]
    }

    /// New users that the next page is asked for.
    fn asked(&self, take: usize) -> usize {
        if self.short { 1 } else { take }
    }

    /// Whether nobody was received so far.
    pub fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// Notes the page that [`Self::query`] asked for: the ids of its users, `None` for one that has no usable id. The second
    /// answer is whether its first user was on the page before.
    pub fn passed(&mut self, ids: &[Option<AccountId>], take: usize) -> (After, bool) {
        let (first, asked) = (ids.first().cloned().flatten(), self.asked(take));
        let joins = self.tail.is_some() && first == self.tail;
        let again = self.page > 0 && first.is_some() && first == self.head && !(joins && ids.len() == 1);
        // A user without an id cannot be told from another one.
        let nameless = ids.iter().any(Option::is_none);
        let unasked = self.beyond || ids.len() > asked + 1;
        let everybody = self.page == 1 && self.received == ids.len() as u64 && unasked;
        self.torn |= nameless || self.tail.is_some() && !joins;
        let new = ids.len() - usize::from(joins);
        let after = if again {
            // `skip` is ignored, so there is no second page.
            After::End { whole: everybody && !nameless }
        } else if new == 0 {
            After::End { whole: !self.torn && self.received > 0 }
        } else {
            After::More
        };
        self.beyond |= self.page == 0 && new > asked;
        self.page += 1;
        self.received += new as u64;
        self.head = first;
        self.tail = ids.last().cloned().flatten();
        self.short = new < asked;
        (after, joins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<Option<AccountId>> {
        numbers.iter().map(|number| Some(number.to_string().parse().unwrap())).collect()
    }

    /// Walks through what a service shows, of which `serve(page, skip, take)` is one page. Who was seen, and whether that
    /// was everyone.
    fn walk(serve: impl Fn(u32, usize, usize) -> Vec<u64>) -> (Vec<u64>, bool) {
        let (mut walk, mut seen) = (Walk::default(), Vec::new());
        for page in 0..20 {
            let [(_, skip), (_, take)] = walk.query(2);
            let shown = serve(page, skip.parse().unwrap(), take.parse().unwrap());
            walk = Walk::parse(&walk.to_text()).unwrap();
            let (after, joins) = walk.passed(&ids(&shown), 2);
            seen.extend(shown.into_iter().skip(usize::from(joins)));
            if let After::End { whole } = after {
                return (seen, whole);
            }
        }
        panic!("it never ends: {seen:?}");
    }

    /// B12: only pages that join prove that nobody slipped between them, and an empty list proves nothing.
    #[test]
    fn a_walk_proves_no_more_than_it_can() {
        let slice =
            |list: &[u64], skip: usize, take: usize| list.iter().skip(skip).take(take).copied().collect::<Vec<_>>();
        let all: Vec<u64> = (1..=5).collect();
        assert_eq!(walk(|_, skip, take| slice(&all, skip, take)), (all.clone(), true));
        assert_eq!(walk(|_, skip, take| slice(&all[..4], skip, take)), (all[..4].to_vec(), true), "whole pages");
        assert_eq!(walk(|_, skip, take| slice(&[7], skip, take)), (vec![7], true), "one user");
        assert_eq!(walk(|_, skip, take| slice(&[], skip, take)), (vec![], false), "nobody");
        assert_eq!(walk(|_, skip, _| slice(&all, skip, 2)), (all.clone(), true), "a lower limit of the service");
        // Somebody before the place leaves: the next page begins one further on.
        let without =
            |page: u32, list: &[u64]| list.iter().copied().filter(|id| page == 0 || *id != 1).collect::<Vec<_>>();
        let left = walk(|page, skip, take| slice(&without(page, &all), skip, take));
        assert!(!left.1, "{left:?}");
        // Somebody after the place leaves or comes: nobody else is missed.
        let came = walk(|page, skip, take| slice(&if page == 0 { all.clone() } else { (1..=6).collect() }, skip, take));
        assert_eq!(came, ((1..=6).collect(), true));
    }

    /// A service that ignores `take` gives one whole list; one that ignores `skip` gives its first page again.
    #[test]
    fn a_service_that_does_not_page_is_walked_to_its_end() {
        let all: Vec<u64> = (1..=5).collect();
        let everybody = walk(|_, _, _| all.clone());
        assert_eq!((&everybody.0[..5], everybody.1), (&all[..], true));
        for few in 3..=5 {
            assert!(walk(|_, _, _| (1..=few).collect()).1, "{few}, of pages of 2");
        }
        let first_page = walk(|_, _, take| all.iter().take(take).copied().collect());
        assert!(!first_page.1, "{first_page:?}");
        assert!(!walk(|_, _, _| vec![1, 2]).1, "two users, or the first two of many");
        assert_eq!(walk(|_, _, _| vec![1]), (vec![1], true));
    }
}

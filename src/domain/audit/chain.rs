//! How entries hang together.
//!
//! An entry lies everywhere (store, log of the broker, export) as one line of text:
//!
//! ```text
//! {"hash":"<64 hexadecimal digits>","entry":<the entry as JSON>}
//! ```
//!
//! The hash is SHA-256 over these bytes: the 64 lower-case digits of the hash of the entry before (64 zeros before the
//! first), one line feed (0x0A), and the JSON of the entry exactly as it stands in the line. So a line is checked on its
//! text, whatever program reads it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Entry;

/// Names a chain: 16 hexadecimal digits, by chance. A store that lost its memory begins another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<ChainId> for String {
    fn from(chain: ChainId) -> Self {
        chain.to_string()
    }
}

impl FromStr for ChainId {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        let digits = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        digits.map(Self).filter(|chain| chain.to_string() == text).ok_or(NotHex)
    }
}

impl TryFrom<String> for ChainId {
    type Error = NotHex;
    fn try_from(text: String) -> Result<Self, NotHex> {
        text.parse()
    }
}

/// A text that should be lower-case hexadecimal digits, and of a certain length, is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected lower-case hexadecimal digits, 64 of a hash and 16 of a chain")]
pub struct NotHex;

/// A SHA-256 hash, written as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash(String);

impl Hash {
    /// What stands before the first entry: 64 zeros.
    pub fn of_nothing() -> Self {
        Self("0".repeat(64))
    }

    /// The hash of an entry that follows this one.
    fn followed_by(&self, entry: &str) -> Self {
        let hash = Sha256::new().chain_update(&self.0).chain_update(b"\n").chain_update(entry).finalize();
        Self(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

impl FromStr for Hash {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        let is_hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex { Ok(Self(text.to_owned())) } else { Err(NotHex) }
    }
}

impl TryFrom<String> for Hash {
    type Error = NotHex;
    fn try_from(text: String) -> Result<Self, NotHex> {
        text.parse()
    }
}

/// A place in a chain: the entry that was noted last, or the last one of those that are not kept any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The chain.
    pub chain: ChainId,
    /// Number of the entry.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

impl End {
    /// Before the first entry of a chain.
    pub fn before_all(chain: ChainId) -> Self {
        Self { chain, number: 0, hash: Hash::of_nothing() }
    }
}

impl fmt::Display for End {
    /// `<chain>:<number>:<hash>`, which [`End::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.chain, self.number, self.hash)
    }
}

impl FromStr for End {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or(NotHex);
        let (chain, number, hash) = (part()?, part()?, part()?);
        Ok(Self { chain: chain.parse()?, number: number.parse().map_err(|_| NotHex)?, hash: hash.parse()? })
    }
}

/// An entry as it lies in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Line(String);

/// What of an entry places it in its chain: all that is needed to follow it, whatever else a later version writes there.
#[derive(Deserialize)]
struct Placed {
    chain: ChainId,
    number: u64,
}

const HEAD: &str = "{\"hash\":\"";
const NECK: &str = "\",\"entry\":";

impl Line {
    /// The line of an entry that follows `before`.
    pub fn seal(entry: &Entry, before: &Hash) -> (Self, Hash) {
        let entry = serde_json::to_string(entry).expect("an entry has string keys, so it is JSON");
        let hash = before.followed_by(&entry);
        (Self(format!("{HEAD}{hash}{NECK}{entry}}}")), hash)
    }

    /// A line as it was found. Whether it is one, [`Follower::follow`] tells.
    pub fn found(text: String) -> Self {
        Self(text)
    }

    /// Its text, without a line feed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its hash, and the text of its entry.
    fn parts(&self) -> Option<(Hash, &str)> {
        let (hash, entry) = self.0.strip_prefix(HEAD)?.split_at_checked(64)?;
        Some((hash.parse().ok()?, entry.strip_prefix(NECK)?.strip_suffix('}')?))
    }

    /// Its place, if it is readable; whether its hash is right is another question.
    pub fn place(&self) -> Option<End> {
        let (hash, entry) = self.parts()?;
        let Placed { chain, number } = serde_json::from_str(entry).ok()?;
        Some(End { chain, number, hash })
    }

    /// Its entry; `None` if it is none, or one of a later version that this one does not understand.
    pub fn entry(&self) -> Option<Entry> {
        serde_json::from_str(self.parts()?.1).ok()
    }
}

/// What is wrong with a chain, at the first place where something is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A line is none.
    #[error("what stands after entry {after} is no entry")]
    Unreadable {
        /// Number of the last one that was right.
        after: u64,
    },
    /// Entries are missing, doubled or in another order.
    #[error("entry {expected} is missing: entry {found} stands in its place")]
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// It belongs to another chain.
    #[error("entry {number} belongs to another chain, {chain}")]
    OtherChain {
        /// Its number.
        number: u64,
        /// Its chain.
        chain: ChainId,
    },
    /// Its text, or that of one before it, is not the one that was written.
    #[error("entry {number} does not follow from the one before: one of the two was changed")]
    Changed {
        /// Its number.
        number: u64,
    },
    /// The chain does not end where the store, or a copy in the log of dead letters, says that it ends.
    #[error("the chain ends with entry {found}, and entry {noted} is known: its end was changed")]
    OtherEnd {
        /// The last entry that is there.
        found: u64,
        /// The last one that the store, or the log of dead letters, knows of; 0: the store knows of none.
        noted: u64,
    },
    /// A line is not the one that was copied elsewhere when it was written.
    #[error("entry {number} is not the one whose copy is in the log of dead letters")]
    OtherCopy {
        /// Its number.
        number: u64,
    },
    /// Entries are said to be kept no more although they are too young for that.
    #[error(
        "entry {number} is not kept any more, and its copy says that it is younger than `retention.audit`: the beginning was \
         cut off, unless that time was made longer since"
    )]
    CutTooEarly {
        /// The first of them.
        number: u64,
    },
    /// An end that somebody kept is not part of the chain.
    #[error("entry {number} of chain {chain} with the hash that was given is not here")]
    NotHere {
        /// Its number.
        number: u64,
        /// Its chain.
        chain: ChainId,
    },
}

/// Follows a chain, line by line.
#[derive(Debug, Clone, Default)]
pub struct Follower {
    last: Option<End>,
}

impl Follower {
    /// From what is said to stand before the first line; `None`: the first line begins its chain.
    pub fn new(anchor: Option<End>) -> Self {
        Self { last: anchor }
    }

    /// The last place that was right.
    pub fn last(&self) -> Option<&End> {
        self.last.as_ref()
    }

    /// Looks whether the line is the one that follows.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Nothing can be said of what comes after it.
    pub fn follow(&mut self, line: &Line) -> Result<&End, Flaw> {
        let after = self.last.as_ref().map_or(0, |last| last.number);
        let (Some((hash, entry)), Some(place)) = (line.parts(), line.place()) else {
            return Err(Flaw::Unreadable { after });
        };
        let before = self.last.clone().unwrap_or_else(|| End::before_all(place.chain));
        if place.number != before.number + 1 {
            return Err(Flaw::Gap { expected: before.number + 1, found: place.number });
        }
        if place.chain != before.chain {
            return Err(Flaw::OtherChain { number: place.number, chain: place.chain });
        }
        if before.hash.followed_by(entry) != hash {
            return Err(Flaw::Changed { number: place.number });
        }
        Ok(self.last.insert(place))
    }
}

#[cfg(test)]
mod tests;

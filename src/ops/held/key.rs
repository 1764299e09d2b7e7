//! Which held write is meant: one that a person saw, and none that took its place.

use std::fmt;
use std::str::FromStr;

use super::Item;
use crate::domain::{AttributePath, ConnectionName, LinkId, Side};

/// A held write as it was shown: `<connection>/<side>/<link>/<generation>`, then `/<attribute>` where not the account as a
/// whole is meant. A value that was changed since has another generation, and so another key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) connection: ConnectionName,
    pub(crate) side: Side,
    pub(crate) link: LinkId,
    pub(crate) generation: u32,
    pub(crate) path: Option<AttributePath>,
}

/// A text that is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no id of a held write; the list of held writes has them")]
pub(crate) struct NoKey;

impl Item {
    /// What means this write and no other.
    pub(crate) fn key(&self) -> Key {
        let Self { connection, side, link, generation, path, .. } = self;
        let (connection, path) = (connection.clone(), path.clone());
        Key { connection, side: *side, link: *link, generation: *generation, path }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.connection, self.side, self.link, self.generation)?;
        self.path.as_ref().map_or(Ok(()), |path| write!(f, "/{path}"))
    }
}

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let mut parts = text.splitn(5, '/');
        let mut next = || parts.next().ok_or(NoKey);
        let (connection, side, link, generation) = (next()?, next()?, next()?, next()?);
        Ok(Self {
            connection: connection.parse().map_err(|_| NoKey)?,
            side: Side::BOTH.into_iter().find(|known| known.as_str() == side).ok_or(NoKey)?,
            link: link.parse().map_err(|_| NoKey)?,
            generation: generation.parse().map_err(|_| NoKey)?,
            path: parts.next().map(str::parse).transpose().map_err(|_| NoKey)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R78: what a page shows and what its form names are the same write.
    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = |path: Option<&str>, generation| Key {
            connection: "crm-chat".parse().unwrap(),
            side: Side::B,
            link: "00000000000000ab".parse().unwrap(),
            generation,
            path: path.map(|path| path.parse().unwrap()),
        };
        let keys = [key(None, 0), key(Some("emails"), 7), key(Some("emails"), 8), key(Some("name.givenName"), 7)];
        for known in &keys {
            assert_eq!(known.to_string().parse(), Ok(known.clone()));
            assert_eq!(keys.iter().filter(|other| other.to_string() == known.to_string()).count(), 1);
        }
        for wrong in ["", "crm-chat/b/00000000000000ab", "crm-chat/c/00000000000000ab/0", "crm-chat/b/x/0", "a/b/c/d/e"]
        {
            assert_eq!(wrong.parse::<Key>(), Err(NoKey), "{wrong}");
        }
    }
}

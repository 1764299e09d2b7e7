//! Names and ids. Each is parsed once and trusted from there on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text;

/// Why a name or an id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A name has 1 to 64 of `a-z`, `0-9` and `-`, and begins with a letter.
    #[error("a name has 1 to 64 characters of a-z, 0-9 and -, and begins with a letter")]
    Name,
    /// An account id has 1 to 255 bytes and no control character.
    #[error("an account id has 1 to 255 bytes and no control character")]
    Account,
    /// A number in hexadecimal of fixed length was expected.
    #[error("expected 16 hexadecimal digits")]
    Hex,
    /// A run id has 1 to 64 of `a-z`, `0-9` and `-`.
    #[error("a run id has 1 to 64 characters of a-z, 0-9 and -")]
    Run,
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Text that was checked on its way in: `FromStr` is the only constructor.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $error:expr, $valid:expr) => {
        $(#[$doc])*
        // Shared: each is copied many times on its way through.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if $valid(text) { Ok(Self(text.into())) } else { Err($error) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::deserialize(deserializer)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id!(
    /// Name of a configured system, as in `[systems.crm]`. Part of queue names and Redis keys.
    SystemName,
    IdError::Name,
    is_name
);

text_id!(
    /// Name of a configured connection, as in `[connections.crm-chat]`. Part of queue names and Redis keys.
    ConnectionName,
    IdError::Name,
    is_name
);

text_id!(
    /// Id that a system gave to an account. Opaque here: only the system's own connector knows its forms,
    /// and brings them to one (Salesforce's 15 characters become 18) before an `AccountId` is made.
    AccountId,
    IdError::Account,
    |text: &str| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
);

text_id!(
    /// Id of a run. Runs that somebody or a schedule began have a UUID; live changes are counted in one run
    /// an hour, named `live-` and the hour.
    RunId,
    IdError::Run,
    |text: &str| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

/// A random 64-bit number, written as 16 hexadecimal digits.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() != 16 {
                    return Err(IdError::Hex);
                }
                u64::from_str_radix(text, 16).map(Self).map_err(|_| IdError::Hex)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::deserialize(deserializer)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

random_id!(
    /// Id of a link within its connection.
    LinkId
);

random_id!(
    /// The store's memory of one connection. A new one begins when that memory may have lost something.
    Epoch
);

impl Epoch {
    /// Whether what was read in `read_in` may be used in this epoch: a read from before a loss may show what a request from
    /// before it is still to change.
    pub fn accepts(self, read_in: Self) -> bool {
        self == read_in
    }
}

random_id!(
    /// Names one writer's hold of one side of one link, and the write it makes under it.
    Token
);

/// One end of a connection. The configuration names systems; only the code says `a` and `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The end that the configuration calls `a`.
    A,
    /// The end that the configuration calls `b`.
    B,
}

impl Side {
    /// Both sides, `a` first.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`: part of Redis keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of something for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Sides<T> {
    /// What side `a` has.
    pub a: T,
    /// What side `b` has.
    pub b: T,
}

impl<T> Sides<T> {
    /// The same question asked of both sides.
    pub fn from_fn(mut of: impl FnMut(Side) -> T) -> Self {
        Self { a: of(Side::A), b: of(Side::B) }
    }
}

impl<T> std::ops::Index<Side> for Sides<T> {
    type Output = T;
    fn index(&self, side: Side) -> &T {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

impl<T> std::ops::IndexMut<Side> for Sides<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_on_the_way_in() {
        for good in ["crm", "crm-chat", "a1"] {
            assert!(good.parse::<SystemName>().is_ok(), "{good}");
        }
        for bad in ["", "Crm", "1a", "a b", "a.b", "a_b", &"a".repeat(65)] {
            assert!(bad.parse::<SystemName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn account_ids_keep_their_letter_case() {
        let id: AccountId = "005RM000001iKYtYAM".parse().unwrap();
        assert_eq!(id.as_str(), "005RM000001iKYtYAM");
        assert!("a\nb".parse::<AccountId>().is_err());
    }

    #[test]
    fn random_ids_survive_their_text_form() {
        let id = LinkId(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

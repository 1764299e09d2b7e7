//! The form in which a link lies in a store: the same document, with what repeats written once.
//!
//! ```text
//! <revision>:["<epoch>","f",[{side a},{side b}],[[modified,read,"tag"],..],[[1,"<digests>",0,3,"value"],..]]
//! ```
//!
//! Versions are listed once and named by their place. An attribute has its name, what `a` and `b` were last seen to
//! hold, and its register: twice the place of its version plus one if `b` set it, generation (or generation and the two
//! applied ones, if these differ), value, hold. What few links have comes last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::domain::breaker::Turn;
use crate::domain::deferral::Deferral;
use crate::domain::hold::{Hold, Stop};
use crate::domain::link::{Absence, Burial, Intent, LastWrite, Lease, Link, Origin, Parting, Pin, Register, SideState};
use crate::domain::matching::Ambiguity;
use crate::domain::{
    AccountId, AttributePath, Attributes, Digest, Epoch, LinkId, Side, Sides, Timestamp, Value, Version,
};

mod by_look;
mod last_write;
mod overwritten;

use last_write::PackedWrite;

/// Attributes that are written as their place in this list. Only ever add at its end.
const SHORT: &[&str] = &[
    "userName",
    "emails",
    "name.givenName",
    "name.familyName",
    "name.formatted",
    "name.middleName",
    "displayName",
    "nickName",
    "title",
    "active",
    "externalId",
    "phoneNumbers",
    "preferredLanguage",
    "locale",
    "timezone",
    "userType",
    "profileUrl",
    "name.honorificPrefix",
    "name.honorificSuffix",
    "addresses",
    "roles",
    "groups",
    "entitlements",
    "photos",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:organization",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
];

/// The same, as links hold them.
static NAMES: LazyLock<Vec<AttributePath>> =
    LazyLock::new(|| SHORT.iter().map(|name| name.parse().expect("the list has only names")).collect());

#[derive(Serialize, Deserialize)]
struct Packed(
    Epoch,
    Origin,
    (PackedSide, PackedSide),
    Vec<PackedVersion>,
    Vec<PackedAttribute>,
    #[serde(default, skip_serializing_if = "PackedRest::is_empty")] PackedRest,
);

/// What few links have.
#[derive(Default, Serialize, Deserialize)]
struct PackedRest {
    #[serde(rename = "p", default, skip_serializing_if = "BTreeMap::is_empty")]
    pins: BTreeMap<AttributePath, Pin>,
    #[serde(rename = "l", default, skip_serializing_if = "BTreeMap::is_empty")]
    turns: BTreeMap<AttributePath, Vec<Turn>>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    ambiguity: Option<Box<Ambiguity>>,
}

impl PackedRest {
    fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.turns.is_empty() && self.ambiguity.is_none()
    }
}

#[derive(Serialize, Deserialize)]
struct PackedVersion(
    Option<Timestamp>,
    Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<Box<str>>,
);

#[derive(Serialize, Deserialize)]
struct PackedSide {
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    seen_at: Option<usize>,
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    intents: Vec<Intent>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    lease: Option<Lease>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    dead: Option<Burial>,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    out_of_scope: bool,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    absence: Option<Absence>,
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    last_write: Option<PackedWrite>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    stop: Option<Stop>,
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    protected: bool,
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    parting: Option<Box<Parting>>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    deferral: Option<Deferral>,
    #[serde(rename = "o", default, skip_serializing_if = "BTreeMap::is_empty")]
    before: Attributes,
}

#[derive(Serialize, Deserialize)]
struct PackedAttribute(
    Name,
    Digests,
    /// Absent where there is no register, and then so is what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<Generations>,
    /// A cleared register has `null` here, so that the hold keeps its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    Option<Option<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<Hold>,
);

#[derive(Serialize)]
#[serde(untagged)]
enum Name {
    /// Place in [`SHORT`].
    Short(usize),
    Full(AttributePath),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Generations {
    InStep(u32),
    Apart(u32, u32, u32),
}

/// What the two sides were last seen to hold, one after the other: `.` for nothing, `=` for the same as `a`, else the
/// digest in [`DIGITS`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Digests(Sides<Option<Digest>>);

/// Why a stored link cannot be read. Names places, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnpackError {
    #[error("it has no revision")]
    Revision,
    #[error("its document is not of the known form (column {column})")]
    Form { column: usize },
    #[error("it names a version that it does not list")]
    Version,
    #[error("it has an attribute that this version does not know")]
    Attribute,
    #[error("it has a digest that is none")]
    Digest,
}

/// The link as it is stored under this revision.
pub(super) fn pack(link: &Link, revision: u64) -> String {
    // Taken apart whole, so that a new field cannot be forgotten here.
    let Link { id: _, revision: _, epoch, origin, sides, registers, pins, turns, ambiguity } = link;
    let mut versions = Vec::new();
    let mut place = |version: &Version| {
        versions.iter().position(|known| *known == version.clone()).unwrap_or_else(|| {
            versions.push(version.clone());
            versions.len() - 1
        })
    };
    let mut side = |state: &SideState| {
        let SideState {
            account,
            seen: _,
            seen_at,
            intents,
            lease,
            dead,
            out_of_scope,
            absence,
            partial,
            last_write,
            stop,
            protected,
            parting,
            deferral,
            before,
        } = state;
        PackedSide {
            account: account.clone(),
            seen_at: seen_at.as_ref().map(&mut place),
            intents: intents.clone(),
            lease: *lease,
            dead: dead.clone(),
            out_of_scope: *out_of_scope,
            absence: *absence,
            partial: *partial,
            last_write: last_write.clone().map(PackedWrite::from),
            stop: stop.clone(),
            protected: *protected,
            parting: parting.clone(),
            deferral: deferral.clone(),
            before: before.clone(),
        }
    };
    let packed_sides = (side(&sides.a), side(&sides.b));

    let paths: BTreeSet<_> = sides.a.seen.keys().chain(sides.b.seen.keys()).chain(registers.keys()).collect();
    let attributes = paths
        .into_iter()
        .map(|path| {
            let digests = Digests(Sides::from_fn(|side| sides[side].seen.get(path).copied()));
            let Some(Register { value, at, by, generation, applied, hold }) = registers.get(path) else {
                return PackedAttribute(Name::of(path), digests, None, None, None, None);
            };
            let generations = if applied.a == *generation && applied.b == *generation {
                Generations::InStep(*generation)
            } else {
                Generations::Apart(*generation, applied.a, applied.b)
            };
            let at_by = 2 * place(at) + usize::from(*by == Side::B);
            let value = Some(value.clone());
            PackedAttribute(Name::of(path), digests, Some(at_by), Some(generations), value, hold.clone())
        })
        .collect();
    let versions =
        versions.into_iter().map(|version| PackedVersion(version.modified_at, version.read_at, version.tag)).collect();
    let rest = PackedRest { pins: pins.clone(), turns: turns.clone(), ambiguity: ambiguity.clone() };
    let document = serde_json::to_string(&Packed(*epoch, *origin, packed_sides, versions, attributes, rest))
        .expect("domain types have string keys, so they are JSON");
    format!("{revision}:{document}")
}

/// The link that lies in the store under this id.
pub(super) fn unpack(id: LinkId, stored: &[u8]) -> Result<Link, UnpackError> {
    let text = std::str::from_utf8(stored).map_err(|error| UnpackError::Form { column: error.valid_up_to() })?;
    let (revision, document) = text.split_once(':').ok_or(UnpackError::Revision)?;
    let revision = revision.parse().map_err(|_| UnpackError::Revision)?;
    let Packed(epoch, origin, (a, b), versions, attributes, PackedRest { pins, turns, ambiguity }) =
        serde_json::from_str(document).map_err(|error| UnpackError::Form { column: error.column() })?;

    let versions: Vec<Version> = versions
        .into_iter()
        .map(|PackedVersion(modified_at, read_at, tag)| Version { modified_at, read_at, tag })
        .collect();
    let version = |place: usize| versions.get(place).cloned().ok_or(UnpackError::Version);
    let side = |side: PackedSide| -> Result<SideState, UnpackError> {
        let PackedSide {
            account,
            seen_at,
            intents,
            lease,
            dead,
            out_of_scope,
            absence,
            partial,
            last_write,
            stop,
            protected,
            parting,
            deferral,
            before,
        } = side;
        let seen_at = seen_at.map(version).transpose()?;
        let last_write = last_write.map(LastWrite::from);
        Ok(SideState {
            account,
            seen: BTreeMap::new(),
            seen_at,
            intents,
            lease,
            dead,
            out_of_scope,
            absence,
            partial,
            last_write,
            stop,
            protected,
            parting,
            deferral,
            before,
        })
    };
    let sides = Sides { a: side(a)?, b: side(b)? };
    let mut link = Link { id, revision, epoch, origin, sides, registers: BTreeMap::new(), pins, turns, ambiguity };

    for PackedAttribute(name, Digests(seen), at_by, generations, value, hold) in attributes {
        let path = name.path()?;
        for side in Side::BOTH {
            if let Some(digest) = seen[side] {
                link.sides[side].seen.insert(path.clone(), digest);
            }
        }
        if let (Some(at_by), Some(generations)) = (at_by, generations) {
            let by = if at_by % 2 == 1 { Side::B } else { Side::A };
            let (generation, applied) = match generations {
                Generations::InStep(all) => (all, Sides { a: all, b: all }),
                Generations::Apart(generation, a, b) => (generation, Sides { a, b }),
            };
            let (value, at) = (value.flatten(), version(at_by / 2)?);
            link.registers.insert(path, Register { value, at, by, generation, applied, hold });
        }
    }
    Ok(link)
}

impl Name {
    fn of(path: &AttributePath) -> Self {
        let place = SHORT.iter().position(|known| *known == path.as_str());
        place.map_or_else(|| Self::Full(path.clone()), Self::Short)
    }

    fn path(self) -> Result<AttributePath, UnpackError> {
        match self {
            Self::Full(path) => Ok(path),
            Self::Short(place) => NAMES.get(place).cloned().ok_or(UnpackError::Attribute),
        }
    }
}

/// The digits of a digest: [`DIGEST_LENGTH`] of them, six bits each, the lowest first.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DIGEST_LENGTH: usize = 11;

impl From<Digests> for String {
    fn from(Digests(seen): Digests) -> Self {
        let mut text = Self::with_capacity(2 * DIGEST_LENGTH);
        for side in Side::BOTH {
            match seen[side] {
                None => text.push('.'),
                same if side == Side::B && same == seen.a => text.push('='),
                Some(Digest(bits)) => {
                    text.extend((0..DIGEST_LENGTH).map(|place| char::from(DIGITS[(bits >> (6 * place)) as usize & 63])))
                }
            }
        }
        text
    }
}

impl TryFrom<String> for Digests {
    type Error = UnpackError;
    fn try_from(text: String) -> Result<Self, UnpackError> {
        let mut seen = Sides::<Option<Digest>>::default();
        let mut rest = text.as_bytes();
        for side in Side::BOTH {
            (seen[side], rest) = match rest {
                [b'.', rest @ ..] => (None, rest),
                [b'=', rest @ ..] => (seen.a, rest),
                _ => {
                    let (digits, rest) = rest.split_at_checked(DIGEST_LENGTH).ok_or(UnpackError::Digest)?;
                    (Some(digest(digits).ok_or(UnpackError::Digest)?), rest)
                }
            };
        }
        if rest.is_empty() { Ok(Self(seen)) } else { Err(UnpackError::Digest) }
    }
}

fn digest(digits: &[u8]) -> Option<Digest> {
    let bits = digits.iter().rev().try_fold(0_u64, |bits, byte| {
        let digit = DIGITS.iter().position(|digit| digit == byte)?;
        // The last digit has four bits of the 64.
        Some(bits << 6 | digit as u64)
    });
    bits.map(Digest)
}

#[cfg(test)]
mod tests;

//! Attributes of an account: canonical names, values, and the digests by which values are compared.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip::SipHasher24;

use super::id::{ConnectionName, Epoch};
use super::text;

pub use value::Value;

mod value;

/// The largest value of one attribute, in bytes. A larger one is refused where it is read.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Canonical name of an attribute: the SCIM 2.0 core and enterprise User names, flat (`name.givenName`, `emails` for
/// the work e-mail), `urn:` extensions for what SCIM lacks, and `native.<field>` for a system's own fields.
// Shared: links and snapshots are copied, and most of what they consist of are names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributePath(Arc<str>);

/// An attribute path has 1 to 200 letters, digits and `._:$-`, and begins with a letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an attribute has 1 to 200 letters, digits and . _ : $ -, and begins with a letter")]
pub struct PathError;

impl AttributePath {
    /// `active`: whether the account may be used. It is carried by the leaver policy of the connection.
    pub fn active() -> Self {
        Self("active".into())
    }

    /// `id`: the account's own id in its system. Every account has it and nobody can write it; connectors need not list
    /// it, see [`Rules::inbound`](super::Rules::inbound).
    pub fn id() -> Self {
        Self("id".into())
    }

    /// `native.<field>`: a field of one system that has no canonical name.
    ///
    /// # Errors
    /// If the name cannot be part of a path.
    pub fn native(field: &str) -> Result<Self, PathError> {
        format!("native.{field}").parse()
    }

    /// Whether this is `id`.
    pub fn is_id(&self) -> bool {
        &*self.0 == "id"
    }

    /// Whether this is `active`.
    pub fn is_active(&self) -> bool {
        &*self.0 == "active"
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AttributePath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let valid = (1..=200).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:$-".contains(&b));
        if valid { Ok(Self(text.into())) } else { Err(PathError) }
    }
}

impl Serialize for AttributePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AttributePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What was read of an account, or what shall be written. Three things are kept apart (B21):
/// an attribute that is absent was *not seen*, one that is `None` is *cleared*, and an empty text is a value.
pub type Attributes = BTreeMap<AttributePath, Option<Value>>;

/// How one system compares two values of an attribute: what it keeps apart, and what it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Comparison {
    /// Letter case makes no difference, as in e-mail addresses (R13) and SCIM's `userName`.
    pub fold_case: bool,
    /// White space around the text makes no difference.
    pub trim: bool,
    /// The system has no empty text: it keeps one as a clear.
    pub empty_is_clear: bool,
}

impl Comparison {
    /// Whether two values (`None`: a clear) are one to the system.
    pub fn equal(&self, left: Option<&Value>, right: Option<&Value>) -> bool {
        self.canonical(left) == self.canonical(right)
    }

    /// The value as the system may keep it: one that differs only in letter case stays as it is.
    pub fn kept(&self, value: Option<Value>) -> Option<Value> {
        let case_kept = Self { fold_case: false, ..*self };
        case_kept.canonical(value.as_ref()).map(Cow::into_owned)
    }

    /// The value as the system would keep it, so that equal forms mean equal values.
    fn canonical<'v>(&self, value: Option<&'v Value>) -> Option<Cow<'v, Value>> {
        let value = value?;
        let text = match value {
            Value::Text(text) => text,
            Value::Set(items) if items.is_empty() && self.empty_is_clear => return None,
            other => return Some(Cow::Borrowed(other)),
        };
        let trimmed = if self.trim { text.trim() } else { text };
        if trimmed.is_empty() && self.empty_is_clear {
            return None;
        }
        let lowered = self.fold_case.then(|| trimmed.to_lowercase());
        match lowered {
            Some(lowered) => Some(Cow::Owned(Value::Text(lowered))),
            None if trimmed.len() == text.len() => Some(Cow::Borrowed(value)),
            None => Some(Cow::Owned(Value::Text(trimmed.to_owned()))),
        }
    }
}

/// 64 bits that stand for a value. Equal digests of one attribute under one key mean equal values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub u64);

impl Digest {
    /// What a side holds that cannot be told in the link's form: no value has it, so whatever is told next is news.
    pub const UNTOLD: Self = Self(u64::MAX);
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The key of a connection's digests. It is drawn from the epoch, so that digests of another epoch match nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestKey(u64, u64);

impl DigestKey {
    /// The key of one connection in one epoch.
    pub fn new(connection: &ConnectionName, epoch: Epoch) -> Self {
        let mut hasher = SipHasher24::new_with_keys(epoch.0, epoch.0.rotate_left(32));
        hasher.write(connection.as_str().as_bytes());
        Self(epoch.0, hasher.finish())
    }

    /// Digest of a value (`None`: of a clear) of an attribute, as the system with this comparison sees it.
    pub fn digest(&self, path: &AttributePath, value: Option<&Value>, comparison: Comparison) -> Digest {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        let mut part = |tag: u8, bytes: &[u8]| {
            // The length before the bytes keeps ["ab"] and ["a", "b"] apart.
            hasher.write_u8(tag);
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        };
        part(0, path.as_str().as_bytes());
        match comparison.canonical(value).as_deref() {
            None => part(1, &[]),
            Some(Value::Bool(value)) => part(2, &[u8::from(*value)]),
            Some(Value::Int(value)) => part(3, &value.to_le_bytes()),
            Some(Value::Text(text)) => part(4, text.as_bytes()),
            Some(Value::Set(items)) => items.iter().for_each(|item| part(5, item.as_bytes())),
            Some(Value::Reference { account }) => part(6, account.as_str().as_bytes()),
        }
        Digest(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMAIL: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: true };

    fn digest(value: Option<Value>, comparison: Comparison) -> Digest {
        let key = DigestKey::new(&"crm-scim".parse().unwrap(), Epoch(7));
        key.digest(&"emails".parse().unwrap(), value.as_ref(), comparison)
    }

    /// R13: e-mail comparison ignores case and surrounding space.
    #[test]
    fn comparison_decides_what_is_equal() {
        let text = |text: &str| Some(Value::from(text));
        let exact = Comparison::default();
        for (left, right, comparison, equal) in [
            (text("Ada@X.example "), text("ada@x.example"), EMAIL, true),
            (text("Ada@X.example "), text("ada@x.example"), exact, false),
            (text("ÅSA@x.example"), text("åsa@x.example"), EMAIL, true),
            (text(" "), None, EMAIL, true),
            (text(""), None, exact, false),
            (Some(Value::Bool(true)), text("true"), exact, false),
            (Some(Value::Int(1)), Some(Value::Bool(true)), exact, false),
        ] {
            assert_eq!(
                digest(left.clone(), comparison) == digest(right.clone(), comparison),
                equal,
                "{left:?} {right:?} {comparison:?}"
            );
        }
    }

    #[test]
    fn sets_are_compared_item_by_item() {
        let set = |items: &[&str]| Some(Value::Set(items.iter().map(|item| (*item).to_owned()).collect()));
        let exact = Comparison::default();
        assert_ne!(digest(set(&["ab"]), exact), digest(set(&["a", "b"]), exact));
        assert_eq!(digest(set(&["b", "a"]), exact), digest(set(&["a", "b"]), exact));
    }

    /// B21: unset, empty and cleared are three different things, also in JSON.
    #[test]
    fn json_keeps_absent_null_and_empty_apart() {
        let attributes: Attributes = serde_json::from_str(r#"{"title":null,"nickName":""}"#).unwrap();
        assert_eq!(attributes.get(&"title".parse().unwrap()), Some(&None));
        assert_eq!(attributes.get(&"nickName".parse().unwrap()), Some(&Some(Value::from(""))));
        assert_eq!(attributes.get(&"displayName".parse().unwrap()), None);
        assert_eq!(serde_json::to_string(&attributes).unwrap(), r#"{"nickName":"","title":null}"#);
    }

    #[test]
    fn debug_output_never_shows_a_value() {
        assert_eq!(format!("{:?}", Value::from("secret")), "text");
    }
}

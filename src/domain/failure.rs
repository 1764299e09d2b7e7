//! Failures of calls to a system. The connector classifies each once; everything else decides by the class.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attribute::AttributePath;

/// What kind of failure a call met, and with that what becomes of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// May pass by itself: time-out, cut connection, 5xx, an unreadable answer. Retried up a ladder; costs an attempt.
    Transient,
    /// The system asked for fewer calls. All writers of the target slow down; costs no attempt.
    Throttled,
    /// The credential is not accepted, also after one refresh. The system is paused; no attempt, no letter.
    Unauthorised,
    /// The same call will always fail: a person must act. A dead letter at once.
    Permanent,
    /// The account is in use and must not be written now. Deferred; costs no attempt.
    Busy,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Transient, Self::Throttled, Self::Unauthorised, Self::Permanent, Self::Busy];

    /// The word that metrics, letters and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Unauthorised => "unauthorised",
            Self::Permanent => "permanent",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Short, stable name of what went wrong, in snake case: `email_exists`, `timeout`, `value_too_long`. It is part of a
/// letter's fingerprint and the key of its remedy. A vendor's own code is lower-cased into one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// A code that this program knows.
    pub const fn known(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// A vendor's code: lower-cased, everything but letters, digits and `_` made `_`, cut at 64 characters.
    pub fn vendor(code: &str) -> Self {
        let cleaned: String = code
            .chars()
            .take(64)
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        Self(Cow::Owned(cleaned))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it is.
    pub class: FailureClass,
    /// What went wrong, in one word.
    pub code: Code,
    /// The attribute at fault, if the system named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<AttributePath>,
    /// For a person, without secrets and without attribute values.
    pub message: Cow<'static, str>,
    /// HTTP status of the answer; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The vendor's id of the request, for their support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How long the system asked to be left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// Whether the call may have been carried out all the same (no answer, or one that says nothing about it).
    /// The intent of such a write stays on the link.
    pub in_doubt: bool,
}

impl Failure {
    /// A failure of this class and code; the rest is for the caller to add.
    pub fn new(class: FailureClass, code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            class,
            code,
            attribute: None,
            message: message.into(),
            status: None,
            request_id: None,
            retry_after: None,
            in_doubt: false,
        }
    }

    /// The same, with the call's effect unknown.
    pub fn in_doubt(mut self) -> Self {
        self.in_doubt = true;
        self
    }

    /// Whether the request may take effect even now: nobody has answered it, or only somebody on the way.
    pub fn may_still_land(&self) -> bool {
        self.in_doubt && matches!(self.status, None | Some(502 | 504))
    }

    /// The same, with the attribute at fault.
    pub fn at(mut self, attribute: AttributePath) -> Self {
        self.attribute = Some(attribute);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.message, self.code)?;
        if let Some(status) = self.status {
            write!(f, ", HTTP {status}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_codes_are_made_safe_for_names() {
        assert_eq!(Code::vendor("DUPLICATE_USERNAME").as_str(), "duplicate_username");
        assert_eq!(Code::vendor("a b\n<c>").as_str(), "a_b__c_");
    }
}

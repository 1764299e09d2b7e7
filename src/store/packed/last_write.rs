//! What a system said to the last write, in about thirty bytes: `[1763760905000,"u"]`.

use serde::{Deserialize, Serialize};

use crate::domain::link::{LastWrite, WriteAnswer};
use crate::domain::{Code, Timestamp};

/// When, what the answer was, HTTP status, request id.
#[derive(Serialize, Deserialize)]
pub(super) struct PackedWrite(
    Timestamp,
    PackedAnswer,
    /// A request without an answer has `null` here, so that its id keeps its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    Option<Option<u16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<Box<str>>,
);

/// One letter, or `!` and the code of a failure. Any other text is read as a code: a note for people must not make a
/// link unreadable.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
struct PackedAnswer(WriteAnswer);

impl From<LastWrite> for PackedWrite {
    fn from(LastWrite { at, answer, status, request_id }: LastWrite) -> Self {
        let status = (status.is_some() || request_id.is_some()).then_some(status);
        Self(at, PackedAnswer(answer), status, request_id)
    }
}

impl From<PackedWrite> for LastWrite {
    fn from(PackedWrite(at, PackedAnswer(answer), status, request_id): PackedWrite) -> Self {
        Self { at, answer, status: status.flatten(), request_id }
    }
}

impl From<PackedAnswer> for String {
    fn from(PackedAnswer(answer): PackedAnswer) -> Self {
        match answer {
            WriteAnswer::Created => "c".to_owned(),
            WriteAnswer::Updated => "u".to_owned(),
            WriteAnswer::Found => "f".to_owned(),
            WriteAnswer::Moved => "m".to_owned(),
            WriteAnswer::Failed(code) => format!("!{code}"),
        }
    }
}

impl From<String> for PackedAnswer {
    fn from(text: String) -> Self {
        Self(match text.as_str() {
            "c" => WriteAnswer::Created,
            "u" => WriteAnswer::Updated,
            "f" => WriteAnswer::Found,
            "m" => WriteAnswer::Moved,
            other => WriteAnswer::Failed(Code::vendor(other.strip_prefix('!').unwrap_or(other))),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn last_writes() -> impl Strategy<Value = LastWrite> {
        let answers = prop_oneof![
            Just(WriteAnswer::Created),
            Just(WriteAnswer::Updated),
            Just(WriteAnswer::Found),
            Just(WriteAnswer::Moved),
            "[a-z_]{0,9}".prop_map(|code| WriteAnswer::Failed(Code::vendor(&code))),
        ];
        let ids = proptest::option::of("[a-z\"-]{0,9}".prop_map(String::into_boxed_str));
        (any::<i64>(), answers, proptest::option::of(any::<u16>()), ids)
            .prop_map(|(at, answer, status, request_id)| LastWrite { at: Timestamp(at), answer, status, request_id })
    }

    /// The budget of a link leaves forty bytes a side for it.
    #[test]
    fn a_write_that_went_well_takes_little_room() {
        let at = Timestamp(1_763_760_905_000);
        let packed = PackedWrite::from(LastWrite::new(at, WriteAnswer::Updated));
        assert_eq!(serde_json::to_string(&packed).unwrap(), r#"[1763760905000,"u"]"#);
    }
}

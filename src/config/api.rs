//! `[api]`: where the HTTP API and the console are served, who may use them, and which acts need a second person.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::shape::{Entries, Lasting, List, Shape, Text, Words};
use super::table::{Found, Reader, Table};

/// The port of the console, where nothing else is said.
const PORT: u16 = 9468;

/// How the HTTP API and the console are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where. Only loopback without tokens.
    pub listen: SocketAddr,
    /// Who may use them, each token under a label of its own.
    pub tokens: BTreeMap<String, ApiToken>,
    /// Acts that wait until another person has approved them.
    pub two_person: Vec<ActKind>,
    /// How long such an act waits.
    pub approval_expires: Duration,
}

/// A token that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// The person; the same person may hold several.
    pub name: String,
    /// What the token allows.
    pub role: Role,
    /// SHA-256 of the token. The token itself is in nobody's file.
    pub digest: [u8; 32],
}

/// What a token allows; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks, and sees of values only what kind they are.
    Viewer,
    /// Sees values, and acts.
    Operator,
    /// Approves what waits for a second person.
    Approver,
    /// Reads the audit of everybody's acts.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Kinds of acts that may need a second person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActKind {
    /// Sending letters again.
    Retry,
    /// Closing letters for good.
    Discard,
    /// Letting held writes pass.
    ApproveHeld,
    /// Refusing held writes.
    RejectHeld,
    /// Giving values back that lost a conflict.
    GiveBack,
    /// Linking the pairs of a file.
    ImportLinks,
    /// Stopping writes.
    Pause,
    /// Letting writes go on.
    Resume,
    /// Asking for a run.
    Sync,
}

impl ActKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Retry,
        Self::Discard,
        Self::ApproveHeld,
        Self::RejectHeld,
        Self::GiveBack,
        Self::ImportLinks,
        Self::Pause,
        Self::Resume,
        Self::Sync,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
            Self::ApproveHeld => "approve_held",
            Self::RejectHeld => "reject_held",
            Self::GiveBack => "give_back",
            Self::ImportLinks => "import_links",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Sync => "sync",
        }
    }
}

/// The words of the roles in the file.
const ROLES: Words<Role> = Words(&[
    ("viewer", Role::Viewer),
    ("operator", Role::Operator),
    ("approver", Role::Approver),
    ("admin", Role::Admin),
]);

const ACTS: Words<ActKind> = Words(&[
    ("retry", ActKind::Retry),
    ("discard", ActKind::Discard),
    ("approve_held", ActKind::ApproveHeld),
    ("reject_held", ActKind::RejectHeld),
    ("give_back", ActKind::GiveBack),
    ("import_links", ActKind::ImportLinks),
    ("pause", ActKind::Pause),
    ("resume", ActKind::Resume),
    ("sync", ActKind::Sync),
]);

const LABEL: Text<String> = Text {
    what: "a label",
    rule: "a label has 1 to 64 letters, digits and . _ @ -",
    parse: |text| {
        let is_label =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
        is_label.then(|| text.to_owned())
    },
};

const PERSON: Text<String> = Text {
    what: "a person",
    rule: "a person is named with 1 to 100 characters",
    parse: |text| {
        let is_name = !text.trim().is_empty() && text.chars().count() <= 100 && !text.chars().any(char::is_control);
        is_name.then(|| text.trim().to_owned())
    },
};

const ADDRESS: Text<SocketAddr> = Text {
    what: "an address to listen on",
    rule: "an address is \"ip:port\", such as \"127.0.0.1:9468\" (port 0: any free one)",
    parse: |text| text.parse().ok(),
};

/// `sha256:` and 64 hexadecimal digits. A wrong one is not quoted, since somebody may have written the token there.
struct Digest;

const DIGEST_RULE: &str = "expected what `muster token new` prints: \"sha256:\" and 64 hexadecimal digits";

impl Shape for Digest {
    type Value = [u8; 32];

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<[u8; 32]> {
        let digest = digest(found.text(DIGEST_RULE, reader)?);
        match digest {
            Some(_) => reader.is_plain(&found.place),
            None => reader.mistake(&found.place, "is no digest", DIGEST_RULE),
        }
        digest
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?;
    let is_hex = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
    let mut bytes = [0; 32];
    for (at, place) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        *place = byte(at)?;
    }
    is_hex.then_some(bytes)
}

pub(super) fn api(table: &mut Table<'_, '_>) -> Option<ApiConfig> {
    let hour = Duration::from_secs(3600);
    let listen = table.default(
        "listen",
        ADDRESS,
        SocketAddr::from(([127, 0, 0, 1], PORT)),
        "Where `muster console` serves its pages and the HTTP API. Another address than loopback needs tokens.",
    );
    let tokens = table.optional(
        "tokens",
        Entries { name: LABEL, read: |table: &mut Table<'_, '_>, label: &String| token(table, label) },
        "Who may use them: a line for each token, as `muster token new` prints it.",
    );
    let two_person = table.optional(
        "two_person",
        List { of: ACTS, least: 0 },
        "Acts that wait until another person, an approver, has approved them.",
    );
    let approval_expires = table.default(
        "approval_expires",
        Lasting(hour / 60..=30 * 24 * hour),
        24 * hour,
        "How long an act waits for a second person.",
    );
    let (listen, entries) = (listen?, tokens?.unwrap_or_default());
    let mut tokens = BTreeMap::new();
    for entry in entries {
        tokens.insert(entry.name, entry.value?);
    }
    if !listen.ip().is_loopback() && tokens.is_empty() {
        let remedy = "add tokens (`muster token new` makes one), or listen on 127.0.0.1";
        table.mistake("listen", "is not loopback, and nobody has a token", remedy);
        return None;
    }
    Some(ApiConfig { listen, tokens, two_person: two_person?.unwrap_or_default(), approval_expires: approval_expires? })
}

fn token(table: &mut Table<'_, '_>, label: &str) -> Option<ApiToken> {
    let role = table.required("role", ROLES, "What the token allows: viewer, operator, approver or admin.");
    let digest = table.required("digest", Digest, "The digest that `muster token new` prints.");
    let name = table.optional("name", PERSON, "The person, where that is not the label of the token.");
    Some(ApiToken { name: name?.unwrap_or_else(|| label.to_owned()), role: role?, digest: digest? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_32_bytes_in_hexadecimal() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(digest(&text), Some([10; 32]));
        for wrong in ["", "sha256:", &text[7..], &text[..70], &format!("{text}0"), &text.replace('a', "g")] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_words_of_the_file_are_those_of_the_code() {
        assert_eq!(
            ROLES.0.iter().map(|(word, role)| (*word, *role)).collect::<Vec<_>>(),
            Role::ALL.map(|role| (role.as_str(), role))
        );
        let acts: Vec<_> = ACTS.0.iter().map(|(word, act)| (*word, *act)).collect();
        assert_eq!(acts, ActKind::ALL.map(|act| (act.as_str(), act)));
    }
}

//! What a person should do about the refusals that the stages make themselves, whatever the system.

use crate::domain::Code;

/// Code and advice, in one sentence each.
const REMEDIES: &[(&str, &str)] = &[
    (
        "email_exists",
        "Somebody has this e-mail address at the target already: link the two accounts, or change one address, then retry.",
    ),
    (
        "account_exists",
        "Another account of the target has a value that must be unique: link the two, or change one of them, then retry.",
    ),
    (
        "already_linked",
        "The account belongs to somebody else's link: see `muster explain` for both, and correct the partner's id of one.",
    ),
    ("ambiguous", "Several accounts carry the partner's id: clear it on all but one in the target, then retry."),
    ("account_gone", "The account is not there any more: restore it in the target, or discard the letter."),
    (
        "unknown_connection",
        "The message is for a connection that this configuration does not have: add it, or discard the letter.",
    ),
    ("no_answer", "Nobody knows whether the write was carried out: retry, the account is read first."),
    (
        "poison_message",
        "Work on this message ended the process again and again: report it with the letter, then discard it.",
    ),
    ("undecodable_message", "Nobody here can read this message: it is of a newer version, or of another program."),
    ("misplaced_message", "The message was in a queue that is not for its kind: retry puts it back, discard drops it."),
];

/// The advice for a code; `None` if the system knows better.
pub fn remedy(code: &Code) -> Option<&'static str> {
    REMEDIES.iter().find(|(known, _)| *known == code.as_str()).map(|(_, advice)| *advice)
}

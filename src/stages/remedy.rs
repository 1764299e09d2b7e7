//! What a person should do about the refusals that the stages make themselves, whatever the system.

use crate::domain::{Code, FailureClass};

/// Code and advice, in one sentence each.
const REMEDIES: &[(&str, &str)] = &[
    ("email_exists", "Link the two accounts, or change one of the e-mail addresses."),
    ("account_exists", "Link the two accounts, or change the value on one of them."),
    ("incomplete_link", "Fill both fields, or clear both; `muster links list --incomplete` shows all of them."),
    ("invalid_partner_id", "Put the partner's id into that field, as its system shows it, or clear it."),
    ("already_linked", "Correct the partner's id of one of the accounts; `muster explain` shows both."),
    ("ambiguous", "Clear the partner's id on all but one of the accounts."),
    (
        "account_refused",
        "Look in the system who may change this account: its owner, or an administrator's protection, keeps it from the \
         credential.",
    ),
    ("account_gone", "Restore the account in its system, or discard the letter."),
    ("unknown_connection", "Add the connection to this configuration, or discard the letter."),
    ("busy_too_long", "Retry it while nobody works with the account, or set `busy = { then = \"write\" }`."),
    ("merged_accounts", "Decide which of the two partners stays, and end the other link: `muster links remove`."),
    ("no_answer", "Retry: the account is read first, so nothing is done twice."),
    ("required_missing", "Fill the value in where it comes from, or map the attribute to one that everybody has."),
    ("wrong_kind", "Map the attribute to one of the same kind: see `muster explain` for both."),
    (
        "mapping_failed",
        "Correct what the expression reads, or the expression: `muster map test` shows what it makes; then retry.",
    ),
    ("value_not_listed", "Add the value to the attribute's `values`, or change it in its system."),
    (
        "mapping_not_reversible",
        "Change the value to one that comes back the same, or give the attribute one direction: `muster map test`.",
    ),
    ("value_too_long", "Shorten the value where it comes from."),
    ("invalid_email", "Correct the address where it comes from."),
    ("not_offered", "This kind of system cannot do that to an account: choose another `leavers` for the connection."),
    ("poison_message", "Report it with the letter, then discard it."),
    ("undecodable_message", "Look for a newer version, or another program, that publishes here."),
    ("misplaced_message", "Find out who published it there; a retry puts it back into the same queue."),
];

/// The advice for a failure of this class whose code nobody knows: one of the vendor's own.
pub fn remedy_of_class(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Transient => "It failed again and again: retry once the system is well; nothing is done twice.",
        FailureClass::Throttled => "The system asks for fewer calls: it is obeyed, and retried by itself.",
        FailureClass::Unauthorised => "The credential is not accepted: renew it; `muster check` tries it.",
        FailureClass::Permanent => {
            "The system refuses this: look up its code, correct the account or the mapping, retry."
        }
        FailureClass::Busy => "Retry it while nobody works with the account.",
    }
}

/// The advice for a code; `None` if the system knows better.
pub fn remedy(code: &Code) -> Option<&'static str> {
    REMEDIES.iter().find(|(known, _)| *known == code.as_str()).map(|(_, advice)| *advice)
}

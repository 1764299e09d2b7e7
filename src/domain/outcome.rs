//! The closed lists of outcomes. Metrics, letters, `--json` and documents use these words and no others.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum of outcomes with the one word for each.
macro_rules! outcomes {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$case_doc])* $case,)+ }

        impl $name {
            /// Every outcome, in the order in which tables show them.
            pub const ALL: &'static [Self] = &[$(Self::$case,)+];

            /// The word that metrics, letters and `--json` use.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$case => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

outcomes! {
    /// What became of a change. Every change that was read ends in exactly one (B16).
    ChangeOutcome {
        /// Every attribute held what this side was last seen to hold.
        Unchanged = "unchanged",
        /// Not usable: older than what is known, read in another epoch, or a tie that differs.
        Stale = "stale",
        /// Nobody asked for this account to be kept in step.
        OutOfScope = "out_of_scope",
        /// At least one attribute is now what this side says.
        Accepted = "accepted",
        /// It edited what the other side had edited too, and the policy let the other side win.
        ConflictLost = "conflict_lost",
        /// It may not be linked as it asks: one of the two accounts belongs to another link (R2).
        Refused = "refused",
        /// The record or the message cannot be read; there is a dead letter.
        Undecodable = "undecodable",
    }
}

outcomes! {
    /// What became of a command. Every command that was emitted ends in exactly one (B16).
    CommandOutcome {
        /// The target was written, and answered that it holds the values.
        Applied = "applied",
        /// The target was written, and its account shows nothing until it has a team (R50).
        NeedsTeam = "needs_team",
        /// The target already held the values.
        AlreadyTrue = "already_true",
        /// The target or the link moved on; a newer command or change does the work.
        Superseded = "superseded",
        /// Another command of the same link and side had done the work.
        Merged = "merged",
        /// What is left to write waits for a person's approval.
        Held = "held",
        /// It needs a person; there is a dead letter.
        Dead = "dead",
        /// A person decided that it shall not be done.
        Discarded = "discarded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json_agree() {
        for outcome in ChangeOutcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for outcome in CommandOutcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}

//! Every Redis key: its name, type, version and expiry. All keys of one connection carry the same hash tag, so that a
//! script touches one slot of a cluster.
//!
//! A key whose form changes gets a new name (`links.2`); the names below are version 1 of theirs. `P` is the configured
//! prefix, `C` a connection, `S` a system, `s` a side.
//!
//! | key | type | holds | expires |
//! |---|---|---|---|
//! | `P:{C}:epoch` | hash | `id`, `tick`, `began_at`, `run_id` of the server, `since` (the tick when that run id was taken over) | never |
//! | `P:{C}:links` | hash | link id → revision, a colon, the packed link | never |
//! | `P:{C}:accounts:s` | hash | account id → link id | never |
//! | `P:{C}:keys:s` | hash | matching key → link id | never |
//! | `P:{C}:letters.2` | hash | letter id → its place in the index, a line break, the open letter as JSON | never |
//! | `P:{C}:letters:index` | sorted set | one member a letter, all of score 0: fingerprint, time when it was opened, letter id | never |
//! | `P:{C}:letters:groups` | hash | fingerprint of open letters → time when one of it last failed | never |
//! | `P:{C}:rereads:s` | sorted set | account id by the time when it was asked for | never |
//! | `P:{C}:journal` | stream | one JSON [`JournalEntry`](crate::store::JournalEntry) an entry, field `e` | what `[retention] conflicts` says |
//! | `P:{C}:history` | stream | one recorded change an entry, JSON of `src/store/history.rs`, field `e`; the latest [`HISTORY_ENTRIES`] | what `history` of the connection says |
//! | `P:{C}:copy:T` | stream | a journal or history on its way to be replaced, see `src/store/redis/erasure.rs` | an hour after the last addition |
//! | `P:{C}:reader:s` | hash | `epoch`, `state` (JSON), `reserved` (`first count`) | never |
//! | `P:{C}:lease:reader:s`, `P:{C}:lease:runs`, `P:{C}:lease:watch` | string | token of the holder | with the lease |
//! | `P:{C}:runs` | sorted set | run ids by the time when they began, the latest [`RUNS_KEPT`] | never |
//! | `P:{C}:run:R` | hash | `about` (JSON), `read`, `emitted`, `expected`, `reading:s`, `failed`, `change:<outcome>`, `command:<outcome>`, `ttl` | what `[retention] runs` says, live runs `live_runs` |
//! | `P:{C}:run:R:bits` | string | [`BITS_PER_NUMBER`] bits a change: outcome counted; per side: command emitted, its outcome counted | with its run |
//! | `P:{C}:run:R:undo` | list | what each write of the run has overwritten, in order; form in `src/store/packed/overwritten.rs` | what `undo` of the connection says after the last |
//! | `P:{C}:requests` | sorted set | one JSON [`SyncRequest`](crate::store::SyncRequest) a member, by the time when it was asked for | [`REQUESTS_TTL`] |
//! | `P:{C}:timetable` | hash | `rule` (the schedule as text), `since`, `served` (the slot served last) | never |
//! | `P:{C}:watch` | string | one JSON [`Watch`](crate::domain::watch::Watch) | never |
//! | `P:{C}:match` | string | one JSON [`MatchNote`](crate::store::MatchNote) | never |
//! | `P:{C}:held` | sorted set | link id by the time since when something of it waits for a person | never |
//! | `P:{C}:deferred` | sorted set | link id by the time since when a write of it waits for its account to be free | never |
//! | `P:{C}:spent:s:K` | sorted set | one member a write of kind K to that side, by the time when it got its place in the budget | the window after the last |
//! | `P:{+messages}:letters.2`, `...:index`, `...:groups` | as above | letters about messages | never |
//! | `P:{+acts}:lines` | stream | one line of the log of acts an entry, id `<number>-1`, field `e`, see `src/domain/audit/chain.rs` | what `[retention] audit` says |
//! | `P:{+acts}:ends` | hash | `last` and `anchor`: `<chain>:<number>:<hash>` of the entry that was appended last, and of the last one that is not kept any more | never |
//! | `P:redrives` | hash | id → retry of many letters, JSON | of more than [`REDRIVES_KEPT`] with the one that is done, of more than [`REDRIVES_OPEN_KEPT`] with any, saved longest ago |
//! | `P:system:{S}` | hash | `not_before`, `reason`, `used`, `allowed`; `ahead_ms` of its clock before the server's, measured at `ahead_at`; `circuit` (JSON) and `circuit_revision` | never |
//! | `P:pauses` | hash | connection, `*` for all → JSON, `since` and `by` | never |
//! | `P:calls:{S}:B` | sorted set | one member a call of kind B that was taken lately, by its time | the longest window after the last |
//! | `P:suspect:M` | string | how often work began on message M, one that came back often | [`SUSPECT_TTL`] after the last time |
//! | `P:instances` | sorted set | one JSON of role, name and version a member, by the time when it was last heard of | after [`INSTANCE_TTL`] |

use crate::domain::guard::Risk;
use crate::domain::{ConnectionName, RunId, Side, SystemName, Token};
use crate::store::LeaseName;
pub(super) use crate::store::retention::{
    HISTORY_ENTRIES, INSTANCE_TTL, JOURNAL_ENTRIES, REDRIVES_KEPT, REDRIVES_OPEN_KEPT, REQUESTS_TTL, RUNS_KEPT,
    SUSPECT_TTL,
};

/// Bits of a run's bitmap for each change.
pub(super) const BITS_PER_NUMBER: u32 = 5;
/// Numbers that a run can give out: a Redis string has 2^32 bits.
pub(super) const NUMBERS_PER_RUN: u32 = u32::MAX / BITS_PER_NUMBER;

/// The keys of one connection.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// `P:{C}:`
    stem: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, connection: &ConnectionName) -> Self {
        Self { stem: format!("{prefix}:{{{connection}}}:") }
    }

    /// The keys of letters about messages.
    pub(super) fn of_messages(prefix: &str) -> Self {
        // No connection has this name.
        Self { stem: format!("{prefix}:{{+messages}}:") }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.stem)
    }

    pub(super) fn epoch(&self) -> String {
        self.key("epoch")
    }

    pub(super) fn links(&self) -> String {
        self.key("links")
    }

    pub(super) fn accounts(&self, side: Side) -> String {
        format!("{}accounts:{side}", self.stem)
    }

    pub(super) fn matching(&self, side: Side) -> String {
        format!("{}keys:{side}", self.stem)
    }

    pub(super) fn letters(&self) -> String {
        self.key("letters.2")
    }

    pub(super) fn letter_index(&self) -> String {
        self.key("letters:index")
    }

    pub(super) fn letter_groups(&self) -> String {
        self.key("letters:groups")
    }

    pub(super) fn rereads(&self, side: Side) -> String {
        format!("{}rereads:{side}", self.stem)
    }

    pub(super) fn journal(&self) -> String {
        self.key("journal")
    }

    pub(super) fn history(&self) -> String {
        self.key("history")
    }

    pub(super) fn copy(&self, of: Token) -> String {
        format!("{}copy:{of}", self.stem)
    }

    pub(super) fn reader(&self, side: Side) -> String {
        format!("{}reader:{side}", self.stem)
    }

    pub(super) fn lease(&self, name: &LeaseName) -> String {
        match name {
            LeaseName::Reader(side) => format!("{}lease:reader:{side}", self.stem),
            LeaseName::Runs => self.key("lease:runs"),
            LeaseName::Watch => self.key("lease:watch"),
        }
    }

    pub(super) fn runs(&self) -> String {
        self.key("runs")
    }

    pub(super) fn run(&self, run: &RunId) -> String {
        format!("{}run:{run}", self.stem)
    }

    pub(super) fn run_bits(&self, run: &RunId) -> String {
        format!("{}run:{run}:bits", self.stem)
    }

    pub(super) fn run_undo(&self, run: &RunId) -> String {
        format!("{}run:{run}:undo", self.stem)
    }

    /// A pattern of the keys of [`run_undo`](Self::run_undo) of all runs. Names have no characters that mean something in it.
    pub(super) fn all_run_undos(&self) -> String {
        self.key("run:*:undo")
    }

    pub(super) fn held(&self) -> String {
        self.key("held")
    }

    pub(super) fn deferred(&self) -> String {
        self.key("deferred")
    }

    pub(super) fn spent(&self, side: Side, risk: Risk) -> String {
        format!("{}spent:{side}:{risk}", self.stem)
    }

    pub(super) fn requests(&self) -> String {
        self.key("requests")
    }

    pub(super) fn timetable(&self) -> String {
        self.key("timetable")
    }

    pub(super) fn matched(&self) -> String {
        self.key("match")
    }

    pub(super) fn watch(&self) -> String {
        self.key("watch")
    }
}

/// The lines of the log of acts.
pub(super) fn act_lines(prefix: &str) -> String {
    // No connection has this name.
    format!("{prefix}:{{+acts}}:lines")
}

/// Where the log of acts begins and ends.
pub(super) fn act_ends(prefix: &str) -> String {
    format!("{prefix}:{{+acts}}:ends")
}

/// Retries of many letters.
pub(super) fn redrives(prefix: &str) -> String {
    format!("{prefix}:redrives")
}

/// What is known of a system.
pub(super) fn system(prefix: &str, system: &SystemName) -> String {
    format!("{prefix}:system:{{{system}}}")
}

/// Calls taken of a system, of one kind.
pub(super) fn calls(prefix: &str, system: &SystemName, bucket: &str) -> String {
    format!("{prefix}:calls:{{{system}}}:{bucket}")
}

/// How often work began on a message that came back often.
pub(super) fn suspect(prefix: &str, message: &str) -> String {
    format!("{prefix}:suspect:{message}")
}

/// Connections that nobody writes for.
pub(super) fn pauses(prefix: &str) -> String {
    format!("{prefix}:pauses")
}

/// The processes that work.
pub(super) fn instances(prefix: &str) -> String {
    format!("{prefix}:instances")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_connection_share_one_hash_tag() {
        let keys = Keys::new("muster", &"crm-scim".parse().unwrap());
        let run = "r1".parse().unwrap();
        for key in [
            keys.epoch(),
            keys.accounts(Side::A),
            keys.matching(Side::B),
            keys.letters(),
            keys.letter_index(),
            keys.letter_groups(),
            keys.lease(&LeaseName::Reader(Side::A)),
            keys.run(&run),
            keys.run_bits(&run),
            keys.run_undo(&run),
            keys.requests(),
            keys.timetable(),
            keys.watch(),
            keys.matched(),
            keys.history(),
        ] {
            assert!(key.starts_with("muster:{crm-scim}:"), "{key}");
        }
        assert_eq!(keys.links(), "muster:{crm-scim}:links");
        assert_eq!(system("muster", &"crm".parse().unwrap()), "muster:system:{crm}");
    }
}

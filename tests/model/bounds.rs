//! What is explored. Each configuration opens a few kinds of trouble and leaves the others closed; `docs/two-way-proof.md`
//! has the table.

use muster::domain::rules::Policy;
use muster::domain::{Side, Sides};

use super::explore::{comes_to_rest, explore, wider};
use super::setup::{Condition, Setup, Start, Trouble};

use Side::{A, B};

/// Those up to this depth, or further where wider bounds are asked for.
fn to(depth: usize) -> Option<usize> {
    wider().map(|more| depth + more)
}

fn troubled(name: &'static str, trouble: Trouble) -> Setup {
    Setup { trouble, ..Setup::plain(name) }
}

const ONE_EDIT: Trouble = Trouble {
    edits: 1,
    crashes: 0,
    expiries: 0,
    duplicates: 0,
    reads: 0,
    hasty_reads: 0,
    late_reads: 0,
    partial_reads: 0,
    losses: 0,
};

const TWO_EDITS: Trouble = Trouble { edits: 2, ..ONE_EDIT };

/// R58, R76, B1, B2: two edits on any side, two writers, nothing else. It also never goes round for ever and never gets
/// stuck.
#[test]
fn plain_2e() {
    explore(Setup::plain("plain-2e"), to(18));
    comes_to_rest(troubled("plain-2e, no hasty read, rest", TWO_EDITS));
}

/// The same where the other side wins every clash, and is conditioned on a tag.
#[test]
fn tags_2e() {
    let conditions = Sides { a: Condition::Tag, b: Condition::Tag };
    let setup = Setup { conditions, policy: Policy::DefaultSystem(B), ..troubled("tags-2e, b wins", TWO_EDITS) };
    explore(setup, to(22));
}

/// R76, R85, B3: one edit, and two processes that die or requests that are left behind.
#[test]
fn crash2_1e() {
    explore(troubled("crash2-1e", Trouble { crashes: 2, ..ONE_EDIT }), to(24));
    comes_to_rest(troubled("crash1-1e, rest", Trouble { crashes: 1, ..ONE_EDIT }));
}

/// R85: two edits and a crash, one writer.
#[test]
fn crash1_2e() {
    explore(Setup { writers: 1, ..troubled("crash1-2e", Trouble { crashes: 1, ..TWO_EDITS }) }, to(14));
}

/// R76: a lease ends under a writer that lives, and another one takes over.
#[test]
fn expire1_2e() {
    explore(troubled("expire1-2e", Trouble { expiries: 1, ..TWO_EDITS }), to(16));
}

/// R76: the same where a write cannot be conditioned: people edit `a` alone, as nothing can keep their edits of `b` from
/// being overwritten unseen.
#[test]
fn looks_first_crash_2e() {
    let conditions = Sides { a: Condition::Stamp, b: Condition::CheckFirst };
    let trouble = Trouble { crashes: 1, expiries: 1, ..TWO_EDITS };
    let setup = Setup { conditions, typists: vec![(A, 0)], ..troubled("looks-first", trouble) };
    explore(setup, to(20));
}

/// A side without stamps, reads that come late.
#[test]
fn unstamped_late_reads() {
    let conditions = Sides { a: Condition::Stamp, b: Condition::Unstamped };
    let trouble = Trouble { late_reads: 2, duplicates: 1, ..ONE_EDIT };
    let setup = Setup { conditions, typists: vec![(A, 0)], ..troubled("unstamped, late reads", trouble) };
    explore(setup, to(20));
}

/// B1: edits of two attributes on both sides, answers that are read back, and sights of one attribute alone.
#[test]
fn two_attributes() {
    let typists = vec![(A, 0), (B, 0), (A, 1), (B, 1)];
    let setup = Setup { attributes: 2, typists, reads_back: true, ..troubled("two attributes", TWO_EDITS) };
    explore(setup, to(13));
    let setup = Setup {
        attributes: 2,
        typists: vec![(A, 0), (B, 1)],
        writers: 1,
        ..troubled("two attributes, partial", Trouble { partial_reads: 1, ..TWO_EDITS })
    };
    explore(setup, to(14));
}

/// R86: the store is lost, with a request under way or without.
#[test]
fn lost_store() {
    let trouble = Trouble { losses: 1, crashes: 1, ..ONE_EDIT };
    explore(Setup { writers: 1, ..troubled("loss, crash, 1e", trouble) }, to(20));
    let trouble = Trouble { losses: 1, ..TWO_EDITS };
    explore(Setup { writers: 1, ..troubled("loss, 2e", trouble) }, to(14));
}

/// R86: the store comes back as it once was.
#[test]
fn restored_store() {
    let trouble = Trouble { losses: 1, ..TWO_EDITS };
    explore(Setup { writers: 1, restores: true, reuse: true, ..troubled("restore, values put back", trouble) }, to(14));
}

/// A target that trims, lower-cases and cuts, whichever side wins.
#[test]
fn normalising_target() {
    let normalises = Sides { a: false, b: true };
    for (policy, name) in [(A, "normalising, a wins"), (B, "normalising, b wins")] {
        let policy = Policy::DefaultSystem(policy);
        explore(Setup { normalises, policy, ..troubled(name, TWO_EDITS) }, to(18));
        let trouble = Trouble { crashes: 1, ..ONE_EDIT };
        explore(Setup { normalises, policy, ..troubled("normalising, crash", trouble) }, to(22));
    }
}

/// The later edit wins, and the two clocks differ.
#[test]
fn last_write() {
    let policy = Policy::LastWrite { default: B, a_ahead_ms: 5_000 };
    let setup = Setup { policy, a_ahead_ms: 5_000, writers: 1, ..troubled("last write", TWO_EDITS) };
    explore(setup, to(16));
}

/// R15, B23: an account that is created, by writers that die and leases that end, where the target lets two be.
#[test]
fn creation() {
    for unique_key in [true, false] {
        let trouble = Trouble { crashes: 2, expiries: 1, ..ONE_EDIT };
        let setup = Setup {
            start: Start::OnlyA,
            unique_key,
            typists: vec![(A, 0)],
            search_lag: std::time::Duration::from_secs(2),
            ..troubled("creation", trouble)
        };
        explore(setup, to(18));
    }
    let trouble = Trouble { crashes: 1, losses: 1, ..ONE_EDIT };
    let setup =
        Setup { start: Start::OnlyA, unique_key: false, typists: vec![(A, 0)], ..troubled("creation, loss", trouble) };
    explore(setup, to(18));
}

/// Two accounts that hold different values meet for the first time.
#[test]
fn first_match() {
    explore(Setup { start: Start::Different, ..troubled("first match", ONE_EDIT) }, to(20));
}

/// A person who leaves and comes back, with an edit beside.
#[test]
fn leaver() {
    let setup = Setup { leaver: true, typists: vec![(A, 0)], writers: 1, ..troubled("leaver", ONE_EDIT) };
    explore(setup, to(16));
    let setup =
        Setup { leaver: true, start: Start::OnlyA, typists: vec![(A, 0)], ..troubled("leaver, creation", ONE_EDIT) };
    explore(setup, to(16));
}

/// Three edits of one attribute on either side.
#[test]
fn plain_3e() {
    explore(Setup { writers: 1, ..troubled("three edits", Trouble { edits: 3, ..ONE_EDIT }) }, to(12));
}

/// R85, B1: edits of two attributes, and a crash.
#[test]
fn two_attributes_crash() {
    let typists = vec![(A, 0), (B, 1)];
    let trouble = Trouble { crashes: 1, ..TWO_EDITS };
    let setup = Setup { attributes: 2, typists, writers: 1, ..troubled("two attributes, crash", trouble) };
    explore(setup, to(12));
}

/// The later edit wins, with a crash, and with three edits.
#[test]
fn last_write_troubled() {
    let policy = Policy::LastWrite { default: B, a_ahead_ms: 5_000 };
    let later = |name, trouble| Setup { policy, a_ahead_ms: 5_000, writers: 1, ..troubled(name, trouble) };
    explore(later("last write, crash", Trouble { crashes: 1, ..TWO_EDITS }), to(12));
    explore(later("last write, three edits", Trouble { edits: 3, ..ONE_EDIT }), to(12));
}

/// A target that trims, lower-cases and cuts, two edits and a crash.
#[test]
fn normalising_target_crash_2e() {
    let normalises = Sides { a: false, b: true };
    let trouble = Trouble { crashes: 1, ..TWO_EDITS };
    explore(Setup { normalises, writers: 1, ..troubled("normalising, 2e, crash", trouble) }, to(12));
}

/// A person who leaves and comes back, an edit and a crash.
#[test]
fn leaver_crash() {
    let trouble = Trouble { crashes: 1, ..ONE_EDIT };
    let setup = Setup { leaver: true, typists: vec![(A, 0)], writers: 1, ..troubled("leaver, crash", trouble) };
    explore(setup, to(12));
}

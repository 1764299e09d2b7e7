//! Stories that simpler rules got wrong, each the shortest of its kind that an earlier model found (V1 to V15), played
//! step by step against the real decisions. After each step what must always hold is looked at; at the end all work is
//! done in an order of no merit, and nothing may be lost.

use muster::domain::course::{Existing, existing};
use muster::domain::hold::Hold;
use muster::domain::rules::{OnExisting, Policy};
use muster::domain::{Side, Sides};
use stateright::Model;

use super::act::Action::{self, *};
use super::act::OneLink;
use super::judge::{converged, nothing_lost};
use super::setup::{Condition, Setup, Start, Trouble, edit_of, path};
use super::state::State;

use Side::{A, B};

struct Story {
    model: OneLink,
    state: State,
}

impl Story {
    fn of(setup: Setup) -> Self {
        let model = OneLink::new(setup);
        let state = model.beginning.clone().unwrap();
        Self { model, state }
    }

    /// These things happen, one after the other.
    fn play(&mut self, actions: &[Action]) -> &mut Self {
        for action in actions {
            let after = self.model.after(&self.state, *action);
            self.state = after.unwrap_or_else(|| panic!("{action:?} cannot happen in {:#?}", self.state));
            for property in self.model.properties() {
                let holds = (property.condition)(&self.model, &self.state);
                assert!(holds, "after {action:?} it does not hold that {}", property.name);
            }
        }
        self
    }

    fn cannot(&mut self, action: Action) -> &mut Self {
        assert!(self.model.after(&self.state, action).is_none(), "{action:?} can happen in {:#?}", self.state);
        self
    }

    /// Everybody finishes what is left.
    fn rest(&mut self) -> &mut Self {
        let work =
            [Map(0), Land(0), Go(0), Go(1), Take(A), Take(B), Answer(A), Answer(B), Read(A), Read(B), Tick, Expire];
        for _ in 0..200 {
            if self.state.is_at_rest() {
                assert!(converged(&self.state) && nothing_lost(&self.state), "{:#?}", self.state);
                return self;
            }
            let next = work.iter().find_map(|action| self.model.after(&self.state, *action));
            self.state = next.unwrap_or_else(|| panic!("nothing leads on from {:#?}", self.state));
        }
        panic!("it never comes to rest: {:#?}", self.state);
    }

    /// The edits that the two sides hold, as `a` and `b`.
    #[track_caller]
    fn holds(&mut self, attribute: u8, a: u8, b: u8) -> &mut Self {
        let held = |side| edit_of(self.state.systems[side].values[&path(attribute)].as_ref());
        assert_eq!((held(A), held(B)), (Some(a), Some(b)), "{:#?}", self.state);
        self
    }

    fn is_held(&self) -> bool {
        matches!(self.state.link.registers[&path(0)].hold, Some(Hold::BaseLost { .. }))
    }
}

/// Four edits and a few of each trouble.
fn setup() -> Setup {
    let trouble = Trouble {
        edits: 4,
        crashes: 2,
        expiries: 1,
        duplicates: 1,
        reads: 2,
        hasty_reads: 4,
        late_reads: 1,
        losses: 1,
        ..Trouble::default()
    };
    Setup { trouble, ..Setup::plain("story") }
}

fn looking_first() -> Setup {
    Setup { conditions: Sides { a: Condition::Stamp, b: Condition::CheckFirst }, ..setup() }
}

/// An edit of `a` is in the link, and a command for `b` in the broker.
const A_IS_EDITED: [Action; 4] = [Edit(A, 0), Tick, Read(A), Map(0)];

/// V1, R85: a command that finds the lease held waits for its end, and is then carried out.
#[test]
fn v1_a_command_that_finds_the_lease_held_is_not_acked_away() {
    let mut story = Story::of(setup());
    story.play(&A_IS_EDITED).play(&[Take(B), Die(0)]).cannot(Take(B));
    assert_eq!(story.state.commands.b, 1);
    story.play(&[Expire, Take(B), Go(0), Go(0)]).rest().holds(0, 1, 1);
}

/// V2: what was decided between the write and its commit stands, and the side is read again.
#[test]
fn v2_a_commit_that_was_overtaken_believes_nothing() {
    let mut story = Story::of(setup());
    story.play(&A_IS_EDITED).play(&[Take(B), Go(0), Tick, Edit(B, 0), Tick, Read(B), Map(0), Go(0)]);
    story.rest().holds(0, 1, 1);
}

/// V3: of two edits in one second, delivered swapped, the older is no edit, and the newer one reaches the other side.
#[test]
fn v3_two_edits_in_one_second_do_not_bounce() {
    let mut story = Story::of(setup());
    story.play(&[Edit(A, 0), Read(A), Edit(A, 0), Read(A), Map(1), Map(0)]).rest().holds(0, 2, 2);
}

/// V3: a base that a third edit could hide under is not written over.
#[test]
fn v3_nothing_is_written_on_an_unsettled_base() {
    let mut story = Story::of(setup());
    story.play(&A_IS_EDITED).play(&[Edit(B, 0), Read(B), Map(0)]).cannot(Go(0));
    story.play(&[Edit(B, 0), Tick]).rest().holds(0, 1, 1);
}

/// A writer looked at `b` and froze with its request under way; `a` was edited again, and another writer carried that to
/// `b`. Then the first request lands.
const A_LATE_WRITE: [Action; 13] =
    [Take(B), Go(0), DieSending(0), Tick, Edit(A, 0), Tick, Read(A), Map(0), Expire, Take(B), Go(0), Go(0), Go(0)];

/// V4, R76: a late write of ours sets the side back, and the newer value is written again.
#[test]
fn v4_a_late_write_of_an_older_value_does_not_stay() {
    let mut story = Story::of(looking_first());
    story.play(&A_IS_EDITED).play(&A_LATE_WRITE).holds(0, 2, 2).play(&[Land(0)]).holds(0, 2, 1);
    story.rest().holds(0, 2, 2);
}

/// V5, B2: and it is no edit that undoes the newer one, not even where its side wins every clash.
#[test]
fn v5_a_late_write_of_ours_does_not_undo_the_newer_edit() {
    let mut story = Story::of(Setup { policy: Policy::DefaultSystem(B), ..looking_first() });
    story.play(&A_IS_EDITED).play(&A_LATE_WRITE).play(&[Land(0), Tick, Read(B), Map(0)]).rest().holds(0, 2, 2);
}

/// V6: an edit of another attribute that is read back with the write is a change like any other.
#[test]
fn v6_an_edit_shown_by_the_answer_is_not_swallowed() {
    let mut story = Story::of(Setup { attributes: 2, reads_back: true, ..setup() });
    story.play(&A_IS_EDITED).play(&[Take(B), Go(0), Edit(B, 1), Go(0), Go(0)]).rest().holds(0, 1, 1).holds(1, 2, 2);
}

/// V7: a person took back a write whose answer was lost. That cannot be told from a write that never landed, so the
/// register wins and the value is journalled.
#[test]
fn v7_a_person_who_takes_a_write_back_is_journalled() {
    for condition in [Condition::Stamp, Condition::Tag, Condition::CheckFirst, Condition::Unstamped] {
        let mut story = Story::of(Setup { conditions: Sides { a: Condition::Stamp, b: condition }, ..setup() });
        let begin = match condition {
            Condition::CheckFirst | Condition::Unstamped => &[Take(B), Go(0), LoseAnswer(0)][..],
            Condition::Stamp | Condition::Tag => &[Take(B), LoseAnswer(0)],
        };
        story.play(&A_IS_EDITED).play(begin).play(&[Tick, PutBack(B, 0), Tick, Read(B), Map(0)]);
        assert_eq!(story.state.judge.journalled, 1, "{condition:?}");
        story.rest().holds(0, 1, 1);
    }
}

/// V7b: what an old, still open write carries may as well have been typed by hand.
#[test]
fn v7b_a_value_typed_like_an_older_write_does_not_win() {
    let mut story = Story::of(looking_first());
    story.play(&A_IS_EDITED).play(&A_LATE_WRITE).play(&[Tick, PutBack(B, 0)]);
    story.rest().holds(0, 2, 2);
}

/// V8: on a side without stamps a read that was sent before the answer to our write is older than the write.
#[test]
fn v8_a_read_sent_before_the_write_is_no_edit() {
    let conditions = Sides { a: Condition::Stamp, b: Condition::Unstamped };
    let mut story = Story::of(Setup { conditions, policy: Policy::DefaultSystem(B), ..setup() });
    story.play(&A_IS_EDITED).play(&[Ask(B), Answer(B), Tick, Take(B), Go(0), Go(0), Go(0), Map(0)]);
    story.rest().holds(0, 1, 1);
}

/// V9, R86: an edit that was not taken over before the store was lost is not overwritten by the default side's older value.
#[test]
fn v9_an_edit_before_a_loss_is_held() {
    let mut story = Story::of(setup());
    story.play(&[Edit(B, 0), LoseStore]).rest().holds(0, 0, 1);
    assert!(story.is_held());
}

/// V10, R86: no read of a new epoch is a base while a request from before may land.
#[test]
fn v10_a_request_from_before_a_loss_is_no_edit_after_it() {
    let mut story = Story::of(setup());
    story
        .play(&A_IS_EDITED)
        .play(&[Take(B), DieSending(0), Tick, Edit(A, 0), LoseStore])
        .cannot(Read(A))
        .cannot(Read(B));
    story.play(&[Land(0)]).rest().holds(0, 2, 1);
    assert!(story.is_held());
}

/// R86: a read from before a loss, delivered after it, is no base.
#[test]
fn v10_a_read_from_before_a_loss_is_not_used() {
    let mut story = Story::of(setup());
    story.play(&[Edit(B, 0), Tick, Read(B), LoseStore, Map(0)]);
    assert!(story.state.link.sides.b.seen_at.is_none());
    story.rest().holds(0, 0, 1);
}

/// V11: what cannot be ordered asks for a read, and for no command.
#[test]
fn v11_a_tie_emits_no_command() {
    let conditions = Sides { a: Condition::Stamp, b: Condition::Unstamped };
    let mut story = Story::of(Setup { conditions, ..setup() });
    story.play(&A_IS_EDITED).play(&[Read(B), Map(0), Edit(B, 0), Read(B)]);
    let before = story.state.commands;
    story.play(&[Map(0)]);
    assert_eq!((story.state.commands, story.state.asked.b.is_some()), (before, true));
    story.rest().holds(0, 1, 1);
}

/// V12, R15, B23: while somebody else's creation may be under way a search proves nothing; then it does.
#[test]
fn v12_a_creation_that_may_be_under_way_is_waited_for() {
    let mut story = Story::of(Setup { start: Start::OnlyA, unique_key: false, ..setup() });
    story.play(&[Take(B), Go(0), DieSending(0)]).cannot(Take(B)).play(&[Land(0), Expire, Take(B), Go(0)]);
    story.rest().holds(0, 1, 1);
    assert_eq!(story.state.systems.b.created, 1);
}

/// V12: nor is anything sent once the own lease is over.
#[test]
fn v12_nothing_is_sent_after_the_own_lease() {
    let mut story = Story::of(Setup { start: Start::OnlyA, unique_key: false, ..setup() });
    story.play(&[Take(B), Go(0), Edit(A, 0), Tick, Read(A), Map(0), Expire, Take(B), Go(1), Go(1), Go(1), Go(0)]);
    story.rest().holds(0, 2, 2);
    assert_eq!(story.state.systems.b.created, 1);
}

/// V13, R12: where our id cannot be kept, an account of ours is a stranger after a loss: refused, and not doubled.
#[test]
fn v13_an_account_without_our_id_is_a_stranger() {
    let model = OneLink::new(setup());
    let state = model.beginning.clone().unwrap();
    let found = vec![(path(0), vec![model.look(&state, B, state.now)])];
    let rules = &model.rules[0];
    assert_eq!(rules.on_existing, OnExisting::Refuse);
    assert_eq!(existing(Vec::new(), found, rules), Existing::Taken { attribute: path(0) });
}

/// V14, which no rule can tell from a real clash: a person types over our value before its commit. It is journalled.
#[test]
fn v14_a_false_clash_is_journalled() {
    let mut story = Story::of(setup());
    story.play(&A_IS_EDITED).play(&[Take(B), Go(0), Edit(B, 0), Tick, Read(B), Map(0)]);
    story.rest().holds(0, 1, 1);
}

/// V15, R86: a base from before the truth is dropped, so what a person put back is not overwritten.
#[test]
fn v15_a_restored_base_is_not_used() {
    let mut story = Story::of(Setup { restores: true, ..setup() });
    story.play(&A_IS_EDITED).play(&[Take(B), Go(0), Go(0), Tick, PutBack(B, 0), LoseStore]);
    story.rest().holds(0, 1, 0);
    assert!(story.is_held());
}

/// A target that trims, lower-cases and cuts: the answer to a write was lost, and what is read there later is not what was
/// sent. It is our own hand, and no edit that nobody made.
#[test]
fn what_a_target_makes_of_a_value_is_our_own_hand() {
    for default in [A, B] {
        let normalises = Sides { a: false, b: true };
        let mut story = Story::of(Setup { normalises, policy: Policy::DefaultSystem(default), ..setup() });
        story.play(&A_IS_EDITED).play(&[Take(B), LoseAnswer(0), Tick, Read(B), Map(0)]);
        story.rest().holds(0, 1, 1);
    }
}

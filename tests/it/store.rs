//! What every store must do, whatever it is made of: a suite over the trait, run by `suite!` for each implementation.

mod acts;
mod erasure;
mod guards;
mod history;
mod letters;
mod links;
mod readers;
mod runs;
mod schedules;
mod systems;

use muster::domain::link::{Link, Origin};
use muster::domain::*;
use muster::store::*;

pub use self::acts::*;
pub use self::erasure::*;
pub use self::guards::*;
pub use self::history::*;
pub use self::letters::*;
pub use self::links::*;
pub use self::readers::*;
pub use self::runs::*;
pub use self::schedules::*;
pub use self::systems::*;

/// Makes a test of each function below. `$open` is an expression that gives an empty store.
macro_rules! suite {
    ($open:expr) => {
        $crate::store::suite!($open;
            a_link_is_replaced_only_at_the_revision_that_was_read,
            a_link_is_found_by_the_surest_claim_that_is_held,
            many_questions_are_answered_in_their_order,
            of_two_links_that_race_for_a_claim_one_wins,
            claims_are_released_only_by_their_holder,
            a_link_ends_in_the_step_that_takes_its_place,
            a_batch_is_its_steps_one_after_the_other,
            a_failed_step_leaves_no_trace,
            what_writes_overwrite_is_kept_by_run,
            a_commit_of_another_epoch_is_refused,
            an_outcome_is_counted_once,
            outcomes_add_up_under_concurrent_redelivery,
            a_command_counted_but_not_settled_is_owed,
            counts_of_an_unknown_run_do_not_stop_the_rest,
            a_lease_has_one_holder,
            a_cursor_moves_only_under_the_lease,
            reserved_numbers_are_given_out_once_and_abandoned_ones_add_up,
            a_reread_asked_for_while_being_read_stays,
            letters_open_join_and_close,
            letters_about_messages_have_no_connection_or_one,
            letters_lie_by_fingerprint_and_time,
            a_letter_that_fails_otherwise_changes_its_group,
            a_retry_of_many_letters_has_one_hand,
            a_run_is_over_when_nothing_is_in_flight,
            runs_are_listed_newest_first_and_begun_once,
            numbers_up_to_a_count_are_given_out_once,
            requests_wait_until_they_are_served,
            a_timetable_is_replaced_only_where_it_was_read,
            a_slot_is_served_once,
            a_run_may_begin_with_its_end,
            how_a_connection_stands_is_noted_under_a_lease,
            a_longer_pause_stays,
            a_circuit_has_one_hand,
            the_clock_of_a_system_is_known,
            no_window_of_calls_is_ever_exceeded,
            no_budget_is_ever_exceeded,
            a_budget_grows_with_the_roster,
            places_of_a_window_that_has_passed_are_free,
            places_in_budgets_are_listed,
            what_is_held_is_listed,
            what_is_deferred_is_counted,
            a_pause_stays_until_it_is_ended,
            processes_that_work_are_heard_of,
            accounts_are_listed_page_by_page,
            all_claims_are_listed_page_by_page,
            the_journal_of_a_link_is_its_own_and_the_newest_comes_first,
            a_match_is_noted,
            recorded_changes_come_back_whole,
            one_letter_is_found_by_its_id,
            of_many_acts_at_once_one_follows,
            an_act_follows_the_last_one_alone,
            the_beginning_of_acts_is_forgotten_up_to_an_anchor,
            old_acts_are_forgotten,
            of_one_person_everything_is_erased,
            what_is_noted_meanwhile_stays,
            a_copy_answers_as_the_original,
        );
    };
    ($open:expr; $($name:ident,)+) => {
        $(#[tokio::test]
        async fn $name() {
            $crate::store::$name($open).await;
        })+
    };
}
pub(crate) use suite;

pub fn connection() -> ConnectionName {
    "crm-scim".parse().unwrap()
}

fn account(id: impl std::fmt::Display) -> AccountId {
    id.to_string().parse().unwrap()
}

fn run_id(id: &str) -> RunId {
    id.parse().unwrap()
}

fn claim(side: Side, id: impl std::fmt::Display) -> Claim {
    Claim::Account(side, account(id))
}

/// A link of account `id` on side `a`, as it would be created.
pub fn new_link(epoch: Epoch, id: u64) -> Commit {
    let link = Link::new(LinkId(id), epoch, Origin::FirstMatch, Side::A, account(format!("a{id}")));
    Commit { link: Some(link), claim: vec![claim(Side::A, format!("a{id}"))], ..Commit::default() }
}

pub async fn commit<S: Store>(store: &S, epoch: Epoch, commit: Commit) -> Committed {
    store.commit(&connection(), epoch, &[commit]).await.unwrap().remove(0)
}

pub const DONE: Committed = Committed::Done { owed: Sides { a: false, b: false } };

pub async fn epoch<S: Store>(store: &S) -> Epoch {
    store.epoch(&connection()).await.unwrap().id
}

/// All pages of the claims.
pub async fn claims<S: Store>(store: &S) -> Vec<(Claim, LinkId)> {
    let (mut claims, mut from) = (Vec::new(), None);
    loop {
        let (page, next) = store.claims(&connection(), from).await.unwrap();
        claims.extend(page);
        from = next;
        if from.is_none() {
            break;
        }
    }
    claims.sort();
    claims.dedup();
    claims
}

pub async fn load<S: Store>(store: &S, id: u64) -> Option<Link> {
    store.load(&connection(), &[LinkId(id)]).await.unwrap().items.remove(0)
}

pub async fn find<S: Store>(store: &S, claims: Vec<Claim>) -> Option<(LinkId, usize)> {
    let found = store.find(&connection(), vec![Find { claims, letter: None }]).await.unwrap().items.remove(0);
    found.link.map(|(link, index)| (link.id, index))
}

pub async fn begin<S: Store>(store: &S, id: &str, kind: RunKind, read: u32) -> RunId {
    let began_at = store.epoch(&connection()).await.unwrap().now;
    store.begin_run(&connection(), &run(id, kind, began_at)).await.unwrap();
    if read > 0 {
        store.reserve(&connection(), &run_id(id), read, None).await.unwrap().unwrap();
    }
    run_id(id)
}

fn run(id: &str, kind: RunKind, began_at: Timestamp) -> Run {
    Run { reading: Sides { a: true, b: true }, ..Run::new(run_id(id), kind, "schedule".to_owned(), began_at) }
}

fn change(run: &RunId, number: u32, outcome: ChangeOutcome, a: bool, b: bool) -> Commit {
    let count = Count::Change { run: run.clone(), number, outcome, emits: Sides { a, b } };
    Commit { count: Some(count), ..Commit::default() }
}

fn command(run: &RunId, number: u32, side: Side, outcome: CommandOutcome) -> Commit {
    Commit { count: Some(Count::Command { run: run.clone(), number, side, outcome }), ..Commit::default() }
}

async fn look<S: Store>(store: &S, run: &RunId) -> Run {
    store.run(&connection(), run).await.unwrap().unwrap()
}

fn letter(id: LetterId, first_at: i64) -> DeadLetter {
    DeadLetter {
        id,
        fingerprint: Fingerprint {
            target: Some("scim".parse().unwrap()),
            class: FailureClass::Permanent,
            code: Code::known("email_exists"),
            attribute: None,
        },
        connection: Some(connection()),
        account: Some(account("b1")),
        partner: None,
        first_at: Timestamp(first_at),
        last_at: Timestamp(first_at),
        failures: 1,
        message: "an account with this e-mail exists".to_owned(),
        first_message: None,
        attempts: Vec::new(),
        status: Some(409),
        request_id: None,
        content: LetterContent::Account { side: Side::B },
    }
}

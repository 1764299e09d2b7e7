use super::*;
use crate::domain::id::Token;
use crate::domain::link::{Intent, Lease};

const EPOCH: Epoch = Epoch(7);

fn account(id: &str) -> AccountId {
    id.parse().unwrap()
}

fn alone(id: u64, side: Side, account_id: &str) -> Link {
    Link::new(LinkId(id), EPOCH, Origin::FirstMatch, side, account(account_id))
}

fn paired(id: u64, a: &str, b: &str) -> Link {
    let mut link = alone(id, Side::A, a);
    link.sides.b.account = Some(account(b));
    link
}

/// Pairs `a1` with `b1`.
fn check(a: Option<&Link>, b: Option<&Link>) -> Pairing {
    let accounts = Sides { a: account("a1"), b: account("b1") };
    pair(Known { accounts: &accounts, links: Sides { a, b }, epoch: EPOCH, now: Timestamp(1_000) }, LinkId(99))
}

#[track_caller]
fn assert_new(pairing: Pairing, id: u64, ends: Option<u64>) -> Link {
    let Pairing::New { link, ended } = pairing else { panic!("{pairing:?}") };
    assert_eq!((link.id.0, ended.map(|link| link.id.0)), (id, ends));
    let partners = Sides::from_fn(|side| link.sides[side].account.clone().unwrap());
    assert_eq!(partners, Sides { a: account("a1"), b: account("b1") });
    *link
}

/// R1: both profiles exist, known or not.
#[test]
fn accounts_without_partners_become_partners() {
    assert_new(check(None, None), 99, None);
    assert_new(check(Some(&alone(1, Side::A, "a1")), None), 1, None);
    assert_new(check(None, Some(&alone(2, Side::B, "b1"))), 2, None);
    assert_new(check(Some(&alone(1, Side::A, "a1")), Some(&alone(2, Side::B, "b1"))), 1, Some(2));
}

/// R2, R3: whoever has a partner keeps it, whichever side asks; said twice, it is said once.
#[test]
fn the_first_link_stays() {
    let (ours, of_a, of_b) = (paired(1, "a1", "b1"), paired(2, "a1", "b2"), paired(3, "a2", "b1"));
    assert_eq!(check(Some(&ours), Some(&ours)), Pairing::Linked);
    let taken = |side, partner| Pairing::Taken { side, partner: account(partner) };
    assert_eq!(check(Some(&of_a), None), taken(Side::A, "b2"));
    assert_eq!(check(None, Some(&of_b)), taken(Side::B, "a2"));
    assert_eq!(check(Some(&alone(1, Side::A, "a1")), Some(&of_b)), taken(Side::B, "a2"));
}

/// R15: an account that a writer is just creating is not linked with another one meanwhile.
#[test]
fn a_writer_at_work_is_waited_for() {
    let mut link = alone(1, Side::A, "a1");
    link.sides.b.lease = Some(Lease { token: Token(5), until: Timestamp(1_001) });
    assert_eq!(check(Some(&link), None), Pairing::Busy);
    link.sides.b.lease = Some(Lease { token: Token(5), until: Timestamp(1_000) });
    assert_new(check(Some(&link), None), 1, None);
}

#[test]
fn what_is_known_of_another_epoch_and_of_lost_creations_is_forgotten() {
    let mut link = Link { epoch: Epoch(6), ..alone(1, Side::A, "a1") };
    link.sides.a.out_of_scope = true;
    let new = assert_new(check(Some(&link), None), 1, None);
    assert_eq!((new.epoch, new.origin, new.sides.a.out_of_scope), (EPOCH, Origin::FirstMatch, false));

    let mut link = alone(1, Side::A, "a1");
    let (writes, times) = (Default::default(), Timestamp(5));
    link.sides.b.intents = vec![Intent {
        token: Token(1),
        writes,
        texts: Default::default(),
        conditioned_on: None,
        begun_at: times,
        over_at: times,
        until: times,
    }];
    assert!(assert_new(check(Some(&link), None), 1, None).sides.b.intents.is_empty());
}

/// `a1` was merged into `a2`.
fn merged(link: &Link, own: Option<&Link>) -> Merge {
    merge(link, Side::A, &account("a2"), own, EPOCH, Timestamp(1_000))
}

/// R54: the partner of a merged account goes on with the one that is left, whatever was known of that one alone.
#[test]
fn the_link_of_a_merged_account_goes_on() {
    let mut link = paired(1, "a1", "b1");
    link.sides.a.protected = true;
    for (own, ends) in [(None, None), (Some(alone(2, Side::A, "a2")), Some(2))] {
        let Merge::Rekeyed { link, ended } = merged(&link, own.as_ref()) else { panic!("it goes on") };
        assert_eq!((link.id.0, ended.map(|ended| ended.id.0)), (1, ends));
        assert_eq!((&link.sides.a.account, &link.sides.b.account), (&Some(account("a2")), &Some(account("b1"))));
        assert!(link.sides.a.seen_at.is_none() && !link.sides.a.protected, "of what is left nothing is known");
    }
}

/// R2: what is left and has a partner keeps it, and nothing is decided about the other one.
#[test]
fn two_partners_of_merged_accounts_are_a_persons_case() {
    let partner = account("b2");
    assert_eq!(merged(&paired(1, "a1", "b1"), Some(&paired(2, "a2", "b2"))), Merge::Ambiguous { partner });
    let Merge::Rekeyed { link, ended } = merged(&alone(1, Side::A, "a1"), Some(&paired(2, "a2", "b2"))) else {
        panic!("the one that is gone had none")
    };
    assert_eq!((link.id.0, ended.unwrap().id.0), (2, 1));
}

/// R15: an account that is just coming into being for either of the two is waited for.
#[test]
fn a_creation_under_way_is_waited_for_before_links_are_merged() {
    let (writes, times) = (Default::default(), Timestamp(5));
    let creation = Intent {
        token: Token(1),
        writes,
        texts: Default::default(),
        conditioned_on: None,
        begun_at: times,
        over_at: times,
        until: times,
    };
    let mut own = alone(2, Side::A, "a2");
    own.sides.b.intents = vec![creation];
    assert_eq!(merged(&paired(1, "a1", "b1"), Some(&own)), Merge::Busy);
    own.sides.b.intents.clear();
    own.sides.a.lease = Some(Lease { token: Token(5), until: Timestamp(1_001) });
    assert_eq!(merged(&paired(1, "a1", "b1"), Some(&own)), Merge::Busy);
}

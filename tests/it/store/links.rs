//! Links, claims, and the commit.

use std::time::Duration;

use futures_util::future::join_all;
use muster::domain::guard::{Exposure, Risk, stop};
use muster::domain::hold::Why;
use muster::domain::link::{Link, Origin, Register};
use muster::domain::resolve::JournalReason;
use muster::domain::undo::{Act, Before, Overwritten, Replaced};
use muster::domain::*;
use muster::store::*;

use super::*;

pub async fn a_link_is_replaced_only_at_the_revision_that_was_read<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    assert_eq!(load(&store, 1).await, None);
    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, DONE);
    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, Committed::Moved, "it exists already");

    let mut link = load(&store, 1).await.unwrap();
    assert_eq!(link.revision, 1);
    let version = Version { modified_at: Some(Timestamp(5)), read_at: Timestamp(6), tag: Some("\"x\"".into()) };
    link.registers.insert(
        "emails".parse().unwrap(),
        Register {
            value: Some("ada@x.example".into()),
            at: version,
            by: Side::A,
            generation: 1,
            applied: Sides { a: 1, b: 0 },
            hold: None,
        },
    );
    let replace = Commit { link: Some(link.clone()), ..Commit::default() };
    assert_eq!(commit(&store, epoch, replace.clone()).await, DONE);
    assert_eq!(commit(&store, epoch, replace).await, Committed::Moved, "the same revision twice");
    assert_eq!(load(&store, 1).await, Some(Link { revision: 2, ..link }));

    let absent = Link { revision: 4, ..Link::new(LinkId(9), epoch, Origin::FirstMatch, Side::A, account("a9")) };
    let absent = Commit { link: Some(absent), ..Commit::default() };
    assert_eq!(commit(&store, epoch, absent).await, Committed::Moved, "what was read is not there any more");
}

pub async fn a_link_is_found_by_the_surest_claim_that_is_held<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let key = |value: &str| Claim::Key(Side::B, format!("emails={value}"));
    let mut first = new_link(epoch, 1);
    first.claim.push(key("0001"));
    assert_eq!(commit(&store, epoch, first).await, DONE);
    assert_eq!(commit(&store, epoch, new_link(epoch, 2)).await, DONE);

    let one = LinkId(1);
    assert_eq!(find(&store, vec![claim(Side::A, "a1")]).await, Some((one, 0)));
    assert_eq!(find(&store, vec![claim(Side::B, "a1")]).await, None, "claims belong to a side");
    assert_eq!(find(&store, vec![claim(Side::B, "b1"), key("0001"), claim(Side::A, "a2")]).await, Some((one, 1)));
    assert_eq!(find(&store, vec![Claim::Key(Side::A, "emails=0001".to_owned())]).await, None);
    assert_eq!(find(&store, vec![]).await, None);
}

pub async fn many_questions_are_answered_in_their_order<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let commits: Vec<_> = (0..1_100).map(|id| new_link(epoch, id)).collect();
    let committed = store.commit(&connection(), epoch, &commits).await.unwrap();
    assert!(committed.len() == 1_100 && committed.iter().all(|committed| *committed == DONE));

    let questions = (0..450).map(|id| Find { claims: vec![claim(Side::A, format!("a{id}"))], letter: None });
    let found = store.find(&connection(), questions.collect()).await.unwrap();
    assert_eq!(found.epoch, epoch);
    let ids: Vec<u64> = found.items.iter().map(|found| found.link.as_ref().unwrap().0.id.0).collect();
    assert_eq!(ids, (0..450).collect::<Vec<_>>());

    let wanted: Vec<LinkId> = (1_000..1_450).map(LinkId).collect();
    let loaded = store.load(&connection(), &wanted).await.unwrap().items;
    assert_eq!(loaded.len(), 450);
    assert!(
        loaded.iter().zip(&wanted).all(|(link, id)| link.as_ref().map(|link| link.id) == (id.0 < 1_100).then_some(*id))
    );

    assert!(store.load(&connection(), &[]).await.unwrap().items.is_empty());
    assert!(store.find(&connection(), vec![]).await.unwrap().items.is_empty());
    assert!(store.commit(&connection(), epoch, &[]).await.unwrap().is_empty());
    assert_eq!(store.counts(&connection()).await.unwrap().links, 1_100);
}

/// R2, R15: an account belongs to one link, whoever asks at the same time.
pub async fn of_two_links_that_race_for_a_claim_one_wins<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    for id in 1..=20 {
        assert_eq!(commit(&store, epoch, new_link(epoch, id)).await, DONE);
    }
    let races = (1..=20).map(|id| {
        let store = store.clone();
        async move {
            let mut link = load(&store, id).await.unwrap();
            link.sides.b.account = Some(account("b1"));
            let take = Commit { link: Some(link), claim: vec![claim(Side::B, "b1")], ..Commit::default() };
            (id, commit(&store, epoch, take).await)
        }
    });
    let outcomes = join_all(races).await;
    let winners: Vec<u64> = outcomes.iter().filter(|(_, outcome)| *outcome == DONE).map(|(id, _)| *id).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let holder = LinkId(winners[0]);
    for (id, outcome) in outcomes.into_iter().filter(|(id, _)| *id != holder.0) {
        assert_eq!(outcome, Committed::Taken { claim: claim(Side::B, "b1"), holder });
        let loser = load(&store, id).await.unwrap();
        assert_eq!((loser.revision, loser.sides.b.account), (1, None), "the loser's link is unchanged");
    }
    assert_eq!(find(&store, vec![claim(Side::B, "b1")]).await, Some((holder, 0)));
}

pub async fn claims_are_released_only_by_their_holder<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    for id in [1, 2] {
        assert_eq!(commit(&store, epoch, new_link(epoch, id)).await, DONE);
    }
    let release = |link: Link| Commit { link: Some(link), release: vec![claim(Side::A, "a1")], ..Commit::default() };
    assert_eq!(commit(&store, epoch, release(load(&store, 2).await.unwrap())).await, DONE);
    assert_eq!(find(&store, vec![claim(Side::A, "a1")]).await, Some((LinkId(1), 0)));
    assert_eq!(commit(&store, epoch, release(load(&store, 1).await.unwrap())).await, DONE);
    assert_eq!(find(&store, vec![claim(Side::A, "a1")]).await, None);

    // Given up and taken in one step, it stays.
    let link = load(&store, 2).await.unwrap();
    let both = vec![claim(Side::A, "a2")];
    let both = Commit { link: Some(link), claim: both.clone(), release: both, ..Commit::default() };
    assert_eq!(commit(&store, epoch, both).await, DONE);
    assert_eq!(find(&store, vec![claim(Side::A, "a2")]).await, Some((LinkId(2), 0)));
}

/// R2: two accounts that were known apart become one link in one step; the link that ends leaves nothing behind, and a
/// stranger's claim, or an end that somebody was quicker than, stops all of it.
pub async fn a_link_ends_in_the_step_that_takes_its_place<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let of_b = |id: u64, account_id: &str| {
        let link = Link::new(LinkId(id), epoch, Origin::FirstMatch, Side::B, account(account_id));
        Commit { link: Some(link), claim: vec![claim(Side::B, account_id)], ..Commit::default() }
    };
    for made in [new_link(epoch, 1), new_link(epoch, 2), of_b(3, "b1"), of_b(4, "b2")] {
        assert_eq!(commit(&store, epoch, made).await, DONE);
    }
    let join = |mut link: Link, partner: &str, ended: Option<Link>| {
        link.sides.b.account = Some(account(partner));
        Commit { link: Some(link), claim: vec![claim(Side::B, partner)], ended, ..Commit::default() }
    };
    let (one, three) = (load(&store, 1).await.unwrap(), load(&store, 3).await);
    let before = claims(&store).await;
    let taken = Committed::Taken { claim: claim(Side::B, "b2"), holder: LinkId(4) };
    assert_eq!(commit(&store, epoch, join(one.clone(), "b2", three.clone())).await, taken);
    let stale = three.clone().map(|link| Link { revision: 7, ..link });
    assert_eq!(commit(&store, epoch, join(one.clone(), "b1", stale)).await, Committed::Moved);
    assert_eq!((claims(&store).await, load(&store, 3).await), (before, three.clone()));

    assert_eq!(commit(&store, epoch, join(one, "b1", three.clone())).await, DONE);
    assert_eq!(load(&store, 3).await, None);
    assert_eq!(find(&store, vec![claim(Side::B, "b1")]).await, Some((LinkId(1), 0)));
    assert_eq!(store.counts(&connection()).await.unwrap().links, 3);
    let again = Commit { ended: three, ..Commit::default() };
    assert_eq!(commit(&store, epoch, again).await, Committed::Moved, "it ended already");

    let end = Commit { ended: load(&store, 1).await, ..Commit::default() };
    assert_eq!(commit(&store, epoch, end).await, DONE);
    let left = vec![(claim(Side::A, "a2"), LinkId(2)), (claim(Side::B, "b2"), LinkId(4))];
    assert_eq!((claims(&store).await, load(&store, 1).await), (left, None));
}

/// A batch is its steps, one after the other: each sees what the ones before it did, to the links, the claims, the lists of
/// what waits, the letters and the counts.
pub async fn a_batch_is_its_steps_one_after_the_other<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let now = store.epoch(&connection()).await.unwrap().now;
    let steps = |from: u64, run: &RunId| {
        let [one, two, three] = [1, 2, 3].map(|id| new_link(epoch, from + id));
        let read = |step: &Commit, revision| step.link.clone().map(|link| Link { revision, ..link });
        let creation = Exposure { risk: Risk::Create, paths: Vec::new() };
        let held = |step, revision| {
            let link = read(step, revision).map(|link| stop(&link, Side::B, &creation, Why::OverBudget, now));
            Commit { link, ..Commit::default() }
        };
        let letter = letter(LetterId::of_link(&connection(), Side::B, LinkId(from + 2)), 1);
        let counted = |step: Commit, count: Commit| Commit { count: count.count, ..step };
        let mut takes_over = three.clone();
        takes_over.claim.push(claim(Side::A, format!("a{}", from + 2)));
        vec![
            counted(one.clone(), change(run, 0, ChangeOutcome::Accepted, false, true)),
            one.clone(),
            Commit { close: vec![letter.id.clone()], ..held(&one, 1) },
            Commit { link: read(&one, 1), ..Commit::default() },
            counted(two.clone(), change(run, 1, ChangeOutcome::Accepted, true, true)),
            takes_over.clone(),
            Commit { link: read(&two, 1), open: vec![letter.clone()], ..Commit::default() },
            command(run, 1, Side::A, CommandOutcome::Dead),
            change(run, 1, ChangeOutcome::Unchanged, true, true),
            command(run, 1, Side::A, CommandOutcome::Applied),
            Commit { close: vec![letter.id.clone()], link: read(&two, 2), ..Commit::default() },
            Commit { ended: read(&two, 3), ..Commit::default() },
            takes_over,
            held(&three, 1),
            Commit { link: read(&one, 2), ..Commit::default() },
            command(run, 2, Side::B, CommandOutcome::Merged),
            Commit { ended: read(&one, 3), ..command(run, 0, Side::B, CommandOutcome::Applied) },
            Commit { link: read(&one, 3), ..Commit::default() },
        ]
    };
    let mut ends = Vec::new();
    // The whole batch first, while there is nothing yet.
    for (from, batch) in [(200, 100), (100, 3), (0, 1)] {
        let held = store.counts(&connection()).await.unwrap().held;
        let run = begin(&store, &format!("r{from}"), RunKind::Sync, 3).await;
        let mut answers = Vec::new();
        for steps in steps(from, &run).chunks(batch) {
            answers.extend(store.commit(&connection(), epoch, steps).await.unwrap());
        }
        let short = |answer: &Committed| match answer {
            Committed::Done { owed } => format!("done, owed {} {}", owed.a, owed.b),
            Committed::Moved => "moved".to_owned(),
            Committed::Taken { holder, .. } => format!("taken by {}", holder.0 - from),
        };
        let answers: Vec<String> = answers.iter().map(short).collect();
        let run = look(&store, &run).await;
        let claims = claims(&store).await.into_iter().filter(|(_, link)| (from..from + 100).contains(&link.0)).count();
        let counts = store.counts(&connection()).await.unwrap();
        let three = load(&store, from + 3).await.map(|link| link.revision);
        ends.push((answers, run.changes, run.emitted, run.commands, claims, counts.held - held, counts.letters, three));
    }
    let (answers, changes, emitted, commands, claims, held, letters, three) = &ends[0];
    let done = "done, owed false false";
    let owes_b = "done, owed false true";
    let expected = [
        done,
        "moved",
        done,
        "moved",
        done,
        "taken by 2",
        done,
        done,
        owes_b,
        done,
        done,
        done,
        done,
        done,
        done,
        done,
        done,
        "moved",
    ];
    assert_eq!(*answers, expected);
    assert_eq!((changes.as_slice(), *emitted), ([(ChangeOutcome::Accepted, 2)].as_slice(), 4));
    let each = [CommandOutcome::Applied, CommandOutcome::Merged, CommandOutcome::Dead].map(|outcome| (outcome, 1));
    assert_eq!(*commands, each);
    assert_eq!((*claims, *held, *letters, *three), (2, 1, 0, Some(2)));
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:#?}");
}

/// B3: a step that does not happen does not happen at all.
pub async fn a_failed_step_leaves_no_trace<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 1).await;
    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, DONE);
    let counts = store.counts(&connection()).await.unwrap();

    let full = |link: Commit| Commit {
        open: vec![letter(LetterId::of_link(&connection(), Side::B, LinkId(1)), 1)],
        reread: vec![(Side::A, account("a1"))],
        count: change(&run, 0, ChangeOutcome::Accepted, true, true).count,
        journal: vec![JournalEntry {
            link: LinkId(1),
            attribute: "title".parse().unwrap(),
            side: Side::B,
            value: Some("lost".into()),
            is_erased: false,
            reason: JournalReason::ConflictLost,
            seen_at: Timestamp(1),
            generation: 1,
            accounts: Sides::default(),
            gave_back: None,
        }],
        ..link
    };
    assert_eq!(commit(&store, epoch, full(new_link(epoch, 1))).await, Committed::Moved);
    let mut taken = new_link(epoch, 2);
    taken.claim.push(claim(Side::A, "a1"));
    let refused = Committed::Taken { claim: claim(Side::A, "a1"), holder: LinkId(1) };
    assert_eq!(commit(&store, epoch, full(taken)).await, refused);
    assert_eq!(store.counts(&connection()).await.unwrap(), counts);
    let run = look(&store, &run).await;
    assert_eq!((run.changes, run.emitted), (vec![], 0));

    let orphan = Commit { claim: vec![claim(Side::A, "a7")], ..Commit::default() };
    assert!(matches!(store.commit(&connection(), epoch, &[orphan]).await, Err(StoreError::Unusable(_))));
}

pub async fn a_commit_of_another_epoch_is_refused<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    assert_eq!(store.epoch(&connection()).await.unwrap().id, epoch, "asking changes nothing");
    let other = Epoch(epoch.0 ^ 1);
    let refused = store.commit(&connection(), other, &[new_link(other, 1)]).await;
    assert!(matches!(refused, Err(StoreError::EpochChanged(name)) if name == connection()));
    assert_eq!(load(&store, 1).await, None);
    let loaded = store.load(&connection(), &[LinkId(1)]).await.unwrap();
    let state = store.epoch(&connection()).await.unwrap();
    assert!(loaded.epoch == epoch && state.began_at <= loaded.now && loaded.now <= state.now);
}

pub async fn accounts_are_listed_page_by_page<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let commits: Vec<_> = (0..1_300).map(|id| new_link(epoch, id)).collect();
    store.commit(&connection(), epoch, &commits).await.unwrap();
    let (mut listed, mut from) = (std::collections::BTreeMap::new(), None);
    let mut pages = 0;
    loop {
        let (page, next) = store.accounts(&connection(), Side::A, from).await.unwrap();
        listed.extend(page);
        pages += 1;
        from = next;
        if from.is_none() {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(listed.len(), 1_300);
    assert!(listed.iter().all(|(account, link)| account.as_str() == format!("a{}", link.0)));
    assert_eq!(store.accounts(&connection(), Side::B, None).await.unwrap(), (vec![], None));
    assert_eq!(store.counts(&connection()).await.unwrap().accounts, Sides { a: 1_300, b: 0 });
}

pub async fn all_claims_are_listed_page_by_page<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    assert_eq!(store.claims(&connection(), None).await.map(|(page, _)| page).unwrap(), vec![]);
    let commits = (0..700).map(|id| {
        let mut new = new_link(epoch, id);
        let keys = Side::BOTH.map(|side| Claim::Key(side, format!("emails={id:016x}")));
        new.claim.extend(keys);
        new.claim.push(claim(Side::B, format!("b{id}")));
        new
    });
    let commits: Vec<Commit> = commits.collect();
    let mut expected: Vec<_> = commits
        .iter()
        .flat_map(|commit| commit.claim.iter().map(|claim| (claim.clone(), commit.link.as_ref().unwrap().id)))
        .collect();
    expected.sort();
    store.commit(&connection(), epoch, &commits).await.unwrap();
    assert!(store.claims(&connection(), None).await.unwrap().1.is_some(), "more than a page");
    assert_eq!(claims(&store).await, expected);
}

/// B5: what lost is kept, and found by its link, by its connection from any entry on, and by its id.
pub async fn the_journal_of_a_link_is_its_own_and_the_newest_comes_first<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let entry = |link: u64, value: &str| JournalEntry {
        link: LinkId(link),
        attribute: "title".parse().unwrap(),
        side: Side::B,
        value: Some(value.into()),
        is_erased: false,
        reason: JournalReason::ConflictLost,
        seen_at: Timestamp(5),
        generation: 3,
        accounts: Sides { a: Some("005".parse().unwrap()), b: None },
        gave_back: None,
    };
    for id in [1, 2] {
        commit(&store, epoch, new_link(epoch, id)).await;
    }
    let journal = |entries: Vec<JournalEntry>| Commit { journal: entries, ..Commit::default() };
    commit(&store, epoch, journal(vec![entry(1, "first"), entry(2, "of another"), entry(1, "second")])).await;
    let kept = store.journal(&connection(), None, None, 1).await.unwrap().remove(0);
    let gave_back = GaveBack { entry: kept.id, by: "ada@host".to_owned(), pinned: true };
    let cleared = JournalEntry { value: None, gave_back: Some(gave_back), ..entry(1, "") };
    // It outlives the replacement of its link.
    let link = load(&store, 1).await.unwrap();
    commit(&store, epoch, Commit { link: Some(link), ..journal(vec![cleared.clone()]) }).await;

    let of = async |link: Option<u64>, limit| {
        let kept = store.journal(&connection(), link.map(LinkId), None, limit).await.unwrap();
        kept.into_iter().map(|kept| kept.entry).collect::<Vec<_>>()
    };
    assert_eq!(of(Some(1), 10).await, [cleared.clone(), entry(1, "second"), entry(1, "first")]);
    assert_eq!(of(Some(1), 1).await, std::slice::from_ref(&cleared));
    assert_eq!(of(Some(1), 0).await, []);
    assert_eq!(of(Some(2), 10).await, [entry(2, "of another")]);
    assert_eq!(of(Some(3), 10).await, []);
    assert_eq!(store.journal(&"other".parse().unwrap(), Some(LinkId(1)), None, 10).await.unwrap(), []);

    let all = store.journal(&connection(), None, None, 10).await.unwrap();
    let entries: Vec<_> = all.iter().map(|kept| kept.entry.clone()).collect();
    assert_eq!(entries, [cleared, entry(1, "second"), entry(2, "of another"), entry(1, "first")]);
    for (place, kept) in all.iter().enumerate() {
        let from = store.journal(&connection(), None, Some(&kept.id), 10).await.unwrap();
        assert_eq!(from, all[place..], "from entry {place} on, itself included");
        assert_eq!(EntryId::parse(kept.id.as_str()), Some(kept.id.clone()), "a person can write it");
    }
    let later = store.journal(&connection(), Some(LinkId(1)), Some(&all[1].id), 10).await.unwrap();
    assert_eq!(later, [all[1].clone(), all[3].clone()]);
    assert_eq!(EntryId::parse("1; DROP"), None);
}

/// A dry run works on a copy: what it is told there must be what the original says.
pub async fn a_copy_answers_as_the_original<S: Store>(store: S) {
    let copy = || crate::embedded_store::fresh();
    // What is not known is not made known by asking.
    let empty = copy().await;
    empty.copy_from(&store, &connection()).await.unwrap();
    let unknown = store.load(&connection(), &[]).await.map(drop);
    assert!(matches!(unknown, Err(StoreError::EpochChanged(_))), "{unknown:?}");
    assert!(matches!(empty.load(&connection(), &[]).await, Err(StoreError::EpochChanged(_))));

    let epoch = epoch(&store).await;
    let commits = (0..600).map(|id| {
        let mut new = new_link(epoch, id);
        new.claim.push(Claim::Key(Side::A, format!("emails={id:016x}")));
        new
    });
    store.commit(&connection(), epoch, &commits.collect::<Vec<_>>()).await.unwrap();
    let mut changed = load(&store, 7).await.unwrap();
    changed.sides.b.account = Some(account("b7"));
    let changed = Commit {
        link: Some(changed),
        claim: vec![claim(Side::B, "b7")],
        release: vec![claim(Side::A, "a7")],
        open: vec![letter(LetterId::of_link(&connection(), Side::B, LinkId(7)), 1)],
        reread: vec![(Side::A, account("a7"))],
        ..Commit::default()
    };
    commit(&store, epoch, changed).await;
    let token = Token(1);
    let active = ActiveRead { run: run_id("r1"), complete: false, position: Some("p1".to_owned()), reserved: None };
    let state = ReaderState { watermark: Some("w1".to_owned()), active: Some(active) };
    let minute = std::time::Duration::from_secs(60);
    assert!(store.lease(&connection(), &LeaseName::Reader(Side::A), token, minute).await.unwrap());
    assert!(store.set_reader(&connection(), epoch, Side::A, token, &state).await.unwrap());

    let copied = copy().await;
    copied.copy_from(&store, &connection()).await.unwrap();
    let state = copied.epoch(&connection()).await.unwrap();
    assert_eq!((state.id, state.began_at), (epoch, Timestamp(0)), "nothing to wait for");
    assert_eq!(claims(&copied).await, claims(&store).await);
    let all: Vec<LinkId> = (0..601).map(LinkId).collect();
    let (left, right) =
        (copied.load(&connection(), &all).await.unwrap(), store.load(&connection(), &all).await.unwrap());
    assert_eq!((left.epoch, left.items), (right.epoch, right.items));
    assert_eq!(copied.counts(&connection()).await.unwrap(), store.counts(&connection()).await.unwrap());
    assert_eq!(copied.letters(Some(&connection())).await.unwrap(), store.letters(Some(&connection())).await.unwrap());
    let asked = store.rereads(&connection(), Side::A, 10).await.unwrap();
    assert_eq!(copied.rereads(&connection(), Side::A, 10).await.unwrap(), asked);
    let reader = copied.reader(&connection(), Side::A).await.unwrap();
    assert_eq!(reader, ReaderState { watermark: Some("w1".to_owned()), active: None }, "the read begins anew");

    // It goes on from there as the original would, and the original does not hear of it.
    let link = load(&copied, 7).await.unwrap();
    assert_eq!(commit(&copied, epoch, Commit { link: Some(link), ..Commit::default() }).await, DONE);
    assert_eq!(commit(&copied, epoch, new_link(epoch, 8)).await, Committed::Moved);
    assert_eq!(load(&store, 7).await.unwrap().revision, 2);
}

/// B13: what writes overwrite is kept for their run, in order, in the step that notes them, and only if that is made.
pub async fn what_writes_overwrite_is_kept_by_run<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let value =
        |path: &str, generation, before| Replaced { path: path.parse().unwrap(), generation, wrote: Digest(9), before };
    let overwrite = |run: &str, link: u64, kept: Duration| Overwrite {
        run: run_id(run),
        kept,
        entry: Overwritten {
            link: LinkId(link),
            epoch,
            side: Side::B,
            accounts: Sides { a: Some(account(format!("a{link}"))), b: None },
            at: Timestamp(7),
            act: Act::Changed,
            values: vec![
                value("title", 2, Before::Held(Some(Value::from("Captain")))),
                value("nickName", 3, Before::Held(None)),
                value("emails", 4, Before::Unknown),
            ],
        },
    };
    let day = Duration::from_secs(24 * 3600);
    let commits: Vec<Commit> = (1..=5)
        .map(|link| Commit { overwrite: Some(overwrite("r1", link, day)), ..new_link(epoch, link) })
        .chain([Commit { overwrite: Some(overwrite("r2", 9, day)), ..new_link(epoch, 9) }])
        // Not made: the link is there.
        .chain([Commit { overwrite: Some(overwrite("r1", 77, day)), ..new_link(epoch, 1) }])
        .collect();
    let committed = store.commit(&connection(), epoch, &commits).await.unwrap();
    assert_eq!(committed.last(), Some(&Committed::Moved));
    let kept =
        async |run: &str, from, limit| store.overwritten(&connection(), &run_id(run), from, limit).await.unwrap();
    let all = kept("r1", 0, 100).await;
    assert_eq!(all, (1..=5).map(|link| overwrite("r1", link, day).entry).collect::<Vec<_>>());
    assert_eq!(kept("r1", 3, 1).await, all[3..4]);
    assert_eq!(kept("r1", 5, 10).await, []);
    assert_eq!(kept("r2", 0, 10).await.len(), 1);
    assert_eq!(kept("r3", 0, 10).await, []);
}

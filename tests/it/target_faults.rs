//! Systems that refuse, hang, lie or forget for a while: nothing is doubled, nobody is deactivated, there is no letter,
//! and everything is in step at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use muster::sandbox::{Admin, Effect, Fault, FaultBody, Matcher, RetryAfter, Sandbox, SandboxSettings, System, Totals};
use serde_json::json;

use super::processes::{CONNECTION, Installation, active_users, written};

async fn start(users: usize) -> (Sandbox, Admin, Installation) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let mut muster = Installation::between(&sandbox, "").await;
    muster.start().await;
    (sandbox, admin, muster)
}

fn on(system: System, method: &str, path: &str, times: u64, effect: Effect) -> Fault {
    let on = Matcher {
        system: Some(system),
        method: Some(method.into()),
        path: Some(path.into()),
        times: Some(times),
        ..Matcher::default()
    };
    Fault { on, effect }
}

/// Every active user has one account with the same title, nobody has two, and nothing waits for a person.
async fn assert_in_step(admin: &Admin, muster: &Installation) {
    let accounts = admin.accounts(System::Scim);
    let partners: BTreeSet<_> = accounts.iter().map(|account| account["externalId"].to_string()).collect();
    let users = active_users(admin);
    assert_eq!((accounts.len(), partners.len()), (users.len(), users.len()));
    for user in users {
        let account = accounts.iter().find(|account| account["externalId"] == user["Id"]).unwrap();
        assert_eq!((&account["title"], &account["active"]), (&user["Title"], &json!(true)));
    }
    assert_eq!(muster.letters().await.len(), 0);
}

/// Creates and updates while the target has these faults, once each.
async fn survives(faults: Vec<Fault>) {
    let (_sandbox, admin, muster) = start(40).await;
    let arm = || {
        for fault in &faults {
            admin.inject(fault.clone());
        }
    };
    arm();
    let first = muster.sync(&[]).await;
    assert_eq!((first.commands("dead"), first.failed.as_deref()), (0, None), "{first:?}");
    assert_in_step(&admin, &muster).await;
    assert_eq!(written(&admin).iter().filter(|write| write.created).count(), active_users(&admin).len());

    admin.end_faults();
    arm();
    for user in active_users(&admin).iter().skip(1).take(12) {
        admin.edit(System::Salesforce, user["Id"].as_str().unwrap(), &json!({"Title": "Edited"})).unwrap();
    }
    let edits = muster.sync(&[]).await;
    admin.end_faults();
    assert_eq!((edits.commands("dead"), edits.failed.as_deref()), (0, None), "{edits:?}");
    let rest = muster.sync(&["--full"]).await;
    assert_eq!((rest.emitted, rest.failed), (0, None));
    assert_in_step(&admin, &muster).await;
    // An answer that was lost makes nobody write a value again that is there.
    let updates: Vec<_> = written(&admin).into_iter().filter(|write| !write.created).collect();
    assert_eq!(updates.iter().filter(|write| write.changed).count(), 12, "{updates:?}");
}

/// B19, F20: a target that asks for a pause gets it, by seconds, by date and without a word; it costs no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_throttling_target_is_obeyed() {
    let after = |retry_after| Effect::TooManyRequests { retry_after };
    survives(vec![
        on(System::Scim, "POST", "/Users", 2, after(RetryAfter::Seconds(2))),
        on(System::Scim, "PATCH", "/Users", 2, after(RetryAfter::DateInSeconds(2))),
        on(System::Scim, "GET", "/Users", 1, after(RetryAfter::Absent)),
    ])
    .await;
}

/// F21: a target that answers 5xx for a while, also with a gateway's page, is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_target_is_asked_again() {
    let status = |status, body| Effect::Status { status, body };
    survives(vec![
        on(System::Scim, "POST", "/Users", 6, status(503, FaultBody::Html)),
        on(System::Scim, "PATCH", "/Users", 4, status(500, FaultBody::Empty)),
        on(System::Scim, "GET", "/Users", 2, status(502, FaultBody::Html)),
    ])
    .await;
}

/// B3, B23, F21: what the target carried out although it answered 500, or cut the connection, is found and not done again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_without_an_answer_is_not_doubled() {
    let applied = Effect::AppliedThenStatus { status: 500, body: FaultBody::Native };
    survives(vec![
        on(System::Scim, "POST", "/Users", 3, applied.clone()),
        on(System::Scim, "POST", "/Users", 3, Effect::AppliedThenCut),
        on(System::Scim, "PATCH", "/Users", 3, applied),
        on(System::Scim, "PATCH", "/Users", 3, Effect::AppliedThenCut),
    ])
    .await;
}

/// B23, F19: a target that hangs longer than the deadline, before or after it did the work, is left and asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_target_is_left_and_asked_again() {
    survives(vec![
        on(System::Scim, "POST", "/Users", 2, Effect::AppliedThenHang),
        on(System::Scim, "POST", "/Users", 2, Effect::Slow { ms: 1_500 }),
        on(System::Scim, "PATCH", "/Users", 2, Effect::AppliedThenHang),
        on(System::Scim, "PATCH", "/Users", 2, Effect::Slow { ms: 1_500 }),
    ])
    .await;
}

/// F22: a session that ends in the middle of a read is renewed once, and the read goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_is_renewed_once() {
    let (_sandbox, admin, muster) = start(300).await;
    admin.configure_salesforce(serde_json::from_value(json!({"max_page": 200})).unwrap()).unwrap();
    muster.sync(&[]).await;
    let tokens = |admin: &Admin| {
        admin
            .request_counts()
            .iter()
            .filter(|((_, operation, _), _)| *operation == "token")
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    let before = tokens(&admin);
    admin.inject(on(System::Salesforce, "GET", "/query/", 1, Effect::ExpiredSession));
    let read = muster.sync(&["--full"]).await;
    assert_eq!((read.emitted, read.failed.as_deref()), (0, None));
    assert_eq!(tokens(&admin) - before, 1);
    assert_in_step(&admin, &muster).await;
}

/// B12, F30: a source or a target whose list is empty, partial, or only seems complete, has nobody deactivated and
/// nobody created again, and `sync` says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lacks_people_takes_nobody_for_gone() {
    let (_sandbox, admin, muster) = start(120).await;
    muster.sync(&[]).await;
    let writes = admin.write_count();
    let partial = |totals| Effect::PartialList { per_mille: 300, totals };
    for system in [System::Salesforce, System::Scim] {
        let path = if system == System::Salesforce { "/query" } else { "/Users" };
        for effect in [Effect::EmptyList, partial(Totals::Kept), partial(Totals::Reduced)] {
            // Twice, since two proofs in a row are asked for.
            for _ in 0..2 {
                let fault = admin.inject(on(system, "GET", path, 1_000_000, effect.clone()));
                let read = muster.sync(&["--full"]).await;
                admin.end_fault(fault);
                let why = read.failed.clone().unwrap_or_else(|| panic!("{system:?} {effect:?}: {read:?}"));
                let name = if system == System::Salesforce { "crm" } else { "directory" };
                assert!(why.contains(name), "{why}");
                assert_eq!(read.emitted, 0, "{system:?} {effect:?}");
            }
        }
    }
    assert_eq!(admin.write_count(), writes);
    let told = muster.muster(&["sync", CONNECTION, "--wait"]).await;
    assert_eq!(told.status, 0, "{told:?}");
    assert_in_step(&admin, &muster).await;
}

/// A target that is away for longer than one attempt is waited for: `sync` ends when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_away_is_waited_for() {
    let (_sandbox, admin, muster) = start(10).await;
    let fault = admin.inject(Fault {
        on: Matcher { system: Some(System::Scim), ..Matcher::default() },
        effect: Effect::Status { status: 503, body: FaultBody::Html },
    });
    let back = async {
        admin.wait_until(|admin| admin.faults().iter().any(|(_, _, struck)| *struck >= 3)).await;
        admin.end_fault(fault);
    };
    let (report, ()) = tokio::join!(muster.sync(&[]), back);
    assert_eq!((report.commands("dead"), report.failed.as_deref()), (0, None), "{report:?}");
    assert!(report.seconds < Duration::from_secs(120).as_secs_f64());
    assert_in_step(&admin, &muster).await;
}

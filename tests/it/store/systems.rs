//! Systems, and processes that work.

use std::time::Duration;

use futures_util::future::join_all;
use muster::domain::circuit::{Fared, Policy, Report, Symptom};
use muster::domain::rate::Window;
use muster::domain::*;
use muster::store::*;

use super::connection;

/// B19: all writers of a system obey the longest wait that it asked of any.
pub async fn a_longer_pause_stays<S: Store>(store: S) {
    let crm: SystemName = "crm".parse().unwrap();
    // Whatever time it is.
    let known =
        async |system: &SystemName| SystemState { now: Timestamp::default(), ..store.system(system).await.unwrap() };
    assert_eq!(known(&crm).await, SystemState::default());
    store.pause_system(&crm, Duration::from_secs(60), "throttled").await.unwrap();
    let long = known(&crm).await;
    store.pause_system(&crm, Duration::from_secs(5), "unauthorised").await.unwrap();
    assert_eq!(known(&crm).await, long);
    store.pause_system(&crm, Duration::from_secs(600), "unauthorised").await.unwrap();
    store.note_usage(&crm, 7, 15_000).await.unwrap();
    let longer = store.system(&crm).await.unwrap();
    assert!(longer.not_before > long.not_before);
    assert_eq!((longer.reason.as_deref(), longer.usage), (Some("unauthorised"), Some((7, 15_000))));
    assert_eq!(known(&"chat".parse().unwrap()).await, SystemState::default());
}

/// What is decided of a system's calls is put in the place of what it was decided on, and of nothing else; of many who
/// find a probe due one makes it. It touches nothing else that is known of the system.
pub async fn a_circuit_has_one_hand<S: Store>(store: S) {
    let crm: SystemName = "crm".parse().unwrap();
    let policy = Policy { waits: (Duration::ZERO, Duration::ZERO), ..Policy::default() };
    let mut told = Report::default();
    let symptom = Symptom { class: FailureClass::Transient, code: Code::known("timeout"), status: None };
    (0..3).for_each(|_| told.add(&Fared::Ill(symptom.clone())));

    store.pause_system(&crm, Duration::from_secs(60), "throttled").await.unwrap();
    let before = store.system(&crm).await.unwrap();
    assert!(before.circuit.open.is_none() && before.now > Timestamp(1_600_000_000_000), "{before:?}");
    let open = before.circuit.after(&told, before.now, &policy);
    assert!(store.save_circuit(&crm, &open).await.unwrap());
    assert!(!store.save_circuit(&crm, &open).await.unwrap(), "another one is there by now");
    let after = store.system(&crm).await.unwrap();
    assert_eq!((&after.circuit, after.not_before), (&open, before.not_before));
    assert!(store.system(&"chat".parse().unwrap()).await.unwrap().circuit.open.is_none());

    let take = |token| {
        let taken = after.circuit.take_probe(Token(token), after.now, Duration::from_secs(9)).expect("it is due");
        let (store, crm) = (store.clone(), crm.clone());
        async move { store.save_circuit(&crm, &taken).await.unwrap().then_some(Token(token)) }
    };
    let taken: Vec<_> = join_all((1..=8).map(take)).await.into_iter().flatten().collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    let probing = store.system(&crm).await.unwrap().circuit;
    assert_eq!(probing.open.as_ref().unwrap().probe.map(|probe| probe.token), Some(taken[0]));
    assert!(store.save_circuit(&crm, &probing.closed(after.now)).await.unwrap());
    assert!(store.system(&crm).await.unwrap().circuit.open.is_none());
}

/// R73: how far a system's clock is ahead of the store's is known to all; of two measures the later time counts.
pub async fn the_clock_of_a_system_is_known<S: Store>(store: S) {
    let crm: SystemName = "crm".parse().unwrap();
    let now = store.epoch(&connection()).await.unwrap().now;
    let ahead = async || store.system(&crm).await.unwrap().ahead_ms;
    assert_eq!(ahead().await, None);
    store.note_clock(&crm, now + Duration::from_secs(3_600)).await.unwrap();
    let hour = ahead().await.unwrap();
    assert!((3_540_000..=3_600_000).contains(&hour), "{hour}");
    store.note_clock(&crm, now + Duration::from_secs(1_800)).await.unwrap();
    assert_eq!(ahead().await, Some(hour), "a lower bound says less");
    store.note_clock(&crm, now + Duration::from_secs(7_200)).await.unwrap();
    assert!(ahead().await.unwrap() > hour);
    store.pause_system(&crm, Duration::from_secs(60), "throttled").await.unwrap();
    assert!(ahead().await.is_some());
    let chat: SystemName = "chat".parse().unwrap();
    store.note_clock(&chat, now - Duration::from_secs(60)).await.unwrap();
    assert!(store.system(&chat).await.unwrap().ahead_ms.unwrap() <= -60_000);
}

/// B19: however many take calls at once, every window holds, what is kept for urgent work is kept, and kinds of calls and
/// systems are counted apart.
pub async fn no_window_of_calls_is_ever_exceeded<S: Store>(store: S) {
    let crm: SystemName = "crm".parse().unwrap();
    let minute = Duration::from_secs(60);
    let windows = [Window { reserve: 5, ..Window::new(25, minute) }, Window::new(500, Duration::from_secs(600))];
    let take =
        async |system: &SystemName, bucket, urgent| store.take_call(system, bucket, &windows, urgent).await.unwrap();
    let taken = join_all((0..40).map(|_| take(&crm, "calls", false))).await;
    assert_eq!(taken.iter().filter(|wait| wait.is_none()).count(), 20);
    let waits: Vec<Duration> = taken.into_iter().flatten().collect();
    assert!(waits.iter().all(|wait| *wait <= minute && *wait > Duration::from_secs(1)), "{waits:?}");
    let urgent = join_all((0..10).map(|_| take(&crm, "calls", true))).await;
    assert_eq!(urgent.iter().filter(|wait| wait.is_none()).count(), 5);
    assert_eq!(take(&crm, "logins", false).await, None);
    assert_eq!(take(&"chat".parse().unwrap(), "calls", false).await, None);

    // A window that has passed is forgotten.
    let short = [Window::new(1, Duration::from_millis(50))];
    let again = async || store.take_call(&crm, "short", &short, false).await.unwrap();
    assert_eq!(again().await, None);
    while let Some(wait) = again().await {
        assert!(wait <= Duration::from_millis(50));
        tokio::time::sleep(wait).await;
    }
}

pub async fn processes_that_work_are_heard_of<S: Store>(store: S) {
    store.ping().await.unwrap();
    store.beat("writer", "host/2").await.unwrap();
    store.beat("producer", "host/1").await.unwrap();
    store.beat("producer", "host/1").await.unwrap();
    let heard = store.instances().await.unwrap();
    let names: Vec<_> = heard.iter().map(|instance| (instance.role.as_str(), instance.name.as_str())).collect();
    assert_eq!(names, [("producer", "host/1"), ("writer", "host/2")]);
    assert!(heard.iter().all(|instance| !instance.version.is_empty() && instance.seen_at > Timestamp(0)));
}

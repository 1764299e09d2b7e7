//! Systems, and processes that work.

use std::time::Duration;

use muster::domain::*;
use muster::store::*;

/// B19: all writers of a system obey the longest wait that it asked of any.
pub async fn a_longer_pause_stays<S: Store>(store: S) {
    let crm: SystemName = "crm".parse().unwrap();
    assert_eq!(store.system(&crm).await.unwrap(), SystemState::default());
    store.pause_system(&crm, Duration::from_secs(60), "throttled").await.unwrap();
    let long = store.system(&crm).await.unwrap();
    store.pause_system(&crm, Duration::from_secs(5), "unauthorised").await.unwrap();
    assert_eq!(store.system(&crm).await.unwrap(), long);
    store.pause_system(&crm, Duration::from_secs(600), "unauthorised").await.unwrap();
    store.note_usage(&crm, 7, 15_000).await.unwrap();
    let longer = store.system(&crm).await.unwrap();
    assert!(longer.not_before > long.not_before);
    assert_eq!((longer.reason.as_deref(), longer.usage), (Some("unauthorised"), Some((7, 15_000))));
    assert_eq!(store.system(&"chat".parse().unwrap()).await.unwrap(), SystemState::default());
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

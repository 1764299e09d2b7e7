//! The store in a file: the suite of every store, and what only a file can do: outlive, be copied, be shared.

use std::path::Path;

use muster::database::Database;
use muster::store::embedded::EmbeddedStore;
use muster::store::*;
use tempfile::TempDir;

use crate::store::{DONE, commit, connection, epoch, load, new_link};

mod conformance {
    crate::store::suite!(super::fresh().await);
}

/// An empty store. Its folder is taken away while the file is open, so nothing is left behind.
async fn fresh() -> EmbeddedStore {
    let folder = TempDir::new().unwrap();
    open(&folder.path().join("muster.db")).await
}

/// The store in this file, as another process would open it.
async fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&Database::open(path).unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_epoch_outlives_the_process() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("muster.db");
    let store = open(&path).await;
    let before = store.epoch(&connection()).await.unwrap();
    assert_eq!(commit(&store, before.id, new_link(before.id, 1)).await, DONE);
    drop(store);
    let store = open(&path).await;
    let after = store.epoch(&connection()).await.unwrap();
    assert_eq!((after.id, after.began_at), (before.id, before.began_at));
    assert!(load(&store, 1).await.is_some());
    assert_eq!(commit(&store, epoch(&store).await, new_link(before.id, 2)).await, DONE);
}

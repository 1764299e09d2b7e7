//! Forgetting the beginning of the log of acts.

use std::time::Duration;

use super::{Store, StoreError};
use crate::domain::audit::Follower;

/// Lines that are looked at and forgotten in one step.
const PAGE: usize = 200;

/// Forgets acts that were noted longer ago than this. What does not follow from the entry before stays, and so does all
/// behind it: it is evidence.
pub(super) async fn forget_old_acts<S: Store>(store: &S, kept: Duration) -> Result<(), StoreError> {
    loop {
        let ends = store.acts_ends().await?;
        let before = ends.now - kept;
        let mut follower = Follower::new(ends.anchor.clone());
        let lines = store.acts(ends.anchor.as_ref().map_or(0, |anchor| anchor.number), PAGE).await?;
        let old = lines
            .iter()
            .take_while(|line| line.entry().is_some_and(|entry| entry.at < before) && follower.follow(line).is_ok());
        let count = old.count();
        let Some(anchor) = follower.last().filter(|_| count > 0) else { return Ok(()) };
        if !store.cut_acts(anchor).await? || count < PAGE {
            return Ok(());
        }
    }
}

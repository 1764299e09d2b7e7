//! The calls that a system allows in a stretch of time, shared by all processes that call it (B19).

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::rate::{self, Window};
use crate::domain::{Failure, Timestamp};

/// Counts the calls of a system.
#[async_trait]
pub trait CallBudget: Debug + Send + Sync {
    /// Takes a call of a kind (`bucket`). `None` if it may be made now; otherwise nothing was taken, and this is how long
    /// to wait at least.
    ///
    /// # Errors
    /// The count cannot be reached. Then no call is made: the others would not know of it.
    async fn take(&self, bucket: &'static str, windows: &[Window], urgent: bool) -> Result<Option<Duration>, Failure>;
}

/// Counts the calls of this process alone: for checks, and wherever there is no store.
#[derive(Debug)]
pub struct OwnCalls {
    began: Instant,
    taken: Mutex<Vec<(&'static str, Timestamp)>>,
}

impl Default for OwnCalls {
    fn default() -> Self {
        Self { began: Instant::now(), taken: Mutex::default() }
    }
}

#[async_trait]
impl CallBudget for OwnCalls {
    async fn take(&self, bucket: &'static str, windows: &[Window], urgent: bool) -> Result<Option<Duration>, Failure> {
        let now = Timestamp(0) + self.began.elapsed();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|(of, at)| *of != bucket || *at + rate::longest(windows) > now);
        let of_bucket: Vec<Timestamp> = taken.iter().filter(|(of, _)| *of == bucket).map(|(_, at)| *at).collect();
        let wait = rate::wait(&of_bucket, windows, now, urgent);
        if wait.is_none() {
            taken.push((bucket, now));
        }
        Ok(wait)
    }
}

/// What a client keeps to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The windows of its calls.
    pub windows: Vec<Window>,
    /// Who counts.
    pub budget: std::sync::Arc<dyn CallBudget>,
}

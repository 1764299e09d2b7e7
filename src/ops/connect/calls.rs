//! The count of a system's calls, kept in the store by all processes that call it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::rate::Window;
use crate::domain::{Code, Failure, FailureClass, SystemName};
use crate::store::Store;
use crate::systems::budget::CallBudget;

/// The calls of one system.
pub struct SharedCalls<S> {
    pub store: S,
    pub system: SystemName,
}

impl<S> fmt::Debug for SharedCalls<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCalls").field("system", &self.system).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Store> CallBudget for SharedCalls<S> {
    async fn take(&self, bucket: &'static str, windows: &[Window], urgent: bool) -> Result<Option<Duration>, Failure> {
        let taken = self.store.take_call(&self.system, bucket, windows, urgent).await;
        taken.map_err(|error| {
            let text = format!("the calls cannot be counted: {error}");
            Failure::new(FailureClass::Transient, Code::known("not_sent"), text)
        })
    }
}

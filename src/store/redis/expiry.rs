//! What was kept long enough. Most of it Redis lets expire by itself; streams are trimmed when something is added, and here.

use super::RedisStore;
use super::script::{Call, EXPIRE};
use crate::domain::ConnectionName;
use crate::store::StoreError;
use crate::store::acts::forget_old_acts;

impl RedisStore {
    /// See [`Store::expire`](crate::store::Store::expire).
    pub(super) async fn forget_old(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        let keys = self.keys(connection);
        let mut call = Call::new([keys.history(), keys.journal()]);
        call.number(self.retention.conflicts.as_millis());
        EXPIRE.run::<()>(&mut *self.pool.lend().await?, &call).await?;
        forget_old_acts(self, self.retention.audit).await
    }
}

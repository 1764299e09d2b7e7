//! Whether the server is set up so that the store can keep its promises.

use std::collections::HashMap;

use redis::{ErrorKind, ServerErrorKind};

use super::RedisStore;
use super::pool::{failed, info_field};
use crate::store::StoreError;

/// `EVALSHA`, `XTRIM MINID` and what else the scripts use are there from here on.
const OLDEST: (u32, u32) = (6, 2);

impl RedisStore {
    /// Looks at the server's version and settings before anything relies on them. Returns warnings for the operator.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unusable`] for a server that would lose data in silence: one that evicts keys when its memory is
    /// full; and for one that is too old, or whose account may not run `INFO`.
    pub async fn verify(&self) -> Result<Vec<String>, StoreError> {
        let mut server = self.pool.lend().await?;
        let mut info = String::new();
        for section in ["server", "memory", "persistence", "replication"] {
            let text: String = redis::cmd("INFO").arg(section).query_async(&mut *server).await.map_err(failed)?;
            info.push_str(&text);
        }
        // A server that loads or follows another answers `INFO`, and nothing else.
        redis::cmd("EXISTS").arg(&*self.prefix).exec_async(&mut *server).await.map_err(failed)?;

        let version = info_field(&info, "redis_version").unwrap_or("unknown");
        let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
        if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
            return Err(StoreError::Unusable(format!(
                "the store is Redis {version}; {}.{} or later is needed",
                OLDEST.0, OLDEST.1
            )));
        }
        let mut warnings = Vec::new();
        let limit = info_field(&info, "maxmemory").and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
        let policy = info_field(&info, "maxmemory_policy").unwrap_or("unknown");
        if policy != "noeviction" {
            let problem =
                format!("the store's maxmemory-policy is {policy}: set it to noeviction, or links vanish in silence");
            if limit > 0 {
                return Err(StoreError::Unusable(problem));
            }
            warnings.push(format!("{problem} as soon as maxmemory is set"));
        }
        if limit == 0 {
            warnings.push(
                "the store has no maxmemory: when the machine runs out of memory, the server is killed".to_owned(),
            );
        }
        if info_field(&info, "role").is_some_and(|role| role != "master") {
            warnings.push("the store is a replica: it takes no writes".to_owned());
        }
        if info_field(&info, "aof_enabled") != Some("1") {
            let config: Result<HashMap<String, String>, _> =
                redis::cmd("CONFIG").arg("GET").arg("save").query_async(&mut *server).await;
            match config {
                Ok(config) if config.get("save").is_some_and(|save| !save.is_empty()) => warnings.push(
                    "the store keeps snapshots only (appendonly is off): after a restart both sides of every connection \
                     are read again"
                        .to_owned(),
                ),
                Ok(_) => warnings.push(
                    "the store keeps nothing on disk: after a restart both sides of every connection are read again \
                     and all links are found anew"
                        .to_owned(),
                ),
                Err(error) if is_forbidden(&error) => warnings.push(
                    "whether the store makes snapshots could not be checked: its account may not run CONFIG GET"
                        .to_owned(),
                ),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(warnings)
    }
}

/// Forbidden by the account's rights, or renamed away as some hosts do.
fn is_forbidden(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || error.detail().is_some_and(|detail| detail.starts_with("unknown command"))
}

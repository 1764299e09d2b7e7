//! The store's memory of a connection, and what this process remembers of it. A store that forgot is found out by
//! whoever remembers more: each commit is a tick, and the highest tick seen is kept here, out of the store's reach.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{FromRedisValue, Value};

use super::RedisStore;
use super::pool::{Connected, failed};
use super::script::{Call, EPOCH, Script};
use crate::domain::{ConnectionName, Epoch, Timestamp};
use crate::store::{EpochState, StoreError};

/// Rounds in which a call may find the server restarted once more before it gives up.
const ROUNDS: usize = 4;

/// What this process knows of the store's memory of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    epoch: Epoch,
    began_at: Timestamp,
    /// The highest tick seen.
    tick: u64,
    /// The run id that was current when it was seen.
    run_id: Arc<str>,
}

/// What this process knows, by connection.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: Mutex<HashMap<ConnectionName, Known>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionName, Known>> {
        // Each change is one assignment, so a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, connection: &ConnectionName) -> Option<Known> {
        self.lock().get(connection).cloned()
    }

    fn set(&self, connection: &ConnectionName, known: Known) {
        let mut all = self.lock();
        match all.get_mut(connection) {
            // Another task may have seen a later answer of the same server meanwhile.
            Some(held) if held.epoch == known.epoch && held.run_id == known.run_id && held.tick > known.tick => {}
            _ => {
                all.insert(connection.clone(), known);
            }
        }
    }

    fn learn(&self, connection: &ConnectionName, epoch: Epoch, tick: u64) {
        if let Some(known) = self.lock().get_mut(connection)
            && known.epoch == epoch
        {
            known.tick = known.tick.max(tick);
        }
    }
}

/// Whether a new epoch may begin where the memory was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnLoss {
    Begin,
    Report,
}

/// What the head of a guarded script's answer says.
enum Guarded {
    /// It ran; the rest of the answer.
    Passed(std::vec::IntoIter<Value>),
    /// It did nothing: another server process stands behind the store, or has been taken over by somebody.
    Restarted,
    /// It did nothing: this is not the memory that the caller knew.
    Changed,
}

impl RedisStore {
    /// See [`Store::epoch`](crate::store::Store::epoch).
    pub(super) async fn current_epoch(&self, connection: &ConnectionName) -> Result<EpochState, StoreError> {
        let mut server = self.pool.lend().await?;
        self.look_closer(&mut server, connection, OnLoss::Begin).await
    }

    /// What this process knows of the connection's memory; asks the store if it knows nothing yet.
    async fn known(&self, server: &mut Connected, connection: &ConnectionName) -> Result<Known, StoreError> {
        if let Some(known) = self.memory.get(connection) {
            return Ok(known);
        }
        self.recall(server, connection).await?;
        self.memory.get(connection).ok_or_else(|| StoreError::EpochChanged(connection.clone()))
    }

    /// Makes sure that the memory survived, and remembers the server that now holds it.
    pub(super) async fn recall(&self, server: &mut Connected, connection: &ConnectionName) -> Result<(), StoreError> {
        self.look_closer(server, connection, OnLoss::Report).await.map(drop)
    }

    async fn look_closer(
        &self,
        server: &mut Connected,
        connection: &ConnectionName,
        on_loss: OnLoss,
    ) -> Result<EpochState, StoreError> {
        let known = self.memory.get(connection);
        let fresh = match on_loss {
            OnLoss::Begin => Epoch(fastrand::u64(..)).to_string(),
            OnLoss::Report => String::new(),
        };
        let mut call = Call::new([self.keys(connection).epoch()]);
        call.arg(server.run_id.as_bytes());
        match &known {
            Some(known) => {
                call.arg(known.epoch.to_string()).number(known.tick).arg(known.run_id.as_bytes());
                call.number(known.began_at.0);
            }
            None => {
                call.arg("").number(0).arg("").number(0);
            }
        }
        call.arg(fresh);
        let (outcome, id, tick, run_id, began_at, now): (String, String, u64, String, i64, i64) =
            EPOCH.run(server, &call).await?;
        if outcome == "lost" {
            return Err(StoreError::EpochChanged(connection.clone()));
        }
        let epoch = id
            .parse()
            .map_err(|_| StoreError::Unusable(format!("connection {connection}: its epoch in the store is no id")))?;
        if outcome == "begun" {
            tracing::warn!(%connection, %epoch, "Began a new memory of connection {connection}: both sides are read again");
        }
        let began_at = Timestamp(began_at);
        self.memory.set(connection, Known { epoch, began_at, tick, run_id: run_id.into() });
        Ok(EpochState { id: epoch, began_at, now: Timestamp(now) })
    }

    /// Runs a guarded script until its server is one that was looked at. `call` adds what follows the guard's arguments.
    /// Returns the epoch in which it ran and what it answered after its status and tick.
    pub(super) async fn guarded(
        &self,
        script: &Script,
        connection: &ConnectionName,
        keys: Vec<String>,
        fill: impl Fn(&mut Call) + Send,
    ) -> Result<(Epoch, std::vec::IntoIter<Value>), StoreError> {
        self.guarded_in(None, script, connection, keys, fill).await
    }

    /// The same, in no other epoch than `expected`: this process may have learnt of a new one since the caller did.
    pub(super) async fn guarded_in(
        &self,
        expected: Option<Epoch>,
        script: &Script,
        connection: &ConnectionName,
        keys: Vec<String>,
        fill: impl Fn(&mut Call) + Send,
    ) -> Result<(Epoch, std::vec::IntoIter<Value>), StoreError> {
        let mut server = self.pool.lend().await?;
        for _ in 0..ROUNDS {
            let known = self.known(&mut server, connection).await?;
            if expected.is_some_and(|expected| expected != known.epoch) {
                return Err(StoreError::EpochChanged(connection.clone()));
            }
            let mut call = Call::new(keys.clone());
            known.guard(&mut call, &server);
            fill(&mut call);
            let answer = script.run(&mut server, &call).await?;
            match self.pass(connection, known.epoch, answer)? {
                Guarded::Passed(rest) => return Ok((known.epoch, rest)),
                Guarded::Changed => return Err(StoreError::EpochChanged(connection.clone())),
                Guarded::Restarted => self.recall(&mut server, connection).await?,
            }
        }
        Err(StoreError::Unavailable("the server changes again and again".to_owned()))
    }

    /// Reads the head of a guarded script's answer, and remembers the tick.
    fn pass(&self, connection: &ConnectionName, epoch: Epoch, answer: Vec<Value>) -> Result<Guarded, StoreError> {
        let mut answer = answer.into_iter();
        let status: String = part(&mut answer)?;
        Ok(match status.as_str() {
            "changed" => Guarded::Changed,
            "restarted" => Guarded::Restarted,
            _ => {
                self.memory.learn(connection, epoch, part(&mut answer)?);
                Guarded::Passed(answer)
            }
        })
    }
}

impl Known {
    /// The arguments that the scripts' `guard` looks at.
    fn guard(&self, call: &mut Call, server: &Connected) {
        call.arg(self.epoch.to_string()).number(self.tick).arg(self.run_id.as_bytes()).arg(server.run_id.as_bytes());
    }
}

/// The next part of a script's answer.
pub(super) fn part<T: FromRedisValue>(answer: &mut std::vec::IntoIter<Value>) -> Result<T, StoreError> {
    redis::from_redis_value(answer.next().unwrap_or(Value::Nil)).map_err(|error| failed(error.into()))
}

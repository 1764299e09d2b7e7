//! The scripts, and how they are run: by their hash, sent whole only to a server that does not know them.

use std::sync::LazyLock;

use redis::{ErrorKind, FromRedisValue, Pipeline, RedisResult, ServerErrorKind, ToRedisArgs};

use super::pool::{Connected, failed};
use crate::store::StoreError;

macro_rules! scripts {
    ($($name:ident = $file:literal,)+) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("common.lua"), include_str!($file))));)+
    };
}

scripts! {
    ABANDON = "abandon.lua",
    AMEND_RUN = "amend_run.lua",
    BEGIN_RUN = "begin_run.lua",
    COMMIT = "commit.lua",
    EPOCH = "epoch.lua",
    FIND = "find.lua",
    LEASE = "lease.lua",
    LOAD = "load.lua",
    PAUSE = "pause.lua",
    PAUSE_WRITES = "pause_writes.lua",
    READER = "reader.lua",
    RELEASE = "release.lua",
    REREAD_DONE = "reread_done.lua",
    RESERVE = "reserve.lua",
    SET_READER = "set_reader.lua",
    SPEND = "spend.lua",
    STAMP = "stamp.lua",
    TAKE_CALL = "take_call.lua",
}

/// A Lua script.
pub(super) struct Script {
    code: &'static str,
    sha: String,
}

/// Keys and arguments of one run of a script.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    /// Without arguments yet.
    pub(super) fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self { keys: keys.into_iter().collect(), args: Vec::new() }
    }

    /// Adds an argument.
    pub(super) fn arg(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        self.args.push(arg.as_ref().to_vec());
        self
    }

    /// Adds a number as argument.
    pub(super) fn number(&mut self, number: impl ToString) -> &mut Self {
        self.args.push(number.to_string().into_bytes());
        self
    }
}

/// How often a script is sent to a server that forgets it again.
pub(super) const ROUNDS: usize = 4;

/// The server forgets scripts as fast as they are sent.
pub(super) fn forgetful() -> StoreError {
    StoreError::Unavailable("the server does not keep scripts".to_owned())
}

/// What a script in a batch answered.
pub(super) enum Answer<T> {
    /// It ran.
    Ran(T),
    /// It did not run at all: the server did not know it.
    Unknown,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, sha: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs it once.
    pub(super) async fn run<T: FromRedisValue>(&self, server: &mut Connected, call: &Call) -> Result<T, StoreError> {
        for _ in 0..ROUNDS {
            // Unknown to the server, it surely did not run.
            if let Some(Answer::Ran(answer)) = self.run_batch(server, &[call]).await?.pop() {
                return Ok(answer);
            }
        }
        Err(forgetful())
    }

    /// Runs it for each call in one round trip. Where the server did not know it, it does afterwards, and the caller
    /// decides what to repeat. The first error of any is the error of all.
    pub(super) async fn run_batch<T: FromRedisValue>(
        &self,
        server: &mut Connected,
        calls: &[&Call],
    ) -> Result<Vec<Answer<T>>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for call in calls {
            pipeline.cmd("EVALSHA").arg(&self.sha).arg(call.keys.len());
            push(&mut pipeline, &call.keys);
            push(&mut pipeline, &call.args);
        }
        let answers: Vec<RedisResult<T>> = pipeline.ignore_errors().query_async(server).await.map_err(failed)?;
        let answers = answers
            .into_iter()
            .map(|answer| match answer {
                Ok(answer) => Ok(Answer::Ran(answer)),
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => Ok(Answer::Unknown),
                Err(error) => Err(failed(error)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if answers.iter().any(|answer| matches!(answer, Answer::Unknown)) {
            let load = redis::cmd("SCRIPT").arg("LOAD").arg(self.code).to_owned();
            load.query_async::<String>(server).await.map_err(failed)?;
        }
        Ok(answers)
    }
}

fn push<T: ToRedisArgs>(pipeline: &mut Pipeline, args: &[T]) {
    for arg in args {
        pipeline.arg(arg);
    }
}

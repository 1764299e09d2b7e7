//! The scripts, and how they are run: by their hash, sent whole only to a server that does not know them.

use std::fmt::Display;
use std::io::Write;
use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, FromRedisValue, ServerErrorKind};

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
    APPEND_ACT = "append_act.lua",
    BEGIN_RUN = "begin_run.lua",
    COMMIT = "commit.lua",
    CUT_ACTS = "cut_acts.lua",
    EPOCH = "epoch.lua",
    EXPIRE = "expire.lua",
    FILE_LETTERS = "file_letters.lua",
    FIND = "find.lua",
    LEASE = "lease.lua",
    LOAD = "load.lua",
    PAUSE = "pause.lua",
    PAUSE_WRITES = "pause_writes.lua",
    READER = "reader.lua",
    RELEASE = "release.lua",
    REREAD_DONE = "reread_done.lua",
    RESERVE = "reserve.lua",
    REWRITTEN = "rewritten.lua",
    SAVE_CIRCUIT = "save_circuit.lua",
    SAVE_REDRIVE = "save_redrive.lua",
    SET_READER = "set_reader.lua",
    SET_TIMETABLE = "set_timetable.lua",
    SET_WATCH = "set_watch.lua",
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
    /// The arguments, one behind the other: a batch has thousands.
    args: Vec<u8>,
    /// Where each argument ends.
    ends: Vec<usize>,
}

impl Call {
    /// Without arguments yet.
    pub(super) fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self { keys: keys.into_iter().collect(), ..Self::default() }
    }

    /// Adds an argument.
    pub(super) fn arg(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        self.args.extend_from_slice(arg.as_ref());
        self.ends.push(self.args.len());
        self
    }

    /// Adds a text as argument.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        write!(self.args, "{text}").expect("memory takes what is written");
        self.ends.push(self.args.len());
        self
    }

    /// Adds a number as argument.
    pub(super) fn number(&mut self, number: impl Display) -> &mut Self {
        self.text(number)
    }

    fn args(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.args[begin..*end])
    }
}

/// How often a script is sent to a server that forgets it again.
const ROUNDS: usize = 4;

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, sha: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs it once.
    pub(super) async fn run<T: FromRedisValue>(&self, server: &mut Connected, call: &Call) -> Result<T, StoreError> {
        let mut command = Cmd::with_capacity(3 + call.keys.len() + call.ends.len(), call.args.len());
        command.arg("EVALSHA").arg(&self.sha).arg(call.keys.len()).arg(&call.keys);
        for arg in call.args() {
            command.arg(arg);
        }
        for _ in 0..ROUNDS {
            match command.query_async(server).await {
                // Unknown to the server, it surely did not run.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    let load = redis::cmd("SCRIPT").arg("LOAD").arg(self.code).to_owned();
                    load.query_async::<String>(server).await.map_err(failed)?;
                }
                answer => return answer.map_err(failed),
            }
        }
        Err(StoreError::Unavailable("the server does not keep scripts".to_owned()))
    }
}

//! Exit statuses of the command line.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: it failed; standard error says why.
    Failed,
    /// 2: the command line or the configuration is wrong; nothing was done.
    Usage,
    /// 3: done, and something waits for a person: letters, holds, refused or unreadable accounts.
    Attention,
    /// 4: nothing was done, and a sync would change something.
    Changes,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Attention => 3,
            Exit::Changes => 4,
        })
    }
}

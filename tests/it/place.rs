//! An installation in either mode, for what is the same in both.

use serde_json::Value;

use super::embedded_run::Home;
use super::processes::{Installation, Outcome, Report};

/// Where an installation keeps what it knows.
#[derive(Debug, Clone, Copy)]
pub enum On {
    /// RabbitMQ and Redis.
    Servers,
    /// One file.
    File,
}

/// An installation.
pub enum Place {
    Servers(Installation),
    File(Home),
}

impl On {
    /// An installation with these tables of systems and connections, and these lines in its table `[writer]`.
    pub async fn installation(self, systems: &str, writer: &'static str) -> Place {
        match self {
            Self::Servers => Place::Servers(Installation::with(systems, writer).await),
            Self::File => Place::File(Home::with(&format!("[writer]\n{writer}\n\n{systems}"))),
        }
    }
}

impl Place {
    /// Runs `muster` with these arguments.
    pub async fn muster(&self, arguments: &[&str]) -> Outcome {
        match self {
            Self::Servers(muster) => muster.muster(arguments).await,
            Self::File(muster) => muster.muster(arguments).await,
        }
    }

    /// Syncs the connection and waits; `more` are further arguments.
    pub async fn sync(&self, more: &[&str]) -> Report {
        match self {
            Self::Servers(muster) => muster.sync(more).await,
            Self::File(muster) => muster.sync(more).await,
        }
    }

    /// Open letters.
    pub async fn letters(&self) -> Vec<Value> {
        match self {
            Self::Servers(muster) => muster.letters().await,
            Self::File(muster) => muster.letters().await,
        }
    }
}

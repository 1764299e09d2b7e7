//! The arguments of `muster bench`, and what they ask for.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::{Addresses, Options};
use crate::config::{Config, Infrastructure, Listen, LogFormat, ProcessEnvironment, TelemetryConfig};
use crate::ops::sync::UsageError;
use crate::telemetry::logs;

/// See the module.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The RabbitMQ to measure on, such as amqp://user@host:5672/%2f; default: that of the configuration, if it has one.
    #[arg(long, value_name = "URL", requires = "redis")]
    amqp: Option<Url>,
    /// The Redis to measure on, such as redis://host:6379/0; default: that of the configuration, if it has one.
    #[arg(long, value_name = "URL", requires = "amqp")]
    redis: Option<Url>,
    /// One short round: shows that it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// People in the roster that is loaded and then reconciled with nothing to do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: Option<u32>,
    /// Changes in a round; rounded up to fives.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(400..=1_000_000))]
    changes: Option<u32>,
    /// Rounds; the figures are medians of them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// Only rounds of contenders whose name contains this, for whoever works on one: no rosters, latencies and calls.
    #[arg(long, value_name = "TEXT", conflicts_with = "users")]
    only: Option<String>,
    /// Where the file of the embedded mode is put meanwhile: on a disk, not in memory.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Print what goes into docs/performance.md.
    #[arg(long)]
    markdown: bool,
}

impl Arguments {
    /// What they ask for. The configuration is read only for its servers, and only if it is there.
    pub fn options(self, config: &Path) -> anyhow::Result<Options> {
        let (config, servers) = match (self.amqp, self.redis) {
            (Some(amqp), Some(redis)) => (None, Some(Addresses::new(amqp, redis))),
            _ if config.exists() => {
                let config =
                    Config::load(config, &ProcessEnvironment).map_err(|errors| UsageError::new(errors.to_string()))?;
                let servers = Addresses::of(&config);
                (Some(config), servers)
            }
            _ => (None, None),
        };
        let listen = Listen { producer: None, mapper: None, writer: None, run: None };
        let telemetry = TelemetryConfig { listen, log: LogFormat::Text, filter: "error".to_owned() };
        logs::init_quiet(config.as_ref().map_or(&telemetry, |config| &config.telemetry)).context("starting the log")?;
        let size = |thorough, quick| if self.quick { quick } else { thorough };
        Ok(Options {
            servers,
            rounds: self.rounds.unwrap_or(size(7, 1)) as usize,
            changes: self.changes.unwrap_or(size(10_000, 1_000)).next_multiple_of(5),
            users: self.users.unwrap_or(size(20_000, 500)),
            called_users: size(5_000, 450) as usize,
            only: self.only,
            folder: self.folder,
            markdown: self.markdown,
        })
    }
}

impl Addresses {
    /// These, their passwords apart.
    fn new(mut amqp: Url, mut redis: Url) -> Self {
        let password = |url: &mut Url| {
            let password = url.password().map(|password| SecretString::from(password.to_owned()));
            // What has no host has no password either.
            url.set_password(None).ok();
            password
        };
        Self { amqp_password: password(&mut amqp), redis_password: password(&mut redis), amqp, redis }
    }

    /// The servers of a configuration; `None`: it has a file instead.
    fn of(config: &Config) -> Option<Self> {
        match &config.infrastructure {
            Infrastructure::Servers { broker, store } => Some(Self {
                amqp: broker.url.clone(),
                amqp_password: broker.password.clone(),
                redis: store.url.clone(),
                redis_password: store.password.clone(),
            }),
            Infrastructure::File { .. } => None,
        }
    }
}

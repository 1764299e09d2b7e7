//! `[writer]` and `[telemetry]`: how processes work and what they show of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::shape::{Either, Lasting, Mapped, Text, Whole, Words, show_duration};
use super::table::Table;

/// The least time that a lease must last longer than a request under it: the request is sent, answered and its answer
/// committed while the lease is held.
pub const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// How writers write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterConfig {
    /// Failed attempts at a command before it becomes a dead letter.
    pub attempts: u32,
    /// How long a writer holds a side of a link for one write.
    pub lease: Duration,
    /// When a write that has no answer is given up; at least [`LEASE_MARGIN`] shorter than the lease.
    pub request_timeout: Duration,
    /// Batches that a writer process has in hand at once.
    pub concurrency: u32,
}

/// What a process shows of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Where metrics and health pages are served; a process whose entry is `None` serves none.
    pub listen: Listen,
    /// The form of log lines.
    pub log: LogFormat,
    /// Which log lines are written: directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// One address for each kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Of `muster-producer`.
    pub producer: Option<SocketAddr>,
    /// Of `muster-mapper`.
    pub mapper: Option<SocketAddr>,
    /// Of `muster-writer`.
    pub writer: Option<SocketAddr>,
    /// Of `muster run`, which is all three in one process.
    pub run: Option<SocketAddr>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn writer(table: &mut Table<'_, '_>) -> Option<WriterConfig> {
    let second = Duration::from_secs(1);
    let attempts = table.default(
        "attempts",
        Whole(1..=100_u32),
        8,
        "Failed attempts before a command becomes a dead letter; up to twice as many while most calls of its system fail. Waiting for \
         a throttling or busy target costs none.",
    );
    let lease = table.default(
        "lease",
        Lasting(3 * second..=600 * second),
        12 * second,
        "How long a writer holds one side of a link for a write.",
    );
    let request_timeout = table.default(
        "request_timeout",
        Lasting(second / 10..=598 * second),
        8 * second,
        "When a write without an answer is given up; at least 2 s shorter than the lease.",
    );
    let concurrency = table.default("concurrency", Whole(1..=256_u32), 8, "Batches that a writer has in hand at once.");
    let (lease, request_timeout) = (lease?, request_timeout?);
    if request_timeout + LEASE_MARGIN > lease {
        let key = if table.has("request_timeout") { "request_timeout" } else { "lease" };
        let (shown, least) = (show_duration(request_timeout), show_duration(request_timeout + LEASE_MARGIN));
        let problem =
            format!("a request of {shown} may outlive the lease of {} that it is sent under", show_duration(lease));
        let most = show_duration(lease.saturating_sub(LEASE_MARGIN));
        table.mistake(
            key,
            problem,
            format!("set lease = {least:?} or longer, or request_timeout = {most:?} or shorter"),
        );
        return None;
    }
    Some(WriterConfig { attempts: attempts?, lease, request_timeout, concurrency: concurrency? })
}

pub(super) fn telemetry(table: &mut Table<'_, '_>) -> Option<TelemetryConfig> {
    let everywhere = |Address(address)| Listen { producer: address, mapper: address, writer: address, run: address };
    let listen = table.optional(
        "listen",
        Either(Mapped(ADDRESS, everywhere), listen),
        "Where metrics and health pages are served: an address, \"off\", or one for each kind of process. By default \
         ports 9464 (producer), 9465 (mapper), 9466 (writer) and 9467 (muster run) of this host.",
    );
    let log = table.default(
        "log",
        Words(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        LogFormat::Text,
        "The form of log lines, on standard error.",
    );
    let filter = table.default(
        "filter",
        Text {
            what: "a log filter",
            rule: "a log filter is a level such as \"info\", or directives such as \"info,muster::broker=debug\"",
            parse: |text| tracing_subscriber::EnvFilter::try_new(text).is_ok().then(|| text.to_owned()),
        },
        "info".to_owned(),
        "Which log lines are written. The variable MUSTER_LOG has precedence.",
    );
    let listen = listen?.unwrap_or(Listen {
        producer: local(9464).0,
        mapper: local(9465).0,
        writer: local(9466).0,
        run: local(9467).0,
    });
    Some(TelemetryConfig { listen, log: log?, filter: filter? })
}

/// An address, or none.
struct Address(Option<SocketAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

const ADDRESS: Text<Address> = Text {
    what: "an address to listen on",
    rule: "an address is \"ip:port\", such as \"127.0.0.1:9464\" (port 0: any free one), or \"off\"",
    parse: |text| match text {
        "off" => Some(Address(None)),
        _ => text.parse().ok().map(|address| Address(Some(address))),
    },
};

fn local(port: u16) -> Address {
    Address(Some(SocketAddr::from(([127, 0, 0, 1], port))))
}

fn listen(table: &mut Table<'_, '_>) -> Option<Listen> {
    let producer = table.default("producer", ADDRESS, local(9464), "Of muster-producer.");
    let mapper = table.default("mapper", ADDRESS, local(9465), "Of muster-mapper.");
    let writer = table.default("writer", ADDRESS, local(9466), "Of muster-writer.");
    let run = table.default("run", ADDRESS, local(9467), "Of `muster run`.");
    Some(Listen { producer: producer?.0, mapper: mapper?.0, writer: writer?.0, run: run?.0 })
}

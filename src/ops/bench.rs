//! `muster bench`: what Muster costs, beside what the same work costs without it. In one run, on the same machine and
//! servers, contenders take turns: bare loops, a skeleton that does all of Muster's input and output without its logic, and
//! Muster itself, over servers and over a file. Every figure is the middle of several rounds.
//!
//! Only mapper and writer are between the publish of a change and the target's answer; the producer is part of what is
//! measured of whole rosters. Both stages run in this process, with the target's imitation, as `muster run` runs them.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::output::{self, Form};
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::{Broker as _, Queue};
use crate::database::Database;
use crate::domain::{Side, SystemName};
use crate::store::embedded::EmbeddedStore;

mod arguments;
mod bare;
mod calls;
mod contender;
mod drive;
mod hall;
mod ledger;
mod process;
mod progress;
mod reconcile;
mod report;
mod rig;
mod roster;
mod servers;
mod skeleton;

pub use arguments::Arguments;
pub use servers::Addresses;

use contender::{Batch, Series};
use drive::Meters;
use hall::Hall;
use process::{Machine, Process};
use progress::Progress;
use reconcile::Reconcile;
use report::{Latency, Report};
use rig::{Pair, Rig};
use servers::Servers;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The servers; without them only the embedded mode is measured.
    pub servers: Option<Addresses>,
    /// Rounds.
    pub rounds: usize,
    /// Changes in a round.
    pub changes: u32,
    /// People in the roster that is loaded and reconciled.
    pub users: u32,
    /// Users that calls are counted with.
    pub called_users: usize,
    /// Only rounds of contenders whose name contains this.
    pub only: Option<String>,
    /// Where the embedded mode's file is put; it belongs on a disk.
    pub folder: PathBuf,
    /// What is printed at the end, where that is for people.
    pub markdown: bool,
}

/// Measures everything and prints it.
///
/// # Errors
/// If it was stopped, or a contender did not do what it was to do: a wrong figure is worse than none.
pub async fn run(options: Options, stop: CancellationToken, form: Form) -> anyhow::Result<Exit> {
    let report = measure(&options, &stop).await?;
    match form {
        Form::Json => output::object(&report),
        Form::Text if options.markdown => report.print_markdown(),
        Form::Text => report.print(),
    }
    Ok(Exit::Done)
}

async fn measure(options: &Options, stop: &CancellationToken) -> anyhow::Result<Report> {
    let mut progress = Progress::new();
    let machine = Machine::look(&options.folder)?;
    let servers = match &options.servers {
        Some(addresses) => Some(Servers::connect(addresses.clone()).await?),
        None => None,
    };
    let measured = tokio::select! {
        measured = measure_all(options, servers.as_ref(), &mut progress) => measured,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the end of the benchmark")),
    };
    if let Some(servers) = &servers {
        progress.say("removing queues and keys");
        let cleaned = servers.clean_up(&homes()?, &[bare::QUEUE, skeleton::QUEUES[0], skeleton::QUEUES[1]]).await;
        // What went wrong first is what matters.
        if measured.is_ok() {
            cleaned?;
        }
    }
    let Measured { contenders, latencies, reconciles, salesforce_calls, change_bytes, document_bytes } = measured?;
    let store = match &servers {
        Some(servers) => Some(servers.versions().await?),
        None => None,
    };
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        machine,
        store,
        rounds: options.rounds,
        changes: options.changes,
        change_bytes,
        document_bytes,
        aims: report::aims(&contenders, &reconciles, salesforce_calls.as_ref()),
        contenders,
        latencies,
        reconciles,
        salesforce_calls,
    })
}

struct Measured {
    contenders: Vec<Series>,
    latencies: Vec<Latency>,
    reconciles: Vec<Reconcile>,
    salesforce_calls: Option<calls::Calls>,
    change_bytes: usize,
    document_bytes: Option<usize>,
}

async fn measure_all(
    options: &Options,
    servers: Option<&Servers>,
    progress: &mut Progress,
) -> anyhow::Result<Measured> {
    let (mut reconciles, mut salesforce_calls, mut latencies) = (Vec::new(), None, Vec::new());
    if options.only.is_none() {
        // First of all, while this process is as small as `muster run` is.
        reconciles = self::reconciles(options, servers, progress).await?;
        progress.say("counting Salesforce calls");
        salesforce_calls = Some(calls::count(options.called_users, &options.folder).await?);
    }
    progress.say("hiring people");
    let hall = Hall::set(options, servers).await?;
    let contenders = hall.rounds(options.rounds, progress).await?;
    if options.only.is_none() {
        latencies = hall.latencies(&contenders, progress).await?;
    }
    let (change_bytes, document_bytes) = (hall.change_bytes(), hall.document_bytes());
    hall.close().await;
    Ok(Measured { contenders, latencies, reconciles, salesforce_calls, change_bytes, document_bytes })
}

/// The names of the pairs that take one account a call, two hundred, and a whole roster.
const PAIRS: [&str; 3] = ["bench-one", "bench-many", "bench-roster"];

/// Every home queue of the benchmark.
fn homes() -> anyhow::Result<Vec<Queue>> {
    let mut homes = vec![Queue::Changes];
    for name in PAIRS {
        homes.push(Queue::ChangesBulk(name.parse()?));
        for side in Side::BOTH {
            let system: SystemName = format!("{name}-{side}").parse()?;
            homes.extend([Queue::Commands(system.clone()), Queue::CommandsBulk(system)]);
        }
    }
    Ok(homes)
}

/// A whole roster in both modes.
async fn reconciles(
    options: &Options,
    servers: Option<&Servers>,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Reconcile>> {
    let pair = || Ok::<_, anyhow::Error>(vec![Pair::new(PAIRS[2], Batch::Many.size())?]);
    let mut reconciles = Vec::new();
    progress.say(&format!("a roster of {} users, embedded", options.users));
    {
        let file = File::open(&options.folder).await?;
        let rig = file.rig(pair()?).await?;
        let meters = Meters { own: Process::own(), broker: None, store: None };
        reconciles.push(reconcile::run(&rig, "embedded", options.users, &meters).await?);
        rig.pipeline.broker.close().await;
    }
    if let Some(servers) = servers {
        progress.say(&format!("a roster of {} users, over servers", options.users));
        let rig = Rig::new(servers.muster_broker()?, servers.muster_store()?, pair()?)?;
        let mut reconcile = reconcile::run(&rig, "over servers", options.users, &meters(Some(servers))).await?;
        reconcile.bytes_a_link = Some(servers.bytes_a_link(u64::from(options.users)).await?);
        reconciles.push(reconcile);
        rig.pipeline.broker.close().await;
    }
    Ok(reconciles)
}

fn meters(servers: Option<&Servers>) -> Meters {
    Meters {
        own: Process::own(),
        broker: servers.and_then(|servers| servers.broker.clone()),
        store: servers.and_then(|servers| servers.store.clone()),
    }
}

/// A file of the embedded mode, which goes away with this.
struct File {
    database: Database,
    _folder: tempfile::TempDir,
}

impl File {
    async fn open(folder: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        let database = Database::open(&folder.path().join("muster.db"))?;
        database.lead().await?;
        Ok(Self { database, _folder: folder })
    }

    async fn rig(&self, pairs: Vec<Pair>) -> anyhow::Result<Rig<EmbeddedBroker, EmbeddedStore>> {
        Rig::new(EmbeddedBroker::open(&self.database), EmbeddedStore::open(&self.database).await?, pairs)
    }
}

//! `muster check`: is the configuration right, and do the systems, and the servers or the file, agree?

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::connect;
use super::exit::Exit;
use super::output::{self, Form};
use crate::broker::{Broker, BrokerError};
use crate::config::{BrokerConfig, Config, Infrastructure, StoreConfig};
use crate::database::{Database, DatabaseError};
use crate::store::Store;
use crate::systems::Finding;

/// Checks the configuration, and unless `offline` what keeps messages and links, and the systems.
pub async fn run(config: &Config, offline: bool, form: Form) -> anyhow::Result<Exit> {
    let systems = connect::systems(config)?;
    let connections = connect::connections(config, &systems)?;
    let mut findings = vec![Finding::well(format!(
        "configuration: {}, {}",
        output::count(systems.by_name.len(), "system"),
        output::count(connections.len(), "connection")
    ))];
    if !offline {
        findings.extend(infrastructure(config).await?);
        findings.extend(connect::preflight(&systems, &connections).await);
    }
    for finding in &findings {
        match form {
            Form::Json => output::object(finding),
            Form::Text => match &finding.problem {
                None => output::line(format!("ok    {}", finding.subject)),
                Some(problem) => output::line(format!("WRONG {}: {problem}", finding.subject)),
            },
        }
    }
    let wrong = findings.iter().filter(|finding| finding.problem.is_some()).count();
    Ok(if wrong == 0 { Exit::Done } else { Exit::Failed })
}

/// What keeps messages and links.
async fn infrastructure(config: &Config) -> anyhow::Result<Vec<Finding>> {
    match &config.infrastructure {
        Infrastructure::Servers { broker, store } => servers(broker, store).await,
        Infrastructure::File { path } => Ok(vec![file(path).await]),
    }
}

/// Below this, work would end soon.
const LEAST_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// The file of the embedded mode, which is read through. One that is not there yet is not made.
async fn file(path: &Path) -> Finding {
    let shown = path.display();
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let free_bytes = statvfs(folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let (state, problem) = match std::fs::metadata(path) {
        Ok(file) => {
            let problem = unsound(path).await.or_else(|| writable(path).and_then(|()| writable(folder)).err());
            // What a process wrote last may still lie in the log beside it.
            let log = std::fs::metadata(with_suffix(path, "-wal")).map_or(0, |log| log.len());
            (output::bytes(file.len() + log), problem)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            ("made by the first command that works on it".to_owned(), writable(folder).err())
        }
        Err(error) => ("it cannot be looked at".to_owned(), Some(error.to_string())),
    };
    let problem = problem.or_else(|| match free_bytes {
        Ok(free) if free < LEAST_FREE_BYTES => Some("its disk is nearly full; make room".to_owned()),
        _ => None,
    });
    let room = free_bytes.map_or(String::new(), |free| format!(", {} free", output::bytes(free)));
    let subject = format!("file {shown}: {state}{room}");
    problem.map_or_else(|| Finding::well(&subject), |problem| Finding::wrong(&subject, problem))
}

/// Why the file cannot be worked with, if it cannot.
async fn unsound(path: &Path) -> Option<String> {
    let database = match Database::open(path) {
        Ok(database) => database,
        Err(error) => return Some(error.to_string()),
    };
    let damage = database.damage().await;
    database.close().await;
    match damage {
        Ok(None) => None,
        Ok(Some(_)) | Err(DatabaseError::Unusable(_)) => Some("it is damaged; restore a backup".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// SQLite writes the file, and beside it its log and its lock.
fn writable(path: &Path) -> Result<(), String> {
    let shown = if path == Path::new(".") { "this folder".to_owned() } else { path.display().to_string() };
    access(path, Access::WRITE_OK).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("there is no folder {shown}; make it, or change `file`"),
        _ => format!("{shown} cannot be written: {error}"),
    })
}

async fn servers(broker: &BrokerConfig, store: &StoreConfig) -> anyhow::Result<Vec<Finding>> {
    let store = connect::redis(store)?;
    let mut findings = Vec::new();
    match store.verify().await {
        Ok(warnings) => {
            findings.push(Finding::well("store"));
            findings.extend(warnings.into_iter().map(|warning| Finding::well(format!("store: {warning}"))));
            if let Err(error) = store.ping().await {
                findings.push(Finding::wrong("store", error.to_string()));
            }
        }
        Err(error) => findings.push(Finding::wrong("store", error.to_string())),
    }
    let broker = connect::amqp(broker)?;
    let patience = std::time::Duration::from_secs(10);
    let answer = tokio::time::timeout(patience, broker.depths(&[])).await;
    let problem = match answer {
        Ok(Ok(_)) => None,
        Ok(Err(BrokerError::Missing(_))) => {
            findings.push(Finding::well("broker: the queues are declared by the first worker"));
            None
        }
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("it did not answer within {} s; check url, user and password", patience.as_secs())),
    };
    findings.push(problem.map_or_else(|| Finding::well("broker"), |problem| Finding::wrong("broker", problem)));
    broker.close().await;
    Ok(findings)
}

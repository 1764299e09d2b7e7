//! What processes of this machine cost, from `/proc`; and what the machine is.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Ticks of `/proc/<pid>/stat` in a second; Linux has shown a hundred to programs for as long as there is `/proc`.
const TICKS: f64 = 100.0;

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A process whose cost is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pid: String,
}

impl Process {
    /// This process.
    pub fn own() -> Self {
        Self { pid: "self".to_owned() }
    }

    /// The process that listens on this TCP port of this machine and has one of these names; `None` if it is on another
    /// machine, in a container, or somebody else's.
    pub fn listening(port: u16, names: &[&str]) -> Option<Self> {
        let inodes: Vec<String> =
            ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| listeners(table, port)).collect();
        let owns = |pid: &str| {
            let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
            links.any(|link| inodes.iter().any(|inode| link.as_os_str() == format!("socket:[{inode}]").as_str()))
        };
        let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let named = |pid: &String| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            names.contains(&name.trim())
        };
        pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(named)
            .find(|pid| owns(pid))
            .map(|pid| Self { pid })
    }

    /// Processor time used so far, in seconds, by all threads.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name may hold spaces; what follows its bracket does not. There, user and system time are 12th and 13th.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((user + system) / TICKS)
    }

    /// The most memory that it has held since its start, or since [`Self::forget_peak`], in bytes.
    pub fn peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    }

    /// Lets the peak of its memory begin anew. Where that is not allowed, the peak stays that of its whole life.
    pub fn forget_peak(&self) {
        let forget = fs::OpenOptions::new().write(true).open(format!("/proc/{}/clear_refs", self.pid));
        if let Err(error) = forget.and_then(|mut file| file.write_all(b"5")) {
            tracing::debug!("The peak of memory is that of the whole life of process {}: {error}", self.pid);
        }
    }
}

/// The inodes of the sockets that listen on this port.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let rows = fs::read_to_string(table).unwrap_or_default();
    let listening = rows.lines().skip(1).filter_map(|row| {
        let fields: Vec<_> = row.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let of_port = local.rsplit_once(':')?.1 == format!("{port:04X}");
        (of_port && *state == LISTENING).then(|| (*inode).to_owned())
    });
    listening.collect()
}

/// The machine, as far as it matters to the figures. No names of it or of what is on it.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Kind of processor.
    pub processor: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Kernel.
    pub kernel: String,
    /// File system of the folder with the file of the embedded mode.
    pub file_system: String,
    /// How long that disk takes to make 4 KiB durable, in milliseconds: the middle of many.
    pub sync_ms: f64,
    /// Whether this program was built for speed.
    pub release_build: bool,
}

impl Machine {
    /// This one. `folder`: where the embedded mode keeps its file.
    pub fn look(folder: &Path) -> std::io::Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let total = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(Self {
            processor: named.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: total.unwrap_or_default() * 1024,
            kernel: kernel(),
            file_system: file_system(folder),
            sync_ms: sync_time(folder)?.as_secs_f64() * 1e3,
            release_build: !cfg!(debug_assertions),
        })
    }
}

/// `Linux 6.1`: system and version, without what a distributor appends.
fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version: Vec<_> = release.trim().split(['.', '-']).take(2).collect();
    format!("Linux {}", version.join("."))
}

/// The kind of the file system that a folder is on: that of the longest mount point above it.
fn file_system(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (mount, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(mount).then(|| (mount.len(), kind.to_owned()))
    });
    above.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind)
}

/// How long it takes to make a block durable, measured where it matters.
fn sync_time(folder: &Path) -> std::io::Result<Duration> {
    let file = tempfile::tempfile_in(folder)?;
    let block = [0x5a; 4096];
    let mut times = Vec::new();
    for place in 0..64 {
        let began = Instant::now();
        file.write_all_at(&block, place * 4096)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_port_and_its_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let found = Process::listening(port, &["nothing", name.trim()]).unwrap();
        assert_eq!(found.pid, std::process::id().to_string());
        assert_eq!(Process::listening(port, &["nothing"]), None);
        drop(listener);
        assert_eq!(Process::listening(port, &[name.trim()]), None);
    }

    #[test]
    fn a_process_costs_something() {
        let own = Process::own();
        own.forget_peak();
        assert!(own.peak_bytes().unwrap() > 1_000_000);
        assert!(own.cpu_seconds().unwrap() >= 0.0);
        let machine = Machine::look(&std::env::temp_dir()).unwrap();
        assert!(machine.cores > 0 && machine.sync_ms > 0.0 && machine.memory_bytes > 0, "{machine:?}");
    }
}

//! Power that fails while the embedded mode works, imitated on the file of a process that was killed.
//!
//! What a disk holds after a power failure is all that was synced, and any part of what was written since. So after each
//! death of the process the file is changed, in place, into something that a power failure at that moment could have left:
//!
//! - the write-ahead log behind the last commit that anybody was told of is cut at any byte, zeroed from any byte on, has
//!   bits flipped, or lacks some of its sectors. Where the process died between a commit and the word to those who asked for
//!   it (`file.committed`), that commit is such a part: its sync might not have ended.
//! - pages of the database file that a checkpoint may have been writing, those that the log holds, lose some of their
//!   sectors: they become noise.
//! - the index beside the log (`-shm`), which is never synced, is gone.
//!
//! SQLite must then come up with every commit that anybody was told of, and the pipeline must end as ever.
//!
//! What this cannot show: that a disk which says it synced did so (`synchronous=FULL` is all that we can ask for), that the
//! directory entries of a file that was just made are durable, and what a disk does that damages sectors which it is not
//! writing, or tears one that was synced before when it appends to it.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use muster::sandbox::{Sandbox, SandboxSettings};
use muster::store::RunKind;
use rusqlite::Connection;

use super::edits::{Joiners, edit_some, people};
use super::embedded::until_no_message_is_left;
use super::judge::{ask, assert_nothing_lost_and_nothing_doubled, settle};
use super::log::Log;
use super::plan::seed;
use crate::pipeline::{End, ONE_WAY, Parts, Place, Rig, Role, org_and_directory, until, within};
use crate::show::show;

/// The people of the org, at first.
const USERS: usize = 1_000;

/// Power failures.
const FAILURES: u32 = 30;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// How the process dies.
#[derive(Clone, Copy)]
enum Death {
    /// In the middle of a group of jobs, none of it committed.
    BeforeCommit,
    /// A group is in the log, and nobody was told.
    BeforeWord,
    /// Anywhere.
    Anywhere,
}

/// The file and its log.
struct Files {
    database: PathBuf,
    log: PathBuf,
    index: PathBuf,
}

impl Files {
    fn of(database: PathBuf) -> Self {
        let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", database.display()));
        Self { log: beside("-wal"), index: beside("-shm"), database }
    }

    /// All that is in the database and `log`, as SQLite shows it: for each table how many rows it has, and a hash of them.
    /// It looks at a copy.
    fn contents(&self, log: &[u8]) -> BTreeMap<String, (u64, u64)> {
        let folder = tempfile::tempdir_in(self.database.parent().unwrap()).unwrap();
        let copy = Self::of(folder.path().join("copy.db"));
        fs::copy(&self.database, &copy.database).unwrap();
        fs::write(&copy.log, log).unwrap();
        contents(&copy.database)
    }
}

fn contents(path: &Path) -> BTreeMap<String, (u64, u64)> {
    let file = Connection::open(path).unwrap();
    let sound: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let mut tables = file.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    let hashed = |name: String| {
        let mut select = file.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = select.column_count();
        let (mut rows, mut count, mut hasher) = (select.query([]).unwrap(), 0, DefaultHasher::new());
        while let Some(row) = rows.next().unwrap() {
            count += 1;
            (0..columns).for_each(|column| format!("{:?}", row.get_ref(column).unwrap()).hash(&mut hasher));
        }
        (name, (count, hasher.finish()))
    };
    names.map(hashed).collect()
}

/// Changes what was not synced of a log, everything behind `synced`, as a power failure may.
fn damage(log: &mut Vec<u8>, synced: usize, random: &mut fastrand::Rng) -> &'static str {
    let tail = synced..log.len();
    if tail.is_empty() {
        return "nothing to lose";
    }
    match random.u8(..4) {
        0 => {
            log.truncate(random.usize(tail.start..=tail.end));
            "cut"
        }
        1 => {
            let from = random.usize(tail.clone());
            log[from..].fill(0);
            "zeroed"
        }
        2 => {
            for _ in 0..random.u8(1..=8) {
                log[random.usize(tail.clone())] ^= 1 << random.u8(..8);
            }
            "bits flipped"
        }
        _ => {
            for begin in (tail.start / SECTOR * SECTOR..tail.end).step_by(SECTOR) {
                if random.bool() {
                    log[begin.max(tail.start)..(begin + SECTOR).min(tail.end)].fill(0);
                }
            }
            "sectors lost"
        }
    }
}

/// Turns some sectors of those pages of the database into noise that the log holds up to `synced`.
fn tear_pages(database: &Path, log: &Log<'_>, synced: usize, random: &mut fastrand::Rng) -> usize {
    let file = fs::OpenOptions::new().write(true).open(database).unwrap();
    let length = file.metadata().unwrap().len();
    let mut torn = 0;
    for page in log.pages(synced) {
        let at = (u64::from(page) - 1) * log.page_bytes as u64;
        for sector in (0..log.page_bytes).step_by(SECTOR) {
            let at = at + sector as u64;
            if at + SECTOR as u64 <= length && random.u8(..8) == 0 {
                let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(SECTOR).collect();
                file.write_all_at(&noise, at).unwrap();
                torn += 1;
            }
        }
    }
    torn
}

/// What came of one power failure.
#[derive(Default)]
struct Tally {
    failures: u32,
    /// How many of them lost a commit that nobody was told of.
    lost_untold: u32,
    /// Sectors of the database that became noise.
    torn: usize,
    how: BTreeMap<&'static str, u32>,
}

/// The power fails now: the process is dead, and nobody else has the file open.
fn fail_power(files: &Files, death: Death, random: &mut fastrand::Rng, tally: &mut Tally) {
    let Ok(mut bytes) = fs::read(&files.log) else { return };
    let before = bytes.clone();
    let Some(log) = Log::read(&before) else { return };
    let synced = match death {
        // Whoever writes next does so only when the commit before was synced, and one thread tells of them in turn.
        Death::BeforeCommit | Death::Anywhere => log.end(),
        // A checkpoint that followed it has synced it.
        Death::BeforeWord if log.last_is_in(&fs::read(&files.database).unwrap()) => log.end(),
        Death::BeforeWord => log.end_before_last(),
    };
    let (kept, whole) = (files.contents(&before[..synced]), files.contents(&before));
    let how = damage(&mut bytes, synced, random);
    tally.torn += tear_pages(&files.database, &log, synced, random);
    // In place, so that it stays the same file.
    fs::write(&files.log, &bytes).unwrap();
    fs::remove_file(&files.index).unwrap();
    let left = files.contents(&bytes);
    assert!(left == kept || left == whole, "{how} behind byte {synced} of {}: {left:?}\n{kept:?}", before.len());
    tally.failures += 1;
    tally.lost_untold += u32::from(left != whole);
    *tally.how.entry(how).or_default() += 1;
}

/// Whether this process has the file, or its log, open.
fn has_open(file: &Path) -> bool {
    let name = file.to_str().unwrap();
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.into_iter().any(|open| open.to_str().is_some_and(|open| open.starts_with(name)))
}

/// B3, R85: the power fails again and again while the process works. The file comes up with every commit that anybody was
/// told of, and at the end both sides are equal, nobody was created twice, and every outcome is counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_of_outlives_the_power() {
    let (seed, began) = (seed(), Instant::now());
    let mut random = fastrand::Rng::with_seed(seed);
    let sandbox = Sandbox::start(SandboxSettings { users: USERS, seed, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let parts = Parts { place: Place::File, systems: org_and_directory(&sandbox), connection: ONE_WAY };
    let rig = Arc::new(Rig::new("power-loss", &parts));
    let files = Files::of(rig.file());
    let (people, mut joiners, mut edits) = (people(&admin), Joiners::after(USERS, seed, 500), 0);
    let mut tally = Tally::default();

    while tally.failures < FAILURES {
        let death = [Death::BeforeCommit, Death::BeforeWord, Death::BeforeWord, Death::Anywhere][random.usize(..4)];
        let passes = random.u32(10..150);
        let failpoint = match death {
            Death::BeforeCommit => Some(format!("file.before_commit:{passes}")),
            Death::BeforeWord => Some(format!("file.committed:{passes}")),
            Death::Anywhere => None,
        };
        let mut worker = rig.start(Role::Run, failpoint.as_deref());
        edit_some(&admin, &people, &mut random, &mut edits);
        joiners.join(&admin, 2);
        // The process is the first to open what the power failure left.
        let opened =
            || async { fs::read_to_string(rig.file().with_extension("db.lock")).is_ok_and(|held| worker.is(&held)) };
        until("the process works", opened).await;
        ask(&rig.file_store().await, RunKind::Sync).await;
        // Nobody but the process has it open when it dies: whoever comes last tidies up.
        until("the file is closed here", || async { !has_open(&files.database) }).await;
        match death {
            Death::Anywhere => {
                let enough = admin.write_count() + random.u64(1..=6);
                within("there is work to do", admin.wait_until(|admin| admin.write_count() >= enough)).await;
                worker.kill().await;
            }
            Death::BeforeCommit | Death::BeforeWord => {
                let ended = within("the process dies", worker.ended()).await;
                assert!(matches!(ended, End::Failpoint(_)), "{ended:?}");
            }
        }
        fail_power(&files, death, &mut random, &mut tally);
    }
    let Tally { failures, lost_untold, torn, how } = &tally;
    show(format_args!(
        "seed {seed}: the power failed {failures} times ({how:?}), {lost_untold} times a commit was lost that nobody had been \
         told of, {torn} sectors of the database were noise; {:?}",
        began.elapsed()
    ));
    assert!(*lost_untold > 0 && *torn > 0);

    let mut last = rig.start(Role::Run, None);
    let store = rig.file_store().await;
    settle(&store).await;
    rig.sync(&[]).await;
    let rest = rig.sync(&["--full"]).await;
    assert_eq!(rest["emitted"], 0, "{rest}");
    settle(&store).await;
    assert_nothing_lost_and_nothing_doubled(&rig, &admin, &store).await;
    until_no_message_is_left(&rig).await;
    last.kill().await;
    rig.passed();
}

//! `muster simulate`: plays worlds in which everything goes wrong, and tells whether anything that must be true was not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::output::{self, Form};
use crate::simulation::{self, Outcome, Violation};

/// Failed worlds that are told in full; of the others only the seeds.
const TOLD: usize = 3;

/// What is asked for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Arguments {
    /// Worlds to play, each made from a seed of its own.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Worlds to play at once; default: as many as the machine has processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'r> {
    first_seed: u64,
    seeds: u64,
    failed_seeds: Vec<u64>,
    edits: u64,
    simulated_seconds: u64,
    polls: u64,
    seconds: f64,
    seeds_per_second: f64,
    faults: &'r BTreeMap<&'static str, u64>,
    failures: Vec<Failure<'r>>,
}

#[derive(Debug, Serialize)]
struct Failure<'r> {
    seed: u64,
    replay: String,
    violations: &'r [Violation],
}

/// What all worlds together came to.
#[derive(Debug, Default)]
struct Sum {
    played: u64,
    edits: u64,
    simulated: Duration,
    polls: u64,
    faults: BTreeMap<&'static str, u64>,
    failed: Vec<Outcome>,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.played += 1;
        self.edits += outcome.edits as u64;
        self.simulated += outcome.lasted;
        self.polls += outcome.polls;
        for (fault, hits) in &outcome.hits {
            *self.faults.entry(fault).or_default() += hits;
        }
        if !outcome.violations.is_empty() {
            self.failed.push(outcome);
        }
    }
}

/// Plays the worlds. Exit status 1: in one of them something that must be true was not.
///
/// # Errors
/// If no thread can be started.
pub async fn run(arguments: Arguments, stop: CancellationToken, form: Form) -> anyhow::Result<Exit> {
    let processors = std::thread::available_parallelism().map_or(1, |processors| processors.get());
    let jobs = arguments.jobs.map_or(processors, usize::from);
    let begun = Instant::now();
    let mut sum = tokio::task::spawn_blocking(move || play_all(arguments, jobs, &stop)).await?;
    sum.failed.sort_by_key(|outcome| outcome.seed);
    let took = begun.elapsed();
    match form {
        Form::Json => tell_json(arguments, &sum, took),
        Form::Text => tell(arguments, &sum, took),
    }
    Ok(if sum.failed.is_empty() { Exit::Done } else { Exit::Failed })
}

fn play_all(arguments: Arguments, jobs: usize, stop: &CancellationToken) -> Sum {
    let mut sum = Sum::default();
    simulation::play_all(arguments.seed, arguments.seeds, jobs, |outcome| {
        sum.add(outcome);
        !stop.is_cancelled()
    });
    sum
}

fn replay(seed: u64) -> String {
    format!("muster simulate --seeds 1 --seed {seed}")
}

fn tell_json(arguments: Arguments, sum: &Sum, took: Duration) {
    let failures = sum.failed.iter().take(TOLD);
    output::object(&Report {
        first_seed: arguments.seed,
        seeds: sum.played,
        failed_seeds: sum.failed.iter().map(|outcome| outcome.seed).collect(),
        edits: sum.edits,
        simulated_seconds: sum.simulated.as_secs(),
        polls: sum.polls,
        seconds: took.as_secs_f64(),
        seeds_per_second: sum.played as f64 / took.as_secs_f64(),
        faults: &sum.faults,
        failures: failures
            .map(|outcome| Failure {
                seed: outcome.seed,
                replay: replay(outcome.seed),
                violations: &outcome.violations,
            })
            .collect(),
    });
}

fn tell(arguments: Arguments, sum: &Sum, took: Duration) {
    for outcome in sum.failed.iter().take(TOLD) {
        output::line(format!("Seed {}: something that must be true was not.", outcome.seed));
        for violation in &outcome.violations {
            output::line(format!("  {}: {}", violation.invariant, violation.what));
        }
        if let Some(violation) = outcome.violations.first() {
            violation.timeline.iter().for_each(|line| output::line(format!("    {line}")));
        }
        output::line(format!("  Replay: {}", replay(outcome.seed)));
        output::line("");
    }
    if sum.failed.len() > TOLD {
        let seeds: Vec<_> = sum.failed.iter().skip(TOLD).map(|outcome| outcome.seed.to_string()).collect();
        output::line(format!("Failed as well: seeds {}", seeds.join(", ")));
    }
    let mut table = output::table(&["FAULT", "HITS"]);
    let mut faults: Vec<_> = sum.faults.iter().collect();
    faults.sort_by_key(|(_, hits)| std::cmp::Reverse(**hits));
    for (fault, hits) in faults {
        table.add_row([(*fault).to_owned(), hits.to_string()]);
    }
    output::print(&table);
    output::line("");
    output::line(format!(
        "{} from seed {}: {} people's edits in {} of simulated time; {} failed. {:.1} seeds a second.",
        output::count(usize::try_from(sum.played).unwrap_or(usize::MAX), "seed"),
        arguments.seed,
        sum.edits,
        output::duration(sum.simulated),
        sum.failed.len(),
        sum.played as f64 / took.as_secs_f64(),
    ));
}

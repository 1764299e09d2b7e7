//! What is measured, round by round.

use serde::Serialize;

use super::drive::{Cost, Each};
use super::ledger::median;

/// Accounts that one call of the target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    /// One.
    One,
    /// Two hundred.
    Many,
}

impl Batch {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::One, Self::Many];

    /// How many.
    pub fn size(self) -> usize {
        match self {
            Self::One => 1,
            Self::Many => 200,
        }
    }
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "accounts_a_call")]
pub enum Contender {
    /// Consume, publish with a confirm, acknowledge, one message after the other.
    BareBroker,
    /// Muster's hand-overs, round trips and calls without its logic, a change a message.
    Skeleton(Batch),
    /// The same, a page a message.
    SkeletonPages(Batch),
    /// Muster over servers, a change a message.
    Live(Batch),
    /// Muster over servers, a page a message.
    Bulk(Batch),
    /// Put, take and remove in a bare SQLite table.
    BareFile,
    /// Muster embedded, a change a message.
    FileLive(Batch),
    /// Muster embedded, a page a message.
    FileBulk(Batch),
}

impl Contender {
    /// Those that need servers, in the order in which they alternate.
    pub fn over_servers() -> Vec<Self> {
        let of = |batch| [Self::Skeleton(batch), Self::Live(batch), Self::SkeletonPages(batch), Self::Bulk(batch)];
        std::iter::once(Self::BareBroker).chain(Batch::BOTH.into_iter().flat_map(of)).collect()
    }

    /// Those that need a file.
    pub fn over_a_file() -> Vec<Self> {
        let of = |batch| [Self::FileLive(batch), Self::FileBulk(batch)];
        std::iter::once(Self::BareFile).chain(Batch::BOTH.into_iter().flat_map(of)).collect()
    }

    /// What it is called.
    pub fn name(self) -> String {
        let (name, batch) = match self {
            Self::BareBroker => return "bare loop on a quorum queue".to_owned(),
            Self::BareFile => return "bare loop on an SQLite table".to_owned(),
            Self::Skeleton(batch) => ("skeleton, single messages", batch),
            Self::SkeletonPages(batch) => ("skeleton, pages", batch),
            Self::Live(batch) => ("Muster, live lane", batch),
            Self::Bulk(batch) => ("Muster, bulk lane", batch),
            Self::FileLive(batch) => ("Muster embedded, live lane", batch),
            Self::FileBulk(batch) => ("Muster embedded, bulk lane", batch),
        };
        format!("{name}, {} a call", batch.size())
    }
}

/// What a contender did in all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Who.
    #[serde(flatten)]
    pub contender: Contender,
    /// What it is called.
    pub name: String,
    /// Changes a second, round by round.
    pub rates: Vec<f64>,
    /// The middle one.
    pub changes_per_second: f64,
    /// Seconds of processor time for 1,000 changes, all rounds together.
    pub cpu_seconds_per_1000: Each,
    /// The most memory held in any round, in bytes.
    pub peak_bytes: Each,
}

impl Series {
    /// The rounds of one contender, each of so many changes.
    pub fn new(contender: Contender, rounds: &[(f64, Cost)], changes: u32) -> Self {
        let rates: Vec<f64> = rounds.iter().map(|(rate, _)| *rate).collect();
        let zero = Each { own: Some(0.0), broker: Some(0.0), store: Some(0.0) };
        let all = rounds.len() as f64 * f64::from(changes) / 1_000.0;
        let cpu = rounds.iter().fold(zero, |sum, (_, cost)| sum.zip(cost.cpu_seconds, |sum, one| sum + one));
        let peak = rounds.iter().fold(zero, |most, (_, cost)| most.zip(cost.peak_bytes, f64::max));
        let thousands = Each { own: Some(all), broker: Some(all), store: Some(all) };
        Self {
            contender,
            name: contender.name(),
            changes_per_second: median(rates.clone()),
            rates,
            cpu_seconds_per_1000: cpu.zip(thousands, |seconds, thousands| seconds / thousands),
            peak_bytes: peak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_summed_up() {
        let cost = |own, broker| Cost {
            cpu_seconds: Each { own: Some(own), broker, store: None },
            peak_bytes: Each { own: Some(own * 1e6), broker: None, store: None },
        };
        let rounds = [(900.0, cost(1.0, Some(2.0))), (1_100.0, cost(3.0, Some(2.0))), (1_000.0, cost(2.0, Some(2.0)))];
        let series = Series::new(Contender::Live(Batch::One), &rounds, 2_000);
        assert_eq!((series.changes_per_second, series.cpu_seconds_per_1000.own), (1_000.0, Some(1.0)));
        assert_eq!((series.cpu_seconds_per_1000.broker, series.cpu_seconds_per_1000.store), (Some(1.0), None));
        assert_eq!((series.peak_bytes.own, series.peak_bytes.broker), (Some(3e6), None));
    }
}

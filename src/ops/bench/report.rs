//! What a run of the benchmark found, and how it is shown.

use std::time::Duration;

use comfy_table::CellAlignment;
use serde::Serialize;

use super::calls::{Calls, PerThousand};
use super::contender::{Batch, Contender, Series};
use super::process::Machine;
use super::reconcile::Reconcile;
use crate::ops::output;

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of Muster.
    pub version: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// The store's kind and version, where servers were measured.
    pub store: Option<String>,
    /// Rounds; each figure is the middle of so many.
    pub rounds: usize,
    /// Changes in a round.
    pub changes: u32,
    /// Bytes of a message with one change.
    pub change_bytes: usize,
    /// Bytes of the document of a link in Redis.
    pub document_bytes: Option<usize>,
    /// Every contender.
    pub contenders: Vec<Series>,
    /// From the publish of a change to the target's answer.
    pub latencies: Vec<Latency>,
    /// A whole roster, loaded and reconciled.
    pub reconciles: Vec<Reconcile>,
    /// Calls of Salesforce's API.
    pub salesforce_calls: Option<Calls>,
    /// What was wanted, and what was reached.
    pub aims: Vec<Aim>,
}

/// How long changes took, in one of the ways in which they may arrive.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Who.
    #[serde(flatten)]
    pub contender: Contender,
    /// What it is called.
    pub name: String,
    /// How changes arrived: `window` (as fast as answers come, so many under way) or `rate` (evenly).
    pub load: &'static str,
    /// Changes under way at once, or changes a second.
    pub at: f64,
    /// The middle, in milliseconds.
    pub p50_ms: f64,
    /// What one change in a hundred exceeds, in milliseconds.
    pub p99_ms: f64,
}

/// Something that was wanted.
#[derive(Debug, Clone, Serialize)]
pub struct Aim {
    /// What.
    pub what: String,
    /// The figure that was wanted.
    pub wanted: f64,
    /// Whether more than that is as good.
    pub at_least: bool,
    /// The figure that was reached.
    pub reached: f64,
    /// Whether that is enough.
    pub met: bool,
}

impl Aim {
    fn at_least(what: impl Into<String>, wanted: f64, reached: f64) -> Self {
        Self { what: what.into(), wanted, at_least: true, reached, met: reached >= wanted }
    }

    fn at_most(what: impl Into<String>, wanted: f64, reached: f64) -> Self {
        Self { what: what.into(), wanted, at_least: false, reached, met: reached <= wanted }
    }
}

/// The aims that these figures tell of.
pub fn aims(contenders: &[Series], reconciles: &[Reconcile], calls: Option<&Calls>) -> Vec<Aim> {
    let rate = |contender| {
        let series = contenders.iter().find(|series: &&Series| series.contender == contender)?;
        Some(series.changes_per_second)
    };
    let ratio = |of, to| Some(rate(of)? / rate(to)?);
    let mut aims = Vec::new();
    for batch in Batch::BOTH {
        let what = format!("live lane of the skeleton, {} a call", batch.size());
        aims.extend(ratio(Contender::Live(batch), Contender::Skeleton(batch)).map(|r| Aim::at_least(what, 0.6, r)));
    }
    for (batch, wanted) in [(Batch::Many, 1.0), (Batch::One, 0.5)] {
        let what = format!("bulk lane of the bare loop, {} a call", batch.size());
        aims.extend(ratio(Contender::Bulk(batch), Contender::BareBroker).map(|r| Aim::at_least(what, wanted, r)));
    }
    if let Some(calls) = calls {
        aims.push(Aim::at_most("Salesforce calls for 1,000 users read", 3.0, calls.read.calls));
        aims.push(Aim::at_most("Salesforce calls for 1,000 users created", 16.0, calls.created.calls));
        aims.push(Aim::at_most("Salesforce calls for 1,000 users changed", 16.0, calls.updated.calls));
    }
    let bytes = reconciles.iter().find_map(|reconcile| reconcile.bytes_a_link);
    aims.extend(bytes.map(|bytes| Aim::at_most("bytes of Redis for a link of ten attributes", 1_300.0, bytes)));
    let embedded = rate(Contender::FileBulk(Batch::Many));
    aims.extend(embedded.map(|rate| Aim::at_least("changes a second, embedded and durable", 5_000.0, rate)));
    aims
}

impl Latency {
    /// From what a round of this contender came to.
    pub fn new(contender: Contender, load: &'static str, at: f64, sorted: &[Duration]) -> Self {
        let ms = |share| super::ledger::percentile(sorted, share).as_secs_f64() * 1e3;
        Self { contender, name: contender.name(), load, at, p50_ms: ms(0.5), p99_ms: ms(0.99) }
    }

    /// How changes arrived, for people.
    fn arrival(&self) -> String {
        match self.load {
            "window" => format!("saturated, {} under way", number(self.at)),
            _ => format!("{} a second", number(self.at)),
        }
    }
}

/// One table of the report.
struct Sheet {
    title: &'static str,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Report {
    /// For people at a terminal.
    pub fn print(&self) {
        output::line(self.heading());
        for sheet in self.sheets() {
            output::line(format!("\n{}", sheet.title));
            let mut table = output::table(&sheet.header);
            for row in sheet.rows {
                table.add_row(row);
            }
            for column in 1..sheet.header.len() {
                if let Some(column) = table.column_mut(column) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
            output::print(&table);
        }
    }

    /// What goes into `docs/performance.md`.
    pub fn print_markdown(&self) {
        output::line(self.heading());
        for sheet in self.sheets() {
            output::line(format!("\n### {}\n", sheet.title));
            output::line(format!("| {} |", sheet.header.join(" | ")));
            let right = vec!["---:"; sheet.header.len().saturating_sub(1)].join("|");
            output::line(format!("|---|{right}|"));
            for row in sheet.rows {
                output::line(format!("| {} |", row.join(" | ")));
            }
        }
    }

    fn heading(&self) -> String {
        let machine = &self.machine;
        let build = if machine.release_build { "release build" } else { "debug build: not for comparison" };
        let store = self.store.as_ref().map(|store| format!(", {store}")).unwrap_or_default();
        format!(
            "Muster {} ({build}); {} x {}, {} of memory, {}, {} whose sync of 4 KiB takes {:.1} ms{store}; medians of {} \
             rounds of {} changes.",
            self.version,
            machine.cores,
            machine.processor,
            output::bytes(machine.memory_bytes),
            machine.kernel,
            machine.file_system,
            machine.sync_ms,
            self.rounds,
            number(f64::from(self.changes)),
        )
    }

    fn sheets(&self) -> Vec<Sheet> {
        let sheets =
            [self.aims_sheet(), self.rates_sheet(), self.latencies_sheet(), self.rosters_sheet(), self.calls_sheet()];
        sheets.into_iter().filter(|sheet| !sheet.rows.is_empty()).collect()
    }

    fn aims_sheet(&self) -> Sheet {
        let rows = self.aims.iter().map(|aim| {
            let wanted = format!("{} {}", if aim.at_least { "at least" } else { "at most" }, figure(aim.wanted));
            let verdict = if aim.met { "met" } else { "MISSED" };
            vec![aim.what.clone(), wanted, figure(aim.reached), verdict.to_owned()]
        });
        Sheet { title: "Aims", header: vec!["aim", "wanted", "reached", "verdict"], rows: rows.collect() }
    }

    fn rates_sheet(&self) -> Sheet {
        let rows = self.contenders.iter().map(|series| {
            let (least, most) = series
                .rates
                .iter()
                .fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
            let cpu = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.3}"));
            let peak = |bytes: Option<f64>| bytes.map_or("-".to_owned(), |bytes| output::bytes(bytes as u64));
            let (used, peaks) = (series.cpu_seconds_per_1000, series.peak_bytes);
            vec![
                series.name.clone(),
                number(series.changes_per_second),
                format!("{}-{}", number(least), number(most)),
                cpu(used.own),
                cpu(used.broker),
                cpu(used.store),
                peak(peaks.own),
                peak(peaks.broker),
                peak(peaks.store),
            ]
        });
        Sheet {
            title: "Changes a second; seconds of processor time for 1,000 changes and peak memory, by process",
            header: vec![
                "contender",
                "changes/s",
                "least-most",
                "CPU own",
                "CPU broker",
                "CPU store",
                "peak own",
                "peak broker",
                "peak store",
            ],
            rows: rows.collect(),
        }
    }

    fn latencies_sheet(&self) -> Sheet {
        let rows = self.latencies.iter().map(|latency| {
            let ms = |ms: f64| format!("{ms:.1} ms");
            vec![latency.name.clone(), latency.arrival(), ms(latency.p50_ms), ms(latency.p99_ms)]
        });
        Sheet {
            title: "From the publish of a change to the target's answer",
            header: vec!["contender", "changes arrive", "p50", "p99"],
            rows: rows.collect(),
        }
    }

    fn rosters_sheet(&self) -> Sheet {
        let rows = self.reconciles.iter().flat_map(|reconcile| {
            [("first load", &reconcile.load), ("nothing changed", &reconcile.no_change)].map(|(what, pass)| {
                let per_thousand = pass.cost.cpu_seconds.sum() * 1_000.0 / f64::from(pass.read.max(1));
                vec![
                    format!("{}, {what}", reconcile.mode),
                    number(f64::from(reconcile.users)),
                    number(f64::from(pass.read)),
                    number(pass.rate),
                    format!("{per_thousand:.3}"),
                    pass.cost.peak_bytes.own.map_or("-".to_owned(), |bytes| output::bytes(bytes as u64)),
                ]
            })
        });
        Sheet {
            title: "A whole roster through producer, mapper and writer",
            header: vec!["pass", "users", "accounts read", "accounts/s", "CPU for 1,000, all", "peak own"],
            rows: rows.collect(),
        }
    }

    fn calls_sheet(&self) -> Sheet {
        let kinds = |calls: &'_ Calls| {
            let Calls { accounts: _, read, created, updated } = calls.clone();
            [("read", read), ("created", created), ("changed", updated)]
        };
        let rows = self.salesforce_calls.iter().flat_map(kinds);
        let row = |(what, calls): (&str, PerThousand)| {
            let by_operation = calls.by_operation.iter();
            let by_operation: Vec<_> = by_operation.map(|(what, calls)| format!("{what} {}", figure(*calls))).collect();
            vec![what.to_owned(), figure(calls.calls), by_operation.join(", ")]
        };
        Sheet {
            title: "Salesforce calls for 1,000 users, everything counted",
            header: vec!["users", "calls", "by what they asked for"],
            rows: rows.map(row).collect(),
        }
    }
}

/// A figure with as many digits as mean something.
fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { number(value) }
}

/// A whole number, thousands apart.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::bench::drive::Cost;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(number(value), text);
        }
        assert_eq!((figure(0.613), figure(1_233.4)), ("0.61".to_owned(), "1,233".to_owned()));
    }

    #[test]
    fn an_aim_is_missed_by_being_under_or_over_it() {
        let series = |contender, rate| Series::new(contender, &[(rate, Cost::default())], 1);
        let contenders = [
            series(Contender::Skeleton(Batch::One), 1_000.0),
            series(Contender::Live(Batch::One), 700.0),
            series(Contender::BareBroker, 1_000.0),
            series(Contender::Bulk(Batch::Many), 900.0),
        ];
        let of = |calls| PerThousand { calls, ..PerThousand::default() };
        let calls = Calls { accounts: 1, read: of(1.0), created: of(20.0), updated: of(16.0) };
        let aims = aims(&contenders, &[], Some(&calls));
        let verdicts: Vec<_> = aims.iter().map(|aim| aim.met).collect();
        assert_eq!(verdicts, [true, false, true, false, true], "{aims:?}");
    }
}

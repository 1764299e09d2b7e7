//! `muster links import`: links the pairs of a CSV file, a hundred in one step of the store. Every row has an outcome, and
//! doing it twice changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use tracing::info;

use super::Desk;
use super::add::{look, word};
use super::columns;
use super::make::{Made, link};
use super::table::{self, Reading, Row, Says};
use crate::broker::Broker;
use crate::config::Config;
use crate::domain::{AccountId, Side, Sides};
use crate::ops::audit;
use crate::ops::connect::operator;
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::store::Store;

/// What may come of a row.
pub(crate) const OUTCOMES: [&str; 5] = ["linked", "would_link", "already_linked", "refused", "skipped"];

/// Pairs that are committed together.
const CHUNK: usize = 100;

/// What is asked for.
pub(super) struct Ask {
    /// The file; `-` is standard input.
    pub(super) file: PathBuf,
    /// Nothing is linked.
    pub(super) dry_run: bool,
    /// The systems are asked for each account first.
    pub(super) check: bool,
    /// Headers that a person gave.
    pub(super) columns: Sides<Option<String>>,
}

/// What came of it.
pub(super) struct Imported {
    pub(super) exit: Exit,
    /// Pairs that were not linked before.
    pub(super) linked: u64,
}

/// What came of the rows of a file.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many rows of the table there are.
    pub(crate) rows: usize,
    /// Rows by outcome: `linked`, `would_link`, `already_linked`, `refused`, `skipped`.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Each row, in the order of the file.
    pub(crate) lines: Vec<Line>,
}

/// Links the pairs of a CSV file that somebody sent, and tells what came of each row.
pub(crate) async fn link_pairs<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    config: &Config,
    csv: &[u8],
    (dry_run, check): (bool, bool),
) -> anyhow::Result<Outcome> {
    let ask = Ask { file: PathBuf::from("-"), dry_run, check, columns: Sides::default() };
    let mut lines = Vec::new();
    let (rows, counts) = link_rows(pipeline, desk, config, csv, &ask, ProgressBar::hidden(), &mut |line| {
        lines.push(line);
    })
    .await?;
    Ok(Outcome { rows, counts, lines })
}

/// Links the pairs of a CSV file, and tells of each row; how many rows there are, and how many of them had which outcome.
async fn link_rows<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    config: &Config,
    csv: &[u8],
    ask: &Ask,
    bar: ProgressBar,
    told: &mut (dyn FnMut(Line) + Send),
) -> anyhow::Result<(usize, BTreeMap<&'static str, u64>)> {
    let names = columns::names(desk, config);
    let rows = {
        let parse = |side: Side, text: &str| desk.parse(side, text);
        table::read(csv, &Reading { names: &names, given: &ask.columns, parse: &parse })?
    };
    bar.set_length(rows.len() as u64);
    let mut import = Import { desk, ask, bar, counts: BTreeMap::new(), told: Told::default() };
    let mut rest = &rows[..];
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(chunk_of(rest));
        let lines = import.chunk(pipeline, chunk).await?;
        import.bar.suspend(|| lines.into_iter().for_each(&mut *told));
        import.bar.inc(chunk.len() as u64);
        rest = later;
    }
    import.bar.finish_and_clear();
    for outcome in ["linked", "already_linked", "refused", "skipped"] {
        audit::count(outcome, import.counts.get(outcome).copied().unwrap_or_default());
    }
    Ok((rows.len(), import.counts))
}

/// Links what the file lists.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    config: &Config,
    ask: &Ask,
    form: Form,
) -> anyhow::Result<Imported> {
    let bytes = bytes(&ask.file)?;
    let mut told = |line: Line| show(&line, form);
    let (rows, counts) = link_rows(pipeline, desk, config, &bytes, ask, bar(form), &mut told).await?;
    Ok(finish(desk, ask, rows, &counts, form))
}

fn bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
    } else {
        bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    }
    Ok(bytes)
}

/// How many rows go together: none of their accounts is in two of them, so that the file's order decides who is first.
fn chunk_of(rows: &[Row]) -> usize {
    let mut accounts = Sides::<std::collections::HashSet<&AccountId>>::default();
    let fits = rows.iter().take(CHUNK).take_while(|row| match &row.says {
        Says::Pair(pair) => accounts.a.insert(&pair.a) && accounts.b.insert(&pair.b),
        _ => true,
    });
    fits.count()
}

/// Pairs that a dry run would have linked by now.
#[derive(Default)]
struct Told(Sides<HashMap<AccountId, AccountId>>);

impl Told {
    /// What becomes of a pair beside those before it; `None`: they have nothing to do with it.
    fn judge(&self, pair: &Sides<AccountId>) -> Option<Made> {
        Side::BOTH.into_iter().find_map(|side| match self.0[side].get(&pair[side]) {
            Some(partner) if *partner == pair[side.other()] => Some(Made::Already),
            Some(partner) => Some(Made::Taken { side, partner: partner.clone() }),
            None => None,
        })
    }

    fn note(&mut self, pair: &Sides<AccountId>) {
        for side in Side::BOTH {
            self.0[side].insert(pair[side].clone(), pair[side.other()].clone());
        }
    }
}

/// An import under way.
struct Import<'i> {
    desk: &'i Desk<'i>,
    ask: &'i Ask,
    bar: ProgressBar,
    counts: BTreeMap<&'static str, u64>,
    told: Told,
}

/// The result of one row.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    /// Its first line in the file, from 1.
    pub(crate) line: u64,
    pub(crate) outcome: &'static str,
    pub(crate) a: Option<String>,
    pub(crate) b: Option<String>,
    pub(crate) code: Option<&'static str>,
    pub(crate) reason: Option<String>,
}

impl Import<'_> {
    async fn chunk<B: Broker, S: Store>(
        &mut self,
        pipeline: &Pipeline<B, S>,
        rows: &[Row],
    ) -> anyhow::Result<Vec<Line>> {
        let mut lines: Vec<Option<Line>> = Vec::new();
        let mut open: Vec<(usize, Sides<AccountId>)> = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            let line = |outcome, code, reason| Line { line: row.line, outcome, a: None, b: None, code, reason };
            lines.push(match &row.says {
                Says::Pair(pair) => match self.told.judge(pair).filter(|_| self.ask.dry_run) {
                    Some(made) => Some(self.line(row.line, pair, &made)),
                    None => {
                        open.push((place, pair.clone()));
                        None
                    }
                },
                Says::Bad { code, reason } => Some(line("refused", Some(*code), Some(reason.clone()))),
                Says::Nothing { reason } => Some(line("skipped", None, Some(reason.clone()))),
            });
        }
        if self.ask.check {
            for (place, why) in self.absent(pipeline, &open).await? {
                let (_, pair) = open.iter().find(|(known, _)| *known == place).expect("only open rows are looked up");
                let line = self.line(rows[place].line, pair, &Made::Linked);
                lines[place] = Some(Line { outcome: "refused", code: Some("absent"), reason: Some(why), ..line });
            }
            open.retain(|(place, _)| lines[*place].is_none());
        }
        let pairs: Vec<_> = open.iter().map(|(_, pair)| pair.clone()).collect();
        let made = link(pipeline, self.desk, &pairs, self.ask.dry_run).await?;
        for ((place, pair), made) in open.into_iter().zip(made) {
            if made == Made::Linked {
                self.told.note(&pair);
            }
            lines[place] = Some(self.line(rows[place].line, &pair, &made));
        }
        let lines: Vec<_> = lines.into_iter().flatten().collect();
        for line in &lines {
            *self.counts.entry(line.outcome).or_default() += 1;
        }
        Ok(lines)
    }

    /// The rows with an account that its system does not have, and why they are refused.
    async fn absent<B: Broker, S: Store>(
        &self,
        pipeline: &Pipeline<B, S>,
        open: &[(usize, Sides<AccountId>)],
    ) -> anyhow::Result<Vec<(usize, String)>> {
        let mut absent = Vec::new();
        for side in Side::BOTH {
            let accounts: Vec<_> = open.iter().map(|(_, pair)| pair[side].clone()).collect();
            let seen = look(pipeline, self.desk, side, &accounts).await.map_err(anyhow::Error::msg)?;
            for ((place, pair), seen) in open.iter().zip(seen.into_iter().flatten()) {
                if seen.is_none() {
                    absent.push((*place, format!("there is no account {}", self.desk.account(side, &pair[side]))));
                }
            }
        }
        Ok(absent)
    }

    fn line(&self, line: u64, pair: &Sides<AccountId>, made: &Made) -> Line {
        let (code, reason) = self.desk.reason(pair, made).unzip();
        let [a, b] = Side::BOTH.map(|side| Some(self.desk.account(side, &pair[side])));
        Line { line, outcome: word(made, self.ask.dry_run), a, b, code, reason }
    }
}

fn show(line: &Line, form: Form) {
    match (form, &line.a, &line.b, &line.reason) {
        (Form::Json, ..) => output::object(line),
        (Form::Text, _, _, Some(reason)) => output::line(format!("line {}: {}: {reason}", line.line, line.outcome)),
        (Form::Text, a, b, None) => {
            let (a, b) = (a.as_deref().unwrap_or("-"), b.as_deref().unwrap_or("-"));
            output::line(format!("line {}: {}: {a} and {b}", line.line, line.outcome));
        }
    }
}

fn finish(desk: &Desk<'_>, ask: &Ask, rows: usize, counts: &BTreeMap<&'static str, u64>, form: Form) -> Imported {
    let count = |outcome| counts.get(outcome).copied().unwrap_or_default();
    let file = ask.file.display();
    info!(
        connection = %desk.name, file = %file, by = operator(), linked = count("linked"), refused = count("refused"),
        "{} imports links from {file}", operator()
    );
    match form {
        Form::Json => {
            let counts: BTreeMap<_, _> = OUTCOMES.map(|outcome| (outcome, count(outcome))).into();
            output::object(&json!({
                "connection": desk.name, "rows": rows, "dry_run": ask.dry_run, "counts": counts,
            }));
        }
        Form::Text => {
            let (verb, linked) = match ask.dry_run {
                true => ("would be linked", count("would_link")),
                false => ("linked", count("linked")),
            };
            output::line(format!(
                "{}: {linked} {verb}, {} linked already, {} refused, {} skipped",
                output::count(rows, "row"),
                count("already_linked"),
                count("refused"),
                count("skipped"),
            ));
            if linked > 0 {
                output::line(desk.who_wins());
            }
        }
    }
    let exit = if count("refused") > 0 { Exit::Attention } else { Exit::Done };
    Imported { exit, linked: count("linked") }
}

fn bar(form: Form) -> ProgressBar {
    let shown = form == Form::Text && std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} linking [{bar:30}] {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

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

/// Links what the file lists.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    config: &Config,
    ask: &Ask,
    form: Form,
) -> anyhow::Result<Imported> {
    let bytes = bytes(&ask.file)?;
    let names = columns::names(desk, config);
    let parse = |side: Side, text: &str| desk.parse(side, text);
    let rows = table::read(&bytes, &Reading { names: &names, given: &ask.columns, parse: &parse })?;
    let mut import =
        Import { desk, ask, form, bar: bar(form, rows.len()), counts: BTreeMap::new(), told: Told::default() };
    let mut rest = &rows[..];
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(chunk_of(rest));
        import.chunk(pipeline, chunk).await?;
        rest = later;
    }
    import.bar.finish_and_clear();
    Ok(import.finish(rows.len()))
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
    form: Form,
    bar: ProgressBar,
    counts: BTreeMap<&'static str, u64>,
    told: Told,
}

/// The result of one row.
#[derive(Serialize)]
struct Line {
    line: u64,
    outcome: &'static str,
    a: Option<String>,
    b: Option<String>,
    code: Option<&'static str>,
    reason: Option<String>,
}

impl Import<'_> {
    async fn chunk<B: Broker, S: Store>(&mut self, pipeline: &Pipeline<B, S>, rows: &[Row]) -> anyhow::Result<()> {
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
        self.show(lines.into_iter().flatten());
        Ok(())
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

    fn show(&mut self, lines: impl Iterator<Item = Line>) {
        let lines: Vec<_> = lines.collect();
        for line in &lines {
            *self.counts.entry(line.outcome).or_default() += 1;
        }
        self.bar.suspend(|| {
            for line in &lines {
                match (self.form, &line.a, &line.b, &line.reason) {
                    (Form::Json, ..) => output::object(line),
                    (Form::Text, _, _, Some(reason)) => {
                        output::line(format!("line {}: {}: {reason}", line.line, line.outcome));
                    }
                    (Form::Text, a, b, None) => {
                        let (a, b) = (a.as_deref().unwrap_or("-"), b.as_deref().unwrap_or("-"));
                        output::line(format!("line {}: {}: {a} and {b}", line.line, line.outcome));
                    }
                }
            }
        });
        self.bar.inc(lines.len() as u64);
    }

    fn finish(self, rows: usize) -> Imported {
        let count = |outcome| self.counts.get(outcome).copied().unwrap_or_default();
        let (desk, file) = (self.desk, self.ask.file.display());
        for outcome in ["linked", "already_linked", "refused", "skipped"] {
            audit::count(outcome, count(outcome));
        }
        info!(
            connection = %desk.name, file = %file, by = operator(), linked = count("linked"), refused = count("refused"),
            "{} imports links from {file}", operator()
        );
        match self.form {
            Form::Json => {
                let counts: BTreeMap<_, _> = ["linked", "would_link", "already_linked", "refused", "skipped"]
                    .map(|outcome| (outcome, count(outcome)))
                    .into();
                output::object(&json!({
                    "connection": desk.name, "rows": rows, "dry_run": self.ask.dry_run, "counts": counts,
                }));
            }
            Form::Text => {
                let (verb, linked) = match self.ask.dry_run {
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
}

fn bar(form: Form, rows: usize) -> ProgressBar {
    let shown = form == Form::Text && std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(rows as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} linking [{bar:30}] {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

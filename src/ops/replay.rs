//! `muster replay`: recorded changes decided again under another configuration, and what would differ (B14). Nothing is
//! read from the systems, and nothing is written anywhere.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use serde_json::json;

use super::conflicts::Since;
use super::connect::{self, Connections};
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use crate::config::{Config, ProcessEnvironment};
use crate::domain::history::Verdict;
use crate::domain::{AccountId, AttributePath, Cause, Change, ConnectionName, Side, Sighting, Timestamp};
use crate::stages::{Connection, mapper};
use crate::store::{Recorded, Store};

/// Recorded changes asked for at once.
const PAGE: usize = 500;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The other configuration.
    pub with: PathBuf,
    /// The connection; `None`: all of them.
    pub connection: Option<ConnectionName>,
    /// Only what was decided since then.
    pub since: Option<Since>,
    /// The latest so many changes of each connection.
    pub limit: Option<usize>,
}

/// A decision that would be another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    side: Side,
    account: Option<AccountId>,
    attribute: Option<AttributePath>,
    then: Word,
    now: Word,
}

/// A decision in the words of people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Word {
    /// `none`: nothing is made of it.
    decision: String,
    rule: String,
    /// The systems that the value would be written to.
    writes: Vec<String>,
}

/// What became of one connection's history.
#[derive(Default)]
struct Replayed {
    changes: usize,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Each with the first change that shows it and how many do.
    differences: BTreeMap<Difference, (Timestamp, usize)>,
    /// Changes that the present configuration decides as they were decided.
    reproduced: usize,
    /// Changes that it does not.
    not_reproduced: usize,
    /// Changes that were recorded under a configuration that is neither.
    of_others: usize,
    /// Attributes that only the other configuration has and that were not read.
    unread: BTreeSet<AttributePath>,
    /// What was taken in already: of a change that was recorded again after a crash the last record counts.
    taken: HashSet<(Cause, Side, Option<Timestamp>)>,
}

/// Decides all that is recorded again.
pub async fn run<S: Store>(store: &S, present: &Connections, ask: &Ask, form: Form) -> anyhow::Result<Exit> {
    let config = Config::load(&ask.with, &ProcessEnvironment)
        .map_err(|errors| UsageError::new(format!("{}: {errors}", ask.with.display())))?;
    let systems = connect::systems(&config)?;
    let other = connect::connections(&config, &systems)?;
    if let Some(name) = ask.connection.as_ref().filter(|name| !present.contains_key(*name)) {
        let known = present.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
        return Err(UsageError::new(format!("there is no connection {name}; the configuration has: {known}")).into());
    }
    let mut differs = false;
    for connection in present.values() {
        let name = &connection.name;
        if ask.connection.as_ref().is_some_and(|asked| asked != name) {
            continue;
        }
        let Some(under) = other.get(name) else {
            anyhow::ensure!(
                ask.connection.is_none(),
                UsageError::new(format!("{} has no connection {name}", ask.with.display()))
            );
            continue;
        };
        let replayed = replay(store, connection, under, ask).await?;
        differs |= !replayed.differences.is_empty();
        match form {
            Form::Json => objects(&replayed, connection),
            Form::Text => print(&replayed, connection),
        }
    }
    Ok(if differs { Exit::Changes } else { Exit::Done })
}

async fn replay<S: Store>(store: &S, present: &Connection, under: &Connection, ask: &Ask) -> anyhow::Result<Replayed> {
    let mut replayed = Replayed::default();
    let now = Timestamp(jiff::Timestamp::now().as_millisecond());
    let since = ask.since.map_or(Timestamp(i64::MIN), |since| since.before(now));
    let limit = ask.limit.unwrap_or(usize::MAX);
    let mut before = None;
    loop {
        let page = store.history(&present.name, before.as_ref(), PAGE.min(limit - replayed.changes)).await?;
        let Some((oldest, _)) = page.last() else { break };
        before = Some(oldest.clone());
        for (_, recorded) in page {
            if recorded.at < since {
                return Ok(replayed);
            }
            replayed.add(present, under, &recorded);
        }
        if replayed.changes >= limit {
            break;
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn add(&mut self, present: &Connection, under: &Connection, recorded: &Recorded) {
        let Change { cause, side, seen, .. } = &recorded.change;
        let read_at = match seen {
            Sighting::Present { snapshot } => Some(snapshot.version.read_at),
            Sighting::Absent { .. } | Sighting::Merged { .. } | Sighting::Unreadable { .. } => None,
        };
        if !self.taken.insert((cause.clone(), *side, read_at)) {
            return;
        }
        self.changes += 1;
        self.since = Some(recorded.at);
        self.until = self.until.or(Some(recorded.at));
        if recorded.version != present.template().version {
            self.of_others += 1;
        } else if same(&mapper::judge(present, recorded), &recorded.verdicts) {
            self.reproduced += 1;
        } else {
            self.not_reproduced += 1;
        }
        let would = mapper::judge(under, recorded);
        for (then, now) in paired(&recorded.verdicts, &would) {
            let attribute = then.or(now).and_then(|verdict| verdict.attribute.clone());
            let difference = Difference {
                side: recorded.change.side,
                account: recorded.change.account().cloned(),
                then: Word::of(then, present, attribute.as_ref()),
                now: Word::of(now, under, attribute.as_ref()),
                attribute,
            };
            let (first, times) = self.differences.entry(difference).or_insert((recorded.at, 0));
            *first = recorded.at;
            *times += 1;
        }
        if let Sighting::Present { snapshot } = seen {
            let side = *side;
            let known = &present.template().attributes;
            let new = under.template().attributes.iter().filter(|(path, _)| !known.contains_key(*path));
            let unread = new.filter(|(_, rule)| rule.seen(side, snapshot).is_none());
            self.unread.extend(unread.map(|(path, _)| path.clone()));
        }
    }
}

/// Whether two lists of verdicts come to the same.
fn same(one: &[Verdict], other: &[Verdict]) -> bool {
    paired(one, other).is_empty()
}

/// Verdicts about the same attribute that do not come to the same; one may be missing.
fn paired<'v>(then: &'v [Verdict], now: &'v [Verdict]) -> Vec<(Option<&'v Verdict>, Option<&'v Verdict>)> {
    let key =
        |verdict: &&Verdict| (verdict.attribute.clone(), verdict.attribute.is_none().then(|| verdict.decision.clone()));
    let of =
        |verdicts: &'v [Verdict]| verdicts.iter().map(|verdict| (key(&verdict), verdict)).collect::<BTreeMap<_, _>>();
    let (then, now) = (of(then), of(now));
    let keys: BTreeSet<_> = then.keys().chain(now.keys()).cloned().collect();
    let pairs = keys.into_iter().map(|key| (then.get(&key).copied(), now.get(&key).copied()));
    pairs.filter(|pair| !matches!(pair, (Some(then), Some(now)) if then.is_same_as(now))).collect()
}

impl Word {
    fn of(verdict: Option<&Verdict>, connection: &Connection, attribute: Option<&AttributePath>) -> Self {
        let Some(verdict) = verdict else {
            let is_mapped = attribute.is_none_or(|path| connection.template().attributes.contains_key(path));
            let rule = if is_mapped { String::new() } else { "not among the attributes".to_owned() };
            return Self { decision: "none".to_owned(), rule, writes: Vec::new() };
        };
        let writes = verdict.writes.iter().map(|side| connection.systems[*side].to_string()).collect();
        Self { decision: verdict.decision.clone(), rule: verdict.rule.clone(), writes }
    }

    fn text(&self) -> String {
        let writes =
            if self.writes.is_empty() { String::new() } else { format!(", written to {}", self.writes.join(" and ")) };
        let rule = if self.rule.is_empty() { String::new() } else { format!(" ({})", self.rule) };
        format!("{}{rule}{writes}", self.decision)
    }

    fn object(&self) -> serde_json::Value {
        json!({ "decision": self.decision, "rule": self.rule, "writes": self.writes })
    }
}

/// One object for each decision that would differ, and one that sums up.
fn objects(replayed: &Replayed, connection: &Connection) {
    for (Difference { side, account, attribute, then, now }, (first, changes)) in &replayed.differences {
        output::object(&json!({
            "connection": connection.name, "system": connection.systems[*side], "side": side, "account": account,
            "attribute": attribute, "first_at": first.to_string(), "changes": changes,
            "then": then.object(), "now": now.object(),
        }));
    }
    output::object(&json!({ "summary": {
        "connection": connection.name, "changes": replayed.changes, "differing": replayed.differences.len(),
        "since": replayed.since.map(|at| at.to_string()), "until": replayed.until.map(|at| at.to_string()),
        "reproduced": replayed.reproduced, "not_reproduced": replayed.not_reproduced,
        "of_other_configurations": replayed.of_others, "not_read": replayed.unread,
        "recording": connection.history.is_some(),
    }}));
}

fn print(replayed: &Replayed, connection: &Connection) {
    let name = &connection.name;
    let Replayed { changes, differences, .. } = replayed;
    match (replayed.since, replayed.until) {
        (Some(since), Some(until)) => output::line(format!(
            "{name}: {}, recorded from {since} to {until}; {} would differ",
            output::count(*changes, "change"),
            output::count(differences.len(), "decision")
        )),
        _ if connection.history.is_some() => output::line(format!("{name}: nothing is recorded yet")),
        _ => output::line(format!(
            "{name}: nothing is recorded; `history = \"30d\"` in the table of the connection records from then on"
        )),
    }
    for (Difference { side, account, attribute, then, now }, (first, times)) in differences {
        let account = account.as_ref().map_or("?".to_owned(), ToString::to_string);
        let what = attribute.as_ref().map_or(String::new(), |path| format!(" {path}"));
        let times = if *times > 1 { format!(", {times} times, first") } else { String::new() };
        output::line(format!("  {}:{account}{what}{times} {first}", connection.systems[*side]));
        output::line(format!("      then: {}", then.text()));
        output::line(format!("      now:  {}", now.text()));
    }
    if !replayed.unread.is_empty() {
        let unread = replayed.unread.iter().map(AttributePath::as_str).collect::<Vec<_>>().join(", ");
        output::line(format!("  Nothing can be said of what was not read at the time: {unread}"));
    }
    if replayed.not_reproduced > 0 {
        output::line(format!(
            "  {} changes are decided otherwise by the present configuration as well: take their differences with care",
            replayed.not_reproduced
        ));
    }
    if replayed.of_others > 0 {
        output::line(format!(
            "  {} changes were decided under another configuration than the present one; `then` is what was decided",
            replayed.of_others
        ));
    }
}

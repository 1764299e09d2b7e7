//! `muster links missing`: who is on one side only. What can be read is read whole; of a side that cannot, the links say
//! what they know.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::json;

use super::Desk;
use super::export::Sheet;
use super::list::half_made;
use super::make::links_of;
use crate::broker::Broker;
use crate::domain::{AccountId, AttributePath, FailureClass, Link, Side, Snapshot, Value};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::bar;
use crate::stages::Pipeline;
use crate::store::Store;
use crate::systems::{Next, Page, ReadFrom, Record};

const HEADER: [&str; 8] = ["system", "side", "account", "name", "email", "active", "in_scope", "why"];

/// How often a page is asked for again.
const ATTEMPTS: u32 = 5;

/// One account without a partner.
struct Lonely {
    side: Side,
    account: AccountId,
    seen: Option<Snapshot>,
    why: String,
}

/// Who has no partner, for a person or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) side: Side,
    pub(crate) account: AccountId,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) active: Option<String>,
    pub(crate) in_scope: Option<String>,
    /// In one word.
    pub(crate) why: String,
}

/// Tells of everybody who has no partner.
pub(crate) async fn gather<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    bar: ProgressBar,
    told: &mut (dyn FnMut(Row) -> anyhow::Result<()> + Send),
) -> anyhow::Result<()> {
    let mut report = Report { desk, bar, told };
    pipeline.store.epoch(desk.name).await?;
    let letters = pipeline.store.letters(Some(desk.name)).await?;
    let half: BTreeSet<(Side, AccountId)> =
        letters.iter().filter_map(half_made).map(|(side, account, _)| (side, account.clone())).collect();
    for side in Side::BOTH {
        report.bar.set_message(desk.systems[side].to_string());
        report.bar.set_position(0);
        match desk.connection.ends[side].schema().readable {
            true => read(pipeline, desk, side, &half, &mut report).await?,
            false => remembered(pipeline, desk, side, &mut report).await?,
        }
    }
    report.bar.finish_and_clear();
    Ok(())
}

/// Writes who has no partner.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    to: Option<&Path>,
    form: Form,
) -> anyhow::Result<Exit> {
    // Rows on the same terminal say enough.
    let shows_rows = to.is_none() && std::io::stdout().is_terminal();
    let progress = if shows_rows { ProgressBar::hidden() } else { bar(Form::Text) };
    let mut sheet = None;
    if form == Form::Text || to.is_some() {
        sheet = Some(Sheet::new(to, &HEADER)?);
    }
    let mut told = |row: Row| {
        let Row { system, side, account, name, email, active, in_scope, why } = row;
        if let Some(sheet) = &mut sheet {
            let text = |text: Option<String>| text.unwrap_or_default();
            let (name, email, active, in_scope) = (text(name), text(email), text(active), text(in_scope));
            return sheet.row(&[&system, side.as_str(), account.as_str(), &name, &email, &active, &in_scope, &why]);
        }
        output::object(&json!({
            "system": system, "side": side, "account": account, "name": name, "email": email,
            "active": active.map(|active| active == "true"), "in_scope": in_scope.map(|fits| fits == "true"),
            "why": why,
        }));
        Ok(())
    };
    gather(pipeline, desk, progress, &mut told).await?;
    match sheet {
        Some(sheet) => sheet.finish("account", form),
        None => Ok(Exit::Done),
    }
}

/// Reads every account of a side, and reports those without a partner.
async fn read<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    side: Side,
    half: &BTreeSet<(Side, AccountId)>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let mut from = ReadFrom::Start;
    loop {
        let page = page(desk, side, &from).await?;
        let seen = page.records.into_iter().filter_map(|record| match record {
            Record::Account(snapshot) => Some((snapshot.account.clone(), Some(snapshot))),
            Record::Unreadable { account, .. } => Some((account?, None)),
        });
        let seen: Vec<_> = seen.collect();
        let accounts: Vec<_> = seen.iter().map(|(account, _)| (side, account.clone())).collect();
        let links = links_of(pipeline, desk, &accounts).await?.items;
        if let Some(expected) = page.expected {
            report.bar.set_length(expected);
        }
        report.bar.inc(seen.len() as u64);
        for ((account, seen), link) in seen.into_iter().zip(links) {
            if let Some(why) = why(link.as_ref(), side) {
                let is_half_made = half.contains(&(side, account.clone()));
                let why = if is_half_made { "incomplete_link".to_owned() } else { why };
                report.add(&Lonely { side, account, seen, why })?;
            }
        }
        match page.next {
            Next::Page(position) => from = ReadFrom::Position(position),
            Next::End { .. } => return Ok(()),
        }
    }
}

/// One page. What can be waited out is waited out.
async fn page(desk: &Desk<'_>, side: Side, from: &ReadFrom) -> anyhow::Result<Page> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match desk.connection.ends[side].read(from).await {
            Ok(page) => return Ok(page),
            Err(failure) => {
                let passes = matches!(failure.class, FailureClass::Transient | FailureClass::Throttled);
                anyhow::ensure!(passes && attempt < ATTEMPTS, "{} cannot be read: {failure}", desk.systems[side]);
                let pause = failure.retry_after.unwrap_or(Duration::from_secs(u64::from(attempt)));
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Reports the accounts of a side whose link knows of no partner.
async fn remembered<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    side: Side,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let mut from = None;
    loop {
        let (accounts, next) = pipeline.store.accounts(desk.name, side, from).await?;
        let accounts: Vec<_> = accounts.into_iter().map(|(account, _)| (side, account)).collect();
        let links = links_of(pipeline, desk, &accounts).await?.items;
        for ((_, account), link) in accounts.into_iter().zip(links) {
            if let Some(why) = why(link.as_ref(), side) {
                report.add(&Lonely { side, account, seen: None, why })?;
            }
        }
        from = next;
        if from.is_none() {
            return Ok(());
        }
    }
}

/// Why an account of `side` has no partner, as one word; `None`: it has one.
fn why(link: Option<&Link>, side: Side) -> Option<String> {
    let Some(link) = link else { return Some("not_linked".to_owned()) };
    let other = &link.sides[side.other()];
    match (&other.account, &other.dead) {
        (Some(_), _) if other.is_gone() => Some("partner_gone".to_owned()),
        (Some(_), _) => None,
        (None, _) if link.ambiguity.is_some() => Some("ambiguous".to_owned()),
        // The code says which value is taken.
        (None, Some(dead)) => Some(dead.code.clone()),
        (None, None) => Some("not_linked".to_owned()),
    }
}

/// Where the rows go.
struct Report<'r> {
    desk: &'r Desk<'r>,
    told: &'r mut (dyn FnMut(Row) -> anyhow::Result<()> + Send),
    /// How many accounts were read.
    bar: ProgressBar,
}

impl Report<'_> {
    fn add(&mut self, lonely: &Lonely) -> anyhow::Result<()> {
        let Lonely { side, account, seen, why } = lonely;
        let system = self.desk.connection.systems[*side].as_str();
        let value = |name: &str| {
            let path: AttributePath = name.parse().ok()?;
            match seen.as_ref()?.attributes.get(&path)?.as_ref()? {
                Value::Text(text) => Some(text.clone()),
                Value::Bool(value) => Some(value.to_string()),
                _ => None,
            }
        };
        let full = || Some(format!("{} {}", value("name.givenName")?, value("name.familyName")?));
        let name = value("displayName").or_else(full).or_else(|| value("userName"));
        let (email, active) = (value("emails"), value("active"));
        let fits = seen.as_ref().and_then(|seen| self.desk.connection.fits(*side, seen));
        (self.told)(Row {
            system: system.to_owned(),
            side: *side,
            account: account.clone(),
            name,
            email,
            active,
            in_scope: fits.map(|fits| fits.to_string()),
            why: why.clone(),
        })
    }
}

//! `muster explain`: why an account is as it is, on one page (B17). What is known comes from the store, what the two
//! systems hold today from one call to each; nothing is changed.

use std::time::Duration;

use super::connect::Mode;
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use super::worker::{self, Role};
use crate::broker::Broker;
use crate::domain::matching::MatchKey;
use crate::domain::resolve::Lost;
use crate::domain::{ConnectionName, DeadLetter, LetterId, Side, Sides, Snapshot, Timestamp, Value};
use crate::stages::Pipeline;
use crate::store::{Kept, Pause, Store, StoreError, SystemState};
use crate::systems::{Lookup, SearchKey};

pub(crate) mod find;
mod held;
mod next;
mod page;
pub(crate) mod report;
mod teller;
pub(crate) mod words;

pub(crate) use find::Meant;

/// How long a system may take to answer a person who waits.
const LOOK: Duration = Duration::from_secs(15);

/// Values that did not win, on one page.
const KEPT: usize = 20;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The account: `<system>:<id>`, or an e-mail address or user name.
    pub account: String,
    /// Only this attribute.
    pub attribute: Option<String>,
    /// Only on this connection.
    pub connection: Option<ConnectionName>,
    /// Whether the systems are left alone.
    pub offline: bool,
}

/// What there is to say of an account, on every connection that has it.
pub(crate) async fn reports<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    ask: &Ask,
) -> anyhow::Result<Vec<report::Report>> {
    let idle = idle(&worker::missing(&pipeline.store).await?, mode);
    let meant = find::find(pipeline, &ask.account, ask.connection.as_ref(), ask.offline).await?;
    let mut reports = Vec::new();
    let mut unmapped = Vec::new();
    for meant in &meant {
        let known = gather(pipeline, meant, idle.clone(), ask.offline).await?;
        let mut report = report::Report::new(meant, &known, pipeline);
        let is_mapped = ask.attribute.as_ref().is_none_or(|name| report.narrow(name));
        if is_mapped { &mut reports } else { &mut unmapped }.push(report);
    }
    if let (Some(name), true, Some(report)) = (&ask.attribute, reports.is_empty(), unmapped.first()) {
        let known =
            report.attributes.iter().map(|attribute| attribute.attribute.as_str()).collect::<Vec<_>>().join(", ");
        let text = match known.as_str() {
            "" => format!("nothing is known of attribute {name}: the account is not linked"),
            known => format!("{} does not map attribute {name}; it maps: {known}", report.connection),
        };
        return Err(UsageError::new(text).into());
    }
    Ok(reports)
}

/// Explains an account on every connection that has it.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    ask: &Ask,
    form: Form,
) -> anyhow::Result<Exit> {
    let reports = reports(pipeline, mode, ask).await?;
    for (place, report) in reports.iter().enumerate() {
        match form {
            Form::Json => output::object(report),
            Form::Text => {
                if place > 0 {
                    output::line("");
                }
                page::print(report, ask.attribute.is_some());
            }
        }
    }
    Ok(if reports.iter().any(|report| report.needs_a_person) { Exit::Attention } else { Exit::Done })
}

/// What is known of an account besides its link.
struct Known {
    /// What each system says today.
    today: Sides<Look>,
    /// What is known of each system.
    systems: Sides<SystemState>,
    /// The open letters about it.
    letters: Vec<DeadLetter>,
    /// Values of it that did not win, newest first.
    kept: Vec<Kept>,
    /// Accounts in the way of one that is to be created, and the attribute that they share with it.
    rivals: Vec<Rival>,
    /// Nobody writes on this connection, since a person said so.
    pause: Option<Pause>,
    /// Who would have to run for anything to be written, if nobody does: the beginning of a sentence.
    idle: Option<String>,
}

/// An account that has a value which an account to be created needs for itself.
struct Rival {
    side: Side,
    account: String,
    attribute: String,
}

/// What came of looking at an account today.
pub(super) enum Look {
    /// There is none to look at, or nobody was to look.
    NotAsked,
    /// The system asked to be left alone until then.
    Paused { until: Timestamp, reason: String },
    /// It did not say.
    Failed(String),
    /// There it is.
    Shown(Snapshot),
    /// The system says that there is no such account.
    Absent,
}

/// Why nothing is written while these stages are missing; `None`: it is.
fn idle(missing: &[Role], mode: &Mode) -> Option<String> {
    match mode {
        Mode::Embedded(_) => missing.first().map(|_| "`muster run` is not at work".to_owned()),
        Mode::Distributed => {
            let role = missing.iter().find(|role| **role != Role::Producer)?;
            Some(format!("No {} is running", role.as_str()))
        }
    }
}

async fn gather<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    meant: &Meant,
    idle: Option<String>,
    offline: bool,
) -> anyhow::Result<Known> {
    let connection = &meant.connection;
    let (store, name) = (&pipeline.store, &connection.name);
    let mut systems = Sides::<SystemState>::default();
    let mut letters = Vec::new();
    for side in Side::BOTH {
        systems[side] = store.system(&connection.systems[side]).await?.for_calls();
        let of_link = meant.link.as_ref().map(|link| LetterId::of_link(name, side, link.id));
        let of_account = meant.accounts[side].as_ref().map(|account| LetterId::of_account(name, side, account));
        for id in [of_link, of_account].into_iter().flatten() {
            letters.extend(store.letter(Some(name), &id).await?);
        }
    }
    let kept = match &meant.link {
        Some(link) => store.journal(name, Some(link.id), None, KEPT).await?,
        None => Vec::new(),
    };
    let (a, b) = tokio::join!(look(meant, Side::A, &systems.a, offline), look(meant, Side::B, &systems.b, offline));
    let mut rivals = Vec::new();
    for side in Side::BOTH {
        if !offline && systems[side].not_before.is_none() {
            rivals.extend(rivals_on(meant, side).await);
        }
    }
    let pause = store.pauses().await?.into_iter().find(|pause| pause.is_of(name));
    Ok(Known { today: Sides { a, b }, systems, letters, kept, rivals, pause, idle })
}

/// What both systems hold today of the accounts that are meant.
pub(super) async fn look_at<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    meant: &Meant,
    offline: bool,
) -> Result<Sides<Look>, StoreError> {
    let mut systems = Sides::<SystemState>::default();
    for side in Side::BOTH {
        systems[side] = pipeline.store.system(&meant.connection.systems[side]).await?.for_calls();
    }
    let (a, b) = tokio::join!(look(meant, Side::A, &systems.a, offline), look(meant, Side::B, &systems.b, offline));
    Ok(Sides { a, b })
}

async fn look(meant: &Meant, side: Side, system: &SystemState, offline: bool) -> Look {
    let is_asked = !offline && meant.connection.ends[side].schema().readable;
    let Some(account) = meant.accounts[side].as_ref().filter(|_| is_asked) else { return Look::NotAsked };
    if let Some(until) = system.not_before {
        return Look::Paused { until, reason: system.reason.clone().unwrap_or_default() };
    }
    let end = &meant.connection.ends[side];
    match tokio::time::timeout(LOOK, end.get(std::slice::from_ref(account))).await {
        Ok(Ok(mut lookups)) => match lookups.pop() {
            Some(Lookup::Found(snapshot)) => Look::Shown(snapshot),
            Some(Lookup::Absent(_)) => Look::Absent,
            Some(Lookup::Unreadable { code, attribute: Some(attribute) }) => {
                Look::Failed(format!("its {attribute} is unusable ({code})"))
            }
            Some(Lookup::Unreadable { code, attribute: None }) => Look::Failed(format!("it is unusable ({code})")),
            None => Look::Failed("there was no answer".to_owned()),
        },
        Ok(Err(failure)) => Look::Failed(failure.to_string()),
        Err(_) => Look::Failed(format!("there was no answer within {} s", LOOK.as_secs())),
    }
}

/// Where the creation of an account was refused: who has what it needs for itself.
async fn rivals_on(meant: &Meant, side: Side) -> Vec<Rival> {
    let Some(link) = &meant.link else { return Vec::new() };
    if link.sides[side].account.is_some() || link.sides[side].dead.is_none() {
        return Vec::new();
    }
    let rules = meant.connection.rules(meant.epoch);
    let mut rivals: Vec<Rival> = Vec::new();
    for path in rules.match_on.iter().flat_map(MatchKey::paths) {
        let (Some(rule), Some(register)) = (rules.attributes.get(path), link.registers.get(path)) else { continue };
        let Ok(Some(Value::Text(text))) = rule.leave(side, &register.value) else { continue };
        let keys = [SearchKey::Attribute(rule.names[side].clone(), text)];
        let search = tokio::time::timeout(LOOK, meant.connection.ends[side].search(&keys)).await;
        // The page has enough to say without it.
        for snapshot in search.into_iter().flatten().flatten().flatten() {
            let account = format!("{}:{}", meant.connection.systems[side], snapshot.account);
            if rivals.iter().all(|rival| rival.account != account) {
                rivals.push(Rival { side, account, attribute: path.to_string() });
            }
        }
    }
    rivals
}

/// The entries of the journal as the domain knows them.
fn lost(kept: &[Kept]) -> Vec<Lost> {
    let lost = |Kept { entry, .. }: &Kept| Lost {
        path: entry.attribute.clone(),
        side: entry.side,
        value: entry.value.clone(),
        reason: entry.reason,
        generation: entry.generation,
    };
    kept.iter().map(lost).collect()
}

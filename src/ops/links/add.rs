//! `muster links add`: links two accounts.

use std::time::Duration;

use serde_json::json;
use tracing::info;

use super::Desk;
use super::make::{Made, link};
use crate::broker::Broker;
use crate::domain::rules::{Flow, Policy};
use crate::domain::{AccountId, Failure, Side, Sides, Snapshot};
use crate::ops::audit;
use crate::ops::connect::operator;
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::stages::Pipeline;
use crate::store::Store;
use crate::systems::Lookup;

/// How long one system is waited for.
const LOOK: Duration = Duration::from_secs(15);

/// Links the two, given in either order where they name their systems.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    named: [&str; 2],
    offline: bool,
    form: Form,
) -> anyhow::Result<Exit> {
    let pair = desk.pair(named)?;
    if !offline {
        for side in Side::BOTH {
            let what = desk.account(side, &pair[side]);
            match look(pipeline, desk, side, std::slice::from_ref(&pair[side])).await {
                Ok(Some(seen)) if seen.first().is_some_and(Option::is_none) => {
                    return Err(UsageError::new(format!("there is no account {what}")).into());
                }
                Ok(_) => {}
                Err(why) => anyhow::bail!("whether there is an account {what} cannot be told: {why}; see --offline"),
            }
        }
    }
    let made = link(pipeline, desk, std::slice::from_ref(&pair), false).await?.pop().unwrap_or(Made::Busy);
    let (a, b) = (desk.account(Side::A, &pair.a), desk.account(Side::B, &pair.b));
    let reason = desk.reason(&pair, &made);
    audit::count("linked", u64::from(made == Made::Linked));
    info!(connection = %desk.name, %a, %b, by = operator(), outcome = ?made, "{} links {a} with {b}", operator());
    if form == Form::Json {
        let (code, reason) = reason.clone().unzip();
        let outcome = word(&made, false);
        output::object(&json!({
            "connection": desk.name, "a": a, "b": b, "outcome": outcome, "code": code, "reason": reason,
        }));
    }
    match (reason, form) {
        (Some((_, reason)), Form::Text) => anyhow::bail!("{reason}"),
        (Some(_), Form::Json) => return Ok(Exit::Failed),
        (None, Form::Json) => {}
        (None, Form::Text) if made == Made::Already => output::line(format!("{a} and {b} are linked already")),
        (None, Form::Text) => {
            output::line(format!("Linked {a} with {b} on {}", desk.name));
            output::line(desk.who_wins());
        }
    }
    Ok(Exit::Done)
}

/// What became of a pair, as one word.
pub(super) fn word(made: &Made, dry_run: bool) -> &'static str {
    match made {
        Made::Linked if dry_run => "would_link",
        Made::Linked => "linked",
        Made::Already => "already_linked",
        Made::Taken { .. } | Made::Busy => "refused",
    }
}

/// What a system holds of these accounts; `None` for one that it does not have. The outer `None`: it cannot be read.
pub(super) async fn look<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    side: Side,
    accounts: &[AccountId],
) -> Result<Option<Vec<Option<Box<Snapshot>>>>, String> {
    let (end, system) = (&desk.connection.ends[side], &desk.connection.systems[side]);
    if !end.schema().readable {
        return Ok(None);
    }
    let state = pipeline.store.system(system).await.map_err(|error| error.to_string())?.for_calls();
    if state.not_before.is_some() {
        return Err(format!("{system} is not called for now: {}", state.reason.unwrap_or_default()));
    }
    let failed = |failure: Failure| format!("{system} says: {failure}");
    let asked = tokio::time::timeout(LOOK, end.get(accounts)).await;
    let lookups = asked.map_err(|_| format!("{system} did not answer within {} s", LOOK.as_secs()))?.map_err(failed)?;
    let seen = lookups.into_iter().map(|lookup| match lookup {
        Lookup::Found(snapshot) => Ok(Some(Box::new(snapshot))),
        Lookup::Absent(_) => Ok(None),
        Lookup::Unreadable { code, .. } => Err(format!("an account cannot be read: {code}")),
    });
    seen.collect::<Result<_, _>>().map(Some)
}

impl Desk<'_> {
    /// The two accounts that somebody names.
    fn pair(&self, named: [&str; 2]) -> Result<Sides<AccountId>, UsageError> {
        let systems = &self.connection.systems;
        let names =
            |text: &str, side: Side| text.split_once(':').is_some_and(|(name, _)| name == systems[side].as_str());
        let turned = systems.a != systems.b && names(named[0], Side::B) && names(named[1], Side::A);
        let [a, b] = if turned { [named[1], named[0]] } else { named };
        let parse = |side: Side, text: &str| {
            self.parse(side, text).ok_or_else(|| {
                UsageError::new(format!(
                    "`{text}` is no account of {}; write {}:<id>",
                    self.systems[side], systems[side]
                ))
            })
        };
        Ok(Sides { a: parse(Side::A, a)?, b: parse(Side::B, b)? })
    }

    /// Whose values two accounts that meet for the first time keep.
    pub(super) fn who_wins(&self) -> String {
        let rules = self.connection.template();
        let Sides { a, b } = &self.systems;
        match (rules.contributes(Side::A), rules.contributes(Side::B)) {
            (true, true) => {
                let both_ways = rules.attributes.values().filter(|rule| rule.flow == Flow::Both);
                let mut sides = both_ways.map(|rule| match rule.policy {
                    Policy::DefaultSystem(side) | Policy::LastWrite { default: side, .. } => side,
                });
                let first = sides.next();
                let default = first.filter(|first| sides.all(|side| side == *first));
                let default = default.map_or("the default system or an attribute's owner", |side| &self.systems[side]);
                format!("Where the two differ, what {default} holds is kept; what only one of them has, both get")
            }
            (true, false) => format!("Where the two differ, {b} gets what {a} holds"),
            (false, _) => format!("Where the two differ, {a} gets what {b} holds"),
        }
    }
}

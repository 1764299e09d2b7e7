//! `muster conflicts show`: one value that did not win, with both sides as they are now.

use serde_json::json;

use super::{Conflict, find, named};
use crate::broker::Broker;
use crate::domain::{Link, Side, Sides, Value};
use crate::ops::exit::Exit;
use crate::ops::explain::words::{Words, quoted, short};
use crate::ops::explain::{Look, Meant, look_at};
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::store::{Store, StoreError};

/// Shows one.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    text: &str,
    offline: bool,
    form: Form,
) -> anyhow::Result<Exit> {
    let conflict = find(pipeline, text).await?;
    let meant = meant(pipeline, &conflict).await?;
    let entry = &conflict.kept.entry;
    let looks = look_at(pipeline, &meant, offline).await?;
    let rule = conflict.connection.template().attributes.get(&entry.attribute);
    let today = Sides::from_fn(|side| match &looks[side] {
        Look::Shown(snapshot) => rule.and_then(|rule| rule.seen(side, snapshot)),
        _ => None,
    });
    let register = meant.link.as_ref().and_then(|link| link.registers.get(&entry.attribute));
    let pin = meant.link.as_ref().and_then(|link| link.pins.get(&entry.attribute));
    if form == Form::Json {
        let mut object = conflict.json(true);
        object["should_be"] = json!(register.map(|register| &register.value));
        object["today"] = json!({ "a": today.a, "b": today.b });
        object["pinned_to"] = json!(pin.map(|pin| pin.side));
        output::object(&object);
        return Ok(Exit::Done);
    }
    let words = Words::new(conflict.connection, meant.now);
    output::line(format!("{}: {} of {}", conflict.name(), short(&entry.attribute), conflict.accounts()));
    output::line(format!("  {}", words.kept(entry, rule)));
    match register {
        Some(register) => output::line(format!(
            "  Both should have {}, the value of {}.",
            quoted(register.value.as_ref(), true),
            words.name(register.by)
        )),
        None => output::line("  What both should have is not known: the accounts are read first."),
    }
    for side in Side::BOTH {
        let holds = |value: &Option<Value>| format!("holds {}", quoted(value.as_ref(), true));
        let text = match (&looks[side], &today[side]) {
            (_, Some(value)) => holds(value),
            (Look::Shown(_), None) => "does not show it".to_owned(),
            (Look::Absent, _) => "has no such account any more".to_owned(),
            (Look::Failed(reason), _) => format!("could not be read just now: {reason}"),
            (Look::Paused { until, reason }, _) => format!("is left alone until {until} ({reason})"),
            (Look::NotAsked, _) => continue,
        };
        output::line(format!("  {} {text}.", words.name(side)));
    }
    if let Some(pin) = pin {
        output::line(format!("  {}.", words.pin(pin)));
    }
    match &conflict.given_back {
        Some(given) => output::line(format!("  {} gave it back.", given.by)),
        None => output::line(format!("  To have it back: muster conflicts give-back {}", conflict.name())),
    }
    if let Some(gave) = &entry.gave_back {
        let of = named(&conflict.connection.name, &gave.entry);
        output::line(format!("  It was replaced when {of} was given back."));
    }
    Ok(Exit::Done)
}

/// What both sides should have, hold today, and whether one of them alone counts.
pub(crate) struct Standing {
    pub(crate) should_be: Option<Option<Value>>,
    /// As far as each system says it.
    pub(crate) today: Sides<Option<Option<Value>>>,
    pub(crate) pinned_to: Option<Side>,
}

/// How the attribute of a conflict stands now.
pub(crate) async fn standing<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    conflict: &Conflict<'_>,
    offline: bool,
) -> Result<Standing, StoreError> {
    let meant = meant(pipeline, conflict).await?;
    let path = &conflict.kept.entry.attribute;
    let looks = look_at(pipeline, &meant, offline).await?;
    let rule = conflict.connection.template().attributes.get(path);
    let today = Sides::from_fn(|side| match &looks[side] {
        Look::Shown(snapshot) => rule.and_then(|rule| rule.seen(side, snapshot)),
        _ => None,
    });
    let register = meant.link.as_ref().and_then(|link| link.registers.get(path));
    let pin = meant.link.as_ref().and_then(|link| link.pins.get(path));
    Ok(Standing {
        should_be: register.map(|register| register.value.clone()),
        today,
        pinned_to: pin.map(|pin| pin.side),
    })
}

/// The accounts of an entry and their link, as they are now.
pub(super) async fn meant<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    conflict: &Conflict<'_>,
) -> Result<Meant, StoreError> {
    let name = &conflict.connection.name;
    // Only this question lets the store begin a new memory, where it has lost the old one.
    pipeline.store.epoch(name).await?;
    let loaded = pipeline.store.load(name, &[conflict.kept.entry.link]).await?;
    let link = loaded.items.into_iter().next().flatten().filter(|link: &Link| link.epoch == loaded.epoch);
    let of_entry = &conflict.kept.entry.accounts;
    let accounts = Sides::from_fn(|side| match &link {
        Some(link) => link.sides[side].account.clone(),
        None => of_entry[side].clone(),
    });
    let connection = pipeline.connections[name].clone();
    Ok(Meant { connection, accounts, link, epoch: loaded.epoch, now: loaded.now })
}

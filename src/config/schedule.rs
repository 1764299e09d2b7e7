//! `schedule`, `overdue_after`, `history` and `undo` of a connection.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::{TimeZone, db};
use serde_json::{Value as Json, json};

use super::shape::{Either, Lasting, Shape, Text, Word, lasting};
use super::table::{Found, Reader, Table};
use super::words::nearest;
use crate::domain::schedule::Schedule;

const LEAST: Duration = Duration::from_secs(1);
/// The longest time that changes are kept.
const LONGEST_HISTORY: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const MOST: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// A time of day as a clock with 24 hours shows it.
const TIME: Text<Time> = Text {
    what: "a time of day",
    rule: "a time of day has the form \"02:30\", from 00:00 to 23:59",
    parse: |text| {
        let digits = text.len() == 5 && text.bytes().enumerate().all(|(i, b)| b.is_ascii_digit() == (i != 2));
        digits.then(|| Time::strptime("%H:%M", text).ok()).flatten()
    },
};

/// The name of a zone.
struct Zone;

impl Shape for Zone {
    type Value = TimeZone;

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1, "examples": ["Europe/Paris", "America/New_York"] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<TimeZone> {
        let rule = "a zone has the name that the IANA database gives it, such as \"Europe/Paris\"";
        reader.is_plain(&found.place);
        let text = found.text(&format!("a string: {rule}"), reader)?;
        let zone = TimeZone::get(text).ok().filter(|zone| !zone.is_unknown());
        if zone.is_none() {
            let cut: String = text.chars().take(60).collect();
            let remedy = match meant(text) {
                Some(meant) => format!("did you mean {meant:?}? {rule}"),
                None => rule.to_owned(),
            };
            reader.mistake(&found.place, format!("{cut:?} is not a time zone"), remedy);
        }
        zone
    }
}

/// The zone that a wrong name was probably meant to be: one that is spelt nearly so, else one of that city.
fn meant(wrong: &str) -> Option<String> {
    let known: Vec<String> = db().available().map(|name| name.to_string()).collect();
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let city = wrong.rsplit('/').next().unwrap_or(wrong).trim().replace(' ', "_");
    let of_city = || known.iter().find(|name| name.rsplit('/').next().is_some_and(|of| of.eq_ignore_ascii_case(&city)));
    nearest(wrong, &names).map(ToOwned::to_owned).or_else(|| of_city().cloned())
}

/// Reads `schedule`.
pub(super) fn schedule(table: &mut Table<'_, '_>) -> Option<Schedule> {
    table.default(
        "schedule",
        Either(Word("manual", || Schedule::Manual), regular),
        Schedule::Manual,
        "When it runs by itself: never (\"manual\"), { every = \"15m\" }, or { daily = \"02:30\", zone = \
         \"Europe/Paris\" }.",
    )
}

fn regular(table: &mut Table<'_, '_>) -> Option<Schedule> {
    let every = table.optional("every", Lasting(LEAST..=MOST), "The time from one run to the next: \"15m\".");
    let daily = table.optional(
        "daily",
        TIME,
        "The local time of one run a day: \"02:30\". Where clocks skip it, the run begins when they are put forward; \
         where it comes twice, the first time.",
    );
    let zone = table.optional("zone", Zone, "The zone of that time, as the IANA database names it: \"Europe/Paris\".");
    match (every?, daily?, zone?) {
        (Some(every), None, None) => Some(Schedule::Every(every)),
        (None, Some(at), Some(zone)) => Some(Schedule::Daily { at, zone }),
        (None, Some(_), None) => {
            let remedy = "add zone = \"Europe/Paris\", the zone in which the time is meant";
            table.missing_beside("daily", "zone", "is missing beside daily", remedy);
            None
        }
        (None, None, _) => {
            let remedy = "expected { every = \"15m\" } or { daily = \"02:30\", zone = \"Europe/Paris\" }";
            table.mistake("", "does not say when", remedy);
            None
        }
        (Some(_), Some(_), _) => {
            table.mistake("daily", "comes beside every", "leave one of the two out");
            None
        }
        (Some(_), None, Some(_)) => {
            table.mistake("zone", "has no meaning beside every", "leave it out");
            None
        }
    }
}

/// Reads `history`. The outer `None` is a mistake.
pub(super) fn history(table: &mut Table<'_, '_>) -> Option<Option<Duration>> {
    table.optional(
        "history",
        Lasting(LEAST..=LONGEST_HISTORY),
        "How long changes are kept with what was decided of them, so that `muster replay` can decide them again under another \
         configuration. They are kept with all values that were read. Left out: nothing is kept.",
    )
}

/// How long is kept what writes overwrite, where the file says nothing.
const UNDO: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const UNDO_FOR: Text<Option<Duration>> = Text {
    what: "a time to keep something",
    rule: "a duration from 1s to 366d, such as \"7d\"; or \"off\"",
    parse: |text| match text {
        "off" => Some(None),
        text => lasting(text).filter(|kept| (LEAST..=LONGEST_HISTORY).contains(kept)).map(Some),
    },
};

/// Reads `undo`. The outer `None` is a mistake.
pub(super) fn undo(table: &mut Table<'_, '_>) -> Option<Option<Duration>> {
    let doc = "How long is kept what each write overwrites, so that `muster undo` can bring it back: \"7d\" (default). These \
               are values of accounts. \"off\": nothing is kept, and nothing can be undone.";
    Some(table.optional("undo", UNDO_FOR, doc)?.unwrap_or(Some(UNDO)))
}

/// Reads `overdue_after`.
pub(super) fn overdue_after(table: &mut Table<'_, '_>, schedule: Option<&Schedule>) -> Option<Duration> {
    let patience = table.optional(
        "overdue_after",
        Lasting(LEAST..=MOST),
        "How long after its time a run that goes well may still be missing before the connection counts as overdue. By \
         default an hour for a daily schedule, else the time from one run to the next, at least 5 minutes.",
    );
    let patience = patience?;
    if patience.is_some() && schedule == Some(&Schedule::Manual) {
        table.mistake("overdue_after", "has no meaning without a schedule", "leave it out, or add a schedule");
        return None;
    }
    patience.or_else(|| schedule.map(Schedule::usual_patience))
}

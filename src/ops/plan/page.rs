//! The plan as text for people, and as objects for machines.

use std::io::IsTerminal;

use console::measure_text_width;
use serde_json::json;

use super::SHOWN;
use super::meeting::Meeting;
use super::report::{Deed, Item, OnHold, Report, ValueChange};
use crate::domain::link::Left;
use crate::domain::matching::MeetingRule;
use crate::domain::{AccountId, AttributePath, Side, Value};
use crate::ops::explain::words::quoted;
use crate::ops::output;

/// Characters of a line.
const WIDTH: usize = 100;

/// Prints one object for each account, letter and hold, and one that sums up.
pub(super) fn objects(report: &Report, limit: Option<usize>) {
    let connection = &report.connection;
    for item in report.items.iter().take(limit.unwrap_or(usize::MAX)) {
        let mut object = json!(item);
        object["connection"] = json!(connection);
        output::object(&object);
    }
    for (letter, remedy) in &report.refused {
        output::object(&json!({
            "action": "refuse", "connection": connection, "side": letter.id.link().map(|(_, side, _)| side),
            "system": letter.fingerprint.target, "account": letter.account, "partner": letter.partner,
            "code": letter.fingerprint.code, "attribute": letter.fingerprint.attribute, "text": letter.message,
            "remedy": remedy,
        }));
    }
    for OnHold { accounts, attributes, reasons } in &report.held {
        output::object(&json!({
            "action": "hold", "connection": connection, "accounts": accounts, "attributes": attributes,
            "reasons": reasons,
        }));
    }
    if let Some(meeting) = report.meeting.as_ref().filter(|meeting| meeting.not_linked.is_none()) {
        for mut object in meeting.objects(&report.systems).take(limit.unwrap_or(usize::MAX)) {
            object["connection"] = json!(connection);
            output::object(&object);
        }
    }
    output::object(&json!({ "summary": report.summary() }));
}

/// Prints the plan; `more`: another one stands above it.
pub(super) fn print(report: &Report, limit: Option<usize>, more: bool) {
    let limit = limit.unwrap_or(if std::io::stdout().is_terminal() { SHOWN } else { usize::MAX });
    if more {
        output::line("");
    }
    lines(report, limit).into_iter().for_each(|line| output::line(line.trim_end()));
}

fn lines(report: &Report, limit: usize) -> Vec<String> {
    let mut lines = Vec::new();
    wrap(&mut lines, "", "  ", &head(report));
    if let Some(failed) = &report.failed {
        wrap(&mut lines, "", "  ", &format!("It is not the whole of it: {failed}"));
    }
    // Once all are linked there is nothing to say of it.
    let is_news = |meeting: &&Meeting| !meeting.matched.is_empty() || !meeting.ambiguous.is_empty();
    if let Some(meeting) = report.meeting.as_ref().filter(is_news) {
        first_match(&mut lines, report, meeting, limit);
    }
    let mut last = None;
    for item in report.items.iter().take(limit) {
        if last != Some((item.side, item.action)) {
            last = Some((item.side, item.action));
            lines.push(String::new());
            lines.push(format!("To {} in {}", item.action.as_str(), side_name(report, item.side)));
        }
        account(&mut lines, report, item);
    }
    let rest = report.items.len().saturating_sub(limit);
    if rest > 0 {
        lines.push(String::new());
        lines.push(format!("and {rest} more, --limit or --json shows them"));
    }
    if !report.refused.is_empty() {
        lines.push(String::new());
        lines.push("Would be refused".to_owned());
    }
    for (letter, remedy) in report.refused.iter().take(limit) {
        let account = letter.account.as_ref().or(letter.partner.as_ref()).map_or("?", |account| account.as_str());
        let target = letter.fingerprint.target.as_ref().map_or("?", |target| target.as_str());
        wrap(&mut lines, "  ", "    ", &format!("{account}, by {target}: {}", letter.message));
        if let Some(remedy) = remedy {
            wrap(&mut lines, "    ", "    ", remedy);
        }
    }
    and_more(&mut lines, report.refused.len(), limit);
    if !report.held.is_empty() {
        lines.push(String::new());
        lines.push("Waits for a person, see `muster explain`".to_owned());
    }
    for OnHold { accounts, attributes, reasons } in report.held.iter().take(limit) {
        let names = Side::BOTH
            .into_iter()
            .filter_map(|side| accounts[side].as_ref().map(|account| format!("{}:{account}", report.systems[side])));
        let what = if attributes.is_empty() { "the account".to_owned() } else { list(attributes) };
        let reasons = reasons.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let text = format!("{}: {what} ({reasons})", names.collect::<Vec<_>>().join(", "));
        wrap(&mut lines, "  ", "    ", &text);
    }
    and_more(&mut lines, report.held.len(), limit);
    if report.workers {
        lines.push(String::new());
        let text = "Workers are running: this is a picture of the moment, and they go on meanwhile.";
        wrap(&mut lines, "", "", text);
    }
    lines
}

/// What the accounts of the two systems are to each other: counts, then the first of each kind.
fn first_match(lines: &mut Vec<String>, report: &Report, meeting: &Meeting, limit: usize) {
    let name = |side: Side| side_name(report, side);
    let by_key: Vec<_> = meeting.by_key().into_iter().map(|(by, count)| format!("{count} by {by}")).collect();
    let by_key = if by_key.is_empty() { String::new() } else { format!(" ({})", by_key.join(", ")) };
    let mut counts = vec![format!("{} pairs matched{by_key}", meeting.matched.len())];
    let [a, b] = Side::BOTH;
    if !meeting.ambiguous.is_empty() {
        let (in_a, in_b) = (meeting.ambiguous(a), meeting.ambiguous(b));
        counts.push(format!("{in_a} ambiguous in {} and {in_b} in {}", name(a), name(b)));
    }
    counts.extend(Side::BOTH.map(|side| format!("{} only in {}", meeting.only[side].len(), name(side))));
    counts.push(format!("{} of the pairs differ", meeting.differing().count()));
    lines.push(String::new());
    wrap(lines, "", "  ", &format!("Match of all accounts: {}", counts.join(", ")));
    if let Some(setting) = meeting.not_linked {
        let text = format!("Pairs found by a key are not linked, since the connection has {setting}.");
        wrap(lines, "  ", "  ", &text);
        return;
    }
    for ((path, wins, rule), count) in meeting.rulings() {
        wrap(lines, "  ", "    ", &format!("{}: {} in {count}", short(&path), verdict(report, wins, rule)));
    }
    if !meeting.ambiguous.is_empty() {
        lines.push(String::new());
        let text = "Ambiguous: nobody is created or linked for these until `muster links add` says who belongs to whom";
        wrap(lines, "", "  ", text);
    }
    for shared in meeting.ambiguous.iter().take(limit) {
        let of = |side: Side, accounts: &[AccountId]| {
            let accounts = accounts.iter().map(|account| format!("{}:{account}", report.systems[side]));
            accounts.collect::<Vec<_>>().join(", ")
        };
        let text = format!("the same {}: {} and {}", shared.by, of(a, &shared.a), of(b, &shared.b));
        wrap(lines, "  ", "    ", &text);
    }
    and_more(lines, meeting.ambiguous.len(), limit);
    if meeting.differing().next().is_some() {
        lines.push(String::new());
        lines.push("Pairs that differ".to_owned());
    }
    for met in meeting.differing().take(limit) {
        let accounts = Side::BOTH.map(|side| format!("{}:{}", report.systems[side], met.accounts[side]));
        wrap(lines, "  ", "    ", &format!("{}, by {}", accounts.join(", "), met.by));
        for difference in &met.differing {
            let value = |side: Side| format!("{} in {}", quoted(difference.values[side].as_ref(), false), name(side));
            let verdict = verdict(report, difference.wins, difference.rule);
            let text = format!("{}: {}, {}: {verdict}", short(&difference.path), value(a), value(b));
            wrap(lines, "      ", "        ", &text);
        }
    }
    and_more(lines, meeting.differing().count(), limit);
}

/// Whose value counts where two accounts differ, and why.
fn verdict(report: &Report, wins: Option<Side>, rule: MeetingRule) -> String {
    let Some(side) = wins else { return "each keeps its own (it is not written to accounts that exist)".to_owned() };
    let why = match rule {
        MeetingRule::OneWay => "it flows one way",
        MeetingRule::Filled => "the other has none",
        MeetingRule::DefaultSystem => "the default system",
        MeetingRule::Owner => "the owner of the attribute",
        MeetingRule::LastWrite => "changed later",
        MeetingRule::NotWritten => "it is not written",
    };
    format!("{} wins ({why})", side_name(report, side))
}

fn and_more(lines: &mut Vec<String>, count: usize, limit: usize) {
    if count > limit {
        lines.push(format!("  and {} more, --limit or --json shows them", count - limit));
    }
}

fn head(report: &Report) -> String {
    let deeds = report.deeds();
    let mut todo = Vec::new();
    for side in Side::BOTH {
        let of_side: Vec<_> = Deed::ALL
            .into_iter()
            .filter_map(|deed| deeds.get(&(side, deed)).map(|count| format!("{count} to {}", deed.as_str())))
            .collect();
        if !of_side.is_empty() {
            todo.push(format!("{} in {}", of_side.join(", "), side_name(report, side)));
        }
    }
    let counts = &report.counts;
    let mut stays = vec![format!("{} in step", counts.in_step)];
    let mut more = |count: u64, text: &str| {
        if count > 0 {
            stays.push(format!("{count} {text}"));
        }
    };
    more(counts.to_link, "to link");
    more(counts.ambiguous, "ambiguous");
    more(counts.alone, "without a partner");
    more(u64::from(counts.out_of_scope), "out of scope");
    more(counts.refused, "refused");
    more(report.held.len() as u64, "on hold");
    let todo = if todo.is_empty() { "nothing to do".to_owned() } else { todo.join(" and ") };
    format!("{}: {todo}; {}", report.connection, stays.join(", "))
}

fn side_name(report: &Report, side: Side) -> String {
    let name = &report.systems[side];
    if report.systems.a == report.systems.b { format!("{name} ({side})") } else { name.to_string() }
}

fn account(lines: &mut Vec<String>, report: &Report, item: &Item) {
    let other = &report.systems[item.side.other()];
    let name = item.name.as_deref().map(Value::from);
    let ids = [
        item.account.as_ref().map(|account| format!("{}:{account}", item.system)),
        item.partner.as_ref().map(|partner| format!("{other}:{partner}")),
    ];
    let ids = ids.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let title = match &name {
        Some(name) => format!("{}  {ids}", quoted(Some(name), false).trim_matches('"')),
        None => ids,
    };
    wrap(lines, "  ", "    ", &title);
    if item.action == Deed::Create {
        let values: Vec<_> =
            item.values.iter().map(|(path, change)| format!("{} {}", short(path), after(change))).collect();
        wrap(lines, "      ", "      ", &values.join(", "));
        return;
    }
    let why = match item.why {
        None => None,
        Some(Left::Inactive) => Some(format!("left {other}")),
        Some(Left::Gone) => Some(format!("gone from {other}")),
    };
    if let Some(why) = why {
        wrap(lines, "      ", "        ", &why);
    }
    for (path, change) in &item.values {
        let reason = change.reason.text(other, change.at);
        let before = quoted(change.before.as_ref(), false);
        wrap(lines, "      ", "        ", &format!("{}: {before} -> {} ({reason})", short(path), after(change)));
    }
}

fn after(change: &ValueChange) -> String {
    match (&change.id_of_new, &change.after) {
        (Some(_), _) => "the new account's id".to_owned(),
        (None, None) => "cleared".to_owned(),
        (None, Some(value)) => quoted(Some(value), false),
    }
}

/// The part of a name that people use.
fn short(path: &AttributePath) -> &str {
    path.as_str().rsplit(':').next().unwrap_or(path.as_str())
}

fn list(paths: &[AttributePath]) -> String {
    paths.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// Adds a text in lines of [`WIDTH`]; a word that is longer has a line of its own.
fn wrap(lines: &mut Vec<String>, first: &str, rest: &str, text: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && measure_text_width(&line) + 1 + measure_text_width(word) > WIDTH {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
}

//! `muster links list`: the links and how they stand, and the half-made ones.

use std::collections::HashSet;

use serde_json::json;

use super::Desk;
use crate::broker::Broker;
use crate::domain::hold::HoldState;
use crate::domain::pending::{held, pending};
use crate::domain::{AccountId, ConnectionName, DeadLetter, Link, LinkId, Rules, Side, Timestamp};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::stages::mapper::INCOMPLETE_LINK;
use crate::store::Store;

/// Links loaded at once.
const PAGE: usize = 500;

/// Lists the links of these connections.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    only: Option<ConnectionName>,
    limit: Option<usize>,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut table = output::table(&["CONNECTION", "A", "B", "STATE"]);
    let mut shown = 0;
    let mut more = false;
    for name in names(pipeline, only)? {
        let desk = Desk::of(pipeline, &name)?;
        let mut pairs = Pairs::new(pipeline, &desk);
        while let Some(page) = pairs.next().await? {
            for Paired { a, b, state, .. } in page {
                more = limit.is_some_and(|limit| shown >= limit);
                if more {
                    break;
                }
                shown += 1;
                let (a, b) = (desk.account(Side::A, &a), desk.account(Side::B, &b));
                match form {
                    Form::Json => output::object(&json!({ "connection": name, "a": a, "b": b, "state": state })),
                    Form::Text => drop(table.add_row([name.to_string(), a, b, state.to_owned()])),
                }
            }
            if more {
                break;
            }
        }
    }
    if form == Form::Text {
        if shown == 0 {
            output::line("No links");
        } else {
            output::print(&table);
            let more = if more { "; there are more, see --limit" } else { "" };
            output::line(format!("{}{more}", output::count(shown, "link")));
        }
    }
    Ok(Exit::Done)
}

/// Lists accounts with only one of the fields that make a link by hand (R4).
pub(super) async fn incomplete<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    only: Option<ConnectionName>,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut table = output::table(&["CONNECTION", "ACCOUNT", "SINCE", "WHAT"]);
    let mut count = 0;
    for name in names(pipeline, only)? {
        let desk = Desk::of(pipeline, &name)?;
        let letters = pipeline.store.letters(Some(&name)).await?;
        for (side, account, letter) in letters.iter().filter_map(half_made) {
            count += 1;
            let account = desk.account(side, account);
            match form {
                Form::Json => output::object(&json!({
                    "connection": name, "account": account, "since": letter.first_at, "what": letter.message,
                })),
                Form::Text => drop(table.add_row([
                    name.to_string(),
                    account,
                    letter.first_at.to_string(),
                    letter.message.clone(),
                ])),
            }
        }
    }
    if form == Form::Text {
        if count == 0 {
            output::line("No incomplete links");
        } else {
            output::print(&table);
            output::line(output::count(count, "incomplete link"));
        }
    }
    Ok(if count == 0 { Exit::Done } else { Exit::Attention })
}

/// The account that a letter about a half-made link is about.
pub(super) fn half_made(letter: &DeadLetter) -> Option<(Side, &AccountId, &DeadLetter)> {
    let crate::domain::LetterContent::Account { side } = letter.content else { return None };
    (letter.fingerprint.code.as_str() == INCOMPLETE_LINK).then_some((side, letter.account.as_ref()?, letter))
}

fn names<B, S>(pipeline: &Pipeline<B, S>, only: Option<ConnectionName>) -> anyhow::Result<Vec<ConnectionName>> {
    match only {
        Some(name) => Ok(vec![Desk::of(pipeline, &name)?.name.clone()]),
        None => Ok(pipeline.connections.keys().cloned().collect()),
    }
}

/// Two accounts that are linked, or that parted since one of them left.
pub(super) struct Paired {
    pub(super) a: AccountId,
    pub(super) b: AccountId,
    pub(super) state: &'static str,
    /// They are not linked any more.
    pub(super) parted: bool,
}

/// All links of a connection, page by page.
pub(super) struct Pairs<'p, B, S> {
    pipeline: &'p Pipeline<B, S>,
    desk: &'p Desk<'p>,
    /// Where the next page begins; `None` within: at the beginning. Of those who parted, only the side that leads still
    /// has an account, so that its accounts are gone through.
    from: Option<Option<String>>,
    /// A page may show again what an earlier one showed.
    seen: HashSet<LinkId>,
}

impl<'p, B: Broker, S: Store> Pairs<'p, B, S> {
    pub(super) fn new(pipeline: &'p Pipeline<B, S>, desk: &'p Desk<'p>) -> Self {
        Self { pipeline, desk, from: Some(None), seen: HashSet::new() }
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<Paired>>> {
        let Some(from) = self.from.take() else { return Ok(None) };
        let (store, name) = (&self.pipeline.store, self.desk.name);
        if from.is_none() {
            // Without a memory there is nothing to load, and asking makes one.
            store.epoch(name).await?;
        }
        let leads = self.desk.connection.template().leads;
        let (accounts, next) = store.accounts(name, leads, from).await?;
        self.from = next.map(Some);
        let links: Vec<LinkId> =
            accounts.into_iter().map(|(_, link)| link).filter(|link| self.seen.insert(*link)).collect();
        let mut page = Vec::new();
        for links in links.chunks(PAGE) {
            let loaded = store.load(name, links).await?;
            let rules = self.desk.connection.rules(loaded.epoch);
            for mut link in loaded.items.into_iter().flatten() {
                link.enter(loaded.epoch);
                let parted = Side::BOTH.into_iter().find_map(|side| link.parted(side));
                let state = match parted {
                    Some(parting) => parting.how.done(),
                    None => state(&link, &rules, loaded.now),
                };
                let account = |side: Side| {
                    let state = &link.sides[side];
                    state.account.clone().or_else(|| Some(link.parted(side)?.account.clone()))
                };
                if let (Some(a), Some(b)) = (account(Side::A), account(Side::B)) {
                    page.push(Paired { a, b, state, parted: parted.is_some() });
                }
            }
        }
        Ok(Some(page))
    }
}

/// How a link stands, as one word: what a person must do first, then what happens by itself.
pub(super) fn state(link: &Link, rules: &Rules, now: Timestamp) -> &'static str {
    let stopped = Side::BOTH.into_iter().find_map(|side| held(link, side, rules, now));
    let any = |is: &dyn Fn(Side) -> bool| Side::BOTH.into_iter().any(is);
    let is_leaver = any(&|side| side == rules.leads && link.left(side).is_some());
    let departure = Side::BOTH.into_iter().find_map(|side| rules.departure(side)).filter(|_| is_leaver);
    if let Some(stopped) = stopped.filter(|stopped| departure.is_some() && *stopped != HoldState::Approved) {
        if stopped == HoldState::Waiting { "held" } else { stopped.as_str() }
    } else if departure.is_some() && !any(&|side| link.sides[side].out_of_scope || link.sides[side].dead.is_some()) {
        "leaving"
    } else if any(&|side| link.sides[side].is_gone()) {
        "gone"
    } else if any(&|side| link.sides[side].out_of_scope) {
        "out_of_scope"
    } else if any(&|side| link.sides[side].dead.is_some()) {
        "refused"
    } else if any(&|side| link.sides[side].seen_at.is_none() && !rules.write_only[side]) {
        "unread"
    } else if let Some(stopped) = stopped.filter(|stopped| *stopped != HoldState::Approved) {
        if stopped == HoldState::Waiting { "held" } else { stopped.as_str() }
    } else if any(&|side| link.sides[side].leased(now).is_some()) {
        "writing"
    } else if any(&|side| pending(link, side, rules).is_some()) {
        "behind"
    } else if is_leaver {
        "left"
    } else if any(&|side| link.sides[side].account.is_some() && rules.is_unseen(side, &link.registers)) {
        "needs_team"
    } else {
        "in_step"
    }
}

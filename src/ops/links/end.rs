//! `muster links remove`: ends a link. Both accounts stay as they are.

use serde_json::json;
use tracing::info;

use super::Desk;
use super::add::look;
use super::make::idle_link_of;
use crate::broker::Broker;
use crate::domain::dead_letter::DiscardReason;
use crate::domain::{AccountId, LetterId, Link, Resolution, Side, Sides};
use crate::ops::audit;
use crate::ops::connect::operator;
use crate::ops::dead;
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::stages::Pipeline;
use crate::store::{Commit, Committed, Store, StoreError};

/// Ends the link of this account.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    text: &str,
    form: Form,
) -> anyhow::Result<Exit> {
    let pair = loop {
        let Some((link, epoch, pair)) = find(pipeline, desk, text).await? else {
            return Err(UsageError::new(format!("`{text}` has no partner on {}", desk.name)).into());
        };
        let close = close_letters(pipeline, desk, &link).await?;
        let commit = Commit { ended: Some(link), close, ..Commit::default() };
        match pipeline.store.commit(desk.name, epoch, &[commit]).await {
            Ok(committed) if matches!(committed.first(), Some(Committed::Done { .. })) => break pair,
            // Somebody worked on it: once more.
            Ok(_) => {}
            Err(StoreError::EpochChanged(_)) => drop(pipeline.store.epoch(desk.name).await?),
            Err(error) => return Err(error.into()),
        }
    };
    audit::count("links", 1);
    let (a, b) = (desk.account(Side::A, &pair.a), desk.account(Side::B, &pair.b));
    info!(connection = %desk.name, %a, %b, by = operator(), "{} ends the link of {a} and {b}", operator());
    let next = what_follows(pipeline, desk, &pair).await;
    match form {
        Form::Json => {
            output::object(&json!({ "connection": desk.name, "a": a, "b": b, "removed": true, "next": next }));
        }
        Form::Text => {
            output::line(format!("{a} and {b} are not linked any more on {}; neither was changed", desk.name));
            next.iter().for_each(output::line);
        }
    }
    Ok(Exit::Done)
}

/// The link of the account that somebody means, with both its accounts.
async fn find<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    text: &str,
) -> anyhow::Result<Option<(Link, crate::domain::Epoch, Sides<AccountId>)>> {
    let systems = &desk.connection.systems;
    let named = |side: &Side| text.split_once(':').is_none_or(|(system, _)| system == systems[*side].as_str());
    let meant: Vec<_> =
        Side::BOTH.into_iter().filter(named).filter_map(|side| Some((side, desk.parse(side, text)?))).collect();
    if meant.is_empty() {
        let text = format!("`{text}` is no account of {} or {}; write <system>:<id>", systems.a, systems.b);
        return Err(UsageError::new(text).into());
    }
    let mut found = None;
    for account in meant {
        let (link, epoch) = idle_link_of(pipeline, desk, account).await?;
        let Some(link) = link else { continue };
        let (Some(a), Some(b)) = (link.sides.a.account.clone(), link.sides.b.account.clone()) else { continue };
        if found.as_ref().is_some_and(|(known, ..): &(Link, _, _)| known.id != link.id) {
            let text = format!("`{text}` is an account on both sides; write <system>:<id>");
            return Err(UsageError::new(text).into());
        }
        found = Some((link, epoch, Sides { a, b }));
    }
    Ok(found)
}

/// The open letters about what the link's sides lack: nobody will want it any more. The log says why they are closed.
async fn close_letters<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    link: &Link,
) -> anyhow::Result<Vec<LetterId>> {
    let mut open = Vec::new();
    let of_accounts = Side::BOTH.into_iter().filter_map(|side| {
        let account = link.sides[side].account.as_ref()?;
        Some(LetterId::of_account(desk.name, side, account))
    });
    let of_link = Side::BOTH.into_iter().map(|side| LetterId::of_link(desk.name, side, link.id));
    for letter in of_link.chain(of_accounts) {
        if pipeline.store.letter(Some(desk.name), &letter).await?.is_some() {
            let text = Some("the link was removed".to_owned());
            let resolution = Resolution::Discarded { reason: DiscardReason::NotWanted, text };
            dead::log_closed(pipeline, std::slice::from_ref(&letter), &resolution).await?;
            open.push(letter);
        }
    }
    Ok(open)
}

/// What the next reading makes of two accounts that are not linked any more.
async fn what_follows<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    pair: &Sides<AccountId>,
) -> Vec<String> {
    let mut next = Vec::new();
    for side in Side::BOTH {
        let (own, other) = (desk.account(side, &pair[side]), desk.account(side.other(), &pair[side.other()]));
        match look(pipeline, desk, side, std::slice::from_ref(&pair[side])).await {
            Ok(Some(seen)) => {
                let seen = seen.into_iter().flatten().next();
                let partner = seen.and_then(|seen| desk.connection.partner_named(side, &seen));
                if partner.as_ref() == Some(&pair[side.other()]) {
                    next.push(format!(
                        "{own} still names {other} as its partner: clear the field there, or the next reading links them again"
                    ));
                }
            }
            Ok(None) => {}
            Err(why) => next.push(format!("Whether {own} names {other} as its partner cannot be told: {why}")),
        }
    }
    let rules = desk.connection.template();
    for side in Side::BOTH.into_iter().filter(|side| rules.create[*side]) {
        let (source, target) = (desk.account(side.other(), &pair[side.other()]), &desk.systems[side]);
        next.push(format!(
            "Accounts are created automatically in {target}: when {source} is read again it is searched for there by what \
             `match` says, and linked, refused or created as for anybody new; take it out of scope to prevent that"
        ));
    }
    next
}

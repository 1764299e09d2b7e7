//! What a writer does about one side of one link, as pure steps on the link: [`plan`] what to do, [`begin`] before the
//! request leaves, and one of [`finish`], [`withdraw`], [`give_up`],
//! [`forget_creations`], [`bury`] and [`adopt`] when its answer is known.

use std::collections::BTreeMap;
use std::time::Duration;

use super::account::{READ_UNCERTAINTY, Snapshot, Version};
use super::attribute::{AttributePath, Attributes, Digest, Value};
use super::failure::{Code, Failure, FailureClass};
use super::hold::HoldState;
use super::id::{AccountId, Side, Token};
use super::link::{Burial, Intent, LastWrite, Lease, Link, Origin, Parting, SideState};
use super::pending::{Need, Pending, held, lacking, pending};
use super::rules::{Departure, Rules};
use super::time::Timestamp;
use super::undo::remember;

/// What is to be done about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The side lacks nothing.
    Nothing,
    /// What it lacks waits for a person.
    Held,
    /// A person, or nobody in time, decided that what it lacks is not written.
    Rejected,
    /// What it lacks was refused, and nothing has changed since.
    Buried,
    /// Another writer has the side. The command waits: that writer may be dead.
    Leased {
        /// When its lease ends, in the store's clock.
        until: Timestamp,
    },
    /// The account is known and has not been read in this epoch: it must be read, and what is seen is a change.
    Unseen {
        /// The account.
        account: AccountId,
    },
    /// The account was last read within the grain of its stamp, so that an edit since then may carry the same one and
    /// would pass the condition of a write. It must be read again, more than a grain later; what is seen is a change.
    Unsettled {
        /// The account.
        account: AccountId,
    },
    /// A creation by somebody else may still be under way, so that a search now would prove nothing.
    Wait {
        /// Until when, in the store's clock.
        until: Timestamp,
    },
    /// Write this.
    Write(Pending),
}

/// What to do about `side` at `now` (store clock).
pub fn plan(link: &Link, side: Side, rules: &Rules, now: Timestamp) -> Plan {
    let state = &link.sides[side];
    let wanted = pending(link, side, rules);
    // Nothing is written to an account that stays as it is.
    let detaches =
        wanted.as_ref().is_some_and(|wanted| matches!(wanted.need, Need::Part { how: Departure::Detach, .. }));
    if let (Some(account), None, false) = (&state.account, &state.seen_at, rules.write_only[side])
        && !state.is_gone()
        && !detaches
    {
        return Plan::Unseen { account: account.clone() };
    }
    let Some(wanted) = wanted else {
        if lacking(link, side, rules).is_some() {
            return Plan::Buried;
        }
        return match held(link, side, rules, now) {
            None => Plan::Nothing,
            Some(HoldState::Rejected | HoldState::Expired) => Plan::Rejected,
            Some(HoldState::Waiting | HoldState::Approved) => Plan::Held,
        };
    };
    if let Some(lease) = state.leased(now) {
        return Plan::Leased { until: lease.until };
    }
    if wanted.need.has_no_account()
        && let Some(until) = state.intents.iter().map(|intent| intent.until).max()
        && until > now
    {
        return Plan::Wait { until };
    }
    if let Need::Update { account } | Need::Part { account, how: Departure::Remove | Departure::Delete } = &wanted.need
        && state.seen_at.as_ref().is_some_and(|base| base.tag.is_none() && hides_edits(base, rules.grain[side]))
    {
        return Plan::Unsettled { account: account.clone() };
    }
    Plan::Write(wanted)
}

/// Whether a later edit can carry the same stamp. A state without any stamp is looked at just before each write anyhow.
fn hides_edits(base: &Version, grain: Duration) -> bool {
    base.modified_at.is_some() && !base.settled(grain)
}

/// When a write that begins now ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// When it begins, in the target's clock and not later than the truth.
    pub begun_at: Timestamp,
    /// When the lease ends, in the store's clock.
    pub lease_until: Timestamp,
    /// When no request of the write can take effect any more, in the target's clock.
    pub over_at: Timestamp,
    /// The same in the store's clock, with the target's search lag added.
    pub search_counts_at: Timestamp,
}

/// Takes the lease of the side and notes the write, before any request of it leaves.
pub fn begin(link: &Link, side: Side, token: Token, wanted: &Pending, rules: &Rules, deadlines: Deadlines) -> Link {
    let mut after = link.clone();
    let state = &mut after.sides[side];
    let writes: BTreeMap<_, _> = wanted
        .generations
        .iter()
        .map(|(path, generation)| {
            let value = wanted.values.get(path).and_then(Option::as_ref);
            (path.clone(), (rules.digest(side, path, value), *generation))
        })
        .collect();
    state.lease = Some(Lease { token, until: deadlines.lease_until });
    let text = |(path, value): (&AttributePath, &Option<Value>)| {
        let told = rules.attributes.get(path)?.leave(side, value).ok()??;
        told.as_text().is_some().then(|| (path.clone(), told))
    };
    state.intents.push(Intent {
        token,
        writes,
        texts: wanted.values.iter().filter_map(text).collect(),
        conditioned_on: state.seen_at.clone(),
        begun_at: deadlines.begun_at,
        over_at: deadlines.over_at,
        until: deadlines.search_counts_at,
    });
    after
}

/// What an answer that the write was carried out does to the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The side holds what was written.
    Done {
        /// The link after.
        link: Link,
        /// What the answer shows besides what was written: a change like any other, if there is any of it.
        rest: Option<Snapshot>,
    },
    /// The side was read since the write began, so its state cannot be told from this answer: it is read again.
    Fenced {
        /// The link after.
        link: Link,
    },
    /// The lease moved on: nothing may be touched.
    LostLease,
}

/// Commits the answer of a write that was carried out. `answer` is what the account holds now.
pub fn finish(link: &Link, side: Side, token: Token, wanted: &Pending, answer: &Snapshot, rules: &Rules) -> Finish {
    let state = &link.sides[side];
    if state.lease.is_none_or(|lease| lease.token != token) {
        return Finish::LostLease;
    }
    let conditioned_on = state.intents.iter().find(|intent| intent.token == token).map(|intent| &intent.conditioned_on);
    let untouched = conditioned_on == Some(&state.seen_at)
        && state.account.as_ref().is_none_or(|account| *account == answer.account);
    let mut after = link.clone();
    let state = &mut after.sides[side];
    state.lease = None;
    state.deferral = None;
    if !untouched {
        for intent in state.intents.iter_mut().filter(|intent| intent.token == token) {
            // The answer came, so the request is over; only a read sent later tells what it left.
            intent.over_at = intent.over_at.min(answer.version.read_at);
        }
        return Finish::Fenced { link: after };
    }
    // No read will ever settle what an earlier write without an answer left on such a side: this one has overwritten it.
    let is_overwritten =
        |intent: &Intent| rules.write_only[side] && intent.over_at + READ_UNCERTAINTY <= answer.version.read_at;
    state.intents.retain(|intent| intent.token != token && !is_overwritten(intent));
    state.account = Some(answer.account.clone());
    state.dead = None;
    state.absence = None;
    let view = rules.view(side, answer);
    let inbound = &view.values;
    let mut rest = Attributes::new();
    for (path, value) in inbound {
        let digest = rules.digest(side, path, value.as_ref());
        if let Some(sent) = wanted.values.get(path) {
            let sent_digest = rules.digest(side, path, sent.as_ref());
            let is_ours = digest == sent_digest
                || !rules.attributes[path].flow.contributes(side)
                || after.sides[side].seen.get(path) == Some(&digest)
                || is_kept_form_of(sent, path, side, answer, rules);
            after.sides[side].seen.insert(path.clone(), if is_ours { digest } else { sent_digest });
            if !is_ours {
                // Somebody edited it after the write and before it was read back.
                show(rules, side, path, value, answer, &mut rest);
            }
        } else if after.sides[side].seen.get(path) != Some(&digest) {
            let asserts_nothing = value.is_none() && !after.sides[side].seen.contains_key(path);
            let flow = rules.attributes[path].flow;
            let takes_no_part = !flow.contributes(side) && !flow.writes(side);
            if asserts_nothing || takes_no_part {
                after.sides[side].seen.insert(path.clone(), digest);
            } else {
                show(rules, side, path, value, answer, &mut rest);
            }
        }
    }
    for (path, generation) in &wanted.generations {
        if !view.shows(path) {
            let value = wanted.values.get(path).and_then(Option::as_ref);
            after.sides[side].seen.insert(path.clone(), rules.digest(side, path, value));
        }
        if let Some(register) = after.registers.get_mut(path) {
            // The generation that was written, even if the register has moved on meanwhile.
            register.applied[side] = *generation;
        }
    }
    let mut seen_at = answer.version.clone().without_future_stamp().of_answer(rules.grain[side]);
    if !rest.is_empty() {
        // A write conditioned on this tag would pass over what is still to be judged.
        seen_at.tag = None;
    }
    after.sides[side].seen_at = Some(seen_at);
    after.sides[side].partial = rules.is_partial(side, &view);
    after.sides[side].mark_untold(&view);
    remember(link, &mut after, Some((side, &view.values)), rules);
    let rest = (!rest.is_empty()).then(|| Snapshot { attributes: rest, ..answer.clone() });
    Finish::Done { link: after, rest }
}

/// Adds what an answer shows of an attribute, as the side shows it, since it is read like any other change.
fn show(
    rules: &Rules,
    side: Side,
    path: &AttributePath,
    value: &Option<Value>,
    answer: &Snapshot,
    rest: &mut Attributes,
) {
    for name in rules.attributes[path].sources(side) {
        let shown = answer.attributes.get(name).unwrap_or(value);
        rest.insert(name.clone(), shown.clone());
    }
}

/// Whether an answer shows of an attribute what the side may have made of the link's value that it was sent.
pub(super) fn is_kept_form_of(
    sent: &Option<Value>,
    path: &AttributePath,
    side: Side,
    answer: &Snapshot,
    rules: &Rules,
) -> bool {
    let rule = &rules.attributes[path];
    let told = rule.leave(side, sent).ok().flatten();
    let shown = answer.attributes.get(&rule.names[side]).and_then(Option::as_ref);
    may_be_kept_as(told.as_ref(), shown)
}

/// Whether a system that was sent one text may keep it as the other one: trimmed, cut short, in other letter case or
/// punctuation. Such a value is at rest on its side; it must not flow back as if a person had typed it.
pub(super) fn may_be_kept_as(sent: Option<&Value>, kept: Option<&Value>) -> bool {
    let letters = |value: Option<&Value>| -> Option<String> {
        let text = value?.as_text()?;
        Some(text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect())
    };
    match (letters(sent), letters(kept)) {
        (Some(sent), Some(kept)) => !kept.is_empty() && sent.starts_with(&kept),
        _ => false,
    }
}

/// Gives the side back after a write of which nothing was carried out. `None`: the lease moved on, nothing is touched.
pub fn withdraw(link: &Link, side: Side, token: Token) -> Option<Link> {
    let mut after = leaving(link, side, token)?;
    after.sides[side].intents.retain(|intent| intent.token != token);
    Some(after)
}

/// Gives the side back after a write whose effect is unknown: the intent stays until it is over. Of a request that
/// `may_still_land` nobody knows when: unless its condition keeps it off what is written next, the lease stays as well.
/// `None`: the lease moved on, nothing is touched.
pub fn give_up(link: &Link, side: Side, token: Token, may_still_land: bool) -> Option<Link> {
    let after = leaving(link, side, token)?;
    let is_conditional = |intent: &Intent| intent.conditioned_on.as_ref().is_some_and(|base| base.tag.is_some());
    let intent = link.sides[side].intents.iter().find(|intent| intent.token == token);
    match intent {
        Some(intent) if may_still_land && !is_conditional(intent) => Some(link.clone()),
        _ => Some(after),
    }
}

/// Gives the side back after a search that found nothing of the creations begun before, which are all over by then: none
/// of them left anything. `None`: the lease moved on, nothing is touched.
pub fn forget_creations(link: &Link, side: Side, token: Token) -> Option<Link> {
    let mut after = leaving(link, side, token)?;
    after.sides[side].intents.clear();
    Some(after)
}

/// Marks what is wanted as refused until a person, the rules or the values change.
pub fn bury(link: &Link, side: Side, wanted: &Pending, code: &str, rules: &Rules) -> Link {
    let mut after = link.clone();
    // A person who sends it again has it wait from the beginning.
    after.sides[side].deferral = None;
    after.sides[side].dead = Some(Burial { pending: wanted.digest(rules), code: code.to_owned() });
    after
}

/// Lets a buried side ask for commands again. The mark stays, matching nothing, so that a later success knows that it
/// heals a letter.
pub fn exhume(link: &Link, side: Side) -> Link {
    let mut after = link.clone();
    if let Some(dead) = &mut after.sides[side].dead {
        dead.pending = Digest(0);
    }
    after
}

/// Links an account that a search found instead of creating one. `remembered`: it names its partner, so the two were
/// linked before, unless somebody else's open creation may have made it. What it holds is a change like any other. `None`:
/// the lease moved on, nothing is touched.
pub fn adopt(link: &Link, side: Side, token: Token, found: &Snapshot, remembered: bool, rules: &Rules) -> Option<Link> {
    let mut others = link.sides[side].intents.iter().filter(|intent| intent.token != token);
    let ours_in_flight = others.any(|intent| intent.may_have_created(side, found, rules));
    let mut after = withdraw(link, side, token)?;
    after.sides[side].account = Some(found.account.clone());
    if remembered && !ours_in_flight {
        after.origin = Origin::Rebuilt;
    }
    Some(after)
}

/// Ends the pairing of an account whose partner left: the side has no account any more, and nothing is known of it but how
/// they parted. `token`: the write that did something to the account; without one nobody may have the lease.
/// `None`: the lease moved on, nothing is touched.
pub fn part(link: &Link, side: Side, token: Option<Token>, parting: Parting, rules: &Rules) -> Option<Link> {
    if link.sides[side].lease.map(|lease| lease.token) != token && token.is_some() {
        return None;
    }
    let mut after = link.clone();
    let SideState { intents, absence, .. } = &link.sides[side];
    let ends = intents.iter().filter(|intent| intent.ends_the_account()).map(|intent| intent.over_at);
    let over_at = ends.chain(absence.filter(|_| parting.was_gone).map(|absence| absence.last_at)).max();
    after.sides[side] = SideState { parting: Some(Box::new(Parting { over_at, ..parting })), ..SideState::default() };
    for register in after.registers.values_mut() {
        // Of whoever comes next nothing is known.
        register.applied[side] = 0;
        register.hold = None;
    }
    // Its id is nothing that the partner should be told any more.
    after.registers.retain(|path, _| rules.attributes.get(path).is_none_or(|rule| !rule.names[side].is_id()));
    Some(after)
}

/// Notes what the system said to the last write of the side, for people.
pub fn note(mut link: Link, side: Side, answer: LastWrite) -> Link {
    link.sides[side].last_write = Some(answer);
    link
}

/// The link without the lease of `token`, if it has it.
fn leaving(link: &Link, side: Side, token: Token) -> Option<Link> {
    link.sides[side].lease.filter(|lease| lease.token == token)?;
    let mut after = link.clone();
    after.sides[side].lease = None;
    Some(after)
}

/// The state on which an update is conditioned. A side that cannot be read has none until the first write; then there is
/// nothing to condition on.
pub fn base(link: &Link, side: Side, rules: &Rules, now: Timestamp) -> Option<Version> {
    let blind = Version { modified_at: None, read_at: now, tag: None };
    link.sides[side].seen_at.clone().or(rules.write_only[side].then_some(blind))
}

/// Values of a write under the names that the side knows them by, and as it calls them.
///
/// # Errors
/// One of them has no form on that side, which is permanent: it flowed in before the rules became what they are.
pub fn outbound(rules: &Rules, side: Side, wanted: &Pending) -> Result<Attributes, Failure> {
    rules.outbound(side, &wanted.values).map_err(|(path, flaw)| {
        let name = rules.attributes.get(&path).map_or(&path, |rule| &rule.names[side]).clone();
        Failure::new(FailureClass::Permanent, Code::known(flaw.code), format!("attribute {path} {flaw}")).at(name)
    })
}

/// The attribute of the link that `side` calls by this name.
pub fn named(rules: &Rules, side: Side, name: &AttributePath) -> Option<AttributePath> {
    rules.attributes.iter().find(|(_, rule)| rule.names[side] == *name).map(|(path, _)| path.clone())
}

#[cfg(test)]
mod tests;

//! The first match of two populated systems, as a plan shows it: who belongs to whom, who cannot be told from others, who
//! is alone, and what becomes of values that differ.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use super::dry::Dry;
use crate::domain::matching::{Difference, MatchKey, MeetingRule, differences};
use crate::domain::rules::OnExisting;
use crate::domain::{AccountId, AttributePath, Side, Sides, SystemName};
use crate::stages::matching::{Match, MatchError};
use crate::store::Store;
use crate::systems::Lookup;

/// Accounts that are read once more in one call, to show their values.
const BATCH: usize = 100;

/// What is said of pairs of which one account names the other.
const BY_ID: &str = "id";

/// What the accounts of two systems are to each other.
pub(super) struct Meeting {
    /// Why nobody is linked for having a value in common; `None`: they are.
    pub(super) not_linked: Option<&'static str>,
    /// Who belongs to whom.
    pub(super) matched: Vec<Met>,
    /// Accounts that share a value with several others.
    pub(super) ambiguous: Vec<Shared>,
    /// Accounts without a counterpart that may be used.
    pub(super) only: Sides<Vec<AccountId>>,
}

/// Two accounts that belong together.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) accounts: Sides<AccountId>,
    /// The key that found them.
    pub(super) by: String,
    pub(super) differing: Vec<Difference>,
}

/// Accounts that share a value.
#[derive(Debug, Serialize)]
pub(super) struct Shared {
    pub(super) by: String,
    pub(super) a: Vec<AccountId>,
    pub(super) b: Vec<AccountId>,
}

/// What becomes of an attribute: which one, the side that wins, by which rule.
pub(super) type Ruling = (AttributePath, Option<Side>, MeetingRule);

impl Dry {
    /// Compares the accounts of both systems and links them on the copy, where a sync would do that before it reads, or
    /// where nothing is known yet and people want to know. `full`: in any case.
    pub(super) async fn meet(&self, full: bool, stop: &CancellationToken) -> anyhow::Result<Option<Meeting>> {
        let (pipeline, connection) = (&self.pipeline, &self.connection);
        let (store, name) = (&pipeline.store, &connection.name);
        if !connection.can_match() {
            return Ok(None);
        }
        let epoch = store.epoch(name).await?.id;
        let mut known = Sides { a: false, b: false };
        for side in Side::BOTH {
            known[side] = store.reader(name, side).await?.watermark.is_some();
        }
        let rules = connection.rules(epoch);
        let note = store.match_note(name).await?;
        let is_current = note.is_some_and(|note| note.epoch == epoch && note.version == rules.version);
        let is_due = match connection.matches_first() {
            true => full || !is_current,
            false => !known.a && !known.b,
        };
        if !is_due {
            return Ok(None);
        }
        let found = match pipeline.compare(stop, connection).await {
            Ok(found) => found,
            // The run on the copy says so as well.
            Err(MatchError::Unread(_)) => return Ok(None),
            Err(MatchError::Halt(halt)) => return Err(halt.into()),
        };
        let not_linked = match (connection.matches_first(), rules.on_existing) {
            (true, _) => None,
            (false, OnExisting::Refuse) => Some("on_existing = \"refuse\""),
            (false, OnExisting::Link) => Some("create = \"manual\""),
        };
        let mut meeting = Meeting::of(&found, &rules.match_on, not_linked);
        self.read_differing(&found, &mut meeting).await?;
        if connection.matches_first() {
            let reread = Sides::from_fn(|side| known[side] && !full);
            pipeline.link_matched(stop, connection, &found, &self.id, reread).await?;
        }
        Ok(Some(meeting))
    }

    /// Reads the accounts once more that do not hold the same, and says what becomes of their values.
    async fn read_differing(&self, found: &Match, meeting: &mut Meeting) -> anyhow::Result<()> {
        let now = self.pipeline.store.epoch(&self.connection.name).await?.now;
        let rules = self.connection.rules(found.epoch);
        let places: Vec<usize> = found.differing().collect();
        for places in places.chunks(BATCH) {
            let mut seen = Sides { a: Vec::new(), b: Vec::new() };
            for side in Side::BOTH {
                let accounts: Vec<_> = places.iter().map(|at| meeting.matched[*at].accounts[side].clone()).collect();
                let system = &self.connection.systems[side];
                let lookups = self.connection.ends[side].get(&accounts).await;
                seen[side] = lookups.map_err(|failure| anyhow::anyhow!("{system} could not be read: {failure}"))?;
            }
            for ((at, a), b) in places.iter().zip(seen.a).zip(seen.b) {
                if let (Lookup::Found(a), Lookup::Found(b)) = (a, b) {
                    meeting.matched[*at].differing = differences(Sides { a: &a, b: &b }, &rules, now);
                }
            }
        }
        Ok(())
    }
}

impl Meeting {
    fn of(found: &Match, keys: &[MatchKey], not_linked: Option<&'static str>) -> Self {
        let account = |side: Side, place: usize| found.candidates[side][place].account.clone();
        let all = |side: Side, places: &[usize]| places.iter().map(|place| account(side, *place)).collect();
        let met = |accounts, by: String| Met { accounts, by, differing: Vec::new() };
        let by_key = found
            .joined
            .pairs
            .iter()
            .map(|pair| met(Sides::from_fn(|side| account(side, pair.places[side])), keys[pair.key].to_string()));
        let by_id = found.named.iter().map(|(accounts, _)| met(accounts.clone(), BY_ID.to_owned()));
        let ambiguous = found.joined.ambiguous.iter().map(|group| Shared {
            by: keys[group.key].to_string(),
            a: all(Side::A, &group.places.a),
            b: all(Side::B, &group.places.b),
        });
        Self {
            not_linked,
            matched: by_key.chain(by_id).collect(),
            ambiguous: ambiguous.collect(),
            only: Sides::from_fn(|side| all(side, &found.alone(side).collect::<Vec<_>>())),
        }
    }

    /// Pairs by the key that found them.
    pub(super) fn by_key(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for met in &self.matched {
            *counts.entry(met.by.as_str()).or_default() += 1;
        }
        counts
    }

    /// Accounts of a side that cannot be told from others.
    pub(super) fn ambiguous(&self, side: Side) -> usize {
        self.ambiguous.iter().map(|shared| if side == Side::A { shared.a.len() } else { shared.b.len() }).sum()
    }

    /// Pairs that do not hold the same.
    pub(super) fn differing(&self) -> impl Iterator<Item = &Met> {
        self.matched.iter().filter(|met| !met.differing.is_empty())
    }

    /// How often each thing becomes of an attribute.
    pub(super) fn rulings(&self) -> BTreeMap<Ruling, usize> {
        let mut counts = BTreeMap::new();
        for Difference { path, wins, rule, .. } in self.matched.iter().flat_map(|met| &met.differing) {
            *counts.entry((path.clone(), *wins, *rule)).or_default() += 1;
        }
        counts
    }

    /// For machines.
    pub(super) fn summary(&self, systems: &Sides<SystemName>) -> Json {
        let system = |side: Option<Side>| side.map(|side| systems[side].clone());
        let rulings = self.rulings().into_iter().map(|((attribute, wins, rule), count)| {
            json!({ "attribute": attribute, "wins": system(wins), "rule": rule, "count": count })
        });
        json!({
            "linked": self.not_linked.is_none(),
            "not_linked": self.not_linked,
            "matched": self.by_key(),
            "ambiguous": { "a": self.ambiguous(Side::A), "b": self.ambiguous(Side::B) },
            "only": { "a": self.only.a.len(), "b": self.only.b.len() },
            "differing": self.differing().count(),
            "decisions": rulings.collect::<Vec<_>>(),
        })
    }

    /// One object for each pair, each value that several share, and each account alone.
    pub(super) fn objects(&self, systems: &Sides<SystemName>) -> impl Iterator<Item = Json> {
        let matched = self.matched.iter().map(|met| {
            let differing = met.differing.iter().map(|difference| {
                let Difference { path, values, wins, rule } = difference;
                let wins = wins.map(|side| systems[side].clone());
                json!({ "attribute": path, "a": values.a, "b": values.b, "wins": wins, "rule": rule })
            });
            let differing: Vec<_> = differing.collect();
            json!({ "action": "match", "accounts": met.accounts, "by": met.by, "differing": differing })
        });
        let ambiguous = self.ambiguous.iter().map(|shared| {
            let accounts = json!({ "a": shared.a, "b": shared.b });
            json!({ "action": "ambiguous", "by": shared.by, "accounts": accounts })
        });
        let only = Side::BOTH.into_iter().flat_map(move |side| {
            let only = self.only[side].iter();
            only.map(
                move |account| json!({ "action": "only", "side": side, "system": systems[side], "account": account }),
            )
        });
        matched.chain(ambiguous).chain(only)
    }
}

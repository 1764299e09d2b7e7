//! Links and their claims, as questions.

use rusqlite::{Connection, Row};

use super::guards::deferred;
use super::memory::{known, number};
use super::{EmbeddedStore, signed, sql};
use crate::domain::hold::HOLD_TTL;
use crate::domain::{ConnectionName, Link, LinkId, Side, Sides, Timestamp};
use crate::store::packed::unpack;
use crate::store::{AccountPage, Claim, ClaimPage, Find, Found, LinkCounts, Loaded, StoreError};

/// Claims in a page.
const PAGE: usize = 500;

/// A link as it lies in the file. Unpacked by whoever asked, since only few threads read.
type Packed = (LinkId, String);

impl EmbeddedStore {
    /// See [`Store::find`](crate::store::Store::find).
    pub(super) async fn find_links(
        &self,
        connection: &ConnectionName,
        questions: Vec<Find>,
    ) -> Result<Loaded<Found>, StoreError> {
        let name = connection.clone();
        let found = self
            .read(move |file, now| {
                let known = known(file, &name)?;
                let items = questions.iter().map(|question| find(file, known.connection, question));
                Ok(Loaded { now, epoch: known.epoch, items: items.collect::<Result<Vec<_>, _>>()? })
            })
            .await?;
        let items = found.items.into_iter().map(|(link, open_letter)| {
            let link = link.map(|(packed, claim)| Ok::<_, StoreError>((read_link(connection, packed)?, claim)));
            Ok(Found { link: link.transpose()?, open_letter })
        });
        Ok(Loaded { now: found.now, epoch: found.epoch, items: items.collect::<Result<_, StoreError>>()? })
    }

    /// See [`Store::load`](crate::store::Store::load).
    pub(super) async fn load_links(
        &self,
        connection: &ConnectionName,
        links: &[LinkId],
    ) -> Result<Loaded<Option<Link>>, StoreError> {
        let (name, links) = (connection.clone(), links.to_vec());
        let loaded = self
            .read(move |file, now| {
                let known = known(file, &name)?;
                let load = "SELECT id, packed FROM links WHERE connection = ?1 AND id = ?2";
                let items = links.iter().map(|id| sql::one(file, load, (known.connection, signed(id.0)), packed));
                Ok(Loaded { now, epoch: known.epoch, items: items.collect::<Result<Vec<_>, _>>()? })
            })
            .await?;
        let items = loaded.items.into_iter().map(|link| link.map(|packed| read_link(connection, packed)).transpose());
        Ok(Loaded { now: loaded.now, epoch: loaded.epoch, items: items.collect::<Result<_, StoreError>>()? })
    }

    /// See [`Store::accounts`](crate::store::Store::accounts).
    pub(super) async fn account_page(
        &self,
        connection: &ConnectionName,
        side: Side,
        from: Option<String>,
    ) -> Result<AccountPage, StoreError> {
        let name = connection.clone();
        self.read(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok((Vec::new(), None)) };
            let next = "SELECT c.claim, l.id FROM claims c LEFT JOIN links l ON l.place = c.link \
                        WHERE c.connection = ?1 AND c.kind = ?2 AND c.claim > ?3 ORDER BY c.claim LIMIT ?4";
            let after = from.unwrap_or_default();
            let page = sql::all(file, next, (connection, account_kind(side), after, PAGE as i64), |row| {
                Ok((row.get::<_, String>(0)?, link_id(row, 1)?))
            })?;
            let last = if page.len() < PAGE { None } else { page.last().map(|(account, _)| account.clone()) };
            let page = page.into_iter().map(|(account, link)| Ok((account.parse().map_err(|_| no_id(&name))?, link)));
            Ok((page.collect::<Result<_, StoreError>>()?, last))
        })
        .await
    }

    /// See [`Store::claims`](crate::store::Store::claims).
    pub(super) async fn claim_page(
        &self,
        connection: &ConnectionName,
        from: Option<String>,
    ) -> Result<ClaimPage, StoreError> {
        let name = connection.clone();
        self.read(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok((Vec::new(), None)) };
            // A page begins behind the last claim of the one before: its kind, a colon, its text.
            let from = from.unwrap_or_else(|| "0:".to_owned());
            let (kind, after) = from.split_once(':').unwrap_or(("0", ""));
            let kind: i64 = kind.parse().unwrap_or(0);
            let next = "SELECT c.kind, c.claim, l.id FROM claims c LEFT JOIN links l ON l.place = c.link \
                        WHERE c.connection = ?1 AND (c.kind, c.claim) > (?2, ?3) ORDER BY c.kind, c.claim LIMIT ?4";
            let page = sql::all(file, next, (connection, kind, after, PAGE as i64), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, link_id(row, 2)?))
            })?;
            let last =
                if page.len() < PAGE { None } else { page.last().map(|(kind, claim, _)| format!("{kind}:{claim}")) };
            let page = page
                .into_iter()
                .map(|(kind, claim, link)| Ok((read_claim(kind, claim).ok_or_else(|| no_id(&name))?, link)));
            Ok((page.collect::<Result<_, StoreError>>()?, last))
        })
        .await
    }

    /// See [`Store::counts`](crate::store::Store::counts).
    pub(super) async fn link_counts(&self, connection: &ConnectionName) -> Result<LinkCounts, StoreError> {
        let name = connection.clone();
        self.read(move |file, now| {
            let letters =
                sql::count(file, "SELECT count(*) FROM open_letters WHERE connection = ?1", (name.as_str(),))?;
            let Some(connection) = number(file, &name)? else {
                return Ok(LinkCounts { letters, ..LinkCounts::default() });
            };
            let links = sql::count(file, "SELECT count(*) FROM links WHERE connection = ?1", (connection,))?;
            let claimed = |side| {
                let claimed = "SELECT count(*) FROM claims WHERE connection = ?1 AND kind = ?2";
                sql::count(file, claimed, (connection, account_kind(side)))
            };
            let asked = |side: Side| {
                let asked = "SELECT count(*) FROM rereads WHERE connection = ?1 AND side = ?2";
                sql::count(file, asked, (connection, side.as_str()))
            };
            let waiting = "SELECT count(*) FROM held WHERE connection = ?1 AND since > ?2";
            let held = sql::count(file, waiting, (connection, (now - HOLD_TTL).0))?;
            let first = "SELECT since FROM held WHERE connection = ?1 AND since > ?2 ORDER BY since LIMIT 1";
            let held_since = sql::one(file, first, (connection, (now - HOLD_TTL).0), |row| Ok(Timestamp(row.get(0)?)))?;
            let (deferred, deferred_since) = deferred(file, connection)?;
            Ok(LinkCounts {
                links,
                accounts: Sides { a: claimed(Side::A)?, b: claimed(Side::B)? },
                letters,
                rereads: Sides { a: asked(Side::A)?, b: asked(Side::B)? },
                held,
                held_since,
                deferred,
                deferred_since,
            })
        })
        .await
    }
}

/// The link that the surest claim names, with the place of that claim; and whether the letter is open.
fn find(file: &Connection, connection: i64, question: &Find) -> Result<(Option<(Packed, usize)>, bool), StoreError> {
    // Outer, so that a claim of a link that is not there is seen for the damage that it is.
    let held = "SELECT l.id, l.packed FROM claims c LEFT JOIN links l ON l.place = c.link \
                WHERE c.connection = ?1 AND c.kind = ?2 AND c.claim = ?3";
    let mut link = None;
    for (index, claim) in question.claims.iter().enumerate() {
        let (kind, text) = claim_key(claim);
        if let Some(packed) = sql::one(file, held, (connection, kind, text), packed)? {
            link = Some((packed, index));
            break;
        }
    }
    let open_letter = match &question.letter {
        None => false,
        Some(id) => sql::one(file, "SELECT 1 FROM open_letters WHERE id = ?1", (id.as_str(),), |_| Ok(()))?.is_some(),
    };
    Ok((link, open_letter))
}

fn packed(row: &Row<'_>) -> Result<Packed, StoreError> {
    Ok((link_id(row, 0)?, row.get(1)?))
}

pub(super) fn link_id(row: &Row<'_>, column: usize) -> Result<LinkId, StoreError> {
    Ok(LinkId(row.get::<_, i64>(column)?.cast_unsigned()))
}

fn read_link(connection: &ConnectionName, (id, packed): Packed) -> Result<Link, StoreError> {
    unpack(id, packed.as_bytes())
        .map_err(|error| StoreError::Unusable(format!("link {id} of connection {connection} cannot be read: {error}")))
}

fn no_id(connection: &ConnectionName) -> StoreError {
    StoreError::Unusable(format!("connection {connection}: a claim is none that this version knows"))
}

/// What the claims of accounts of a side have as their kind.
pub(super) fn account_kind(side: Side) -> i64 {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

/// Kind and text of a claim.
pub(super) fn claim_key(claim: &Claim) -> (i64, &str) {
    match claim {
        Claim::Account(side, account) => (account_kind(*side), account.as_str()),
        Claim::Key(side, key) => (2 + account_kind(*side), key),
    }
}

fn read_claim(kind: i64, text: String) -> Option<Claim> {
    Some(match kind {
        0 => Claim::Account(Side::A, text.parse().ok()?),
        1 => Claim::Account(Side::B, text.parse().ok()?),
        2 => Claim::Key(Side::A, text),
        3 => Claim::Key(Side::B, text),
        _ => return None,
    })
}

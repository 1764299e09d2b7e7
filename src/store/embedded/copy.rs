//! What another store holds of a connection, copied into this one, so that a dry run works on the copy.

use std::collections::BTreeSet;

use super::links::claim_key;
use super::memory::{Known, home};
use super::{EmbeddedStore, letters, readers, signed, sql};
use crate::domain::guard::Risk;
use crate::domain::{ConnectionName, Link, LinkId, Side};
use crate::store::packed::pack;
use crate::store::{Claim, ReaderState, Store, StoreError};

/// Accounts to read again that are copied, of each side.
const REREADS: usize = 100_000;

impl EmbeddedStore {
    /// Copies what `source` holds of a connection into this store, which must not know the connection yet: its epoch,
    /// links, claims, open letters, accounts to read again, places taken in budgets, how far each side was read, and what is noted of
    /// its last match. The source is only asked.
    /// A connection that it does not know is left unknown here.
    ///
    /// A read under way is not copied: what it has published is in queues that the copy has no part in, so the copy
    /// reads from where that read began. The epoch has no quarantine here.
    ///
    /// # Errors
    ///
    /// [`StoreError::EpochChanged`] if the source begins a new epoch meanwhile: begin again, with an empty store.
    pub async fn copy_from<S: Store>(&self, source: &S, connection: &ConnectionName) -> Result<(), StoreError> {
        // Asking for the epoch would begin one where there is none.
        let epoch = match source.load(connection, &[]).await {
            Ok(loaded) => loaded.epoch,
            Err(StoreError::EpochChanged(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let name = connection.clone();
        let home = self
            .write(move |file, _| {
                let connection = home(file, &name)?;
                let begin = "UPDATE connections SET epoch = ?2, began_at = 0 WHERE id = ?1";
                sql::run(file, begin, (connection, signed(epoch.0)))?;
                Ok(connection)
            })
            .await?;
        let known = || Known { connection: home, epoch };

        let mut from = None;
        loop {
            let (claims, next) = source.claims(connection, from).await?;
            let links: BTreeSet<LinkId> = claims.iter().map(|(_, link)| *link).collect();
            let links: Vec<LinkId> = links.into_iter().collect();
            let loaded = source.load(connection, &links).await?;
            if loaded.epoch != epoch {
                return Err(StoreError::EpochChanged(connection.clone()));
            }
            self.add(known(), loaded.items.into_iter().flatten().collect(), claims).await?;
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        for side in Side::BOTH {
            let ReaderState { watermark, active: _ } = source.reader(connection, side).await?;
            let asked = source.rereads(connection, side, REREADS).await?;
            let known = known();
            self.write(move |file, _| {
                for (account, asked_at) in asked {
                    let ask = "INSERT OR IGNORE INTO rereads VALUES (?1, ?2, ?3, ?4)";
                    sql::run(file, ask, (known.connection, side.as_str(), account.as_str(), asked_at.0))?;
                }
                readers::put(file, &known, side, &ReaderState { watermark, active: None })
            })
            .await?;
        }
        for (side, risk) in Side::BOTH.into_iter().flat_map(|side| Risk::ALL.map(|risk| (side, risk))) {
            let spent = source.spent(connection, side, risk).await?;
            self.write(move |file, _| {
                for (act, at) in spent {
                    let add = "INSERT OR IGNORE INTO spent VALUES (?1, ?2, ?3, ?4, ?5)";
                    sql::run(file, add, (home, side.as_str(), risk.as_str(), act, at.0))?;
                }
                Ok(())
            })
            .await?;
        }
        if let Some(note) = source.match_note(connection).await? {
            self.put_match(connection, &note).await?;
        }
        let opened = source.letters(Some(connection)).await?;
        let name = connection.clone();
        self.write(move |file, _| letters::open(file, opened.iter().map(|letter| (letter, Some(&name))))).await
    }

    /// Begins a new epoch of a connection that is known here, without a quarantine: nothing of its links but the pairing
    /// counts any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the file cannot be written.
    pub async fn begin_anew(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        let name = connection.clone();
        let begin = "UPDATE connections SET epoch = ?2, began_at = 0 WHERE name = ?1 AND epoch IS NOT NULL";
        self.write(move |file, _| sql::run(file, begin, (name.as_str(), signed(fastrand::u64(..)))).map(drop)).await
    }

    /// Adds links and claims, some of which may be here already.
    async fn add(&self, known: Known, links: Vec<Link>, claims: Vec<(Claim, LinkId)>) -> Result<(), StoreError> {
        let packed: Vec<_> = links.iter().map(|link| (link.id, pack(link, link.revision))).collect();
        self.write(move |file, _| {
            for (id, packed) in packed {
                let add = "INSERT OR IGNORE INTO links (connection, id, packed) VALUES (?1, ?2, ?3)";
                sql::run(file, add, (known.connection, signed(id.0), packed))?;
            }
            for (claim, link) in claims {
                let (kind, text) = claim_key(&claim);
                // A claim whose link went away meanwhile is none.
                let add = "INSERT OR IGNORE INTO claims SELECT ?1, ?2, ?3, place FROM links \
                           WHERE connection = ?1 AND id = ?4";
                sql::run(file, add, (known.connection, kind, text, signed(link.0)))?;
            }
            Ok(())
        })
        .await
    }
}

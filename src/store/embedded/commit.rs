//! The atomic step. All of its conditions are looked at before the first change, so a step that cannot be made leaves
//! no trace, and those before and after it in the same call go on.

use rusqlite::Connection;

use super::books::Books;
use super::links::{claim_key, link_id};
use super::memory::known_in;
use super::{EmbeddedStore, letters, signed, sql};
use crate::domain::{ConnectionName, Epoch, Link, LinkId, Sides, Timestamp};
use crate::failpoint::hit;
use crate::store::packed::pack;
use crate::store::{Claim, Commit, Committed, Count, StoreError};

impl EmbeddedStore {
    /// See [`Store::commit`](crate::store::Store::commit).
    pub(super) async fn commit_all(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        commits: Vec<Commit>,
    ) -> Result<Vec<Committed>, StoreError> {
        if commits.iter().any(|commit| commit.link.is_none() && !(commit.claim.is_empty() && commit.release.is_empty()))
        {
            return Err(StoreError::Unusable(format!("connection {connection}: a claim without a link to hold it")));
        }
        // Packed here, since one thread writes for everybody.
        let packed: Vec<_> =
            commits.iter().map(|commit| commit.link.as_ref().map(|link| pack(link, link.revision + 1))).collect();
        let name = connection.clone();
        self.write(move |file, now| {
            let connection = known_in(file, &name, epoch)?.connection;
            let mut books = Books::open(file, connection, now);
            let mut done = Vec::with_capacity(commits.len());
            for (commit, packed) in commits.iter().zip(&packed) {
                done.push(Step { file, name: &name, connection, now }.make(commit, packed.as_deref(), &mut books)?);
            }
            books.close()?;
            Ok(done)
        })
        .await
    }
}

/// Where and when a step is made.
struct Step<'a> {
    file: &'a Connection,
    name: &'a ConnectionName,
    connection: i64,
    now: Timestamp,
}

impl Step<'_> {
    fn make(&self, commit: &Commit, packed: Option<&str>, books: &mut Books<'_>) -> Result<Committed, StoreError> {
        if let (Some(link), Some(packed)) = (&commit.link, packed)
            && let Some(refused) = self.replace(link, packed, commit)?
        {
            return Ok(refused);
        }
        hit("file.replaced_link");
        letters::open(self.file, commit.open.iter().map(|letter| (letter, Some(self.name))))?;
        letters::close(self.file, &commit.close)?;
        for (side, account) in &commit.reread {
            // Asked for again within the millisecond, it must still differ from what a reader may be reading now.
            sql::run(
                self.file,
                "INSERT INTO rereads VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET asked_at = max(excluded.asked_at, asked_at + 1)",
                (self.connection, side.as_str(), account.as_str(), self.now.0),
            )?;
        }
        for entry in &commit.journal {
            sql::run(
                self.file,
                "INSERT INTO journal (connection, link, noted_at, entry) VALUES (?1, ?2, ?3, ?4)",
                (self.connection, signed(entry.link.0), self.now.0, super::json(entry)),
            )?;
        }
        let owed = match &commit.count {
            None => Sides::default(),
            Some(Count::Change { run, number, outcome, emits }) => books.change(run, *number, *outcome, *emits)?,
            Some(Count::Command { run, number, side, outcome }) => {
                books.command(run, *number, *side, *outcome)?;
                Sides::default()
            }
        };
        Ok(Committed::Done { owed })
    }

    /// Replaces the link and its claims, or says why not.
    fn replace(&self, link: &Link, packed: &str, commit: &Commit) -> Result<Option<Committed>, StoreError> {
        // The packed form begins with the revision: as a number, it is that.
        let stored = sql::one(
            self.file,
            "SELECT place, CAST(packed AS INTEGER) FROM links WHERE connection = ?1 AND id = ?2",
            (self.connection, signed(link.id.0)),
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )?;
        if stored.map_or(0, |(_, revision)| revision) != signed(link.revision) {
            return Ok(Some(Committed::Moved));
        }
        let own_place = stored.map(|(place, _)| place);
        let mut taken = Vec::new();
        for claim in &commit.claim {
            match self.holder(claim)? {
                Some(place) if Some(place) == own_place => {}
                Some(place) => {
                    return Ok(Some(Committed::Taken { claim: claim.clone(), holder: self.link_at(place)? }));
                }
                None => taken.push(claim),
            }
        }

        let place = match own_place {
            Some(place) => {
                sql::run(self.file, "UPDATE links SET packed = ?2 WHERE place = ?1", (place, packed))?;
                place
            }
            None => {
                sql::run(
                    self.file,
                    "INSERT INTO links (connection, id, packed) VALUES (?1, ?2, ?3)",
                    (self.connection, signed(link.id.0), packed),
                )?;
                self.file.last_insert_rowid()
            }
        };
        match link.held_since() {
            Some(since) => sql::run(
                self.file,
                "INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3)",
                (self.connection, place, since.0),
            )?,
            None => {
                sql::run(self.file, "DELETE FROM held WHERE connection = ?1 AND link = ?2", (self.connection, place))?
            }
        };
        // Given up and taken in one step, a claim stays.
        for claim in commit.release.iter().filter(|claim| !commit.claim.contains(claim)) {
            let (kind, text) = claim_key(claim);
            sql::run(
                self.file,
                "DELETE FROM claims WHERE connection = ?1 AND kind = ?2 AND claim = ?3 AND link = ?4",
                (self.connection, kind, text, place),
            )?;
        }
        for claim in taken {
            let (kind, text) = claim_key(claim);
            // It may be named twice.
            sql::run(
                self.file,
                "INSERT OR IGNORE INTO claims VALUES (?1, ?2, ?3, ?4)",
                (self.connection, kind, text, place),
            )?;
        }
        Ok(None)
    }

    /// The place of the link that holds a claim.
    fn holder(&self, claim: &Claim) -> Result<Option<i64>, StoreError> {
        let (kind, text) = claim_key(claim);
        let held = "SELECT link FROM claims WHERE connection = ?1 AND kind = ?2 AND claim = ?3";
        sql::one(self.file, held, (self.connection, kind, text), |row| Ok(row.get(0)?))
    }

    fn link_at(&self, place: i64) -> Result<LinkId, StoreError> {
        let holder = sql::one(self.file, "SELECT id FROM links WHERE place = ?1", (place,), |row| link_id(row, 0))?;
        holder.ok_or_else(|| {
            StoreError::Unusable(format!("connection {}: a claim is held by something that is no link", self.name))
        })
    }
}

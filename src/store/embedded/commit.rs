//! The atomic step. All of its conditions are looked at before the first change, so a step that cannot be made leaves
//! no trace, and those before and after it in the same call go on.

use rusqlite::Connection;

use super::books::Books;
use super::links::{claim_key, link_id};
use super::memory::known_in;
use super::{EmbeddedStore, letters, milliseconds, signed, sql};
use crate::domain::{ConnectionName, Epoch, LinkId, Sides, Timestamp};
use crate::failpoint::hit;
use crate::store::packed::pack;
use crate::store::{Claim, Commit, Committed, Count, Overwrite, StoreError};

impl EmbeddedStore {
    /// See [`Store::commit`](crate::store::Store::commit).
    pub(super) async fn commit_all(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        commits: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        if commits.iter().any(|commit| commit.link.is_none() && !(commit.claim.is_empty() && commit.release.is_empty()))
        {
            return Err(StoreError::Unusable(format!("connection {connection}: a claim without a link to hold it")));
        }
        // Packed here, since one thread writes for everybody.
        let steps: Vec<_> = commits.iter().map(Step::of).collect();
        let name = connection.clone();
        self.write(move |file, now| {
            let connection = known_in(file, &name, epoch)?.connection;
            let mut books = Books::open(file, connection, now);
            let desk = Desk { file, name: &name, connection, now };
            let mut done = Vec::with_capacity(steps.len());
            for step in &steps {
                done.push(desk.make(step, &mut books)?);
            }
            books.close()?;
            Ok(done)
        })
        .await
    }
}

/// A [`Commit`] as it is handed to the thread that writes.
struct Step {
    link: Option<PackedLink>,
    /// The commit without its link.
    rest: Commit,
}

/// A link's next revision, and the revision that it replaces.
struct PackedLink {
    id: LinkId,
    revision: u64,
    packed: String,
    /// Since when something of it waits for a person.
    held_since: Option<Timestamp>,
    /// Since when a write of it waits for its account to be free.
    deferred_since: Option<Timestamp>,
}

impl Step {
    fn of(commit: &Commit) -> Self {
        let Commit { link, claim, release, ended, count, open, close, reread, journal, overwrite } = commit;
        let link = link.as_ref().map(|link| PackedLink {
            id: link.id,
            revision: link.revision,
            packed: pack(link, link.revision + 1),
            held_since: link.held_since(),
            deferred_since: link.deferred_since(),
        });
        let rest = Commit {
            link: None,
            claim: claim.clone(),
            release: release.clone(),
            ended: ended.clone(),
            count: count.clone(),
            open: open.clone(),
            close: close.clone(),
            reread: reread.clone(),
            journal: journal.clone(),
            overwrite: overwrite.clone(),
        };
        Self { link, rest }
    }
}

/// A list of links that wait, kept by two statements.
struct WaitList {
    note: &'static str,
    forget: &'static str,
}

/// For a person.
const HELD: WaitList = WaitList {
    note: "INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3)",
    forget: "DELETE FROM held WHERE connection = ?1 AND link = ?2",
};

/// For an account to be free.
const DEFERRED: WaitList = WaitList {
    note: "INSERT OR REPLACE INTO deferred VALUES (?1, ?2, ?3)",
    forget: "DELETE FROM deferred WHERE connection = ?1 AND link = ?2",
};

/// Where and when steps are made.
struct Desk<'a> {
    file: &'a Connection,
    name: &'a ConnectionName,
    connection: i64,
    now: Timestamp,
}

impl Desk<'_> {
    fn make(&self, Step { link, rest: commit }: &Step, books: &mut Books<'_>) -> Result<Committed, StoreError> {
        let ended = match &commit.ended {
            None => None,
            Some(ended) => match self.stored(ended.id, ended.revision)? {
                (Some(place), true) => Some(place),
                _ => return Ok(Committed::Moved),
            },
        };
        match link {
            Some(link) => {
                if let Some(refused) = self.replace(link, commit, ended)? {
                    return Ok(refused);
                }
            }
            None => self.end(commit, ended)?,
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
        if let Some(Overwrite { run, kept, entry }) = &commit.overwrite {
            let note = "INSERT INTO overwritten (connection, run, expires_at, entry) VALUES (?1, ?2, ?3, ?4)";
            let expires_at = self.now.0.saturating_add(milliseconds(*kept));
            sql::run(self.file, note, (self.connection, run.as_str(), expires_at, entry.packed()))?;
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

    /// The place of a link, and whether it is still at the revision that was read.
    fn stored(&self, id: LinkId, revision: u64) -> Result<(Option<i64>, bool), StoreError> {
        // The packed form begins with the revision: as a number, it is that.
        let stored = sql::one(
            self.file,
            "SELECT place, CAST(packed AS INTEGER) FROM links WHERE connection = ?1 AND id = ?2",
            (self.connection, signed(id.0)),
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )?;
        let stands = stored.map_or(0, |(_, revision)| revision) == signed(revision);
        Ok((stored.map(|(place, _)| place), stands))
    }

    /// Removes the link that ends, at `place`, and the claims of its accounts.
    fn end(&self, commit: &Commit, place: Option<i64>) -> Result<(), StoreError> {
        let (Some(ended), Some(place)) = (&commit.ended, place) else { return Ok(()) };
        for claim in Claim::of_accounts(ended) {
            self.give_up(&claim, place)?;
        }
        sql::run(self.file, "DELETE FROM links WHERE place = ?1", (place,))?;
        for list in [&HELD, &DEFERRED] {
            self.note_wait(list, place, None)?;
        }
        Ok(())
    }

    /// Notes in one of the two lists since when a link waits, or that it does not.
    fn note_wait(&self, list: &WaitList, place: i64, since: Option<Timestamp>) -> Result<(), StoreError> {
        match since {
            Some(since) => sql::run(self.file, list.note, (self.connection, place, since.0)),
            None => sql::run(self.file, list.forget, (self.connection, place)),
        }
        .map(drop)
    }

    fn give_up(&self, claim: &Claim, place: i64) -> Result<(), StoreError> {
        let (kind, text) = claim_key(claim);
        sql::run(
            self.file,
            "DELETE FROM claims WHERE connection = ?1 AND kind = ?2 AND claim = ?3 AND link = ?4",
            (self.connection, kind, text, place),
        )?;
        Ok(())
    }

    /// Replaces the link and its claims, or says why not. What the link that ends at `ended` has claimed is free.
    fn replace(&self, link: &PackedLink, commit: &Commit, ended: Option<i64>) -> Result<Option<Committed>, StoreError> {
        let (own_place, stands) = self.stored(link.id, link.revision)?;
        if !stands {
            return Ok(Some(Committed::Moved));
        }
        let mut taken = Vec::new();
        for claim in &commit.claim {
            match self.holder(claim)? {
                Some(place) if Some(place) == own_place => {}
                Some(place) if Some(place) != ended => {
                    return Ok(Some(Committed::Taken { claim: claim.clone(), holder: self.link_at(place)? }));
                }
                _ => taken.push(claim),
            }
        }

        self.end(commit, ended)?;
        let place = match own_place {
            Some(place) => {
                sql::run(self.file, "UPDATE links SET packed = ?2 WHERE place = ?1", (place, &link.packed))?;
                place
            }
            None => {
                sql::run(
                    self.file,
                    "INSERT INTO links (connection, id, packed) VALUES (?1, ?2, ?3)",
                    (self.connection, signed(link.id.0), &link.packed),
                )?;
                self.file.last_insert_rowid()
            }
        };
        self.note_wait(&HELD, place, link.held_since)?;
        self.note_wait(&DEFERRED, place, link.deferred_since)?;
        // Given up and taken in one step, a claim stays.
        for claim in commit.release.iter().filter(|claim| !commit.claim.contains(claim)) {
            self.give_up(claim, place)?;
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

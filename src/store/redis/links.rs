//! Links, their claims, and the commit.

use std::collections::BTreeMap;

use redis::Value;

use super::RedisStore;
use super::epoch::part;
use super::keys::{JOURNAL_ENTRIES, Keys};
use super::letters::push_letter;
use super::pool::failed;
use super::script::{COMMIT, Call, FIND, LOAD};
use crate::domain::{ConnectionName, Epoch, Link, LinkId, RunId, Side, Sides, Timestamp};
use crate::store::packed::{pack, unpack};
use crate::store::{
    AccountPage, Claim, ClaimPage, Commit, Committed, Count, Find, Found, LinkCounts, Loaded, Overwrite, StoreError,
};

/// Questions in one script: a script runs alone, and must not keep others waiting.
const QUESTIONS: usize = 200;
/// Commits in one script, likewise.
const COMMITS: usize = 200;
/// Accounts in a page, about.
const PAGE: usize = 500;

impl RedisStore {
    /// See [`Store::find`](crate::store::Store::find).
    pub(super) async fn find_links(
        &self,
        connection: &ConnectionName,
        questions: &[Find],
    ) -> Result<Loaded<Found>, StoreError> {
        let keys = self.keys(connection);
        let mut loaded: Option<Loaded<Found>> = None;
        // Without a question there are still time and epoch to be told.
        let chunks = if questions.is_empty() { vec![questions] } else { questions.chunks(QUESTIONS).collect() };
        for questions in chunks {
            let mut named = claim_keys(&keys);
            named.push(keys.letters());
            let (epoch, mut answer) = self
                .guarded(&FIND, connection, named, |call| {
                    for question in questions {
                        call.arg(question.letter.as_ref().map_or("", |letter| letter.as_str()));
                        call.number(question.claims.len());
                        question.claims.iter().for_each(|claim| push_claim(call, claim));
                    }
                })
                .await?;
            let now = Timestamp(part(&mut answer)?);
            let found: Vec<(String, Vec<u8>, usize, bool)> = part(&mut answer)?;
            let found = found.into_iter().map(|(id, stored, claim, open_letter)| {
                let link = match id.as_str() {
                    "" => None,
                    id => Some((read_link(connection, link_id(connection, id)?, &stored)?, claim)),
                };
                Ok(Found { link, open_letter })
            });
            add_chunk(connection, &mut loaded, now, epoch, found.collect::<Result<_, StoreError>>()?)?;
        }
        loaded.ok_or_else(|| StoreError::EpochChanged(connection.clone()))
    }

    /// See [`Store::load`](crate::store::Store::load).
    pub(super) async fn load_links(
        &self,
        connection: &ConnectionName,
        links: &[LinkId],
    ) -> Result<Loaded<Option<Link>>, StoreError> {
        let keys = self.keys(connection);
        let mut loaded: Option<Loaded<Option<Link>>> = None;
        let chunks = if links.is_empty() { vec![links] } else { links.chunks(QUESTIONS).collect() };
        for links in chunks {
            let (epoch, mut answer) = self
                .guarded(&LOAD, connection, vec![keys.epoch(), keys.links()], |call| {
                    links.iter().for_each(|link| {
                        call.text(link);
                    });
                })
                .await?;
            let now = Timestamp(part(&mut answer)?);
            let stored: Vec<Vec<u8>> = part(&mut answer)?;
            let read = links.iter().zip(stored).map(|(id, stored)| {
                if stored.is_empty() { Ok(None) } else { read_link(connection, *id, &stored).map(Some) }
            });
            add_chunk(connection, &mut loaded, now, epoch, read.collect::<Result<_, StoreError>>()?)?;
        }
        loaded.ok_or_else(|| StoreError::EpochChanged(connection.clone()))
    }

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
        let keys = self.keys(connection);
        let mut done = Vec::with_capacity(commits.len());
        for commits in commits.chunks(COMMITS) {
            let (named, run_keys) = commit_keys(&keys, commits);
            let (_, answers) = self
                .guarded_in(Some(epoch), &COMMIT, connection, named, |call| {
                    call.number(JOURNAL_ENTRIES).number(self.retention.conflicts.as_millis());
                    let about = || commits.iter().flat_map(ids);
                    call.number(about().count());
                    about().for_each(|link| {
                        call.text(link);
                    });
                    commits.iter().for_each(|commit| push_commit(call, commit, &run_keys));
                })
                .await?;
            if answers.len() != commits.len() {
                return Err(unexpected(connection));
            }
            for (commit, answer) in commits.iter().zip(answers) {
                done.push(committed(connection, commit, answer)?);
            }
        }
        Ok(done)
    }

    /// See [`Store::accounts`](crate::store::Store::accounts).
    pub(super) async fn account_page(
        &self,
        connection: &ConnectionName,
        side: Side,
        from: Option<&str>,
    ) -> Result<AccountPage, StoreError> {
        let key = self.keys(connection).accounts(side);
        let (next, page) = self.scan(&key, from.unwrap_or("0")).await?;
        let page = page.into_iter().map(|(account, link)| {
            let account = account.parse().map_err(|_| no_id(connection))?;
            Ok((account, link_id(connection, &link)?))
        });
        Ok((page.collect::<Result<_, StoreError>>()?, (next != "0").then_some(next)))
    }

    /// See [`Store::claims`](crate::store::Store::claims). One key after the other: a page begins at the number of a
    /// key, a colon, and Redis's own cursor in it.
    pub(super) async fn claim_page(
        &self,
        connection: &ConnectionName,
        from: Option<&str>,
    ) -> Result<ClaimPage, StoreError> {
        let keys = self.keys(connection);
        let all = [keys.accounts(Side::A), keys.accounts(Side::B), keys.matching(Side::A), keys.matching(Side::B)];
        let (index, cursor) = from.and_then(|from| from.split_once(':')).unwrap_or(("0", "0"));
        let index = index.parse().unwrap_or(0);
        let Some(key) = all.get(index) else { return Ok((Vec::new(), None)) };
        let (next, page) = self.scan(key, cursor).await?;
        let page = page.into_iter().map(|(text, link)| {
            let account = |text: String| text.parse().map_err(|_| no_id(connection));
            let claim = match index {
                0 => Claim::Account(Side::A, account(text)?),
                1 => Claim::Account(Side::B, account(text)?),
                2 => Claim::Key(Side::A, text),
                _ => Claim::Key(Side::B, text),
            };
            Ok((claim, link_id(connection, &link)?))
        });
        let next = match next.as_str() {
            "0" if index + 1 == all.len() => None,
            "0" => Some(format!("{}:0", index + 1)),
            next => Some(format!("{index}:{next}")),
        };
        Ok((page.collect::<Result<_, StoreError>>()?, next))
    }

    /// A page of a hash, and Redis's cursor for the next (`0`: that was the last).
    async fn scan(&self, key: &str, cursor: &str) -> Result<(String, Vec<(String, String)>), StoreError> {
        let mut server = self.pool.lend().await?;
        let scan = redis::cmd("HSCAN").arg(key).arg(cursor).arg("COUNT").arg(PAGE).to_owned();
        scan.query_async(&mut *server).await.map_err(failed)
    }

    /// See [`Store::counts`](crate::store::Store::counts).
    pub(super) async fn link_counts(&self, connection: &ConnectionName) -> Result<LinkCounts, StoreError> {
        let about_messages = self.message_letters().await?;
        let keys = self.keys(connection);
        let mut server = self.pool.lend().await?;
        type Counted = (u64, u64, u64, u64, u64, u64);
        let (links, a, b, letters, rereads_a, rereads_b): Counted = redis::pipe()
            .hlen(keys.links())
            .hlen(keys.accounts(Side::A))
            .hlen(keys.accounts(Side::B))
            .hlen(keys.letters())
            .zcard(keys.rereads(Side::A))
            .zcard(keys.rereads(Side::B))
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        drop(server);
        let (held, held_since) = self.count_held(connection).await?;
        let (deferred, deferred_since) = self.count_deferred(connection).await?;
        let about_messages = about_messages.iter().filter(|letter| letter.connection.as_ref() == Some(connection));
        Ok(LinkCounts {
            links,
            accounts: Sides { a, b },
            letters: letters + about_messages.count() as u64,
            rereads: Sides { a: rereads_a, b: rereads_b },
            held,
            held_since,
            deferred,
            deferred_since,
        })
    }
}

/// What became of one commit of a batch.
fn committed(connection: &ConnectionName, commit: &Commit, answer: Value) -> Result<Committed, StoreError> {
    match answer {
        Value::Int(owed) => Ok(Committed::Done { owed: Sides { a: owed & 1 != 0, b: owed & 2 != 0 } }),
        Value::Array(taken) => {
            let mut parts = taken.into_iter();
            let (index, holder): (usize, String) = (part(&mut parts)?, part(&mut parts)?);
            let claim = commit.claim.get(index).cloned().ok_or_else(|| unexpected(connection))?;
            Ok(Committed::Taken { claim, holder: link_id(connection, &holder)? })
        }
        Value::BulkString(moved) if moved == b"moved" => Ok(Committed::Moved),
        _ => Err(unexpected(connection)),
    }
}

fn unexpected(connection: &ConnectionName) -> StoreError {
    StoreError::Unusable(format!("connection {connection}: a commit was answered unexpectedly"))
}

/// Puts the answers of a chunk behind those of the ones before. All of them must be of one epoch.
fn add_chunk<T>(
    connection: &ConnectionName,
    loaded: &mut Option<Loaded<T>>,
    now: Timestamp,
    epoch: Epoch,
    items: Vec<T>,
) -> Result<(), StoreError> {
    match loaded {
        None => *loaded = Some(Loaded { now, epoch, items }),
        Some(loaded) if loaded.epoch == epoch => {
            // The earliest time holds for all of them.
            loaded.items.extend(items);
        }
        Some(_) => return Err(StoreError::EpochChanged(connection.clone())),
    }
    Ok(())
}

fn read_link(connection: &ConnectionName, id: LinkId, stored: &[u8]) -> Result<Link, StoreError> {
    unpack(id, stored)
        .map_err(|error| StoreError::Unusable(format!("link {id} of connection {connection} cannot be read: {error}")))
}

fn no_id(connection: &ConnectionName) -> StoreError {
    StoreError::Unusable(format!("connection {connection}: an account claim is no id"))
}

fn link_id(connection: &ConnectionName, text: &str) -> Result<LinkId, StoreError> {
    text.parse().map_err(|_| {
        StoreError::Unusable(format!("connection {connection}: a claim is held by something that is no link"))
    })
}

/// The keys that claims are in, after epoch and links: [`push_claim`] counts on this order, as the scripts do.
fn claim_keys(keys: &Keys) -> Vec<String> {
    vec![
        keys.epoch(),
        keys.links(),
        keys.accounts(Side::A),
        keys.accounts(Side::B),
        keys.matching(Side::A),
        keys.matching(Side::B),
    ]
}

/// The keys of a batch of commits, and where among them those of each run begin: counted from one, as Lua does.
fn commit_keys<'c>(keys: &Keys, commits: &'c [Commit]) -> (Vec<String>, BTreeMap<&'c RunId, usize>) {
    let mut named = claim_keys(keys);
    named.extend([
        keys.letters(),
        keys.rereads(Side::A),
        keys.rereads(Side::B),
        keys.journal(),
        keys.held(),
        keys.deferred(),
        keys.letter_index(),
        keys.letter_groups(),
    ]);
    let mut places = BTreeMap::new();
    for commit in commits {
        let counted = commit.count.as_ref().map(Count::run);
        for run in counted.into_iter().chain(commit.overwrite.as_ref().map(|overwrite| &overwrite.run)) {
            places.entry(run).or_insert_with_key(|run| {
                named.extend([keys.run(run), keys.run_bits(run), keys.run_undo(run)]);
                named.len() - 2
            });
        }
    }
    (named, places)
}

/// The links that a commit is about.
fn ids(commit: &Commit) -> impl Iterator<Item = LinkId> {
    let link = commit.link.as_ref().map(|link| link.id);
    link.into_iter().chain(commit.ended.as_ref().map(|ended| ended.id))
}

/// 1 for `a`, 2 for `b`: Lua counts from one.
fn side_number(side: Side) -> usize {
    match side {
        Side::A => 1,
        Side::B => 2,
    }
}

fn push_claim(call: &mut Call, claim: &Claim) {
    match claim {
        Claim::Account(side, account) => call.number(2 + side_number(*side)).arg(account.as_str()),
        Claim::Key(side, key) => call.number(4 + side_number(*side)).arg(key),
    };
}

fn push_commit(call: &mut Call, commit: &Commit, run_keys: &BTreeMap<&RunId, usize>) {
    let Commit { link, claim, release, ended, count, open, close, reread, journal, overwrite } = commit;
    match link {
        Some(link) => {
            call.text(link.id).number(link.revision).arg(pack(link, link.revision + 1));
            for since in [link.held_since(), link.deferred_since()] {
                match since {
                    Some(since) => call.number(since.0),
                    None => call.arg(""),
                };
            }
        }
        None => drop(call.arg("")),
    }
    match ended {
        Some(ended) => call.text(ended.id).number(ended.revision),
        None => call.arg(""),
    };
    for claims in [claim, release, &ended.as_ref().map(Claim::of_accounts).unwrap_or_default()] {
        call.number(claims.len());
        claims.iter().for_each(|claim| push_claim(call, claim));
    }
    call.number(open.len());
    open.iter().for_each(|letter| push_letter(call, letter));
    call.number(close.len());
    for letter in close {
        call.arg(letter.as_str());
    }
    call.number(reread.len());
    for (side, account) in reread {
        call.number(7 + side_number(*side)).arg(account.as_str());
    }
    call.number(journal.len());
    for entry in journal {
        call.arg(super::json(entry));
    }
    match overwrite {
        None => call.arg(""),
        Some(Overwrite { run, kept, entry }) => {
            call.number(run_keys[run] + 2).number(kept.as_millis()).arg(entry.packed())
        }
    };
    match count {
        None => call.arg(""),
        Some(Count::Change { run, number, outcome, emits }) => {
            call.arg("change").number(run_keys[run]).number(number).arg(outcome.as_str());
            call.number(u8::from(emits.a)).number(u8::from(emits.b))
        }
        Some(Count::Command { run, number, side, outcome }) => {
            call.arg("command").number(run_keys[run]).number(number).arg(outcome.as_str()).number(side_number(*side))
        }
    };
}

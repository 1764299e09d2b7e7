//! Links, their claims, and the commit.

use redis::Value;

use super::RedisStore;
use super::epoch::{Guarded, ROUNDS, part};
use super::keys::{JOURNAL_ENTRIES, JOURNAL_TTL, Keys};
use super::pool::failed;
use super::script::{Answer, COMMIT, Call, FIND, LOAD, forgetful};
use crate::domain::{ConnectionName, Epoch, Link, LinkId, Side, Sides, Timestamp};
use crate::store::packed::{pack, unpack};
use crate::store::{
    AccountPage, Claim, ClaimPage, Commit, Committed, Count, Find, Found, LinkCounts, Loaded, StoreError,
};

/// Questions in one script: a script runs alone, and must not keep others waiting.
const QUESTIONS: usize = 200;
/// Commits in one round trip.
const COMMITS: usize = 500;
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
                        call.arg(link.to_string());
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
        let mut done = Vec::with_capacity(commits.len());
        for commits in commits.chunks(COMMITS) {
            done.extend(self.commit_chunk(connection, epoch, commits).await?);
        }
        Ok(done)
    }

    async fn commit_chunk(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        commits: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        let changed = || StoreError::EpochChanged(connection.clone());
        let keys = self.keys(connection);
        let mut server = self.pool.lend().await?;
        let mut done: Vec<Option<Committed>> = vec![None; commits.len()];
        for _ in 0..ROUNDS {
            let known = self.known(&mut server, connection).await?;
            if known.epoch != epoch {
                return Err(changed());
            }
            // Only what surely did not happen is sent again: it was answered with "unknown script" or "restarted".
            let open: Vec<usize> = (0..commits.len()).filter(|index| done[*index].is_none()).collect();
            let calls: Vec<Call> = open
                .iter()
                .map(|index| {
                    let mut call = Call::new(commit_keys(&keys, &commits[*index]));
                    known.guard(&mut call, &server);
                    push_commit(&mut call, &commits[*index]);
                    call
                })
                .collect();
            let answers = COMMIT.run_batch::<Vec<Value>>(&mut server, &calls.iter().collect::<Vec<_>>()).await?;
            let mut restarted = false;
            for (index, answer) in open.into_iter().zip(answers) {
                let Answer::Ran(answer) = answer else { continue };
                match self.committed(connection, epoch, &commits[index], answer)? {
                    Step::Settled(committed) => done[index] = Some(committed),
                    Step::Changed => return Err(changed()),
                    Step::Restarted => restarted = true,
                }
            }
            if restarted {
                self.recall(&mut server, connection).await?;
            } else if done.iter().all(Option::is_some) {
                return Ok(done.into_iter().flatten().collect());
            }
        }
        Err(forgetful())
    }

    fn committed(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        commit: &Commit,
        answer: Vec<Value>,
    ) -> Result<Step, StoreError> {
        let unexpected =
            || StoreError::Unusable(format!("connection {connection}: a commit was answered unexpectedly"));
        let mut parts = answer.clone().into_iter();
        let status: String = part(&mut parts)?;
        Ok(match status.as_str() {
            "done" => {
                self.learn(connection, epoch, part(&mut parts)?);
                Step::Settled(Committed::Done { owed: Sides { a: part(&mut parts)?, b: part(&mut parts)? } })
            }
            "moved" => Step::Settled(Committed::Moved),
            "taken" => {
                let index: usize = part(&mut parts)?;
                let holder: String = part(&mut parts)?;
                let claim = commit.claim.get(index).cloned().ok_or_else(unexpected)?;
                Step::Settled(Committed::Taken { claim, holder: link_id(connection, &holder)? })
            }
            _ => match self.pass(connection, epoch, answer)? {
                Guarded::Changed => Step::Changed,
                Guarded::Restarted => Step::Restarted,
                Guarded::Passed(_) => return Err(unexpected()),
            },
        })
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
        let about_messages = about_messages.iter().filter(|letter| letter.connection.as_ref() == Some(connection));
        Ok(LinkCounts {
            links,
            accounts: Sides { a, b },
            letters: letters + about_messages.count() as u64,
            rereads: Sides { a: rereads_a, b: rereads_b },
            held,
            held_since,
        })
    }
}

/// What became of one commit of a batch.
enum Step {
    Settled(Committed),
    Changed,
    Restarted,
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

fn commit_keys(keys: &Keys, commit: &Commit) -> Vec<String> {
    let mut named = claim_keys(keys);
    named.extend([keys.letters(), keys.rereads(Side::A), keys.rereads(Side::B), keys.journal(), keys.held()]);
    if let Some(Count::Change { run, .. } | Count::Command { run, .. }) = &commit.count {
        named.extend([keys.run(run), keys.run_bits(run)]);
    }
    named
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

fn push_commit(call: &mut Call, commit: &Commit) {
    let Commit { link, claim, release, count, open, close, reread, journal } = commit;
    match link {
        Some(link) => {
            let document = pack(link, link.revision + 1);
            let held_since = link.held_since().map(|since| since.0.to_string());
            call.arg(link.id.to_string()).number(link.revision).arg(document).arg(held_since.unwrap_or_default());
        }
        None => {
            call.arg("").arg("").arg("").arg("");
        }
    }
    for claims in [claim, release] {
        call.number(claims.len());
        claims.iter().for_each(|claim| push_claim(call, claim));
    }
    call.number(open.len());
    for letter in open {
        call.arg(letter.id.as_str()).arg(super::json(letter));
    }
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
    call.number(JOURNAL_ENTRIES).number(JOURNAL_TTL.as_millis());
    match count {
        None => call.arg(""),
        Some(Count::Change { run: _, number, outcome, emits }) => {
            call.arg("change").number(number).arg(outcome.as_str());
            call.number(u8::from(emits.a)).number(u8::from(emits.b))
        }
        Some(Count::Command { run: _, number, side, outcome }) => {
            call.arg("command").number(number).arg(outcome.as_str()).number(side_number(*side))
        }
    };
}

//! Erasing what is kept of one person.
//!
//! An entry of a stream can be deleted, but Redis only marks it: its bytes stay in the key, in snapshots and in what is sent
//! to replicas until its whole block is gone. So the stream is copied without them, and the copy put in its place.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::RedisStore;
use super::keys::Keys;
use super::pool::{Connected, failed};
use super::script::{Call, REWRITTEN};
use crate::domain::{ConnectionName, Token};
use crate::store::erasure::Fate;
use crate::store::{Erased, Person, StoreError};

/// Entries that are copied at a time.
const PAGE: usize = 500;

/// Life of a copy that nobody finishes: it holds values of others.
const COPY_TTL: Duration = Duration::from_secs(3_600);

impl RedisStore {
    /// See [`Store::erase`](crate::store::Store::erase).
    pub(super) async fn erase_person(
        &self,
        connection: &ConnectionName,
        person: &Person,
        really: bool,
    ) -> Result<Erased, StoreError> {
        let keys = self.keys(connection);
        // Whoever else erases at the same time makes a copy of their own, and one of the two finds that its own is old.
        let copy = keys.copy(Token(fastrand::u64(..)));
        let mut server = self.pool.lend().await?;
        let conflicts = rewrite(&mut server, &keys.journal(), &copy, really, |text| person.of_journal(text)).await?;
        let history = rewrite(&mut server, &keys.history(), &copy, really, |text| person.of_history(text)).await?;
        let overwritten = overwritten(&mut server, &keys, person, really).await?;
        Ok(Erased { conflicts, history, overwritten })
    }
}

/// Counts the entries that do not stay as they are, and rewrites the stream if there is one and it is `really` wanted.
async fn rewrite(
    server: &mut Connected,
    key: &str,
    copy: &str,
    really: bool,
    fate: impl Fn(&str) -> Fate,
) -> Result<u64, StoreError> {
    let (mut meant, mut last) = (0, None);
    while let Some((page, next)) = read(server, key, last.as_deref()).await? {
        meant += page.iter().filter(|(_, text)| fate(text) != Fate::Stays).count() as u64;
        last = Some(next);
    }
    if meant == 0 || !really {
        return Ok(meant);
    }
    // Counted anew: more of theirs may have come since.
    let mut copied: u64 = 0;
    (meant, last) = (0, None);
    loop {
        while let Some((page, next)) = read(server, key, last.as_deref()).await? {
            let mut steps = redis::pipe();
            for (id, text) in page {
                let fate = fate(&text);
                meant += u64::from(fate != Fate::Stays);
                let text = match fate {
                    Fate::Stays => text,
                    Fate::Becomes(text) => text,
                    Fate::Goes => continue,
                };
                steps.cmd("XADD").arg(copy).arg(id).arg("e").arg(text).ignore();
                copied += 1;
            }
            steps.cmd("PEXPIRE").arg(copy).arg(COPY_TTL.as_millis() as u64).ignore();
            steps.query_async::<()>(server).await.map_err(failed)?;
            last = Some(next);
        }
        let mut call = Call::new([key.to_owned(), copy.to_owned()]);
        call.arg(last.as_deref().unwrap_or_default()).number(copied);
        match REWRITTEN.run::<i64>(server, &call).await? {
            1 => return Ok(meant),
            0 => {}
            // The copy grew old before it was whole: from the beginning.
            _ => (meant, last, copied) = (0, None, 0),
        }
    }
}

/// The same for the lists of what runs have overwritten. An entry is replaced where it lies, since others only add to a list.
async fn overwritten(server: &mut Connected, keys: &Keys, person: &Person, really: bool) -> Result<u64, StoreError> {
    let (mut lists, mut cursor) = (BTreeSet::new(), 0);
    // Not by the list of runs: that is shorter than the time for which a run may be undone.
    loop {
        let scan =
            redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(keys.all_run_undos()).arg("COUNT").arg(1_000).to_owned();
        let (next, found): (u64, Vec<String>) = scan.query_async(server).await.map_err(failed)?;
        lists.extend(found);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let mut meant = 0;
    for list in lists {
        for first in (0..).step_by(PAGE) {
            let page = redis::cmd("LRANGE").arg(&list).arg(first).arg(first + PAGE - 1).to_owned();
            let page: Vec<String> = page.query_async(server).await.map_err(failed)?;
            let mut steps = redis::pipe();
            for (at, text) in (first..).zip(&page) {
                let Fate::Becomes(text) = person.of_overwritten(text) else { continue };
                meant += 1;
                steps.cmd("LSET").arg(&list).arg(at).arg(text).ignore();
            }
            if really && !steps.is_empty() {
                steps.query_async::<()>(server).await.map_err(failed)?;
            }
            if page.len() < PAGE {
                break;
            }
        }
    }
    Ok(meant)
}

/// The next page, and the id of its last entry; `None` at the end.
async fn read(
    server: &mut Connected,
    key: &str,
    after: Option<&str>,
) -> Result<Option<(Vec<(String, String)>, String)>, StoreError> {
    let from = after.map_or("-".to_owned(), |after| format!("({after}"));
    let page = redis::cmd("XRANGE").arg(key).arg(from).arg("+").arg("COUNT").arg(PAGE).to_owned();
    let page: Vec<(String, HashMap<String, String>)> = page.query_async(server).await.map_err(failed)?;
    let entry = |(id, mut fields): (String, HashMap<String, String>)| (id, fields.remove("e").unwrap_or_default());
    let page: Vec<_> = page.into_iter().map(entry).collect();
    let last = page.last().map(|(id, _)| id.clone());
    Ok(last.map(|last| (page, last)))
}

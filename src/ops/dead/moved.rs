//! Letters about links that the store has forgotten: the account may have another link since, and then that one's letter
//! goes on in their place, so that there is one open letter for an account on a target (B7).

use super::{log, log_closed};
use crate::broker::Broker;
use crate::domain::link::Burial;
use crate::domain::pending::lacking;
use crate::domain::{ConnectionName, DeadLetter, Digest, LetterEntry, LetterId, Link, LinkId, Resolution, Side};
use crate::stages::Pipeline;
use crate::store::{Claim, Commit, Committed, Find, Loaded, Store, StoreError};

/// How often a store that loses its memory meanwhile is asked again.
const EPOCHS: usize = 5;

/// What became of a letter about a side of a link.
pub(super) enum Moved {
    /// Its link is there.
    Stays,
    /// The account has this link now, whose letter goes on in its place.
    To(LinkId),
    /// The account has another link, which lacks nothing: the letter is closed.
    Healed,
    /// No link holds its accounts.
    Unknown,
}

/// Finds out whether the link of a letter is there, and moves the letter where its account has another one.
pub(super) async fn follow<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letter: &DeadLetter,
    (name, side, link): (&ConnectionName, Side, LinkId),
) -> anyhow::Result<Moved> {
    let Some(connection) = pipeline.connections.get(name) else { return Ok(Moved::Unknown) };
    loop {
        if load(pipeline, name, link).await?.items.pop().flatten().is_some() {
            return Ok(Moved::Stays);
        }
        let Some((found, epoch)) = find(pipeline, name, side, letter).await? else { return Ok(Moved::Unknown) };
        let to = found.id;
        if lacking(&found, side, &connection.rules(epoch)).is_none() {
            pipeline.store.file_letters(&[], std::slice::from_ref(&letter.id)).await?;
            log_closed(pipeline, std::slice::from_ref(&letter.id), &Resolution::Healed).await?;
            return Ok(Moved::Healed);
        }
        let id = LetterId::of_link(name, side, to);
        let mut next = DeadLetter { id: id.clone(), ..letter.clone() };
        if let Some(open) = pipeline.store.letter(Some(name), &id).await? {
            next = open.joined(next);
        }
        let mut after = found;
        // A later success knows by this mark that it heals a letter. It matches nothing that is pending.
        let code = next.fingerprint.code.to_string();
        after.sides[side].dead.get_or_insert(Burial { pending: Digest(0), code });
        // Both in the log before the index changes: killed between the two, the letter is moved again.
        log(pipeline, vec![LetterEntry::Opened { letter: Box::new(next.clone()) }]).await?;
        let commit =
            Commit { link: Some(after), open: vec![next], close: vec![letter.id.clone()], ..Commit::default() };
        if let [Committed::Done { .. }] = pipeline.store.commit(name, epoch, &[commit]).await?[..] {
            log_closed(pipeline, std::slice::from_ref(&letter.id), &Resolution::Moved { to: id }).await?;
            return Ok(Moved::To(to));
        }
    }
}

/// The link that holds the accounts of a letter.
async fn find<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    side: Side,
    letter: &DeadLetter,
) -> Result<Option<(Link, crate::domain::Epoch)>, StoreError> {
    let account = letter.account.clone().map(|account| Claim::Account(side, account));
    let partner = letter.partner.clone().map(|account| Claim::Account(side.other(), account));
    let claims: Vec<_> = account.into_iter().chain(partner).collect();
    if claims.is_empty() {
        return Ok(None);
    }
    let question = Find { claims, letter: None };
    let mut found = pipeline.store.find(name, vec![question.clone()]).await;
    for _ in 0..EPOCHS {
        let Err(StoreError::EpochChanged(_)) = found else { break };
        pipeline.store.epoch(name).await?;
        found = pipeline.store.find(name, vec![question.clone()]).await;
    }
    let mut found = found?;
    let link = found.items.pop().and_then(|found| found.link);
    Ok(link.map(|(link, _)| (link, found.epoch)).filter(|(link, epoch)| link.epoch == *epoch))
}

async fn load<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    link: LinkId,
) -> Result<Loaded<Option<Link>>, StoreError> {
    for _ in 0..EPOCHS {
        match pipeline.store.load(name, &[link]).await {
            Err(StoreError::EpochChanged(_)) => drop(pipeline.store.epoch(name).await?),
            loaded => return loaded,
        }
    }
    pipeline.store.load(name, &[link]).await
}

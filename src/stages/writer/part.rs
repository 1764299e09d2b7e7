//! How an account parts from its partner, who left: the partner is asked for once more, the account is deleted or taken out
//! of its system's roster, and the link and the claim end with the count in one step.

use std::time::Duration;

use tracing::{info, warn};

use super::attempt::{Attempt, Begun, LEASE_MARGIN};
use super::{Fate, count};
use crate::broker::Broker;
use crate::domain::link::{Left, Parting};
use crate::domain::pending::{Need, pending};
use crate::domain::rules::Departure;
use crate::domain::{AttributePath, CommandOutcome, LetterId, Link, Snapshot, Token, Value, write};
use crate::failpoint::hit;
use crate::stages::Halt;
use crate::stages::letters::wall_clock;
use crate::store::{Claim, Commit, Committed, Store};
use crate::systems::Lookup;

/// The wait until a system that could not be asked is asked again. Nobody is deleted meanwhile.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

impl<B: Broker, S: Store> Attempt<'_, B, S> {
    /// Asks the system on the other side for the account that left, just before anything is done to its partner that
    /// nobody can take back. `None`: it is gone, or still not active.
    pub(super) async fn prove_left(&self, link: &Link) -> Result<Option<Fate>, Halt> {
        let (connection, other) = (self.wave.connection, self.wave.side.other());
        let Some(account) = link.sides[other].account.clone() else {
            return self.over(CommandOutcome::Superseded).await.map(Some);
        };
        let system = &connection.systems[other];
        let line = self.wave.pipeline.line(system);
        if self.wave.pipeline.state_of(self.wave.stop, system).await?.for_calls().not_before.is_some() {
            return Ok(Some(self.later(ASKED_AGAIN)));
        }
        let era = line.era();
        let answer = connection.ends[other].get(std::slice::from_ref(&account)).await;
        self.wave.pipeline.fared(system, era, &answer).await;
        hit("writer.proved_left");
        let is_in = match answer.map(|mut lookups| lookups.pop()) {
            Ok(Some(Lookup::Absent(_))) => false,
            Ok(Some(Lookup::Found(snapshot))) => !is_off(&snapshot) || connection.fits(other, &snapshot) == Some(false),
            Ok(Some(Lookup::Unreadable { .. })) => true,
            Ok(None) => return Ok(Some(self.later(ASKED_AGAIN))),
            Err(failure) => {
                warn!(%account, "Could not ask {system} whether {account} left, so nobody is deleted: {failure}");
                return Ok(Some(self.later(ASKED_AGAIN)));
            }
        };
        if !is_in {
            return Ok(None);
        }
        info!(%account, "{account} is in {system} again, so its partner stays");
        let outcome = CommandOutcome::Superseded;
        let reread = vec![(other, account)];
        self.commit(Commit { count: Some(count(self.command, outcome)), reread, ..Commit::default() }).await?;
        self.wave.pipeline.metrics.command(&connection.name, outcome);
        Ok(Some(Fate::Over))
    }

    /// Ends the pairing; the account stays as it is.
    pub(super) async fn detach(&self, link: Link) -> Result<Fate, Halt> {
        let was_gone = link.sides[self.wave.side].is_gone();
        self.part(link, None, was_gone).await
    }

    /// The account is deleted or removed; `is_absent`: there was none when it was to be.
    pub(super) async fn ended(&self, begun: &Begun, link: Link, is_absent: bool) -> Result<Fate, Halt> {
        // What an earlier attempt of ours has begun, it has done.
        let intents = &link.sides[self.wave.side].intents;
        let was_gone = is_absent && intents.iter().all(|intent| intent.token == begun.token);
        let Need::Part { how, .. } = begun.wanted.need else { return Ok(self.later(LEASE_MARGIN)) };
        self.part(link, Some((begun.token, how)), was_gone).await
    }

    /// `done`: what was carried out; without it, it is looked at once more whether the two are to part.
    async fn part(&self, mut link: Link, done: Option<(Token, Departure)>, was_gone: bool) -> Result<Fate, Halt> {
        let (wave, side) = (self.wave, self.wave.side);
        let letter = LetterId::of_link(&wave.connection.name, side, link.id);
        let outcome = if was_gone { CommandOutcome::AlreadyTrue } else { CommandOutcome::Applied };
        loop {
            let how = match (done, pending(&link, side, &wave.rules).map(|wanted| wanted.need)) {
                (Some((_, how)), _) => how,
                (None, Some(Need::Part { how, .. })) if link.sides[side].leased(wave.store_clock()).is_none() => how,
                (None, _) => return Ok(self.later(LEASE_MARGIN)),
            };
            let Some(account) = link.sides[side].account.clone() else { return Ok(self.later(LEASE_MARGIN)) };
            let left = link.left(side.other());
            let why = left.unwrap_or(Left::Inactive);
            let token = done.map(|(token, _)| token);
            let run = self.command.cause.run.clone();
            let parting =
                Parting { account: account.clone(), how, why, at: wall_clock(), run, was_gone, over_at: None };
            let Some(parted) = write::part(&link, side, token, parting, &wave.rules) else {
                return Ok(self.later(LEASE_MARGIN));
            };
            let heals = link.sides[side].dead.is_some();
            if heals {
                wave.heal_letter(letter.clone()).await?;
            }
            // Who came back while it was done is read again, so that somebody asks for a new account.
            let back = link.sides[side.other()].account.clone().filter(|_| left.is_none());
            let overwrite = match done {
                // Noted when it was begun.
                Some(_) => None,
                None => pending(&link, side, &wave.rules).and_then(|wanted| self.overwrite(&link, &wanted)),
            };
            let commit = Commit {
                overwrite,
                reread: back.map(|account| (side.other(), account)).into_iter().collect(),
                link: Some(parted),
                release: vec![Claim::Account(side, account.clone())],
                count: Some(count(self.command, outcome)),
                close: vec![letter.clone()],
                ..Commit::default()
            };
            match self.commit(commit).await? {
                Committed::Done { .. } => {
                    hit("writer.committed");
                    let (system, metrics) = (&wave.connection.systems[side], &wave.pipeline.metrics);
                    let done = if was_gone { "gone already" } else { how.done() };
                    info!(
                        %account, run = %self.command.cause.run,
                        "{account} of {system} is {done}, since its partner left"
                    );
                    metrics.command(&wave.connection.name, outcome);
                    if heals {
                        metrics.letter_healed(&wave.connection.name);
                    }
                    return Ok(Fate::Over);
                }
                Committed::Moved | Committed::Taken { .. } => link = self.reload().await?,
            }
        }
    }
}

/// Whether an account that is there says that it may not be used.
fn is_off(snapshot: &Snapshot) -> bool {
    snapshot.attributes.get(&AttributePath::active()) == Some(&Some(Value::Bool(false)))
}

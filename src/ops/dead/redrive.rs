//! Sending many letters again, as a person asks for it who works a backlog: the first few, then the others at a rate; it
//! can be stopped, and carried on also after a crash. What is sent next is noted before it is sent, so each letter is sent
//! once, or once more under the same number, which writes and counts nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::retry::{AT_ONCE, Order, Runs, Sent, reserve, send_sides, tell, without_command};
use super::select::{Letters, groups};
use super::{find, now};
use crate::broker::Broker;
use crate::domain::redrive::{InHand, LetterFilter, Phase, Redrive, Which};
use crate::domain::{Cause, CommandOutcome, ConnectionName, DeadLetter, LetterContent, LetterId, Timestamp};
use crate::failpoint::hit;
use crate::ops::audit;
use crate::ops::connect::{Mode, operator};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::{self, UsageError};
use crate::ops::worker::{how_to_start, missing};
use crate::stages::Pipeline;
use crate::store::Store;

/// The wait between two looks at what is due or under way.
const POLL: Duration = Duration::from_millis(100);

/// How long the first few are waited for. A write is tried again for longer than that, and whoever stands here would not know
/// why nothing happens.
const PATIENCE: Duration = Duration::from_secs(300);

/// So often somebody who waits notes that they are still there.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How many letters are told one by one to a person.
const TOLD: u64 = 20;

/// How a backlog is worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// So many first, and the others only once none of them failed again.
    pub canary: u32,
    /// Letters a second at most.
    pub rate: Option<u32>,
    /// Wait until the outcome of everything is known.
    pub wait: bool,
}

/// What is to be done so that the letters that are meant are sent again; `None`: there is none.
pub(crate) async fn planned<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    which: Which,
    pace: Pace,
) -> anyhow::Result<Option<Redrive>> {
    let began_at = now();
    // What is opened from now on is not meant: it is reported, and is a matter of its own.
    let which = which.as_of(began_at);
    let meant = match &which {
        Which::Fitting(filter) => groups(pipeline, filter).await?.iter().map(|group| group.letters).sum(),
        Which::Letters(ids) => ids.len() as u64,
    };
    if meant == 0 {
        return Ok(None);
    }
    Ok(Some(Redrive {
        id: format!("{:08x}", fastrand::u32(..)),
        revision: 0,
        saved_at: began_at,
        which,
        by: operator(),
        began_at,
        canary: pace.canary,
        rate: pace.rate,
        phase: if pace.canary > 0 { Phase::Canary } else { Phase::Going },
        meant,
        sent: 0,
        closed: 0,
        left: 0,
        after: None,
        in_hand: Vec::new(),
        canaries: Vec::new(),
        runs: BTreeMap::new(),
    }))
}

/// Sends the letters that are meant again.
pub async fn begin<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    which: Which,
    pace: Pace,
    stop: &CancellationToken,
    form: Form,
) -> anyhow::Result<Exit> {
    let Some(redrive) = planned(pipeline, which, pace).await? else {
        if form == Form::Text {
            output::line("No open letters");
        }
        return Ok(Exit::Done);
    };
    Drive { pipeline, mode, redrive, form: Some(form), stop, stopped_by: None }.run(pace.wait).await
}

/// Does what was planned or is carried on, without a word: how far it has come is in the store. `stopped_by` is set before
/// `stop` is cancelled where a person stops it.
pub(crate) async fn carry_out<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    redrive: Redrive,
    stop: &CancellationToken,
    stopped_by: &OnceLock<String>,
) -> anyhow::Result<()> {
    Drive { pipeline, mode, redrive, form: None, stop, stopped_by: Some(stopped_by) }.run(false).await.map(drop)
}

/// Carries on what was stopped, or what a process that died has left: `id`, or the one that was begun last.
pub async fn resume<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    id: Option<&str>,
    wait: bool,
    stop: &CancellationToken,
    form: Form,
) -> anyhow::Result<Exit> {
    let redrive = taken_up(pipeline, id).await?;
    Drive { pipeline, mode, redrive, form: Some(form), stop, stopped_by: None }.run(wait).await
}

/// What was stopped, or what a process that died has left, ready to be carried on.
pub(crate) async fn taken_up<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    id: Option<&str>,
) -> anyhow::Result<Redrive> {
    let known = pipeline.store.redrives().await?;
    let found = known.into_iter().find(|it| id.map_or(!it.is_over(), |id| it.id == id));
    let Some(mut redrive) = found else {
        let text = match id {
            Some(id) => format!("there is no retry {id} to carry on"),
            None => "there is no retry to carry on: all that were begun have come to their end".to_owned(),
        };
        return Err(UsageError::new(text).into());
    };
    match redrive.phase {
        Phase::Stopped { unproven: true, .. } => redrive.phase = Phase::Canary,
        // Whoever carries on after a failed canary has seen it.
        Phase::Stopped { unproven: false, .. } => {
            redrive.phase = Phase::Going;
            redrive.canaries.clear();
        }
        Phase::Canary | Phase::Going | Phase::Done => {}
    }
    Ok(redrive)
}

/// What came of the commands of a retry so far: how many had which outcome, and how many are under way.
pub(crate) async fn so_far<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    redrive: &Redrive,
) -> anyhow::Result<(BTreeMap<&'static str, u32>, i64)> {
    let (mut outcomes, mut in_flight) = (BTreeMap::new(), 0);
    for (name, run) in &redrive.runs {
        let Some(run) = pipeline.store.run(name, run).await? else { continue };
        in_flight += run.commands_in_flight().max(0);
        run.commands.iter().for_each(|(outcome, count)| *outcomes.entry(outcome.as_str()).or_default() += count);
    }
    Ok((outcomes, in_flight))
}

/// A retry of many letters under way in this process.
struct Drive<'d, B, S> {
    pipeline: &'d Pipeline<B, S>,
    mode: &'d Mode,
    redrive: Redrive,
    /// How it is told; `None`: nobody listens.
    form: Option<Form>,
    stop: &'d CancellationToken,
    /// Who stopped it, once somebody has; `None`: it is whoever runs this command.
    stopped_by: Option<&'d OnceLock<String>>,
}

impl<B: Broker, S: Store> Drive<'_, B, S> {
    async fn run(mut self, wait: bool) -> anyhow::Result<Exit> {
        let bar = sync::bar(self.form.unwrap_or(Form::Json));
        bar.set_length(self.redrive.meant);
        self.save().await?;
        // What a process that died had in hand goes first, under the numbers that it was given.
        self.send().await?;
        let mut letters = Letters::of(self.pipeline, &self.redrive.which, self.redrive.after.clone()).await?;
        let (mut began, mut dealt) = (Instant::now(), 0);
        loop {
            bar.set_position(self.redrive.dealt_with());
            bar.set_message(format!("retry {}", self.redrive.id));
            if self.stop.is_cancelled() {
                let unproven = self.redrive.phase == Phase::Canary;
                self.end(Phase::Stopped { why: self.why_it_stops(), unproven }).await?;
                break;
            }
            if self.redrive.phase == Phase::Canary && self.canaries_are_sent() {
                if let Some(stopped) = self.await_canaries().await? {
                    self.end(stopped).await?;
                    break;
                }
                self.redrive.phase = Phase::Going;
                self.save().await?;
                // The wait for the canaries is no time in which others could have been sent.
                (began, dealt) = (Instant::now(), 0);
                continue;
            }
            let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let due = self.redrive.due(elapsed, dealt, AT_ONCE);
            if due == 0 {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = self.stop.cancelled() => {}
                }
                continue;
            }
            let batch = letters.take(self.pipeline, due).await?;
            if batch.is_empty() {
                if self.redrive.phase == Phase::Canary {
                    // There are no more than the canaries.
                    self.redrive.canary = u32::try_from(self.redrive.dealt_with()).unwrap_or(u32::MAX);
                    if self.redrive.canary > 0 {
                        continue;
                    }
                }
                self.close_books().await?;
                self.end(Phase::Done).await?;
                break;
            }
            dealt += batch.len() as u64;
            self.take_up(&batch).await?;
            self.send().await?;
        }
        bar.finish_and_clear();
        if wait && self.redrive.phase == Phase::Done {
            self.await_outcomes().await?;
        }
        self.report().await
    }

    fn why_it_stops(&self) -> String {
        match self.stopped_by.map(OnceLock::get) {
            None => format!("stopped by {}", operator()),
            Some(Some(by)) => format!("stopped by {by}"),
            Some(None) => "the console that carried it out has ended".to_owned(),
        }
    }

    fn canaries_are_sent(&self) -> bool {
        self.redrive.dealt_with() >= u64::from(self.redrive.canary)
    }

    /// Notes how far it has come. Nobody else may carry on the same retry at the same time.
    async fn save(&mut self) -> anyhow::Result<()> {
        self.redrive.revision += 1;
        self.redrive.saved_at = now();
        if self.pipeline.store.save_redrive(&self.redrive).await? {
            return Ok(());
        }
        anyhow::bail!("somebody else carries on retry {}", self.redrive.id)
    }

    async fn end(&mut self, phase: Phase) -> anyhow::Result<()> {
        self.redrive.phase = phase;
        self.save().await
    }

    /// Notes what is sent next, each command with the number that it is counted under.
    async fn take_up(&mut self, batch: &[DeadLetter]) -> anyhow::Result<()> {
        let mut by_connection = BTreeMap::<ConnectionName, u32>::new();
        for letter in batch {
            if let Some(name) = self.asks_a_writer(letter) {
                *by_connection.entry(name).or_default() += 1;
            }
        }
        let mut runs: Runs = self.redrive.runs.clone();
        let mut next = BTreeMap::<ConnectionName, Cause>::new();
        for (name, count) in by_connection {
            let first = reserve(self.pipeline, &name, count, &mut runs).await?;
            next.insert(name, first);
        }
        let in_hand = batch.iter().map(|letter| {
            let counted = self.asks_a_writer(letter).and_then(|name| {
                let cause = next.get_mut(&name)?;
                let own = cause.clone();
                cause.number += 1;
                Some((name, own))
            });
            InHand { place: letter.place(), failures: letter.failures, counted }
        });
        self.redrive.in_hand = in_hand.collect();
        self.redrive.runs = runs;
        self.save().await?;
        hit("dead.noted");
        Ok(())
    }

    /// The connection whose writer is asked for this letter.
    fn asks_a_writer(&self, letter: &DeadLetter) -> Option<ConnectionName> {
        let is_command = matches!(letter.content, LetterContent::Command { .. });
        let (name, ..) = letter.id.link().filter(|_| is_command)?;
        self.pipeline.connections.contains_key(&name).then_some(name)
    }

    /// Sends what is in hand, and notes that it was sent.
    async fn send(&mut self) -> anyhow::Result<()> {
        if self.redrive.in_hand.is_empty() {
            return Ok(());
        }
        let mut orders = BTreeMap::<ConnectionName, Vec<Order>>::new();
        let mut sent: Vec<(LetterId, Sent)> = Vec::new();
        for held in &self.redrive.in_hand {
            let id = &held.place.id;
            let letter = match find(self.pipeline, id.as_str()).await {
                Ok(letter) => Some(letter),
                Err(error) if error.is::<UsageError>() => None,
                Err(error) => return Err(error),
            };
            let open = letter.is_some();
            let of_link = held.counted.as_ref().zip(id.link());
            let target = match (&letter, of_link) {
                (Some(letter), _) => match without_command(self.pipeline, letter).await {
                    Ok(Ok(done)) => {
                        sent.push((id.clone(), done));
                        None
                    }
                    Ok(Err(target)) => Some(target),
                    Err(error) => {
                        sent.push((id.clone(), Sent::Left(format!("{error:#}"))));
                        None
                    }
                },
                // Closed by now; but its command may have been counted before a crash, and is owed then.
                (None, Some((_, target))) => Some(target),
                (None, None) => {
                    sent.push((id.clone(), Sent::Closed));
                    None
                }
            };
            if let (Some((name, side, link)), Some((_, cause))) = (target, &held.counted) {
                let letter = LetterId::of_link(&name, side, link);
                let (is_open, cause) = (open, cause.clone());
                orders.entry(name).or_default().push(Order { letter, side, link, cause, is_open });
            }
        }
        for (name, orders) in orders {
            sent.extend(send_sides(self.pipeline, &name, orders).await?);
        }
        hit("dead.sent");
        for (id, sent) in &sent {
            match sent {
                Sent::Left(_) => self.redrive.left += 1,
                Sent::Closed => self.redrive.closed += 1,
                Sent::Asked | Sent::Reread | Sent::Relinked | Sent::Requeued => self.redrive.sent += 1,
            }
            if let Some(form) = self.form
                && (form == Form::Json || self.redrive.meant <= TOLD || matches!(sent, Sent::Left(_)))
            {
                tell(id, sent, form);
            }
        }
        let in_hand = std::mem::take(&mut self.redrive.in_hand);
        self.redrive.after = in_hand.iter().map(|held| held.place.clone()).max().max(self.redrive.after.take());
        if self.redrive.phase == Phase::Canary {
            // Of the others it is known at once what came of them.
            let asked: BTreeSet<_> =
                sent.iter().filter_map(|(id, sent)| matches!(sent, Sent::Asked | Sent::Reread).then_some(id)).collect();
            self.redrive.canaries.extend(in_hand.into_iter().filter(|held| asked.contains(&held.place.id)));
        }
        self.save().await
    }

    /// Waits until the outcome of the canaries is known; how it stops, if it is better not to go on.
    async fn await_canaries(&mut self) -> anyhow::Result<Option<Phase>> {
        let stopped = |why: String, unproven: bool| Ok(Some(Phase::Stopped { why, unproven }));
        let began = Instant::now();
        let mut noted = began;
        loop {
            let (mut open, mut failed) = (0, Vec::new());
            for canary in &self.redrive.canaries {
                match find(self.pipeline, canary.place.id.as_str()).await {
                    Ok(letter) if letter.failures > canary.failures => failed.push(letter),
                    Ok(_) if self.is_in_flight(canary).await? => open += 1,
                    // Held, say: a person decides, and the others are no worse.
                    Ok(_) => {}
                    Err(error) if error.is::<UsageError>() => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(first) = failed.first() {
                let of = self.redrive.canaries.len();
                let why = format!("{} of the first {of} failed again: {}: {}", failed.len(), first.id, first.message);
                return stopped(why, false);
            }
            if open == 0 {
                return Ok(None);
            }
            let missing = missing(&self.pipeline.store).await?;
            if let Some(how) = how_to_start(&missing, self.mode).into_iter().next() {
                return stopped(format!("nobody works on the first {open}. {how}"), true);
            }
            if began.elapsed() > PATIENCE {
                let of = self.redrive.canaries.len();
                return stopped(format!("{open} of the first {of} have no outcome yet"), true);
            }
            if noted.elapsed() > HEARTBEAT {
                self.save().await?;
                noted = Instant::now();
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.stop.cancelled() => return stopped(self.why_it_stops(), true),
            }
        }
    }

    /// Whether it is still open what comes of a letter that was sent.
    async fn is_in_flight(&self, held: &InHand) -> anyhow::Result<bool> {
        // Of an account that is read again, nobody counts anything: its letter closes, or fails again.
        let Some((name, cause)) = &held.counted else { return Ok(true) };
        let run = self.pipeline.store.run(name, &cause.run).await?;
        Ok(run.is_some_and(|run| run.commands_in_flight() > 0))
    }

    /// Numbers that a process took and died before noting them will never be used.
    async fn close_books(&self) -> anyhow::Result<()> {
        for (name, run) in &self.redrive.runs {
            let read = self.pipeline.store.run(name, run).await?.map_or(0, |run| run.read);
            self.pipeline.store.abandon(name, run, (0, read)).await?;
        }
        Ok(())
    }

    async fn await_outcomes(&self) -> anyhow::Result<()> {
        for (name, run) in &self.redrive.runs {
            while self.pipeline.store.run(name, run).await?.is_some_and(|run| !run.is_over()) {
                if !how_to_start(&missing(&self.pipeline.store).await?, self.mode).is_empty() {
                    return Ok(());
                }
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = self.stop.cancelled() => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Says what came of it so far.
    async fn report(&self) -> anyhow::Result<Exit> {
        let redrive = &self.redrive;
        let (outcomes, in_flight) = so_far(self.pipeline, redrive).await?;
        let joined = if self.form.is_some() { self.opened_since().await? } else { 0 };
        for (what, count) in [("sent", redrive.sent), ("closed", redrive.closed), ("left", redrive.left)] {
            audit::count(what, count);
        }
        if self.form == Some(Form::Json) {
            output::object(&serde_json::json!({
                "retry": redrive.id, "by": redrive.by, "began_at": redrive.began_at, "state": redrive.phase,
                "meant": redrive.meant, "sent": redrive.sent, "closed": redrive.closed, "left": redrive.left,
                "outcomes": outcomes, "in_flight": in_flight, "opened_since": joined, "runs": redrive.runs,
            }));
        } else if self.form == Some(Form::Text) {
            let mut parts = vec![format!("{} of {} sent", redrive.sent, redrive.meant)];
            if redrive.closed > 0 {
                parts.push(format!("{} closed, since nothing is lacking any more", redrive.closed));
            }
            if redrive.left > 0 {
                parts.push(format!("{} cannot be sent", redrive.left));
            }
            output::line(format!("Retry {}: {}", redrive.id, parts.join(", ")));
            let mut told: Vec<_> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            if in_flight > 0 {
                told.push(format!("{in_flight} under way"));
            }
            if !told.is_empty() {
                output::line(format!("So far: {}", told.join(", ")));
            }
            if joined > 0 {
                let letters = output::count(usize::try_from(joined).unwrap_or(usize::MAX), "new letter");
                output::line(format!("{letters} of the same kind opened since it began; they were not sent"));
            }
            if let Phase::Stopped { why, .. } = &redrive.phase {
                output::line(format!("Stopped: {why}"));
                output::line(format!("Carry on with `muster dead retry --resume {}`", redrive.id));
            }
            how_to_start(&missing(&self.pipeline.store).await?, self.mode).into_iter().for_each(output::line);
        }
        let failed_again = outcomes.contains_key(CommandOutcome::Dead.as_str());
        let is_done = redrive.phase == Phase::Done && redrive.left == 0 && !failed_again;
        Ok(if is_done { Exit::Done } else { Exit::Attention })
    }

    /// Letters of the same kind that were opened since it began.
    async fn opened_since(&self) -> anyhow::Result<u64> {
        let Which::Fitting(filter) = &self.redrive.which else { return Ok(0) };
        let since = Some(self.redrive.began_at);
        let until: Option<Timestamp> = None;
        let new = LetterFilter { since, until, ..filter.clone() };
        Ok(groups(self.pipeline, &new).await?.iter().map(|group| group.letters).sum())
    }
}

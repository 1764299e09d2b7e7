//! Acts carried out: each by the function that the command line calls for it.

use std::collections::BTreeSet;

use super::act::{Act, GiveBack, ItemOutcome, Outcome, SyncNow};
use super::letters::LettersMeant;
use super::operations::Over;
use crate::broker::Broker;
use crate::domain::audit::{self as audited, About, Verb};
use crate::domain::hold::Verdict;
use crate::domain::redrive::Which;
use crate::ops::audit::{self, Ended, Who};
use crate::ops::dead::{self, Grounds};
use crate::ops::held::{self, Decision};
use crate::ops::sync::UsageError;
use crate::ops::worker::{how_to_start, missing};
use crate::ops::{conflicts, pause, sync};
use crate::store::Store;

/// Of many things that were meant, so many are told one by one.
const TOLD: usize = 100;

impl<B: Broker, S: Store> Over<B, S> {
    /// The act as it is meant now, if it can be understood; nothing is changed.
    pub(super) async fn fix_act(&self, mut act: Act) -> anyhow::Result<Act> {
        match &mut act {
            Act::Retry { meant, .. } => *meant = self.fix_letters(meant).await?,
            Act::Discard { meant, reason, text } => {
                Grounds { reason: *reason, text: text.clone() }.check()?;
                *meant = self.fix_letters(meant).await?;
            }
            Act::DecideHeld { meant, verdict } => {
                let (items, _) = held::meant(&self.pipeline, &meant.decision()?, *verdict).await?;
                if items.is_empty() {
                    return Err(UsageError::new("nothing of it is held".to_owned()).into());
                }
                meant.writes = items.iter().map(|item| item.key().to_string()).collect();
            }
            Act::GiveBack { ask } => {
                for conflict in &ask.conflicts {
                    conflicts::find(&self.pipeline, conflict).await?;
                }
            }
            Act::ImportLinks { ask } => drop(self.import(ask, true).await?),
            Act::Sync { ask } => sync::kind_of(&self.pipeline, &ask.connection, &ask.ask()).map(drop)?,
            Act::Pause { connection } | Act::Resume { connection } => {
                pause::target(&self.pipeline, connection.clone()).map(drop)?;
            }
            Act::StopRetry { .. } | Act::ResumeRetry { .. } => {}
        }
        Ok(act)
    }

    /// Letters that are there now: by their ids where an account was named, else with a filter that ends now.
    async fn fix_letters(&self, meant: &LettersMeant) -> anyhow::Result<LettersMeant> {
        match meant.parse()?.which(&self.pipeline).await? {
            Which::Letters(ids) if ids.is_empty() => Err(UsageError::new("there is no such letter".to_owned()).into()),
            Which::Letters(ids) => {
                let letters = ids.iter().map(ToString::to_string).collect();
                Ok(LettersMeant { letters, ..LettersMeant::default() })
            }
            Which::Fitting(_) => Ok(LettersMeant { filter: meant.filter.as_of(super::now())?, ..meant.clone() }),
        }
    }

    /// Does an act in the name of a person.
    pub(super) async fn do_act(&self, act: &Act, by: &str) -> anyhow::Result<Outcome> {
        // What it is about is in the log of acts, which leaves out what may be an address.
        tracing::info!(act = act.name(), by, "Begins {} for {by}", act.name());
        // What cannot be kept is refused before it is noted.
        if let Act::Discard { reason, text, .. } = act {
            Grounds { reason: *reason, text: text.clone() }.check()?;
        }
        match act {
            // What goes on in the background is noted there.
            Act::Retry { meant, canary, rate } => self.begin_retry(act, (meant, *canary, *rate), by).await,
            Act::ResumeRetry { id } => self.resume_retry(act, id, by).await,
            _ => audit::recorded(&self.pipeline, &Who::with_token(by), act.noted(), self.carry_out(act)).await,
        }
    }

    async fn carry_out(&self, act: &Act) -> anyhow::Result<Outcome> {
        match act {
            Act::Retry { .. } | Act::ResumeRetry { .. } => anyhow::bail!("a retry goes on in the background"),
            Act::StopRetry { id } => self.stop_retry(id).await,
            Act::Discard { meant, reason, text } => {
                let which = meant.parse()?.which(&self.pipeline).await?;
                let mut items = Vec::new();
                let grounds = Grounds { reason: *reason, text: text.clone() };
                let closed = dead::close(&self.pipeline, &which, &grounds, |letter, text| {
                    if items.len() < TOLD {
                        items.push(ItemOutcome { subject: letter.id.to_string(), done: true, text: text.to_owned() });
                    }
                })
                .await?;
                let letters = crate::ops::output::count(closed, "letter");
                Ok(Outcome::done(format!("{letters} closed as {reason}")).with_items(items))
            }
            Act::DecideHeld { meant, verdict } => self.decide_held(meant, *verdict).await,
            Act::GiveBack { ask } => self.give_back(ask).await,
            Act::ImportLinks { ask } => {
                let imported = self.import(ask, false).await?;
                let count = |outcome: &str| imported.counts.get(outcome).copied().unwrap_or_default();
                let text = format!(
                    "{} linked, {} linked already, {} refused, {} skipped",
                    count("linked"),
                    count("already_linked"),
                    count("refused"),
                    count("skipped")
                );
                let items = imported.lines.into_iter().filter(|line| line.outcome == "refused").take(TOLD);
                let item = |line: super::links::ImportedLine| ItemOutcome {
                    subject: format!("line {}", line.line),
                    done: false,
                    text: line.reason.unwrap_or(line.outcome),
                };
                Ok(Outcome::done(text).with_items(items.map(item).collect()))
            }
            Act::Pause { connection } => {
                pause::stop_writes(&self.pipeline, connection.clone()).await?;
                let deadline = crate::ops::output::duration(self.pipeline.settings.deadline);
                let what = pause::what(connection.as_ref());
                Ok(Outcome::done(format!(
                    "No write of {what} begins any more; one that was under way may still land within {deadline}"
                )))
            }
            Act::Resume { connection } => {
                let what = pause::what(connection.as_ref());
                Ok(Outcome::done(match pause::let_write(&self.pipeline, connection.clone()).await? {
                    true => format!("Writes of {what} go on; what waited looks again within 30 s"),
                    false => format!("{what} was not paused by itself"),
                }))
            }
            Act::Sync { ask } => {
                let (request, _) = sync::request(&self.pipeline, &ask.connection, &ask.ask()).await?;
                let mut outcome = Outcome::done(format!("Asked for run {} of {}", request.run, ask.connection));
                outcome.run = Some(request.run.to_string());
                outcome.next = self.how_to_start().await?;
                Ok(outcome)
            }
        }
    }

    /// What to start so that something happens, if nobody works.
    pub(super) async fn how_to_start(&self) -> anyhow::Result<Vec<String>> {
        Ok(how_to_start(&missing(&self.pipeline.store).await?, &self.mode))
    }

    async fn decide_held(&self, meant: &super::act::HeldMeant, verdict: Verdict) -> anyhow::Result<Outcome> {
        let decision = meant.decision()?;
        let (items, left) = held::meant(&self.pipeline, &decision, verdict).await?;
        held::carry_out(&self.pipeline, &items, verdict).await?;
        let found: BTreeSet<_> = items.iter().chain(left.iter().map(|(item, _)| item)).map(held::Item::key).collect();
        let gone = decision.filter.writes.iter().filter(|key| !found.contains(key)).map(|key| ItemOutcome {
            subject: key.to_string(),
            done: false,
            text: "left as it is, it is not held any more as it was shown".to_owned(),
        });
        let (word, follows) = match verdict {
            Verdict::Approved => ("approved", "the writers write what still has the value that was shown"),
            Verdict::Rejected => ("rejected", "nothing of it is written until the source changes the value"),
        };
        let path = |item: &held::Item| item.path.as_ref().map_or("account".to_owned(), ToString::to_string);
        let done = items.iter().map(|item| ItemOutcome {
            subject: format!("{} {}", item.name(), path(item)),
            done: true,
            text: word.to_owned(),
        });
        let left = left.iter().map(|(item, reason)| ItemOutcome {
            subject: format!("{} {}", item.name(), path(item)),
            done: false,
            text: format!("left as it is, {reason}"),
        });
        let writes = crate::ops::output::count(items.len(), "held write");
        let outcome = Outcome::done(format!("{writes} {word}; {follows}"));
        let mut outcome = outcome.with_items(gone.chain(left).chain(done).take(TOLD).collect());
        if verdict == Verdict::Approved {
            outcome.next = self.how_to_start().await?;
        }
        Ok(outcome)
    }

    async fn give_back(&self, ask: &GiveBack) -> anyhow::Result<Outcome> {
        let mut found = Vec::new();
        for conflict in &ask.conflicts {
            found.push(conflicts::find(&self.pipeline, conflict).await?);
        }
        let how = conflicts::give_back::Ask { pin: ask.pin, force: ask.force, offline: false };
        let (mut items, mut given) = (Vec::new(), 0);
        for conflict in &found {
            let (done, text) = match conflicts::give_back::one(&self.pipeline, conflict, &how).await? {
                conflicts::give_back::Done::Refused(why) => (false, format!("not given back: {why}")),
                conflicts::give_back::Done::Given { writes, .. } => {
                    given += 1;
                    (true, conflicts::give_back::given_text(conflict, writes, &how))
                }
            };
            items.push(ItemOutcome { subject: conflict.name(), done, text });
        }
        audit::count("given_back", given as u64);
        audit::count("refused", (found.len() - given) as u64);
        let values = crate::ops::output::count(given, "value");
        let mut outcome = Outcome::done(format!("{values} given back")).with_items(items);
        outcome.next = self.how_to_start().await?;
        Ok(outcome)
    }
}

impl Ended for Outcome {
    fn outcome(&self) -> audited::Outcome {
        if self.state == "partly" { audited::Outcome::Attention } else { audited::Outcome::Done }
    }
}

impl Act {
    /// The act as the log of acts has it.
    pub(super) fn noted(&self) -> audited::Act {
        let of = |connection: &Option<crate::domain::ConnectionName>| About::connection(connection.as_ref());
        match self {
            Self::Retry { meant, canary, rate } => {
                let about = meant.about().option("canary", Some(*canary).filter(|canary| *canary > 0));
                audited::Act::new(Verb::DeadRetry, about.option("rate", *rate))
            }
            Self::ResumeRetry { id } => {
                audited::Act::new(Verb::DeadRetry, About::default().ids([id]).flag("resume", true))
            }
            Self::StopRetry { id } => audited::Act::new(Verb::DeadRetry, About::default().ids([id]).flag("stop", true)),
            Self::Discard { meant, reason, text } => {
                let why = audited::Why { reason: Some(reason.to_string()), text: text.clone() };
                audited::Act { verb: Verb::DeadDiscard, about: meant.about(), why }
            }
            Self::DecideHeld { meant, verdict } => {
                let about = of(&meant.connection).accounts(&meant.accounts).ids(&meant.writes);
                let about = about.option("risk", meant.risk).flag("rejected", meant.rejected);
                let verb = if *verdict == Verdict::Approved { Verb::HeldApprove } else { Verb::HeldReject };
                audited::Act::new(verb, about.flag("all", meant.all))
            }
            Self::GiveBack { ask: GiveBack { conflicts, pin, force } } => {
                let about = About::default().ids(conflicts).flag("pin", *pin).flag("force", *force);
                audited::Act::new(Verb::ConflictsGiveBack, about)
            }
            Self::ImportLinks { ask } => {
                let about = About::connection(Some(&ask.connection)).flag("check", ask.check);
                audited::Act::new(Verb::LinksImport, about)
            }
            Self::Pause { connection } => {
                audited::Act::new(Verb::Pause, of(connection).flag("all", connection.is_none()))
            }
            Self::Resume { connection } => {
                audited::Act::new(Verb::Resume, of(connection).flag("all", connection.is_none()))
            }
            Self::Sync { ask: SyncNow { connection, full, only } } => {
                let about = About::connection(Some(connection)).accounts(only).flag("full", *full);
                audited::Act::new(Verb::Sync, about)
            }
        }
    }
}

impl LettersMeant {
    /// What is meant, as the log of acts names it.
    fn about(&self) -> About {
        let about = About::default().ids(&self.letters).flag("all", self.all);
        self.filter.fields().into_iter().fold(about, |about, (name, value)| match name {
            "account" => about.accounts([value]),
            _ => about.option(name, Some(value)),
        })
    }
}

impl SyncNow {
    fn ask(&self) -> sync::Ask {
        sync::Ask { only: self.only.clone().filter(|only| !only.is_empty()), full: self.full, wait: false }
    }
}

impl super::act::HeldMeant {
    /// As the command line has it.
    pub(super) fn decision(&self) -> Result<Decision, UsageError> {
        let Self { accounts, writes, connection, risk, rejected, all } = self.clone();
        let key = |text: &String| text.parse().map_err(|error| UsageError::new(format!("`{text}`: {error}")));
        let writes = writes.iter().map(key).collect::<Result<_, UsageError>>()?;
        Ok(Decision { filter: held::Filter { connection, risk, accounts, writes, rejected }, all, sure: true })
    }
}

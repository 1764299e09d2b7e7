//! Acts: everything that changes something. Pages and API make them; one function looks whether they are allowed, whether
//! they wait for a second person, and has them done and audited.

use std::sync::Arc;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Console;
use super::access::Person;
use super::approvals::ApprovalPage;
use super::letters::LettersMeant;
use super::problem::Problem;
use crate::config::{ActKind, Role};
use crate::domain::ConnectionName;
use crate::domain::audit::by_both;
use crate::domain::dead_letter::DiscardReason;
use crate::domain::guard::Risk;
use crate::domain::hold::Verdict;

/// Things that an act is about of which whoever is to approve it is told, at most.
const PARTS: usize = 500;

/// An act.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Sends letters again.
    Retry {
        /// Which.
        meant: LettersMeant,
        /// So many first, and the others only once none of them failed again; 0: no such caution.
        canary: u32,
        /// Letters a second at most.
        rate: Option<u32>,
    },
    /// Stops a retry that is under way.
    StopRetry {
        /// Its name.
        id: String,
    },
    /// Carries a stopped retry on.
    ResumeRetry {
        /// Its name.
        id: String,
    },
    /// Closes letters for good.
    Discard {
        /// Which.
        meant: LettersMeant,
        /// Why.
        reason: DiscardReason,
        /// What else there is to say.
        text: Option<String>,
    },
    /// Decides about held writes.
    DecideHeld {
        /// Which.
        meant: HeldMeant,
        /// Whether they may pass.
        verdict: Verdict,
    },
    /// Gives values back that lost.
    GiveBack {
        /// Which.
        ask: GiveBack,
    },
    /// Links the pairs of a CSV file.
    ImportLinks {
        /// What.
        ask: ImportLinks,
    },
    /// Stops every write.
    Pause {
        /// The connection; `None`: all.
        connection: Option<ConnectionName>,
    },
    /// Lets writes go on.
    Resume {
        /// The connection; `None`: all that were paused together.
        connection: Option<ConnectionName>,
    },
    /// Asks for a run.
    Sync {
        /// What.
        ask: SyncNow,
    },
}

/// Which held writes are meant: those that fit everything that is given, or all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeldMeant {
    /// Only those of these accounts, as `<system>:<id>`.
    pub accounts: Vec<String>,
    /// Only these writes, each as `write` of the list of held writes names it. One that changed since is left as it is.
    pub writes: Vec<String>,
    /// Only those of this connection.
    #[schemars(with = "Option<String>")]
    pub connection: Option<ConnectionName>,
    /// Only those of this kind.
    #[schemars(with = "Option<String>")]
    pub risk: Option<Risk>,
    /// Also what was rejected, or has expired; without it that stays refused, whatever else is named.
    pub rejected: bool,
    /// Everything that the filter leaves, although it names nothing in particular.
    pub all: bool,
}

/// Values that are given back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveBack {
    /// Ids of conflicts.
    pub conflicts: Vec<String>,
    /// Also let the side whose value it was alone count for the attribute.
    #[serde(default)]
    pub pin: bool,
    /// Also where the attribute was changed since.
    #[serde(default)]
    pub force: bool,
}

/// Pairs that are linked.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportLinks {
    /// The connection.
    #[schemars(with = "String")]
    pub connection: ConnectionName,
    /// The pairs, as CSV with a header; see `muster links import --help`.
    pub csv: String,
    /// Ask the systems first whether there are such accounts.
    #[serde(default)]
    pub check: bool,
}

impl std::fmt::Debug for ImportLinks {
    /// Without the file, which may hold anything.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes for {}", self.csv.len(), self.connection)
    }
}

/// A run that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncNow {
    /// The connection.
    #[schemars(with = "String")]
    pub connection: ConnectionName,
    /// Read every account of both sides, not only what changed.
    #[serde(default)]
    pub full: bool,
    /// Only this account, as `<system>:<id>`.
    #[serde(default)]
    pub only: Option<String>,
}

/// What came of an act.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcome {
    /// `done`, `partly` (see the items), or `waits` for a second person.
    pub state: String,
    /// What came of it, for a person.
    pub text: String,
    /// The approval that it waits for.
    pub approval: Option<String>,
    /// The retry that it began.
    pub retry: Option<String>,
    /// The run that it asked for.
    pub run: Option<String>,
    /// What came of each thing that was meant; of many, the first.
    pub items: Vec<ItemOutcome>,
    /// What a person should know or do next.
    pub next: Vec<String>,
}

/// What came of one thing that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ItemOutcome {
    /// What it is about.
    pub subject: String,
    /// Whether it was done.
    pub done: bool,
    /// In words.
    pub text: String,
}

impl Outcome {
    /// It is done.
    pub fn done(text: impl Into<String>) -> Self {
        Self { state: "done".to_owned(), text: text.into(), ..Self::default() }
    }

    /// The same, where some of it was not done.
    pub fn with_items(mut self, items: Vec<ItemOutcome>) -> Self {
        if items.iter().any(|item| !item.done) {
            self.state = "partly".to_owned();
        }
        self.items = items;
        self
    }

    /// Whether it waits for a second person.
    pub fn waits(&self) -> bool {
        self.approval.is_some()
    }
}

impl Act {
    /// What kind it is, for the rule of two persons; `None`: it only stops or carries on what was allowed.
    pub fn kind(&self) -> Option<ActKind> {
        Some(match self {
            Self::Retry { .. } => ActKind::Retry,
            Self::Discard { .. } => ActKind::Discard,
            Self::DecideHeld { verdict: Verdict::Approved, .. } => ActKind::ApproveHeld,
            Self::DecideHeld { verdict: Verdict::Rejected, .. } => ActKind::RejectHeld,
            Self::GiveBack { .. } => ActKind::GiveBack,
            Self::ImportLinks { .. } => ActKind::ImportLinks,
            Self::Pause { .. } => ActKind::Pause,
            Self::Resume { .. } => ActKind::Resume,
            Self::Sync { .. } => ActKind::Sync,
            Self::StopRetry { .. } | Self::ResumeRetry { .. } => return None,
        })
    }

    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StopRetry { .. } => "stop_retry",
            Self::ResumeRetry { .. } => "resume_retry",
            _ => self.kind().map_or("act", ActKind::as_str),
        }
    }

    /// The act as a person tells it, without values.
    pub fn text(&self) -> String {
        let of = |connection: &Option<ConnectionName>| crate::ops::pause::what(connection.as_ref());
        match self {
            Self::Retry { meant, canary, rate } => {
                let canary = if *canary > 0 { format!(", {canary} of them first") } else { String::new() };
                let rate = rate.map(|rate| format!(", at most {rate} a second")).unwrap_or_default();
                format!("send {} again{canary}{rate}", meant.text())
            }
            Self::StopRetry { id } => format!("stop retry {id}"),
            Self::ResumeRetry { id } => format!("carry retry {id} on"),
            Self::Discard { meant, reason, text } => {
                let text = text.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
                format!("close {} for good as {reason}{text}", meant.text())
            }
            Self::DecideHeld { meant, verdict } => {
                let verb = if *verdict == Verdict::Approved { "let pass" } else { "refuse" };
                format!("{verb} {}", meant.text())
            }
            Self::GiveBack { ask: GiveBack { conflicts, pin, force } } => {
                let pin = if *pin { " and pin it" } else { "" };
                let force = if *force { ", also where it was changed since" } else { "" };
                format!("give back {}{pin}{force}", conflicts.join(", "))
            }
            Self::ImportLinks { ask } => {
                format!("link the {} rows of a file on {}", ask.csv.lines().count().saturating_sub(1), ask.connection)
            }
            Self::Pause { connection } => format!("pause {}", of(connection)),
            Self::Resume { connection } => format!("let {} write on", of(connection)),
            Self::Sync { ask: SyncNow { connection, full, only } } => {
                let full = if *full { ", every account" } else { "" };
                let only = only.as_ref().map(|only| format!(", only {only}")).unwrap_or_default();
                format!("sync {connection}{full}{only}")
            }
        }
    }
}

impl HeldMeant {
    /// In words.
    fn text(&self) -> String {
        let mut parts = vec!["held writes".to_owned()];
        parts.extend(self.connection.as_ref().map(|name| format!("of {name}")));
        parts.extend(self.risk.map(|risk| format!("of kind {}", risk.as_str())));
        if !self.accounts.is_empty() {
            parts.push(format!("to {}", self.accounts.join(", ")));
        }
        if !self.writes.is_empty() {
            parts = vec![crate::ops::output::count(self.writes.len(), "held write")];
        }
        if self.rejected {
            parts.push("also rejected ones".to_owned());
        }
        if self.all { format!("all {}", parts.join(" ")) } else { parts.join(" ") }
    }
}

impl Console {
    /// Has an act done in the name of a person, or notes that it waits for another one. Every act of pages and API goes
    /// through here.
    pub async fn act(&self, person: &Person, act: Act) -> Result<Outcome, Problem> {
        person.needs(Role::Operator)?;
        let needs_two = act.kind().is_some_and(|kind| self.two_person.contains(&kind));
        if !needs_two {
            return self.carried_through(act, person.name.clone()).await;
        }
        // What cannot be understood is told now, not to whoever approves it; and they approve what there is now, not what
        // may have joined it by then.
        let act = self.operations.fixed(act).await?;
        let waiting = self.approvals.add(act, &person.name, super::now(), self.approval_expires)?;
        Ok(Outcome {
            state: "waits".to_owned(),
            text: format!("{} waits for approval by another person until {}", waiting.act.text(), waiting.expires_at),
            next: vec![format!("another person with the role approver approves act {}", waiting.id)],
            approval: Some(waiting.id),
            ..Outcome::default()
        })
    }

    /// Approves an act that waits, and has it done.
    pub async fn approve(&self, person: &Person, id: &str) -> Result<Outcome, Problem> {
        person.needs(Role::Approver)?;
        let waiting = self.approvals.decide(id, &person.name, true, super::now())?;
        let by = by_both(&waiting.by, &person.name);
        let approvals = Arc::clone(&self.approvals);
        let noted = move |outcome: &Result<Outcome, Problem>| {
            let told = outcome
                .as_ref()
                .map_or_else(|problem| format!("failed: {}", problem.told.message), |outcome| outcome.text.clone());
            approvals.note(&waiting.id, told);
        };
        self.carried_through_and(waiting.act, by, noted).await
    }

    async fn carried_through(&self, act: Act, by: String) -> Result<Outcome, Problem> {
        self.carried_through_and(act, by, |_| {}).await
    }

    /// Does an act in a task of its own, and what follows from its end: whoever asked may go away, and what was begun comes
    /// to its end.
    async fn carried_through_and(
        &self,
        act: Act,
        by: String,
        then: impl FnOnce(&Result<Outcome, Problem>) + Send + 'static,
    ) -> Result<Outcome, Problem> {
        let operations = Arc::clone(&self.operations);
        let task = async move {
            let outcome = operations.act(&act, &by).await.map_err(Problem::from);
            then(&outcome);
            outcome
        };
        tokio::spawn(task).await.context("the act ended with a defect")?
    }

    /// An act that waits or was decided about, with what it is about.
    pub async fn approval(&self, person: &Person, id: &str) -> Result<ApprovalPage, Problem> {
        person.needs(Role::Operator)?;
        let found = self.approvals.get(id);
        let waiting = found.ok_or_else(|| Problem::not_found(format!("no act {id} waits for approval")))?;
        let mut parts = match waiting.decided {
            None => self.operations.parts(&waiting.act, PARTS + 1).await?,
            // What there is now has nothing to do with it any more.
            Some(_) => Vec::new(),
        };
        let has_more = parts.len() > PARTS;
        parts.truncate(PARTS);
        Ok(ApprovalPage { approval: waiting.shown(super::now()), parts, has_more })
    }

    /// Refuses an act that waits; whoever asked may take it back so.
    pub fn reject(&self, person: &Person, id: &str) -> Result<Outcome, Problem> {
        person.needs(Role::Operator)?;
        let own = self.approvals.asked_by(id).is_some_and(|by| by == person.name);
        if !own {
            person.needs(Role::Approver)?;
        }
        let waiting = self.approvals.decide(id, &person.name, false, super::now())?;
        Ok(Outcome::done(format!("refused to {}; nothing was done", waiting.act.text())))
    }
}

impl Person {
    /// That the person's role allows what needs this one.
    pub fn needs(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role { Ok(()) } else { Err(Problem::forbidden(role, self.role)) }
    }
}

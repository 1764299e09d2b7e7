//! The command line of `muster dead`.

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::discard::Grounds;
use super::export::Format;
use super::redrive::Pace;
use super::select::Fitting;
use super::show::Look;
use super::{discard, export, find, list, preview, rebuild, redrive, retry, show};
use crate::broker::Broker;
use crate::domain::audit::{About, Act, Verb, Why};
use crate::domain::dead_letter::DiscardReason;
use crate::domain::redrive::Which;
use crate::ops::connect::Mode;
use crate::ops::exit::Exit;
use crate::ops::output::Form;
use crate::ops::sync::UsageError;
use crate::ops::worker;
use crate::stages::Pipeline;
use crate::store::Store;

/// What is to be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List open letters, oldest first.
    List {
        /// Which letters.
        #[command(flatten)]
        fitting: Fitting,
        /// One line for each cause: how many, since when, and what to do.
        #[arg(long, conflicts_with = "limit")]
        group: bool,
        /// Letters to show at most: 50, with --json all of them.
        #[arg(long, value_name = "LETTERS")]
        limit: Option<usize>,
    },
    /// Show one letter whole: what happened, every attempt, and what would be sent now.
    Show {
        /// Its id, as `dead list` prints it.
        letter: String,
        /// Show the values too, not only of what kind they are.
        #[arg(long)]
        values: bool,
        /// Ask both systems what they hold now.
        #[arg(long)]
        live: bool,
    },
    /// Tell what would come of sending letters again: applied, already_true, superseded, held, discarded, still_failing or
    /// unknown. Nothing is written; both systems are read.
    Preview {
        /// Which letters.
        #[command(flatten)]
        meant: Meant,
        /// Show the values too, not only of what kind they are.
        #[arg(long)]
        values: bool,
        /// Letters to look at, at most.
        #[arg(long, value_name = "LETTERS")]
        limit: Option<usize>,
    },
    /// Send letters again. What is written is computed anew from today's state.
    ///
    /// With a filter, --all, --canary or --rate, how far it has come is kept: Ctrl-C stops it, and --resume carries it on,
    /// also after a crash.
    Retry {
        /// Which letters.
        #[command(flatten)]
        meant: Meant,
        /// Send so many first, wait for what comes of them, and stop if one fails again.
        #[arg(long, value_name = "LETTERS", default_value_t = 0)]
        canary: u32,
        /// Send so many a second at most.
        #[arg(long, value_name = "LETTERS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: Option<u32>,
        /// Wait until it is known what came of every command, and show the outcomes.
        #[arg(long)]
        wait: bool,
        /// Carry on a retry that was stopped: the last one, or the one of this name.
        #[arg(long, value_name = "RETRY", num_args = 0..=1, default_missing_value = "")]
        resume: Option<String>,
    },
    /// Close letters for good. Nothing is sent until the values or the rules change; `dead retry` takes it back.
    Discard {
        /// Which letters.
        #[command(flatten)]
        meant: Meant,
        /// Why. It is logged, with who did it and when.
        #[arg(long, value_parser = reasons())]
        reason: DiscardReason,
        /// What else there is to say.
        #[arg(long)]
        text: Option<String>,
        /// Do not ask at a terminal.
        #[arg(long, short)]
        yes: bool,
    },
    /// Write open letters to standard output for other programs.
    Export {
        /// Which letters.
        #[command(flatten)]
        fitting: Fitting,
        /// The form.
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
        /// The bytes of messages that cannot be read, too (JSON only).
        #[arg(long)]
        values: bool,
    },
    /// Make the list of open letters anew from the append-only log, after the store was lost.
    Rebuild,
}

/// Which letters are meant: by their ids, by a filter, or all of them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Meant {
    /// Their ids, as `dead list` prints them.
    pub letters: Vec<String>,
    /// A filter.
    #[command(flatten)]
    pub fitting: Fitting,
    /// All open letters.
    #[arg(long, conflicts_with = "letters")]
    pub all: bool,
}

impl Meant {
    /// What is meant. Every id is looked up, so that a mistyped one changes nothing.
    pub(crate) async fn which<B: Broker, S: Store>(&self, pipeline: &Pipeline<B, S>) -> anyhow::Result<Which> {
        self.check()?;
        if self.letters.is_empty() {
            return self.fitting.which(pipeline).await;
        }
        let mut ids = Vec::new();
        for id in &self.letters {
            let id = find(pipeline, id).await?.id;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(Which::Letters(ids))
    }

    /// What is meant, as the log of acts names it.
    fn about(&self) -> About {
        let filter = self.fitting.filter();
        let about = About::connection(filter.connection.as_ref()).accounts(&self.fitting.account).ids(&self.letters);
        about
            .option("target", filter.target)
            .option("class", filter.class)
            .option("code", filter.code)
            .option("attribute", filter.attribute)
            .option("since", filter.since)
            .option("until", filter.until)
            .flag("all", self.all)
    }

    fn check(&self) -> Result<(), UsageError> {
        let text = match (self.letters.is_empty(), self.fitting.is_open(), self.all) {
            (true, true, false) => "name letters as `muster dead list` shows them, or use a filter or --all",
            (false, false, _) => "name letters or use a filter, not both",
            _ => return Ok(()),
        };
        Err(UsageError::new(text.to_owned()))
    }
}

/// The reasons of [`DiscardReason`], each with its meaning.
fn reasons() -> impl TypedValueParser<Value = DiscardReason> {
    let known = DiscardReason::ALL.map(|reason| PossibleValue::new(reason.as_str()).help(reason.meaning()));
    PossibleValuesParser::new(known).map(|word| {
        let known = DiscardReason::ALL.into_iter().find(|reason| reason.as_str() == word);
        known.expect("the parser before has refused every other word")
    })
}

impl Command {
    /// The act that it is, if it changes something.
    pub(in crate::ops) fn act(&self) -> Option<Act> {
        match self {
            Self::List { .. } | Self::Show { .. } | Self::Preview { .. } | Self::Export { .. } => None,
            Self::Retry { meant, canary, rate, wait: _, resume } => {
                let about = meant.about().option("canary", Some(*canary).filter(|canary| *canary > 0));
                let about = about.option("rate", *rate).flag("resume", resume.is_some());
                Some(Act::new(Verb::DeadRetry, about.ids(resume.iter().filter(|id| !id.is_empty()))))
            }
            Self::Discard { meant, reason, text, yes: _ } => {
                let why = Why { reason: Some(reason.to_string()), text: text.clone() };
                Some(Act { verb: Verb::DeadDiscard, about: meant.about(), why })
            }
            Self::Rebuild => Some(Act::new(Verb::DeadRebuild, About::default())),
        }
    }
}

/// Does what was asked.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    command: Command,
    form: Form,
) -> anyhow::Result<Exit> {
    match command {
        Command::List { fitting, group: true, limit: _ } => list::list_groups(pipeline, &fitting, form).await,
        Command::List { fitting, group: false, limit } => list::list(pipeline, &fitting, limit, form).await,
        Command::Show { letter, values, live } => show::show(pipeline, &letter, Look { values, live }, form).await,
        Command::Preview { meant, values, limit } => {
            preview::preview(pipeline, &meant.which(pipeline).await?, values, limit, form).await
        }
        Command::Retry { meant, canary, rate, wait, resume: Some(id) } => {
            if !meant.letters.is_empty() || !meant.fitting.is_open() || meant.all || canary > 0 || rate.is_some() {
                let text = "--resume carries on what was begun, as it was begun: name nothing else";
                return Err(UsageError::new(text.to_owned()).into());
            }
            let id = Some(id.as_str()).filter(|id| !id.is_empty());
            redrive::resume(pipeline, mode, id, wait, &worker::on_signal()?, form).await
        }
        Command::Retry { meant, canary: 0, rate: None, wait: false, resume: None } if !meant.letters.is_empty() => {
            meant.check()?;
            retry::retry(pipeline, mode, &meant.letters, form).await
        }
        Command::Retry { meant, canary, rate, wait, resume: None } => {
            let which = meant.which(pipeline).await?;
            let pace = Pace { canary, rate, wait };
            redrive::begin(pipeline, mode, which, pace, &worker::on_signal()?, form).await
        }
        Command::Discard { meant, reason, text, yes } => {
            let which = meant.which(pipeline).await?;
            discard::discard(pipeline, &which, &Grounds { reason, text }, yes, form).await
        }
        Command::Export { fitting, format, values } => {
            export::export(pipeline, &fitting.which(pipeline).await?, format, values).await
        }
        Command::Rebuild => rebuild::rebuild(pipeline, form).await,
    }
}

//! The command line of `muster audit`.

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::list::{self, Wanted};
use super::verify;
use crate::broker::Broker;
use crate::domain::audit::{End, Verb};
use crate::ops::conflicts::{Since, since};
use crate::ops::exit::Exit;
use crate::ops::output::Form;
use crate::stages::Pipeline;
use crate::store::Store;

/// What is to be done with the log of acts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what people did, the latest first.
    List {
        /// Which.
        #[command(flatten)]
        which: Filter,
        /// Acts to show at most: 50, with --json all of them.
        #[arg(long, value_name = "ACTS")]
        limit: Option<usize>,
    },
    /// Check that no entry was changed, removed or moved. Exit status 1: one was; the first is named.
    ///
    /// Prints where the log ends. Kept elsewhere and given as --end later, it proves that nothing before it was cut off.
    Verify {
        /// An end that was printed earlier: it must still be part of the log.
        #[arg(long, value_name = "END")]
        end: Vec<End>,
        /// Do not read the copies in the broker.
        #[arg(long)]
        store_only: bool,
    },
    /// Write the entries to standard output as they are, one a line, oldest first, each with its hash.
    Export {
        /// Which.
        #[command(flatten)]
        which: Filter,
    },
}

/// Which entries are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filter {
    /// Only what this person or token did.
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Only acts of this kind.
    #[arg(long, value_parser = verbs())]
    verb: Option<Verb>,
    /// Only those since then: so long ago ("30m", "12h", "7d"), or a time ("2026-03-01T12:00:00Z").
    #[arg(long, value_parser = since)]
    since: Option<Since>,
    /// Only those before then, written likewise.
    #[arg(long, value_parser = since)]
    until: Option<Since>,
}

impl Filter {
    /// The filter, in the store's time.
    async fn wanted<S: Store>(self, store: &S) -> anyhow::Result<Wanted> {
        let now = store.acts_ends().await?.now;
        let Self { by, verb, since, until } = self;
        let time = |time: Option<Since>| time.map(|time| time.before(now));
        Ok(Wanted { by, verb, since: time(since), until: time(until) })
    }
}

fn verbs() -> impl TypedValueParser<Value = Verb> {
    PossibleValuesParser::new(Verb::ALL.map(Verb::as_str)).map(|word| {
        let known = Verb::ALL.into_iter().find(|verb| verb.as_str() == word);
        known.expect("the parser before has refused every other word")
    })
}

/// Does it.
pub async fn run<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, command: Command, form: Form) -> anyhow::Result<Exit> {
    match command {
        Command::List { which, limit } => {
            let wanted = which.wanted(&pipeline.store).await?;
            list::list(&pipeline.store, &wanted, limit, form).await
        }
        Command::Verify { end, store_only } => verify::run(pipeline, &end, store_only, form).await,
        Command::Export { which } => {
            let wanted = which.wanted(&pipeline.store).await?;
            list::export(&pipeline.store, &wanted).await
        }
    }
}

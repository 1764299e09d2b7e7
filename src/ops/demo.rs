//! `muster demo`: the whole of Muster in half a minute, with no configuration, no server and no network. Two imitated
//! systems run in this process, and the real stages work between them over a file of their own; a story of edits, an
//! outage and a refusal is played, and at its end everything that was shown is checked against what the systems hold.
//!
//! It is the one subject of the command line that knows the sandbox.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::output::{self, Form};
use super::worker::{self, Role};
use crate::broker::Broker as _;
use crate::domain::CommandOutcome;

mod evidence;
mod scene;
mod story;
mod teller;

use evidence::Check;
use scene::Scene;
use story::Story;
use teller::Teller;

/// The fewest people that the story can be told of.
pub const FEWEST_USERS: u32 = 20;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// People in the CRM.
    pub users: u32,
    /// Whether everything stays up afterwards, until `stop`.
    pub keep: bool,
}

/// Plays the story and checks it.
///
/// # Errors
/// If it was stopped, or something failed that the story does not expect. A failed check is no error but
/// [`Exit::Failed`].
pub async fn run(options: Options, stop: CancellationToken, form: Form) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let mut teller = Teller::new(form);
    teller.open(options.users);
    let scene = Scene::set(usize::try_from(options.users)?).await?;
    scene.database.lead().await?;
    let own = CancellationToken::new();
    let mut working = tokio::spawn({
        let (pipeline, own) = (scene.pipeline.clone(), own.clone());
        async move { worker::stages(&Role::ALL, &pipeline, &own).await }
    });
    let mut story = Story::new(&scene, &mut teller, form);
    let played = tokio::select! {
        played = story.play() => played,
        () = stop.cancelled() => Err(anyhow!("stopped before the end of the demo")),
        ended = &mut working => return Err(early_end(ended)),
    };
    let exit = match played {
        Ok(checks) => {
            let exit = if checks.iter().all(|check| check.passed) { Exit::Done } else { Exit::Failed };
            match form {
                Form::Json => output::object(&summary(&scene, &story, &checks, began.elapsed(), options)),
                Form::Text => teller.close(&checks, began.elapsed()),
            }
            if options.keep {
                if form == Form::Text {
                    teller.keep(&scene);
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    ended = &mut working => return Err(early_end(ended)),
                }
            }
            Ok(exit)
        }
        Err(error) => Err(error),
    };
    own.cancel();
    working.await??;
    scene.pipeline.broker.close().await;
    exit
}

/// Why the stages ended although nobody had asked them to.
fn early_end(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => anyhow!("the stages ended unasked"),
        Err(error) => anyhow::Error::from(error).context("the stages ended with a defect"),
    }
}

/// The one object of `--json`.
fn summary(scene: &Scene, story: &Story<'_>, checks: &[Check], took: Duration, options: Options) -> Value {
    let runs: Vec<_> = story
        .evidence
        .runs
        .iter()
        .map(|run| {
            let commands = CommandOutcome::ALL.iter().map(|outcome| (outcome.as_str(), run.commands(*outcome)));
            json!({
                "run": run.id, "kind": run.kind, "read": run.read, "emitted": run.emitted,
                "commands": commands.collect::<std::collections::BTreeMap<_, _>>(),
            })
        })
        .collect();
    let evidence = &story.evidence;
    let mut summary = json!({
        "passed": checks.iter().all(|check| check.passed),
        "seconds": took.as_secs_f64(),
        "users": options.users,
        "in_scope": evidence.in_scope().len(),
        "accounts": evidence.accounts.len(),
        "writes": evidence.writes.len(),
        "applied": evidence.applied(),
        "outage": evidence.outage,
        "letter": evidence.letter,
        "writes_of_the_full_sync": evidence.idle_writes,
        "runs": runs,
        "checks": checks,
    });
    if options.keep {
        summary["kept"] = json!({
            "config": scene.config(), "environment": Scene::environment(), "admin": scene.admin_url(),
            "crm": scene.sandbox.salesforce_url(), "directory": scene.sandbox.scim_url(),
        });
    }
    summary
}

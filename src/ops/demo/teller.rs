//! How the story is told: with headings, colours and hints to those who watch at a terminal, in one line a step
//! elsewhere, and not at all where one JSON object is asked for.

use std::io::IsTerminal as _;
use std::time::Duration;

use console::style;

use super::evidence::Check;
use super::scene::{CONNECTION, Scene};
use crate::ops::output::{self, Form};

/// See the module.
pub struct Teller {
    form: Form,
    /// Whether somebody watches.
    watched: bool,
    step: u32,
    title: &'static str,
}

impl Teller {
    /// One for this kind of output.
    pub fn new(form: Form) -> Self {
        Self { form, watched: std::io::stdout().is_terminal(), step: 0, title: "" }
    }

    fn is_watched(&self) -> bool {
        self.form == Form::Text && self.watched
    }

    /// What is about to be seen.
    pub fn open(&self, users: u32) {
        if self.is_watched() {
            output::line(style("Muster demo").bold());
            output::line(format!(
                "{users} people in a CRM, an empty directory, and an outage. Both systems are imitated in this process; what \
                 works between them is Muster itself, over one temporary file."
            ));
        }
    }

    /// Begins a step: its heading, and what is about to happen.
    pub fn begin(&mut self, title: &'static str, what: &str) {
        self.step += 1;
        self.title = title;
        if self.is_watched() {
            output::line(format!("\n{} {}", style(self.step).cyan().bold(), style(title).bold()));
            output::line(format!("  {what}"));
        }
    }

    /// Something happened within a step.
    pub fn happened(&self, what: &str) {
        if self.is_watched() {
            output::line(format!("  {} {what}", style("·").cyan()));
        }
    }

    /// Ends a step: what came of it, and the commands that do the same.
    pub fn end(&self, result: &str, commands: &[&str]) {
        if self.is_watched() {
            output::line(format!("  {} {result}", style("✓").green()));
            for command in commands {
                output::line(style(format!("    $ {command}")).dim());
            }
        } else if self.form == Form::Text {
            output::line(format!("{}. {}: {result}", self.step, self.title));
        }
    }

    /// The verdict.
    pub fn close(&self, checks: &[Check], took: Duration) {
        for check in checks {
            let text = format!("{}: {}", check.what, check.found);
            match (check.passed, self.is_watched()) {
                (true, true) => output::line(format!("  {} {text}", style("✓").green())),
                (false, true) => output::line(format!("  {} {}", style("✗").red().bold(), style(text).red())),
                (true, false) => output::line(format!("ok      {text}")),
                (false, false) => output::line(format!("FAILED  {text}")),
            }
        }
        let failed = checks.iter().filter(|check| !check.passed).count();
        let took = output::duration(took);
        output::line(match failed {
            0 => format!("\nAll {} checks passed, in {took}.", checks.len()),
            1.. => format!("\n{failed} of {} checks failed, in {took}.", checks.len()),
        });
        if self.is_watched() && failed == 0 {
            output::line("Your own systems: `muster init` writes a configuration to begin with.");
        }
    }

    /// How to go on by hand.
    pub fn keep(&self, scene: &Scene) {
        let config = scene.config();
        let variables: Vec<_> = Scene::environment().iter().map(|(name, value)| format!("{name}={value}")).collect();
        output::line(format!(
            "\nEverything stays up until Ctrl-C.\n\n  CRM            {crm}\n  directory      {directory}\n  administrator  \
             {admin} (edits, faults, logs; open it for help)\n  configuration  {config}\n\nIn another terminal:\n\n  export \
             MUSTER_CONFIG={config} {variables}\n  muster status\n  muster sync {CONNECTION} --wait\n  curl -s \
             '{admin}/accounts?system=scim'",
            crm = scene.sandbox.salesforce_url(),
            directory = scene.sandbox.scim_url(),
            admin = scene.admin_url(),
            config = config.display(),
            variables = variables.join(" "),
        ));
    }
}

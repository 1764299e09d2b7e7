//! `muster init`: writes a configuration to begin with. It overwrites nothing, and what it writes passes
//! `muster check --offline` once its variables are set.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::Context as _;

use super::connect;
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use crate::config::Config;

/// What surrounds the systems.
const FRAME: &str = include_str!("init/muster.toml");

/// The kinds of systems that there is a template for, by the words of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A Salesforce org.
    Salesforce,
    /// A SCIM 2.0 service.
    Scim,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Salesforce, Self::Scim];

    /// The word that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Salesforce => "salesforce",
            Self::Scim => "scim",
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Salesforce => include_str!("init/salesforce.toml"),
            Self::Scim => include_str!("init/scim.toml"),
        }
    }

    /// Further lines of the system's table, where it follows.
    fn template_for_writing(self) -> &'static str {
        match self {
            Self::Salesforce => include_str!("init/salesforce-written.toml"),
            Self::Scim => "",
        }
    }

    /// How a connection names the end that follows.
    fn written_end(self) -> &'static str {
        match self {
            Self::Salesforce => {
                "{ system = \"{to}\", partner_field = \"Partner_ID__c\" }   # EDIT: a text field that keeps the partner's id"
            }
            Self::Scim => "\"{to}\"",
        }
    }

    /// What people call the only system of this kind.
    fn usual_name(self) -> &'static str {
        match self {
            Self::Salesforce => "crm",
            Self::Scim => "directory",
        }
    }
}

/// Writes the file at `path`, in which a system of kind `from` leads one of kind `to`.
pub fn run(from: Kind, to: Kind, path: &Path, form: Form) -> anyhow::Result<Exit> {
    let names = if from == to { ("source", "target") } else { (from.usual_name(), to.usual_name()) };
    let text = text((from, names.0), (to, names.1));
    let variables = variables(&text);
    try_out(&text, path, &variables)?;
    write(path, &text)?;
    let connection = format!("{}-{}", names.0, names.1);
    match form {
        Form::Json => output::object(&serde_json::json!({
            "file": path, "connection": connection, "variables": variables,
            "systems": { names.0: from.as_str(), names.1: to.as_str() },
        })),
        Form::Text => {
            let (from, to) = (format!("{} ({})", names.0, from.as_str()), format!("{} ({})", names.1, to.as_str()));
            output::line(format!("Wrote {}: {from} leads, {to} follows", path.display()));
            output::line(format!("\nFill in the lines with EDIT, and set {}. Then:\n", variables.join(" and ")));
            let sync = format!("sync {connection} --wait");
            for (command, what) in [
                ("check", "is it right, and do both systems agree?"),
                (&sync, "brings them in step now"),
                ("run", "keeps them in step until it is stopped"),
            ] {
                output::line(format!("  muster{} {command:width$}  {what}", option_for(path), width = sync.len()));
            }
        }
    }
    Ok(Exit::Done)
}

/// The whole configuration.
fn text(from: (Kind, &str), to: (Kind, &str)) -> String {
    let named = |text: &str, name: &str| text.replace("{name}", name).replace("{NAME}", &name.to_uppercase());
    let leader = named(from.0.template(), from.1);
    let follower = named(&[to.0.template(), to.0.template_for_writing()].concat(), to.1);
    FRAME
        .replace("{systems}", &format!("{leader}\n{follower}"))
        .replace("{written_end}", to.0.written_end())
        .replace("{from}", from.1)
        .replace("{to}", to.1)
}

/// The environment variables that it reads.
fn variables(text: &str) -> Vec<String> {
    let in_use = text.lines().filter(|line| !line.starts_with('#'));
    let named = in_use.filter_map(|line| line.split_once("env = \"")?.1.split_once('"'));
    named.map(|(variable, _)| variable.to_owned()).collect()
}

/// Reads it as `muster check --offline` will: systems of these kinds may have no way to be kept in step.
fn try_out(text: &str, path: &Path, variables: &[String]) -> anyhow::Result<()> {
    let environment: BTreeMap<_, _> = variables.iter().map(|name| (name.clone(), "to be set".to_owned())).collect();
    let config = Config::parse(text, &path.display().to_string(), &environment).context("reading the template")?;
    let systems = connect::systems(&config)?;
    connect::connections(&config, &systems)?;
    Ok(())
}

/// Writes a file that must not be there yet.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => UsageError::new(format!(
            "{} is there already and stays as it is; name another file with --config",
            path.display()
        ))
        .into(),
        _ => anyhow::Error::from(error).context(format!("writing {}", path.display())),
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

/// What the next commands need to find the file.
fn option_for(path: &Path) -> String {
    let is_found = path == Path::new("muster.toml") || std::env::var_os("MUSTER_CONFIG").is_some_and(|set| set == path);
    if is_found { String::new() } else { format!(" --config {}", path.display()) }
}

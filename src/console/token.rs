//! `muster token new`: makes a token, shows it once, and prints the line of the configuration that lets its holder in.

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::access::NewToken;
use crate::config::Role;
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;

/// What is to be done with tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token for the HTTP API and the console, and print the line for the configuration. The token is shown once
    /// and is kept nowhere.
    New {
        /// What it allows.
        #[arg(long, value_parser = roles())]
        role: Role,
        /// Whose it is: letters, digits and . _ @ -
        #[arg(long)]
        name: String,
    },
}

fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).map(|word| {
        let known = Role::ALL.into_iter().find(|role| role.as_str() == word);
        known.expect("the parser before has refused every other word")
    })
}

/// Does it.
pub fn run(command: Command, form: Form) -> anyhow::Result<Exit> {
    let Command::New { role, name } = command;
    let is_label =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
    if !is_label {
        return Err(UsageError::new("a name has 1 to 64 letters, digits and . _ @ -".to_owned()).into());
    }
    let token = NewToken::make()?;
    // A dot or an @ would mean something else to TOML.
    let is_bare = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let key = if is_bare { name.clone() } else { format!("{name:?}") };
    let line = format!("{key} = {{ role = \"{role}\", digest = \"{}\" }}", token.digest_text());
    match form {
        Form::Json => output::object(&serde_json::json!({
            "token": token.expose(), "role": role.as_str(), "name": name, "digest": token.digest_text(), "line": line,
        })),
        Form::Text => {
            output::line(format!("The token, which is not shown again: {}", token.expose()));
            output::line("\nThe line for the configuration:\n\n[api.tokens]");
            output::line(line);
        }
    }
    Ok(Exit::Done)
}

//! The program `muster-sandbox`: a sandbox to try Muster, or any other client, against.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;

use super::people::Emails;
use super::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEFAULT_SCIM_TOKEN, Preset, Sandbox, SandboxSettings, Scheme, admin,
};

/// Imitates a Salesforce org and a SCIM 2.0 service, with faults on demand. State is in memory and gone at the end.
#[derive(Debug, Parser)]
#[command(name = "muster-sandbox", version, after_long_help = admin::help())]
pub struct Arguments {
    /// Port to listen on.
    #[arg(long, default_value_t = 8070)]
    port: u16,
    /// Address to listen on. Nothing here is protected: leave it at loopback unless inside a container.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// People who are users of the Salesforce org.
    #[arg(long, default_value_t = 100)]
    users: usize,
    /// People who are contacts of the Salesforce org.
    #[arg(long, default_value_t = 0)]
    contacts: usize,
    /// What they are made from: the same seed makes the same people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave a few of them without an e-mail address.
    #[arg(long)]
    missing_emails: bool,
    /// Speak TLS, and write the certificate of the authority to DIR/ca.pem.
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Client id of the connected app in the org.
    #[arg(long, default_value = DEFAULT_CLIENT_ID)]
    client_id: String,
    /// File with the client secret; without it the secret is `sandbox-client-secret`.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// File with the certificate (PEM, RSA) that the connected app has for the JWT bearer flow.
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// File with the bearer token of the SCIM service; without it the token is `sandbox-scim-token`.
    #[arg(long, value_name = "FILE")]
    scim_token_file: Option<PathBuf>,
    /// Whose habits the SCIM service has.
    #[arg(long, value_enum, default_value_t)]
    scim_dialect: Preset,
}

/// Runs the sandbox until Ctrl-C or SIGTERM.
///
/// # Errors
/// If a file cannot be read or written, or the port is taken.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let secret = |file: &Option<PathBuf>, default: &str| match file {
        Some(file) => read_secret(file),
        None => Ok(default.to_owned()),
    };
    let sandbox = Sandbox::start(SandboxSettings {
        address: arguments.listen,
        port: arguments.port,
        scheme: if arguments.tls.is_some() { Scheme::Https } else { Scheme::Http },
        users: arguments.users,
        contacts: arguments.contacts,
        seed: arguments.seed,
        emails: if arguments.missing_emails { Emails::SomeMissing } else { Emails::Complete },
        client_id: arguments.client_id.clone(),
        client_secret: secret(&arguments.client_secret_file, DEFAULT_CLIENT_SECRET)?.into(),
        certificate_pem: arguments.certificate_file.as_deref().map(read_secret).transpose()?,
        scim_token: secret(&arguments.scim_token_file, DEFAULT_SCIM_TOKEN)?.into(),
        dialect: arguments.scim_dialect.dialect(),
        ..SandboxSettings::default()
    })
    .await?;
    let mut notes = vec![];
    if let (Some(directory), Some(pem)) = (&arguments.tls, sandbox.authority_pem()) {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let file = directory.join("ca.pem");
        std::fs::write(&file, pem).with_context(|| format!("writing {}", file.display()))?;
        notes.push(format!("trust       {}", file.display()));
    }
    let kept = |variable: &str| match variable {
        "CRM_SECRET" => arguments.client_secret_file.is_some(),
        "DIRECTORY_TOKEN" => arguments.scim_token_file.is_some(),
        _ => false,
    };
    for introduction in sandbox.introductions() {
        let told = introduction.secrets.into_iter().filter(|(variable, _)| !kept(variable));
        notes.extend(told.map(|(variable, default)| format!("secret      export {variable}={default}")));
    }
    writeln!(std::io::stdout(), "{}", greeting(&sandbox, &notes))?;
    until_told_to_stop().await?;
    sandbox.shutdown().await
}

fn greeting(sandbox: &Sandbox, notes: &[String]) -> String {
    let introductions = sandbox.introductions();
    let mut lines: Vec<&str> = introductions.iter().map(|introduction| introduction.headline.as_str()).collect();
    let faults = format!("faults      {}/_admin (open it for help)", sandbox.url());
    lines.push(&faults);
    lines.extend(notes.iter().map(String::as_str));
    let configuration: Vec<&str> =
        introductions.iter().map(|introduction| introduction.configuration.as_str()).collect();
    format!("{}\n\nIn muster.toml:\n\n{}", lines.join("\n"), configuration.join("\n"))
}

fn read_secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(text.trim().to_owned())
}

async fn until_told_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_greeting_is_a_configuration() {
        let sandbox = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let greeting = greeting(&sandbox, &[]);
        let (_, configuration) = greeting.split_once("In muster.toml:").unwrap();
        let configuration: toml::Table = toml::from_str(configuration).unwrap();
        assert_eq!(configuration["systems"]["crm"]["url"].as_str().unwrap(), sandbox.salesforce_url());
        assert_eq!(configuration["systems"]["directory"]["auth"]["flow"].as_str().unwrap(), "bearer");
    }
}

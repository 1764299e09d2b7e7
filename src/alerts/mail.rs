//! Alerts by mail.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;

use super::AlertError;
use crate::config::MailConfig;
use crate::config::endpoint::is_loopback;
use crate::domain::watch::Alert;

/// The longest that one delivery may take: shorter than the lease of whoever tells people.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Ports of submission: with TLS from the first byte, and with STARTTLS (RFC 8314).
const SMTPS: u16 = 465;
const SUBMISSION: u16 = 587;

/// Characters of an alert's sentence that make its subject.
const SUBJECT_CHARS: usize = 120;

/// A mail server that takes alerts.
#[derive(Debug)]
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    pub fn new(config: &MailConfig) -> Result<Self, AlertError> {
        let host = config.server.host_str().unwrap_or_default();
        let parameters = || {
            TlsParameters::new(host.to_owned()).map_err(|_| AlertError("[alerts.mail] cannot set up TLS".to_owned()))
        };
        let (tls, port) = match config.server.scheme() {
            "smtps" => (Tls::Wrapper(parameters()?), SMTPS),
            // A relay on the machine itself has no certificate that anybody could verify.
            _ if is_loopback(&config.server) => (Tls::None, SUBMISSION),
            _ => (Tls::Required(parameters()?), SUBMISSION),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.server.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = &config.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self { transport: transport.build(), from: config.from.clone(), to: config.to.clone() })
    }

    /// Sends an alert. The server's acceptance is a receipt.
    pub async fn send(&self, alert: &Alert) -> Result<(), AlertError> {
        let message = self.message(alert)?;
        let sent = tokio::time::timeout(TIMEOUT, self.transport.send(message)).await;
        let sent = sent.map_err(|_| AlertError("it did not answer in time".to_owned()))?;
        // What the server says may repeat addresses and logins: its code says enough.
        sent.map(drop).map_err(|error| match error.status() {
            Some(code) => AlertError(format!("it answered {code}")),
            None if error.is_timeout() => AlertError("it did not answer in time".to_owned()),
            None if error.is_tls() => AlertError("its certificate or its TLS was refused".to_owned()),
            None if error.is_client() => {
                AlertError("it does not offer what is needed: STARTTLS, or the login".to_owned())
            }
            None => AlertError("it cannot be reached".to_owned()),
        })
    }

    /// Its id is the same for the same alert, so that mail programs show one that comes twice once.
    fn message(&self, alert: &Alert) -> Result<Message, AlertError> {
        let Alert { id, alert: trouble, state: _, connection, at, since, schedule, run, text } = alert;
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_CHARS).collect();
        let trouble = trouble.as_str();
        let run = run.as_ref().map(|run| format!("\nrun: {run}")).unwrap_or_default();
        let body = format!(
            "{text}\n\nconnection: {connection}\nalert: {trouble}\nsince: {since}\nnoticed: {at}\nschedule: {schedule}{run}\nid: {id}\n\n\
             See `muster status`.\n"
        );
        let mut message = Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{id}.{connection}@muster>")))
            .subject(format!("[muster] {line}"))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        message.body(body).map_err(|_| AlertError("it cannot be written as a mail".to_owned()))
    }
}

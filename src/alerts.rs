//! How people are told that a connection does not run as it should (R70), for those who watch no metrics: each configured
//! way is a channel, and an alert is out when all of them took it.

use crate::config::AlertsConfig;
use crate::domain::watch::Alert;

mod mail;
mod webhook;

use mail::Mail;
use webhook::Webhook;

/// The configured channels.
#[derive(Debug, Default)]
pub struct Alerts {
    webhook: Option<Webhook>,
    mail: Option<Mail>,
    /// Held by the one task of this process that looks after the schedules.
    pub(crate) watching: tokio::sync::Mutex<()>,
}

/// A channel did not take an alert, or is set up wrongly. It says nothing of the channel's address, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AlertError(String);

impl Alerts {
    /// Sets the channels up, without connecting.
    ///
    /// # Errors
    /// A header cannot be sent, a name is none of a server, or there is no TLS.
    pub fn new(config: &AlertsConfig) -> Result<Self, AlertError> {
        let webhook = config.webhook.as_ref().map(Webhook::new).transpose()?;
        let mail = config.mail.as_ref().map(Mail::new).transpose()?;
        Ok(Self { webhook, mail, ..Self::default() })
    }

    /// The names of the channels.
    pub fn channels(&self) -> Vec<&'static str> {
        let webhook = self.webhook.iter().map(|_| WEBHOOK);
        webhook.chain(self.mail.iter().map(|_| MAIL)).collect()
    }

    /// Hands an alert to a channel.
    ///
    /// # Errors
    /// The channel did not take it, or there is none of this name.
    pub async fn send(&self, channel: &str, alert: &Alert) -> Result<(), AlertError> {
        match (channel, &self.webhook, &self.mail) {
            (WEBHOOK, Some(webhook), _) => webhook.send(alert).await,
            (MAIL, _, Some(mail)) => mail.send(alert).await,
            _ => Err(AlertError("it is not configured".to_owned())),
        }
    }
}

/// The name of the webhook among the channels.
const WEBHOOK: &str = "webhook";

/// The name of the mail server among them.
const MAIL: &str = "mail";

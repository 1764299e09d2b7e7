//! How people are told that a connection does not run as it should (R70), for those who watch no metrics: each configured
//! way is a channel, and an alert is out when all of them took it.

use crate::config::AlertsConfig;
use crate::domain::watch::Alert;

mod webhook;

use webhook::Webhook;

/// The configured channels.
#[derive(Debug, Default)]
pub struct Alerts {
    webhook: Option<Webhook>,
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
    /// A header cannot be sent, or there is no TLS.
    pub fn new(config: &AlertsConfig) -> Result<Self, AlertError> {
        let webhook = config.webhook.as_ref().map(Webhook::new).transpose()?;
        Ok(Self { webhook, ..Self::default() })
    }

    /// The names of the channels.
    pub fn channels(&self) -> Vec<&'static str> {
        self.webhook.iter().map(|_| WEBHOOK).collect()
    }

    /// Hands an alert to a channel.
    ///
    /// # Errors
    /// The channel did not take it, or there is none of this name.
    pub async fn send(&self, channel: &str, alert: &Alert) -> Result<(), AlertError> {
        match (&self.webhook, channel) {
            (Some(webhook), WEBHOOK) => webhook.send(alert).await,
            _ => Err(AlertError("it is not configured".to_owned())),
        }
    }
}

/// The name of the webhook among the channels.
const WEBHOOK: &str = "webhook";

//! Alerts as JSON over HTTP.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::AlertError;
use crate::config::WebhookConfig;
use crate::domain::watch::Alert;

/// The longest that one delivery may take: shorter than the lease of whoever tells people.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A service that takes alerts.
#[derive(Debug)]
pub struct Webhook {
    client: reqwest::Client,
    url: SecretString,
}

impl Webhook {
    pub fn new(config: &WebhookConfig) -> Result<Self, AlertError> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = &config.header {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| AlertError("[alerts] webhook: the header has no valid name".to_owned()))?;
            let mut value = HeaderValue::from_str(value.expose_secret())
                .map_err(|_| AlertError("[alerts] webhook: the header's value cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the header to an address that nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .default_headers(headers)
            .build()
            .map_err(|error| AlertError(format!("[alerts] webhook: {}", error.without_url())))?;
        Ok(Self { client, url: config.url.clone() })
    }

    /// Posts an alert. Any 2xx is a receipt.
    pub async fn send(&self, alert: &Alert) -> Result<(), AlertError> {
        let answer = self.client.post(self.url.expose_secret()).json(alert).send().await;
        let answer = answer.map_err(|error| {
            let what = if error.is_timeout() { "it did not answer in time" } else { "it cannot be reached" };
            AlertError(what.to_owned())
        })?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(AlertError(format!("it answered {}", status.as_u16()))) }
    }
}

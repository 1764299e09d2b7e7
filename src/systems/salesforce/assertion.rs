//! The signed statement by which an app logs in without a secret (OAuth 2.0 JWT bearer, RS256).

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

use crate::domain::Timestamp;

/// How long a statement is good. Salesforce takes some minutes; its clock and ours may differ.
const LIFETIME: Duration = Duration::from_secs(170);

/// What signs: the private key whose certificate the app has.
#[derive(Debug, Clone)]
pub struct Signer {
    client_id: String,
    username: String,
    audience: String,
    // Its own Debug shows nothing of it.
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    exp: i64,
}

impl Signer {
    /// A signer with a private RSA key in PEM; `None` if it is none. Without `audience` it is the login host that the
    /// org at `url` belongs to.
    pub fn new(
        client_id: String,
        username: String,
        key: &SecretString,
        audience: Option<String>,
        url: &Url,
    ) -> Option<Self> {
        let key = EncodingKey::from_rsa_pem(key.expose_secret().as_bytes()).ok()?;
        let audience = audience.unwrap_or_else(|| login_host(url));
        let signer = Self { client_id, username, audience, key };
        // A public key, or one that is too short, has the form as well and cannot sign.
        signer.sign(Timestamp(0))?;
        Some(signer)
    }

    /// A statement that is good at `now`, in Salesforce's clock.
    pub fn sign(&self, now: Timestamp) -> Option<String> {
        let exp = (now + LIFETIME).0 / 1000;
        let claims = Claims { iss: &self.client_id, sub: &self.username, aud: &self.audience, exp };
        encode(&Header::new(Algorithm::RS256), &claims, &self.key).ok()
    }
}

/// Whom a statement is meant for: production or test orgs; elsewhere the host itself.
fn login_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    if host == "test.salesforce.com" || host.ends_with(".sandbox.my.salesforce.com") {
        "https://test.salesforce.com".to_owned()
    } else if host.ends_with(".salesforce.com") {
        "https://login.salesforce.com".to_owned()
    } else {
        url.as_str().trim_end_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_follows_the_host() {
        for (url, audience) in [
            ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
            ("https://acme--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(login_host(&url.parse().unwrap()), audience);
        }
    }

    #[test]
    fn what_cannot_sign_is_no_key() {
        let url = "https://acme.my.salesforce.com".parse().unwrap();
        for text in ["", "hush", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(Signer::new("id".into(), "ada@x.example".into(), &text.into(), None, &url).is_none(), "{text:?}");
        }
    }
}

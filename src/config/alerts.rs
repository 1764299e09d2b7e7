//! `[alerts]`: where people are told that a connection does not run as it should.

use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value as Json, json};
use toml::de::DeValue;
use url::Url;

use super::endpoint::{Secret, SystemUrl, is_loopback};
use super::shape::{Either, Flag, List, Shape, Sub, Text};
use super::table::{Found, Reader, Table};

/// Where alerts go.
#[derive(Debug, Clone, Default)]
pub struct AlertsConfig {
    /// A service that takes them as JSON over HTTP.
    pub webhook: Option<WebhookConfig>,
    /// A mail server, and whom it writes to.
    pub mail: Option<MailConfig>,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Its URL, which for many services is the secret itself.
    pub url: SecretString,
    /// A header that proves who calls: its name and its value.
    pub header: Option<(String, SecretString)>,
}

/// Alerts by mail.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// The server: `smtps` begins with TLS, `smtp` goes over to it before anything is said, except on loopback.
    pub server: Url,
    /// Name and password, where the server asks for them.
    pub login: Option<(String, SecretString)>,
    /// Whom the mail is from.
    pub from: Mailbox,
    /// Whom it goes to; at least one.
    pub to: Vec<Mailbox>,
}

/// A URL in the file, or one that is a secret.
struct HookUrl;

const EXAMPLE: &str = "https://hooks.example.com/muster";
const SECRET: Secret = Secret { variable: "ALERTS_WEBHOOK" };

impl Shape for HookUrl {
    type Value = Url;

    fn schema(&self) -> Json {
        json!({ "oneOf": [SystemUrl { example: EXAMPLE }.schema(), SECRET.schema()] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Url> {
        let DeValue::Table(_) = found.value else { return SystemUrl { example: EXAMPLE }.read(found, reader) };
        let secret = SECRET.read(found, reader)?;
        let url = Url::parse(secret.expose_secret()).ok();
        let url = url.filter(|url| ["https", "http"].contains(&url.scheme()) && url.has_host());
        if url.is_none() {
            // What was found there may be any secret.
            reader.mistake(&found.place, "does not hold an https URL", format!("expected a URL such as {EXAMPLE:?}"));
        }
        url
    }
}

const HEADER: Text<String> = Text {
    what: "the name of a header",
    rule: "a header has a name such as \"Authorization\" or \"X-Muster-Token\"",
    parse: |text| {
        let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        valid.then(|| text.to_owned())
    },
};

pub(super) fn alerts(table: &mut Table<'_, '_>) -> Option<AlertsConfig> {
    let webhook = webhook(table);
    let mail = table.optional("mail", Sub(mail), "A mail server, and whom it writes to.");
    Some(AlertsConfig { webhook: webhook?, mail: mail? })
}

fn webhook(table: &mut Table<'_, '_>) -> Option<Option<WebhookConfig>> {
    let plain = super::shape::Mapped(SystemUrl { example: EXAMPLE }, |url| (url, None, false));
    let webhook = table.optional(
        "webhook",
        Either(plain, with_header),
        "The URL that each alert is posted to as JSON, or a table with the url and a secret header.",
    );
    let Some((url, header, allow_http)) = webhook? else { return Some(None) };
    if url.scheme() == "http" && !is_loopback(&url) && !allow_http {
        let remedy = "use https, or { url = ..., allow_http = true } within a network of your own";
        table.mistake("webhook", "http shows what it carries to everybody on the way", remedy);
        return None;
    }
    Some(Some(WebhookConfig { url: SecretString::from(String::from(url)), header }))
}

type Hook = (Url, Option<(String, SecretString)>, bool);

fn with_header(table: &mut Table<'_, '_>) -> Option<Hook> {
    let url =
        table.required("url", HookUrl, "Where alerts are posted to; a URL that is a secret by { env = \"NAME\" }.");
    let header = table.optional("header", HEADER, "A header that proves who calls.");
    let value = table.optional("value", Secret { variable: "ALERTS_TOKEN" }, "What that header holds.");
    let allow_http =
        table.default("allow_http", Flag, false, "Whether http to another host is accepted. For networks of your own.");
    let header = match (header?, value?) {
        (Some(header), Some(value)) => Some((header, value)),
        (None, None) => None,
        (Some(_), None) => {
            table.missing_beside(
                "header",
                "value",
                "is missing beside header",
                "add value = { env = \"ALERTS_TOKEN\" }",
            );
            return None;
        }
        (None, Some(_)) => {
            table.missing_beside("value", "header", "is missing beside value", "add header = \"Authorization\"");
            return None;
        }
    };
    Some((url?, header, allow_http?))
}

/// The URL of a mail server. A wrong one is not quoted, since it may hold a password.
struct MailUrl;

impl Shape for MailUrl {
    type Value = Url;

    fn schema(&self) -> Json {
        json!({ "type": "string", "format": "uri", "examples": ["smtps://mail.example.com", "smtp://mail.example.com:587"] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Url> {
        let rule = "expected smtps://host (TLS from the first byte) or smtp://host:587 (STARTTLS), and nothing more";
        let url = Url::parse(found.text(rule, reader)?).ok();
        let url = url.filter(|url| url.has_host() && ["smtp", "smtps"].contains(&url.scheme()));
        let Some(url) = url else {
            reader.mistake(&found.place, "is not the URL of a mail server", rule);
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            reader.mistake(&found.place, "the URL carries a credential", "take it out; it goes into user and password");
            return None;
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            reader.mistake(&found.place, "the URL says more than where the server is", rule);
            return None;
        }
        reader.is_plain(&found.place);
        Some(url)
    }
}

const MAILBOX: Text<Mailbox> = Text {
    what: "a mail address",
    rule: "an address is \"ops@example.com\" or \"Operations <ops@example.com>\"",
    parse: |text| text.parse().ok(),
};

const USER: Text<String> = Text {
    what: "a name to log in with",
    rule: "the name that the mail server knows",
    parse: |text| (!text.trim().is_empty()).then(|| text.to_owned()),
};

fn mail(table: &mut Table<'_, '_>) -> Option<MailConfig> {
    let server = table.required("server", MailUrl, "The mail server: smtps://host, or smtp://host:587.");
    let from = table.required("from", MAILBOX, "Whom the mail is from.");
    let to = table.required("to", List { of: MAILBOX, least: 1 }, "Whom it goes to.");
    let user = table.optional("user", USER, "The name to log in with, where the server asks for one.");
    let password = table.optional("password", Secret { variable: "ALERTS_MAIL_PASSWORD" }, "Its password.");
    let login = match (user?, password?) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => {
            let remedy = "add password = { env = \"ALERTS_MAIL_PASSWORD\" }";
            table.missing_beside("user", "password", "is missing beside user", remedy);
            return None;
        }
        (None, Some(_)) => {
            table.missing_beside("password", "user", "is missing beside password", "add user = \"muster@example.com\"");
            return None;
        }
    };
    Some(MailConfig { server: server?, login, from: from?, to: to? })
}

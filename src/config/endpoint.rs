//! What leads to a server: its URL, which carries no secret, the secret by reference, and a private CA.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value as Json, json};
use toml::de::DeValue;
use url::{Host, Url};

use super::shape::{Shape, Text};
use super::table::{Found, Reader, Table};

/// URL of a broker or a store: it may name a user, never a password.
pub(crate) struct ServerUrl {
    pub schemes: [&'static str; 2],
    pub example: &'static str,
    /// The variable that the remedy for a password in the URL proposes.
    pub variable: &'static str,
}

impl Shape for ServerUrl {
    type Value = Url;

    fn schema(&self) -> Json {
        json!({ "type": "string", "examples": [self.example] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Url> {
        let expected = format!("a URL such as {:?}", self.example);
        let text = found.text(&expected, reader)?;
        // Nothing of a URL that has a password, or cannot be parsed, is quoted.
        let Ok(url) = Url::parse(text) else {
            reader.mistake(&found.place, "is not a URL", format!("expected {expected}"));
            return None;
        };
        if url.password().is_some() {
            let remedy = format!("take it out and add password = {{ env = {:?} }}", self.variable);
            reader.mistake(&found.place, "the URL carries a password", remedy);
            return None;
        }
        if url.host_str().is_none_or(str::is_empty) || !self.schemes.contains(&url.scheme()) {
            let remedy = format!("expected {expected}, or one that begins with {}://", self.schemes[1]);
            reader.mistake(&found.place, "is not a URL of this kind of server", remedy);
            return None;
        }
        if url.query().is_none() && url.fragment().is_none() {
            reader.is_plain(&found.place);
        }
        Some(url)
    }
}

/// URL of a system: no user, no password, no query.
pub(crate) struct SystemUrl {
    pub example: &'static str,
}

impl Shape for SystemUrl {
    type Value = Url;

    fn schema(&self) -> Json {
        json!({ "type": "string", "format": "uri", "examples": [self.example] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Url> {
        let expected = format!("a URL such as {:?}", self.example);
        let text = found.text(&expected, reader)?;
        let url = Url::parse(text).ok().filter(|url| ["https", "http"].contains(&url.scheme()) && url.has_host());
        let Some(url) = url else {
            reader.mistake(&found.place, "is not an https URL", format!("expected {expected}"));
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            reader.mistake(&found.place, "the URL carries a credential", "take it out; credentials go into auth");
            return None;
        }
        if url.query().is_some() || url.fragment().is_some() {
            reader.mistake(&found.place, "the URL has a query or a fragment", format!("expected {expected}"));
            return None;
        }
        reader.is_plain(&found.place);
        Some(url)
    }
}

/// Reads the URL of a system, and refuses to send its credential in the clear over a network.
pub(crate) fn system_url(table: &mut Table<'_, '_>, example: &'static str, doc: &str) -> Option<Url> {
    let url = table.required("url", SystemUrl { example }, doc);
    let allow_http = table.default(
        "allow_http",
        super::shape::Flag,
        false,
        "Whether http to another host is accepted, though it carries the credential in the clear. For test networks.",
    );
    let url = url?;
    if url.scheme() == "http" && !is_loopback(&url) && !allow_http? {
        table.mistake(
            "url",
            "http carries the credential in the clear",
            "use https, or allow_http = true in a test network",
        );
        return None;
    }
    Some(url)
}

/// Whether what is sent there stays on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // Of schemes that the standard for URLs does not know, an address is read as a name.
        Some(Host::Domain(name)) => {
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A secret by reference: `{ env = "NAME" }` or `{ file = "path" }`. One that is written into the file is refused.
pub(crate) struct Secret {
    /// The variable that the remedy for a literal proposes.
    pub variable: &'static str,
}

impl Shape for Secret {
    type Value = SecretString;

    fn schema(&self) -> Json {
        let by = |key: &str, doc: &str| {
            json!({
                "type": "object",
                "properties": { key: { "type": "string", "minLength": 1, "description": doc } },
                "required": [key],
                "additionalProperties": false,
            })
        };
        json!({ "oneOf": [by("env", "The environment variable that holds it."), by("file", "The file that holds it.")] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<SecretString> {
        let remedy = format!("{{ env = {:?} }} or {{ file = \"path\" }}", self.variable);
        match found.value {
            DeValue::Table(table) => Table::read(table, found.place.clone(), reader, |table| reference(table, &remedy)),
            DeValue::String(_) => {
                let problem = "a secret must not stand in the configuration";
                reader.mistake(&found.place, problem, format!("name where it is: {remedy}"));
                None
            }
            _ => {
                found.wrong_type(&remedy, reader);
                None
            }
        }
    }
}

const VARIABLE: Text<String> = Text {
    what: "the name of an environment variable",
    rule: "a variable has a name of A-Z, 0-9 and _, and does not begin with a digit",
    // Upper case only, so that a secret that was put here by mistake is hardly ever taken for a name.
    parse: |text| {
        let valid = !text.is_empty()
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        valid.then(|| text.to_owned())
    },
};

/// A shape of which a wrong value is not quoted.
struct Unquoted<T>(Text<T>);

impl<T> Shape for Unquoted<T> {
    type Value = T;

    fn schema(&self) -> Json {
        self.0.schema()
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<T> {
        let value = (self.0.parse)(found.text(self.0.rule, reader)?);
        match value {
            Some(_) => reader.is_plain(&found.place),
            None => reader.mistake(&found.place, format!("is not {}", self.0.what), self.0.rule),
        }
        value
    }
}

fn reference(table: &mut Table<'_, '_>, remedy: &str) -> Option<SecretString> {
    let variable = table.optional("env", Unquoted(VARIABLE), "The environment variable that holds it.");
    let file = table.optional("file", Unquoted(PATH), "The file that holds it.");
    let (key, value) = match (variable?, file?) {
        (Some(name), None) => {
            let value = table.variable(&name);
            if value.is_none() {
                table.mistake("env", format!("the environment variable {name} is not set"), format!("set {name}"));
            }
            ("env", value?)
        }
        (None, Some(path)) => ("file", table.file("file", &path)?),
        _ => {
            table.mistake("", "names no place of the secret, or two", format!("use {remedy}"));
            return None;
        }
    };
    // Files, and variables that were read from files, end with a line break that is no part of the secret.
    let value = value.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        table.mistake(key, "the secret is empty", "put the secret there");
        return None;
    }
    Some(SecretString::from(value))
}

/// A file, by its path from the folder of the configuration.
pub(crate) const PATH: Text<String> = Text {
    what: "a path",
    rule: "the path of a file, from the folder of the configuration",
    parse: |text| (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned()),
};

/// Reads a private key in PEM: `key_file = "path"`, or `key` by reference.
pub(crate) fn private_key(table: &mut Table<'_, '_>) -> Option<SecretString> {
    let path = table.optional("key_file", PATH, "The private key (PEM); the path begins at this file's folder.");
    let key = table.optional(
        "key",
        Secret { variable: "CRM_KEY" },
        "The private key (PEM), where it is no file of its own: { env = \"CRM_KEY\" }",
    );
    let (at, key) = match (path?, key?) {
        (Some(path), None) => ("key_file", SecretString::from(table.file("key_file", &path)?)),
        (None, Some(key)) => ("key", key),
        _ => {
            let remedy = "add key_file = \"crm-key.pem\", or key = { env = \"CRM_KEY\" }";
            table.mistake("", "names no place of the private key, or two", remedy);
            return None;
        }
    };
    if !key.expose_secret().contains("PRIVATE KEY-----") {
        table.mistake(at, "holds no private key", "expected a private key in PEM: -----BEGIN PRIVATE KEY-----");
        return None;
    }
    Some(key)
}

/// Reads `ca_file`: certificates in PEM that a server's certificate must lead to.
pub(crate) fn ca_file(table: &mut Table<'_, '_>) -> Option<Option<PathBuf>> {
    let doc = "Certificates (PEM) to trust instead of the platform's; the path begins at this file's folder.";
    let Some(path) = table.optional("ca_file", PATH, doc)? else { return Some(None) };
    let text = table.file("ca_file", &path)?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        table.mistake("ca_file", "holds no certificate", "expected certificates in PEM");
        return None;
    }
    Some(Some(table.path(&path)))
}

/// `muster`, in front of all names at the broker and the store, so that several installations can share one.
pub(crate) const PREFIX: Text<String> = Text {
    what: "a prefix",
    rule: "a prefix has 1 to 48 characters of a-z, 0-9, - and _, and begins with a letter",
    parse: |text| {
        let valid = (1..=48).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        valid.then(|| text.to_owned())
    },
};

//! What it takes to reach a RabbitMQ, and how the connection behaves.

use std::path::PathBuf;
use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// How to reach a RabbitMQ. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct AmqpSettings {
    address: Address,
    password: SecretString,
    /// Begins the name of every queue and exchange; 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`.
    pub prefix: String,
    /// Whether this account may declare queues. If not, the topology is only checked.
    pub declare: bool,
    /// Certificates (PEM) that are trusted besides the system's, for `amqps`.
    pub ca_file: Option<PathBuf>,
    /// A peer that is silent for twice as long counts as gone. Whole seconds.
    pub heartbeat: Duration,
    /// The longest wait for a connection, from the first packet to the end of the handshake.
    pub connect_timeout: Duration,
    /// The longest wait for a confirm, while the broker has not blocked us.
    pub confirm_deadline: Duration,
}

#[derive(Debug, Clone)]
struct Address {
    tls: bool,
    host: String,
    port: u16,
    vhost: String,
    user: String,
}

/// Why an address of a broker cannot be used. Never quotes the address, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The scheme is neither of the two.
    #[error("the broker's url begins with amqp:// or amqps://")]
    Scheme,
    /// There is no host.
    #[error("the broker's url names no host")]
    Host,
    /// User, password or vhost hold `%` escapes that are no UTF-8.
    #[error("the broker's url holds an escape that is no UTF-8 text")]
    Escape,
    /// The prefix cannot begin the name of a queue.
    #[error("the prefix has 1 to 64 of a-z, 0-9, -, _ and .")]
    Prefix,
}

impl AmqpSettings {
    /// Settings for `amqp[s]://user@host[:port][/vhost]` with the usual behaviour. The password is `password`, else the
    /// one in the URL, else RabbitMQ's own default. An empty vhost means `/`.
    pub fn new(url: &Url, password: Option<SecretString>) -> Result<Self, SettingsError> {
        let tls = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err(SettingsError::Scheme),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(SettingsError::Host)?;
        let vhost = unescape(url.path().trim_start_matches('/'))?;
        let user = unescape(url.username())?;
        let password = match (password, url.password()) {
            (Some(password), _) => password,
            (None, Some(password)) => unescape(password)?.into(),
            (None, None) => "guest".into(),
        };
        Ok(Self {
            address: Address {
                tls,
                // The brackets of an IPv6 address belong to the URL, not to the address.
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port: url.port().unwrap_or(if tls { 5671 } else { 5672 }),
                vhost: if vhost.is_empty() { "/".to_owned() } else { vhost },
                user: if user.is_empty() { "guest".to_owned() } else { user },
            },
            password,
            prefix: "muster".to_owned(),
            declare: true,
            ca_file: None,
            heartbeat: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            confirm_deadline: Duration::from_secs(10),
        })
    }

    /// The same with names that begin with `prefix`.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, SettingsError> {
        let valid = (1..=64).contains(&prefix.len())
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        if !valid {
            return Err(SettingsError::Prefix);
        }
        self.prefix = prefix.to_owned();
        Ok(self)
    }

    /// Host and port, for logs.
    pub fn peer(&self) -> String {
        match self.address.host.contains(':') {
            true => format!("[{}]:{}", self.address.host, self.address.port),
            false => format!("{}:{}", self.address.host, self.address.port),
        }
    }

    /// What lapin connects to. It holds the password in the clear and prints it: it goes nowhere else.
    pub(super) fn uri(&self) -> AMQPUri {
        AMQPUri {
            scheme: if self.address.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.address.user.clone(),
                    password: self.password.expose_secret().to_owned(),
                },
                host: self.address.host.clone(),
                port: self.address.port,
            },
            vhost: self.address.vhost.clone(),
            query: AMQPQueryString {
                heartbeat: Some(u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1)),
                ..AMQPQueryString::default()
            },
        }
    }
}

/// Resolves the `%` escapes of a part of a URL.
fn unescape(text: &str) -> Result<String, SettingsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()))
            .flatten();
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_err(|_| SettingsError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Result<AmqpSettings, SettingsError> {
        AmqpSettings::new(&url.parse().unwrap(), None)
    }

    #[test]
    fn an_address_is_read_whole() {
        for (url, host, port, vhost, user, password) in [
            ("amqp://broker", "broker", 5672, "/", "guest", "guest"),
            ("amqps://broker/", "broker", 5671, "/", "guest", "guest"),
            ("amqp://muster:s%40cret@10.0.0.1:99/a%2fb", "10.0.0.1", 99, "a/b", "muster", "s@cret"),
            ("amqp://[::1]:5673/%2f", "::1", 5673, "/", "guest", "guest"),
        ] {
            let uri = settings(url).unwrap().uri();
            let found = (uri.authority.host.as_str(), uri.authority.port, uri.vhost.as_str());
            assert_eq!(found, (host, port, vhost), "{url}");
            let userinfo = &uri.authority.userinfo;
            assert_eq!((userinfo.username.as_str(), userinfo.password.as_str()), (user, password), "{url}");
        }
        assert_eq!(settings("amqp://[::1]").unwrap().peer(), "[::1]:5672");
    }

    #[test]
    fn an_address_that_cannot_work_is_refused() {
        assert_eq!(settings("http://broker").unwrap_err(), SettingsError::Scheme);
        assert_eq!(settings("amqp://u:%ff@broker").unwrap_err(), SettingsError::Escape);
        let of = |prefix: &str| settings("amqp://broker").unwrap().with_prefix(prefix).map(|s| s.prefix);
        assert_eq!(of("muster-test.1"), Ok("muster-test.1".to_owned()));
        for bad in ["", "Muster", "a b", &"x".repeat(65)] {
            assert_eq!(of(bad), Err(SettingsError::Prefix), "{bad}");
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        let settings = settings("amqp://muster:hunter2@broker").unwrap();
        assert!(!format!("{settings:?} {}", settings.peer()).contains("hunter2"));
    }
}

//! Who asks: tokens, the persons that hold them, and what their roles allow.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{ApiToken, Role};

/// What every token begins with, so that one that leaked is recognised for what it is.
const PREFIX: &str = "muster_";

/// Bytes of chance in a token, and in the name of a session.
const RANDOM_BYTES: usize = 32;

/// A person who was recognised by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who it is.
    pub name: String,
    /// What the token allows.
    pub role: Role,
}

impl Person {
    /// Whether values of accounts are shown.
    pub fn values(&self) -> Values {
        if self.role >= Role::Operator { Values::Open } else { Values::Masked }
    }
}

/// Whether values of accounts are shown, or only what kind they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Only what kind they are.
    Masked,
    /// As they are.
    Open,
}

impl Values {
    /// Whether they are shown.
    pub fn is_open(self) -> bool {
        self == Self::Open
    }
}

/// A token that was just made: it is shown once, and only its digest is kept.
#[derive(Debug)]
pub struct NewToken {
    /// The token.
    pub token: SecretString,
    /// What the configuration has of it.
    pub digest: [u8; 32],
}

impl NewToken {
    /// Makes one.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn make() -> anyhow::Result<Self> {
        let token = format!("{PREFIX}{}", random_text()?);
        Ok(Self { digest: digest_of(&token), token: SecretString::from(token) })
    }

    /// The digest as the configuration writes it.
    pub fn digest_text(&self) -> String {
        let digits: String = self.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{digits}")
    }

    /// The token, to be shown to the one who gets it.
    pub fn expose(&self) -> &str {
        self.token.expose_secret()
    }
}

/// Text that nobody guesses.
pub(super) fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; RANDOM_BYTES];
    rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("this machine gives no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret text.
pub(super) fn digest_of(text: &str) -> [u8; 32] {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

/// Everybody who holds a token.
#[derive(Debug)]
pub struct Holders(Vec<ApiToken>);

impl Holders {
    /// Of these tokens.
    pub fn new(tokens: impl IntoIterator<Item = ApiToken>) -> Self {
        Self(tokens.into_iter().collect())
    }

    /// Who holds this token. The time that it takes says nothing of the tokens that there are.
    pub fn by_token(&self, token: &str) -> Option<(Person, [u8; 32])> {
        self.by_digest(&digest_of(token))
    }

    /// Who holds the token of this digest.
    pub(super) fn by_digest(&self, digest: &[u8; 32]) -> Option<(Person, [u8; 32])> {
        let mut found = None;
        // All of them are compared, whichever it is.
        for known in &self.0 {
            if verify_slices_are_equal(&known.digest, digest).is_ok() {
                found = Some((Person { name: known.name.clone(), role: known.role }, known.digest));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R78: a token is known by its digest, and nothing else is.
    #[test]
    fn a_token_is_known_by_its_digest() {
        let (token, other) = (NewToken::make().unwrap(), NewToken::make().unwrap());
        assert_ne!(token.expose(), other.expose());
        let of = |role, token: &NewToken| ApiToken { name: "alice".to_owned(), role, digest: token.digest };
        let holders = Holders::new([of(Role::Operator, &token)]);
        let (person, _) = holders.by_token(token.expose()).unwrap();
        assert_eq!((person.name.as_str(), person.role), ("alice", Role::Operator));
        for wrong in ["", "muster_", other.expose(), &token.digest_text(), &token.expose().to_lowercase()] {
            assert_eq!(holders.by_token(wrong), None, "{wrong}");
        }
        assert!(!format!("{token:?}").contains(token.expose()), "a token does not print");
    }

    #[test]
    fn values_are_for_those_who_act() {
        for (role, values) in
            [(Role::Viewer, Values::Masked), (Role::Operator, Values::Open), (Role::Admin, Values::Open)]
        {
            assert_eq!(Person { name: "x".to_owned(), role }.values(), values, "{role}");
        }
    }
}

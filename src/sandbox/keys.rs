//! A key and its certificate for the JWT bearer flow, as an administrator would make them for a connected app.

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256};
use secrecy::SecretString;

/// An RSA key of 2048 bits and a certificate of its own, both as PEM.
pub struct ClientKey {
    /// What the client signs with, PKCS #8.
    pub private_pem: SecretString,
    /// What the org checks with, see [`SandboxSettings::certificate_pem`](super::SandboxSettings::certificate_pem).
    pub certificate_pem: String,
}

impl ClientKey {
    /// Makes one.
    ///
    /// # Errors
    /// If the machine has no good randomness.
    pub fn generate() -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let mut certificate = CertificateParams::new(Vec::new())?;
        certificate.distinguished_name.push(DnType::CommonName, "muster-sandbox client");
        let certificate_pem = certificate.self_signed(&key)?.pem();
        Ok(Self { private_pem: key.serialize_pem().into(), certificate_pem })
    }
}

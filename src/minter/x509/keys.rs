//! The key that a certificate is for: the agent's, which it sends as a JWK, or a new one, whose private half is handed out once.
//! Only Ed25519 and ECDSA on P-256 get through, and never the authority's own.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use zeroize::Zeroize as _;

use super::authority::{Authority, pem};
use crate::minter::MintError;
use crate::sys::{PublicJwk, RawKey, SecretString};

/// The agent's public key.
pub(super) struct AgentKey(RawKey);

impl PublicKeyData for AgentKey {
    fn der_bytes(&self) -> &[u8] {
        match &self.0 {
            RawKey::Ed25519(bytes) => bytes,
            RawKey::P256(bytes) => bytes,
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match &self.0 {
            RawKey::Ed25519(_) => &PKCS_ED25519,
            RawKey::P256(_) => &PKCS_ECDSA_P256_SHA256,
        }
    }
}

/// The agent's key, as it sent it, and its thumbprint.
pub(super) fn of_agent(jwk: &str, authority: &Authority) -> Result<(AgentKey, String), MintError> {
    let refuse = |why: String| MintError::Unsupported(format!("the key to certify: {why}"));
    let jwk = PublicJwk::parse(jwk).map_err(|error| refuse(error.to_string()))?;
    let raw = jwk.raw().ok_or_else(|| refuse("only Ed25519 and P-256 keys are certified".to_owned()))?;
    let key = AgentKey(raw);
    if key.subject_public_key_info() == authority.issuer.key().subject_public_key_info() {
        return Err(refuse("it is the authority's own".to_owned()));
    }
    Ok((key, jwk.thumbprint()))
}

/// A new key on P-256, and its private half in PEM (PKCS#8). ring draws it from the operating system, and takes no other source.
pub(super) fn make() -> Result<(KeyPair, SecretString), rcgen::Error> {
    let mut pair = KeyPair::generate()?;
    let text = pem("PRIVATE KEY", pair.serialized_der());
    pair.zeroize();
    Ok((pair, SecretString::from(text.as_str())))
}

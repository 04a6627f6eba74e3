//! Keys: the authority's, read from the configuration's secret, and the one a certificate is for, which the agent sends as a JWK
//! or the broker makes. Only Ed25519 and ECDSA on P-256 get through, and never the authority's own.

use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey};

use super::super::MintError;
use crate::sys::{Entropy, ExposeSecret as _, PublicJwk, RawKey, SecretString};

/// Read the authority's private key, in OpenSSH's own format and without a passphrase.
pub(super) fn read_authority(text: &SecretString) -> Result<PrivateKey, String> {
    // The secret came without the line end that stands behind a file's last line.
    let pem = zeroize::Zeroizing::new(format!("{}\n", text.expose_secret()));
    let key = PrivateKey::from_openssh(pem.as_bytes())
        .map_err(|error| format!("not a private key as `ssh-keygen -t ed25519` makes it: {error}"))?;
    if key.is_encrypted() {
        return Err("it has a passphrase, which nobody could enter: make one with `-N ''`".to_owned());
    }
    let algorithm = key.algorithm();
    if matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }) {
        Ok(key)
    } else {
        Err(format!("a key of type {algorithm}; use ed25519, or ecdsa with 256 bits"))
    }
}

/// The agent's public key, as it sent it.
pub(super) fn of_agent(jwk: &str, authority: &PrivateKey) -> Result<KeyData, MintError> {
    let refuse = |why: String| MintError::Unsupported(format!("the key to certify: {why}"));
    let jwk = PublicJwk::parse(jwk).map_err(|error| refuse(error.to_string()))?;
    let key = match jwk.raw() {
        Some(RawKey::Ed25519(bytes)) => KeyData::Ed25519(Ed25519PublicKey(bytes)),
        Some(RawKey::P256(bytes)) => {
            KeyData::Ecdsa(EcdsaPublicKey::from_sec1_bytes(&bytes).map_err(|error| refuse(error.to_string()))?)
        }
        None => return Err(refuse("only Ed25519 and P-256 keys are certified".to_owned())),
    };
    if key == *authority.public_key().key_data() {
        return Err(refuse("it is the authority's own".to_owned()));
    }
    Ok(key)
}

/// A new key for an agent that sent none: its public half, and its private half in OpenSSH's format.
pub(super) fn make(comment: &str, entropy: &dyn Entropy) -> Result<(KeyData, SecretString), ssh_key::Error> {
    let mut seed = zeroize::Zeroizing::new([0_u8; 32]);
    entropy.fill(&mut *seed);
    let pair = Ed25519Keypair::from(Ed25519PrivateKey::from_bytes(&seed));
    let key = PrivateKey::new(KeypairData::Ed25519(pair), comment)?;
    let text = SecretString::from(key.to_openssh(LineEnding::LF)?.as_str());
    Ok((key.public_key().key_data().clone(), text))
}

/// A public key as logs of OpenSSH name it: `SHA256:…`.
pub(super) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

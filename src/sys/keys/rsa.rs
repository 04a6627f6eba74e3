//! An RSA key that another system gave us to sign with, e.g. the key of a GitHub App. It is a secret of the configuration: never
//! stored, never published, and its private part is never printed.

use std::fmt;

use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::KeyError;
use crate::sys::{ExposeSecret as _, SecretString, SystemEntropy};

/// An RSA private key of 2048 to 4096 bits that signs RS256 (RFC 7518 §3.3).
pub struct RsaKey {
    pair: KeyPair,
    randomness: SystemEntropy,
}

impl fmt::Debug for RsaKey {
    /// Its size, never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaKey({} bytes)", self.pair.public().modulus_len())
    }
}

impl RsaKey {
    /// From PEM: `RSA PRIVATE KEY` (PKCS#1), as GitHub gives it, or `PRIVATE KEY` (PKCS#8).
    ///
    /// # Errors
    /// [`KeyError::Refused`] when it is neither, or a key that ring does not sign with.
    pub fn from_pem(pem: &SecretString) -> Result<Self, KeyError> {
        let refuse = |why: String| KeyError::Refused(format!("not an RSA private key in PEM: {why}"));
        let der = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes());
        let pair = match der.map_err(|error| refuse(error.to_string()))? {
            PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(_) => return Err(refuse("it is one of elliptic curves".to_owned())),
            _ => return Err(refuse("its form is not known".to_owned())),
        };
        let pair = pair.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { pair, randomness: SystemEntropy::default() })
    }

    /// A JWT in compact form (RFC 7519 §3.1) over a JSON payload, signed by RS256.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when the operating system gives no randomness.
    pub fn sign_jwt(&self, payload: &str) -> Result<SecretString, KeyError> {
        let base64 = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
        let message = format!("{}.{}", base64(br#"{"alg":"RS256","typ":"JWT"}"#), base64(payload.as_bytes()));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, self.randomness.as_ring(), message.as_bytes(), &mut signature)
            .map_err(|_| KeyError::Refused("the operating system gives no randomness to sign with".to_owned()))?;
        Ok(SecretString::from(format!("{message}.{}", base64(&signature))))
    }
}

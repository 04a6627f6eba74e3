//! One signing key and its life. The four points of its life are sealed together with the private part, so that whoever can
//! write to the database cannot make a retired key sign again.

use std::fmt;
use std::ops::Deref;

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Kek, KeyAlgorithm, KeyError};
use crate::domain::Timestamp;
use crate::sys::{Entropy, SecretString, SystemEntropy};

/// Bytes of the four points in time before the PKCS#8 document.
const TIMES_LEN: usize = 32;

/// The life of a signing key: published, then signing, then only verifying, then gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTimes {
    /// When it was made, and from when on it is published.
    pub created_at: Timestamp,
    /// From when on it may sign.
    pub activates_at: Timestamp,
    /// Until when it may sign, if no younger key has taken over before.
    pub signs_until: Timestamp,
    /// When it is published and accepted no more.
    pub retires_at: Timestamp,
}

impl KeyTimes {
    fn are_ordered(&self) -> bool {
        self.created_at <= self.activates_at
            && self.activates_at < self.signs_until
            && self.signs_until <= self.retires_at
    }
}

/// What may be known of a signing key by everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLife {
    /// Its random name, as in the `kid` of a JWS header.
    pub kid: String,
    /// What it signs with.
    pub algorithm: KeyAlgorithm,
    /// Its life.
    pub times: KeyTimes,
}

impl KeyLife {
    /// Whether it may sign at `now`.
    #[must_use]
    pub fn may_sign(&self, now: Timestamp) -> bool {
        self.times.activates_at <= now && now < self.times.signs_until
    }

    /// Whether it is published, and what it signed is accepted, at `now`.
    #[must_use]
    pub fn is_published(&self, now: Timestamp) -> bool {
        self.times.created_at <= now && now < self.times.retires_at
    }

    fn label(&self) -> String {
        format!("signing key\0{}\0{}", self.algorithm, self.kid)
    }
}

enum Pair {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that signs credentials; its private part is never printed.
pub struct SigningKey {
    life: KeyLife,
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
    randomness: SystemEntropy,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.life).finish()
    }
}

impl Deref for SigningKey {
    type Target = KeyLife;
    fn deref(&self) -> &KeyLife {
        &self.life
    }
}

impl SigningKey {
    /// Make a new key. Its name comes from `entropy`; ring draws the key itself, and each ECDSA nonce, from the operating
    /// system, because it takes no other source.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when the points of its life are out of order or ring cannot make a key.
    pub fn generate(algorithm: KeyAlgorithm, times: KeyTimes, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let mut kid = [0_u8; 16];
        entropy.fill(&mut kid);
        let life = KeyLife { kid: data_encoding::BASE64URL_NOPAD.encode(&kid), algorithm, times };
        let randomness = SystemEntropy::default();
        let document = match algorithm {
            KeyAlgorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, randomness.as_ring()),
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(randomness.as_ring()),
        }
        .map_err(|_| KeyError::Refused(format!("an {algorithm} key could not be made")))?;
        Self::parse(life, Zeroizing::new(document.as_ref().to_vec()))
    }

    fn parse(life: KeyLife, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let corrupt = |why| KeyError::Corrupt { what: life.label().replace('\0', " "), why };
        if !life.times.are_ordered() {
            return Err(corrupt("the points of its life are out of order"));
        }
        let randomness = SystemEntropy::default();
        let pair = match life.algorithm {
            KeyAlgorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, randomness.as_ring())
                    .map(Pair::Es256)
            }
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::from_pkcs8(&pkcs8).map(Pair::Ed25519),
        }
        .map_err(|_| corrupt("not a key of its algorithm"))?;
        Ok(Self { life, pair, pkcs8, randomness })
    }

    /// Seal it for storing, bound to its name and algorithm.
    ///
    /// # Errors
    /// [`KeyError::Refused`], which for a key of ours cannot happen.
    pub fn seal(&self, kek: &Kek, entropy: &dyn Entropy) -> Result<Vec<u8>, KeyError> {
        let times = self.life.times;
        let mut plain = Zeroizing::new(Vec::with_capacity(TIMES_LEN.saturating_add(self.pkcs8.len())));
        for point in [times.created_at, times.activates_at, times.signs_until, times.retires_at] {
            plain.extend_from_slice(&point.as_millis().to_be_bytes());
        }
        plain.extend_from_slice(&self.pkcs8);
        kek.seal(&self.life.label(), &plain, entropy)
    }

    /// Read a stored key back.
    ///
    /// # Errors
    /// [`KeyError::WrongKek`], or [`KeyError::Corrupt`] when the bytes were changed or belong to another key.
    pub fn unseal(kid: &str, algorithm: KeyAlgorithm, sealed: &[u8], kek: &Kek) -> Result<Self, KeyError> {
        let at = Timestamp::from_millis(0);
        let times = KeyTimes { created_at: at, activates_at: at, signs_until: at, retires_at: at };
        let mut life = KeyLife { kid: kid.to_owned(), algorithm, times };
        let plain = kek.unseal(&life.label(), sealed)?;
        let short = || KeyError::Corrupt { what: life.label().replace('\0', " "), why: "too short" };
        let (points, pkcs8) = plain.split_first_chunk::<TIMES_LEN>().ok_or_else(short)?;
        let mut points = points.chunks_exact(8).map(|eight| {
            let millis = eight.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
            Timestamp::from_millis(millis.cast_signed())
        });
        let mut next = || points.next().ok_or_else(short);
        life.times = KeyTimes { created_at: next()?, activates_at: next()?, signs_until: next()?, retires_at: next()? };
        Self::parse(life, Zeroizing::new(pkcs8.to_vec()))
    }

    /// The public part as a JWK (RFC 7517): `kty`, `crv`, `x`, `y`, `use`, `alg`, `kid` and nothing else.
    #[must_use]
    pub fn public_jwk(&self) -> serde_json::Value {
        let base64 = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
        let (kid, alg) = (&self.life.kid, self.life.algorithm);
        match &self.pair {
            Pair::Es256(pair) => {
                // SEC 1 §2.3.3: an uncompressed point is 0x04, then x, then y, 32 bytes each.
                let point = pair.public_key().as_ref();
                let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y), "use": "sig", "alg": alg, "kid": kid})
            }
            Pair::Ed25519(pair) => {
                let x = base64(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": alg, "kid": kid})
            }
        }
    }

    /// Sign a message; the signature is in the form a JWS carries (RFC 7518 §3.4: r and s, 32 bytes each; RFC 8037 §3.1).
    ///
    /// # Errors
    /// [`KeyError::Refused`] when the operating system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Es256(pair) => pair
                .sign(self.randomness.as_ring(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Refused("the operating system gives no randomness to sign with".to_owned())),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// A JWS in compact form (RFC 7515 §7.1) over a JSON payload, with `alg`, `kid` and the given `typ`.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_compact(&self, typ: &str, payload: &str) -> Result<SecretString, KeyError> {
        let base64 = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
        let header = json!({"alg": self.life.algorithm, "kid": self.life.kid, "typ": typ}).to_string();
        let message = format!("{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()));
        let signature = self.sign(message.as_bytes())?;
        Ok(SecretString::from(format!("{message}.{}", base64(&signature))))
    }

    /// Whether this key made the signature over the message.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.pair {
            Pair::Es256(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()).verify(message, signature)
            }
            Pair::Ed25519(pair) => {
                UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref()).verify(message, signature)
            }
        }
        .is_ok()
    }
}

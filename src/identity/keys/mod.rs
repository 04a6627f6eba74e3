//! An issuer's published keys (RFC 7517), checked once when they arrive and turned into verifiers once. What josekit would
//! let pass (RSA with e = 1, factorable keys, secrets among public keys, two keys of one name) is refused here.

use std::collections::{HashMap, HashSet};

use data_encoding::BASE64URL_NOPAD;
use josekit::jws::JwsVerifier;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, KeyShape};
use super::roca;
use crate::sys::parse_object;

/// The longest key set that is read, in bytes.
pub(super) const MAX_SET_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 100;
const MAX_KID_BYTES: usize = 256;
const MAX_DEPTH: usize = 16;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Why a whole key set is refused. Single keys that are of no use to us are only left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("the key set is not a strict JSON object with an array of `keys`")]
    Malformed,
    #[error("the key set holds more than {MAX_KEYS} keys")]
    TooMany,
    #[error("the key set holds a secret key")]
    Secret,
    #[error("two keys of the set have one `kid`")]
    DuplicateKid,
    #[error("a JWT-SVID key has no `kid`")]
    KidMissing,
}

/// Which use of a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// `sig`, as in RFC 7517.
    Signature,
    /// `jwt-svid`, as in a SPIFFE bundle, where each key must have a name.
    JwtSvid,
}

/// One public key: a verifier for each algorithm that the issuer, the key's kind and the key itself allow.
struct Key {
    verifiers: Vec<(Algorithm, Box<dyn JwsVerifier>)>,
}

/// What looking for a key says.
pub(super) enum Found<'a> {
    /// The verifier to use.
    Key(&'a dyn JwsVerifier),
    /// The key is there but is not for this algorithm.
    Unfit,
    /// No such key.
    Unknown,
}

/// The usable keys of one issuer.
pub(super) struct KeySet {
    named: HashMap<String, Key>,
    nameless: Vec<Key>,
}

impl KeySet {
    pub(super) fn parse(bytes: &[u8], allowed: &[Algorithm], key_use: KeyUse) -> Result<Self, KeySetError> {
        let set = parse_object(bytes, MAX_DEPTH).map_err(|_| KeySetError::Malformed)?;
        let Some(Value::Array(members)) = set.get("keys") else {
            return Err(KeySetError::Malformed);
        };
        if members.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let (mut named, mut nameless, mut seen) = (HashMap::new(), Vec::new(), HashSet::new());
        for member in members {
            let Value::Object(jwk) = member else {
                return Err(KeySetError::Malformed);
            };
            // A secret that an issuer publishes, or that stands among public keys, invites HMAC with what everybody knows.
            if text(jwk, "kty") == Some("oct") {
                return Err(KeySetError::Secret);
            }
            let kid = match jwk.get("kid") {
                None => None,
                Some(Value::String(kid)) if kid.len() <= MAX_KID_BYTES => Some(kid),
                Some(_) => return Err(KeySetError::Malformed),
            };
            if kid.is_some_and(|kid| !seen.insert(kid)) {
                return Err(KeySetError::DuplicateKid);
            }
            if !is_for(jwk, key_use) {
                continue;
            }
            let key = Key::parse(jwk, allowed);
            match kid {
                Some(kid) => drop(key.map(|key| named.insert(kid.clone(), key))),
                None if key_use == KeyUse::JwtSvid => return Err(KeySetError::KidMissing),
                None => nameless.extend(key),
            }
        }
        Ok(Self { named, nameless })
    }

    /// The key for a token: the one it names, or, where it names none, the only one that fits.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        if let Some(kid) = kid {
            return self
                .named
                .get(kid)
                .map_or(Found::Unknown, |key| key.verifier(algorithm).map_or(Found::Unfit, Found::Key));
        }
        let mut fitting = self.named.values().chain(&self.nameless).filter_map(|key| key.verifier(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Found::Key(only),
            (Some(_), Some(_)) | (None, _) => Found::Unknown,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.named.len().saturating_add(self.nameless.len())
    }
}

impl Key {
    /// `None` when the key is of a kind, size or make that we do not use.
    fn parse(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Option<Self> {
        // A key whose private half is published proves nothing.
        if jwk.contains_key("d") {
            return None;
        }
        let (shape, bare) = bare_public_key(jwk)?;
        let only = match jwk.get("alg") {
            None => None,
            Some(alg) => Some(Algorithm::from_alg(alg.as_str()?)?),
        };
        let verifiers: Vec<_> = allowed
            .iter()
            .filter(|algorithm| algorithm.shape() == shape && only.is_none_or(|only| only == **algorithm))
            .filter_map(|algorithm| Some((*algorithm, algorithm.verifier(bare.clone())?)))
            .collect();
        if verifiers.is_empty() { None } else { Some(Self { verifiers }) }
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&dyn JwsVerifier> {
        self.verifiers.iter().find(|(other, _)| *other == algorithm).map(|(_, verifier)| &**verifier)
    }
}

/// RFC 7517 §4.2 and §4.3: `use` and `key_ops`, where they are given, must allow checking signatures.
fn is_for(jwk: &Map<String, Value>, key_use: KeyUse) -> bool {
    let use_fits = match (jwk.get("use"), key_use) {
        (None, _) => true,
        (Some(found), KeyUse::Signature) => found == "sig",
        (Some(found), KeyUse::JwtSvid) => found == "jwt-svid",
    };
    let ops_fit = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(ops)) => ops.iter().any(|op| op == "verify"),
        Some(_) => false,
    };
    use_fits && ops_fit
}

/// The key's own parameters and nothing else, each checked.
fn bare_public_key(jwk: &Map<String, Value>) -> Option<(KeyShape, Map<String, Value>)> {
    let (shape, names): (_, &[&str]) = match (text(jwk, "kty")?, text(jwk, "crv")) {
        ("RSA", None) => (KeyShape::Rsa, &["n", "e"]),
        ("EC", Some("P-256")) => (KeyShape::P256, &["x", "y"]),
        ("EC", Some("P-384")) => (KeyShape::P384, &["x", "y"]),
        ("OKP", Some("Ed25519")) => (KeyShape::Ed25519, &["x"]),
        _ => return None,
    };
    let mut bare = Map::new();
    for name in ["kty", "crv"] {
        bare.extend(jwk.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    for name in names {
        let bytes = BASE64URL_NOPAD.decode(text(jwk, name)?.as_bytes()).ok()?;
        let fits = match (shape, *name) {
            (KeyShape::Rsa, "n") => is_sound_modulus(&bytes),
            (KeyShape::Rsa, _) => bytes == RSA_EXPONENT,
            (KeyShape::P256 | KeyShape::Ed25519, _) => bytes.len() == 32,
            (KeyShape::P384, _) => bytes.len() == 48,
        };
        if !fits {
            return None;
        }
        bare.insert((*name).to_owned(), Value::String(BASE64URL_NOPAD.encode(&bytes)));
    }
    Some((shape, bare))
}

fn is_sound_modulus(modulus: &[u8]) -> bool {
    let Some(start) = modulus.iter().position(|byte| *byte != 0) else {
        return false;
    };
    let digits = modulus.get(start..).unwrap_or_default();
    let spare = digits.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = digits.len().saturating_mul(8).saturating_sub(spare);
    let odd = digits.last().is_some_and(|byte| byte % 2 == 1);
    RSA_BITS.contains(&bits) && odd && !roca::has_fingerprint(digits)
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests;

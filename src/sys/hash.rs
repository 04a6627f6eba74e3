//! Digests and canonical JSON: one way to name a thing by its content.

use serde::Serialize;

use crate::domain::Digest;

/// The SHA-256 digest of some bytes.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes.as_ref());
    let mut out = [0_u8; 32];
    out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    Digest::from_bytes(out)
}

/// The HMAC-SHA-256 of a message (RFC 2104).
#[must_use]
pub fn mac(key: &[u8], message: &[u8]) -> Digest {
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), message);
    let mut out = [0_u8; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    Digest::from_bytes(out)
}

/// What a secret is recognised by: its SHA-256 in 64 hexadecimal digits. Useless to anybody who does not hold the secret, as
/// ours have at least 128 random bits.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    data_encoding::HEXLOWER.encode(sha256(secret).as_bytes())
}

/// Canonical JSON (RFC 8785).
///
/// # Errors
/// When the value has a map key that is not a string, or a number JSON cannot carry.
pub fn canonical_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json_canonicalizer::to_string(value)
}

/// The same for a value that is written in canonical order already: structs whose members stand in alphabetical order, maps
/// sorted by ASCII keys, integers and strings. Nothing has to be held back and sorted, which is most of the work; a debug build
/// checks the promise.
///
/// # Errors
/// As [`canonical_json`].
pub fn sorted_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(value)?;
    debug_assert_eq!(canonical_json(value).ok().as_deref(), Some(text.as_str()), "not in canonical order");
    Ok(text)
}

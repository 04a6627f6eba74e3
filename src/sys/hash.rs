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

/// The first sixteen hexadecimal digits of a secret's SHA-256: enough to recognise it, useless to anybody else, as our
/// secrets have at least 128 random bits.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    let digest = sha256(secret);
    data_encoding::HEXLOWER.encode(digest.as_bytes().first_chunk::<8>().map_or(&[][..], |eight| &eight[..]))
}

/// Canonical JSON (RFC 8785).
///
/// # Errors
/// When the value has a map key that is not a string, or a number JSON cannot carry.
pub fn canonical_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json_canonicalizer::to_string(value)
}

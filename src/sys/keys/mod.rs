//! Signing keys: made by ring, sealed at rest, published before they sign and kept until nothing they signed is valid any
//! more. Everything here is pure but for the key-encryption key's file; who stores the sealed bytes and turns the ring is
//! floors above. No private part is ever printed, serialised or published.

mod kek;
mod ring;
mod rotation;
mod rsa;
mod signing;

pub use kek::Kek;
pub use ring::KeyRing;
pub use rotation::{Rotation, RotationSettings, rotation};
pub use rsa::RsaKey;
pub use signing::{KeyLife, KeyTimes, SigningKey};

crate::domain::words! {
    /// What a signing key signs with.
    KeyAlgorithm as "key algorithm" {
        /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4). Every verifier has it.
        Es256 = "ES256",
        /// `EdDSA` on Curve25519. Published by its fully specified name (RFC 9864 §2.2), because RFC 9864 deprecates the
        /// polymorphic `EdDSA` and RFC 8725bis asks for names that fix the curve; verifiers that know only `EdDSA` need
        /// ES256.
        Ed25519 = "Ed25519",
    }
}

/// What went wrong with a key, named for what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written; see the source.
    #[error("{what}: {source}")]
    Unavailable {
        /// Which file, and what was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not fit to be used; an operator must mend it.
    #[error("{0}")]
    Refused(String),
    /// It was sealed under another key-encryption key.
    #[error(
        "sealed under the key-encryption key with check value {sealed_with}, but the one given has {given}; \
         give the key-encryption key that was in use when it was sealed"
    )]
    WrongKek {
        /// Check value of the key it was sealed under.
        sealed_with: String,
        /// Check value of the key that was given.
        given: String,
    },
    /// The sealed bytes were changed, or are not what they are taken for. Stop and look.
    #[error("corrupt sealed {what}: {why}")]
    Corrupt {
        /// Which thing.
        what: String,
        /// The rule it breaks.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests;

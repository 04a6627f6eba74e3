//! The signature algorithms an issuer may be trusted for, and josekit's verifier for each. All are asymmetric: with a shared
//! secret, whoever can check a token can make one. josekit is called here and nowhere else in this room, and only to compare
//! a signature with bytes; it sees no claim, and no key that was not rebuilt from checked parts.

use josekit::jwk::Jwk;
use josekit::jws::JwsVerifier;
use josekit::jws::alg::ecdsa::EcdsaJwsAlgorithm;
use josekit::jws::alg::eddsa::EddsaJwsAlgorithm;
use josekit::jws::alg::rsassa::RsassaJwsAlgorithm;
use josekit::jws::alg::rsassa_pss::RsassaPssJwsAlgorithm;
use serde_json::{Map, Value};

use crate::domain::words;

words! {
    /// A signature algorithm (RFC 7518 §3.1, RFC 8037).
    Algorithm as "asymmetric signature algorithm" {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// Ed25519; a token may also call it `Ed25519` (RFC 9864).
        EdDsa = "EdDSA",
    }
}

/// What a public key is, which decides the algorithms it can be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyShape {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    /// From a header's or a key's `alg`: exact case, with RFC 9864's name for Ed25519.
    pub(super) fn from_alg(alg: &str) -> Option<Self> {
        if alg == "Ed25519" { Some(Self::EdDsa) } else { alg.parse().ok() }
    }

    /// The keys it works with.
    pub(super) const fn shape(self) -> KeyShape {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => KeyShape::Rsa,
            Self::Es256 => KeyShape::P256,
            Self::Es384 => KeyShape::P384,
            Self::EdDsa => KeyShape::Ed25519,
        }
    }

    /// josekit's verifier for a public key given by its bare parameters; `None` when OpenSSL does not take the key (a point
    /// that is not on the curve).
    pub(super) fn verifier(self, bare_jwk: Map<String, Value>) -> Option<Box<dyn JwsVerifier>> {
        let jwk = Jwk::from_map(bare_jwk).ok()?;
        let rsa = |algorithm: RsassaJwsAlgorithm| algorithm.verifier_from_jwk(&jwk).ok().map(boxed);
        let pss = |algorithm: RsassaPssJwsAlgorithm| algorithm.verifier_from_jwk(&jwk).ok().map(boxed);
        let ecdsa = |algorithm: EcdsaJwsAlgorithm| algorithm.verifier_from_jwk(&jwk).ok().map(boxed);
        match self {
            Self::Rs256 => rsa(RsassaJwsAlgorithm::Rs256),
            Self::Rs384 => rsa(RsassaJwsAlgorithm::Rs384),
            Self::Rs512 => rsa(RsassaJwsAlgorithm::Rs512),
            Self::Ps256 => pss(RsassaPssJwsAlgorithm::Ps256),
            Self::Ps384 => pss(RsassaPssJwsAlgorithm::Ps384),
            Self::Ps512 => pss(RsassaPssJwsAlgorithm::Ps512),
            Self::Es256 => ecdsa(EcdsaJwsAlgorithm::Es256),
            Self::Es384 => ecdsa(EcdsaJwsAlgorithm::Es384),
            Self::EdDsa => EddsaJwsAlgorithm::Eddsa.verifier_from_jwk(&jwk).ok().map(boxed),
        }
    }
}

fn boxed<V: JwsVerifier + 'static>(verifier: V) -> Box<dyn JwsVerifier> {
    Box::new(verifier)
}

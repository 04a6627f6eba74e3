//! Public keys as authenticators hand them over (RFC 9052 §7, RFC 9053 §7, RFC 8230 §4), of three kinds and no other member than
//! these need; each verified by ring.

use ciborium::Value;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};

use super::cbor;
use crate::domain::PasskeyFault;
use crate::identity::roca;

/// The longest key, in bytes: a 4096-bit modulus and what surrounds it.
const MAX_KEY_BYTES: usize = 560;
/// How long a modulus may be, in bytes: 2048 to 4096 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CoseKey {
    /// ES256: an uncompressed point of P-256.
    Es256([u8; 65]),
    /// EdDSA: Ed25519.
    Ed25519([u8; 32]),
    /// RS256.
    Rs256 {
        /// The modulus, 2048 to 4096 bits; the exponent is 65537.
        modulus: Vec<u8>,
    },
}

impl CoseKey {
    /// From its bytes, all of them.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PasskeyFault> {
        if bytes.len() > MAX_KEY_BYTES {
            return Err(PasskeyFault::UnsupportedKey);
        }
        let members = cbor::only_map(bytes)?;
        let number = |name| cbor::numbered(&members, name).and_then(cbor::whole);
        // WebAuthn Level 3 §6.5.1: `alg`, what the key type requires, and nothing else. Which algorithm an EC key is for, and on
        // which curve, is fixed by §5.8.5.
        match (number(1), number(3), members.len()) {
            (Some(2), Some(-7), 5) if number(-1) == Some(1) => {
                let (x, y) = (sized::<32>(&members, -2)?, sized::<32>(&members, -3)?);
                let mut point = [4_u8; 65];
                point.iter_mut().skip(1).zip(x.iter().chain(&y)).for_each(|(to, from)| *to = *from);
                Ok(Self::Es256(point))
            }
            (Some(1), Some(-8), 4) if number(-1) == Some(6) => Ok(Self::Ed25519(sized::<32>(&members, -2)?)),
            (Some(3), Some(-257), 4) => {
                let (modulus, exponent) = (octets(&members, -1)?, octets(&members, -2)?);
                // RFC 8230 §4: no leading zero.
                let lowest = if modulus.len() == *MODULUS_BYTES.start() { 0x80 } else { 1 };
                let sound = MODULUS_BYTES.contains(&modulus.len())
                    && modulus.first().is_some_and(|byte| *byte >= lowest)
                    && modulus.last().is_some_and(|byte| byte % 2 == 1)
                    && exponent == RSA_EXPONENT
                    && !roca::has_fingerprint(modulus);
                if sound { Ok(Self::Rs256 { modulus: modulus.to_vec() }) } else { Err(PasskeyFault::UnsupportedKey) }
            }
            _ => Err(PasskeyFault::UnsupportedKey),
        }
    }

    /// Its algorithm's COSE number.
    pub(super) const fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => -7,
            Self::Ed25519(_) => -8,
            Self::Rs256 { .. } => -257,
        }
    }

    /// Check a signature (WebAuthn Level 3 §6.5.5).
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), PasskeyFault> {
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        let verified = match self {
            Self::Es256(point) => by(&ECDSA_P256_SHA256_ASN1, point),
            Self::Ed25519(key) => by(&ED25519, key),
            Self::Rs256 { modulus } => RsaPublicKeyComponents { n: modulus.as_slice(), e: RSA_EXPONENT.as_slice() }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        };
        verified.map_err(|_| PasskeyFault::BadSignature)
    }
}

fn octets(members: &[(Value, Value)], name: i64) -> Result<&[u8], PasskeyFault> {
    cbor::numbered(members, name).and_then(Value::as_bytes).map(Vec::as_slice).ok_or(PasskeyFault::UnsupportedKey)
}

fn sized<const N: usize>(members: &[(Value, Value)], name: i64) -> Result<[u8; N], PasskeyFault> {
    octets(members, name)?.try_into().map_err(|_| PasskeyFault::UnsupportedKey)
}

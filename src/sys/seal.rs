//! Sealing something to a key that only its receiver can open: a compact JWE (RFC 7516) to a public JWK. The broker keeps what
//! it sealed and cannot read it again, because it keeps nothing of the ephemeral key.

use josekit::jwe::{ECDH_ES_A256KW, JweHeader};
use josekit::jwk::Jwk;

use super::jwk::{JwkError, PublicJwk};

/// The key could not be used.
#[derive(Debug, thiserror::Error)]
#[error("it could not be sealed: {0}")]
pub struct SealError(String);

/// A public key of an agent's to which credentials are sealed: EC P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryKey(PublicJwk);

impl DeliveryKey {
    /// Parse and check a JWK.
    ///
    /// # Errors
    /// [`JwkError`]; `Unsupported` for a key that is good, but not EC P-256.
    pub fn parse(text: &str) -> Result<Self, JwkError> {
        let key = PublicJwk::parse(text)?;
        if key.canonical().starts_with(r#"{"crv":"P-256","kty":"EC","#) {
            Ok(Self(key))
        } else {
            Err(JwkError::Unsupported("credentials are sealed to EC P-256 keys only".to_owned()))
        }
    }

    /// The SHA-256 thumbprint in base64url (RFC 7638); the `kid` of what is sealed.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.0.thumbprint()
    }

    /// A compact JWE of some JSON: ECDH-ES+A256KW with a fresh ephemeral key, and A256GCM (RFC 7518 §4.6, §5.3).
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, json: &[u8]) -> Result<String, SealError> {
        let failed = |error: josekit::JoseError| SealError(error.to_string());
        let mut header = JweHeader::new();
        header.set_token_type("JOSE");
        header.set_content_type("json");
        header.set_content_encryption("A256GCM");
        header.set_key_id(self.thumbprint());
        let jwk = Jwk::from_bytes(self.0.canonical()).map_err(failed)?;
        let encrypter = ECDH_ES_A256KW.encrypter_from_jwk(&jwk).map_err(failed)?;
        josekit::jwe::serialize_compact(json, &header, &encrypter).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use josekit::jwk::alg::ec::EcCurve;

    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_the_private_key_alone() {
        let pair = |()| ECDH_ES_A256KW.generate_ec_key_pair(EcCurve::P256).unwrap();
        let (own, other) = (pair(()), pair(()));
        let mut public = own.to_jwk_public_key();
        public.set_key_id("mine");
        let key = DeliveryKey::parse(&public.to_string()).unwrap();
        let (one, two) = (key.seal(br#"{"a":1}"#).unwrap(), key.seal(br#"{"a":1}"#).unwrap());
        assert_ne!(one.split('.').next(), two.split('.').next(), "each has an ephemeral key of its own");
        let opener = ECDH_ES_A256KW.decrypter_from_jwk(&own.to_jwk_private_key()).unwrap();
        let (plain, header) = josekit::jwe::deserialize_compact(&one, &opener).unwrap();
        assert_eq!(plain, br#"{"a":1}"#);
        assert_eq!((header.content_encryption(), header.key_id()), (Some("A256GCM"), Some(key.thumbprint().as_str())));
        let stranger = ECDH_ES_A256KW.decrypter_from_jwk(&other.to_jwk_private_key()).unwrap();
        assert!(josekit::jwe::deserialize_compact(&one, &stranger).is_err());
    }

    #[test]
    fn keys_of_other_kinds_and_private_ones_are_refused() {
        let private = ECDH_ES_A256KW.generate_ec_key_pair(EcCurve::P256).unwrap().to_jwk_private_key();
        assert_eq!(DeliveryKey::parse(&private.to_string()), Err(JwkError::Private("d")));
        let p384 = ECDH_ES_A256KW.generate_ec_key_pair(EcCurve::P384).unwrap().to_jwk_public_key();
        assert!(matches!(DeliveryKey::parse(&p384.to_string()), Err(JwkError::Unsupported(_))));
        let ed25519 = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert!(matches!(DeliveryKey::parse(ed25519), Err(JwkError::Unsupported(_))));
    }
}

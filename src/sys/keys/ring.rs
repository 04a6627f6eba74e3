//! The ring of all signing keys in use. It is swapped as a whole, so that a signer, a verifier and the JWKS never see half
//! of a rotation, and reading it takes no lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{KeyAlgorithm, SigningKey};
use crate::domain::Timestamp;

/// All signing keys in use.
#[derive(Debug, Default)]
pub struct KeyRing(ArcSwap<Vec<Arc<SigningKey>>>);

impl KeyRing {
    /// From the keys that were read back.
    #[must_use]
    pub fn new(keys: Vec<SigningKey>) -> Self {
        let ring = Self::default();
        ring.replace(keys);
        ring
    }

    /// Put other keys in place of all.
    pub fn replace(&self, keys: Vec<SigningKey>) {
        self.0.store(Arc::new(keys.into_iter().map(Arc::new).collect()));
    }

    /// All keys, whatever their state.
    #[must_use]
    pub fn keys(&self) -> Arc<Vec<Arc<SigningKey>>> {
        self.0.load_full()
    }

    /// The key that signs at `now`: of those that may, the one activated last.
    #[must_use]
    pub fn signing_key(&self, algorithm: KeyAlgorithm, now: Timestamp) -> Option<Arc<SigningKey>> {
        let keys = self.0.load();
        keys.iter()
            .filter(|key| key.algorithm == algorithm && key.may_sign(now))
            .max_by_key(|key| (key.times.activates_at, &key.kid))
            .cloned()
    }

    /// The key of that name, while it is published.
    #[must_use]
    pub fn find(&self, kid: &str, now: Timestamp) -> Option<Arc<SigningKey>> {
        self.0.load().iter().find(|key| key.kid == kid && key.is_published(now)).cloned()
    }

    /// The JWK set (RFC 7517 §5) of all keys published at `now`, those included that do not sign yet.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> String {
        let keys = self.0.load();
        let published: Vec<_> = keys.iter().filter(|key| key.is_published(now)).map(|key| key.public_jwk()).collect();
        serde_json::json!({ "keys": published }).to_string()
    }
}

//! Whether the broker can do its job now, part by part. Issuers and backends that are degraded are details, not failures: others
//! still work.

use std::collections::BTreeMap;

use super::Broker;

/// Whether the broker can do its job, part by part.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// `store`, `keys`, `policy`, `clock`, `kill_switch`, `issuer:<name>`, each `ok` or what is wrong.
    pub details: BTreeMap<String, String>,
}

impl Broker {
    /// Look at the store (with a real write), the keys, the policy bundle, the clock and the issuers.
    pub async fn readiness(&self) -> Readiness {
        let now = self.clock.now();
        let mut details = BTreeMap::new();
        let mut ready = true;
        let mut need = |part: &str, state: Result<(), String>| {
            ready &= state.is_ok();
            details.insert(part.to_owned(), state.err().unwrap_or_else(|| "ok".to_owned()));
        };
        need("store", self.store.probe_write().await.map_err(|_| "cannot be written".to_owned()));
        let missing = self.key_algorithms.iter().find(|algorithm| self.keyring.signing_key(**algorithm, now).is_none());
        need("keys", missing.map_or(Ok(()), |algorithm| Err(format!("no key signs {algorithm}"))));
        let standing = self.standing.load();
        let same = standing.control.bundle == Some(self.policy.current().digest());
        need("policy", if same { Ok(()) } else { Err("the bundle in force is not loaded".to_owned()) });
        need("clock", self.clock.trouble().map_or(Ok(()), Err));
        if standing.control.killed {
            details.insert("kill_switch".to_owned(), "thrown".to_owned());
        }
        for issuer in self.verifiers.status(now) {
            details.insert(format!("issuer:{}", issuer.name), issuer.state.to_string());
        }
        Readiness { ready, details }
    }
}

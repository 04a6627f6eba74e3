//! Whether the broker can do its job now, part by part. Issuers and backends that are degraded are details, not failures: others
//! still work.

use std::collections::BTreeMap;

use super::Broker;
use crate::store::Overdue;

/// Whether the broker can do its job, part by part.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// `store`, `keys`, `policy`, `clock`, `restore`, `endings_at_start`, `endings`, `kill_switch`, `backend:<name>` and
    /// `issuer:<name>`, each `ok` or what is wrong.
    pub details: BTreeMap<String, String>,
}

impl Broker {
    /// Look at the store (with a real write) and everything else that minting and ending rest on.
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
        need("restore", self.quarantine().map_or(Ok(()), Err));
        let catching_up = self.catching_up.load(std::sync::atomic::Ordering::Acquire);
        need("endings_at_start", if catching_up { Err("what is overdue is being ended".to_owned()) } else { Ok(()) });
        // A store that does not answer says so itself.
        if let Ok(Overdue { overdue, irrevocable, .. }) = self.store.overdue_endings().await {
            let state = match overdue {
                0 => "ok".to_owned(),
                _ => format!("{overdue} credentials could not be ended yet, {irrevocable} of them irrevocable"),
            };
            details.insert("endings".to_owned(), state);
        }
        for (backend, room) in self.bulkheads.iter() {
            let state = if room.answers() { "ok" } else { "it does not answer and is left alone for a while" };
            details.insert(format!("backend:{backend}"), state.to_owned());
        }
        if standing.control.killed {
            details.insert("kill_switch".to_owned(), "thrown".to_owned());
        }
        for issuer in self.verifiers.status(now) {
            details.insert(format!("issuer:{}", issuer.name), issuer.state.to_string());
        }
        Readiness { ready, details }
    }
}

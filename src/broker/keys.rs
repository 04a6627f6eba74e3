//! Signing keys over time: make them, publish them ahead of their first use, retire them after the last token signed with them
//! has ended. What to do is a pure rule (`sys::keys::rotation`); here it becomes durable, with its events.

use std::collections::BTreeSet;

use super::facts::Record;
use super::{Broker, BrokerError};
use crate::domain::{Actor, EventKind, Subjects, Timestamp};
use crate::store::{SealedKey, StoreError};
use crate::sys::keys::{KeyLife, SigningKey, rotation};

/// A stored key that is in use or will be.
const KEPT: &str = "kept";
/// A stored key whose last token has ended; its secret half is gone.
const RETIRED: &str = "retired";

impl Broker {
    /// Load the signing keys and do what their rotation asks for. At start, and then by a sweep.
    ///
    /// # Errors
    /// When the store does not answer, or a key cannot be unsealed with this KEK.
    pub async fn rotate_keys(&self) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let mut keys = self.load_keys().await?;
        let lives: Vec<KeyLife> = keys.iter().map(|key| KeyLife::clone(key)).collect();
        let todo = rotation(&lives, &self.key_algorithms, now, &self.rotation);
        for (algorithm, times) in todo.create {
            let key = SigningKey::generate(algorithm, times, &*self.entropy)?;
            self.keep_key(&key, now).await?;
            keys.push(key);
        }
        for kid in &todo.retire {
            self.retire_key(kid, now).await?;
        }
        keys.retain(|key| !todo.retire.contains(&key.kid));
        self.keyring.replace(keys);
        self.note_activated(todo.active, now).await
    }

    async fn load_keys(&self) -> Result<Vec<SigningKey>, BrokerError> {
        let rows = self.store.list_signing_keys().await?;
        rows.iter()
            .filter(|row| row.state == KEPT)
            .map(|row| {
                let algorithm = row.algorithm.parse().map_err(|_| {
                    StoreError::Corrupt(format!("signing_key.algorithm of {} is `{}`", row.kid, row.algorithm))
                })?;
                Ok(SigningKey::unseal(&row.kid, algorithm, &row.sealed, &self.kek)?)
            })
            .collect()
    }

    fn row(&self, key: &SigningKey) -> Result<SealedKey, BrokerError> {
        Ok(SealedKey {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str().to_owned(),
            state: KEPT.to_owned(),
            sealed: key.seal(&self.kek, &*self.entropy)?,
            public_jwk: key.public_jwk().to_string(),
            created_at: key.times.created_at,
            activates_at: key.times.activates_at,
            retires_at: None,
        })
    }

    async fn keep_key(&self, key: &SigningKey, now: Timestamp) -> Result<(), BrokerError> {
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        record.note(
            EventKind::KeyCreated,
            Subjects::default(),
            [
                ("activates_at", key.times.activates_at.to_string().into()),
                ("algorithm", key.algorithm.as_str().into()),
                ("kid", key.kid.as_str().into()),
            ],
        );
        let mut tx = self.store.begin("key.create");
        tx.insert_signing_key(&self.row(key)?);
        crate::sys::killpoint!(KeyBeforeCommit);
        record.commit(tx).await?;
        crate::sys::killpoint!(KeyAfterCommit);
        Ok(())
    }

    pub(super) async fn retire_key(&self, kid: &str, now: Timestamp) -> Result<(), BrokerError> {
        let rows = self.store.list_signing_keys().await?;
        let Some(row) = rows.into_iter().find(|row| row.kid == kid && row.state == KEPT) else { return Ok(()) };
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        record.note(EventKind::KeyRetired, Subjects::default(), [("kid", kid.into())]);
        let retired = SealedKey { state: RETIRED.to_owned(), sealed: Vec::new(), retires_at: Some(now), ..row };
        let mut tx = self.store.begin("key.retire");
        tx.update_signing_key(kid, KEPT, &retired);
        Ok(record.commit(tx).await?)
    }

    /// Note once for each key that it signs now.
    async fn note_activated(&self, active: Vec<String>, now: Timestamp) -> Result<(), BrokerError> {
        let fresh: Vec<String> = {
            let mut known = self.active_keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let fresh = active.iter().filter(|kid| !known.contains(*kid)).cloned().collect();
            *known = active.into_iter().collect::<BTreeSet<_>>();
            fresh
        };
        if fresh.is_empty() {
            return Ok(());
        }
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        for kid in fresh {
            record.note(EventKind::KeyActivated, Subjects::default(), [("kid", kid.into())]);
        }
        Ok(record.commit(self.store.begin("key.activate")).await?)
    }

    /// The JWKS document of the keys that sign credentials, and for how many seconds it may be cached.
    #[must_use]
    pub fn jwks(&self) -> (String, u32) {
        (self.keyring.jwks(self.clock.now()), self.jwks_max_age_secs)
    }
}

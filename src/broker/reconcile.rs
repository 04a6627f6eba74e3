//! Looking the other way: from what a backend holds to the leases that answer for it. What carries our mark and has no lease
//! that lives is ended and somebody is alarmed. Only this repairs a database that lost rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bulkhead::{Call, in_time};
use super::end_lease::REVOKE_TIMEOUT;
use super::facts::Record;
use super::{Broker, BrokerError, SweepReport};
use crate::domain::{Actor, EventKind, LeaseId, LeaseState, Name, Subjects, Timestamp};
use crate::minter::{CredentialRef, Found, Inventory, Minter, Revoked};

/// How long a backend may take to list what it holds.
const LIST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);
/// How far replicas' clocks may be apart, in milliseconds: a lease that ended less long ago than that may have been listed
/// before it ended.
const APART_MILLIS: i64 = 30_000;

impl Broker {
    /// Look through every backend that can list, and end what nobody answers for.
    ///
    /// An object whose lease is minting, live or ending is never touched: its intent was committed before it was made, so the
    /// row is there when the rows are read after the listing.
    ///
    /// # Errors
    /// What the store says. A backend that does not answer is looked through the next time.
    pub async fn sweep_orphans(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let backends = self.minters.iter().filter(|(_, minter)| !minter.is_offline());
        let backends: Vec<_> = backends.map(|(name, minter)| (name.clone(), Arc::clone(minter))).collect();
        let found = futures_util::future::join_all(backends.into_iter().map(|(backend, minter)| async move {
            let orphans = self.orphans_of(&backend, &*minter).await;
            (backend, minter, orphans)
        }));
        let mut done = 0_usize;
        for (backend, minter, orphans) in found.await {
            let Some(orphans) = orphans? else { continue };
            let mut left = 0_u32;
            for orphan in orphans {
                if self.end_orphan(&backend, &*minter, &orphan).await? {
                    done = done.saturating_add(1);
                } else {
                    left = left.saturating_add(1);
                }
            }
            metrics::gauge!("hallpass_orphans", "backend" => backend.to_string()).set(f64::from(left));
        }
        Ok(SweepReport { done, more: false })
    }

    /// What a backend holds that no lease answers for; `None` when it does not say.
    async fn orphans_of(&self, backend: &Name, minter: &dyn Minter) -> Result<Option<Vec<Found>>, BrokerError> {
        let asked_at = self.clock.now();
        if self.bulkheads.of(backend).room(asked_at) == 0 {
            return Ok(None);
        }
        let listed = in_time(LIST_TIMEOUT, minter.inventory()).await;
        self.note_call(backend, Call::Other, &listed).await;
        let found = match listed {
            Ok(Inventory::Complete(found)) => found,
            Ok(Inventory::Unlistable) => return Ok(None),
            Err(error) => {
                tracing::warn!(%backend, %error, "a backend could not list what it holds");
                return Ok(None);
            }
        };
        let ids: Vec<LeaseId> = found.iter().filter_map(|object| object.lease).collect();
        let rows: BTreeSet<LeaseId> = self
            .store
            .find_leases(&ids)
            .await?
            .into_iter()
            .filter(|row| row.backend == *backend && !ended_before(&row.state, asked_at.plus_millis(-APART_MILLIS)))
            .map(|row| row.id)
            .collect();
        Ok(Some(found.into_iter().filter(|object| !object.lease.is_some_and(|id| rows.contains(&id))).collect()))
    }

    /// End an orphan; whether it is gone.
    pub(super) async fn end_orphan(
        &self,
        backend: &Name,
        minter: &dyn Minter,
        orphan: &Found,
    ) -> Result<bool, BrokerError> {
        let Some(_turn) = self.bulkheads.of(backend).ending().await else { return Ok(false) };
        let credential =
            CredentialRef { handle: &orphan.handle, native_end: self.clock.now(), kept: None, ending_since: None };
        let outcome = self.make_gone(minter, credential).await;
        self.note_call(backend, Call::End, &outcome).await;
        let tidied = match &outcome {
            Ok(_) if minter.needs_cleanup() => in_time(REVOKE_TIMEOUT, minter.cleanup(credential)).await,
            Ok(_) | Err(_) => Ok(()),
        };
        let proof = match (outcome, tidied) {
            (Ok(Revoked::Gone(proof)), Ok(())) => proof,
            (Ok(Revoked::EndsBy(by)), Ok(())) => format!("it ends at {by}"),
            (Err(error), _) | (_, Err(error)) => {
                metrics::counter!("hallpass_orphan_failed_total", "backend" => backend.to_string()).increment(1);
                tracing::error!(%backend, handle = %orphan.handle, %error, "a credential that no lease answers for could not be ended yet");
                return Ok(false);
            }
        };
        metrics::counter!("hallpass_orphans_revoked_total", "backend" => backend.to_string()).increment(1);
        tracing::error!(%backend, handle = %orphan.handle, proof, "a credential that no lease answers for was found and ended");
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Broker);
        record.note(
            EventKind::OrphanRevoked,
            Subjects { lease: orphan.lease, ..Subjects::default() },
            [("backend", backend.as_str().into()), ("handle", orphan.handle.as_str().into()), ("proof", proof.into())],
        );
        record.commit(self.store.begin("orphan.revoked")).await?;
        Ok(true)
    }
}

/// Whether a lease had ended by then.
const fn ended_before(state: &LeaseState, then: Timestamp) -> bool {
    match state {
        LeaseState::Ended { at, .. } => at.as_millis() < then.as_millis(),
        LeaseState::Minting | LeaseState::Live { .. } | LeaseState::Ending { .. } => false,
    }
}

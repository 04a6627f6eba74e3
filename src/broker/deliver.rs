//! After the answer: a secret that reached its connection is recorded as delivered, in batches off the hot path; one that did
//! not is ended, because nobody holds it and nobody should. What was handed over and is not on record when this process dies
//! looks undelivered, and ends too.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::end_lease::{Revocation, Telling};
use super::facts::{Record, about_lease};
use super::{Broker, BrokerError};
use crate::domain::{
    Actor, EndCause, EventKind, Lease, LeaseId, LeaseState, MAX_IN_FLIGHT_MILLIS, Subjects, Timestamp,
};
use crate::store::{StoreError, Tx};

/// Deliveries recorded in one commit.
const BATCH: usize = 256;
/// The least time between two rounds of recording, so that a round has something to record.
const PACE: Duration = Duration::from_millis(20);
/// How long after a round that could not be recorded the next one is tried.
const RETRY: Duration = Duration::from_secs(1);

/// A lease whose secret is in an answer.
#[derive(Clone)]
struct OnItsWay {
    fence: i64,
    subjects: Subjects,
    /// The thumbprint of the key it is sealed to, if it is.
    sealed_to: Option<String>,
}

/// A lease whose secret was handed to a connection.
struct HandedOver {
    parcel: OnItsWay,
    at: Timestamp,
    recorded: bool,
}

/// Answers that left the use case and have not reached a connection yet, and those that have and are not on record yet.
#[derive(Default)]
pub(super) struct Deliveries {
    on_their_way: Mutex<HashMap<LeaseId, OnItsWay>>,
    handed_over: Mutex<HashMap<LeaseId, HandedOver>>,
    /// One recorder at a time, so that nothing is recorded twice.
    recording: tokio::sync::Mutex<()>,
    wake: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deliveries {
    /// The secret of this lease is in an answer now.
    pub(super) fn send(&self, lease: &Lease) {
        let parcel = OnItsWay { fence: lease.fence, subjects: about_lease(lease), sealed_to: None };
        locked(&self.on_their_way).insert(lease.id, parcel);
    }

    /// The secret of this lease is kept for its agent, sealed to its key: no connection can lose it.
    pub(super) fn deposit(&self, lease: &Lease, sealed_to: String, at: Timestamp) {
        let parcel = OnItsWay { fence: lease.fence, subjects: about_lease(lease), sealed_to: Some(sealed_to) };
        self.hand_over(vec![(lease.id, parcel)], at);
    }

    fn hand_over(&self, parcels: Vec<(LeaseId, OnItsWay)>, at: Timestamp) {
        let parcels = parcels.into_iter().map(|(id, parcel)| (id, HandedOver { parcel, at, recorded: false }));
        locked(&self.handed_over).extend(parcels);
        self.wake.notify_one();
    }

    fn take(&self, leases: &[String]) -> Vec<(LeaseId, OnItsWay)> {
        let mut waiting = locked(&self.on_their_way);
        let ids = leases.iter().filter_map(|id| id.parse().ok());
        ids.filter_map(|id: LeaseId| waiting.remove(&id).map(|parcel| (id, parcel))).collect()
    }

    /// Whether its answer has left the use case and has not reached a connection yet.
    fn is_on_its_way(&self, lease: LeaseId) -> bool {
        locked(&self.on_their_way).contains_key(&lease)
    }

    /// Whether it was handed over, though its row may not say so yet.
    pub(super) fn is_handed_over(&self, lease: LeaseId) -> bool {
        locked(&self.handed_over).contains_key(&lease)
    }

    /// Whether a lease that a sweep has claimed, because nobody was seen to have its secret, was handed over by this process,
    /// which only could not write it down; it is written down anew then, with the claim's fence.
    pub(super) fn was_handed_over(&self, lease: LeaseId, fence: i64) -> bool {
        let mut handed_over = locked(&self.handed_over);
        let Some(handed) = handed_over.get_mut(&lease) else { return false };
        handed.parcel.fence = fence;
        handed.recorded = false;
        true
    }

    /// These leases, those that were handed over as delivered even if their rows do not say so yet: nothing of their mint is
    /// under way any more, and ending them needs no second look.
    pub(super) fn as_delivered(&self, leases: Vec<Lease>) -> Vec<Lease> {
        let handed_over = locked(&self.handed_over);
        let delivered = |lease: Lease| match handed_over.get(&lease.id) {
            Some(handed) if handed.parcel.fence == lease.fence => lease.clone().delivered(handed.at).unwrap_or(lease),
            Some(_) | None => lease,
        };
        leases.into_iter().map(delivered).collect()
    }

    /// Forget what was recorded in an earlier round. It is kept for a round, because somebody may have read its row before.
    fn forget_recorded(&self) {
        locked(&self.handed_over).retain(|_, handed| !handed.recorded);
    }

    fn unrecorded(&self) -> Vec<(LeaseId, OnItsWay, Timestamp)> {
        let handed_over = locked(&self.handed_over);
        let waiting = handed_over.iter().filter(|(_, handed)| !handed.recorded);
        waiting.map(|(id, handed)| (*id, handed.parcel.clone(), handed.at)).take(BATCH).collect()
    }

    /// Deliveries that are on record, each under the fence it was recorded with. A lease that was claimed since has another:
    /// nothing was written of that one, and it is recorded anew.
    fn recorded(&self, leases: &[(LeaseId, i64)]) {
        let mut handed_over = locked(&self.handed_over);
        for (lease, fence) in leases {
            if let Some(handed) = handed_over.get_mut(lease).filter(|handed| handed.parcel.fence == *fence) {
                handed.recorded = true;
            }
        }
    }
}

impl Broker {
    /// The secrets of these leases were handed to the agent's connection.
    pub fn delivered(&self, leases: &[String]) {
        self.deliveries.hand_over(self.deliveries.take(leases), self.clock.now());
    }

    /// The agent went away before the secrets of these leases were handed over: they end.
    pub fn undelivered(&self, leases: &[String]) {
        for (id, _) in self.deliveries.take(leases) {
            let broker = self.clone();
            tokio::spawn(async move {
                if let Err(error) = broker.end_undelivered(id).await {
                    tracing::error!(lease.id = %id, %error, "an undelivered lease could not be ended yet; the sweep does it");
                }
            });
        }
    }

    async fn end_undelivered(&self, id: LeaseId) -> Result<(), BrokerError> {
        let why = Revocation::by_broker(EndCause::Undelivered, Telling::AtOnce);
        match self.store.find_lease(id).await? {
            Some(lease) => self.end_leases_of(vec![lease], &why).await,
            None => Ok(()),
        }
    }

    /// Record deliveries as they come, many in one commit, until it is time to stop. What is being recorded then is recorded to
    /// the end: whoever records the rest would write it twice.
    pub async fn record_deliveries_until(&self, stopping: impl Future<Output = ()>) {
        let mut stopping = pin!(stopping);
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut all_recorded = true;
        loop {
            let called = async {
                let called = self.deliveries.wake.notified();
                if all_recorded {
                    called.await;
                } else {
                    // Nobody need call again for what could not be recorded.
                    drop(tokio::time::timeout(RETRY, called).await);
                }
                pace.tick().await;
            };
            tokio::select! {
                () = called => {}
                () = &mut stopping => return,
            }
            all_recorded = self.record_deliveries_now().await;
        }
    }

    /// Record every delivery that is not on record yet; whether all are then.
    pub async fn record_deliveries_now(&self) -> bool {
        let _alone = self.deliveries.recording.lock().await;
        self.deliveries.forget_recorded();
        loop {
            let batch = self.deliveries.unrecorded();
            if batch.is_empty() {
                return true;
            }
            if !self.record_deliveries(batch).await {
                return false;
            }
        }
    }

    async fn record_deliveries(&self, batch: Vec<(LeaseId, OnItsWay, Timestamp)>) -> bool {
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Broker);
        let mut tx = self.store.begin("credential.delivered");
        let mut leases = Vec::with_capacity(batch.len());
        for (id, parcel, at) in batch {
            tx.deliver_lease(id, parcel.fence, at);
            match parcel.sealed_to {
                None => record.note(EventKind::CredentialDelivered, parcel.subjects, []),
                Some(key) => {
                    record.note(EventKind::CredentialDelivered, parcel.subjects, [("sealed_to", key.into())]);
                }
            }
            leases.push((id, parcel.fence));
        }
        crate::sys::killpoint!(DeliverBeforeRecord);
        match record.commit(tx).await {
            Ok(()) => self.deliveries.recorded(&leases),
            Err(StoreError::Unknown(_)) => {
                // What is on record shows in the row; what is not there is tried again.
                let mut all = true;
                for lease in leases {
                    let Ok(row) = self.store.find_lease(lease.0).await else { return false };
                    if row.is_some_and(|row| row.is_undelivered()) {
                        all = false;
                    } else {
                        self.deliveries.recorded(&[lease]);
                    }
                }
                return all;
            }
            Err(error) => {
                metrics::counter!("hallpass_delivery_unrecorded_total").increment(1);
                tracing::error!(%error, "deliveries could not be recorded; tried again, or the credentials end undelivered");
                return false;
            }
        }
        true
    }

    /// Who is heard from after a credential was minted has it: what it was handed before a crash, and nobody wrote down, is
    /// delivered. Not what is on its way, nor what was minted so lately that a call of its mint may still be under way.
    pub(super) fn note_heard(&self, leases: &[Lease], now: Timestamp, tx: &mut Tx, record: &mut Record<'_>) {
        for lease in leases {
            let settled = match lease.state {
                LeaseState::Live { minted_at, delivered_at: None, .. } => {
                    minted_at.plus_millis(i64::from(MAX_IN_FLIGHT_MILLIS)) <= now
                }
                LeaseState::Live { .. }
                | LeaseState::Minting
                | LeaseState::Ending { .. }
                | LeaseState::Ended { .. } => false,
            };
            let known = self.deliveries.is_on_its_way(lease.id) || self.deliveries.is_handed_over(lease.id);
            if settled && !known && lease.is_active(now) {
                tx.deliver_lease(lease.id, lease.fence, now);
                record.note(EventKind::CredentialDelivered, about_lease(lease), [("seen_by", "heartbeat".into())]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_of_a_lease_that_was_claimed_while_it_was_recorded_is_recorded_anew() {
        let (deliveries, at) = (Deliveries::default(), Timestamp::from_secs(1_800_000_000));
        let lease: LeaseId = "lse_00000000000000000000000000".parse().unwrap();
        let parcel = OnItsWay { fence: 2, subjects: Subjects::default(), sealed_to: None };
        deliveries.hand_over(vec![(lease, parcel)], at);
        assert!(deliveries.was_handed_over(lease, 3));
        deliveries.recorded(&[(lease, 2)]);
        let waiting = deliveries.unrecorded();
        assert_eq!(waiting.iter().map(|(id, parcel, _)| (*id, parcel.fence)).collect::<Vec<_>>(), [(lease, 3)]);
        deliveries.recorded(&[(lease, 3)]);
        assert!(deliveries.unrecorded().is_empty());
    }
}

//! After the answer: a secret that reached its connection is recorded as delivered, in batches off the hot path; one that did
//! not is ended, because nobody holds it and nobody should.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::facts::Record;
use super::{Broker, BrokerError};
use crate::domain::{Actor, AgentId, EndCause, EventKind, LeaseId, Subjects};

/// Deliveries recorded in one commit.
const BATCH: usize = 256;
/// Deliveries that may wait to be recorded; beyond it each is recorded on its own.
const QUEUE: usize = 16_384;

/// What an answer on its way carries.
#[derive(Clone)]
pub(super) struct OnItsWay {
    agent: AgentId,
    subjects: Subjects,
}

/// Answers that left the use case and have not reached a connection yet.
pub(super) struct Deliveries {
    on_their_way: Mutex<HashMap<LeaseId, OnItsWay>>,
    queue: mpsc::Sender<OnItsWay>,
    receiver: Mutex<Option<mpsc::Receiver<OnItsWay>>>,
}

impl Default for Deliveries {
    fn default() -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        Self { on_their_way: Mutex::default(), queue, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Deliveries {
    pub(super) fn send(&self, lease: &crate::domain::Lease) {
        let entry = OnItsWay { agent: lease.agent.clone(), subjects: super::facts::about_lease(lease) };
        self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.id, entry);
    }

    fn take(&self, leases: &[String]) -> Vec<OnItsWay> {
        let mut waiting = self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner);
        leases.iter().filter_map(|id| id.parse().ok()).filter_map(|id: LeaseId| waiting.remove(&id)).collect()
    }
}

impl Broker {
    /// The secrets of these leases were handed to the agent's connection.
    pub fn delivered(&self, leases: &[String]) {
        for entry in self.deliveries.take(leases) {
            if let Err(full) = self.deliveries.queue.try_send(entry) {
                let (broker, entry) = (self.clone(), full.into_inner());
                tokio::spawn(async move { broker.record_deliveries(vec![entry]).await });
            }
        }
    }

    /// The agent went away before the secrets of these leases were handed over: they end.
    pub fn undelivered(&self, leases: &[String]) {
        for entry in self.deliveries.take(leases) {
            let broker = self.clone();
            tokio::spawn(async move {
                if let Err(error) = broker.end_undelivered(&entry).await {
                    tracing::error!(agent.id = %entry.agent, %error, "an undelivered lease could not be ended yet; it ends at its time");
                }
            });
        }
    }

    async fn end_undelivered(&self, entry: &OnItsWay) -> Result<(), BrokerError> {
        let Some(id) = entry.subjects.lease else { return Ok(()) };
        match self.store.find_lease(id).await? {
            Some(lease) => self.end_leases_of(vec![lease], EndCause::Undelivered, Actor::Broker).await,
            None => Ok(()),
        }
    }

    /// Record deliveries as they come, many in one commit. Runs for the life of the broker; only its first caller does it.
    pub async fn record_deliveries_forever(&self) {
        let receiver = self.deliveries.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut batch = Vec::with_capacity(BATCH);
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            self.record_deliveries(std::mem::take(&mut batch)).await;
        }
    }

    async fn record_deliveries(&self, batch: Vec<OnItsWay>) {
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Broker);
        for entry in batch {
            record.note(EventKind::CredentialDelivered, entry.subjects, []);
        }
        if let Err(error) = record.commit(self.store.begin("credential.delivered")).await {
            metrics::counter!("hallpass_delivery_unrecorded_total").increment(1);
            tracing::error!(%error, "deliveries could not be recorded; the credentials are on record as minted");
        }
    }
}

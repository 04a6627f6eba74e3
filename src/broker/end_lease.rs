//! The one path by which a credential ends. It is entered by a completed task, a revocation, a clock or a crash, always through
//! the row: `ending` is on record before a backend is told, and `ended` only when the backend was seen to obey.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::facts::{Record, about_lease};
use super::{Broker, BrokerError};
use crate::api::{Closure, ClosureWord, LeaseView};
use crate::domain::{Actor, EndCause, EventKind, Lease, LeaseState, Timestamp};
use crate::minter::{MintError, Probe, Revoked};
use crate::store::{LeaseFilter, StoreError, Tx};

/// How long one attempt to end a credential may take.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer waits for credentials to end before it says how far they are.
const CLOSURE_WAIT: Duration = Duration::from_secs(3);
/// Credentials ended at the same time.
const PARALLEL: usize = 16;
/// No spread between attempts.
const SPREAD: u16 = 1000;
/// Leases shown in a closure.
const SHOWN: u32 = 500;

impl Broker {
    /// Record that these leases must end, then end their credentials.
    pub(super) async fn end_leases_of(
        &self,
        leases: Vec<Lease>,
        cause: EndCause,
        actor: Actor,
    ) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, actor);
        let mut tx = self.store.begin("lease.end");
        let leases = self.deliveries.as_delivered(leases);
        let ending = put_to_end(leases, cause, now, &mut tx, &mut record);
        if ending.is_empty() {
            return Ok(());
        }
        match record.commit(tx).await {
            Ok(()) => self.finish_leases(ending).await,
            // Somebody else is ending one of them; the sweep takes the rest.
            Err(StoreError::Conflict { .. }) => self.wake_sweeps(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// End the credentials of leases that are on record as `ending`. Bounded in time: what is not done then, the sweep does.
    pub(super) async fn finish_leases(&self, ending: Vec<Lease>) {
        if ending.is_empty() {
            return;
        }
        crate::sys::killpoint!(EndAfterIntent);
        let broker = self.clone();
        // Detached: whoever waits for the answer may go away, the credentials end all the same.
        let work = tokio::spawn(async move {
            futures_util::stream::iter(ending)
                .for_each_concurrent(PARALLEL, |lease| {
                    let broker = broker.clone();
                    async move { broker.end_lease(lease).await }
                })
                .await;
        });
        if tokio::time::timeout(CLOSURE_WAIT, work).await.is_err() {
            self.wake_sweeps();
        }
    }

    /// One attempt to end one credential: tell the backend, look whether it obeyed, and record what is known now.
    pub async fn end_lease(&self, lease: Lease) {
        let outcome = self.tell_backend(&lease).await;
        crate::sys::killpoint!(EndAfterDisable);
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        let after = match outcome {
            Ok(Revoked::Gone(proof)) => {
                record.note(EventKind::LeaseEnded, about_lease(&lease), [("proof", proof.as_str().into())]);
                lease.clone().ended(proof, now)
            }
            Ok(Revoked::EndsBy(by)) if by <= now => {
                let proof = format!("its backend stopped honouring it at {by}");
                record.note(EventKind::LeaseEnded, about_lease(&lease), [("proof", proof.as_str().into())]);
                lease.clone().ended(proof, now)
            }
            Ok(Revoked::EndsBy(by)) => {
                record.note(EventKind::LeaseDelayed, about_lease(&lease), [("ends_by", by.to_string().into())]);
                lease.clone().try_again(Some(by), SPREAD, now)
            }
            Err(error) => {
                metrics::counter!("hallpass_lease_end_failed_total", "backend" => lease.backend.to_string())
                    .increment(1);
                tracing::warn!(lease.id = %lease.id, backend = %lease.backend, %error, "a credential could not be ended yet");
                record.note(EventKind::LeaseDelayed, about_lease(&lease), [("why", error.to_string().into())]);
                lease.clone().try_again(None, SPREAD, now)
            }
        };
        let Ok(after) = after else { return };
        let mut tx = self.store.begin("lease.ended");
        tx.update_lease(&lease, &after);
        let recorded = record.commit(tx).await;
        crate::sys::killpoint!(EndAfterFact);
        match recorded {
            Ok(()) => self.signals.changed(lease.task),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => {
                tracing::error!(lease.id = %lease.id, %error, "the end of a lease could not be recorded; the sweep repeats it");
            }
        }
    }

    async fn tell_backend(&self, lease: &Lease) -> Result<Revoked, MintError> {
        let Some(minter) = self.minters.find(&lease.backend) else {
            return Err(MintError::Misconfigured(format!("backend `{}` is not configured any more", lease.backend)));
        };
        let late = || Err(MintError::Unavailable("no answer in time".to_owned()));
        let told = tokio::time::timeout(REVOKE_TIMEOUT, minter.revoke(&lease.handle, lease.native_end)).await;
        let revoked = told.unwrap_or_else(|_| late())?;
        let Revoked::Gone(proof) = revoked else { return Ok(revoked) };
        // Never say ended for something that still works: ask the backend, where it can be asked.
        match tokio::time::timeout(REVOKE_TIMEOUT, minter.probe(&lease.handle))
            .await
            .unwrap_or_else(|_| Err(MintError::Unavailable("the probe was not answered in time".to_owned())))?
        {
            Probe::Refused => Ok(Revoked::Gone(format!("{proof}; a probe was refused at {}", self.clock.now()))),
            Probe::Unknown => Ok(Revoked::Gone(proof)),
            Probe::Honoured => Err(MintError::Refused("the backend says it is gone and still honours it".to_owned())),
        }
    }

    /// Look at a due lease: one whose time is up, whose mint was lost, or whose end must be tried again.
    pub(super) async fn due_lease(&self, lease: Lease) -> Result<(), BrokerError> {
        let now = self.clock.now();
        match &lease.state {
            LeaseState::Minting => self.end_leases_of(vec![lease], EndCause::Aborted, Actor::Broker).await,
            LeaseState::Live { .. } if now >= lease.native_end && self.ends_by_itself(&lease) => {
                self.expire(lease, now).await
            }
            LeaseState::Live { delivered_at: None, .. } if now < lease.ends_at => self.due_undelivered(lease).await,
            LeaseState::Live { .. } => self.end_leases_of(vec![lease], EndCause::Expired, Actor::Broker).await,
            LeaseState::Ending { .. } => {
                self.end_lease(lease).await;
                Ok(())
            }
            LeaseState::Ended { .. } => Ok(()),
        }
    }

    fn ends_by_itself(&self, lease: &Lease) -> bool {
        self.minters.find(&lease.backend).is_some_and(|minter| minter.is_offline())
    }

    /// A credential that nobody honours past its own end needs no telling: ending and end are one change.
    async fn expire(&self, lease: Lease, now: Timestamp) -> Result<(), BrokerError> {
        let proof = format!("its own end passed at {}", lease.native_end);
        let ended = lease.clone().end(EndCause::Expired, now).and_then(|ending| ending.ended(proof.clone(), now));
        let Ok(ended) = ended else { return Ok(()) };
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        record.note(EventKind::LeaseEnding, about_lease(&lease), [("cause", EndCause::Expired.as_str().into())]);
        record.note(EventKind::LeaseEnded, about_lease(&lease), [("proof", proof.into())]);
        let mut tx = self.store.begin("lease.expire");
        tx.update_lease(&lease, &ended);
        match record.commit(tx).await {
            Ok(()) => self.signals.changed(lease.task),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What is known now of the leases that a filter names.
    pub(super) async fn closure(
        &self,
        id: String,
        cause: EndCause,
        filter: &LeaseFilter,
    ) -> Result<Closure, BrokerError> {
        let leases = self.store.list_leases(filter, None, SHOWN).await?;
        let total = leases.len();
        Ok(self.closure_of(id, cause, leases, u64::try_from(total).unwrap_or(u64::MAX)))
    }

    pub(super) fn closure_of(&self, id: String, cause: EndCause, mut leases: Vec<Lease>, total: u64) -> Closure {
        let now = self.clock.now();
        leases.sort_by_key(|lease| std::cmp::Reverse(doubt(lease, now)));
        let closure = leases.first().map_or(ClosureWord::Closed, |worst| doubt(worst, now));
        let leases: Vec<LeaseView> = leases.iter().map(LeaseView::from).collect();
        Closure { id, state: "closed".to_owned(), cause: cause.to_string(), closure, leases, total }
    }
}

/// How little is known about the end of a lease.
fn doubt(lease: &Lease, now: Timestamp) -> ClosureWord {
    match &lease.state {
        LeaseState::Ended { .. } => ClosureWord::Closed,
        LeaseState::Ending { ends_by: Some(by), .. } if *by > now => ClosureWord::Partial,
        LeaseState::Ending { .. } | LeaseState::Minting | LeaseState::Live { .. } => ClosureWord::Unknown,
    }
}

/// Put into a change that these leases must end, but for those that are ending or have ended; returns the others as they will be.
pub(super) fn put_to_end(
    leases: Vec<Lease>,
    cause: EndCause,
    now: Timestamp,
    tx: &mut Tx,
    record: &mut Record<'_>,
) -> Vec<Lease> {
    if !leases.is_empty() {
        crate::sys::killpoint!(EndBeforeIntent, blocking);
    }
    let mut ending = Vec::with_capacity(leases.len());
    for lease in leases {
        if let Ok(after) = lease.clone().end(cause, now) {
            tx.update_lease(&lease, &after);
            record.note(EventKind::LeaseEnding, about_lease(&lease), [("cause", cause.as_str().into())]);
            ending.push(after);
        }
    }
    ending
}

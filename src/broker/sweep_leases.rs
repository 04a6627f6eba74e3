//! Ending what is due, each backend in its own turn, so that one that hangs holds up no other; and what has nobody to answer
//! for it: everything while the kill switch is thrown.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::end_lease::{Revocation, Telling, end_offline};
use super::facts::Record;
use super::{Broker, BrokerError, SweepReport, bulkhead};
use crate::domain::{Actor, EndCause, Lease, LeaseId, LeaseState, Name, Timestamp};
use crate::store::{Claim, LeaseFilter, Overdue, StoreError};

/// For how long due leases are this replica's once it has taken them, in milliseconds.
const CLAIM_MILLIS: i64 = 30_000;
/// Leases taken at once whose backend must be told: two rounds of calls that hang are over before the claim is.
const TAKEN: usize = 2 * bulkhead::CALLS;
/// Leases taken at once whose end is a change in the database only.
const TAKEN_OFFLINE: u32 = 1000;
/// Leases put to their end at once by the kill switch.
const KILLED: u32 = 1000;
/// How long a start waits for what is overdue before the broker says that it is ready.
const CATCH_UP: Duration = Duration::from_secs(10);

/// How far everything was put to its end under a kill switch.
#[derive(Debug, Default)]
pub(super) struct Killed {
    epoch: i64,
    after: Option<LeaseId>,
    done: bool,
}

impl Broker {
    /// The backends of which a lease is due now: by its time, by a lost mint or delivery, or because an earlier attempt failed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn due_backends(&self) -> Result<Vec<Name>, BrokerError> {
        Ok(self.endings.list_due_backends(self.clock.now()).await?)
    }

    /// End what is due, one batch of each backend.
    ///
    /// # Errors
    /// The first that occurred; the other backends were worked on all the same.
    pub async fn sweep_leases(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let backends = self.due_backends().await?;
        let sweeps = backends.into_iter().map(|backend| async move { self.sweep_backend(&backend).await });
        let reports = futures_util::future::join_all(sweeps).await;
        reports.into_iter().try_fold(SweepReport::default(), |sum, report| {
            let report = report?;
            Ok(SweepReport { done: sum.done.saturating_add(report.done), more: sum.more || report.more })
        })
    }

    /// End what is due of one backend: take a batch, put on record what must end, and tell the backend. Takes no more than the
    /// backend's bulkhead has room for.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_backend(&self, backend: &Name) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let offline = self.minters.find(backend).is_some_and(|minter| minter.is_offline());
        let now = self.clock.now();
        let limit = match self.bulkheads.of(backend).room(now) {
            _ if offline => TAKEN_OFFLINE,
            bulkhead::CALLS => u32::try_from(TAKEN).unwrap_or(u32::MAX),
            fewer => u32::try_from(fewer).unwrap_or(u32::MAX),
        };
        if limit == 0 {
            return Ok(SweepReport::default());
        }
        let until = now.plus_millis(CLAIM_MILLIS);
        let claim = Claim { backend: backend.clone(), now, owner: self.replica.clone(), until, limit };
        let claimed = self.endings.claim_due_leases(claim).await?;
        if !claimed.is_empty() {
            crate::sys::killpoint!(ClaimAfterCommit);
        }
        let report =
            SweepReport { done: claimed.len(), more: u32::try_from(claimed.len()).is_ok_and(|count| count >= limit) };
        let (handed_over, claimed): (Vec<Lease>, Vec<Lease>) = claimed.into_iter().partition(|lease| {
            lease.is_undelivered() && now < lease.ends_at && self.deliveries.was_handed_over(lease.id, lease.fence)
        });
        if !handed_over.is_empty() {
            self.record_deliveries_now().await;
        }
        let ending = self.record_due(claimed, until).await?;
        futures_util::stream::iter(ending)
            .for_each_concurrent(TAKEN, |lease| async move {
                if let Some(_turn) = self.bulkheads.of(backend).ending().await {
                    self.end_lease(lease).await;
                }
            })
            .await;
        Ok(report)
    }

    /// Put on record what is known of claimed leases, in one change; those whose backend must be told come back.
    async fn record_due(&self, claimed: Vec<Lease>, until: Timestamp) -> Result<Vec<Lease>, BrokerError> {
        match self.try_record_due(&claimed, until).await {
            Ok(ending) => Ok(ending),
            // Somebody came in between: each on its own, and that one is not ours any more.
            Err(StoreError::Conflict { .. }) => {
                let each = futures_util::stream::iter(claimed)
                    .map(|lease| async move { self.try_record_due(&[lease], until).await })
                    .buffered(TAKEN)
                    .collect::<Vec<_>>()
                    .await;
                let mut ending = Vec::with_capacity(each.len());
                for outcome in each {
                    match outcome {
                        Ok(leases) => ending.extend(leases),
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(ending)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn try_record_due(&self, claimed: &[Lease], until: Timestamp) -> Result<Vec<Lease>, StoreError> {
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        let mut tx = self.endings.begin("lease.due");
        let mut ending = Vec::new();
        for lease in claimed {
            let cause = match &lease.state {
                LeaseState::Minting => EndCause::Aborted,
                LeaseState::Live { .. } if now >= lease.ends_at => EndCause::Expired,
                LeaseState::Live { .. } => EndCause::Undelivered,
                LeaseState::Ending { .. } => {
                    match self.offline_minter(lease) {
                        Some(minter) => {
                            let after = end_offline(&**minter, lease.clone(), now, &mut record).await;
                            if after != *lease {
                                tx.update_lease(lease, &after);
                            }
                        }
                        None => ending.push(lease.clone()),
                    }
                    continue;
                }
                LeaseState::Ended { .. } => continue,
            };
            let telling = Telling::Claimed(until);
            ending.extend(self.put_to_end(std::slice::from_ref(lease), cause, telling, &mut tx, &mut record).await);
        }
        if !record.is_empty() {
            record.commit(tx).await?;
            for lease in claimed {
                self.signals.changed(lease.task);
            }
        }
        Ok(ending)
    }

    /// While the kill switch is thrown: put to its end whatever lives, page by page, once for each time it is thrown, because
    /// nothing is minted after.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_killed(&self) -> Result<SweepReport, BrokerError> {
        self.end_killed(Telling::BySweeps).await
    }

    pub(super) async fn end_killed(&self, telling: Telling) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let control = self.standing.load().control.clone();
        let after = {
            let mut killed = self.killed();
            if killed.epoch != control.kill_epoch {
                *killed = Killed { epoch: control.kill_epoch, ..Killed::default() };
            }
            if !control.killed || killed.done {
                return Ok(SweepReport::default());
            }
            killed.after
        };
        let filter = LeaseFilter { live: Some(true), ..LeaseFilter::default() };
        let live = self.endings.list_leases(&filter, after, KILLED).await?;
        let (count, last) = (live.len(), live.last().map(|lease| lease.id));
        let more = u32::try_from(count).is_ok_and(|count| count >= KILLED);
        self.end_leases_of(live, &Revocation::by_broker(EndCause::KillSwitch, telling)).await?;
        let mut killed = self.killed();
        if killed.epoch == control.kill_epoch {
            killed.after = last.or(killed.after);
            killed.done = !more;
        }
        Ok(SweepReport { done: count, more })
    }

    fn killed(&self) -> std::sync::MutexGuard<'_, Killed> {
        self.killed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Say that what fell due while nothing ran is to be ended before the broker is ready.
    pub fn begin_catch_up(&self) {
        self.catching_up.store(true, std::sync::atomic::Ordering::Release);
    }

    /// End what fell due while nothing ran and what nobody answers for, for some seconds at most: a backend that does not
    /// answer keeps nobody else waiting. Then the broker may be ready.
    pub async fn catch_up(&self) {
        let work = async {
            if let Err(error) = self.end_overdue().await {
                tracing::error!(%error, "what is overdue could not be ended yet; the sweeps go on");
            }
            if let Err(error) = self.sweep_orphans().await {
                tracing::error!(%error, "the backends could not be looked through yet; it is tried again");
            }
        };
        if tokio::time::timeout(CATCH_UP, work).await.is_err() {
            tracing::warn!("not everything overdue could be ended within {} s of the start", CATCH_UP.as_secs());
        }
        self.catching_up.store(false, std::sync::atomic::Ordering::Release);
    }

    async fn end_overdue(&self) -> Result<(), BrokerError> {
        while self.sweep_killed().await?.more {}
        while self.sweep_tasks().await?.more {}
        let backends = self.due_backends().await?.into_iter();
        let lanes = backends.map(|backend| async move {
            while self.sweep_backend(&backend).await?.more {}
            Ok(())
        });
        futures_util::future::join_all(lanes).await.into_iter().collect()
    }

    /// Show how badly ending goes: leases whose end failed again and again.
    ///
    /// # Errors
    /// What the store says.
    pub async fn measure_endings(&self) -> Result<SweepReport, BrokerError> {
        let Overdue { overdue, irrevocable, oldest } = self.endings.overdue_endings().await?;
        let age = oldest.map_or(0, |since| self.clock.now().millis_since(since).max(0));
        #[expect(clippy::cast_precision_loss, reason = "gauges for people; exact below 2^52")]
        for (gauge, value) in [
            (metrics::gauge!("hallpass_leases_revoke_overdue"), overdue as f64),
            (metrics::gauge!("hallpass_leases_irrevocable"), irrevocable as f64),
            (metrics::gauge!("hallpass_lease_revoke_oldest_seconds"), age as f64 / 1000.0),
        ] {
            gauge.set(value);
        }
        Ok(SweepReport::default())
    }
}

//! The chores: each looks at the rows, does a bounded amount of what they call for, and says whether there is more. None takes a
//! hint, so a sweep after a restart is the same as any other.

use futures_util::StreamExt as _;

use super::end_lease::{Revocation, Telling};
use super::evaluate::{Asking, is_no_more};
use super::facts::{Record, about_request};
use super::{Broker, BrokerError};
use crate::domain::{AccessRequest, Actor, Decision, EndCause, EventKind, Lease, Outcome, Timestamp, Unpermitted};
use crate::store::{Hint, LeaseFilter, StoreError};

/// Rows looked at in one run.
const BATCH: u32 = 500;
/// Rows worked on at the same time; they share their commits.
const PARALLEL: usize = 64;

/// What one run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Rows worked on.
    pub done: usize,
    /// Whether the run stopped at its bound.
    pub more: bool,
}

fn report(count: usize) -> SweepReport {
    SweepReport { done: count, more: u32::try_from(count).is_ok_and(|count| count >= BATCH) }
}

/// How long whoever suspends an agent has for ending what it holds, in milliseconds.
const SUSPENDED_AFTER_MILLIS: i64 = 10_000;

/// Whether what suspended agents hold was looked at since the last change of who is suspended.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    epoch: Option<i64>,
    from: Option<Timestamp>,
    done: bool,
}

impl Broker {
    /// Wake the sweeps; they look at the rows.
    pub(super) fn wake_sweeps(&self) {
        self.signals.call_sweeps();
    }

    /// To hear when sweeps are called for.
    #[must_use]
    pub fn sweep_calls(&self) -> tokio::sync::watch::Receiver<u64> {
        self.signals.sweep_calls()
    }

    /// Heed what another replica said: wake whoever waits for it. Only a hint, so all of them look for themselves.
    ///
    /// # Errors
    /// What the store says to a look at the control row.
    pub async fn heed(&self, hint: &Hint) -> Result<(), BrokerError> {
        if hint.anything {
            self.signals.all_changed();
        }
        for task in &hint.tasks {
            self.signals.changed(*task);
        }
        if hint.anything || hint.control {
            self.look_again().await?;
            self.wake_sweeps();
        }
        Ok(())
    }

    /// Close tasks whose time is up or whose heartbeat stopped, and finish closing those that held too much for one change.
    ///
    /// # Errors
    /// The first that occurred; the other rows were worked on all the same.
    pub async fn sweep_tasks(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let now = self.clock.now();
        let due = self.store.list_due_tasks(now, BATCH).await?;
        let count = due.len();
        let outcomes = futures_util::stream::iter(due)
            .map(|task| async move {
                match task.due_cause(now) {
                    Some(cause) => self.close_task(task, &Revocation::by_broker(cause, Telling::BySweeps)).await,
                    None => self.finish_close(&task, Actor::Broker, Telling::BySweeps).await,
                }
            })
            .buffer_unordered(PARALLEL)
            .collect::<Vec<_>>()
            .await;
        outcomes.into_iter().find(Result::is_err).unwrap_or(Ok(())).map(|()| report(count))
    }

    /// Let requests lapse that nobody answered in time.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_requests(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let due = self.store.list_due_requests(self.clock.now(), BATCH).await?;
        let count = due.len();
        for request in due {
            self.lapse(request).await?;
        }
        Ok(report(count))
    }

    async fn lapse(&self, request: AccessRequest) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let Ok(lapsed) = request.clone().lapse(now) else { return Ok(()) };
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        record.note(EventKind::AccessLapsed, about_request(&request), []);
        let mut tx = self.store.begin("access.lapse");
        tx.update_request(&request, &lapsed);
        match record.commit(tx).await {
            Ok(()) => self.signals.changed(request.task),
            // A verdict came in the same moment; one of the two is on record.
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What whoever suspended an agent could not finish, because it died for instance: a suspended agent holds nothing. Looks once
    /// for each time that somebody is suspended or resumed, after a while, so that it is whoever suspends that ends.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_suspended(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let (standing, now) = (self.standing.load_full(), self.clock.now());
        let epoch = Some(standing.control.agents_epoch);
        {
            let mut seen = self.suspended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if seen.epoch != epoch {
                *seen = Suspended { epoch, from: Some(now.plus_millis(SUSPENDED_AFTER_MILLIS)), done: false };
            }
            if seen.done || seen.from.is_some_and(|from| now < from) {
                return Ok(SweepReport::default());
            }
        }
        for (agent, reason) in &standing.suspended {
            self.close_tasks_of(agent, Actor::Broker, reason).await?;
        }
        let mut seen = self.suspended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.epoch == epoch {
            seen.done = true;
        }
        Ok(SweepReport::default())
    }

    /// After a change of policy: end what the bundle in force would no longer permit. Works through the live leases once for each
    /// bundle, a page at a time.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_policy(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let bundle = self.policy.current();
        let after = {
            let mut checked = self.rechecked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if checked.bundle != bundle.digest() {
                *checked = super::Rechecked { bundle: bundle.digest(), after: None, done: false };
            }
            if checked.done {
                return Ok(SweepReport::default());
            }
            checked.after
        };
        let filter = LeaseFilter { live: Some(true), ..LeaseFilter::default() };
        let page = self.store.list_leases(&filter, after, BATCH).await?;
        let (count, last) = (page.len(), page.last().map(|lease| lease.id));
        for lease in page {
            if !self.is_still_permitted(&lease).await? {
                self.end_by_policy(lease).await?;
            }
        }
        let mut checked = self.rechecked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if checked.bundle == bundle.digest() {
            checked.done = !report(count).more;
            checked.after = last.or(checked.after);
        }
        Ok(report(count))
    }

    /// Whether the bundle in force still lets this lease live: its agent exists, its scopes are in the catalogue and under the
    /// ceiling, and policy does not say no. A person's yes that was needed is not asked for again,
    /// unless whoever gave it may not act any more.
    async fn is_still_permitted(&self, lease: &Lease) -> Result<bool, BrokerError> {
        let bundle = self.policy.current();
        let Some(agent) = bundle.agent(&lease.agent) else { return Ok(false) };
        let Some(task) = self.store.find_task(lease.task).await? else { return Ok(false) };
        let Some(request) = self.store.find_request(lease.request).await? else { return Ok(false) };
        let asking = Asking {
            bundle: &bundle,
            agent,
            task: &task,
            now: self.clock.now(),
            voters: &[],
            confirmation_key: request.confirmation_key.as_deref(),
        };
        match self.reevaluate(&asking, &lease.scopes, request.ttl) {
            Ok(Decision { outcome: Outcome::Deny(_), .. }) => Ok(false),
            Ok(Decision { outcome: Outcome::Permit(_), .. }) => Ok(true),
            Ok(Decision { outcome: Outcome::RequireApproval(_), .. }) => self.may_its_approvers_act(lease).await,
            Err(error) if is_no_more(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether nobody by whose yes a lease lives was registered as disabled since.
    async fn may_its_approvers_act(&self, lease: &Lease) -> Result<bool, BrokerError> {
        let Some(grant) = self.store.find_grant(lease.grant).await?.filter(|grant| grant.approved.is_some()) else {
            return Ok(true);
        };
        Ok(self.lost_its_approval(&grant).await? != Some(Unpermitted::ApproverDisabled))
    }

    async fn end_by_policy(&self, lease: Lease) -> Result<(), BrokerError> {
        let why = Revocation::by_broker(EndCause::PolicyChanged, Telling::BySweeps);
        match self.store.find_grant(lease.grant).await? {
            Some(grant) => match self.end_grant(grant, &why).await {
                Err(BrokerError::Changed) => Ok(()),
                done => done,
            },
            None => self.end_leases_of(vec![lease], &why).await,
        }
    }

    /// Forget what nobody can use any more: marks of used tokens, idempotency keys, limiter keys.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_memory(&self) -> Result<SweepReport, BrokerError> {
        self.limits.prune();
        #[expect(clippy::cast_precision_loss, reason = "a gauge of how many; exact below 2^52")]
        metrics::gauge!("hallpass_limiter_keys").set(self.limits.keys() as f64);
        self.store.forget(self.clock.now()).await?;
        self.store.forget_sealed_deliveries(BATCH).await.map(report).map_err(BrokerError::from)
    }
}

//! The decision that authority ends now falls from task to grant to lease in one commit; what is too much for one commit is
//! finished page by page, by the sweeps if need be, because the task says that there is more. A credential cannot come into
//! being under a task that is closed: whoever records a lease checks the task in the same commit.

use futures_util::StreamExt as _;

use super::end_lease::{Revocation, Telling};
use super::facts::{Record, about_grant, about_request, about_task};
use super::open_task::MAX_TRIES;
use super::{Broker, BrokerError};
use crate::domain::{Actor, AgentId, EndCause, EventKind, Grant, Lease, Task, TaskState};
use crate::store::{LeaseFilter, StoreError, TaskFilter, Tx};

/// Requests, grants or leases of a task that end in one change; and tasks listed in one step.
const PAGE: u32 = 500;
/// Tasks closed at the same time.
const PARALLEL: usize = 16;

impl Broker {
    /// Close one task: it, its pending requests, its grants and its leases, in one commit as far as one commit goes; then the
    /// credentials. Starts over when something changed in between, and is content when somebody else closed it.
    pub(super) async fn close_task(&self, mut task: Task, why: &Revocation<'_>) -> Result<(), BrokerError> {
        for _ in 0..MAX_TRIES {
            match self.try_close_task(&task, why).await {
                Err(BrokerError::Changed) => {}
                done => return done,
            }
            task = self.endings.find_task(task.id).await?.ok_or(BrokerError::NotFound("task"))?;
        }
        Err(BrokerError::Changed)
    }

    /// Close every open task, or those of one agent.
    pub(super) async fn close_tasks(&self, agent: Option<AgentId>, why: &Revocation<'_>) -> Result<(), BrokerError> {
        let filter = TaskFilter { agent, open: Some(true) };
        let mut after = None;
        loop {
            let tasks = self.endings.list_tasks(&filter, after, PAGE).await?;
            let Some(last) = tasks.last() else { return Ok(()) };
            after = Some(last.id);
            let closed = futures_util::stream::iter(tasks)
                .map(|task| self.close_task(task, why))
                .buffer_unordered(PARALLEL)
                .collect::<Vec<_>>()
                .await;
            closed.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
    }

    async fn try_close_task(&self, task: &Task, why: &Revocation<'_>) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let Ok(closed) = task.clone().close(why.cause, now) else { return Ok(()) };
        let mut record = Record::new(&self.ids, now, why.actor.clone());
        let mut tx = self.endings.begin("task.close");
        if why.cause == EndCause::Revoked {
            record.note(
                EventKind::AuthorityRevoked,
                about_task(task),
                [("reason", why.reason.unwrap_or("").into()), ("what", "task".into())],
            );
        }
        record.note(EventKind::TaskClosed, about_task(task), [("cause", why.cause.as_str().into())]);
        let (ending, more) = self.put_page_to_end(task, why, &mut tx, &mut record).await?;
        if more {
            tx.close_task_in_part(task, &closed, now);
        } else {
            tx.update_task(task, &closed);
            tx.check_none_lives(task.id, None);
        }
        record.commit(tx).await.map_err(changed_in_between)?;
        self.signals.changed(task.id);
        self.finish_leases(ending, why.telling).await;
        if more { self.finish_close(&closed, why.actor.clone(), why.telling).await } else { Ok(()) }
    }

    /// Put what a task still holds to its end, a page of each kind; whether there may be more.
    async fn put_page_to_end(
        &self,
        task: &Task,
        why: &Revocation<'_>,
        tx: &mut Tx,
        record: &mut Record<'_>,
    ) -> Result<(Vec<Lease>, bool), BrokerError> {
        let now = record.now();
        let requests = self.endings.list_pending_requests_of_task(task.id, PAGE).await?;
        for request in &requests {
            if let Ok(withdrawn) = request.clone().withdraw(now) {
                tx.update_request(request, &withdrawn);
                record.note(EventKind::AccessWithdrawn, about_request(request), []);
            }
        }
        let grants = self.endings.list_live_grants_of_task(task.id, PAGE).await?;
        for grant in &grants {
            if let Ok(ended) = grant.clone().end(why.cause, now) {
                tx.update_grant(grant, &ended);
                tx.check_none_lives(grant.task, Some(grant.id));
                record.note(EventKind::GrantEnded, about_grant(grant), [("cause", why.cause.as_str().into())]);
            }
        }
        let filter = LeaseFilter { task: Some(task.id), live: Some(true), ..LeaseFilter::default() };
        let leases = self.endings.list_leases(&filter, None, PAGE).await?;
        let ending = self.put_to_end(&leases, why.cause, why.telling, tx, record).await;
        let most = requests.len().max(grants.len()).max(leases.len());
        Ok((ending, u32::try_from(most).is_ok_and(|count| count >= PAGE)))
    }

    /// End what a closed task still holds, page by page, until it holds nothing.
    pub(super) async fn finish_close(&self, closed: &Task, actor: Actor, telling: Telling) -> Result<(), BrokerError> {
        let TaskState::Closed { cause, .. } = closed.state else { return Ok(()) };
        let why = Revocation { cause, actor, reason: None, telling };
        for _ in 0..MAX_TRIES {
            let mut record = Record::new(&self.ids, self.clock.now(), why.actor.clone());
            let mut tx = self.endings.begin("task.close_rest");
            let (ending, more) = self.put_page_to_end(closed, &why, &mut tx, &mut record).await?;
            if !record.is_empty() {
                match record.commit(tx).await {
                    Ok(()) => self.finish_leases(ending, telling).await,
                    // Somebody ended one of them first: look again.
                    Err(StoreError::Conflict { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            if !more {
                return Ok(self.endings.forget_closed_task(closed).await?);
            }
        }
        // The task says that there is more; the sweeps go on.
        self.wake_sweeps();
        Ok(())
    }

    /// End one grant and its leases in one commit; then the credentials. Starts over when something changed in between.
    pub(super) async fn end_grant(&self, mut grant: Grant, why: &Revocation<'_>) -> Result<(), BrokerError> {
        for _ in 0..MAX_TRIES {
            match self.try_end_grant(&grant, why).await {
                Err(BrokerError::Changed) => {}
                done => return done,
            }
            grant = self.endings.find_grant(grant.id).await?.ok_or(BrokerError::NotFound("grant"))?;
        }
        Err(BrokerError::Changed)
    }

    async fn try_end_grant(&self, grant: &Grant, why: &Revocation<'_>) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let Ok(ended) = grant.clone().end(why.cause, now) else { return Ok(()) };
        let mut record = Record::new(&self.ids, now, why.actor.clone());
        let mut tx = self.endings.begin("grant.end");
        tx.update_grant(grant, &ended);
        if let (EndCause::Revoked, Some(reason)) = (why.cause, why.reason) {
            record.note(
                EventKind::AuthorityRevoked,
                about_grant(grant),
                [("reason", reason.into()), ("what", "grant".into())],
            );
        }
        record.note(
            EventKind::GrantEnded,
            about_grant(grant),
            [("cause", why.cause.as_str().into()), ("reason", why.reason.unwrap_or("").into())],
        );
        let filter = LeaseFilter { grant: Some(grant.id), live: Some(true), ..LeaseFilter::default() };
        let leases = self.endings.list_leases(&filter, None, PAGE).await?;
        let ending = self.put_to_end(&leases, why.cause, why.telling, &mut tx, &mut record).await;
        record.commit(tx).await.map_err(changed_in_between)?;
        self.signals.changed(grant.task);
        self.finish_leases(ending, why.telling).await;
        Ok(())
    }
}

/// Somebody else ended it, or something of it, first.
pub(super) fn changed_in_between(error: StoreError) -> BrokerError {
    if matches!(error, StoreError::Conflict { .. }) { BrokerError::Changed } else { error.into() }
}

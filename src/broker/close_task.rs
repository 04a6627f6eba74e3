//! The decision that authority ends now falls from task to grant to lease in one commit; what is too much for one commit is
//! finished page by page, by the sweeps if need be, because the task says that there is more. A credential cannot come into
//! being under a task that is closed: whoever records a lease checks the task in the same commit.

use super::end_lease::Telling;
use super::facts::{Record, about_grant, about_request, about_task};
use super::{Broker, BrokerError};
use crate::domain::{Actor, EndCause, EventKind, Grant, GrantState, Lease, Task, TaskState};
use crate::store::{LeaseFilter, StoreError, Tx};

/// Requests, grants or leases of a task that end in one change.
const PAGE: u32 = 500;

impl Broker {
    /// Close one task: it, its pending requests, its grants and its leases, in one commit as far as one commit goes; then the
    /// credentials. Starts over when something changed in between, and is content when somebody else closed it.
    pub(super) async fn close_task(
        &self,
        task: Task,
        cause: EndCause,
        actor: Actor,
        reason: Option<&str>,
        telling: Telling,
    ) -> Result<(), BrokerError> {
        let id = task.id;
        let mut task = Some(task);
        for _ in 0..super::open_task::MAX_TRIES {
            let current = match task.take() {
                Some(task) => task,
                None => self.endings.find_task(id).await?.ok_or(BrokerError::NotFound("task"))?,
            };
            let Ok(closed) = current.clone().close(cause, self.clock.now()) else { return Ok(()) };
            match self.commit_close(&current, &closed, cause, &actor, reason, telling).await {
                Ok((leases, more)) => {
                    self.signals.changed(id);
                    self.finish_leases(leases, telling).await;
                    return if more { self.finish_close(&closed, actor, telling).await } else { Ok(()) };
                }
                Err(BrokerError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(BrokerError::Changed)
    }

    async fn commit_close(
        &self,
        task: &Task,
        closed: &Task,
        cause: EndCause,
        actor: &Actor,
        reason: Option<&str>,
        telling: Telling,
    ) -> Result<(Vec<Lease>, bool), BrokerError> {
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, actor.clone());
        let mut tx = self.endings.begin("task.close");
        if cause == EndCause::Revoked {
            record.note(
                EventKind::AuthorityRevoked,
                about_task(task),
                [("reason", reason.unwrap_or("").into()), ("what", "task".into())],
            );
        }
        record.note(EventKind::TaskClosed, about_task(task), [("cause", cause.as_str().into())]);
        let (ending, more) = self.put_page_to_end(task, cause, telling, &mut tx, &mut record).await?;
        if more {
            tx.close_task_in_part(task, closed, now);
        } else {
            tx.update_task(task, closed);
        }
        record.commit(tx).await?;
        Ok((ending, more))
    }

    /// Put what a task still holds to its end, a page of each kind; whether there may be more.
    async fn put_page_to_end(
        &self,
        task: &Task,
        cause: EndCause,
        telling: Telling,
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
            if let Ok(ended) = grant.clone().end(cause, now) {
                tx.update_grant(grant, &ended);
                record.note(EventKind::GrantEnded, about_grant(grant), [("cause", cause.as_str().into())]);
            }
        }
        let filter = LeaseFilter { task: Some(task.id), live: Some(true), ..LeaseFilter::default() };
        let leases = self.endings.list_leases(&filter, None, PAGE).await?;
        let ending = self.put_to_end(&leases, cause, telling, tx, record).await;
        let most = requests.len().max(grants.len()).max(leases.len());
        Ok((ending, u32::try_from(most).is_ok_and(|count| count >= PAGE)))
    }

    /// End what a closed task still holds, page by page, until it holds nothing.
    pub(super) async fn finish_close(&self, closed: &Task, actor: Actor, telling: Telling) -> Result<(), BrokerError> {
        let TaskState::Closed { cause, .. } = closed.state else { return Ok(()) };
        for _ in 0..super::open_task::MAX_TRIES {
            let mut record = Record::new(&self.ids, self.clock.now(), actor.clone());
            let mut tx = self.endings.begin("task.close_rest");
            let (ending, more) = self.put_page_to_end(closed, cause, telling, &mut tx, &mut record).await?;
            if record.is_empty() {
                return Ok(self.endings.forget_closed_task(closed).await?);
            }
            match record.commit(tx).await {
                Ok(()) => {
                    self.finish_leases(ending, telling).await;
                    if !more {
                        return Ok(self.endings.forget_closed_task(closed).await?);
                    }
                }
                // Somebody ended one of them first: look again.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The task says that there is more; the sweeps go on.
        self.wake_sweeps();
        Ok(())
    }

    /// End one grant and its leases in one commit; then the credentials. Starts over when something changed in between.
    pub(super) async fn end_grant(
        &self,
        grant: Grant,
        cause: EndCause,
        actor: Actor,
        reason: Option<&str>,
        telling: Telling,
    ) -> Result<(), BrokerError> {
        let id = grant.id;
        let mut grant = Some(grant);
        for _ in 0..super::open_task::MAX_TRIES {
            let current = match grant.take() {
                Some(grant) => grant,
                None => self.endings.find_grant(id).await?.ok_or(BrokerError::NotFound("grant"))?,
            };
            match self.try_end_grant(current, cause, actor.clone(), reason, telling).await {
                Err(BrokerError::Changed) => {}
                done => return done,
            }
        }
        Err(BrokerError::Changed)
    }

    async fn try_end_grant(
        &self,
        grant: Grant,
        cause: EndCause,
        actor: Actor,
        reason: Option<&str>,
        telling: Telling,
    ) -> Result<(), BrokerError> {
        if !matches!(grant.state, GrantState::Live) {
            return Ok(());
        }
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, actor);
        let mut tx = self.endings.begin("grant.end");
        let Ok(ended) = grant.clone().end(cause, now) else { return Ok(()) };
        tx.update_grant(&grant, &ended);
        if let (EndCause::Revoked, Some(reason)) = (cause, reason) {
            record.note(
                EventKind::AuthorityRevoked,
                about_grant(&grant),
                [("reason", reason.into()), ("what", "grant".into())],
            );
        }
        record.note(
            EventKind::GrantEnded,
            about_grant(&grant),
            [("cause", cause.as_str().into()), ("reason", reason.unwrap_or("").into())],
        );
        let filter = LeaseFilter { grant: Some(grant.id), live: Some(true), ..LeaseFilter::default() };
        let leases = self.endings.list_leases(&filter, None, PAGE).await?;
        let ending = self.put_to_end(&leases, cause, telling, &mut tx, &mut record).await;
        match record.commit(tx).await {
            Ok(()) => {
                self.signals.changed(grant.task);
                self.finish_leases(ending, telling).await;
                Ok(())
            }
            // Somebody else ended it, or the sweep ended one of its leases.
            Err(StoreError::Conflict { .. }) => Err(BrokerError::Changed),
            Err(error) => Err(error.into()),
        }
    }
}

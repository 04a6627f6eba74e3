//! Building audit events: one place that stamps id, time and actor, so that a use case only says what happened to which thing.

use super::BrokerError;
use super::open_task::note_decision;
use crate::domain::{
    AccessRequest, Actor, AuditEvent, Datum, Decision, EndCause, EventKind, Facts, Grant, Lease, RequestState,
    Subjects, Task, Timestamp,
};
use crate::store::{StoreError, Tx};
use crate::sys::Ids;

/// Collects the events of one change.
pub(super) struct Record<'a> {
    ids: &'a Ids,
    now: Timestamp,
    actor: Actor,
    events: Vec<AuditEvent>,
}

impl<'a> Record<'a> {
    /// A record of what `actor` does at `now`.
    pub(super) const fn new(ids: &'a Ids, now: Timestamp, actor: Actor) -> Self {
        Self { ids, now, actor, events: Vec::new() }
    }

    /// When it happens.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether nothing was noted yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Note that something happened to these things, and what else is to be known of it.
    pub(super) fn note<const N: usize>(
        &mut self,
        kind: EventKind,
        subjects: Subjects,
        data: [(&'static str, Datum); N],
    ) {
        let event = self.event(kind, subjects, data);
        self.events.push(event);
    }

    /// The same, and the event, for what refers to it.
    pub(super) fn note_shown<const N: usize>(
        &mut self,
        kind: EventKind,
        subjects: Subjects,
        data: [(&'static str, Datum); N],
    ) -> AuditEvent {
        let event = self.event(kind, subjects, data);
        self.events.push(event.clone());
        event
    }

    fn event<const N: usize>(
        &self,
        kind: EventKind,
        subjects: Subjects,
        data: [(&'static str, Datum); N],
    ) -> AuditEvent {
        AuditEvent {
            id: self.ids.event(),
            at: self.now,
            kind,
            actor: self.actor.clone(),
            subjects,
            data: data.into_iter().collect(),
        }
    }

    /// Make the changes durable together with what was noted.
    ///
    /// # Errors
    /// What the store says; `Corrupt` when nothing was noted, which is a fault of ours.
    pub(super) async fn commit(self, tx: Tx) -> Result<(), StoreError> {
        let mut events = self.events.into_iter();
        let Some(first) = events.next() else {
            return Err(StoreError::Corrupt("a change without an event that explains it".to_owned()));
        };
        let mut facts = Facts::new(first);
        facts.extend(events);
        tx.commit(facts).await
    }
}

/// The subjects of an event about a task.
pub(super) fn about_task(task: &Task) -> Subjects {
    Subjects { agent: Some(task.agent.clone()), task: Some(task.id), ..Subjects::default() }
}

/// The subjects of an event about an access request.
pub(super) fn about_request(request: &AccessRequest) -> Subjects {
    Subjects {
        agent: Some(request.agent.clone()),
        task: Some(request.task),
        request: Some(request.id),
        decision: Some(request.decision),
        ..Subjects::default()
    }
}

/// The subjects of an event about a grant.
pub(super) fn about_grant(grant: &Grant) -> Subjects {
    Subjects {
        agent: Some(grant.agent.clone()),
        task: Some(grant.task),
        request: Some(grant.request),
        grant: Some(grant.id),
        ..Subjects::default()
    }
}

/// The subjects of an event about a lease.
pub(super) fn about_lease(lease: &Lease) -> Subjects {
    Subjects {
        agent: Some(lease.agent.clone()),
        task: Some(lease.task),
        request: Some(lease.request),
        grant: Some(lease.grant),
        lease: Some(lease.id),
        ..Subjects::default()
    }
}

/// Note that a task was opened.
pub(super) fn note_opened(task: &Task, record: &mut Record<'_>) {
    record.note(
        EventKind::TaskOpened,
        about_task(task),
        [
            ("ends_at", task.ends_at.to_string().into()),
            ("identity", task.identity.as_str().into()),
            ("purpose", task.purpose.as_str().into()),
        ],
    );
}

/// A task of which nothing was permitted ends with its first answer.
pub(super) fn close_denied(task: Task, record: &mut Record<'_>) -> Result<Task, BrokerError> {
    let closed =
        task.close(EndCause::Denied, record.now()).map_err(|refusal| BrokerError::Internal(refusal.to_string()))?;
    record.note(EventKind::TaskClosed, about_task(&closed), [("cause", EndCause::Denied.as_str().into())]);
    Ok(closed)
}

/// Note that scopes were asked for and what policy said.
pub(super) fn note_request(request: &AccessRequest, decision: &Decision, record: &mut Record<'_>) {
    let scopes: Vec<String> = request.scopes.iter().map(ToString::to_string).collect();
    record.note(
        EventKind::AccessRequested,
        Subjects { decision: None, ..about_request(request) },
        [
            ("digest", request.digest.to_string().into()),
            ("scopes", scopes.into()),
            ("ttl_seconds", i64::from(request.ttl.as_secs()).into()),
        ],
    );
    note_decision(request, decision, record);
    match &request.state {
        RequestState::Pending { rule, lapses_at, .. } => {
            record.note(
                EventKind::ApprovalAwaited,
                about_request(request),
                [("lapses_at", lapses_at.to_string().into()), ("rule", rule.to_string().into())],
            );
        }
        RequestState::Denied { reason } => {
            record.note(EventKind::AccessDenied, about_request(request), [("reason", reason.as_str().into())]);
        }
        RequestState::Granted { .. } | RequestState::Withdrawn | RequestState::Lapsed => {}
    }
}

//! Building audit events: one place that stamps id, time and actor, so that a use case only says what happened to which thing.

use crate::domain::{
    AccessRequest, Actor, AuditEvent, Datum, EventKind, Facts, Grant, Lease, Subjects, Task, Timestamp,
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

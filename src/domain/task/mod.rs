//! The task: the handle by which everything an agent holds can be ended at once.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::{AgentId, Ceiling, CorruptRecord, EndCause, Message, Name, Purpose, Refusal, TaskId, Timestamp, Ttl};

/// The person or service on whose behalf a task runs.
pub type Beneficiary = String;

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It may ask for scopes and hold credentials.
    Open,
    /// It holds nothing any more and never will again.
    Closed {
        /// Why.
        cause: EndCause,
        /// Since when.
        at: Timestamp,
    },
}

impl TaskState {
    /// The wire word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed { .. } => "closed",
        }
    }
}

/// What is known of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// Whose it is.
    pub agent: AgentId,
    /// The identity that opened it, as `issuer#subject`.
    pub identity: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Its kind, one its agent is approved for.
    pub kind: Option<Name>,
    /// On whose behalf it runs, as the agent asserts.
    pub beneficiary: Option<Beneficiary>,
    /// References the agent gives, e.g. a ticket; asserted, not verified.
    pub references: BTreeMap<String, String>,
    /// What the agent says to an approver.
    pub message: Option<Message>,
    /// The largest scope set it may ever be granted.
    pub ceiling: Ceiling,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends by itself.
    pub ends_at: Timestamp,
    /// How often it must be heard from, if it was opened so.
    pub heartbeat: Option<Ttl>,
    /// When it was last heard from, if it has a heartbeat.
    pub heard_at: Option<Timestamp>,
    /// Where it is in its life.
    pub state: TaskState,
}

/// A bounded piece of work an agent declares before asking for access: a purpose, a beneficiary, a ceiling of scopes, and an
/// end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task(TaskRecord);

impl Deref for Task {
    type Target = TaskRecord;
    fn deref(&self) -> &TaskRecord {
        &self.0
    }
}

impl Task {
    /// From a record, new or read back.
    ///
    /// # Errors
    /// [`CorruptRecord`] when it does not end after it was opened, or has half a heartbeat.
    pub fn new(record: TaskRecord) -> Result<Self, CorruptRecord> {
        let refuse = |why| CorruptRecord { what: "task", id: record.id.to_string(), why };
        if record.ends_at <= record.opened_at {
            return Err(refuse("it does not end after it was opened"));
        }
        if record.heartbeat.is_some() != record.heard_at.is_some() {
            return Err(refuse("a heartbeat and the time it was last heard belong together"));
        }
        Ok(Self(record))
    }

    /// Whether it may still ask and hold at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.state, TaskState::Open) && now < self.due_at()
    }

    /// When it ends if nothing more is heard.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        match (self.heartbeat, self.heard_at) {
            (Some(every), Some(heard)) => heard.plus(every).min(self.ends_at),
            _ => self.ends_at,
        }
    }

    /// Why it is due at `now`, if it is open and due.
    #[must_use]
    pub fn due_cause(&self, now: Timestamp) -> Option<EndCause> {
        if !matches!(self.state, TaskState::Open) || now < self.due_at() {
            None
        } else if now >= self.ends_at {
            Some(EndCause::Expired)
        } else {
            Some(EndCause::HeartbeatMissed)
        }
    }

    /// Note that it was heard from.
    ///
    /// # Errors
    /// [`Refusal`] when it is closed or due, or was opened without a heartbeat.
    pub fn hear(mut self, now: Timestamp) -> Result<Self, Refusal> {
        if !self.is_open(now) || self.heartbeat.is_none() {
            let state = if self.heartbeat.is_none() { "without a heartbeat" } else { self.state.as_str() };
            return Err(Refusal { what: "task", state, verb: "take a heartbeat" });
        }
        self.0.heard_at = Some(now);
        Ok(self)
    }

    /// End it.
    ///
    /// # Errors
    /// [`Refusal`] when it is closed already.
    pub fn close(mut self, cause: EndCause, now: Timestamp) -> Result<Self, Refusal> {
        match self.state {
            TaskState::Open => {
                self.0.state = TaskState::Closed { cause, at: now };
                Ok(self)
            }
            TaskState::Closed { .. } => Err(Refusal { what: "task", state: "closed", verb: "end again" }),
        }
    }
}

#[cfg(test)]
mod tests;

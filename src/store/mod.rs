//! All SQL, nothing but SQL. A transaction is a list of changes that becomes durable together with the audit events that
//! explain it, or not at all; there is no other way to change anything.

use crate::domain::{Digest, Timestamp};

/// The control row: read with each group of changes that mints, changed by the kill switch and by policy activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Grows with each throw of the kill switch, and with each release.
    pub kill_epoch: i64,
    /// Whether the kill switch is thrown: nothing is minted until it is released.
    pub killed: bool,
    /// The policy bundle in force.
    pub bundle: Option<Digest>,
    /// Grows whenever an agent is suspended or resumed.
    pub agents_epoch: i64,
}

/// What went wrong, named for what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer or cannot write; nothing was changed. Try again later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The outcome of a commit is not known; read back before acting on it.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// Somebody changed a row first, or it is there already; nothing was changed. Read again.
    #[error("conflict on {table}")]
    Conflict {
        /// Which table.
        table: &'static str,
    },
    /// The control row is not as expected: a kill switch or another policy bundle came in between. Nothing was changed.
    #[error("the control row has changed")]
    ControlChanged(Control),
    /// An agent's limit of live leases or pending requests is reached; nothing was changed.
    #[error("limit reached: {0}")]
    LimitReached(&'static str),
    /// A row breaks a rule; somebody changed it behind our back. Stop and look.
    #[error("corrupt row: {0}")]
    Corrupt(String),
}

/// An idempotency key's record: which request it was used for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Who used it: `agent:<id>` or `operator:<person>`.
    pub owner: String,
    /// The key as sent.
    pub key: String,
    /// SHA-256 of method, path and canonical body.
    pub request: Digest,
    /// The id of what was made, e.g. a task's.
    pub subject: String,
    /// When it was used.
    pub at: Timestamp,
    /// When it may be forgotten.
    pub keep_until: Timestamp,
}

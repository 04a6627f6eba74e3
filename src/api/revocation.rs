//! The end of authority on the wire: what a revocation names, and what is known afterwards, lease by lease. Nothing is called
//! ended that may still work.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LeaseView;

/// What a revocation names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RevocationTarget {
    /// Everything an agent holds, and its tasks.
    Agent(String),
    /// A task.
    Task(String),
    /// A grant.
    Grant(String),
    /// One lease.
    Lease(String),
    /// Every lease of one backend.
    Backend(String),
    /// Everything, and nothing more is minted until the switch is released: `engage` or `release`.
    KillSwitch(String),
}

/// `POST /v1/revocations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeAsk {
    /// What ends.
    pub target: RevocationTarget,
    /// Why; at most 500 characters.
    pub reason: String,
}

crate::domain::words! {
    /// What is known of everything that should have ended.
    ClosureWord as "closure" {
        /// Nothing works any more.
        Closed = "closed",
        /// Something ends by a stated time.
        Partial = "partial",
        /// Something could not be ended yet and is being tried again.
        Unknown = "unknown",
    }
}

/// What is known about an ended authority, lease by lease: closed (a probe with the dead credential or its name failed), ends
/// by a stated time, or unknown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Closure {
    /// What was ended, by id or name.
    pub id: String,
    /// Its state now.
    pub state: String,
    /// Why.
    pub cause: String,
    /// The worst that is known of its leases.
    #[schema(value_type = String)]
    pub closure: ClosureWord,
    /// Its leases; at most 500, the worst first.
    pub leases: Vec<LeaseView>,
    /// How many leases there are in all.
    pub total: u64,
}

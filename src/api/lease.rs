//! Leases on the wire, what ends them, and what is known once they should have ended: never "revoked" for something that
//! still works.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Timestamp;

/// A lease.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// Its id.
    pub id: String,
    /// The task.
    pub task: String,
    /// Who holds it.
    pub agent: String,
    /// The request it follows from.
    pub request: String,
    /// The grant it rests on.
    pub grant: String,
    /// The backend that accepts the credential.
    pub backend: String,
    /// What it permits, as written scopes.
    pub scopes: Vec<String>,
    /// `minting`, `live`, `ending` or `ended`.
    pub state: String,
    /// What is known of its end, if it was to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub closure: Option<LeaseClosure>,
    /// Why it ends or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How we know that it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// By when it ends, if its backend cannot end it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_by: Option<Timestamp>,
    /// Since when its backend was seen not to honour it, while it is `ending`: it may be told once more, or be tidied up after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub disabled_at: Option<Timestamp>,
    /// Whether ending it failed so often that somebody must look: it may still work, and is tried on for ever.
    #[serde(default)]
    pub irrevocable: bool,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub intent_at: Timestamp,
    /// When it stops being usable.
    #[schema(value_type = String, format = DateTime)]
    pub usable_until: Timestamp,
    /// When its backend stops honouring it without being told.
    #[schema(value_type = String, format = DateTime)]
    pub native_end: Timestamp,
}

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
    /// One lease; its grant stays, so its agent may collect another credential. Name the grant or the task to prevent that.
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
    /// What is known of the end of one lease.
    LeaseClosure as "closure of a lease" {
        /// Its backend was seen not to honour it, or honours it no more by what it told us.
        Closed = "closed",
        /// Its backend cannot end it at once; it ends by a stated time.
        EndsBy = "ends_by",
        /// It may still work, and ending it is tried on.
        Unknown = "unknown",
    }
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
    /// The same as a signed statement, for whoever was not there: a compact JWS (RFC 7515) of type `hallpass-closure+jwt` with
    /// `iss`, `iat`, `sub` (what was ended), `cause`, `closure`, `total` and `leases` of `id`, `backend`, `closure`, `proof` and
    /// `ends_by`, by a key of `/.well-known/jwks.json`. It says what was known at `iat`; ask again for what is known later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

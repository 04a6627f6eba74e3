//! What operators, auditors and resource servers see on the wire: decisions, agents, events and introspection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LeaseView, RequestView};
use crate::domain::Timestamp;

macro_rules! page {
    ($(#[$meta:meta])* $name:ident, $item:ty) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
        pub struct $name {
            /// The items.
            pub items: Vec<$item>,
            /// Pass it as `cursor` for more; absent at the end.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub next_cursor: Option<String>,
        }
    };
}
page! {
    /// A page of requests.
    RequestsPage, RequestView
}
page! {
    /// A page of leases.
    LeasesPage, LeaseView
}
page! {
    /// A page of audit events.
    EventsPage, EventView
}

/// One entry of the catalogue as this caller sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScopeView {
    /// Its name.
    pub scope: String,
    /// What it permits.
    pub description: String,
    /// 0 to 100.
    pub risk: u8,
    /// The longest life of one credential, in seconds.
    pub max_ttl_seconds: u32,
    /// Its parameters.
    #[schema(value_type = Object)]
    pub params: serde_json::Value,
    /// What policy would say now to this agent for a task without a kind: `permit`, `require_approval` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlook: Option<String>,
}

/// `GET /v1/scopes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScopesAnswer {
    /// What this caller may ask for.
    pub items: Vec<ScopeView>,
    /// The bundle in force.
    pub bundle: String,
}

/// `GET /v1/whoami`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// `agent` or `operator`.
    pub kind: String,
    /// The agent's or person's name.
    pub name: String,
    /// The issuer that vouched.
    pub issuer: String,
    /// The issuer's name for the caller.
    pub subject: String,
    /// The agent's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A person's groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When the presented token stops being accepted.
    #[schema(value_type = String, format = DateTime)]
    pub token_expires_at: Timestamp,
}

/// A decision, with everything it was made from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DecisionView {
    /// Its id.
    pub id: String,
    /// `permit`, `require_approval` or `deny`.
    pub outcome: String,
    /// The policies that determined it, with their reasons.
    pub determining: Vec<PolicyView>,
    /// The bundle in force.
    pub bundle: String,
    /// The complete input, one question for each scope.
    #[schema(value_type = Object)]
    pub input: serde_json::Value,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A policy that determined a decision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// Its id.
    pub id: String,
    /// Its reason.
    pub reason: String,
}

/// `POST /v1/decisions/simulate`: what would policy say? Nothing is recorded and nothing is granted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateAsk {
    /// For which agent; the caller itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The task it would open.
    pub task: super::TaskAsk,
}

/// What policy would say.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SimulateAnswer {
    /// The strictest answer of all.
    pub outcome: String,
    /// The answer for each scope.
    pub scopes: Vec<SimulatedScope>,
    /// The bundle in force.
    pub bundle: String,
}

/// What policy would say to one scope.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SimulatedScope {
    /// The scope as written.
    pub scope: String,
    /// `permit`, `require_approval` or `deny`.
    pub outcome: String,
    /// Who would have to agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policies that would determine it.
    pub determining: Vec<PolicyView>,
}

/// An agent of the inventory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// Its name.
    pub id: String,
    /// What it is for.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
    /// `low`, `medium` or `high`.
    pub risk_tier: String,
    /// The kinds of task it is approved for.
    pub kinds: Vec<String>,
    /// What it may ever be granted.
    pub ceiling: Vec<String>,
    /// Why it is suspended, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
}

/// `GET /v1/agents`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentsPage {
    /// Every agent of the bundle in force.
    pub items: Vec<AgentView>,
}

/// `POST /v1/agents/{id}/suspend` and `/resume`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendAsk {
    /// Why; at most 500 characters.
    pub reason: String,
}

/// An audit event: its place, and its canonical form.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its place in the order of commits.
    pub seq: i64,
    /// The event as it was recorded.
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
}

/// `POST /oauth/introspect` (RFC 7662 §2.2). An inactive token's answer has no member but `active`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Introspection {
    /// Whether it may be relied on now.
    pub active: bool,
    /// Every other member, for an active token.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub claims: BTreeMap<String, serde_json::Value>,
}

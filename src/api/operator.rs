//! What operators, auditors and resource servers see on the wire: requests, decisions, agents, events and introspection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LeaseView;
use crate::domain::Timestamp;

/// An access request as an approver sees it; every text of the agent's is marked as asserted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestView {
    /// Its id.
    pub id: String,
    /// The task it is for.
    pub task: String,
    /// Who asks.
    pub agent: String,
    /// Who answers for the agent.
    pub owner: String,
    /// `pending`, `granted`, `denied`, `withdrawn` or `lapsed`.
    pub state: String,
    /// One sentence of ours, never the agent's.
    pub sentence: String,
    /// What it asks for, as written scopes.
    pub scopes: Vec<String>,
    /// The highest risk among them, 0 to 100.
    pub risk: u8,
    /// How long one credential would live, in seconds.
    pub ttl_seconds: u32,
    /// What exactly would be minted: the native effect.
    #[schema(value_type = Object)]
    pub effect: serde_json::Value,
    /// Why a person is asked.
    pub reasons: Vec<String>,
    /// Who must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Verdicts so far.
    pub verdicts: Vec<VerdictView>,
    /// The purpose as the agent asserts it.
    pub asserted_purpose: String,
    /// The message as the agent asserts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asserted_message: Option<String>,
    /// On whose behalf, as the agent asserts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asserted_beneficiary: Option<String>,
    /// References as the agent asserts them.
    pub asserted_references: BTreeMap<String, String>,
    /// The identity that was verified, as `issuer#subject`.
    pub verified_identity: String,
    /// The digest a verdict must carry.
    pub request_digest: String,
    /// The decision that sent it here.
    pub decision: String,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// When it lapses, while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lapses_at: Option<Timestamp>,
    /// Whether the caller may decide it, and if not, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_decide: Option<String>,
}

/// One verdict.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerdictView {
    /// Who.
    pub person: String,
    /// `approve` or `deny`.
    pub verdict: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

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

/// `POST /v1/requests/{id}/verdict`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerdictAsk {
    /// `approve` or `deny`.
    pub verdict: String,
    /// The digest of what was shown; a different one is refused.
    pub request_digest: String,
    /// Why; at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of a verdict.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerdictAnswer {
    /// The request.
    pub id: String,
    /// Its state now.
    pub state: String,
    /// How many people have agreed.
    pub given: u32,
    /// The same in one sentence.
    pub message: String,
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

//! Tasks on the wire: what an agent asks and what it is answered. Unknown members are refused at every level, so that a
//! misspelt limit never silently becomes no limit.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::QuestionView;
use crate::domain::Timestamp;

crate::domain::words! {
    /// What an agent should do next; a closed list.
    AgentAction as "agent action" {
        /// Use what you were given.
        Proceed = "proceed",
        /// Wait for a person, then ask again.
        Wait = "wait",
        /// Answer what a person asks, then wait.
        Answer = "answer",
        /// Ask for less: fewer scopes or a shorter life.
        Narrow = "narrow",
        /// Ask the person you work for.
        AskHuman = "ask_human",
        /// Try the same again later.
        RetryLater = "retry_later",
        /// Stop the work that needs this access, and report.
        Stop = "stop",
    }
}

/// One scope that is asked for: a written scope, or an entry with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum AskScope {
    /// `backend:resource:action` or `backend:resource:action(name=value)`.
    Written(String),
    /// An entry and its parameters.
    With(AskScopeWith),
}

// Not derived: serde's untagged error names neither the member nor what is wrong with it.
impl<'de> Deserialize<'de> for AskScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = AskScope;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a written scope or an object with `scope` and `with`")
            }
            fn visit_str<E: serde::de::Error>(self, written: &str) -> Result<AskScope, E> {
                Ok(AskScope::Written(written.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<AskScope, A::Error> {
                AskScopeWith::deserialize(MapAccessDeserializer::new(members)).map(AskScope::With)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// An entry of the catalogue with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskScopeWith {
    /// `backend:resource:action`; parameters may be written here or given in `with`, not both.
    pub scope: String,
    /// Parameters by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

/// `POST /v1/tasks`: open a task and ask for scopes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "purpose": "Publish release v1.4.2 to the artifact bucket",
    "kind": "deploy",
    "scopes": ["artifacts:releases:read", {"scope": "artifacts:releases:write", "with": {"prefix": "v1.4.2/"}}],
    "ttl_seconds": 900,
    "on_behalf_of": "maya@acme.example",
    "references": {"ticket": "REL-482"},
    "message": "I built v1.4.2 from commit 3fd0c1 and need to upload 14 files.",
}))]
pub struct TaskAsk {
    /// What the task is for: 1 to 2,000 characters, at most 20 lines, nothing invisible.
    pub purpose: String,
    /// The kind of task, one this agent is approved for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is asked for: 1 to 50 scopes. Absent is the same as empty: nothing, never everything.
    #[serde(default)]
    #[schema(required, min_items = 1, max_items = 50)]
    pub scopes: Vec<AskScope>,
    /// How long a credential shall live, in seconds; the catalogue's or 600 when absent, whichever is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// How long the task stays open, in seconds; as long as one credential lives when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ttl_seconds: Option<i64>,
    /// The task ends when it is not heard from for so long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_seconds: Option<i64>,
    /// The person or service on whose behalf it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// References by name, e.g. a ticket; at most 16, 256 characters each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub references: BTreeMap<String, String>,
    /// What to tell an approver: at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The most this task may ever ask for, as written scopes (a parameter left out stays open); the agent's own ceiling when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Vec<String>>,
    /// A public JWK to bind credentials to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub confirmation_key: Option<serde_json::Value>,
    /// A public JWK (EC P-256) to seal credentials to. The sealed answer is kept until the lease ends and is fetched again with
    /// the same `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub delivery_key: Option<serde_json::Value>,
}

/// `POST /v1/tasks/{id}/requests`: ask for more within the same task.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoreAccessAsk {
    /// What is asked for: 1 to 50 scopes. Absent is the same as empty: nothing, never everything.
    #[serde(default)]
    #[schema(required, min_items = 1, max_items = 50)]
    pub scopes: Vec<AskScope>,
    /// How long a credential shall live, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// A public JWK to bind credentials to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub confirmation_key: Option<serde_json::Value>,
    /// A public JWK (EC P-256) to seal credentials to. The sealed answer is kept until the lease ends and is fetched again with
    /// the same `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub delivery_key: Option<serde_json::Value>,
}

/// `POST /v1/tasks/{id}/credentials`: collect; may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectAsk {
    /// A public JWK (EC P-256) to seal credentials to. The sealed answer is kept until the lease ends and is fetched again with
    /// the same `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub delivery_key: Option<serde_json::Value>,
}

/// The wait of a request for people.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// Where a person reads and decides it.
    pub url: String,
    /// Who must agree, e.g. `1 of sre-oncall`.
    pub rule: String,
    /// How many people have agreed so far.
    pub given: u32,
    /// Why a person is asked.
    pub reason: String,
    /// When it lapses.
    #[schema(value_type = String, format = DateTime)]
    pub lapses_at: Timestamp,
}

/// One access request of a task.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestSummary {
    /// Its id.
    pub id: String,
    /// `pending`, `granted`, `denied`, `withdrawn` or `lapsed`.
    pub state: String,
    /// What it asks for, as written scopes.
    pub scopes: Vec<String>,
    /// The decision on it.
    pub decision: String,
    /// The wait, while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalView>,
    /// Why it was denied: one word and the reasons of the policies that determined it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<DenialView>,
    /// What people who may decide it ask the agent, oldest first, with its answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionView>,
}

/// Why a request was denied.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DenialView {
    /// `not_permitted`, `forbidden`, `policy_error` or `by_approver`.
    pub reason: String,
    /// The reasons of the policies that determined it.
    pub because: Vec<String>,
}

/// How surely and how fast a credential can be ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevocationView {
    /// How, in words.
    pub how: String,
    /// `immediate`, `within_seconds`, `within_minutes` or `at_native_end`.
    pub strength: String,
}

/// A credential, delivered once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// The lease it lives under.
    pub id: String,
    /// The request it follows from.
    pub request: String,
    /// Its kind, e.g. `jwt`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it permits, as written scopes.
    pub scopes: Vec<String>,
    /// Its named values, e.g. `access_token`; secret. None when it is sealed.
    pub values: BTreeMap<String, String>,
    /// Instead of values, when a `delivery_key` was given: this very object with its values, as a compact JWE (RFC 7516) to
    /// that key; ECDH-ES+A256KW and A256GCM, `kid` is the key's SHA-256 thumbprint (RFC 7638).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// When it stops being usable.
    #[schema(value_type = String, format = DateTime)]
    pub usable_until: Timestamp,
    /// When its backend stops honouring it without being told.
    #[schema(value_type = String, format = DateTime)]
    pub native_end: Timestamp,
    /// How it can be ended.
    pub revocation: RevocationView,
}

/// A task as its agent sees it.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskAnswer {
    /// Its id.
    pub id: String,
    /// `open` or `closed`.
    pub state: String,
    /// Why it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whose it is.
    pub agent: String,
    /// What it is for.
    pub purpose: String,
    /// What to do next.
    #[schema(value_type = String)]
    pub agent_action: AgentAction,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Its requests, oldest first.
    pub requests: Vec<RequestSummary>,
    /// Credentials delivered with this answer, and only with this answer.
    pub credentials: Vec<Credential>,
    /// Leases of this task, by id, whose credentials were delivered before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub already_delivered: Vec<String>,
    /// The same in one or two sentences.
    pub message: String,
}

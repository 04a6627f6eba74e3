//! The AuthZEN Authorization API 1.0 on the wire. Its objects may grow members, so what is not known here is ignored (§10.1.1):
//! the one place where that is right. What is known must have its type.

mod filing;

pub use filing::{
    ActorAsk, ApprovalReference, CallbackAsk, CancelAnswer, CancelAsk, ClientAsk, DenialAsk, FiledItemView, FiledTask,
    FilingAnswer, FilingAsk, FilingItemAsk, FilingResult, RequestedAccess, SourceAsk,
};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::Timestamp;

/// Any members, as JSON objects have them.
pub type Members = Map<String, Value>;

/// Who would do it (§5.1): of type `agent`, with the name of the agent that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectView {
    /// `agent`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The agent's name.
    pub id: String,
    /// Whatever else; nothing is believed because it stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Members>,
}

/// What it would be done to (§5.2): of type `scope`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceView {
    /// `scope`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `backend:resource`, or a whole written scope.
    pub id: String,
    /// `params`: the scope's parameters by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Members>,
}

/// What would be done (§5.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionView {
    /// The scope's action, e.g. `write`.
    pub name: String,
    /// Whatever else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Members>,
}

/// `POST /access/v1/evaluation` (§6): may this be done now? Required: `subject`, `action`, `resource`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "subject": { "type": "agent", "id": "release-bot" },
    "resource": { "type": "scope", "id": "artifacts:releases", "properties": { "params": { "prefix": "v1.4.2/" } } },
    "action": { "name": "write" },
    "context": { "ttl_seconds": 600, "purpose": "publish v1.4.2" },
}))]
pub struct EvaluationAsk {
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectView>,
    /// What.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionView>,
    /// To what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceView>,
    /// `task`, or `purpose`, `kind` and `on_behalf_of` of a task to be opened; `ttl_seconds`; and `approval` after one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Members>,
}

/// `POST /access/v1/evaluations` (§7): several at once. Members beside `evaluations` stand for what an item leaves out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct EvaluationsAsk {
    /// The defaults; all that is asked where there are no items.
    #[serde(flatten)]
    pub defaults: EvaluationAsk,
    /// The items, at most 50, each like the whole of a single question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>, max_items = 50)]
    pub evaluations: Option<Vec<Value>>,
    /// How they are worked through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<EvaluationsOptions>,
}

/// How the items of a batch are worked through.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct EvaluationsOptions {
    /// `execute_all` (the default), `deny_on_first_deny` or `permit_on_first_permit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations_semantic: Option<String>,
}

/// The answer to one question: a denial is an answer, with status 200.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EvaluationAnswer {
    /// Whether it may be done.
    pub decision: bool,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<DecisionContext>,
}

/// The answers to several, in the order of the questions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EvaluationsAnswer {
    /// As many as were worked through.
    pub evaluations: Vec<EvaluationAnswer>,
}

/// What is to be known besides yes or no (ARAP §7, §12).
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct DecisionContext {
    /// Names this evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_id: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub evaluated_at: Option<Timestamp>,
    /// One word for why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How to ask people for it; only where they could allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_request: Option<AccessRequestHint>,
    /// After an approval was shown that does not help: `request`, `retry` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action: Option<String>,
    /// Seconds until it is worth asking again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The approval a yes rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalReference>,
    /// Where to go on, by relation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// What is wrong with one item of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// What is wrong with one item of a batch (§7.2.1).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ItemError {
    /// The status it would have had alone.
    pub status: u16,
    /// What to mend.
    pub message: String,
}

/// How to ask for what was denied (ARAP §7).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessRequestHint {
    /// Where.
    pub endpoint: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// To be sent back as it is.
    pub binding_token: String,
    /// For people.
    pub display: DisplayView,
}

/// A few words for people.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DisplayView {
    /// A few words.
    pub title: String,
    /// A sentence or two.
    pub description: String,
}

/// `GET /.well-known/authzen-configuration` (§9, ARAP §6).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthzenConfiguration {
    /// Who answers.
    pub policy_decision_point: String,
    /// Where to ask one question.
    pub access_evaluation_endpoint: String,
    /// Where to ask several.
    pub access_evaluations_endpoint: String,
    /// Where to ask people.
    pub access_request_endpoint: String,
    /// The keys that sign binding tokens, approval states and callbacks.
    pub jwks_uri: String,
    /// What else is offered, as URNs.
    pub capabilities: Vec<String>,
}

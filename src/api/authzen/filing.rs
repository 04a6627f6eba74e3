//! The Access Request and Approval Profile of AuthZEN (Draft 1) on the wire. Its "task" is our access request, or several of them
//! that were filed together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ActionView, DisplayView, Members, ResourceView, SubjectView};
use crate::domain::Timestamp;

/// `POST /access/v1/requests` (§10.1): ask people for what was denied. `subject`, and either `resource` with `action` and `denial`
/// or `items`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct FilingAsk {
    /// Who, as it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectView>,
    /// To what, as it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceView>,
    /// What, as it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionView>,
    /// Instead of those two: 1 to 50 of them, each with its denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 50)]
    pub items: Option<Vec<FilingItemAsk>>,
    /// As it was denied, and more: `business_justification` is shown to approvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Members>,
    /// The denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialAsk>,
    /// How much of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_access: Option<RequestedAccess>,
    /// Whom to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackAsk>,
    /// Who files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientAsk>,
}

/// One thing of several.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FilingItemAsk {
    /// To what, as it was denied.
    pub resource: ResourceView,
    /// What, as it was denied.
    pub action: ActionView,
    /// How much of it; the earliest end of all items counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_access: Option<RequestedAccess>,
    /// Its denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialAsk>,
}

/// The denial that is answered, echoed from its decision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DenialAsk {
    /// The evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_id: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated_at: Option<String>,
    /// Until when it may be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What binds this to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_token: Option<String>,
    /// Its template, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// How much is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct RequestedAccess {
    /// Until when; never longer than a task of this agent may last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub requested_until: Option<Timestamp>,
    /// Shown to approvers as a claim of the agent's; it changes nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<bool>,
}

/// Whom to tell of the outcome (§13).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CallbackAsk {
    /// An https URL on a host that this deployment allows.
    pub endpoint: String,
    /// Sent back with it, at most 512 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `approved`, `denied`, `expired`, `cancelled`, `failed`, `partial`; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
}

/// Who files, in its own words.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClientAsk {
    /// The software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who acts; it must be the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<ActorAsk>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceAsk>,
}

/// Who acts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ActorAsk {
    /// The agent's name, or its subject at its issuer.
    pub id: String,
    /// That issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// E.g. `ai_agent`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// For whom that one acts; nobody here can verify it, so it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub act: Option<Value>,
}

/// Where a filing comes from, for the record and for approvers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SourceAsk {
    /// A conversation, a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// A ticket, a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_url: Option<String>,
    /// An integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
}

/// What became of a filing (§10.2, §11).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FilingAnswer {
    /// How it stands.
    pub task: FiledTask,
    /// What an approval is shown with, once there is one and there are no items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<FilingResult>,
}

/// How a filing stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FiledTask {
    /// Its id.
    pub id: String,
    /// `pending`, `approved`, `denied`, `expired`, `cancelled`, `failed` or, of several items, `partial`.
    pub status: String,
    /// Where to read it.
    pub status_endpoint: String,
    /// Until when it can be read.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// For people.
    pub display: DisplayView,
    /// `cancel` and `review` while it waits, `urn:hallpass:task`, and `urn:hallpass:credentials` once something is approved.
    pub links: BTreeMap<String, String>,
    /// Each of several, in the order they were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<FiledItemView>>,
}

/// How one of several stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FiledItemView {
    /// As it was sent.
    #[schema(value_type = Object)]
    pub resource: Value,
    /// As it was sent.
    #[schema(value_type = Object)]
    pub action: Value,
    /// As of a whole filing, but never `partial`.
    pub status: String,
    /// What its approval is shown with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<FilingResult>,
}

/// What to do with an approval (§12).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FilingResult {
    /// `reevaluate`: ask again, with the approval in `context.approval`.
    pub mode: String,
    /// The approval.
    pub approval: ApprovalReference,
}

/// An approval, as it is shown and shown again. It permits nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalReference {
    /// Its id: our grant's.
    pub id: String,
    /// When it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub approved_at: Option<Timestamp>,
    /// Until when it can be relied on at most.
    #[schema(value_type = String, format = DateTime)]
    pub approved_until: Timestamp,
    /// The same, signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// The body of a cancellation; may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct CancelAsk {
    /// One word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// The answer to a cancellation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CancelAnswer {
    /// How it stands now.
    pub task: FiledTask,
}

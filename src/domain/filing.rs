//! The filing: what an agent handed in through the access request profile of AuthZEN, kept as the record that its approval is
//! bound to; and the callback that whoever filed it may have asked for.

use serde::{Deserialize, Serialize};

use super::{AgentId, EvaluationId, FilingId, RequestId, Scope, TaskId, Timestamp};

/// One thing that was asked for in a filing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiledItem {
    /// The access request it became, or joined.
    pub request: RequestId,
    /// The scope it means.
    pub scope: Scope,
    /// The SHA-256 of what was denied, in base64url: subject, resource, action and the context that counts.
    pub binding: String,
    /// The AuthZEN resource it was denied for, as canonical JSON.
    pub resource: String,
    /// The AuthZEN action, as canonical JSON.
    pub action: String,
    /// The evaluation that denied it.
    pub evaluation: EvaluationId,
}

/// What a filing was bound to, and what its agent said about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiledText {
    /// The AuthZEN subject as canonical JSON, without its actor.
    pub subject: String,
    /// Those members of the context that count, as canonical JSON.
    pub context: String,
    /// What the agent said about the software that files, as canonical JSON; for the record only.
    pub client: Option<String>,
    /// Whether it came as a list of items, and is answered so.
    pub bundled: bool,
    /// Until when at most it asked for access.
    pub until: Option<Timestamp>,
    /// What was asked for, in the order it was sent.
    pub items: Vec<FiledItem>,
}

/// A record of what an agent asked for through the access request profile of AuthZEN: the denials it answers, what exactly was
/// denied, and the access requests that came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filing {
    /// Its id: the profile's task handle.
    pub id: FilingId,
    /// Who filed it.
    pub agent: AgentId,
    /// The task its requests belong to.
    pub task: TaskId,
    /// What it is bound to.
    pub text: FiledText,
    /// When it was filed.
    pub filed_at: Timestamp,
    /// Until when it can be read.
    pub readable_until: Timestamp,
}

/// Somebody who wants to be told of a filing's outcome, and has not been yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Whose outcome.
    pub filing: FilingId,
    /// The request of the filing that must be settled first; of several the first that waits.
    pub request: RequestId,
    /// Where to call.
    pub endpoint: String,
    /// What whoever filed wants to be told with it.
    pub state: Option<String>,
    /// Which outcomes are of interest; all when empty.
    pub events: Vec<String>,
    /// Not before.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// When it is of no use any more.
    pub keep_until: Timestamp,
}

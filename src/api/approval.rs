//! What approvers see and say on the wire: a request with everything a decision rests on, and the verdict. Every text of the agent's
//! is marked as asserted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RevocationView;
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
    /// The same, one by one, the most dangerous first.
    pub scope_details: Vec<ScopeDetail>,
    /// The highest risk among them, 0 to 100.
    pub risk: u8,
    /// `low`, `medium` or `high`.
    pub impact: String,
    /// The environments its scopes are labelled with (`env`).
    pub environments: Vec<String>,
    /// How long one credential would live, in seconds.
    pub ttl_seconds: u32,
    /// What exactly would be minted: the native effect.
    #[schema(value_type = Object)]
    pub effect: serde_json::Value,
    /// How, and how surely, what is minted can be ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationView>,
    /// Why a person is asked.
    pub reasons: Vec<String>,
    /// What deviates from what this agent usually asks for; empty when nothing does.
    pub unusual: Vec<String>,
    /// Who must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What a yes takes.
    pub terms: TermsView,
    /// How many people's yes counts as things stand.
    pub given: u32,
    /// Verdicts so far.
    pub verdicts: Vec<VerdictView>,
    /// Questions to the agent, oldest first, with its answers.
    pub questions: Vec<QuestionView>,
    /// What this agent asked for before with these scopes.
    pub history: HistoryView,
    /// The other requests of the same task.
    pub siblings: Vec<SiblingView>,
    /// The review that must follow, after glass was broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewView>,
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

/// One scope of a request, in words a person can use.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScopeDetail {
    /// As written.
    pub scope: String,
    /// Its action, e.g. `write`.
    pub action: String,
    /// What it permits, as the catalogue says.
    pub description: String,
    /// 0 to 100.
    pub risk: u8,
    /// Its parameters, by name.
    pub params: BTreeMap<String, String>,
    /// The catalogue entry's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether the catalogue in force knows it; what it does not know cannot be inspected.
    pub inspectable: bool,
}

/// What a yes takes, as policy says.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct TermsView {
    /// How sure the broker must be who decides: `none`, `sign_in` (a fresh sign-in) or `passkey` (a signature over what was shown).
    pub step_up: String,
    /// Whether a yes needs a reason.
    pub reason_required: bool,
    /// How many credentials may be minted on it.
    pub uses: u32,
    /// Who may let it pass alone in an emergency, if anybody: a rule like `1 of incident-commanders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
    /// The longest life of a credential that is let pass so, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass_ttl_seconds: Option<u32>,
}

/// One verdict.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerdictView {
    /// Its id.
    pub id: String,
    /// Who.
    pub person: String,
    /// In whose place, while that person is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<String>,
    /// `approve`, `deny` or `break_glass`.
    pub verdict: String,
    /// What was allowed instead of all that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow: Option<Narrow>,
    /// Whether a passkey signed it.
    pub passkey: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the person had it before them, in milliseconds, if they were shown it by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought_millis: Option<i64>,
    /// Whether something has changed since, so that it counts no more and must be given anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent_back: bool,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A question to the agent, and its answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QuestionView {
    /// Its id.
    pub id: String,
    /// Who asks.
    pub person: String,
    /// What is asked; at most 500 characters.
    pub text: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// What the agent says; at most 500 characters, asserted like everything it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asserted_answer: Option<String>,
    /// When it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub answered_at: Option<Timestamp>,
}

/// What an agent asked for before: requests of the last 30 days with a scope of the same catalogue entries, by outcome.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// All of them.
    pub asked: u32,
    /// Granted.
    pub granted: u32,
    /// Denied.
    pub denied: u32,
    /// When the last one was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_granted_at: Option<Timestamp>,
}

/// Another request of the same task.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SiblingView {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: String,
    /// What it asks for.
    pub scopes: Vec<String>,
}

/// The review after glass was broken: somebody else says whether it was right.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReviewView {
    /// `due`, `confirmed` or `objected`.
    pub state: String,
    /// By when.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
    /// Who reviewed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A narrower yes: what is left out of what was asked, and how long a credential may live at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Narrow {
    /// At most so many seconds, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
    /// Scopes of the request, as written there, that are not allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_scopes: Vec<String>,
}

/// `POST /v1/requests/{id}/verdict`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerdictAsk {
    /// `approve`, `deny` or `break_glass`.
    pub verdict: String,
    /// The digest of what was shown; a different one is refused.
    pub request_digest: String,
    /// A yes to less than was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow: Option<Narrow>,
    /// Why; at most 500 characters. `break_glass` needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A passkey's signature over this verdict, where policy demands one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<AssertionAsk>,
}

/// A passkey's answer to a challenge of ours (`WebAuthn` Level 3 §5.2.2), each part in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertionAsk {
    /// The challenge's id, as it was handed out.
    pub challenge: String,
    /// The credential's id.
    pub credential: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// `signature`.
    pub signature: String,
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

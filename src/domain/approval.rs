//! A person's verdict: what was said, by whom, about exactly which request, and why a verdict may not count.

use super::word::words;
use super::{ApprovalId, Digest, Person, RequestId, Timestamp};

words! {
    /// What a person said.
    Verdict as "verdict" {
        /// Yes.
        Approve = "approve",
        /// No; one no ends the request.
        Deny = "deny",
    }
}

/// One operator's recorded verdict on one access request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// What it is about.
    pub request: RequestId,
    /// Who said it.
    pub person: Person,
    /// The groups the person was in at that moment, as the issuer stated them.
    pub groups: Vec<String>,
    /// What was said.
    pub verdict: Verdict,
    /// The digest of what was shown.
    pub request_digest: Digest,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Why a person's verdict does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerdictRefusal {
    /// The person owns the agent that asks, or is the one it asks for.
    #[error("you own the agent that asks, or it asks on your behalf; somebody else must decide")]
    OwnRequest,
    /// The person is in none of the groups the rule names.
    #[error("this request is decided by {rule}, and you are in none of these groups")]
    NotInGroup {
        /// The rule.
        rule: String,
        /// The groups it names.
        groups: Vec<String>,
    },
    /// The person has already decided.
    #[error("you have already decided this request")]
    AlreadyDecided,
}

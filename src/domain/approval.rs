//! A person's verdict: what was said, by whom, about exactly which request, and the text under its seal, so that nobody can
//! change a verdict behind our back.

use serde::Serialize;

use super::word::words;
use super::{ApprovalId, Digest, Narrowing, Person, PlanDigest, RequestId, Timestamp};

words! {
    /// What a person said.
    Verdict as "verdict" {
        /// Yes.
        Approve = "approve",
        /// No; one no ends the request.
        Deny = "deny",
        /// Let it pass alone, in an emergency; a review must follow.
        BreakGlass = "break_glass",
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
    /// In whose place, while that person is away.
    pub in_place_of: Option<Person>,
    /// The groups by which it counts: those the person was in at that moment, as the issuer stated them; or those of the person
    /// in whose place it was said.
    pub groups: Vec<String>,
    /// What was said.
    pub verdict: Verdict,
    /// What was left out of a yes.
    pub narrow: Option<Narrowing>,
    /// The digest of what was shown.
    pub request_digest: Digest,
    /// The policy bundle under which it was shown; absent in verdicts of before there was a seal.
    pub bundle: Option<Digest>,
    /// The plan that was shown; absent in verdicts of before there was a seal.
    pub plan: Option<PlanDigest>,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// What a passkey signed, and its signature, as canonical JSON.
    pub proof: Option<String>,
    /// How long the person had it before them, in milliseconds, if they were shown it by us.
    pub thought_millis: Option<i64>,
    /// When.
    pub at: Timestamp,
    /// The seal over all of it; a verdict without one, or with a wrong one, counts for nothing.
    pub seal: Option<String>,
}

/// What is under the seal, in the order RFC 8785 demands.
#[derive(Serialize)]
struct Sealed<'a> {
    at: Timestamp,
    bundle: Option<Digest>,
    groups: &'a [String],
    id: ApprovalId,
    in_place_of: Option<&'a Person>,
    narrow: Option<&'a Narrowing>,
    person: &'a Person,
    plan: Option<PlanDigest>,
    proof: Option<&'a str>,
    reason: Option<&'a str>,
    request: RequestId,
    request_digest: Digest,
    thought_millis: Option<i64>,
    v: u8,
    verdict: Verdict,
}

impl Approval {
    /// The text under its seal: all of it but the seal, as canonical JSON (RFC 8785).
    #[must_use]
    pub fn sealed_text(&self) -> String {
        let sealed = Sealed {
            at: self.at,
            bundle: self.bundle,
            groups: &self.groups,
            id: self.id,
            in_place_of: self.in_place_of.as_ref(),
            narrow: self.narrow.as_ref(),
            person: &self.person,
            plan: self.plan,
            proof: self.proof.as_deref(),
            reason: self.reason.as_deref(),
            request: self.request,
            request_digest: self.request_digest,
            thought_millis: self.thought_millis,
            v: 1,
            verdict: self.verdict,
        };
        // INVARIANT: no member can fail to serialise: every key is a string and every number an integer.
        serde_json::to_string(&sealed).unwrap_or_default()
    }
}

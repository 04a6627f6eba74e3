//! Why nothing is minted on what people once agreed to. Each word goes to the audit and to the agent, so that nobody has to
//! guess which of policy, plan, request and people has changed.

use super::word::words;

words! {
    /// Why what was approved is not minted, the gravest first.
    Unpermitted as "reason" {
        /// A stored record does not fit its seal.
        Tampered = "approval_tampered",
        /// The request or its task is not what was approved.
        RequestChanged = "request_changed",
        /// Another policy bundle is in force, or policy says something else by now.
        PolicyChanged = "policy_changed",
        /// A mint would have another effect.
        PlanChanged = "plan_changed",
        /// An approver is registered as disabled.
        ApproverDisabled = "approver_disabled",
        /// An approver is in a group no more.
        ApproverNotInGroup = "approver_not_in_group",
        /// An approver decided in somebody's place, and may not any more.
        DelegationEnded = "delegation_ended",
        /// An approver owns the agent, or is the one it asks for.
        ApproverExcluded = "approver_excluded",
        /// Too few people agree.
        ApprovalsMissing = "approvals_missing",
        /// The approval was good until a time that has passed.
        Expired = "approval_expired",
        /// The approval was good for so many credentials, and they were minted.
        Used = "approval_used",
    }
}

impl Unpermitted {
    /// The same as a sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Tampered => {
                "A stored record of this approval was changed after it was given, so nothing is minted on it."
            }
            Self::RequestChanged => "The request is not what was approved any more.",
            Self::PolicyChanged => "Policy has changed since this was approved.",
            Self::PlanChanged => "What would be minted is not what was approved any more.",
            Self::ApproverDisabled => "Somebody who approved this may not act any more.",
            Self::ApproverNotInGroup => "Somebody who approved this is not in the group that decides any more.",
            Self::DelegationEnded => {
                "Somebody who approved this in another's place may not decide in that place any more."
            }
            Self::ApproverExcluded => "Somebody who approved this may not decide it.",
            Self::ApprovalsMissing => "Too few people agree to this by now.",
            Self::Expired => "The approval was good for a limited time, and it has passed.",
            Self::Used => "The approval was good for so many credentials, and they were minted.",
        }
    }
}

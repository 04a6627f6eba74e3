//! Policy's answer. A denial is an answer, not an error; and the answer for a set is the strictest of its parts.

use super::{ApprovalRule, ApprovalTerms, DecisionId, Digest, Timestamp, Ttl};

/// A policy that determined a decision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PolicyRef {
    /// Its `@id`.
    pub id: String,
    /// Its `@reason`, for people.
    pub reason: String,
}

/// The limits a decision attaches to what it permits: longest life, approval rule, conditions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Terms {
    /// The longest life of one credential.
    pub max_ttl: Ttl,
    /// Who must agree first, if anybody.
    pub approval: Option<ApprovalRule>,
    /// What their yes takes, and what it is good for.
    #[serde(default)]
    pub of_approval: ApprovalTerms,
}

impl Terms {
    /// A life of at most so long, and nobody must agree.
    #[must_use]
    pub fn of(max_ttl: Ttl) -> Self {
        Self { max_ttl, approval: None, of_approval: ApprovalTerms::default() }
    }
}

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Denial {
    /// No policy permits it.
    NotPermitted,
    /// A policy forbids it.
    Forbidden,
    /// A policy failed to evaluate; anything might have been meant, so nothing is permitted.
    PolicyError {
        /// The policies that failed, with what went wrong.
        errors: Vec<String>,
    },
}

impl Denial {
    /// The wire word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::Forbidden => "forbidden",
            Self::PolicyError { .. } => "policy_error",
        }
    }
}

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// Yes, within these terms.
    Permit(Terms),
    /// Yes, once the rule in these terms is satisfied.
    RequireApproval(Terms),
    /// No.
    Deny(Denial),
}

impl Outcome {
    /// The wire word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Permit(_) => "permit",
            Self::RequireApproval(_) => "require_approval",
            Self::Deny(_) => "deny",
        }
    }

    /// The strictest of two answers: a denial beats a person's yes beats a permit; a policy error beats any other denial;
    /// lives shrink to the shorter, and both approval rules must be satisfied. Commutative up to the order inside lists.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny(Denial::PolicyError { mut errors }), Self::Deny(Denial::PolicyError { errors: more })) => {
                errors.extend(more);
                Self::Deny(Denial::PolicyError { errors })
            }
            (error @ Self::Deny(Denial::PolicyError { .. }), _)
            | (_, error @ Self::Deny(Denial::PolicyError { .. })) => error,
            (forbidden @ Self::Deny(Denial::Forbidden), _) | (_, forbidden @ Self::Deny(Denial::Forbidden)) => {
                forbidden
            }
            (denied @ Self::Deny(_), _) | (_, denied @ Self::Deny(_)) => denied,
            (Self::RequireApproval(one) | Self::Permit(one), Self::RequireApproval(two) | Self::Permit(two)) => {
                let max_ttl = one.max_ttl.min(two.max_ttl);
                let (rule, of_approval) = match (one.approval, two.approval) {
                    (Some(rule), Some(other)) => (rule.and(other), one.of_approval.meet(two.of_approval)),
                    (Some(rule), None) => (rule, one.of_approval),
                    (None, Some(rule)) => (rule, two.of_approval),
                    (None, None) => return Self::Permit(Terms::of(max_ttl)),
                };
                Self::RequireApproval(Terms { max_ttl, approval: Some(rule), of_approval })
            }
        }
    }
}

/// Policy's answer to one access request: permit, require approval, or deny, with the policies that determined it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its id.
    pub id: DecisionId,
    /// The answer.
    pub outcome: Outcome,
    /// The policies that determined it, in order of id.
    pub determining: Vec<PolicyRef>,
    /// The bundle in force.
    pub bundle: Digest,
    /// The complete input as canonical JSON, from which the decision can be replayed: one question for each scope.
    pub input: String,
    /// When it was made.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Denial, Outcome, Terms};
    use crate::domain::approval_terms::tests::any_terms;
    use crate::domain::{ApprovalTerms, Ttl};

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        let terms = |ttl: i64, rule: Option<String>, of_approval: ApprovalTerms| Terms {
            max_ttl: Ttl::from_secs(ttl).unwrap(),
            approval: rule.map(|group| format!("1 of {group}").parse().unwrap()),
            of_approval,
        };
        prop_oneof![
            (1..9_i64).prop_map(move |ttl| Outcome::Permit(terms(ttl, None, ApprovalTerms::default()))),
            (1..9_i64, "[ab]", any_terms()).prop_map(move |(ttl, group, of)| Outcome::RequireApproval(terms(
                ttl,
                Some(group),
                of
            ))),
            Just(Outcome::Deny(Denial::NotPermitted)),
            Just(Outcome::Deny(Denial::Forbidden)),
            "[ab]".prop_map(|error| Outcome::Deny(Denial::PolicyError { errors: vec![error] })),
        ]
    }

    /// How strict an answer is, and the longest life it gives.
    fn strictness(outcome: &Outcome) -> (u8, i64) {
        match outcome {
            Outcome::Permit(terms) => (0, -i64::from(terms.max_ttl.as_secs())),
            Outcome::RequireApproval(terms) => (1, -i64::from(terms.max_ttl.as_secs())),
            Outcome::Deny(Denial::NotPermitted) => (2, 0),
            Outcome::Deny(Denial::Forbidden) => (3, 0),
            Outcome::Deny(Denial::PolicyError { .. }) => (4, 0),
        }
    }

    proptest! {
        #[test]
        fn adding_a_scope_never_makes_an_answer_more_permissive(one in any_outcome(), two in any_outcome()) {
            let both = one.clone().meet(two.clone());
            let (strict, floor) = (strictness(&both).0, strictness(&one).0.max(strictness(&two).0));
            prop_assert_eq!(strict, floor);
            if strict < 2 {
                prop_assert_eq!(strictness(&both).1, strictness(&one).1.max(strictness(&two).1), "the shorter life");
            }
            if let (Outcome::RequireApproval(both), Outcome::RequireApproval(one), Outcome::RequireApproval(two)) =
                (&both, &one, &two)
            {
                prop_assert_eq!(&both.of_approval, &one.of_approval.clone().meet(two.of_approval.clone()));
            }
            prop_assert_eq!(strictness(&both), strictness(&two.meet(one)), "in either order");
        }

        #[test]
        fn meeting_is_associative_and_a_permit_met_with_itself_stays(
            one in any_outcome(), two in any_outcome(), three in any_outcome(),
        ) {
            let left = one.clone().meet(two.clone()).meet(three.clone());
            prop_assert_eq!(left, one.clone().meet(two.meet(three)));
            if !matches!(one, Outcome::Deny(Denial::PolicyError { .. })) {
                prop_assert_eq!(one.clone().meet(one.clone()), one);
            }
        }
    }
}

//! What policy attaches to a yes besides who must give it: how sure we must be of them, whether owner and beneficiary may be
//! among them, for how long and how often it is good. Two sets of terms meet in the strictest of each.

use serde::{Deserialize, Serialize};

use super::word::words;
use super::{ApprovalRule, Timestamp, Ttl};

words! {
    /// How sure the broker must be who says yes, from the least to the most.
    StepUp as "step-up" {
        /// As sure as at the door.
        None = "none",
        /// The person has signed in anew a short while ago.
        SignIn = "sign_in",
        /// A passkey of the person's has signed what was shown.
        Passkey = "passkey",
    }
}

/// Who may let a request pass alone in an emergency, and for how long at most; a review must follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// Who.
    pub rule: ApprovalRule,
    /// The longest life of a credential that is let pass so.
    pub max_ttl: Ttl,
}

impl BreakGlass {
    /// Both rules, and the shorter life; `None` where the rules together are more than one rule may ask for.
    fn meet(self, other: Self) -> Option<Self> {
        let rule = self.rule.and(other.rule);
        let fits = rule.to_string().parse::<ApprovalRule>().is_ok();
        fits.then(|| Self { rule, max_ttl: self.max_ttl.min(other.max_ttl) })
    }
}

/// What a yes takes, and what it is good for, as the policies that wait for people say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalTerms {
    /// Who may let it pass alone in an emergency, if anybody.
    pub break_glass: Option<BreakGlass>,
    /// Whether the beneficiary's yes counts.
    pub includes_beneficiary: bool,
    /// Whether the yes of the agent's owner counts.
    pub includes_owner: bool,
    /// Whether a yes needs a reason.
    pub reason_required: bool,
    /// How sure we must be who says yes.
    pub step_up: StepUp,
    /// How many credentials may be minted on it, at least one.
    pub uses: u32,
    /// For how long it may be decided and minted on, from when it was asked; the task's whole life when absent.
    pub window: Option<Ttl>,
}

impl Default for ApprovalTerms {
    /// What holds where policy says nothing: no step-up, neither owner nor beneficiary, one credential, the task's life.
    fn default() -> Self {
        Self {
            break_glass: None,
            includes_beneficiary: false,
            includes_owner: false,
            reason_required: false,
            step_up: StepUp::None,
            uses: 1,
            window: None,
        }
    }
}

impl ApprovalTerms {
    /// The most credentials one yes may be good for.
    pub const MAX_USES: u32 = 100;

    /// The strictest of both, each by each.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        let break_glass = match (self.break_glass, other.break_glass) {
            (Some(one), Some(two)) => one.meet(two),
            (Some(_) | None, None) | (None, Some(_)) => None,
        };
        let window = match (self.window, other.window) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (window, None) | (None, window) => window,
        };
        Self {
            break_glass,
            includes_beneficiary: self.includes_beneficiary && other.includes_beneficiary,
            includes_owner: self.includes_owner && other.includes_owner,
            reason_required: self.reason_required || other.reason_required,
            step_up: self.step_up.max(other.step_up),
            uses: self.uses.min(other.uses),
            window,
        }
    }

    /// When a request that was asked at `asked_at` within a task that ends at `task_end` lapses.
    #[must_use]
    pub fn lapses_at(&self, asked_at: Timestamp, task_end: Timestamp) -> Timestamp {
        self.window.map_or(task_end, |window| asked_at.plus(window).min(task_end))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_terms() -> impl Strategy<Value = ApprovalTerms> {
        let glass = proptest::option::of(("[xy]", 1..9_i64)).prop_map(|glass| {
            glass.map(|(group, ttl)| BreakGlass {
                rule: format!("1 of {group}").parse().unwrap(),
                max_ttl: Ttl::from_secs(ttl).unwrap(),
            })
        });
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0..3_usize);
        let window = proptest::option::of(1..9_i64).prop_map(|secs| secs.map(|secs| Ttl::from_secs(secs).unwrap()));
        (glass, flags, 1..5_u32, window).prop_map(|(break_glass, flags, uses, window)| ApprovalTerms {
            break_glass,
            includes_owner: flags.0,
            includes_beneficiary: flags.1,
            reason_required: flags.2,
            step_up: StepUp::ALL[flags.3],
            uses,
            window,
        })
    }

    /// Whether `strict` allows nothing that `lax` does not.
    fn is_as_strict(strict: &ApprovalTerms, lax: &ApprovalTerms) -> bool {
        let end = Timestamp::from_secs(1_000);
        let lapses = |terms: &ApprovalTerms| terms.lapses_at(Timestamp::from_secs(0), end);
        let glass = match (&strict.break_glass, &lax.break_glass) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(one), Some(two)) => one.max_ttl <= two.max_ttl,
        };
        glass
            && strict.step_up >= lax.step_up
            && strict.uses <= lax.uses
            && (strict.reason_required || !lax.reason_required)
            && (lax.includes_owner || !strict.includes_owner)
            && (lax.includes_beneficiary || !strict.includes_beneficiary)
            && lapses(strict) <= lapses(lax)
    }

    proptest! {
        #[test]
        fn terms_that_meet_allow_nothing_that_one_of_them_does_not(one in any_terms(), two in any_terms()) {
            let both = one.clone().meet(two.clone());
            prop_assert!(is_as_strict(&both, &one) && is_as_strict(&both, &two));
            prop_assert_eq!(one.clone().meet(one.clone()), one);
        }

        #[test]
        fn meeting_of_terms_is_associative(one in any_terms(), two in any_terms(), three in any_terms()) {
            let left = one.clone().meet(two.clone()).meet(three.clone());
            prop_assert_eq!(left, one.meet(two.meet(three)));
        }

        #[test]
        fn terms_read_back_as_they_were_written(terms in any_terms()) {
            let text = serde_json::to_string(&terms).unwrap();
            prop_assert_eq!(serde_json::from_str::<ApprovalTerms>(&text).unwrap(), terms);
        }
    }
}

//! The three answers. Cedar knows two; the third is found by asking again as if everybody whom the determining policies
//! wait for had agreed. Cedar also skips a policy that fails to evaluate, a forbid included; here any failure denies.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{
    ActionConstraint, Authorizer, Decision, Entities, EntityUid, PolicyId, PolicySet, PrincipalConstraint, Request,
    ResourceConstraint, Response,
};

use super::cedar::Vocabulary;
use super::input::ContextFacts;
use super::policies::Policies;
use super::{OperatorAnswer, OperatorQuestion};
use crate::domain::{ApprovalRule, ApprovalTerms, Denial, Outcome, PolicyRef, Terms, Ttl, Voter};

/// Whom and what a question is about, and the policies that could apply to these two.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) principal: EntityUid,
    pub(super) resource: EntityUid,
    pub(super) entities: Entities,
    pub(super) policies: Arc<PolicySet>,
    pub(super) max_ttl: Ttl,
}

/// An answer before it is written down.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    pub(super) determining: Vec<PolicyRef>,
    /// The policies whose rule the voters satisfy, where that made the difference.
    pub(super) satisfied: Vec<String>,
}

/// Evaluates policies.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) vocabulary: Vocabulary,
    pub(super) policies: Policies,
    authorizer: Authorizer,
    operators: PolicySet,
    /// Policy sets by the policies in them, shared by all grounds to which the same ones apply.
    selections: Mutex<HashMap<Vec<usize>, Arc<PolicySet>>>,
}

/// Policies that failed, as texts for people.
struct Failed {
    determining: Vec<PolicyRef>,
    errors: Vec<String>,
}

impl Failed {
    fn before(error: String) -> Self {
        Self { determining: Vec::new(), errors: vec![error] }
    }

    /// Count it, raise the alarm, and deny.
    fn deny(self) -> Judged {
        metrics::counter!("hallpass_policy_errors_total").increment(1);
        tracing::error!(errors = ?self.errors, "policy failed to evaluate; the answer is no until it is mended");
        let outcome = Outcome::Deny(Denial::PolicyError { errors: self.errors });
        Judged { outcome, determining: self.determining, satisfied: Vec::new() }
    }
}

impl Engine {
    pub(super) fn new(vocabulary: Vocabulary, policies: Policies) -> Result<Self, String> {
        let grant = vocabulary.grant();
        let mut operators = PolicySet::new();
        for policy in policies.all.iter().filter(|policy| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => action != grant,
            ActionConstraint::In(actions) => actions.iter().any(|action| *action != grant),
        }) {
            operators.add(policy.clone()).map_err(|error| error.to_string())?;
        }
        let (authorizer, selections) = (Authorizer::new(), Mutex::default());
        Ok(Self { vocabulary, policies, authorizer, operators, selections })
    }

    /// The policies whose head admits this principal and this resource. The head of a policy cannot fail to evaluate, so
    /// leaving out the others changes no answer.
    pub(super) fn select(
        &self,
        principal: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
    ) -> Result<Arc<PolicySet>, String> {
        let inside = |uid: &EntityUid, of: &EntityUid| uid == of || entities.is_ancestor_of(of, uid);
        let grant = self.vocabulary.grant();
        let applies = |policy: &cedar_policy::Policy| {
            let principal_fits = match policy.principal_constraint() {
                PrincipalConstraint::Any => true,
                PrincipalConstraint::In(of) => inside(principal, &of),
                PrincipalConstraint::Eq(uid) => uid == *principal,
                PrincipalConstraint::Is(kind) => kind == *principal.type_name(),
                PrincipalConstraint::IsIn(kind, of) => kind == *principal.type_name() && inside(principal, &of),
            };
            let action_fits = match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(action) => action == grant,
                ActionConstraint::In(actions) => actions.contains(&grant),
            };
            let resource_fits = match policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::In(of) => inside(resource, &of),
                ResourceConstraint::Eq(uid) => uid == *resource,
                ResourceConstraint::Is(kind) => kind == *resource.type_name(),
                ResourceConstraint::IsIn(kind, of) => kind == *resource.type_name() && inside(resource, &of),
            };
            principal_fits && action_fits && resource_fits
        };
        let all = &self.policies.all;
        let chosen: Vec<usize> =
            all.iter().enumerate().filter(|(_, policy)| applies(policy)).map(|(index, _)| index).collect();
        let mut selections = self.selections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = selections.get(&chosen) {
            return Ok(Arc::clone(set));
        }
        let mut set = PolicySet::new();
        for policy in chosen.iter().filter_map(|index| all.get(*index)) {
            set.add(policy.clone()).map_err(|error| error.to_string())?;
        }
        let set = Arc::new(set);
        selections.insert(chosen, Arc::clone(&set));
        Ok(set)
    }

    /// Every policy, chosen by nothing: what a replay is judged by.
    pub(super) fn everything(&self) -> Result<Arc<PolicySet>, String> {
        PolicySet::from_policies(self.policies.all.iter().cloned()).map(Arc::new).map_err(|error| error.to_string())
    }

    /// Answer one question about one scope.
    pub(super) fn judge(&self, ground: &Ground, facts: &ContextFacts<'_>, voters: &[Voter]) -> Judged {
        self.try_judge(ground, facts, voters).unwrap_or_else(Failed::deny)
    }

    fn try_judge(&self, ground: &Ground, facts: &ContextFacts<'_>, voters: &[Voter]) -> Result<Judged, Failed> {
        let with_request;
        let carries = !(facts.request.params.0.is_empty() && facts.request.references.0.is_empty());
        let entities = if carries {
            with_request = self.vocabulary.with_request(&ground.entities, facts).map_err(Failed::before)?;
            &with_request
        } else {
            &ground.entities
        };
        let mut waited: BTreeMap<PolicyId, &ApprovalRule> = BTreeMap::new();
        // Each round either answers or takes at least one more policy as satisfied, so the rounds are bounded.
        loop {
            let assumed: Vec<Cow<'_, str>> = waited.keys().map(|id| Cow::Borrowed(AsRef::as_ref(id))).collect();
            let response = self.evaluate(ground, entities, facts, &assumed)?;
            if response.decision() == Decision::Allow {
                return self.permit(ground, &response, &waited, voters);
            }
            let forbids: Vec<&PolicyId> = response.diagnostics().reason().collect();
            if forbids.is_empty() {
                return Ok(Judged::deny(Denial::NotPermitted, Vec::new()));
            }
            let lifts = |id: &&PolicyId| {
                self.policies.info(id).is_some_and(|info| info.approval.is_some()) && !waited.contains_key(*id)
            };
            let hard: Vec<&PolicyId> = forbids.iter().copied().filter(|id| !lifts(id)).collect();
            if !hard.is_empty() {
                return Ok(Judged::deny(Denial::Forbidden, self.policies.references(hard)));
            }
            let asks = forbids.into_iter().filter_map(|id| {
                self.policies.info(id).and_then(|info| info.approval.as_ref()).map(|rule| (id.clone(), rule))
            });
            waited.extend(asks);
        }
    }

    /// Cedar allows; what remains is whether the people it waited for have agreed.
    fn permit(
        &self,
        ground: &Ground,
        response: &Response,
        waited: &BTreeMap<PolicyId, &ApprovalRule>,
        voters: &[Voter],
    ) -> Result<Judged, Failed> {
        let shorter = response.diagnostics().reason().filter_map(|id| self.policies.info(id)?.max_ttl);
        let max_ttl = shorter.fold(ground.max_ttl, Ttl::min);
        let permits = || self.policies.references(response.diagnostics().reason());
        let Some(rule) = waited.values().map(|rule| (*rule).clone()).reduce(ApprovalRule::and) else {
            let outcome = Outcome::Permit(Terms::of(max_ttl));
            return Ok(Judged { outcome, determining: permits(), satisfied: Vec::new() });
        };
        // Joined rules count people once over all of them, and must stay within what one rule may ask for, or the
        // request could never be read back.
        if waited.len() > 1
            && let Err(error) = rule.to_string().parse::<ApprovalRule>()
        {
            return Err(Failed {
                determining: self.policies.references(waited.keys()),
                errors: vec![error.to_string()],
            });
        }
        let terms = waited.keys().filter_map(|id| self.policies.info(id)).map(|info| info.of_approval.clone());
        let of_approval = terms.reduce(ApprovalTerms::meet).unwrap_or_default();
        if let Some(max_ttl) = agreed(&rule, &of_approval, voters, max_ttl) {
            let outcome = Outcome::Permit(Terms::of(max_ttl));
            let satisfied = waited.keys().map(ToString::to_string).collect();
            return Ok(Judged { outcome, determining: permits(), satisfied });
        }
        let outcome = Outcome::RequireApproval(Terms { max_ttl, approval: Some(rule), of_approval });
        Ok(Judged { outcome, determining: self.policies.references(waited.keys()), satisfied: Vec::new() })
    }

    fn evaluate(
        &self,
        ground: &Ground,
        entities: &Entities,
        facts: &ContextFacts<'_>,
        assumed: &[Cow<'_, str>],
    ) -> Result<Response, Failed> {
        let context = self.vocabulary.context(facts, assumed).map_err(Failed::before)?;
        let (principal, resource) = (ground.principal.clone(), ground.resource.clone());
        let request = Request::new(principal, self.vocabulary.grant(), resource, context, None)
            .map_err(|error| Failed::before(error.to_string()))?;
        self.checked(self.authorizer.is_authorized(&request, &ground.policies, entities))
    }

    /// A response without errors, or what failed.
    fn checked(&self, response: Response) -> Result<Response, Failed> {
        let mut failed = BTreeMap::new();
        for error in response.diagnostics().errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            failed.insert(error.policy_id().clone(), format!("{}: {}", error.policy_id(), error.inner()));
        }
        if failed.is_empty() {
            return Ok(response);
        }
        let determining = self.policies.references(failed.keys());
        Err(Failed { determining, errors: failed.into_values().collect() })
    }

    /// Whether policy lets an operator do it. An error is a no.
    pub(super) fn may_operator(&self, question: &OperatorQuestion<'_>) -> OperatorAnswer {
        let response = self
            .vocabulary
            .operator(question)
            .and_then(|(principal, resource, entities, context)| {
                let action = self.vocabulary.action(question.action);
                let request = Request::new(principal, action, resource, context, None);
                Ok((request.map_err(|error| error.to_string())?, entities))
            })
            .map_err(Failed::before)
            .and_then(|(request, entities)| {
                self.checked(self.authorizer.is_authorized(&request, &self.operators, &entities))
            });
        match response {
            Ok(response) => {
                let determining = self.policies.references(response.diagnostics().reason());
                match response.decision() {
                    Decision::Allow => OperatorAnswer::Allowed { determining },
                    Decision::Deny => OperatorAnswer::Refused { determining, errors: Vec::new() },
                }
            }
            Err(failed) => {
                let errors = failed.errors.clone();
                OperatorAnswer::Refused { determining: failed.deny().determining, errors }
            }
        }
    }
}

/// The longest life to which people have agreed, if enough of them have: together as the rule asks, or one alone in an emergency,
/// where each policy that waits allows that.
fn agreed(rule: &ApprovalRule, terms: &ApprovalTerms, voters: &[Voter], max_ttl: Ttl) -> Option<Ttl> {
    let (alone, together): (Vec<Voter>, Vec<Voter>) = voters.iter().cloned().partition(|voter| voter.break_glass);
    if rule.is_satisfied_by(&together) {
        return Some(max_ttl);
    }
    let glass = terms.break_glass.as_ref()?;
    alone.iter().any(|voter| glass.rule.is_satisfied_by_one(voter)).then(|| max_ttl.min(glass.max_ttl))
}

impl Judged {
    /// No policy was asked, as there is nothing in the catalogue to ask about.
    pub(super) const fn not_permitted() -> Self {
        Self::deny(Denial::NotPermitted, Vec::new())
    }

    /// The question could not even be put.
    pub(super) fn failed(error: String) -> Self {
        Failed::before(error).deny()
    }

    const fn deny(denial: Denial, determining: Vec<PolicyRef>) -> Self {
        Self { outcome: Outcome::Deny(denial), determining, satisfied: Vec::new() }
    }
}

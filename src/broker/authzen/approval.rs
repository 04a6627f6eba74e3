//! Asking again with an approval (ARAP §12). An approval is evidence and no bearer right: it counts only for who it was given to,
//! for exactly what was denied then, while its grant lives, and as far as the policy in force still permits it with the people who
//! agreed.

use serde_json::Value;

use super::super::evaluate::{Asking, is_no_more};
use super::super::permit_again::Again;
use super::super::{AgentCaller, Broker, BrokerError};
use super::question::{Asked, Wanted};
use super::status::COLLECT;
use super::{Outlook, cannot_ask, token};
use crate::api::authzen::{ApprovalReference, DecisionContext, EvaluationAnswer};
use crate::domain::{AccessRequest, FiledItem, Filing, Grant, GrantId, Outcome, Scope, Unpermitted};

/// Why an approval that was shown does not help (ARAP §23.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// Its time is up, or it was ended or superseded.
    Expired,
    /// It is for something else.
    OutOfScope,
    /// Policy says no now, whoever agreed.
    PolicyDenied,
    /// It is none that this caller was given.
    Unverifiable,
}

impl Unfit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "approval_expired",
            Self::OutOfScope => "out_of_scope",
            Self::PolicyDenied => "policy_denied",
            Self::Unverifiable => "approval_unverifiable",
        }
    }

    /// Whether people may be asked anew.
    const fn may_ask_again(self) -> bool {
        matches!(self, Self::Expired | Self::OutOfScope)
    }
}

/// An approval as it is on record.
struct Found {
    grant: Grant,
    request: AccessRequest,
    filings: Vec<Filing>,
}

impl Found {
    /// The filed item that the question repeats exactly.
    fn item(&self, binding: &str, scope: &Scope) -> Option<(&Filing, &FiledItem)> {
        let items = self.filings.iter().flat_map(|filing| filing.text.items.iter().map(move |item| (filing, item)));
        items
            .into_iter()
            .find(|(_, item)| item.request == self.request.id && item.binding == binding && item.scope == *scope)
    }

    fn is_filed(&self) -> bool {
        self.filings.iter().flat_map(|filing| &filing.text.items).any(|item| item.request == self.request.id)
    }
}

impl Broker {
    /// Whether the caller may do something now, as it shows an approval.
    pub(super) async fn evaluate_approved(
        &self,
        caller: &AgentCaller,
        asked: &Asked,
        wanted: &Wanted,
        scope: &Scope,
        approval: &Value,
    ) -> Result<EvaluationAnswer, BrokerError> {
        let unfit = match serde_json::from_value::<ApprovalReference>(approval.clone()) {
            Ok(shown) => match self.check_approval(caller, asked, scope, &shown).await? {
                Ok(yes) => return Ok(yes),
                Err(unfit) => unfit,
            },
            Err(_) => Unfit::Unverifiable,
        };
        let outlook = if unfit.may_ask_again() { Some(self.outlook(caller, wanted, scope).await?) } else { None };
        let mut answer = match outlook {
            Some(outlook @ Outlook::Requestable { .. }) => self.answer_outlook(caller, asked, outlook)?,
            Some(Outlook::Permit | Outlook::Deny(_)) | None => self.denied(unfit.as_str()),
        };
        let context = answer.context.get_or_insert_with(DecisionContext::default);
        let next = if context.access_request.is_some() { "request" } else { "none" };
        context.next_action = Some(next.to_owned());
        context.reason = Some(unfit.as_str().to_owned());
        Ok(answer)
    }

    async fn check_approval(
        &self,
        caller: &AgentCaller,
        asked: &Asked,
        scope: &Scope,
        shown: &ApprovalReference,
    ) -> Result<Result<EvaluationAnswer, Unfit>, BrokerError> {
        let Some(found) = self.find_approval(caller, &shown.id).await? else { return Ok(Err(Unfit::Unverifiable)) };
        let binding = asked.binding()?;
        if let Some(unfit) = shown.state.as_deref().and_then(|state| self.unfit_state(caller, shown, state, &binding)) {
            return Ok(Err(unfit));
        }
        let Some((filing, item)) = found.item(&binding, scope) else {
            return Ok(Err(if found.is_filed() { Unfit::OutOfScope } else { Unfit::Unverifiable }));
        };
        let known = self.approval_reference(filing, item, &found.request, &found.grant)?;
        let altered = shown.approved_until != known.approved_until
            || shown.approved_at.is_some() && shown.approved_at != known.approved_at;
        if altered {
            return Ok(Err(Unfit::Unverifiable));
        }
        if !found.grant.scopes.iter().any(|granted| granted == scope) {
            return Ok(Err(Unfit::OutOfScope));
        }
        let now = self.clock.now();
        if now >= known.approved_until || !found.grant.is_live(now) {
            return Ok(Err(Unfit::Expired));
        }
        self.permit_approved(caller, &found, known).await
    }

    /// Ask policy again, under the bundle in force and with the people who agreed.
    async fn permit_approved(
        &self,
        caller: &AgentCaller,
        found: &Found,
        known: ApprovalReference,
    ) -> Result<Result<EvaluationAnswer, Unfit>, BrokerError> {
        let bundle = match self.standing() {
            Ok((bundle, _)) => bundle,
            Err(error) => return cannot_ask(error).map(|_| Err(Unfit::PolicyDenied)),
        };
        let agent = match self.standing_agent(&bundle, &caller.agent) {
            Ok(agent) => agent,
            Err(error) => return cannot_ask(error).map(|_| Err(Unfit::PolicyDenied)),
        };
        let task = self.store.find_task(found.grant.task).await?.ok_or(BrokerError::NotFound("task"))?;
        match self.permit_again(&bundle, agent, &task, &found.grant, self.clock.now()).await? {
            Again::Permitted(_) if self.is_used_up(&found.grant).await? => return Ok(Err(Unfit::Expired)),
            Again::Permitted(_) => {}
            Again::Refused(Unpermitted::Tampered) => return Ok(Err(Unfit::Unverifiable)),
            // Whether people may be asked anew depends on what policy says without them.
            Again::Refused(_) => {
                let key = found.request.confirmation_key.as_deref();
                let now = self.clock.now();
                let asking = Asking { bundle: &bundle, agent, task: &task, now, voters: &[], confirmation_key: key };
                let denied = match self.reevaluate(&asking, &found.grant.scopes, found.grant.ttl) {
                    Ok(decision) => matches!(decision.outcome, Outcome::Deny(_)),
                    Err(error) if is_no_more(&error) => true,
                    Err(error) => return Err(error),
                };
                return Ok(Err(if denied { Unfit::PolicyDenied } else { Unfit::Expired }));
            }
        }
        let links = std::collections::BTreeMap::from([(COLLECT.to_owned(), self.collect_url(task.id))]);
        let approval = ApprovalReference { approved_at: None, state: None, ..known };
        let context = DecisionContext { approval: Some(approval), links, ..DecisionContext::default() };
        Ok(Ok(EvaluationAnswer { decision: true, context: Some(context) }))
    }

    /// Whether as many credentials were minted on it as the approval is good for, and none of them works any more.
    async fn is_used_up(&self, grant: &Grant) -> Result<bool, BrokerError> {
        let Some(approved) = &grant.approved else { return Ok(false) };
        let now = self.clock.now();
        let leases = self.store.list_leases_of_task(grant.task).await?;
        let used: Vec<_> = leases.iter().filter(|lease| lease.grant == grant.id && lease.is_a_use()).collect();
        let all = u32::try_from(used.len()).map_or(true, |used| used >= approved.uses);
        Ok(all && !used.iter().any(|lease| lease.is_active(now)))
    }

    /// Whether the state that came with an approval says something else than it should.
    fn unfit_state(
        &self,
        caller: &AgentCaller,
        shown: &ApprovalReference,
        state: &str,
        binding: &str,
    ) -> Option<Unfit> {
        let Some(claims) = self.verify_own(token::STATE, &self.public_url, state) else {
            return Some(Unfit::Unverifiable);
        };
        let is = |name: &str, value: &str| token::text(&claims, name) == Some(value);
        if !is("approval_id", &shown.id) || !is("sub", caller.agent.as_str()) {
            return Some(Unfit::Unverifiable);
        }
        let Some(until) = token::time(&claims, "exp") else { return Some(Unfit::Unverifiable) };
        if !is("binding_hash", binding) {
            return Some(Unfit::OutOfScope);
        }
        // Its `exp` has whole seconds; the record has the exact moment.
        (self.clock.now().as_secs() > until.as_secs()).then_some(Unfit::Expired)
    }

    /// The approval of that id, if it is the caller's.
    async fn find_approval(&self, caller: &AgentCaller, id: &str) -> Result<Option<Found>, BrokerError> {
        let Ok(id) = id.parse::<GrantId>() else { return Ok(None) };
        let Some(grant) = self.store.find_grant(id).await?.filter(|grant| grant.agent == caller.agent) else {
            return Ok(None);
        };
        let Some(request) = self.store.find_request(grant.request).await? else { return Ok(None) };
        let mut filings = self.store.list_filings_of_task(grant.task).await?;
        filings.retain(|filing| filing.agent == caller.agent);
        Ok(Some(Found { grant, request, filings }))
    }
}

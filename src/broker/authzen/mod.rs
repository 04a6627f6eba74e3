//! The AuthZEN door's use cases: whether the caller may do something now, and how to ask people where they could allow it
//! (Authorization API 1.0; Access Request and Approval Profile, Draft 1). An evaluation records, grants and mints nothing; what it
//! says of a denial goes with the caller, signed, so that nothing has to be kept until somebody files it.

mod approval;
mod callback;
mod file;
mod question;
mod status;
mod token;

use serde_json::json;

use super::ask::{ParsedAccess, parse_access, parse_task};
use super::evaluate::Asking;
use super::{AgentCaller, Broker, BrokerError};
use crate::api::authzen::{
    AccessRequestHint, AuthzenConfiguration, DecisionContext, DisplayView, EvaluationAnswer, EvaluationAsk,
    EvaluationsAnswer, EvaluationsAsk, ItemError,
};
use crate::api::{AskScope, TaskAsk};
use crate::domain::{Agent, Outcome, Scope, Task, Timestamp};
use crate::minter::MintError;
use crate::policy::Bundle;

pub use callback::CallbackSettings;
use question::{Asked, CONTEXT_MEMBERS, Wanted, is_caller, scope_of};

/// For how long a denial can be answered with a filing, in seconds.
const DENIAL_SECS: i64 = 600;
/// How far clocks may be apart, in milliseconds (ARAP: 30 s is typical, more than 60 s is not recommended).
const SKEW_MILLIS: i64 = 30_000;
/// Most questions of a batch, and most items of a filing.
const MAX_ITEMS: usize = 50;
/// What stands where an agent said nothing about what it does.
const NO_PURPOSE: &str = "No purpose was stated";
/// What this profile is called among capabilities (ARAP §6).
const CAPABILITY: &str = "urn:openid:authzen:capability:access-request";

/// What policy would say.
pub(super) enum Outlook {
    /// Yes, without anybody.
    Permit,
    /// Yes, if people agree; why they are asked.
    Requestable { because: Vec<String>, until: Timestamp },
    /// No, in one word.
    Deny(&'static str),
}

/// The word for why something cannot even be asked for; other errors are errors. What is unknown and what this agent may never hold
/// are the same word, so that nobody learns the catalogue by asking.
fn cannot_ask(error: BrokerError) -> Result<&'static str, BrokerError> {
    use BrokerError as E;
    if matches!(error, E::KillSwitch) {
        Ok("kill_switch_active")
    } else if matches!(error, E::AgentSuspended { .. }) {
        Ok("agent_suspended")
    } else if is_unavailable(&error) {
        Ok("not_available")
    } else if matches!(error, E::TtlTooLong { .. } | E::TtlOutOfBounds { .. }) {
        Ok("ttl_too_long")
    } else if matches!(error, E::NotFound("task") | E::TaskClosed(_)) {
        Ok("task_unavailable")
    } else {
        Err(error)
    }
}

/// Whether a scope is none that this agent may ever hold.
const fn is_unavailable(error: &BrokerError) -> bool {
    use BrokerError as E;
    matches!(error, E::Scope(_) | E::Param(_) | E::AboveCeiling(_) | E::Mint(MintError::Unsupported(_)))
}

impl Broker {
    /// Where AuthZEN is spoken here.
    #[must_use]
    pub fn authzen_configuration(&self) -> AuthzenConfiguration {
        let base = &self.public_url;
        AuthzenConfiguration {
            policy_decision_point: base.clone(),
            access_evaluation_endpoint: format!("{base}/access/v1/evaluation"),
            access_evaluations_endpoint: format!("{base}/access/v1/evaluations"),
            access_request_endpoint: self.filing_endpoint(),
            jwks_uri: format!("{base}/.well-known/jwks.json"),
            capabilities: vec![CAPABILITY.to_owned()],
        }
    }

    /// Where filings are sent; the audience of binding tokens.
    pub(super) fn filing_endpoint(&self) -> String {
        format!("{}/access/v1/requests", self.public_url)
    }

    /// Whether the caller may do something now. A denial is an answer.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`] when the question cannot be read, and when nothing can be said now.
    pub async fn evaluate_access(
        &self,
        caller: &AgentCaller,
        ask: EvaluationAsk,
    ) -> Result<EvaluationAnswer, BrokerError> {
        let asked = Asked::new(ask)?;
        if !is_caller(&asked.subject, caller) {
            return Ok(self.denied("subject_mismatch"));
        }
        let wanted = Wanted::read(&asked.context)?;
        let Some(scope) = scope_of(&asked.resource, &asked.action) else { return Ok(self.denied("not_available")) };
        if let Some(approval) = asked.context.get("approval") {
            return self.evaluate_approved(caller, &asked, &wanted, &scope, approval).await;
        }
        let outlook = self.outlook(caller, &wanted, &scope).await?;
        self.answer_outlook(caller, &asked, outlook)
    }

    /// The answers to several questions, each as if it were asked alone; or to the one, where there are no items.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`] when the batch cannot be read. An item that cannot be read is denied by itself.
    pub async fn evaluate_batch(
        &self,
        caller: &AgentCaller,
        ask: EvaluationsAsk,
    ) -> Result<Result<EvaluationsAnswer, EvaluationAnswer>, BrokerError> {
        let semantic = ask.options.unwrap_or_default().evaluations_semantic;
        let stop_at = match semantic.as_deref().unwrap_or("execute_all") {
            "execute_all" => None,
            "deny_on_first_deny" => Some(false),
            "permit_on_first_permit" => Some(true),
            _ => {
                return Err(BrokerError::Invalid(
                    "`options.evaluations_semantic` is `execute_all`, `deny_on_first_deny` or `permit_on_first_permit`"
                        .to_owned(),
                ));
            }
        };
        let items = ask.evaluations.unwrap_or_default();
        if items.is_empty() {
            return self.evaluate_access(caller, ask.defaults).await.map(Err);
        }
        if items.len() > MAX_ITEMS {
            return Err(BrokerError::Invalid(format!("`evaluations` has more than {MAX_ITEMS} items")));
        }
        let mut evaluations = Vec::with_capacity(items.len());
        for item in items {
            let answer = self.evaluate_item(caller, &ask.defaults, item).await?;
            let decision = answer.decision;
            evaluations.push(answer);
            if stop_at == Some(decision) {
                break;
            }
        }
        Ok(Ok(EvaluationsAnswer { evaluations }))
    }

    /// A member of an item stands in the place of the whole default (AuthZEN §7.1.1).
    async fn evaluate_item(
        &self,
        caller: &AgentCaller,
        defaults: &EvaluationAsk,
        item: serde_json::Value,
    ) -> Result<EvaluationAnswer, BrokerError> {
        let unreadable = |message: String| EvaluationAnswer {
            decision: false,
            context: Some(DecisionContext { error: Some(ItemError { status: 400, message }), ..Default::default() }),
        };
        let Ok(own) = serde_json::from_value::<EvaluationAsk>(item) else {
            return Ok(unreadable("a member has the wrong type".to_owned()));
        };
        let whole = EvaluationAsk {
            subject: own.subject.or_else(|| defaults.subject.clone()),
            action: own.action.or_else(|| defaults.action.clone()),
            resource: own.resource.or_else(|| defaults.resource.clone()),
            context: own.context.or_else(|| defaults.context.clone()),
        };
        match self.evaluate_access(caller, whole).await {
            Err(BrokerError::Invalid(message)) => Ok(unreadable(message)),
            Err(BrokerError::Text(error)) => Ok(unreadable(error.to_string())),
            other => other,
        }
    }

    /// A denial that nobody can lift by being asked.
    fn denied(&self, reason: &str) -> EvaluationAnswer {
        let context = DecisionContext {
            evaluation_id: Some(self.ids.evaluation().to_string()),
            evaluated_at: Some(self.clock.now()),
            reason: Some(reason.to_owned()),
            ..DecisionContext::default()
        };
        EvaluationAnswer { decision: false, context: Some(context) }
    }

    fn answer_outlook(
        &self,
        caller: &AgentCaller,
        asked: &Asked,
        outlook: Outlook,
    ) -> Result<EvaluationAnswer, BrokerError> {
        match outlook {
            Outlook::Permit => Ok(EvaluationAnswer { decision: true, context: None }),
            Outlook::Deny(reason) => Ok(self.denied(reason)),
            Outlook::Requestable { because, until } => {
                let context = self.requestable(caller, asked, &because, until)?;
                Ok(EvaluationAnswer { decision: false, context: Some(context) })
            }
        }
    }

    /// A denial that people could lift (ARAP §7), bound to exactly this question by a token of ours.
    fn requestable(
        &self,
        caller: &AgentCaller,
        asked: &Asked,
        because: &[String],
        until: Timestamp,
    ) -> Result<DecisionContext, BrokerError> {
        let now = self.clock.now();
        // Whole seconds, so that the token says the same as the hint.
        let expires_at = Timestamp::from_secs(now.as_secs().saturating_add(DENIAL_SECS).min(until.as_secs()));
        let (evaluation, endpoint) = (self.ids.evaluation().to_string(), self.filing_endpoint());
        let claims = json!({
            "aud": endpoint, "binding_context_members": CONTEXT_MEMBERS, "binding_hash": asked.binding()?,
            "denial_expires_at": expires_at, "evaluation_id": evaluation, "exp": expires_at.as_secs(), "iat": now.as_secs(),
            "iss": self.public_url, "jti": self.ids.opaque(), "sub": caller.agent,
        });
        let token = self.sign_own(token::BINDING, &claims, expires_at)?;
        let binding_token = token.ok_or_else(|| BrokerError::Internal("no key may sign a denial".to_owned()))?;
        let description = if because.is_empty() { "A person must agree first.".to_owned() } else { because.join(" ") };
        Ok(DecisionContext {
            evaluation_id: Some(evaluation),
            evaluated_at: Some(now),
            reason: Some("approval_required".to_owned()),
            access_request: Some(AccessRequestHint {
                endpoint,
                expires_at,
                binding_token,
                display: DisplayView { title: "Ask for access".to_owned(), description },
            }),
            ..DecisionContext::default()
        })
    }

    /// What policy would say to this caller about one scope: in the task it names, or in one it would open. Nothing is recorded.
    async fn outlook(&self, caller: &AgentCaller, wanted: &Wanted, scope: &Scope) -> Result<Outlook, BrokerError> {
        match self.try_outlook(caller, wanted, scope).await {
            Err(error) => cannot_ask(error).map(Outlook::Deny),
            known => known,
        }
    }

    async fn try_outlook(&self, caller: &AgentCaller, wanted: &Wanted, scope: &Scope) -> Result<Outlook, BrokerError> {
        let (bundle, _) = self.standing()?;
        let agent = self.standing_agent(&bundle, &caller.agent)?;
        let now = self.clock.now();
        let named = std::slice::from_ref(scope);
        let (task, access) = if let Some(id) = &wanted.task {
            self.joined(caller, (&bundle, agent), id, named, wanted).await?
        } else {
            let identity = format!("{}#{}", caller.issuer, caller.subject);
            let parsed = parse_task(&task_ask(named, wanted, None), agent, bundle.catalogue())?;
            parsed.into_task(self.ids.task(), agent, identity, now)?
        };
        let asking = Asking { bundle: &bundle, agent, task: &task, now, voters: &[], confirmation_key: None };
        let group = self.evaluate(&asking, &access.scopes, access.ttl)?.into_iter().next();
        let decision = group.ok_or_else(|| BrokerError::Internal("a question without a scope".to_owned()))?.decision;
        Ok(match decision.outcome {
            Outcome::Permit(_) => Outlook::Permit,
            Outcome::RequireApproval(_) => Outlook::Requestable {
                because: decision.determining.into_iter().map(|policy| policy.reason).collect(),
                // A task that is joined must still be there.
                until: wanted
                    .task
                    .as_ref()
                    .map_or_else(|| now.plus_millis(DENIAL_SECS.saturating_mul(1000)), |_| task.ends_at),
            },
            Outcome::Deny(crate::domain::Denial::PolicyError { .. }) => Outlook::Deny("policy_error"),
            Outcome::Deny(_) => Outlook::Deny("policy_denied"),
        })
    }

    /// The open task that a context names, and what is asked for within it.
    async fn joined(
        &self,
        caller: &AgentCaller,
        (bundle, agent): (&Bundle, &Agent),
        task: &str,
        scopes: &[Scope],
        wanted: &Wanted,
    ) -> Result<(Task, ParsedAccess), BrokerError> {
        let task = self.open_task_of(caller, task).await?;
        let written: Vec<AskScope> = scopes.iter().map(|scope| AskScope::Written(scope.to_string())).collect();
        let ceilings = [&agent.ceiling, &task.ceiling];
        let access = parse_access(&written, wanted.ttl_seconds, (None, None), bundle.catalogue(), &ceilings)?;
        Ok((task, access))
    }
}

/// The task that would be opened for these scopes, as if its agent had asked for it at our own API.
fn task_ask(scopes: &[Scope], wanted: &Wanted, task_ttl_seconds: Option<i64>) -> TaskAsk {
    let purpose = wanted.purpose.as_ref().or(wanted.justification.as_ref());
    TaskAsk {
        purpose: purpose.cloned().unwrap_or_else(|| NO_PURPOSE.to_owned()),
        kind: wanted.kind.clone(),
        scopes: scopes.iter().map(|scope| AskScope::Written(scope.to_string())).collect(),
        ttl_seconds: wanted.ttl_seconds,
        task_ttl_seconds,
        heartbeat_seconds: None,
        on_behalf_of: wanted.on_behalf_of.clone(),
        references: std::collections::BTreeMap::new(),
        message: wanted.purpose.as_ref().and(wanted.justification.clone()),
        ceiling: None,
        confirmation_key: None,
        delivery_key: None,
    }
}

//! What if: what this caller may ask for and what policy would say. Nothing is recorded, granted or minted by asking.

use super::ask::parse_task;
use super::evaluate::Asking;
use super::{Broker, BrokerError, Caller};
use crate::api::operator::SimulatedScope;
use crate::api::{ScopeView, ScopesAnswer, SimulateAnswer, SimulateAsk, TaskAsk};
use crate::domain::{Agent, CatalogueEntry, Outcome, Scope, Task, TaskRecord, TaskState, Timestamp, Ttl};
use crate::policy::{Bundle, OperatorAction};

impl Broker {
    /// The scopes this caller may ask for: an agent those under its ceiling, with the outlook; a person all of them.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`].
    pub fn scopes(&self, caller: &Caller) -> Result<ScopesAnswer, BrokerError> {
        let bundle = self.policy.current();
        let items = match caller {
            Caller::Agent(own) => {
                let agent = bundle.agent(&own.agent).ok_or(BrokerError::IdentityRefused)?;
                let identity = format!("{}#{}", own.issuer, own.subject);
                self.scopes_of(&bundle, agent, &identity)?
            }
            Caller::Operator(person) => {
                self.may(person, OperatorAction::Read, None)?;
                bundle.catalogue().entries().map(|entry| scope_view(entry, None)).collect()
            }
        };
        Ok(ScopesAnswer { items, bundle: bundle.digest().to_string() })
    }

    fn scopes_of(&self, bundle: &Bundle, agent: &Agent, identity: &str) -> Result<Vec<ScopeView>, BrokerError> {
        let now = self.clock.now();
        let under = |entry: &&CatalogueEntry| agent.ceiling.entries().iter().any(|own| *own.entry() == entry.name);
        let mut items = Vec::new();
        for entry in bundle.catalogue().entries().filter(under) {
            // The outlook is told where the question is complete: entries without parameters.
            let outlook = if entry.params.is_empty() {
                let task = self.imagined_task(agent, identity, "list what may be asked for", None, now)?;
                let asking = Asking { bundle, agent, task: &task, now, voters: &[], confirmation_key: None };
                let scope = Scope::new(entry.name.clone(), std::collections::BTreeMap::new())?;
                Some(asking.ask(&scope, entry.max_ttl.min(Ttl::TEN_MINUTES)).outcome.as_str().to_owned())
            } else {
                None
            };
            items.push(scope_view(entry, outlook));
        }
        Ok(items)
    }

    fn imagined_task(
        &self,
        agent: &Agent,
        identity: &str,
        purpose: &str,
        kind: Option<crate::domain::Name>,
        now: Timestamp,
    ) -> Result<Task, BrokerError> {
        Task::new(TaskRecord {
            id: self.ids.task(),
            agent: agent.id.clone(),
            identity: identity.to_owned(),
            purpose: purpose.parse()?,
            kind,
            beneficiary: None,
            references: std::collections::BTreeMap::new(),
            message: None,
            ceiling: agent.ceiling.clone(),
            opened_at: now,
            ends_at: now.plus(Ttl::TEN_MINUTES),
            heartbeat: None,
            heard_at: None,
            state: TaskState::Open,
        })
        .map_err(|corrupt| BrokerError::Internal(corrupt.to_string()))
    }

    /// What policy would say to a task. An agent asks for itself; a person needs the right to, and names the agent.
    ///
    /// # Errors
    /// Those of asking, [`BrokerError::Forbidden`], [`BrokerError::NotFound`].
    pub fn simulate(&self, caller: &Caller, ask: &SimulateAsk) -> Result<SimulateAnswer, BrokerError> {
        let bundle = self.policy.current();
        let (agent, identity) = match caller {
            Caller::Agent(own) => {
                if ask.agent.as_deref().is_some_and(|named| named != own.agent.as_str()) {
                    return Err(BrokerError::NotFound("agent"));
                }
                (own.agent.clone(), format!("{}#{}", own.issuer, own.subject))
            }
            Caller::Operator(person) => {
                self.may(person, OperatorAction::Simulate, None)?;
                let named = ask
                    .agent
                    .as_deref()
                    .ok_or_else(|| BrokerError::Invalid("`agent` names the agent to ask for".to_owned()))?;
                let agent = named.parse().map_err(|_| BrokerError::NotFound("agent"))?;
                (agent, "simulated#simulated".to_owned())
            }
        };
        let agent = bundle.agent(&agent).ok_or(BrokerError::NotFound("agent"))?;
        self.simulate_for(&bundle, agent, &identity, &ask.task)
    }

    fn simulate_for(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        identity: &str,
        ask: &TaskAsk,
    ) -> Result<SimulateAnswer, BrokerError> {
        let now = self.clock.now();
        let parsed = parse_task(ask, agent, bundle.catalogue())?;
        let (task, access) = parsed.into_task(self.ids.task(), agent, identity.to_owned(), now)?;
        let key = access.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task: &task, now, voters: &[], confirmation_key: key };
        let mut worst: Option<Outcome> = None;
        let mut scopes = Vec::with_capacity(access.scopes.len());
        for scope in access.scopes.iter() {
            let entry = bundle.catalogue().check(scope)?;
            let ttl = access.ttl.unwrap_or_else(|| entry.max_ttl.min(Ttl::TEN_MINUTES));
            let answer = asking.ask(scope, ttl);
            scopes.push(SimulatedScope {
                scope: scope.to_string(),
                outcome: answer.outcome.as_str().to_owned(),
                rule: match &answer.outcome {
                    Outcome::RequireApproval(terms) => terms.approval.as_ref().map(ToString::to_string),
                    Outcome::Permit(_) | Outcome::Deny(_) => None,
                },
                determining: super::views::policies(&answer.determining),
            });
            worst = Some(match worst {
                None => answer.outcome,
                Some(so_far) => so_far.meet(answer.outcome),
            });
        }
        let outcome = worst.map_or("deny", |outcome| outcome.as_str()).to_owned();
        Ok(SimulateAnswer { outcome, scopes, bundle: bundle.digest().to_string() })
    }
}

fn scope_view(entry: &CatalogueEntry, outlook: Option<String>) -> ScopeView {
    ScopeView {
        scope: entry.name.to_string(),
        description: entry.description.clone(),
        risk: entry.risk,
        max_ttl_seconds: entry.max_ttl.as_secs(),
        params: serde_json::to_value(&entry.params).unwrap_or(serde_json::Value::Null),
        outlook,
    }
}

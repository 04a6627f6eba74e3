//! Signatures of the use cases, until each has its file.

use std::time::Duration;

use super::*;
use crate::api::*;
use crate::domain::EndCause;

/// The broker: what the use cases need, built once. Cheap to clone.
#[derive(Clone)]
pub struct Broker;

#[allow(missing_docs, unused_variables, clippy::unused_async, clippy::unimplemented, reason = "signatures only")]
impl Broker {
    /// The bearer token of an `Authorization` header, without the scheme. `address` is for the audit only.
    pub async fn authenticate(&self, bearer: &str, address: &str) -> Result<Caller, BrokerError> {
        unimplemented!()
    }
    /// HTTP Basic credentials of a resource server; compared in constant time.
    pub fn authenticate_resource_server(&self, id: &str, secret: &str) -> Option<ResourceServer> {
        unimplemented!()
    }
    /// Count a call against the caller's own budget.
    pub fn admit(&self, caller: &Caller) -> Result<(), BrokerError> {
        unimplemented!()
    }
    /// Count an unauthenticated call, or a refused one, against its address (IPv6 by /64).
    pub fn admit_address(&self, address: std::net::IpAddr) -> Result<(), BrokerError> {
        unimplemented!()
    }

    pub async fn open_task(
        &self,
        caller: &AgentCaller,
        ask: TaskAsk,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        unimplemented!()
    }
    pub async fn request_access(
        &self,
        caller: &AgentCaller,
        task: &str,
        ask: MoreAccessAsk,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        unimplemented!()
    }
    pub async fn collect(
        &self,
        caller: &AgentCaller,
        task: &str,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        unimplemented!()
    }
    /// `wait`: hold the answer until something about the task changes, at most [`MAX_WAIT`]. An agent sees its own tasks; an operator what policy lets it read.
    pub async fn read_task(
        &self,
        caller: &Caller,
        task: &str,
        wait: Option<Duration>,
    ) -> Result<TaskAnswer, BrokerError> {
        unimplemented!()
    }
    pub async fn heartbeat(&self, caller: &AgentCaller, task: &str) -> Result<TaskAnswer, BrokerError> {
        unimplemented!()
    }
    pub async fn end_task(&self, caller: &AgentCaller, task: &str, cause: EndCause) -> Result<Closure, BrokerError> {
        unimplemented!()
    }
    /// The secrets of this answer reached the agent's connection.
    pub fn delivered(&self, leases: &[String]) {
        unimplemented!()
    }
    /// The agent went away before the secrets of this answer were written; the leases end.
    pub fn undelivered(&self, leases: &[String]) {
        unimplemented!()
    }

    pub async fn list_requests(&self, caller: &OperatorCaller, ask: RequestsAsk) -> Result<RequestsPage, BrokerError> {
        unimplemented!()
    }
    pub async fn read_request(&self, caller: &OperatorCaller, request: &str) -> Result<RequestView, BrokerError> {
        unimplemented!()
    }
    pub async fn decide_request(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: VerdictAsk,
    ) -> Result<VerdictAnswer, BrokerError> {
        unimplemented!()
    }

    /// An agent sees its own.
    pub async fn list_leases(&self, caller: &Caller, ask: LeasesAsk) -> Result<LeasesPage, BrokerError> {
        unimplemented!()
    }
    /// An agent may give up its own.
    pub async fn revoke(&self, caller: &Caller, ask: RevokeAsk) -> Result<Closure, BrokerError> {
        unimplemented!()
    }

    pub async fn scopes(&self, caller: &Caller) -> Result<ScopesAnswer, BrokerError> {
        unimplemented!()
    }
    pub fn whoami(&self, caller: &Caller) -> Whoami {
        unimplemented!()
    }
    pub async fn read_decision(&self, caller: &Caller, decision: &str) -> Result<DecisionView, BrokerError> {
        unimplemented!()
    }
    pub async fn simulate(&self, caller: &Caller, ask: SimulateAsk) -> Result<SimulateAnswer, BrokerError> {
        unimplemented!()
    }
    pub async fn list_agents(&self, caller: &OperatorCaller) -> Result<AgentsPage, BrokerError> {
        unimplemented!()
    }
    pub async fn suspend_agent(
        &self,
        caller: &OperatorCaller,
        agent: &str,
        ask: SuspendAsk,
    ) -> Result<AgentView, BrokerError> {
        unimplemented!()
    }
    pub async fn resume_agent(
        &self,
        caller: &OperatorCaller,
        agent: &str,
        ask: SuspendAsk,
    ) -> Result<AgentView, BrokerError> {
        unimplemented!()
    }
    pub async fn list_events(&self, caller: &OperatorCaller, ask: EventsAsk) -> Result<EventsPage, BrokerError> {
        unimplemented!()
    }

    pub async fn introspect(
        &self,
        resource_server: &ResourceServer,
        token: &str,
    ) -> Result<Introspection, BrokerError> {
        unimplemented!()
    }
    /// The JWKS document of the keys that sign credentials, and its max-age in seconds.
    pub fn jwks(&self) -> (String, u32) {
        unimplemented!()
    }
    /// Readiness: `Ok` with details, or the reasons why not.
    pub async fn readiness(&self) -> Readiness {
        unimplemented!()
    }
}

/// Whether the broker can do its job, part by part.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// `store`, `policy`, `keys`, `issuer:<name>` …, each `ok` or what is wrong.
    pub details: std::collections::BTreeMap<String, String>,
}

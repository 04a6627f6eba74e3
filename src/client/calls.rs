//! The calls of the API, one method each. Every POST carries an idempotency key.

use std::time::Duration;

use super::transport::NO_BODY;
use super::{Client, ClientError};
use crate::api::{
    AgentView, AgentsPage, Closure, DecisionView, EventsPage, Introspection, LeasesPage, MoreAccessAsk, RequestView,
    RequestsPage, RevokeAsk, ScopesAnswer, SimulateAnswer, SimulateAsk, SuspendAsk, TaskAnswer, TaskAsk, VerdictAnswer,
    VerdictAsk, Whoami,
};
use crate::sys::SecretString;

/// The longest a server holds a long poll.
pub const LONGEST_POLL: Duration = Duration::from_secs(25);

/// Which leases to list.
#[derive(Debug, Clone, Default)]
pub struct LeasesFilter {
    /// Live ones, or the others.
    pub live: Option<bool>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this task.
    pub task: Option<String>,
    /// Of this backend.
    pub backend: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
    /// After this cursor.
    pub cursor: Option<String>,
}

/// Which audit events to list.
#[derive(Debug, Clone, Default)]
pub struct EventsFilter {
    /// About this agent.
    pub agent: Option<String>,
    /// About this task.
    pub task: Option<String>,
    /// About this request.
    pub request: Option<String>,
    /// About this lease.
    pub lease: Option<String>,
    /// Of this kind, or of every kind below a prefix that ends in `.`.
    pub kind: Option<String>,
    /// Not before, RFC 3339.
    pub from: Option<String>,
    /// Before, RFC 3339.
    pub to: Option<String>,
    /// The newest first instead of the oldest.
    pub newest_first: bool,
    /// At most so many.
    pub limit: Option<u32>,
    /// After this cursor.
    pub cursor: Option<String>,
}

pub(super) type Query = Vec<(&'static str, String)>;

pub(super) fn query(pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Query {
    pairs.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
}

/// An id as one path segment: anything that is not of an id's alphabet would name another path.
pub(super) fn segment(id: &str) -> Result<&str, ClientError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !id.is_empty() && id.len() <= 128 && id.bytes().all(fits) && !id.bytes().all(|b| b == b'.') {
        Ok(id)
    } else {
        Err(ClientError::Invalid(format!("`{}` is not an id", id.escape_debug())))
    }
}

/// The calls of agents.
impl Client {
    /// `POST /v1/tasks`.
    ///
    /// # Errors
    /// [`ClientError`]; as for every call.
    pub async fn open_task(&self, ask: &TaskAsk) -> Result<TaskAnswer, ClientError> {
        self.post("v1/tasks", Some(ask), None).await
    }

    /// `GET /v1/tasks/{id}`, held until something changes, at most `wait`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_task(&self, task: &str, wait: Option<Duration>) -> Result<TaskAnswer, ClientError> {
        let wait = wait.map(|wait| wait.min(LONGEST_POLL).as_secs().to_string());
        self.get(&format!("v1/tasks/{}", segment(task)?), &query([("wait", wait)])).await
    }

    /// `POST /v1/tasks/{id}/requests`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request_access(&self, task: &str, ask: &MoreAccessAsk) -> Result<TaskAnswer, ClientError> {
        self.post(&format!("v1/tasks/{}/requests", segment(task)?), Some(ask), None).await
    }

    /// `POST /v1/tasks/{id}/requests/{request}/withdraw`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn withdraw(&self, task: &str, request: &str) -> Result<TaskAnswer, ClientError> {
        let path = format!("v1/tasks/{}/requests/{}/withdraw", segment(task)?, segment(request)?);
        self.post(&path, NO_BODY, None).await
    }

    /// `POST /v1/tasks/{id}/credentials`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn collect(&self, task: &str) -> Result<TaskAnswer, ClientError> {
        self.post(&format!("v1/tasks/{}/credentials", segment(task)?), NO_BODY, None).await
    }

    /// `POST /v1/tasks/{id}/heartbeat`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heartbeat(&self, task: &str) -> Result<TaskAnswer, ClientError> {
        self.post(&format!("v1/tasks/{}/heartbeat", segment(task)?), NO_BODY, None).await
    }

    /// `POST /v1/tasks/{id}/complete`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn complete(&self, task: &str) -> Result<Closure, ClientError> {
        self.post(&format!("v1/tasks/{}/complete", segment(task)?), NO_BODY, None).await
    }

    /// `POST /v1/tasks/{id}/cancel`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(&self, task: &str) -> Result<Closure, ClientError> {
        self.post(&format!("v1/tasks/{}/cancel", segment(task)?), NO_BODY, None).await
    }

    /// `GET /v1/tasks/{id}/closure`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn closure(&self, task: &str) -> Result<Closure, ClientError> {
        self.get(&format!("v1/tasks/{}/closure", segment(task)?), &[]).await
    }

    /// `GET /v1/scopes`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn scopes(&self) -> Result<ScopesAnswer, ClientError> {
        self.get("v1/scopes", &[]).await
    }

    /// `GET /v1/whoami`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn whoami(&self) -> Result<Whoami, ClientError> {
        self.get("v1/whoami", &[]).await
    }

    /// `GET /v1/decisions/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_decision(&self, decision: &str) -> Result<DecisionView, ClientError> {
        self.get(&format!("v1/decisions/{}", segment(decision)?), &[]).await
    }

    /// `POST /v1/decisions/simulate`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn simulate(&self, ask: &SimulateAsk) -> Result<SimulateAnswer, ClientError> {
        self.post("v1/decisions/simulate", Some(ask), None).await
    }
}

/// The calls of operators, auditors and resource servers.
impl Client {
    /// `GET /v1/requests`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_requests(
        &self,
        state: Option<&str>,
        agent: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<RequestsPage, ClientError> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let query = query([("state", owned(state)), ("agent", owned(agent)), ("cursor", owned(cursor))]);
        self.get("v1/requests", &query).await
    }

    /// `GET /v1/requests/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_request(&self, request: &str) -> Result<RequestView, ClientError> {
        self.get(&format!("v1/requests/{}", segment(request)?), &[]).await
    }

    /// `POST /v1/requests/{id}/verdict`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decide_request(&self, request: &str, ask: &VerdictAsk) -> Result<VerdictAnswer, ClientError> {
        self.post(&format!("v1/requests/{}/verdict", segment(request)?), Some(ask), None).await
    }

    /// `GET /v1/leases`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_leases(&self, filter: LeasesFilter) -> Result<LeasesPage, ClientError> {
        let query = query([
            ("live", filter.live.map(|live| live.to_string())),
            ("agent", filter.agent),
            ("task", filter.task),
            ("backend", filter.backend),
            ("limit", filter.limit.map(|limit| limit.to_string())),
            ("cursor", filter.cursor),
        ]);
        self.get("v1/leases", &query).await
    }

    /// `POST /v1/revocations`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke(&self, ask: &RevokeAsk) -> Result<Closure, ClientError> {
        self.post("v1/revocations", Some(ask), None).await
    }

    /// `GET /v1/agents`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_agents(&self) -> Result<AgentsPage, ClientError> {
        self.get("v1/agents", &[]).await
    }

    /// `POST /v1/agents/{id}/suspend`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn suspend_agent(&self, agent: &str, reason: &str) -> Result<AgentView, ClientError> {
        let ask = SuspendAsk { reason: reason.to_owned() };
        self.post(&format!("v1/agents/{}/suspend", segment(agent)?), Some(&ask), None).await
    }

    /// `POST /v1/agents/{id}/resume`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_agent(&self, agent: &str, reason: &str) -> Result<AgentView, ClientError> {
        let ask = SuspendAsk { reason: reason.to_owned() };
        self.post(&format!("v1/agents/{}/resume", segment(agent)?), Some(&ask), None).await
    }

    /// `GET /v1/events`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_events(&self, filter: EventsFilter) -> Result<EventsPage, ClientError> {
        let query = query([
            ("agent", filter.agent),
            ("task", filter.task),
            ("request", filter.request),
            ("lease", filter.lease),
            ("kind", filter.kind),
            ("from", filter.from),
            ("to", filter.to),
            ("newest_first", filter.newest_first.then(|| "true".to_owned())),
            ("limit", filter.limit.map(|limit| limit.to_string())),
            ("cursor", filter.cursor),
        ]);
        self.get("v1/events", &query).await
    }

    /// `POST /oauth/introspect` (RFC 7662 §2.1) as a resource server with HTTP Basic credentials.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn introspect(&self, id: &str, secret: &SecretString, token: &str) -> Result<Introspection, ClientError> {
        self.post_form("oauth/introspect", id, secret, &[("token", token)]).await
    }

    /// `GET /readyz`, as anybody.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn readiness(&self) -> Result<serde_json::Value, ClientError> {
        self.with_tokens(super::TokenSource::Nobody).get("readyz", &[]).await
    }

    /// A fresh random id, e.g. for a file name.
    #[must_use]
    pub fn fresh_id(&self) -> String {
        self.ids().opaque()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_leads_to_another_path() {
        for refused in ["", "..", "a/b", "a?b", "a#b", "a b", "%2e%2e", "é"] {
            assert!(segment(refused).is_err(), "{refused}");
        }
        assert_eq!(segment("tsk_5xk7").unwrap(), "tsk_5xk7");
    }
}

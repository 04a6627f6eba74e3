//! What a notice says and whom it is for, worked out from the rows when it is asked for, and kept with it. Nobody is asked about a
//! request of their own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::views::reasons;
use super::{Broker, BrokerError};
use crate::domain::{AccessRequest, Agent, ApprovalRule, Notice, NoticeKind, Person, Task, Timestamp};
use crate::notify::{Channel, Content};
use crate::policy::Bundle;
use crate::store::{EventFilter, StoredEvent};
use crate::sys::sorted_json;

/// The most people one notice goes to; a rule whose groups are larger asks these.
const MAX_RECIPIENTS: usize = 200;

/// What an event is about, as far as telling people needs it.
pub(super) struct About {
    pub(super) request: AccessRequest,
    pub(super) groups: Vec<String>,
    task: Task,
    /// The agent, if the bundle in force knows it.
    agent: Option<Agent>,
    rule: Option<ApprovalRule>,
    by: Vec<String>,
    due_at: Option<Timestamp>,
}

/// What is read of an event's canonical form.
#[derive(Deserialize)]
struct Body {
    actor: BodyActor,
    request: Option<String>,
    #[serde(default)]
    data: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct BodyActor {
    kind: String,
    #[serde(default)]
    name: String,
}

impl Body {
    fn read(event: &StoredEvent) -> Result<Self, BrokerError> {
        serde_json::from_str(&event.body)
            .map_err(|error| BrokerError::Internal(format!("the event {} cannot be read: {error}", event.id)))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.data.get(name).and_then(serde_json::Value::as_str)
    }
}

/// Who is not asked about a request: the agent's owner and the one it asks for.
fn own_people(bundle: &Bundle, agent: Option<&Agent>, task: &Task) -> Vec<Person> {
    let beneficiary = task.beneficiary.as_deref().and_then(|text| bundle.person_of_beneficiary(text));
    let mut people: Vec<Person> = agent.map(|agent| agent.owner.clone()).into_iter().chain(beneficiary).collect();
    people.dedup();
    people
}

impl Broker {
    /// What an event is about; `None` when it is about no request that is there.
    pub(super) async fn about(&self, event: &StoredEvent) -> Result<Option<About>, BrokerError> {
        let body = Body::read(event)?;
        let Some(id) = body.request.as_deref().and_then(|id| id.parse().ok()) else { return Ok(None) };
        let Some(request) = self.store.find_request(id).await? else { return Ok(None) };
        let Some(task) = self.store.find_task(request.task).await? else { return Ok(None) };
        let rule = match request.pending() {
            Some((rule, _)) => Some(rule.clone()),
            None => self.rule_of_then(&request).await?,
        };
        let groups = rule.iter().flat_map(ApprovalRule::groups).map(str::to_owned).collect();
        let by = if body.actor.kind == "operator" { vec![body.actor.name.clone()] } else { Vec::new() };
        let due_at = body.text("due_at").and_then(|text| text.parse().ok());
        let agent = self.policy.current().agent(&request.agent).cloned();
        Ok(Some(About { request, groups, task, agent, rule, by, due_at }))
    }

    /// By which rule a request waited that waits no more: its event says so.
    async fn rule_of_then(&self, request: &AccessRequest) -> Result<Option<ApprovalRule>, BrokerError> {
        let filter = EventFilter {
            request: Some(request.id),
            kind: Some("approval.awaited".to_owned()),
            newest_first: true,
            ..EventFilter::default()
        };
        let found = self.store.list_events(&filter, 0, 1).await?;
        let body = found.first().map(Body::read).transpose()?;
        Ok(body.and_then(|body| body.text("rule").and_then(|rule| rule.parse().ok())))
    }

    /// A notice for a channel's own readers; for people it is made out to each of them.
    pub(super) fn notice(
        &self,
        channel: &Channel,
        about: &About,
        kind: NoticeKind,
        outcome: Option<&str>,
    ) -> Result<Notice, BrokerError> {
        let payload = sorted_json(&self.content(about, kind, outcome));
        let payload = payload.map_err(|error| BrokerError::Internal(error.to_string()))?;
        let (id, channel) = (self.ids.notice(), channel.name.clone());
        Ok(Notice::new(id, channel, about.request.id, kind, payload, self.clock.now()))
    }

    fn content(&self, about: &About, kind: NoticeKind, outcome: Option<&str>) -> Content {
        let bundle = self.policy.current();
        let request = &about.request;
        let scopes: Vec<String> = request.scopes.iter().map(ToString::to_string).collect();
        let risk = request.scopes.iter().map(|scope| bundle.catalogue().find(scope.entry()).map_or(100, |e| e.risk)).max();
        let own = own_people(&bundle, about.agent.as_ref(), &about.task);
        Content {
            agent: request.agent.to_string(),
            by: about.by.clone(),
            digest: request.digest.to_string(),
            event: kind,
            impact: impact(risk.unwrap_or(100)).to_owned(),
            lapses_at: about.due_at.or_else(|| request.pending().map(|(_, lapses_at)| lapses_at)),
            link: format!("{}/r/{}", self.public_url, request.id),
            not_for: own.iter().map(ToString::to_string).collect(),
            outcome: outcome.map(str::to_owned),
            reasons: Vec::new(),
            request: request.id.to_string(),
            rule: about.rule.as_ref().map(ToString::to_string),
            sentence: format!("{} asks for {} for {}", request.agent, scopes.join(" and "), request.ttl),
            scopes,
            ttl_seconds: request.ttl.as_secs(),
            unusual: Vec::new(),
            v: 1,
        }
    }
}

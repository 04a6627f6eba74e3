//! What a notice says and whom it is for, worked out from the rows when it is asked for, and kept with it. Nobody is asked about a
//! request of their own.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::views::reasons;
use super::{Broker, BrokerError};
use crate::domain::{AccessRequest, Agent, ApprovalRule, Notice, NoticeKind, Task, Timestamp, Verdict};
use crate::notify::{Channel, Content};
use crate::store::{EventFilter, StoredEvent};
use crate::sys::sorted_json;

/// What an event is about, as far as telling people needs it.
pub(super) struct About {
    pub(super) request: AccessRequest,
    pub(super) groups: Vec<String>,
    pub(super) task: Task,
    /// The agent, if the bundle in force knows it.
    pub(super) agent: Option<Agent>,
    reasons: Vec<String>,
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
        let by = self.people_behind(event, &body, &request).await?;
        let due_at = body.text("due_at").and_then(|text| text.parse().ok());
        let agent = self.policy.current().agent(&request.agent).cloned();
        let reasons = reasons(self.store.find_decision(request.decision).await?.as_ref());
        Ok(Some(About { request, groups, task, agent, reasons, rule, by, due_at }))
    }

    /// The people who brought about what an event says: of a grant all whose yes is on record, else whoever caused it.
    async fn people_behind(
        &self,
        event: &StoredEvent,
        body: &Body,
        request: &AccessRequest,
    ) -> Result<Vec<String>, BrokerError> {
        if event.kind == "access.granted" {
            let approvals = self.store.list_approvals(request.id).await?;
            let said_yes = approvals.iter().filter(|approval| approval.verdict != Verdict::Deny);
            return Ok(said_yes.map(|approval| approval.person.to_string()).collect());
        }
        Ok(if body.actor.kind == "operator" { vec![body.actor.name.clone()] } else { Vec::new() })
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
        let risk =
            request.scopes.iter().map(|scope| bundle.catalogue().find(scope.entry()).map_or(100, |e| e.risk)).max();
        let own = about.own_people(&bundle);
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
            reasons: about.reasons.clone(),
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

/// The risk in one word.
const fn impact(risk: u8) -> &'static str {
    match risk {
        70.. => "high",
        40.. => "medium",
        _ => "low",
    }
}

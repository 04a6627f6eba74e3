//! The queue as cards: everything that waits for people, in a few queries however much it is, and without a plan. What a decision rests
//! on, and how many of the verdicts count, is read with the request itself.

use std::collections::{BTreeMap, BTreeSet};

use super::places::{Matter, in_one_word, place};
use super::sentence::{details, environments, impact, risk, sentence};
use super::{Broker, BrokerError, OperatorCaller};
use crate::api::InboxCard;
use crate::domain::{AccessRequest, AgentId, ApprovalRule, Person, RequestId, Task, TaskId};
use crate::policy::{Bundle, OperatorAction};

/// The most cards.
const MAX_CARDS: u32 = 1000;

impl Broker {
    /// What waits for people, at most 1,000: first what the caller may decide, then the rest; of each what lapses first.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`].
    pub async fn inbox(&self, caller: &OperatorCaller) -> Result<Vec<InboxCard>, BrokerError> {
        self.may(caller, OperatorAction::Review, None)?;
        let bundle = self.policy.current();
        let waiting = self.store.list_waiting_requests(MAX_CARDS).await?;
        let tasks = self.store.list_tasks_of_waiting(MAX_CARDS).await?;
        let tasks: BTreeMap<TaskId, Task> = tasks.into_iter().map(|task| (task.id, task)).collect();
        let mut filled: BTreeMap<RequestId, BTreeSet<Person>> = BTreeMap::new();
        for approval in self.store.list_approvals_of_waiting(MAX_CARDS).await? {
            filled.entry(approval.request).or_default().insert(approval.in_place_of.unwrap_or(approval.person));
        }
        let (own, absent) = (self.groups_heard(&caller.operator), self.absent_for(&caller.operator.person).await?);
        let mut alike: BTreeMap<(&AgentId, String), u32> = BTreeMap::new();
        for request in &waiting {
            let count = alike.entry(like(request)).or_default();
            *count = count.saturating_add(1);
        }
        let mut may: BTreeMap<&AgentId, bool> = BTreeMap::new();
        let mut cards = Vec::with_capacity(waiting.len());
        for request in &waiting {
            // What has been settled between the queries is no card any more.
            let (Some(task), Some((rule, _))) = (tasks.get(&request.task), request.pending()) else { continue };
            let may = *may
                .entry(&request.agent)
                .or_insert_with(|| self.may(caller, OperatorAction::Decide, Some(&request.agent)).is_ok());
            let mut card = card(&bundle, request, rule);
            card.like = alike.get(&like(request)).map_or(0, |count| count.saturating_sub(1));
            card.given = filled.get(&request.id).map_or(0, |places| u32::try_from(places.len()).unwrap_or(u32::MAX));
            card.cannot_decide = match bundle.agent(&request.agent) {
                Some(agent) => {
                    let matter = Matter { bundle: &bundle, agent, task, request };
                    match place(&caller.operator, own.clone(), &absent, &[], matter) {
                        Ok(_) => (!may).then(|| "not_permitted".to_owned()),
                        Err(refused) => Some(in_one_word(&refused)),
                    }
                }
                None => Some("agent_unknown".to_owned()),
            };
            cards.push(card);
        }
        cards.sort_by_key(|card| card.cannot_decide.is_some());
        Ok(cards)
    }
}

/// What makes requests alike: who asks, and for what.
fn like(request: &AccessRequest) -> (&AgentId, String) {
    (&request.agent, request.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

fn card(bundle: &Bundle, request: &AccessRequest, rule: &ApprovalRule) -> InboxCard {
    let details = details(bundle.catalogue(), &request.scopes);
    let risk = risk(&details);
    InboxCard {
        id: request.id.to_string(),
        agent: request.agent.to_string(),
        task: request.task.to_string(),
        sentence: sentence(&request.agent, &details, request.ttl),
        impact: impact(risk).to_owned(),
        risk,
        environments: environments(&details),
        rule: rule.to_string(),
        given: 0,
        like: 0,
        asked_at: request.asked_at,
        lapses_at: request.pending().map_or(request.asked_at, |(_, lapses_at)| lapses_at),
        cannot_decide: None,
    }
}

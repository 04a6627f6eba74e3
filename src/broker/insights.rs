//! Against fatigue: how much each approver is asked, how long they think, which verdicts were hasty, and what is allowed so often that
//! it should be policy. For operators and auditors; nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broker, BrokerError, OperatorCaller};
use crate::api::{ApprovalInsights, ApproverDay, Suggestion, Suggestions};
use crate::domain::{
    AccessRequest, AgentId, Approval, ApprovalRule, EntryName, Outcome, Person, RequestId, Scope, Task, TaskId,
    Timestamp, Ttl, Verdict,
};
use crate::policy::{Bundle, Exemption, OperatorAction, Question};
use crate::store::{Decided, Viewing};

/// A verdict within so many milliseconds of being shown the request is hasty.
pub(super) const HASTY_MILLIS: i64 = 3_000;
/// So many like requests that were granted make a suggestion.
const ENOUGH: usize = 5;
/// The most suggestions.
const MAX_SUGGESTIONS: usize = 20;
const MAX_DAYS: u32 = 90;
const DEFAULT_DAYS: u32 = 30;
const DAY_MILLIS: i64 = 86_400_000;

impl Broker {
    /// How much each approver was asked and decided on each day.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn approval_insights(
        &self,
        caller: &OperatorCaller,
        days: Option<u32>,
    ) -> Result<ApprovalInsights, BrokerError> {
        self.may(caller, OperatorAction::Audit, None)?;
        let days = days.unwrap_or(DEFAULT_DAYS);
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(BrokerError::Invalid(format!("`days` of {days} is out of bounds (1 to {MAX_DAYS})")));
        }
        let since = self.clock.now().plus_millis(-i64::from(days).saturating_mul(DAY_MILLIS));
        let (shown, decided) = (self.store.list_viewings(since).await?, self.store.list_decided(since).await?);
        Ok(ApprovalInsights { since, items: by_day(&shown, &decided) })
    }

    /// What people allow again and again, and the policy that would allow it without them.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`].
    pub async fn suggestions(&self, caller: &OperatorCaller) -> Result<Suggestions, BrokerError> {
        self.may(caller, OperatorAction::Audit, None)?;
        let since = self.clock.now().plus_millis(-i64::from(DEFAULT_DAYS).saturating_mul(DAY_MILLIS));
        let runs = runs(&self.store.list_decided(since).await?);
        let bundle = self.policy.current();
        let mut asked = Vec::with_capacity(runs.len());
        for run in runs.into_iter().take(MAX_SUGGESTIONS) {
            if let Some(task) = self.store.find_task(run.task).await? {
                asked.push((run, task));
            }
        }
        let (now, digest) = (self.clock.now(), bundle.digest().to_string());
        // Each is loaded as a bundle of its own, which takes a while.
        let made = tokio::task::spawn_blocking(move || {
            asked.iter().filter_map(|(run, task)| suggest(&bundle, run, task, now)).collect()
        });
        let items = made.await.map_err(|error| BrokerError::Internal(error.to_string()))?;
        Ok(Suggestions { items, bundle: digest })
    }

    /// How long a person had a request before them, if they were shown it by us.
    pub(super) async fn thought_millis(
        &self,
        request: RequestId,
        person: &Person,
        now: Timestamp,
    ) -> Result<Option<i64>, BrokerError> {
        let shown = self.store.find_viewing(request, person).await?;
        Ok(shown.map(|viewing| now.millis_since(viewing.at).max(0)))
    }
}

/// Count a verdict, and how long it took.
pub(super) fn count_verdict(approval: &Approval, request: &AccessRequest) {
    let (verdict, thought_millis) = (approval.verdict, approval.thought_millis);
    let waited_millis = approval.at.millis_since(request.asked_at).max(0);
    let hasty = thought_millis.is_some_and(|millis| millis < HASTY_MILLIS);
    let hasty = if hasty { "true" } else { "false" };
    metrics::counter!("hallpass_verdicts_total", "verdict" => verdict.as_str(), "hasty" => hasty).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "a span of time in seconds; exact below 2^52 milliseconds")]
    let secs = |millis: i64| millis as f64 / 1000.0;
    if let Some(millis) = thought_millis {
        metrics::histogram!("hallpass_approval_thinking_seconds").record(secs(millis));
    }
    metrics::histogram!("hallpass_approval_latency_seconds", "verdict" => verdict.as_str()).record(secs(waited_millis));
}

/// The day in UTC.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn by_day(shown: &[Viewing], decided: &[Decided]) -> Vec<ApproverDay> {
    #[derive(Default)]
    struct Day {
        asked: usize,
        decided: usize,
        approved: usize,
        thoughts: Vec<i64>,
    }
    let mut days: BTreeMap<(String, &Person), Day> = BTreeMap::new();
    for viewing in shown {
        let asked = &mut days.entry((day(viewing.at), &viewing.person)).or_default().asked;
        *asked = asked.saturating_add(1);
    }
    for one in decided {
        let of = days.entry((day(one.at), &one.person)).or_default();
        of.decided = of.decided.saturating_add(1);
        of.approved = of.approved.saturating_add(usize::from(one.verdict != Verdict::Deny));
        of.thoughts.extend(one.thought_millis);
    }
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let told = |((day, person), mut of): ((String, &Person), Day)| {
        of.thoughts.sort_unstable();
        ApproverDay {
            person: person.to_string(),
            day,
            asked: count(of.asked),
            decided: count(of.decided),
            approved: count(of.approved),
            // The lower of the middle two, so that it is one that was.
            median_thought_millis: of.thoughts.get(of.thoughts.len().saturating_sub(1) / 2).copied(),
            hasty: count(of.thoughts.iter().filter(|millis| **millis < HASTY_MILLIS).count()),
        }
    };
    days.into_iter().rev().map(told).collect()
}

/// Like requests that were granted one after the other, none denied in between.
struct Run {
    agent: AgentId,
    granted: BTreeSet<RequestId>,
    scopes: BTreeSet<Scope>,
    people: BTreeSet<Person>,
    ttl: Ttl,
    /// The task of the latest.
    task: TaskId,
}

/// The runs that are long enough, the longest first.
fn runs(decided: &[Decided]) -> Vec<Run> {
    let mut runs: BTreeMap<(&AgentId, BTreeSet<&EntryName>), Option<Run>> = BTreeMap::new();
    for one in decided {
        let run = runs.entry((&one.agent, one.scopes.iter().map(Scope::entry).collect())).or_default();
        match one.verdict {
            Verdict::Deny => *run = None,
            Verdict::Approve if one.state == "granted" => {
                let run = run.get_or_insert_with(|| Run {
                    agent: one.agent.clone(),
                    granted: BTreeSet::new(),
                    scopes: BTreeSet::new(),
                    people: BTreeSet::new(),
                    ttl: one.ttl,
                    task: one.task,
                });
                run.granted.insert(one.request);
                run.scopes.extend(one.scopes.iter().cloned());
                run.people.insert(one.person.clone());
                run.ttl = run.ttl.max(one.ttl);
                run.task = one.task;
            }
            // What came to nothing is no precedent, nor is what was let pass in an emergency.
            Verdict::Approve | Verdict::BreakGlass => {}
        }
    }
    let mut runs: Vec<Run> = runs.into_values().flatten().filter(|run| run.granted.len() >= ENOUGH).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.granted.len()));
    runs
}

/// Which policies wait for people when this is asked, or none when nobody is asked or it is denied.
fn waits(bundle: &Bundle, run: &Run, task: &Task, now: Timestamp) -> Option<(BTreeSet<String>, bool)> {
    let agent = bundle.agent(&run.agent)?;
    let issuer = task.identity.split_once('#').map_or("", |(issuer, _)| issuer);
    let question = Question { agent, task, issuer, ttl: run.ttl, now, voters: &[], key_bound: false };
    let mut policies = BTreeSet::new();
    let mut asks = false;
    for scope in &run.scopes {
        let answer = bundle.ask(&question, scope);
        match answer.outcome {
            Outcome::Permit(_) => {}
            Outcome::RequireApproval(terms) => {
                asks |= terms.approval.as_ref().is_some_and(|rule: &ApprovalRule| !rule.groups().is_empty());
                policies.extend(answer.determining.into_iter().map(|policy| policy.id));
            }
            Outcome::Deny(_) => return None,
        }
    }
    Some((policies, asks))
}

fn suggest(bundle: &Bundle, run: &Run, task: &Task, now: Timestamp) -> Option<Suggestion> {
    let (policies, asks) = waits(bundle, run, task, now)?;
    if !asks {
        return None;
    }
    let mut scopes: BTreeMap<EntryName, BTreeMap<_, BTreeSet<String>>> = BTreeMap::new();
    for scope in &run.scopes {
        let params = scopes.entry(scope.entry().clone()).or_default();
        for (name, value) in scope.params() {
            params.entry(name.clone()).or_default().insert(value.clone());
        }
    }
    let entries = scopes.keys().map(ToString::to_string).collect();
    let exemption = Exemption { agent: run.agent.clone(), scopes, max_ttl: run.ttl };
    let exempted = bundle.exempting(policies.iter().map(String::as_str), &exemption)?;
    // It says what it does: with it, nobody is asked.
    if waits(&exempted.bundle, run, task, now)?.1 {
        return None;
    }
    Some(Suggestion {
        agent: run.agent.to_string(),
        entries,
        granted: u32::try_from(run.granted.len()).unwrap_or(u32::MAX),
        people: run.people.iter().map(ToString::to_string).collect(),
        ttl_seconds: run.ttl.as_secs(),
        policies: policies.into_iter().collect(),
        text: exempted.policies,
        diff: exempted.diff,
    })
}

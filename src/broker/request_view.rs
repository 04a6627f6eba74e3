//! A request as an approver reads it: what exactly would be minted now, what a verdict binds, and everything that a decision may rest
//! on. What the agent says of itself is kept apart from what is known.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use tokio::sync::OnceCell;

use super::evaluate::{Asking, current_digest};
use super::places::{Absent, Matter};
use super::reviews::review_view;
use super::sentence::{details, environments, impact, risk, sentence};
use super::unusual::{BACK_MILLIS, history, unusual};
use super::views::reasons;
use super::{Broker, BrokerError, OperatorCaller, RequestsAsk};
use crate::api::{
    Narrow, QuestionView, RequestView, RequestsPage, RevocationView, SiblingView, TermsView, VerdictView,
};
use crate::domain::{
    AccessRequest, AgentId, Approval, ApprovalTerms, Decision, Digest, Question, Review, StepUp, Task, Ttl, Verdict,
};
use crate::policy::{Bundle, OperatorAction};
use crate::store::{PastRequest, Viewing};

/// What one agent asked for before is looked through as far back as this.
const MAX_PAST: u32 = 1000;
/// Requests of a page that are read at the same time.
const AT_ONCE: usize = 8;

/// What agents asked for before, read once for each agent of a page.
type PastOf = BTreeMap<AgentId, OnceCell<Vec<PastRequest>>>;

/// Who looks, and what is read once however many requests they look at.
struct Looker<'a> {
    caller: &'a OperatorCaller,
    absent: Vec<Absent>,
    past: PastOf,
}

/// What is on record about one request.
struct RowsOf {
    verdicts: Vec<Approval>,
    decision: Option<Decision>,
    questions: Vec<Question>,
    review: Option<Review>,
    siblings: Vec<SiblingView>,
    past: Vec<PastRequest>,
}

impl Broker {
    /// Requests, oldest first.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn list_requests(&self, caller: &OperatorCaller, ask: RequestsAsk) -> Result<RequestsPage, BrokerError> {
        self.may(caller, OperatorAction::Review, None)?;
        let limit = ask.page.limit()?;
        let agent = super::read::agent_filter(ask.agent.as_deref())?;
        let states = ["pending", "granted", "denied", "withdrawn", "lapsed"];
        if ask.state.as_deref().is_some_and(|state| !states.contains(&state)) {
            return Err(BrokerError::Invalid(format!("`state` is one of {}", states.join(", "))));
        }
        let rows = self.store.list_requests(ask.state.as_deref(), agent.as_ref(), ask.page.after()?, limit).await?;
        let next_cursor = super::read::next_cursor(&rows, limit, |row| row.id.to_string());
        let looker = &self.looker(caller, &rows).await?;
        let views = futures_util::stream::iter(rows)
            .map(|request| async move {
                let task = self.store.find_task(request.task).await?.ok_or(BrokerError::NotFound("task"))?;
                self.request_view(looker, &request, &task).await
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        Ok(RequestsPage { items: views.into_iter().collect::<Result<_, _>>()?, next_cursor })
    }

    /// One request, as an approver reads it; who may decide it is noted to have been shown it.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] or [`BrokerError::Forbidden`].
    pub async fn read_request(&self, caller: &OperatorCaller, request: &str) -> Result<RequestView, BrokerError> {
        let (request, task) = self.request_and_task(request).await?;
        self.may(caller, OperatorAction::Review, Some(&request.agent))?;
        let looker = self.looker(caller, std::slice::from_ref(&request)).await?;
        let view = self.request_view(&looker, &request, &task).await?;
        if request.pending().is_some() && view.cannot_decide.is_none() {
            self.note_shown(caller, &request).await;
        }
        Ok(view)
    }

    /// Note when a person was first shown a request that waits for them. That it cannot be noted keeps nobody from deciding.
    async fn note_shown(&self, caller: &OperatorCaller, request: &AccessRequest) {
        let viewing = Viewing { request: request.id, person: caller.operator.person.clone(), at: self.clock.now() };
        let noted = match self.store.find_viewing(viewing.request, &viewing.person).await {
            Ok(None) => self.store.note_viewing(&viewing).await,
            found => found.map(drop),
        };
        if let Err(error) = noted {
            tracing::warn!(request.id = %request.id, %error, "that a person is shown a request could not be noted");
        }
    }

    async fn looker<'a>(
        &self,
        caller: &'a OperatorCaller,
        requests: &[AccessRequest],
    ) -> Result<Looker<'a>, BrokerError> {
        let absent = self.absent_for(&caller.operator.person).await?;
        let past = requests.iter().map(|request| (request.agent.clone(), OnceCell::new())).collect();
        Ok(Looker { caller, absent, past })
    }

    async fn past_of<'p>(&self, request: &AccessRequest, past: &'p PastOf) -> Result<&'p [PastRequest], BrokerError> {
        let Some(cell) = past.get(&request.agent) else { return Ok(&[]) };
        let since = self.clock.now().plus_millis(-BACK_MILLIS);
        let read = || async { self.store.list_past_requests(&request.agent, since, None, MAX_PAST).await };
        Ok(cell.get_or_try_init(read).await?)
    }

    async fn rows_of(&self, request: &AccessRequest, task: &Task, looker: &Looker<'_>) -> Result<RowsOf, BrokerError> {
        let past = self.past_of(request, &looker.past).await?;
        let siblings = self.store.list_requests_of_task(task.id).await?;
        Ok(RowsOf {
            verdicts: self.store.list_approvals(request.id).await?,
            decision: self.store.find_decision(request.decision).await?,
            questions: self.store.list_questions(request.id).await?,
            review: self.store.find_review(request.id).await?,
            siblings: siblings.iter().filter(|one| one.id != request.id).map(sibling_view).collect(),
            past: past.iter().filter(|one| one.id < request.id).cloned().collect(),
        })
    }

    /// What stands now: plan, digest, and how many count. Where nothing could be minted any more, what stood then is shown, and
    /// cannot be decided on.
    async fn how_it_stands(
        &self,
        bundle: &Bundle,
        request: &AccessRequest,
        task: &Task,
        rows: &RowsOf,
    ) -> Result<(String, Digest, u32), BrokerError> {
        let then = (request.effect.clone(), request.digest, 0);
        let Some(agent) = bundle.agent(&request.agent) else { return Ok(then) };
        let confirmation_key = request.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now: self.clock.now(), voters: &[], confirmation_key };
        let Ok((plan, digest)) = current_digest(self, &asking, request, &rows.questions) else { return Ok(then) };
        let given = if rows.verdicts.is_empty() {
            0
        } else {
            self.count_shown(&asking, request, (plan.digest, digest)).await?.voters.len()
        };
        Ok((plan.effect, digest, u32::try_from(given).unwrap_or(u32::MAX)))
    }

    async fn request_view(
        &self,
        looker: &Looker<'_>,
        request: &AccessRequest,
        task: &Task,
    ) -> Result<RequestView, BrokerError> {
        let bundle = self.policy.current();
        let agent = bundle.agent(&request.agent);
        let rows = self.rows_of(request, task, looker).await?;
        let (effect, digest, given) = self.how_it_stands(&bundle, request, task, &rows).await?;
        let scope_details = details(bundle.catalogue(), &request.scopes);
        Ok(RequestView {
            id: request.id.to_string(),
            task: task.id.to_string(),
            agent: request.agent.to_string(),
            owner: agent.map(|agent| agent.owner.to_string()).unwrap_or_default(),
            state: request.state.as_str().to_owned(),
            sentence: sentence(&request.agent, &scope_details, request.ttl),
            scopes: request.scopes.iter().map(ToString::to_string).collect(),
            risk: risk(&scope_details),
            impact: impact(risk(&scope_details)).to_owned(),
            environments: environments(&scope_details),
            scope_details,
            ttl_seconds: request.ttl.as_secs(),
            effect: serde_json::from_str(&effect).unwrap_or(serde_json::Value::Null),
            revocation: self.revocation_view(request),
            reasons: reasons(rows.decision.as_ref()),
            unusual: unusual(request, task, &rows.past),
            rule: request.pending().map(|(rule, _)| rule.to_string()),
            terms: terms_view(request.terms()),
            given,
            verdicts: rows.verdicts.iter().map(|verdict| verdict_view(verdict, digest)).collect(),
            questions: rows.questions.iter().map(QuestionView::from).collect(),
            history: history(request, &rows.past),
            siblings: rows.siblings,
            review: rows.review.as_ref().map(review_view),
            asserted_purpose: task.purpose.as_str().to_owned(),
            asserted_message: task.message.as_ref().map(|message| message.as_str().to_owned()),
            asserted_beneficiary: task.beneficiary.clone(),
            asserted_references: task.references.clone(),
            verified_identity: task.identity.clone(),
            request_digest: digest.to_string(),
            decision: request.decision.to_string(),
            asked_at: request.asked_at,
            lapses_at: request.pending().map(|(_, lapses_at)| lapses_at),
            cannot_decide: match agent {
                Some(agent) => {
                    let matter = Matter { bundle: &bundle, agent, task, request };
                    self.cannot_decide(looker.caller, &looker.absent, matter)
                }
                None => Some("agent_unknown".to_owned()),
            },
        })
    }

    /// How surely what would be minted can be ended; unknown where its backend is not configured any more.
    fn revocation_view(&self, request: &AccessRequest) -> Option<RevocationView> {
        let revocability = self.minters.find(&request.backend)?.revocability();
        Some(RevocationView { how: revocability.how.to_owned(), strength: revocability.strength.to_owned() })
    }
}

/// What a yes takes; nothing special once nobody is asked any more.
fn terms_view(terms: Option<&ApprovalTerms>) -> TermsView {
    let Some(terms) = terms else { return TermsView { step_up: StepUp::None.to_string(), ..TermsView::default() } };
    TermsView {
        step_up: terms.step_up.to_string(),
        reason_required: terms.reason_required,
        uses: terms.uses,
        break_glass: terms.break_glass.as_ref().map(|glass| glass.rule.to_string()),
        break_glass_ttl_seconds: terms.break_glass.as_ref().map(|glass| glass.max_ttl.as_secs()),
    }
}

fn verdict_view(approval: &Approval, digest: Digest) -> VerdictView {
    VerdictView {
        id: approval.id.to_string(),
        person: approval.person.to_string(),
        in_place_of: approval.in_place_of.as_ref().map(ToString::to_string),
        verdict: approval.verdict.to_string(),
        narrow: approval.narrow.as_ref().map(|narrow| Narrow {
            ttl_seconds: narrow.ttl().map(Ttl::as_secs),
            drop_scopes: narrow.drop_scopes().iter().map(ToString::to_string).collect(),
        }),
        passkey: approval.proof.is_some(),
        reason: approval.reason.clone(),
        thought_millis: approval.thought_millis,
        sent_back: approval.verdict != Verdict::Deny && approval.request_digest != digest,
        at: approval.at,
    }
}

fn sibling_view(request: &AccessRequest) -> SiblingView {
    SiblingView {
        id: request.id.to_string(),
        state: request.state.as_str().to_owned(),
        scopes: request.scopes.iter().map(ToString::to_string).collect(),
    }
}

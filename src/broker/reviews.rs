//! The look back at what one person let pass alone in an emergency. It is for somebody else who may decide such a request, within a
//! day; an objection ends what lives of the grant, and a review that nobody makes in time raises an alarm.

use super::count::is_own_request;
use super::end_lease::{Revocation, Telling};
use super::facts::Record;
use super::idempotency::Once;
use super::sweep::SweepReport;
use super::{Broker, BrokerError, OperatorCaller};
use crate::api::{ReviewAsk, ReviewItem, ReviewView, Reviews};
use crate::domain::{
    AccessRequest, Actor, ApprovalTerms, EndCause, EventKind, Finding, Message, Person, RequestState, Review, Subjects,
    Task, Timestamp,
};
use crate::policy::OperatorAction;
use crate::store::{StoreError, Tx};

/// The most reviews that are listed, or looked at in one run.
const MAX_REVIEWS: u32 = 1000;

/// A review as the wire shows it.
pub(super) fn review_view(review: &Review) -> ReviewView {
    ReviewView {
        state: review.state().to_owned(),
        due_at: review.due_at,
        person: review.found.as_ref().map(|(_, person, ..)| person.to_string()),
        note: review.found.as_ref().map(|(_, _, note, _)| note.clone()),
    }
}

fn about(review: &Review) -> Subjects {
    Subjects {
        agent: Some(review.agent.clone()),
        task: Some(review.task),
        request: Some(review.request),
        ..Subjects::default()
    }
}

impl Broker {
    /// Reviews: those that are due, or all.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn list_reviews(&self, caller: &OperatorCaller, state: Option<&str>) -> Result<Reviews, BrokerError> {
        self.may(caller, OperatorAction::Review, None)?;
        let rows = match state {
            Some("due") => self.store.list_due_reviews(MAX_REVIEWS).await?,
            None => self.store.list_reviews(MAX_REVIEWS).await?,
            Some(_) => return Err(BrokerError::Invalid("`state` is `due`, or left out".to_owned())),
        };
        let now = self.clock.now();
        let mut items = Vec::with_capacity(rows.len());
        for review in rows {
            let task = self.store.find_task(review.task).await?.ok_or(BrokerError::NotFound("task"))?;
            items.push(ReviewItem {
                request: review.request.to_string(),
                task: review.task.to_string(),
                agent: review.agent.to_string(),
                rule: review.rule.to_string(),
                breaker: review.breaker.to_string(),
                broken_at: review.broken_at,
                review: review_view(&review),
                overdue: is_overdue(&review, now),
                cannot_review: self.may_review(caller, &review, &task).err().map(|error| in_one_word(&error)),
            });
        }
        Ok(Reviews { items })
    }

    /// Say whether it was right to let a request pass alone, once under a key.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], [`BrokerError::OwnRequest`], [`BrokerError::NotInGroup`], [`BrokerError::AlreadyDone`].
    pub async fn review_request(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: ReviewAsk,
        idempotency_key: Option<String>,
    ) -> Result<ReviewView, BrokerError> {
        let route = format!("POST /v1/requests/{request}/review");
        let once = Once::of_operator(caller, &route, &ask, idempotency_key)?;
        let known = async { Ok(review_view(&self.review_of(request).await?)) };
        self.done_once(&once, self.look_back(caller, request, &ask, &once), known).await
    }

    async fn look_back(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: &ReviewAsk,
        once: &Once,
    ) -> Result<ReviewView, BrokerError> {
        let finding: Finding = ask
            .verdict
            .parse()
            .map_err(|_| BrokerError::Invalid("`verdict` is `confirmed` or `objected`".to_owned()))?;
        let note: Message = ask.note.parse()?;
        self.out_of_quarantine()?;
        let mut review = self.review_of(request).await?;
        let task = self.store.find_task(review.task).await?.ok_or(BrokerError::NotFound("task"))?;
        self.may_review(caller, &review, &task)?;
        let (person, now) = (caller.operator.person.clone(), self.clock.now());
        if finding == Finding::Objected {
            // Before it is on record, so that no objection is on record while what it is about lives on.
            self.end_what_lives(&review, &person, note.as_str()).await?;
        }
        let mut record = Record::new(&self.ids, now, Actor::Operator(person.clone()));
        record.note(
            EventKind::ReviewDone,
            about(&review),
            [("finding", finding.as_str().into()), ("note", note.as_str().into())],
        );
        review.found = Some((finding, person, note.as_str().to_owned(), now));
        let mut tx = self.store.begin("review.settle");
        tx.settle_review(&review);
        once.record(&mut tx, || review.request.to_string(), now);
        match record.commit(tx).await {
            Ok(()) => Ok(review_view(&review)),
            Err(StoreError::Conflict { table: "review" }) => Err(BrokerError::AlreadyDone("the review is made")),
            Err(error) => Err(error.into()),
        }
    }

    async fn end_what_lives(&self, review: &Review, person: &Person, note: &str) -> Result<(), BrokerError> {
        let request = self.store.find_request(review.request).await?.ok_or(BrokerError::NotFound("request"))?;
        let RequestState::Granted { grant } = request.state else { return Ok(()) };
        let Some(grant) = self.store.find_grant(grant).await? else { return Ok(()) };
        let why = Revocation {
            cause: EndCause::Revoked,
            actor: Actor::Operator(person.clone()),
            reason: Some(note),
            telling: Telling::AtOnce,
        };
        match self.end_grant(grant, &why).await {
            // It has ended already.
            Err(BrokerError::Changed) => Ok(()),
            done => done,
        }
    }

    async fn review_of(&self, request: &str) -> Result<Review, BrokerError> {
        let id = request.parse().map_err(|_| BrokerError::NotFound("request"))?;
        self.store.find_review(id).await?.ok_or(BrokerError::NotFound("review"))
    }

    /// Somebody else who may decide such a request, and whose own it is not.
    fn may_review(&self, caller: &OperatorCaller, review: &Review, task: &Task) -> Result<(), BrokerError> {
        if review.found.is_some() {
            return Err(BrokerError::AlreadyDone("the review is made"));
        }
        let bundle = self.policy.current();
        let agent = bundle.agent(&review.agent).ok_or(BrokerError::NotFound("request"))?;
        self.may(caller, OperatorAction::Decide, Some(&agent.id))?;
        let person = &caller.operator;
        // Neither who let it pass nor who is concerned looks back at it, whatever policy says of a yes.
        let is_own = is_own_request(&bundle, agent, task, &ApprovalTerms::default(), person);
        if person.person == review.breaker || is_own {
            return Err(BrokerError::OwnRequest);
        }
        let (groups, own) = (review.rule.groups(), self.groups_heard(person));
        if groups.iter().any(|group| own.iter().any(|own| own == group)) {
            return Ok(());
        }
        let groups = groups.into_iter().map(str::to_owned).collect();
        Err(BrokerError::NotInGroup { rule: review.rule.to_string(), groups })
    }

    /// Say once of each review that is overdue that it is, and show how many there are.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_reviews(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let now = self.clock.now();
        let due = self.store.list_due_reviews(MAX_REVIEWS).await?;
        let overdue: Vec<&Review> = due.iter().filter(|review| is_overdue(review, now)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a gauge of how many; exact below 2^52")]
        metrics::gauge!("hallpass_reviews_overdue").set(overdue.len() as f64);
        let mut done = 0_usize;
        for review in overdue.into_iter().filter(|review| review.overdue_at.is_none()) {
            let mut record = Record::new(&self.ids, now, Actor::Broker);
            record.note(EventKind::ReviewOverdue, about(review), [("breaker", review.breaker.as_str().into())]);
            let mut tx = self.store.begin("review.overdue");
            tx.note_overdue_review(review, now);
            match record.commit(tx).await {
                Ok(()) => {
                    tracing::error!(request.id = %review.request, "nobody reviewed in time what was let pass in an emergency");
                    done = done.saturating_add(1);
                }
                // Another replica said so, or it was reviewed in the same moment.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(SweepReport { done, more: false })
    }
}

/// One person lets a request pass alone: somebody else must review it within a day. Put into the commit of the grant.
pub(super) fn put_review(request: &AccessRequest, breaker: &Person, tx: &mut Tx, record: &mut Record<'_>) {
    let Some((rule, _)) = request.pending() else { return };
    let now = record.now();
    let review = Review {
        request: request.id,
        task: request.task,
        agent: request.agent.clone(),
        rule: rule.clone(),
        breaker: breaker.clone(),
        broken_at: now,
        due_at: now.plus_millis(Review::WITHIN_MILLIS),
        found: None,
        overdue_at: None,
    };
    record.note(EventKind::GlassBroken, about(&review), [("person", breaker.as_str().into())]);
    let due = [("by", review.due_at.to_string().into()), ("rule", review.rule.to_string().into())];
    record.note(EventKind::ReviewDue, about(&review), due);
    tx.insert_review(&review);
}

/// Tell whoever looks at logs and metrics that one person let a request pass alone.
pub(super) fn raise_alarm(request: &AccessRequest, breaker: &Person) {
    metrics::counter!("hallpass_glass_broken_total").increment(1);
    tracing::error!(
        request.id = %request.id,
        agent.id = %request.agent,
        person = %breaker,
        "one person let a request pass alone, in an emergency; somebody else must review it within a day"
    );
}

fn is_overdue(review: &Review, now: Timestamp) -> bool {
    review.found.is_none() && review.due_at <= now
}

fn in_one_word(refused: &BrokerError) -> String {
    if matches!(refused, BrokerError::AlreadyDone(_)) {
        "already_done".to_owned()
    } else {
        super::places::in_one_word(refused)
    }
}

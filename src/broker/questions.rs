//! Questions of those who may decide a request to the agent that asks, and its answers. Both are part of what an approver is shown:
//! an answer after somebody's yes sends that yes back, because it was about less than is known now.

use super::facts::{Record, about_request};
use super::idempotency::Once;
use super::membership::known_among;
use super::places::Matter;
use super::{AgentCaller, Broker, BrokerError, OperatorCaller};
use crate::api::{AnswerAsk, QuestionAsk, QuestionView};
use crate::domain::{AccessRequest, Actor, EventKind, Message, Question, Task};
use crate::policy::OperatorAction;
use crate::store::StoreError;

impl From<&Question> for QuestionView {
    fn from(question: &Question) -> Self {
        Self {
            id: question.id.to_string(),
            person: question.person.to_string(),
            text: question.text.as_str().to_owned(),
            asked_at: question.asked_at,
            asserted_answer: question.answer.as_ref().map(|(text, _)| text.as_str().to_owned()),
            answered_at: question.answer.as_ref().map(|(_, at)| *at),
        }
    }
}

impl Broker {
    /// Ask the agent something about a request of its that waits, once under a key.
    ///
    /// # Errors
    /// [`BrokerError::AlreadyDecided`], [`BrokerError::OwnRequest`], [`BrokerError::NotInGroup`],
    /// [`BrokerError::TooManyQuestions`].
    pub async fn ask_question(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: QuestionAsk,
        idempotency_key: Option<String>,
    ) -> Result<QuestionView, BrokerError> {
        let route = format!("POST /v1/requests/{request}/questions");
        let once = Once::of_operator(caller, &route, &ask, idempotency_key)?;
        self.done_once(&once, self.ask_agent(caller, request, &ask, &once), self.question_of(request, &once)).await
    }

    async fn ask_agent(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: &QuestionAsk,
        once: &Once,
    ) -> Result<QuestionView, BrokerError> {
        let text: Message = ask.text.parse()?;
        self.out_of_quarantine()?;
        let (request, task) = self.request_and_task(request).await?;
        self.may_decide(caller, &request, &task).await?;
        let asked = self.store.list_questions(request.id).await?;
        let number = u32::try_from(asked.len()).unwrap_or(u32::MAX).saturating_add(1);
        let open = asked.iter().filter(|question| question.is_open()).count();
        if number > Question::MAX || open >= Question::MAX_OPEN {
            return Err(BrokerError::TooManyQuestions);
        }
        let now = self.clock.now();
        let person = caller.operator.person.clone();
        let question = Question {
            id: self.ids.question(),
            request: request.id,
            number,
            person,
            text,
            asked_at: now,
            answer: None,
        };
        let mut record = Record::new(&self.ids, now, Actor::Operator(question.person.clone()));
        let said = [("question", question.id.to_string().into()), ("text", question.text.as_str().into())];
        record.note(EventKind::QuestionAsked, about_request(&request), said);
        let mut tx = self.store.begin("question.ask");
        tx.insert_question(&question, task.id);
        tx.check_request(&request);
        once.record(&mut tx, || question.id.to_string(), now);
        match record.commit(tx).await {
            Ok(()) => {}
            Err(error @ StoreError::Conflict { table: "idempotency" }) => return Err(error.into()),
            Err(StoreError::Conflict { table: "access_request" }) => {
                return Err(BrokerError::AlreadyDecided("settled"));
            }
            // Somebody else asked in the same moment.
            Err(StoreError::Conflict { .. }) => return Err(BrokerError::Changed),
            Err(error) => return Err(error.into()),
        }
        self.signals.changed(task.id);
        Ok(QuestionView::from(&question))
    }

    /// Answer a question about a request of a task of the caller's, once under a key.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], [`BrokerError::AlreadyDecided`], [`BrokerError::AlreadyDone`].
    pub async fn answer_question(
        &self,
        caller: &AgentCaller,
        (task, request): (&str, &str),
        ask: AnswerAsk,
        idempotency_key: Option<String>,
    ) -> Result<QuestionView, BrokerError> {
        let route = format!("POST /v1/tasks/{task}/requests/{request}/answers");
        let once = Once::of_agent(caller, &route, &ask, idempotency_key)?;
        let known = async {
            self.task_of(caller, task).await?;
            self.question_of(request, &once).await
        };
        self.done_once(&once, self.answer_person(caller, (task, request), &ask, &once), known).await
    }

    async fn answer_person(
        &self,
        caller: &AgentCaller,
        (task, request): (&str, &str),
        ask: &AnswerAsk,
        once: &Once,
    ) -> Result<QuestionView, BrokerError> {
        let text: Message = ask.text.parse()?;
        self.out_of_quarantine()?;
        let task = self.open_task_of(caller, task).await?;
        let (request, of) = self.request_and_task(request).await?;
        if of.id != task.id {
            return Err(BrokerError::NotFound("request"));
        }
        let asked = self.store.list_questions(request.id).await?;
        let question = asked.into_iter().find(|question| question.id.to_string() == ask.question);
        let mut question = question.ok_or(BrokerError::NotFound("question"))?;
        if !question.is_open() {
            return Err(BrokerError::AlreadyDone("the question has an answer"));
        }
        let now = self.clock.now();
        if request.pending().is_none() || request.is_due(now) {
            return Err(BrokerError::AlreadyDecided(request.state.as_str()));
        }
        let given = self.store.list_approvals(request.id).await?.len();
        question.answer = Some((text, now));
        self.record_answer(caller, (&request, &question), given, once).await?;
        self.signals.changed(task.id);
        Ok(QuestionView::from(&question))
    }

    async fn record_answer(
        &self,
        caller: &AgentCaller,
        (request, question): (&AccessRequest, &Question),
        given: usize,
        once: &Once,
    ) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let said = question.answer.as_ref().map(|(text, _)| text.as_str()).unwrap_or_default();
        let mut record = Record::new(&self.ids, now, Actor::Agent(caller.agent.clone()));
        record.note(
            EventKind::QuestionAnswered,
            about_request(request),
            [
                ("question", question.id.to_string().into()),
                ("text", said.into()),
                // Verdicts that were given before it, and count no more.
                ("sent_back", i64::try_from(given).unwrap_or(i64::MAX).into()),
            ],
        );
        let mut tx = self.store.begin("question.answer");
        tx.answer_question(question);
        // So that of an answer and a grant in the same moment there is one: what was not known to those who said yes is not
        // known to the mint.
        tx.check_request(request);
        once.record(&mut tx, || question.id.to_string(), now);
        match record.commit(tx).await {
            Ok(()) => Ok(()),
            Err(error @ StoreError::Conflict { table: "idempotency" }) => Err(error.into()),
            Err(StoreError::Conflict { table: "access_request" }) => Err(BrokerError::AlreadyDecided("settled")),
            Err(StoreError::Conflict { .. }) => Err(BrokerError::AlreadyDone("the question has an answer")),
            Err(error) => Err(error.into()),
        }
    }

    /// The question that was asked or answered under a key before, as it is now.
    async fn question_of(&self, request: &str, once: &Once) -> Result<QuestionView, BrokerError> {
        let found = self.find_used(once).await?.ok_or(BrokerError::InProgress)?;
        let id = request.parse().map_err(|_| BrokerError::NotFound("request"))?;
        let questions = self.store.list_questions(id).await?;
        let question = questions.iter().find(|question| question.id.to_string() == found.subject);
        question.map(QuestionView::from).ok_or(BrokerError::NotFound("question"))
    }

    /// Whether the caller may decide this request now.
    async fn may_decide(
        &self,
        caller: &OperatorCaller,
        request: &AccessRequest,
        task: &Task,
    ) -> Result<(), BrokerError> {
        let bundle = self.policy.current();
        let agent = bundle.agent(&request.agent).ok_or(BrokerError::NotFound("request"))?;
        self.may(caller, OperatorAction::Decide, Some(&agent.id))?;
        let own = known_among(&caller.operator.groups, &self.known(&caller.operator.person).await?);
        let matter = Matter { bundle: &bundle, agent, task, request };
        self.place_of(caller, own, matter).await?;
        if request.is_due(self.clock.now()) { Err(BrokerError::ApprovalExpired) } else { Ok(()) }
    }
}

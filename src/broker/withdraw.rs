//! Taking a request back: an agent that no longer needs what it asked for says so, and nobody is asked about it any more.

use super::facts::{Record, about_request};
use super::idempotency::Once;
use super::{AgentCaller, Broker, BrokerError};
use crate::api::TaskAnswer;
use crate::domain::{AccessRequest, Actor, Datum, EventKind, RequestId, Task};
use crate::store::{Store, StoreError};

impl Broker {
    /// Take back a request of the caller's that waits for people; the task goes on without it. Once under a key.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] when it is none of this task's, [`BrokerError::AlreadyDecided`] when it waits no more.
    pub async fn withdraw_request(
        &self,
        caller: &AgentCaller,
        task: &str,
        request: &str,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        let once = Once::of_agent(
            caller,
            &format!("POST /v1/tasks/{task}/requests/{request}/withdraw"),
            &(),
            idempotency_key,
        )?;
        let act = async {
            self.out_of_quarantine()?;
            let task = self.task_of(caller, task).await?;
            let id: RequestId = request.parse().map_err(|_| BrokerError::NotFound("request"))?;
            let request = self.store.find_request(id).await?.filter(|request| request.task == task.id);
            self.withdraw(&task, request.ok_or(BrokerError::NotFound("request"))?, &once, None).await?;
            self.answer_stored(&task).await
        };
        self.done_once(&once, act, async { self.answer_stored(&self.task_of(caller, task).await?).await }).await
    }

    /// Take one request back; `why` is what its agent says about it.
    ///
    /// # Errors
    /// [`BrokerError::AlreadyDecided`] when it waits no more.
    pub(super) async fn withdraw(
        &self,
        task: &Task,
        request: AccessRequest,
        once: &Once,
        why: Option<Datum>,
    ) -> Result<(), BrokerError> {
        let now = self.clock.now();
        if request.is_due(now) {
            return Err(BrokerError::AlreadyDecided("lapsed"));
        }
        let withdrawn = request.clone().withdraw(now).map_err(|refusal| BrokerError::AlreadyDecided(refusal.state))?;
        let mut record = Record::new(&self.ids, now, Actor::Agent(task.agent.clone()));
        match why {
            Some(why) => record.note(EventKind::AccessWithdrawn, about_request(&request), [("asserted_reason", why)]),
            None => record.note(EventKind::AccessWithdrawn, about_request(&request), []),
        }
        let mut tx = self.store.begin("access.withdraw");
        tx.update_request(&request, &withdrawn);
        once.record(&mut tx, || request.id.to_string(), now);
        let committed = record.commit(tx).await;
        let id = request.id;
        let is_there = async |store: &Store| Ok(store.find_request(id).await?.as_ref() == Some(&withdrawn));
        match self.read_back(committed, is_there).await {
            Ok(()) => {
                self.signals.changed(task.id);
                Ok(())
            }
            // A verdict came in the same moment; one of the two is on record.
            Err(StoreError::Conflict { table: "access_request" }) => Err(BrokerError::AlreadyDecided("settled")),
            Err(error) => Err(error.into()),
        }
    }
}

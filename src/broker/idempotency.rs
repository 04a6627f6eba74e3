//! Doing a thing once: a caller's key, together with a digest of what was asked, is committed with what was made. The same
//! key and question again answers with the same thing and no secret but a sealed one; another question under that key is
//! refused. One key at a time does something: of calls at the same moment the first to commit wins, and the others answer
//! what it made.

use serde::Serialize;

use super::open_task::{MAX_TRIES, denial};
use super::{AgentCaller, Broker, BrokerError, OperatorCaller};
use crate::api::TaskAnswer;
use crate::domain::{
    AccessRequest, Decision, Digest, EndCause, Lease, LeaseId, Outcome, RequestState, Task, TaskState, Timestamp, Ttl,
};
use crate::store::{IdempotencyRecord, StoreError, Tx};
use crate::sys::{canonical_json, sha256};

/// A question that is answered once, if it came with a key.
pub(super) struct Once(Option<Keyed>);

struct Keyed {
    owner: String,
    key: String,
    request: Digest,
}

impl Keyed {
    fn row(&self, subject: String, now: Timestamp) -> IdempotencyRecord {
        IdempotencyRecord {
            owner: self.owner.clone(),
            key: self.key.clone(),
            request: self.request,
            subject,
            at: now,
            keep_until: now.plus_millis(i64::from(Ttl::MAX_SECS).saturating_mul(1000)),
        }
    }
}

impl Once {
    /// From an agent, the route with its ids, the body and the key.
    pub(super) fn of_agent(
        caller: &AgentCaller,
        route: &str,
        body: &impl Serialize,
        key: Option<String>,
    ) -> Result<Self, BrokerError> {
        Self::new(|| format!("agent:{}", caller.agent), route, body, key)
    }

    /// From a person.
    pub(super) fn of_operator(
        caller: &OperatorCaller,
        route: &str,
        body: &impl Serialize,
        key: Option<String>,
    ) -> Result<Self, BrokerError> {
        Self::new(|| format!("operator:{}", caller.operator.person), route, body, key)
    }

    fn new(
        owner: impl FnOnce() -> String,
        route: &str,
        body: &impl Serialize,
        key: Option<String>,
    ) -> Result<Self, BrokerError> {
        let Some(key) = key else { return Ok(Self(None)) };
        let body = canonical_json(body).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let request = sha256(format!("{route}\n{body}"));
        Ok(Self(Some(Keyed { owner: owner(), key, request })))
    }

    /// For what needs no key, because it does nothing when it is repeated.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Put it into the change that does the thing, and keep it until then.
    pub(super) fn record_until(&self, tx: &mut Tx, subject: String, now: Timestamp, keep_until: Timestamp) {
        if let Some(keyed) = &self.0 {
            tx.insert_idempotency(&IdempotencyRecord { keep_until, ..keyed.row(subject, now) });
        }
    }

    /// Put it into the change that does the thing; `subject` is what came of it.
    pub(super) fn record(&self, tx: &mut Tx, subject: impl FnOnce() -> String, now: Timestamp) {
        if let Some(keyed) = &self.0 {
            tx.insert_idempotency(&keyed.row(subject(), now));
        }
    }
}

/// What a key was used for by an agent, as it is kept: the task, then the requests it made, then the leases whose credentials it
/// got sealed.
pub(super) fn subject<'a>(
    task: &Task,
    requests: impl Iterator<Item = &'a AccessRequest>,
    sealed: impl Iterator<Item = &'a Lease>,
) -> String {
    let requests = requests.map(|request| request.id.to_string());
    std::iter::once(task.id.to_string())
        .chain(requests)
        .chain(sealed.map(|lease| lease.id.to_string()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether policy said no at once, so that the question was answered with a denial; what was denied after a wait was not.
fn was_denied_at_once(request: &AccessRequest, decisions: &[Decision]) -> bool {
    let decision = decisions.iter().find(|decision| decision.id == request.decision);
    matches!(request.state, RequestState::Denied { .. })
        && decision.is_some_and(|decision| matches!(decision.outcome, Outcome::Deny(_)))
}

/// An attempt to do a thing: refused before anything was committed, and then it may be made again; or done, one way or the
/// other.
pub(super) type Attempt<T> = Result<Result<T, BrokerError>, BrokerError>;

impl Broker {
    /// Do a thing once: start over when something changed under it, and answer what was made before if its key was used.
    pub(super) async fn exactly_once<F>(
        &self,
        once: &Once,
        mut attempt: impl FnMut() -> F,
    ) -> Result<TaskAnswer, BrokerError>
    where
        F: Future<Output = Attempt<TaskAnswer>> + Send,
    {
        let mut refused = BrokerError::Changed;
        for _ in 0..MAX_TRIES {
            match attempt().await {
                Ok(done) => return done,
                Err(BrokerError::Changed) => {}
                Err(BrokerError::Store(StoreError::Conflict { table: "idempotency" })) => {
                    return self.replay(once).await;
                }
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        // What could not be begun now may have been done before.
        match self.used_before(once, &refused).await? {
            Some(_) => self.replay(once).await,
            None => Err(refused),
        }
    }

    /// What the key was used for, after an attempt that was refused before it committed anything. Who may do nothing now is
    /// not told what it did before.
    async fn used_before(&self, once: &Once, refused: &BrokerError) -> Result<Option<IdempotencyRecord>, BrokerError> {
        let hidden = matches!(
            refused,
            BrokerError::KillSwitch
                | BrokerError::AgentSuspended { .. }
                | BrokerError::IdentityRefused
                | BrokerError::Forbidden(_)
                | BrokerError::Store(_)
        );
        if hidden { Ok(None) } else { self.find_used(once).await }
    }

    /// What the key was used for.
    ///
    /// # Errors
    /// [`BrokerError::IdempotencyConflict`] when it was used for another question.
    pub(super) async fn find_used(&self, once: &Once) -> Result<Option<IdempotencyRecord>, BrokerError> {
        let Some(keyed) = &once.0 else { return Ok(None) };
        match self.store.find_idempotency(&keyed.owner, &keyed.key).await? {
            Some(found) if found.request != keyed.request => Err(BrokerError::IdempotencyConflict),
            found => Ok(found),
        }
    }

    /// Note the use of a key after an act that is safe to repeat; another call may have been first.
    pub(super) async fn remember(&self, once: &Once, subject: &str) -> Result<(), BrokerError> {
        let Some(keyed) = &once.0 else { return Ok(()) };
        match self.store.remember_idempotency(&keyed.row(subject.to_owned(), self.clock.now())).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => self.find_used(once).await.map(drop),
            Err(error) => Err(error.into()),
        }
    }

    /// The key was used before: answer with what was made then, or refuse.
    pub(super) async fn replay(&self, once: &Once) -> Result<TaskAnswer, BrokerError> {
        let Some(found) = self.find_used(once).await? else { return Err(BrokerError::InProgress) };
        let corrupt = || BrokerError::Internal("an idempotency key of no task".to_owned());
        let mut ids = found.subject.split(' ');
        let task = ids.next().and_then(|id| id.parse().ok()).ok_or_else(corrupt)?;
        let task = self.store.find_task(task).await?.ok_or(BrokerError::NotFound("task"))?;
        let ids: Vec<&str> = ids.collect();
        let requests = self.store.list_requests_of_task(task.id).await?;
        let of_key: Vec<&AccessRequest> =
            requests.iter().filter(|request| ids.contains(&request.id.to_string().as_str())).collect();
        let mut decisions = self.store.list_decisions_of_task(task.id).await?;
        decisions.retain(|decision| of_key.iter().any(|request| request.decision == decision.id));
        let denied = !of_key.is_empty() && of_key.iter().all(|request| was_denied_at_once(request, &decisions));
        if denied || matches!(task.state, TaskState::Closed { cause: EndCause::Denied, .. }) {
            return Err(denial(&task, &decisions));
        }
        let leases: Vec<LeaseId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let again = self.sealed_again(&task, &leases).await?;
        let mut answer = self.answer_stored(&task).await?;
        answer.already_delivered.retain(|held| !again.iter().any(|credential| credential.id == *held));
        answer.credentials = again;
        Ok(answer)
    }
}

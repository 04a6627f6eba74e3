//! Doing a thing once: a caller's key, together with a digest of what was asked, is committed with what was made. The same
//! key and question again answers with the same thing and no secret; another question under that key is refused.

use serde::Serialize;

use super::open_task::Settled;
use super::{Broker, BrokerError};
use crate::api::TaskAnswer;
use crate::domain::{AgentId, Digest, EndCause, TaskState, Timestamp, Ttl};
use crate::store::{IdempotencyRecord, Tx};
use crate::sys::{canonical_json, sha256};

/// A question that is answered once, if it came with a key.
pub(super) struct Once(Option<Keyed>);

struct Keyed {
    owner: String,
    key: String,
    request: Digest,
}

impl Once {
    /// From the caller, the route with its ids, the body and the key.
    pub(super) fn new(
        agent: &AgentId,
        route: &str,
        body: &impl Serialize,
        key: Option<String>,
    ) -> Result<Self, BrokerError> {
        let Some(key) = key else { return Ok(Self(None)) };
        let body = canonical_json(body).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let request = sha256(format!("{route}\n{body}"));
        Ok(Self(Some(Keyed { owner: format!("agent:{agent}"), key, request })))
    }

    /// Put it into the change that does the thing.
    pub(super) fn record(&self, tx: &mut Tx, subject: String, now: Timestamp) {
        if let Some(keyed) = &self.0 {
            tx.insert_idempotency(&IdempotencyRecord {
                owner: keyed.owner.clone(),
                key: keyed.key.clone(),
                request: keyed.request,
                subject,
                at: now,
                keep_until: now.plus_millis(i64::from(Ttl::MAX_SECS).saturating_mul(1000)),
            });
        }
    }
}

impl Broker {
    /// The key was used before: answer with what was made then, or refuse.
    pub(super) async fn replay(&self, once: &Once) -> Result<TaskAnswer, BrokerError> {
        let Some(keyed) = &once.0 else { return Err(BrokerError::Internal("a replay without a key".to_owned())) };
        let Some(found) = self.store.find_idempotency(&keyed.owner, &keyed.key).await? else {
            return Err(BrokerError::InProgress);
        };
        if found.request != keyed.request {
            return Err(BrokerError::IdempotencyConflict);
        }
        let id =
            found.subject.parse().map_err(|_| BrokerError::Internal("an idempotency key of no task".to_owned()))?;
        let task = self.store.find_task(id).await?.ok_or(BrokerError::NotFound("task"))?;
        if matches!(task.state, TaskState::Closed { cause: EndCause::Denied, .. }) {
            let requests = self.store.list_requests_of_task(task.id).await?;
            let decisions = self.store.list_decisions_of_task(task.id).await?;
            return Err(Settled { requests, decisions, begun: Vec::new() }.denial(&task));
        }
        self.answer_stored(&task).await
    }
}

//! Asking again for what waits already: like asks of one task are one request, so that people are asked once. What is like is
//! told by the digest of everything an approver is shown; that no second one comes into being is checked in the commit.

use super::facts::{Record, about_request};
use super::{Broker, BrokerError};
use crate::domain::{AccessRequest, Decision, Digest, EventKind, Outcome, Task};

/// Requests of one task looked at; more can never wait, by its agent's limit.
const PAGE: u32 = 1000;

/// A request that waits already and was asked for again.
pub(super) struct Repeated {
    pub request: AccessRequest,
    /// The decision that sent it to people.
    pub decision: Decision,
    /// How many verdicts there are so far.
    pub given: u32,
}

impl Broker {
    /// The request of this task that waits for exactly this, if one does and its time has not come; that it was asked for again is
    /// noted.
    pub(super) async fn waiting_like(
        &self,
        task: &Task,
        decision: &Decision,
        digest: Digest,
        record: &mut Record<'_>,
    ) -> Result<Option<Repeated>, BrokerError> {
        if !matches!(decision.outcome, Outcome::RequireApproval(_)) {
            return Ok(None);
        }
        let now = record.now();
        let waiting = self.store.list_pending_requests_of_task(task.id, PAGE).await?;
        let Some(request) = waiting.into_iter().find(|request| request.digest == digest && !request.is_due(now)) else {
            return Ok(None);
        };
        let decision = self.store.find_decision(request.decision).await?;
        let decision = decision.ok_or_else(|| BrokerError::Internal("a request without its decision".to_owned()))?;
        let given = self.store.list_approvals(request.id).await?.len();
        metrics::counter!("hallpass_requests_repeated_total").increment(1);
        record.note(EventKind::AccessRepeated, about_request(&request), [("digest", digest.to_string().into())]);
        Ok(Some(Repeated { request, decision, given: u32::try_from(given).unwrap_or(u32::MAX) }))
    }
}

//! The evidence of a request's verdicts as one document that stands by itself: it can be checked without us, and long after.

use crate::api::{Evidence, EvidenceVerdict, Proof};
use crate::broker::{Broker, BrokerError, OperatorCaller};
use crate::domain::Approval;
use crate::policy::OperatorAction;
use crate::sys::{canonical_json, sha256};

impl Broker {
    /// The evidence of a request's verdicts, for whoever may review requests or read the audit.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] or [`BrokerError::Forbidden`].
    pub async fn read_evidence(&self, caller: &OperatorCaller, request: &str) -> Result<Evidence, BrokerError> {
        let (request, _) = self.request_and_task(request).await?;
        if self.may(caller, OperatorAction::Audit, None).is_err() {
            self.may(caller, OperatorAction::Review, Some(&request.agent))?;
        }
        let approvals = self.store.list_approvals(request.id).await?;
        let verdicts = approvals.iter().map(verdict).collect::<Result<_, _>>()?;
        let evidence = Evidence {
            digest: String::new(),
            request: request.id.to_string(),
            state: request.state.as_str().to_owned(),
            v: 1,
            verdicts,
        };
        Ok(Evidence { digest: evidence.computed_digest().map_err(internal)?, ..evidence })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn internal(error: serde_json::Error) -> BrokerError {
    BrokerError::Internal(error.to_string())
}

fn verdict(approval: &Approval) -> Result<EvidenceVerdict, BrokerError> {
    // A proof that cannot be read was changed behind our back; evidence that leaves it out would say that there was none.
    let proof: Option<Proof> = approval.proof.as_deref().map(serde_json::from_str).transpose().map_err(internal)?;
    Ok(EvidenceVerdict {
        approval: approval.id.to_string(),
        at: approval.at,
        person: approval.person.to_string(),
        proof,
        reason: approval.reason.clone(),
        request_digest: approval.request_digest.to_string(),
        verdict: approval.verdict.to_string(),
    })
}

impl Evidence {
    /// The digest of all but the digest.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(crate) fn computed_digest(&self) -> Result<String, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Some(members) = value.as_object_mut() {
            members.remove("digest");
        }
        Ok(sha256(canonical_json(&value)?).to_string())
    }
}

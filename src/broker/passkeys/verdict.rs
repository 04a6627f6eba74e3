//! A verdict that a passkey signs. The challenge is the digest of the verdict itself, of what was shown and of a nonce, so the signature
//! is over exactly what is decided; it is used up in the commit of the verdict, and what was signed is kept to be verified by anybody.

use super::{options, to_sign, view};
use crate::api::{AssertionAsk, ChallengeView, Proof, VerdictAsk};
use crate::broker::evaluate::{Asking, current_shown};
use crate::broker::{Broker, BrokerError, OperatorCaller};
use crate::domain::{
    ChallengeId, ChallengeKind, Digest, Message, Passkey, PasskeyFault, PasskeyId, Person, RequestId, Shown,
    StatedNarrow, Verdict, VerdictStatement,
};
use crate::policy::OperatorAction;
use crate::store::Tx;
use crate::sys::{sha256, sorted_json};

/// What a passkey signed, checked: to be written in the commit of the verdict, and kept with it.
#[derive(Debug, Clone)]
pub struct PasskeyProof {
    /// What was signed and by which key, as canonical JSON: all that verifying it takes.
    pub json: String,
    /// The passkey.
    pub passkey: PasskeyId,
    challenge: ChallengeId,
    used: Passkey,
}

impl PasskeyProof {
    /// Use the challenge up and move the passkey's count, in the commit of what was signed.
    pub fn record(&self, tx: &mut Tx) {
        tx.delete_passkey_challenge(self.challenge);
        tx.use_passkey(&self.used);
    }

    /// What names it in the audit.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.json)
    }
}

/// The statement that a verdict is: the same for whoever asks for a challenge and for whoever decides.
///
/// # Errors
/// [`BrokerError::Invalid`] and what is wrong with the reason.
pub(in crate::broker) fn statement_of(
    person: &Person,
    request: RequestId,
    ask: &VerdictAsk,
) -> Result<VerdictStatement, BrokerError> {
    let verdict: Verdict = ask
        .verdict
        .parse()
        .map_err(|_| BrokerError::Invalid("`verdict` is `approve`, `deny` or `break_glass`".to_owned()))?;
    let request_digest = ask
        .request_digest
        .parse()
        .map_err(|_| BrokerError::Invalid("`request_digest` is the digest the request was shown with".to_owned()))?;
    let reason = ask.reason.as_deref().map(str::parse::<Message>).transpose()?;
    let narrow = ask.narrow.as_ref().map(|narrow| {
        let mut drop_scopes = narrow.drop_scopes.clone();
        drop_scopes.sort();
        drop_scopes.dedup();
        StatedNarrow { drop_scopes, ttl_seconds: narrow.ttl_seconds }
    });
    Ok(VerdictStatement {
        narrow,
        person: person.clone(),
        reason: reason.map(|text| text.as_str().to_owned()),
        request,
        request_digest,
        v: 1,
        verdict,
    })
}

impl Broker {
    /// What a passkey of the caller's must sign for this verdict to count. Nothing is decided by asking.
    ///
    /// # Errors
    /// [`BrokerError::ApprovalStale`] when the request is not what was shown, [`BrokerError::AlreadyDecided`],
    /// [`BrokerError::ApprovalExpired`],
    /// [`BrokerError::PasskeyRefused`] when the caller has no passkey, [`BrokerError::NoPasskeysHere`].
    pub async fn challenge_for_verdict(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: &VerdictAsk,
    ) -> Result<ChallengeView, BrokerError> {
        self.out_of_quarantine()?;
        let (request, task) = self.request_and_task(request).await?;
        self.may(caller, OperatorAction::Review, Some(&request.agent))?;
        let party = self.party()?;
        if ask.assertion.is_some() {
            return Err(BrokerError::Invalid("`assertion` is the answer to what is asked for here".to_owned()));
        }
        let statement = statement_of(&caller.operator.person, request.id, ask)?;
        let now = self.clock.now();
        if request.pending().is_none() {
            return Err(BrokerError::AlreadyDecided(request.state.as_str()));
        }
        if request.is_due(now) {
            return Err(BrokerError::ApprovalExpired);
        }
        let bundle = self.policy.current();
        let agent = bundle.agent(&request.agent).ok_or(BrokerError::NotFound("request"))?;
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle: &bundle, agent, task: &task, now, voters: &[], confirmation_key: key };
        let questions = self.store.list_questions(request.id).await?;
        let (plan, shown) = current_shown(self, &asking, &request, &questions)?;
        if sha256(&shown) != statement.request_digest {
            return Err(BrokerError::ApprovalStale);
        }
        let known = self.store.list_passkeys(&caller.operator.person).await?;
        if known.is_empty() {
            return Err(BrokerError::PasskeyRefused(PasskeyFault::NoPasskey));
        }
        let shown = Shown { effect: plan.effect, request: shown };
        let challenge = self.challenge(caller, ChallengeKind::Verdict, written(&statement)?, Some(shown)).await?;
        let to_sign = to_sign(&challenge).map_err(BrokerError::PasskeyRefused)?;
        let get = options::get(party, &to_sign, &known);
        Ok(view(challenge, Some(get), None))
    }

    /// Check that a passkey of the caller's signed exactly this verdict, in answer to a challenge of the last minutes. Nothing is used up
    /// until [`PasskeyProof::record`] is committed.
    ///
    /// # Errors
    /// [`BrokerError::PasskeyRefused`], which is on record; [`BrokerError::NoPasskeysHere`].
    pub async fn check_assertion(
        &self,
        caller: &OperatorCaller,
        statement: &VerdictStatement,
        assertion: &AssertionAsk,
    ) -> Result<PasskeyProof, BrokerError> {
        let party = self.party()?;
        let challenge = self.own_challenge(caller, &assertion.challenge, ChallengeKind::Verdict).await?;
        if challenge.statement != written(statement)? {
            return Err(self.refuse(caller, PasskeyFault::OtherStatement, None).await);
        }
        // What was shown is what the statement names; a row that says otherwise was changed behind our back.
        let shown = challenge.shown.as_ref().filter(|shown| sha256(&shown.request) == statement.request_digest);
        let shown = shown.ok_or_else(|| {
            BrokerError::Internal(format!("challenge {} is not about what its statement names", challenge.id))
        })?;
        let used = self.signed_by_own(caller, &challenge, assertion).await?;
        let proof = Proof {
            authenticator_data: assertion.authenticator_data.clone(),
            client_data: assertion.client_data.clone(),
            cose_key: used.cose_key.clone(),
            credential: used.credential.clone(),
            nonce: challenge.nonce.clone(),
            origins: party.origins().to_vec(),
            registration: used.registration.clone(),
            rp_id: party.id().to_owned(),
            shown: shown.clone(),
            signature: assertion.signature.clone(),
            statement: challenge.statement.clone(),
            v: 1,
        };
        let json = sorted_json(&proof).map_err(|error| BrokerError::Internal(error.to_string()))?;
        Ok(PasskeyProof { json, passkey: used.id, challenge: challenge.id, used })
    }
}

fn written(statement: &VerdictStatement) -> Result<String, BrokerError> {
    sorted_json(statement).map_err(|error| BrokerError::Internal(error.to_string()))
}

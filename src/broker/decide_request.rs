//! A person's verdict on a waiting request. It binds exactly what was shown, by digest, and is sealed; policy is asked again with
//! the verdicts so far, and only a permit makes a grant. Nothing is minted here: that happens when the agent collects.

use super::evaluate::{Asking, current_digest};
use super::facts::{Record, about_request};
use super::idempotency::Once;
use super::insights::count_verdict;
use super::membership::known_among;
use super::open_task::MAX_TRIES;
use super::passkeys::PasskeyProof;
use super::places::{Matter, place_of_breaker};
use super::said::Said;
use super::{Broker, BrokerError, OperatorCaller};
use crate::api::{VerdictAnswer, VerdictAsk};
use crate::domain::{
    AccessRequest, Actor, Agent, Approval, Digest, EventKind, MintPlan, Narrowing, PasskeyFault, RequestId,
    RequestState, StepUp, Task, Verdict,
};
use crate::policy::{Bundle, OperatorAction};
use crate::store::{Control, Store, StoreError, Tx};

/// What a verdict is given on.
pub(super) struct Table<'a> {
    pub bundle: &'a Bundle,
    pub control: &'a Control,
    pub agent: &'a Agent,
    pub task: &'a Task,
    pub request: &'a AccessRequest,
}

impl<'a> Table<'a> {
    const fn matter(&self) -> Matter<'a> {
        Matter { bundle: self.bundle, agent: self.agent, task: self.task, request: self.request }
    }
}

impl Broker {
    /// Record a verdict, and act on it. Starts over when policy or a control changed in between.
    ///
    /// # Errors
    /// [`BrokerError::ApprovalStale`] or [`BrokerError::ApprovalMismatch`] when the request is not what was shown,
    /// [`BrokerError::ApprovalExpired`], [`BrokerError::OwnRequest`], [`BrokerError::NotInGroup`],
    /// [`BrokerError::StepUpRequired`], [`BrokerError::VerdictGiven`], [`BrokerError::AlreadyDecided`].
    pub(super) async fn decide_request(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: VerdictAsk,
        once: &Once,
    ) -> Result<VerdictAnswer, BrokerError> {
        let said = Said::read(ask)?;
        for _ in 0..MAX_TRIES {
            match self.try_decide(caller, request, &said, once).await {
                Err(BrokerError::Changed) => self.look_again().await?,
                done => return done,
            }
        }
        Err(BrokerError::Changed)
    }

    async fn try_decide(
        &self,
        caller: &OperatorCaller,
        request: &str,
        said: &Said,
        once: &Once,
    ) -> Result<VerdictAnswer, BrokerError> {
        self.out_of_quarantine()?;
        let (bundle, control) = (self.policy.current(), self.standing.load().control.clone());
        if control.bundle != Some(bundle.digest()) {
            return Err(BrokerError::Changed);
        }
        let (request, task) = self.request_and_task(request).await?;
        let agent = bundle.agent(&request.agent).ok_or(BrokerError::NotFound("request"))?;
        self.may(caller, OperatorAction::Decide, Some(&agent.id))?;
        let table = Table { bundle: &bundle, control: &control, agent, task: &task, request: &request };
        let (approval, proof) = match self.examine(caller, &table, said).await {
            Ok(examined) => examined,
            Err(error) => return Err(self.note_refused(caller, &request, said.verdict, error).await),
        };
        let actor = Actor::Operator(caller.operator.person.clone());
        self.record_verdict(&table, &approval, proof.as_ref(), actor.clone(), once).await?;
        count_verdict(&approval, &request);
        if approval.verdict != Verdict::Deny {
            self.grant_if_permitted(&table, actor).await?;
        }
        self.signals.changed(task.id);
        let (after, _) = self.request_and_task(&request.id.to_string()).await?;
        match (&after.state, approval.verdict) {
            // Somebody or the clock was faster between the two commits of this yes.
            (RequestState::Denied { reason }, Verdict::Approve | Verdict::BreakGlass) if reason == "by_approver" => {
                Err(BrokerError::AlreadyDecided("denied"))
            }
            (RequestState::Lapsed, _) => Err(BrokerError::ApprovalExpired),
            (RequestState::Withdrawn, _) => Err(BrokerError::AlreadyDecided("withdrawn")),
            _ => self.verdict_answer(&request.id.to_string()).await,
        }
    }

    /// Everything a verdict must be to be recorded; the sealed verdict, and what a passkey signed of it.
    async fn examine(
        &self,
        caller: &OperatorCaller,
        table: &Table<'_>,
        said: &Said,
    ) -> Result<(Approval, Option<PasskeyProof>), BrokerError> {
        let Table { bundle, agent, task, request, .. } = *table;
        let now = self.clock.now();
        let own = known_among(&caller.operator.groups, &self.known(&caller.operator.person).await?);
        let place = match said.verdict {
            Verdict::BreakGlass if said.reason.is_none() => {
                return Err(BrokerError::Invalid("`break_glass` needs a `reason`".to_owned()));
            }
            Verdict::BreakGlass => place_of_breaker(&caller.operator, own, table.matter())?,
            Verdict::Approve | Verdict::Deny => self.place_of(caller, own, table.matter()).await?,
        };
        if request.is_due(now) {
            return Err(BrokerError::ApprovalExpired);
        }
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now, voters: &[], confirmation_key: key };
        let questions = self.store.list_questions(request.id).await?;
        let (plan, digest) = current_digest(self, &asking, request, &questions)?;
        if digest != said.shown {
            let of_another = self.store.is_digest_of_another(request.id, said.shown).await?;
            return Err(if of_another { BrokerError::ApprovalMismatch } else { BrokerError::ApprovalStale });
        }
        let terms = request.terms().cloned().unwrap_or_default();
        let narrow = match (said.verdict, &terms.break_glass) {
            // What is let pass alone lives no longer than policy lets it.
            (Verdict::BreakGlass, Some(glass)) if request.ttl > glass.max_ttl => {
                Some(Narrowing::new(Some(glass.max_ttl), Vec::new(), &request.scopes, request.ttl)?)
            }
            _ => said.narrowing(request)?,
        };
        if said.verdict == Verdict::Approve && terms.reason_required && said.reason.is_none() {
            return Err(BrokerError::Invalid("policy wants a `reason` with a yes to this request".to_owned()));
        }
        if let Some(narrow) = &narrow {
            self.leaves_something(&asking, request, (&plan, digest), narrow).await?;
        }
        let proof = self.stepped_up(caller, request.id, said, terms.step_up).await?;
        let approval = self.sealed(Approval {
            id: self.ids.approval(),
            request: request.id,
            person: caller.operator.person.clone(),
            in_place_of: place.of,
            groups: place.groups,
            verdict: said.verdict,
            narrow,
            request_digest: digest,
            bundle: Some(bundle.digest()),
            plan: Some(plan.digest),
            reason: said.reason.clone(),
            proof: proof.as_ref().map(|proof| proof.json.clone()),
            thought_millis: self.thought_millis(request.id, &caller.operator.person, now).await?,
            at: now,
            seal: None,
        })?;
        Ok((approval, proof))
    }

    /// Refuse a narrower yes that, together with those of others, would leave nothing.
    async fn leaves_something(
        &self,
        asking: &Asking<'_>,
        request: &AccessRequest,
        (plan, digest): (&MintPlan, Digest),
        narrow: &Narrowing,
    ) -> Result<(), BrokerError> {
        let count = self.count_shown(asking, request, (plan.digest, digest)).await?;
        let all = count.narrowings.iter().chain(std::iter::once(narrow));
        match Narrowing::apply(all, &request.scopes, request.ttl) {
            Some(_) => Ok(()),
            None => Err(BrokerError::Invalid(
                "together with what others left out, nothing of the request would be left; deny it, or drop less"
                    .to_owned(),
            )),
        }
    }

    /// Whether we are as sure of the person as policy wants for this yes; what a passkey signed of it, if one did. A no takes
    /// neither.
    async fn stepped_up(
        &self,
        caller: &OperatorCaller,
        request: RequestId,
        said: &Said,
        wanted: StepUp,
    ) -> Result<Option<PasskeyProof>, BrokerError> {
        match (said.verdict, wanted, &said.assertion) {
            (Verdict::Deny, ..) | (_, StepUp::None, None) => Ok(None),
            (_, StepUp::SignIn, None) if self.proved_freshly(&caller.sign_in) => Ok(None),
            (_, wanted, None) => Err(BrokerError::StepUpRequired(wanted)),
            // Who signs with a passkey has just proved who they are, and better.
            (_, _, Some(assertion)) => {
                let statement = said.statement(&caller.operator.person, request)?;
                self.check_assertion(caller, &statement, assertion).await.map(Some)
            }
        }
    }

    /// Record that a verdict was not taken, where it says something about the person or what they were shown.
    async fn note_refused(
        &self,
        caller: &OperatorCaller,
        request: &AccessRequest,
        verdict: Verdict,
        error: BrokerError,
    ) -> BrokerError {
        let Some(reason) = error.verdict_refusal() else { return error };
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Operator(caller.operator.person.clone()));
        record.note(
            EventKind::ApprovalRefused,
            about_request(request),
            [("reason", reason.into()), ("verdict", verdict.as_str().into())],
        );
        match record.commit(self.store.begin("approval.refuse")).await {
            Ok(()) => error,
            Err(unwritten) => unwritten.into(),
        }
    }

    /// What came of the verdicts on a request so far.
    pub(super) async fn verdict_answer(&self, request: &str) -> Result<VerdictAnswer, BrokerError> {
        let bundle = self.policy.current();
        let (request, task) = self.request_and_task(request).await?;
        let agent = bundle.agent(&request.agent).ok_or(BrokerError::NotFound("request"))?;
        let approvals = self.store.list_approvals(request.id).await?;
        let key = request.confirmation_key.as_deref();
        let asking =
            Asking { bundle: &bundle, agent, task: &task, now: self.clock.now(), voters: &[], confirmation_key: key };
        // The yes that counts is for the latest digest that was shown.
        let given = match approvals.last().and_then(|last| Some((last.plan?, last.request_digest))) {
            Some(shown) => self.count_shown(&asking, &request, shown).await?.voters.len(),
            None => 0,
        };
        let given = u32::try_from(given).unwrap_or(u32::MAX);
        let message = match request.state.as_str() {
            "granted" => "Granted. The agent may collect its credential now.".to_owned(),
            "denied" => "Denied. The agent is told.".to_owned(),
            _ => format!("Your yes is recorded; {given} so far. More people must agree."),
        };
        Ok(VerdictAnswer { id: request.id.to_string(), state: request.state.as_str().to_owned(), given, message })
    }

    /// The verdict becomes durable together with its event; one no ends the request in the same commit.
    async fn record_verdict(
        &self,
        table: &Table<'_>,
        approval: &Approval,
        proof: Option<&PasskeyProof>,
        actor: Actor,
        once: &Once,
    ) -> Result<(), BrokerError> {
        let request = table.request;
        let earlier = self.store.list_approvals(request.id).await?;
        let is_stale = |one: &Approval| one.person == approval.person && one.request_digest != approval.request_digest;
        let stale = earlier.into_iter().find(is_stale);
        let mut record = Record::new(&self.ids, approval.at, actor);
        let mut tx = self.store.begin("approval.record");
        tx.expect_control(table.control);
        match &stale {
            // It was about something else than is known now, so that it counts for nothing; both are in the audit.
            Some(stale) => tx.replace_approval(stale, approval),
            None => tx.insert_approval(approval),
        }
        if let Some(proof) = proof {
            proof.record(&mut tx);
        }
        once.record(&mut tx, || request.id.to_string(), approval.at);
        note_verdict(approval, proof, request, &mut record)?;
        match approval.verdict {
            Verdict::Approve | Verdict::BreakGlass => tx.check_request(request),
            Verdict::Deny => put_denied(approval, request, &mut tx, &mut record)?,
        }
        let committed = record.commit(tx).await;
        crate::sys::killpoint!(ApprovalAfterCommit);
        let is_there = async |store: &Store| {
            Ok(store.list_approvals(request.id).await?.iter().any(|known| known.id == approval.id))
        };
        match self.read_back(committed, is_there).await {
            Ok(()) => Ok(()),
            Err(StoreError::ControlChanged(_)) => Err(BrokerError::Changed),
            Err(error @ StoreError::Conflict { table: "idempotency" }) => Err(error.into()),
            Err(StoreError::Conflict { table: "approval" }) => Err(BrokerError::VerdictGiven),
            Err(StoreError::Conflict { table: "passkey_challenge" | "passkey" }) => {
                Err(BrokerError::PasskeyRefused(PasskeyFault::UnknownChallenge))
            }
            // Whoever comes second is told what it came to.
            Err(StoreError::Conflict { .. }) => {
                let (after, _) = self.request_and_task(&request.id.to_string()).await?;
                Err(BrokerError::settled(after.state.as_str()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn note_verdict(
    approval: &Approval,
    proof: Option<&PasskeyProof>,
    request: &AccessRequest,
    record: &mut Record<'_>,
) -> Result<(), BrokerError> {
    let narrow = approval.narrow.as_ref().map(serde_json::to_string).transpose();
    let narrow = narrow.map_err(|error| BrokerError::Internal(error.to_string()))?;
    record.note(
        EventKind::ApprovalRecorded,
        about_request(request),
        [
            ("digest", approval.request_digest.to_string().into()),
            ("groups", approval.groups.clone().into()),
            ("narrow", narrow.unwrap_or_default().into()),
            ("passkey", proof.map(|proof| proof.passkey.to_string()).unwrap_or_default().into()),
            ("proof", proof.map(|proof| proof.digest().to_string()).unwrap_or_default().into()),
            ("reason", approval.reason.clone().unwrap_or_default().into()),
            ("seal", approval.seal.clone().unwrap_or_default().into()),
            ("verdict", approval.verdict.as_str().into()),
        ],
    );
    Ok(())
}

fn put_denied(
    approval: &Approval,
    request: &AccessRequest,
    tx: &mut Tx,
    record: &mut Record<'_>,
) -> Result<(), BrokerError> {
    let denied = request.clone().deny("by_approver", approval.at);
    let denied = denied.map_err(|refusal| BrokerError::settled(refusal.state))?;
    tx.update_request(request, &denied);
    record.note(EventKind::AccessDenied, about_request(request), [("reason", "by_approver".into())]);
    Ok(())
}

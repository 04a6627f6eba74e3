//! Minting: intent, act, fact, deliver. A minter without an outside call needs one commit; every other acts in a task of its
//! own between two commits, so that neither a lost client nor a crash leaves a credential nobody answers for.

use std::sync::Arc;
use std::time::Duration;

use super::evaluate::Asking;
use super::facts::{Record, about_grant, about_lease};
use super::{Broker, BrokerError};
use crate::api::{Credential, RevocationView};
use crate::domain::{
    Actor, DecisionId, EndCause, EventKind, Grant, Lease, LeaseId, LeaseRecord, LeaseState, MINT_TIMEOUT_MILLIS,
    MintPlan, Subjects, Task, Timestamp,
};
use crate::minter::{MintError, Minted, Minter};
use crate::store::{Control, StoreError};
use crate::sys::ExposeSecret as _;

/// How long one mint may take; shorter than the deadline after which a sweep takes it for lost.
const MINT_TIMEOUT: Duration = Duration::from_millis(MINT_TIMEOUT_MILLIS as u64);

/// A credential that may leave the house once its fact is durable.
pub(super) struct Ready {
    pub lease: Lease,
    pub minted: Minted,
    pub minter: Arc<dyn Minter>,
}

impl Ready {
    /// As it goes over the wire, once.
    pub(super) fn into_credential(self) -> Credential {
        let revocability = self.minter.revocability();
        Credential {
            id: self.lease.id.to_string(),
            request: self.lease.request.to_string(),
            kind: self.minted.kind.to_owned(),
            scopes: self.lease.scopes.iter().map(ToString::to_string).collect(),
            values: self
                .minted
                .values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.expose_secret().to_owned()))
                .collect(),
            usable_until: self.lease.ends_at,
            native_end: self.lease.native_end,
            revocation: RevocationView { how: revocability.how.to_owned(), strength: revocability.strength.to_owned() },
        }
    }
}

/// A lease whose intent is part of a change that is about to be committed.
pub(super) enum Begun {
    /// Minted already without an outside call: fact and intent go into the same commit.
    Done(Box<Ready>),
    /// To be minted once the intent is durable.
    Intended { lease: Box<Lease>, plan: Box<MintPlan>, minter: Arc<dyn Minter> },
}

impl Begun {
    /// The lease as it must be inserted.
    pub(super) const fn lease(&self) -> &Lease {
        match self {
            Self::Done(ready) => &ready.lease,
            Self::Intended { lease, .. } => lease,
        }
    }
}

impl Broker {
    /// Begin a mint on a grant, with a plan made for this very lease: make the lease, and the credential too where that needs
    /// no outside call. Nothing is durable and nothing leaves before the record is committed.
    pub(super) async fn begin_mint(
        &self,
        lease: LeaseId,
        grant: &Grant,
        plan: MintPlan,
        asking: &Asking<'_>,
        record: &mut Record<'_>,
    ) -> Result<Begun, BrokerError> {
        let minter = Arc::clone(self.minter(&grant.backend)?);
        let lease = Lease::new(LeaseRecord {
            id: lease,
            grant: grant.id,
            request: grant.request,
            task: grant.task,
            agent: grant.agent.clone(),
            backend: grant.backend.clone(),
            scopes: grant.scopes.clone(),
            plan: plan.digest,
            handle: plan.handle.clone(),
            intent_at: asking.now,
            ends_at: plan.ends_at,
            native_end: plan.native_end,
            fence: 1,
            state: LeaseState::Minting,
        })
        .map_err(|corrupt| BrokerError::Internal(corrupt.to_string()))?;
        record.note(
            EventKind::CredentialMinting,
            about_lease(&lease),
            [
                ("backend", lease.backend.as_str().into()),
                ("plan", plan.digest.to_string().into()),
                ("usable_until", lease.ends_at.to_string().into()),
            ],
        );
        if !minter.is_offline() {
            return Ok(Begun::Intended { lease: Box::new(lease), plan: Box::new(plan), minter });
        }
        let minted = minter.mint(&plan).await?;
        let lease = note_minted(lease, &minted, asking.now, record)?;
        Ok(Begun::Done(Box::new(Ready { lease, minted, minter })))
    }

    /// After the intent is durable: act, record the fact, let it work, and hand it over. The work is detached: whoever waits
    /// may go away.
    pub(super) async fn finish_mint(
        &self,
        begun: Begun,
        task: &Task,
        grant: &Grant,
        seen: Control,
    ) -> Result<Ready, BrokerError> {
        let (lease, plan, minter) = match begun {
            Begun::Done(ready) => return Ok(*ready),
            Begun::Intended { lease, plan, minter } => (*lease, *plan, minter),
        };
        let (broker, task, grant) = (self.clone(), task.clone(), grant.clone());
        let work = tokio::spawn(async move { broker.mint_outside(lease, plan, minter, task, grant, seen).await });
        work.await.unwrap_or_else(|panicked| Err(BrokerError::Internal(panicked.to_string())))
    }

    async fn mint_outside(
        &self,
        lease: Lease,
        plan: MintPlan,
        minter: Arc<dyn Minter>,
        task: Task,
        grant: Grant,
        seen: Control,
    ) -> Result<Ready, BrokerError> {
        let outcome = tokio::time::timeout(MINT_TIMEOUT, minter.mint(&plan)).await;
        let minted = match outcome.unwrap_or_else(|_| Err(MintError::Unavailable("no answer in time".to_owned()))) {
            Ok(minted) => minted,
            Err(error) => {
                self.mint_failed(lease, &error.to_string()).await;
                return Err(error.into());
            }
        };
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, Actor::Agent(task.agent.clone()));
        let live = note_minted(lease.clone(), &minted, now, &mut record)?;
        // The fact holds only if nothing came in between: kill switch, policy, suspension, or the end of task or grant.
        let mut tx = self.store.begin("mint.fact");
        tx.expect_control(&seen);
        tx.check_task(&task);
        tx.check_grant(&grant);
        tx.update_lease(&lease, &live);
        match record.commit(tx).await {
            Ok(()) => {}
            // The outcome decides whether the credential may live: read it back before acting on it.
            Err(StoreError::Unknown(_))
                if self.store.find_lease(live.id).await?.is_some_and(|row| row.is_active(now)) => {}
            Err(error) => {
                drop(minted);
                self.mint_failed(lease, "the fact could not be recorded").await;
                return Err(self.settle_store_error(error).await);
            }
        }
        if let Err(error) = minter.activate(&live.handle).await {
            self.end_leases_of(vec![live], EndCause::Aborted, Actor::Broker).await?;
            return Err(error.into());
        }
        // A revocation may have run between the fact and the activation: look again before anything leaves.
        match self.store.find_lease(live.id).await? {
            Some(row) if row.fence == live.fence => Ok(Ready { lease: live, minted, minter }),
            _ => {
                minter.revoke(&live.handle, live.native_end).await?;
                Err(BrokerError::TaskClosed("it was ended while the credential was being minted".to_owned()))
            }
        }
    }

    /// Record that a mint failed, and have the sweep make sure that nothing is left of it. If even this cannot be written, the
    /// sweep finds a lease that is still `minting` past its deadline, so nothing is lost.
    async fn mint_failed(&self, lease: Lease, why: &str) {
        let now = self.clock.now();
        let Ok(ending) = lease.clone().end(EndCause::Aborted, now) else { return };
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        record.note(EventKind::CredentialFailed, about_lease(&lease), [("why", why.into())]);
        let mut tx = self.store.begin("mint.failed");
        tx.update_lease(&lease, &ending);
        if let Err(error) = record.commit(tx).await {
            tracing::error!(lease.id = %lease.id, %error, "a failed mint could not be recorded; the sweep will find it");
        }
        self.wake_sweeps();
    }
}

fn note_minted(lease: Lease, minted: &Minted, now: Timestamp, record: &mut Record<'_>) -> Result<Lease, BrokerError> {
    let live =
        lease.minted(minted.fingerprint.clone(), now).map_err(|refusal| BrokerError::Internal(refusal.to_string()))?;
    record.note(
        EventKind::CredentialMinted,
        about_lease(&live),
        [("fingerprint", minted.fingerprint.as_str().into()), ("type", minted.kind.into())],
    );
    Ok(live)
}

/// Note that a grant was given.
pub(super) fn note_granted(grant: &Grant, decision: DecisionId, record: &mut Record<'_>) {
    let subjects = Subjects { decision: Some(decision), ..about_grant(grant) };
    record.note(
        EventKind::AccessGranted,
        subjects,
        [
            ("scopes", grant.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().into()),
            ("until", grant.until.to_string().into()),
        ],
    );
}

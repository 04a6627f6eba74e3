//! Minting: intent, act, fact, deliver. A minter without an outside call needs one commit, made here; every other acts in a
//! task of its own between two commits (`mint_outside.rs`), so that neither a lost client nor a crash leaves a credential nobody
//! answers for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bulkhead::MintPermit;
use super::evaluate::Asking;
use super::facts::{Record, about_grant, about_lease};
use super::sealed::Sealed;
use super::{Broker, BrokerError};
use crate::api::{Credential, RevocationView};
use crate::domain::{
    DecisionId, EventKind, Grant, Lease, LeaseId, LeaseRecord, LeaseState, MintPlan, Subjects, Timestamp,
};
use crate::minter::{Minted, Minter};
use crate::store::Tx;
use crate::sys::{DeliveryKey, ExposeSecret as _};

/// A credential that may leave the house once its fact is durable.
pub(super) struct Ready {
    pub lease: Lease,
    pub minted: Minted,
    pub minter: Arc<dyn Minter>,
    /// Instead of its values, if its agent gave a key.
    pub sealed: Option<Sealed>,
}

impl Ready {
    /// As it goes over the wire, once.
    pub(super) fn into_credential(self) -> Credential {
        match self.sealed {
            Some(sealed) => sealed.credential,
            None => Self::credential(&self.lease, &self.minted, &*self.minter),
        }
    }

    /// A credential with its values.
    pub(super) fn credential(lease: &Lease, minted: &Minted, minter: &dyn Minter) -> Credential {
        let revocability = minter.revocability();
        let values: BTreeMap<String, String> =
            minted.values.iter().map(|(name, value)| ((*name).to_owned(), value.expose_secret().to_owned())).collect();
        Credential {
            id: lease.id.to_string(),
            request: lease.request.to_string(),
            kind: minted.kind.to_owned(),
            scopes: lease.scopes.iter().map(ToString::to_string).collect(),
            values,
            sealed: None,
            usable_until: lease.ends_at,
            native_end: lease.native_end,
            revocation: RevocationView { how: revocability.how.to_owned(), strength: revocability.strength.to_owned() },
        }
    }
}

/// A lease whose intent is part of a change that is about to be committed.
pub(super) enum Begun {
    /// Minted already without an outside call: fact and intent go into the same commit.
    Done(Box<Ready>),
    /// To be minted once the intent is durable.
    Intended { lease: Box<Lease>, plan: Box<MintPlan>, minter: Arc<dyn Minter>, permit: MintPermit },
}

impl Begun {
    /// The lease as it must be inserted.
    pub(super) const fn lease(&self) -> &Lease {
        match self {
            Self::Done(ready) => &ready.lease,
            Self::Intended { lease, .. } => lease,
        }
    }

    /// Put it into the change: the lease, and what is kept of its credential.
    pub(super) fn insert(&self, tx: &mut Tx) -> Result<(), BrokerError> {
        tx.insert_lease(self.lease());
        if let Self::Done(ready) = self
            && let Some(sealed) = &ready.sealed
        {
            tx.insert_sealed_delivery(&sealed.to_row(&ready.lease)?);
        }
        Ok(())
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
        seal_to: Option<&DeliveryKey>,
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
            let permit = self.mint_permit(&grant.backend)?;
            return Ok(Begun::Intended { lease: Box::new(lease), plan: Box::new(plan), minter, permit });
        }
        let minted = minter.mint(&plan).await?;
        let mut lease = note_minted(lease, &minted, asking.now, record)?;
        let sealed = seal_to.map(|key| Sealed::new(key, &lease, &minted, &*minter)).transpose()?;
        if let Some(sealed) = &sealed {
            // It works from this commit on and is kept for its agent by the same: no connection can lose it.
            lease = lease.delivered(asking.now).map_err(|refusal| BrokerError::Internal(refusal.to_string()))?;
            let data = [("sealed_to", sealed.to.as_str().into())];
            record.note(EventKind::CredentialDelivered, about_lease(&lease), data);
        }
        Ok(Begun::Done(Box::new(Ready { lease, minted, minter, sealed })))
    }
}

/// Note that a credential exists.
pub(super) fn note_minted(
    lease: Lease,
    minted: &Minted,
    now: Timestamp,
    record: &mut Record<'_>,
) -> Result<Lease, BrokerError> {
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

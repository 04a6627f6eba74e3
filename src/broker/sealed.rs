//! Sealed delivery: a credential encrypted to a key of its agent's, kept until its lease ends, and answered again to the
//! `Idempotency-Key` it was asked for with. It is sealed before its lease is on record as minted, in memory that is wiped, so the
//! database never sees what it opens to.

use serde::Serialize as _;
use zeroize::Zeroizing;

use super::mint::Ready;
use super::{Broker, BrokerError};
use crate::api::Credential;
use crate::domain::{Lease, LeaseId, LeaseState, Task};
use crate::minter::{Minted, Minter};
use crate::store::SealedDelivery;
use crate::sys::DeliveryKey;

/// A credential as it is answered, its values sealed.
#[derive(Clone)]
pub(super) struct Sealed {
    /// With `sealed` and without values.
    pub credential: Credential,
    /// The thumbprint of the key it is sealed to.
    pub to: String,
}

impl Sealed {
    /// Seal a credential: what is inside is the very object that an answer without a key would carry.
    pub(super) fn new(
        key: &DeliveryKey,
        lease: &Lease,
        minted: &Minted,
        minter: &dyn Minter,
    ) -> Result<Self, BrokerError> {
        let mut credential = Ready::credential(lease, minted, minter);
        let mut plain = Zeroizing::new(Vec::with_capacity(4096));
        let written = credential.serialize(&mut serde_json::Serializer::new(&mut *plain));
        for value in std::mem::take(&mut credential.values).into_values() {
            drop(Zeroizing::new(value));
        }
        written.map_err(|error| BrokerError::Internal(error.to_string()))?;
        let sealed = key.seal(&plain).map_err(|error| BrokerError::Internal(error.to_string()))?;
        credential.sealed = Some(sealed);
        Ok(Self { credential, to: key.thumbprint() })
    }

    /// As it is kept until the lease ends.
    pub(super) fn to_row(&self, lease: &Lease) -> Result<SealedDelivery, BrokerError> {
        let sealed =
            serde_json::to_string(&self.credential).map_err(|error| BrokerError::Internal(error.to_string()))?;
        Ok(SealedDelivery { lease: lease.id, task: lease.task, sealed, keep_until: lease.ends_at })
    }
}

impl Broker {
    /// The sealed credentials of these leases that still work, to be answered again.
    ///
    /// # Errors
    /// [`BrokerError::InProgress`] while one of them is being minted, or was and nobody let it work yet;
    /// [`BrokerError::KillSwitch`] while the kill switch is thrown.
    pub(super) async fn sealed_again(&self, task: &Task, leases: &[LeaseId]) -> Result<Vec<Credential>, BrokerError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.standing()?;
        let now = self.clock.now();
        let mut again = Vec::with_capacity(leases.len());
        let kept = self.store.list_sealed_deliveries(task.id).await?;
        for lease in self.store.list_leases_of_task(task.id).await? {
            if !leases.contains(&lease.id) || now >= lease.ends_at {
                continue;
            }
            match &lease.state {
                LeaseState::Live { delivered_at, .. } => {
                    if delivered_at.is_none() && !self.deliveries.is_handed_over(lease.id) {
                        return Err(BrokerError::InProgress);
                    }
                }
                LeaseState::Minting => return Err(BrokerError::InProgress),
                LeaseState::Ending { .. } | LeaseState::Ended { .. } => continue,
            }
            if let Some(row) = kept.iter().find(|row| row.lease == lease.id) {
                let credential = serde_json::from_str(&row.sealed)
                    .map_err(|error| BrokerError::Internal(format!("a sealed credential: {error}")))?;
                again.push(credential);
            }
        }
        Ok(again)
    }
}

//! What it takes to end a credential that no name ends: sealed under the key-encryption key for its lease alone, kept from the fact
//! to the end, and opened only to tell the backend. If the fact cannot be recorded nothing is kept, so the credential is ended at
//! once, while its secret is still in memory.

use super::bulkhead::in_time;
use super::mint_outside::CALL_TIMEOUT;
use super::{Broker, BrokerError};
use crate::domain::{Lease, LeaseId, Timestamp};
use crate::minter::{CredentialRef, MintError, Minted, Minter, Revoked};
use crate::store::{KeptSecret, StoreError};
use crate::sys::{ExposeSecret as _, SecretString};

/// How often a backend is told to end a credential of which nothing can be kept.
const MAX_TRIES: usize = 3;

/// What it is sealed as: what was sealed for one lease is of no use to another.
fn label(lease: LeaseId) -> String {
    format!("kept secret\0{lease}")
}

impl Broker {
    /// What must be kept of a credential that was minted, sealed.
    pub(super) fn seal_kept(
        &self,
        live: &Lease,
        minted: &Minted,
        minter: &dyn Minter,
    ) -> Result<Option<KeptSecret>, BrokerError> {
        let Some(kept) = minted.kept.as_ref().filter(|_| minter.keeps()) else { return Ok(None) };
        let sealed = self.kek.seal(&label(live.id), kept.expose_secret().as_bytes(), &*self.entropy)?;
        let sealed = data_encoding::BASE64.encode(&sealed);
        Ok(Some(KeptSecret { lease: live.id, sealed, keep_until: live.native_end }))
    }

    /// What was kept of a lease's credential, to tell its backend with. Nothing is needed after its native end, so that no lost
    /// key-encryption key keeps a lease from ending.
    pub(super) async fn open_kept(&self, lease: &Lease, now: Timestamp) -> Result<Option<SecretString>, MintError> {
        if now >= lease.native_end || !self.minters.find(&lease.backend).is_some_and(|minter| minter.keeps()) {
            return Ok(None);
        }
        let found = self.endings.find_kept_secret(lease.id).await.map_err(|error| match &error {
            StoreError::Corrupt(_) => MintError::Misconfigured(error.to_string()),
            StoreError::Unavailable(_)
            | StoreError::Unknown(_)
            | StoreError::Conflict { .. }
            | StoreError::ControlChanged(_)
            | StoreError::LimitReached(_) => MintError::Unreached(error.to_string()),
        })?;
        found.map(|row| self.unseal_kept(&row)).transpose()
    }

    fn unseal_kept(&self, row: &KeptSecret) -> Result<SecretString, MintError> {
        let corrupt = || MintError::Misconfigured(format!("what is kept to end {} is corrupt", row.lease));
        let sealed = data_encoding::BASE64.decode(row.sealed.as_bytes()).map_err(|_| corrupt())?;
        let opened = self.kek.unseal(&label(row.lease), &sealed);
        let opened = opened.map_err(|error| MintError::Misconfigured(error.to_string()))?;
        std::str::from_utf8(&opened).map(SecretString::from).map_err(|_| corrupt())
    }

    /// The fact of this mint could not be recorded: end what only its secret can end, and wipe the secret; how we know that it is
    /// gone, if we do.
    pub(super) async fn undo(&self, lease: &Lease, minted: Minted, minter: &dyn Minter) -> Option<String> {
        // The credential is wiped before anything is waited for.
        let Minted { kept, values, .. } = minted;
        drop(values);
        let kept = kept.filter(|_| minter.keeps())?;
        let credential = CredentialRef::of_lease(lease).with(Some(&kept));
        for _ in 0..MAX_TRIES {
            match in_time(CALL_TIMEOUT, self.make_gone(minter, credential)).await {
                Ok(Revoked::Gone(proof)) => return Some(proof),
                Ok(Revoked::EndsBy(_)) => return None,
                Err(error) => {
                    tracing::warn!(lease.id = %lease.id, %error, "a credential that is not on record could not be ended yet");
                }
            }
        }
        None
    }
}

/// How we know that a mint that failed made nothing, of a backend where a name does not end what it may have made.
pub(super) fn nothing_made(minter: &dyn Minter, error: &MintError) -> Option<String> {
    let proof = || format!("nothing was minted: {error}");
    match error {
        MintError::Unavailable(_) => None,
        MintError::Unreached(_)
        | MintError::Refused(_)
        | MintError::TargetChanged(_)
        | MintError::Unsupported(_)
        | MintError::Misconfigured(_) => minter.keeps().then(proof),
    }
}

//! Minters: they make and end credentials, each in one backend. The contract is here; each kind is one file, and
//! `registry.rs` is the only place that knows them all.

mod aws;
mod github;
mod jwt;
mod kubernetes;
mod listing;
mod oauth;
mod postgres;
mod redis;
mod registry;
mod sandbox;
#[cfg(debug_assertions)]
mod sandbox_outside;
mod settings;
mod ssh;
mod status_list;
mod template;
mod web;
mod x509;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::{
    AgentId, CatalogueEntry, EndCause, Handle, Lease, LeaseId, LeaseState, MintPlan, Scope, TaskId, Timestamp, Ttl,
};
use crate::sys::keys::KeyAlgorithm;
use crate::sys::{SecretString, sha256};

pub use registry::{Builder, KINDS, MinterDeps, Minters};
pub use sandbox::{Fault, HeldAnswer, Honoured, SandboxBackend, SandboxCall};
pub use settings::BackendSettings;
pub use status_list::{StatusPlace, StatusPlaces};

/// What a minter is asked to make: scopes with their catalogue entries, for one lease.
#[derive(Debug, Clone)]
pub struct MintOrder<'a> {
    /// The lease; becomes the credential's external name. Not part of the plan's digest.
    pub lease: LeaseId,
    /// The task. Not part of the plan's digest.
    pub task: TaskId,
    /// Who will hold it.
    pub agent: &'a AgentId,
    /// On whose behalf, as the agent asserts.
    pub beneficiary: Option<&'a str>,
    /// Each scope with its entry; all of one backend and one bucket, never empty.
    pub scopes: Vec<(&'a Scope, &'a CatalogueEntry)>,
    /// How long one credential lives. Part of the plan's digest.
    pub ttl: Ttl,
    /// The present. Not part of the plan's digest.
    pub now: Timestamp,
    /// When it must end: `now + ttl`, or the grant's end if that is earlier. Not part of the plan's digest.
    pub ends_at: Timestamp,
    /// The public key to bind it to, as canonical JWK JSON. Part of the plan's digest.
    pub confirmation_key: Option<&'a str>,
    /// Its place in a Token Status List, where the minter has such lists ([`Minter::has_status_lists`]). Not part of the plan's
    /// digest.
    pub status: Option<StatusPlace>,
}

/// What was minted. The material leaves the process once and is never stored.
#[derive(Debug)]
pub struct Minted {
    /// The credential as its holder gets it: a `type` word and named values, e.g. `jwt` and `access_token`.
    pub kind: &'static str,
    /// Named values of the credential; some are secret, so all are treated so.
    pub values: BTreeMap<&'static str, SecretString>,
    /// The secret's SHA-256 in hexadecimal (`sys::fingerprint`).
    pub fingerprint: String,
    /// What it takes to end it, where a name does not do ([`Minter::keeps`]); kept sealed until it has ended.
    pub kept: Option<SecretString>,
}

/// A credential that was minted, as the broker remembers it.
#[derive(Debug, Clone, Copy)]
pub struct CredentialRef<'a> {
    /// The name by which it can be ended.
    pub handle: &'a Handle,
    /// When its backend stops honouring it by itself: the plan's, as the lease keeps it.
    pub native_end: Timestamp,
    /// What was kept of it, where its minter keeps something and the mint came so far; never to be logged.
    pub kept: Option<&'a SecretString>,
    /// Since when it must not work any more, if it is ending.
    pub ending_since: Option<Timestamp>,
}

impl<'a> CredentialRef<'a> {
    /// That of a plan.
    #[must_use]
    pub const fn of_plan(plan: &'a MintPlan) -> Self {
        Self { handle: &plan.handle, native_end: plan.native_end, kept: None, ending_since: None }
    }

    /// That of a lease.
    #[must_use]
    pub fn of_lease(lease: &'a Lease) -> Self {
        let ending_since = match lease.state {
            LeaseState::Ending { since, .. } => Some(since),
            LeaseState::Minting | LeaseState::Live { .. } | LeaseState::Ended { .. } => None,
        };
        Self { handle: &lease.handle, native_end: lease.native_end, kept: None, ending_since }
    }

    /// The same with what was kept of it.
    #[must_use]
    pub const fn with(self, kept: Option<&'a SecretString>) -> Self {
        Self { kept, ..self }
    }
}

/// A credential whose end was put on record before it came to its own, for a revocation list.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    /// The credential.
    pub credential: CredentialRef<'a>,
    /// Since when: since its end was put on record, or, when its lease has ended, since then.
    pub since: Timestamp,
    /// Why.
    pub cause: EndCause,
}

/// What asking a backend to end a credential achieved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// It does not work any more; the text says how we know.
    Gone(String),
    /// The backend cannot end it at once; it ends by then.
    EndsBy(Timestamp),
}

/// Whether a backend still honours a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It does.
    Honoured,
    /// It does not.
    Refused,
    /// It cannot be asked.
    Unknown,
}

/// Something a backend holds that carries our deployment's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name by which it can be ended.
    pub handle: Handle,
    /// The lease it says it belongs to; `None` when that cannot be read.
    pub lease: Option<LeaseId>,
}

/// What a backend holds that carries our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inventory {
    /// These, and no others.
    Complete(Vec<Found>),
    /// This backend cannot list.
    Unlistable,
}

/// Our deployment's mark, which every object that a minter makes carries where its backend can list: 16 hexadecimal digits
/// that follow from our public URL, so that deployments that share a backend tell theirs apart.
#[must_use]
pub fn mark(issuer_url: &str) -> String {
    sha256(issuer_url).to_string().trim_start_matches("sha256:").chars().take(16).collect()
}

/// Which credentials its verifiers must not honour though they have not come to their own end, as those who ask no broker for
/// each fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How surely and how fast a backend can end a credential, told before it is minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocability {
    /// How, in words, e.g. `introspection answers inactive at once`.
    pub how: &'static str,
    /// `immediate`, `within_seconds`, `within_minutes`, or `at_native_end`.
    pub strength: &'static str,
}

/// What went wrong, named for what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The backend did not answer; try again later. It may have acted.
    #[error("the backend is unavailable: {0}")]
    Unavailable(String),
    /// The backend was not reached or did not take the call, so nothing was done; try again later.
    #[error("the backend cannot take it now: {0}")]
    Unreached(String),
    /// The backend refuses; an operator must look at it.
    #[error("the backend refused: {0}")]
    Refused(String),
    /// What the plan is about is not what it was any more, e.g. a repository that was renamed; a person must look at it again.
    #[error("the target has changed: {0}")]
    TargetChanged(String),
    /// This backend cannot express what is asked; ask for something else.
    #[error("the backend cannot express it: {0}")]
    Unsupported(String),
    /// The catalogue entry or the settings are wrong; an operator must mend them.
    #[error("misconfigured: {0}")]
    Misconfigured(String),
}

/// Mints and ends credentials in one backend.
///
/// Whoever calls gives up on a mint after [`crate::domain::MINT_TIMEOUT_MILLIS`], and counts on that nothing of a call lands
/// later than [`crate::domain::MAX_IN_FLIGHT_MILLIS`] after it was given up: what ends is looked at again then, and not after.
/// So each outside call must carry a limit of its backend's own that is shorter than ours, e.g. a `statement_timeout` or an HTTP
/// deadline; a limit on our side only stops us from waiting.
#[async_trait]
pub trait Minter: Send + Sync {
    /// Its kind, e.g. `jwt`.
    fn kind(&self) -> &'static str;

    /// Whether minting needs no outside call, so that intent and fact can be committed together before delivery.
    fn is_offline(&self) -> bool {
        false
    }

    /// Whether what ends its credentials is known only once they are minted (`Minted::kept`), and not by name. The broker keeps it
    /// sealed from the commit that records the credential to the one that records its end. One of which nothing was kept, because
    /// the process died in between, ends at its native end. Not for minters that are offline.
    ///
    /// Such a minter says [`MintError::Unavailable`] of a mint only if a credential may exist that it has not ended: after every
    /// other error there is none.
    fn keeps(&self) -> bool {
        false
    }

    /// The algorithm of the broker's signing key it mints with, if it does; such a key is then kept and published.
    fn signs_with(&self) -> Option<KeyAlgorithm> {
        None
    }

    /// How it can end what it mints.
    fn revocability(&self) -> Revocability;

    /// Scopes may share one credential when their entries fall into the same bucket (e.g. the same audience).
    ///
    /// # Errors
    /// [`MintError::Misconfigured`] when the entry's effect is not one of this minter's.
    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError>;

    /// Work out what would be minted. Pure: no I/O, same order in, same plan out; the digest covers the effect only.
    ///
    /// # Errors
    /// [`MintError::Unsupported`] or [`MintError::Misconfigured`].
    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError>;

    /// Make it so, not yet usable where the backend can do that. Safe to repeat for the same plan.
    ///
    /// # Errors
    /// [`MintError`]; after `Unavailable` the backend may have acted.
    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError>;

    /// Let it work, once the fact is durable. Most backends have nothing to do.
    ///
    /// # Errors
    /// [`MintError`].
    async fn activate(&self, _handle: &Handle) -> Result<(), MintError> {
        Ok(())
    }

    /// End it. Safe to repeat, and safe when nothing was ever minted.
    ///
    /// # Errors
    /// [`MintError`]; it may still work, and must be tried again.
    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError>;

    /// Whether something is left at the backend once a credential is not honoured any more, which [`Minter::cleanup`] removes.
    fn needs_cleanup(&self) -> bool {
        false
    }

    /// Remove what is left of a credential that is not honoured any more. Safe to repeat.
    ///
    /// # Errors
    /// [`MintError`]; something is left, and it is tried again later.
    async fn cleanup(&self, _credential: CredentialRef<'_>) -> Result<(), MintError> {
        Ok(())
    }

    /// What an operator must mend before this backend can mint and end, in sentences that say what to do; empty when nothing.
    /// Asks the backend for reachability, rights and time, and changes nothing there.
    ///
    /// # Errors
    /// [`MintError`] when the backend cannot be asked at all.
    async fn check(&self) -> Result<Vec<String>, MintError> {
        Ok(Vec::new())
    }

    /// The list of what must not be honoured, of the credentials whose end was put on record before they came to their own; `None`
    /// when verifiers of this kind fetch none, whatever there is to list. Needs no outside call.
    fn revocation_list(&self, _over: &[Over<'_>], _now: Timestamp) -> Option<RevocationList> {
        None
    }

    /// Put the list where verifiers find it, besides our own door, and remember what they can know by now: until then none of
    /// what it lists is [`Revoked::Gone`]. Called every second or so on each replica, with a list that may be the same.
    ///
    /// # Errors
    /// [`MintError`]; it is tried again.
    async fn publish(&self, _over: &[Over<'_>], _list: &RevocationList, _now: Timestamp) -> Result<(), MintError> {
        Ok(())
    }

    /// Whether its verifiers fetch Token Status Lists from us, so that each of its credentials has a place in one.
    fn has_status_lists(&self) -> bool {
        false
    }

    /// One of its Token Status Lists, of the credentials whose end was put on record before they came to their own, those of other
    /// lists among them. Needs no outside call.
    ///
    /// # Errors
    /// [`MintError::Unavailable`] when it cannot be signed now; [`MintError::Unsupported`] where there are none.
    fn status_list(
        &self,
        _list: &str,
        _over: &[CredentialRef<'_>],
        _now: Timestamp,
    ) -> Result<RevocationList, MintError> {
        Err(MintError::Unsupported("its verifiers fetch no status lists".to_owned()))
    }

    /// Ask the backend whether it still honours it. Never guesses.
    ///
    /// # Errors
    /// [`MintError`].
    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError>;

    /// What the backend holds that carries our deployment's mark (see [`mark`]), where it can list; what is disabled or is
    /// only left to be tidied up too, what another deployment made never.
    ///
    /// # Errors
    /// [`MintError`].
    async fn inventory(&self) -> Result<Inventory, MintError>;
}

//! The plan: what a mint would do, computed without doing it, and named by a digest. Approval, grant and mint are tied
//! together by that digest.

use super::{Digest, Handle, Name, Timestamp};

/// Names a plan by its native effect: backend, kind, scopes, life and native detail, but neither lease nor time of day, so
/// that the plan an approver saw and the plan that is minted later have the same digest exactly when they have the same
/// effect.
pub type PlanDigest = Digest;

/// The exact native effect a mint would have (the SQL, the session policy, the repositories and permissions, the
/// principals), computed without touching the backend, and named by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintPlan {
    /// The backend it is for.
    pub backend: Name,
    /// The digest of `effect`.
    pub digest: PlanDigest,
    /// The native effect as canonical JSON (RFC 8785), the bytes under the digest.
    pub effect: String,
    /// The same in short lines for people, dangerous parts first.
    pub summary: Vec<String>,
    /// The name by which the credential can be ended, known before it exists.
    pub handle: Handle,
    /// When the credential stops being usable.
    pub ends_at: Timestamp,
    /// When the backend stops honouring it without being told; not before `ends_at`, and
    /// [`Timestamp::NEVER`] where it never does.
    pub native_end: Timestamp,
    /// What only the minter reads: whatever it needs to act on this plan.
    pub native: serde_json::Value,
}

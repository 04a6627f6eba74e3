//! Who is calling: a presented token becomes a verified identity, or is refused. Nothing of a token travels further than
//! this room but what was verified.

mod algorithm;
mod claims;
mod jwks;
mod jwt;
mod keys;
mod presented;
mod presets;
mod provider;
mod reject;
mod roca;
mod settings;
mod spiffe;
mod verifiers;
pub mod webauthn;

pub use algorithm::Algorithm;
pub use presented::PresentedToken;
pub use presets::Preset;
pub use provider::{Asked, Provider, ProviderError, SignInSettings};
pub use reject::{IdentityError, Reject};
pub use settings::{IssuerSettings, SettingsError};
pub use verifiers::{ExpectedSignIn, IssuerInfo, IssuerState, IssuerStatus, Verifiers};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{Digest, Timestamp};

/// Whom an issuer vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Workloads, which may be agents.
    Agents,
    /// People, who may be operators.
    People,
}

/// What a verifier established about a workload from a presented token; the only form in which an identity travels past the
/// front door.
#[derive(Debug, Clone)]
pub struct VerifiedIdentity {
    pub(in crate::identity) issuer: Arc<str>,
    pub(in crate::identity) subject: String,
    pub(in crate::identity) whom: Audience,
    pub(in crate::identity) issued_at: Option<Timestamp>,
    pub(in crate::identity) expires_at: Timestamp,
    pub(in crate::identity) single_use: bool,
    pub(in crate::identity) seen_key: Digest,
    pub(in crate::identity) claims: Arc<BTreeMap<String, String>>,
    pub(in crate::identity) groups: Vec<String>,
    pub(in crate::identity) email: Option<String>,
    pub(in crate::identity) auth_time: Option<Timestamp>,
    pub(in crate::identity) acr: Option<String>,
}

impl VerifiedIdentity {
    /// The issuer as configured, byte for byte.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The issuer's name for the workload or person.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whom the issuer vouches for.
    #[must_use]
    pub const fn whom(&self) -> Audience {
        self.whom
    }

    /// When the token stops proving anything, leeway included; a used token's id is kept until then.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When the token was issued, if it says so.
    #[must_use]
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// Whether the token may be presented only once.
    #[must_use]
    pub const fn single_use(&self) -> bool {
        self.single_use
    }

    /// What a used token is remembered by: SHA-256 over issuer and `jti`, or over issuer and what was signed
    /// where there is no `jti`.
    #[must_use]
    pub const fn seen_key(&self) -> Digest {
        self.seen_key
    }

    /// A top-level claim as text (numbers as decimals), for bindings. Nested objects are reached by `a.b`.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).map(String::as_str)
    }

    /// A person's groups, from the issuer's configured claim.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// A person's e-mail address, if the issuer states and has verified it.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// When a person last proved to the issuer who they are (OpenID Connect Core §2, `auth_time`), if it says so.
    #[must_use]
    pub const fn auth_time(&self) -> Option<Timestamp> {
        self.auth_time
    }

    /// The authentication context class the issuer states for a person (`acr`).
    #[must_use]
    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref()
    }
}

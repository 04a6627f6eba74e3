//! What the kinds of issuer have in common, so that settings name a kind and little else.

use super::algorithm::Algorithm;
use crate::domain::words;

words! {
    /// A kind of issuer, which decides the defaults of its settings.
    Preset as "issuer preset" {
        /// Any issuer of OpenID Connect or plain JWT.
        Oidc = "oidc",
        /// Service-account tokens of one Kubernetes cluster.
        Kubernetes = "kubernetes",
        /// Jobs of GitHub Actions.
        GithubActions = "github-actions",
        /// JWT-SVIDs of one SPIFFE trust domain.
        Spiffe = "spiffe",
    }
}

use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};

const DAY_SECS: u32 = 86_400;
const HOUR_SECS: u32 = 3600;

impl Preset {
    /// The issuer, where there is only one.
    pub(super) const fn issuer(self) -> Option<&'static str> {
        match self {
            Self::GithubActions => Some("https://token.actions.githubusercontent.com"),
            Self::Oidc | Self::Kubernetes | Self::Spiffe => None,
        }
    }

    pub(super) const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Oidc => &[Rs256, Ps256, Es256, Es384, EdDsa],
            Self::Kubernetes => &[Rs256, Es256, Es384],
            Self::GithubActions => &[Rs256],
            // JWT-SVID §3.1, less ES512, whose curve we do not take.
            Self::Spiffe => &[Rs256, Rs384, Rs512, Es256, Es384, Ps256, Ps384, Ps512],
        }
    }

    /// Values of `typ`; the empty one stands for a token without it.
    pub(super) const fn typ(self) -> &'static [&'static str] {
        match self {
            Self::Oidc | Self::Kubernetes | Self::GithubActions => &["", "JWT"],
            // JWT-SVID §2.3.
            Self::Spiffe => &["", "JWT", "JOSE"],
        }
    }

    /// The longest a token may live from `iat` to `exp`.
    pub(super) const fn max_lifetime_seconds(self) -> u32 {
        match self {
            Self::Oidc | Self::Kubernetes | Self::Spiffe => DAY_SECS,
            Self::GithubActions => HOUR_SECS,
        }
    }
}

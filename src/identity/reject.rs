//! Why an identity was refused: a closed vocabulary for the audit. A stranger is told none of it.

use crate::domain::words;

words! {
    /// Why a presented token was refused.
    Reject as "rejection reason" {
        /// Longer than 16 KiB.
        TooLarge = "too_large",
        /// Not a compact JWS of strict base64url and strict JSON, or a claim of the wrong shape.
        Malformed = "malformed",
        /// A header member that would change the rules: `crit`, `b64`, `zip`, or a key of the sender's choice.
        HeaderNotAllowed = "header_not_allowed",
        /// The algorithm is not on the issuer's list, or not one the key is for.
        AlgNotAllowed = "alg_not_allowed",
        /// The token is of another kind than the issuer is trusted for.
        TypNotAllowed = "typ_not_allowed",
        /// Nobody we trust.
        UnknownIssuer = "unknown_issuer",
        /// The issuer publishes no such key.
        KeyUnknown = "key_unknown",
        /// The signature does not fit.
        BadSignature = "bad_signature",
        /// No `exp`.
        ExpMissing = "exp_missing",
        /// Past its `exp`.
        Expired = "expired",
        /// Before its `nbf`.
        NotYetValid = "not_yet_valid",
        /// No `iat`, which the cap on a token's life needs.
        IatMissing = "iat_missing",
        /// Issued in the future.
        IatFuture = "iat_future",
        /// It lives longer than the issuer's tokens may.
        LifetimeTooLong = "lifetime_too_long",
        /// No `aud`.
        AudMissing = "aud_missing",
        /// Meant for somebody else.
        AudMismatch = "aud_mismatch",
        /// No `sub`.
        SubMissing = "sub_missing",
        /// Not a SPIFFE ID of the trust domain whose key signed it, or no JWT-SVID.
        SvidInvalid = "svid_invalid",
        /// It answers another sign-in than the one it was brought to.
        NonceMismatch = "nonce_mismatch",
        /// Presented a second time although it may be used once.
        TokenReplayed = "token_replayed",
    }
}

/// Why there is no verified identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The token is no good; its sender has to bring another one.
    #[error("the identity token was refused")]
    Refused(Reject),
    /// The issuer's keys cannot be had at present, so nothing can be said about the token.
    #[error("the keys of issuer {issuer} are not available")]
    Unavailable {
        /// The issuer's name in the settings.
        issuer: String,
    },
}

impl IdentityError {
    /// The word for the audit and the log.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refused(reject) => reject.as_str(),
            Self::Unavailable { .. } => "issuer_unavailable",
        }
    }
}

impl From<Reject> for IdentityError {
    fn from(reject: Reject) -> Self {
        Self::Refused(reject)
    }
}

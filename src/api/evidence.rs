//! Evidence of verdicts: what was shown, what was signed and by which key, so that anybody can check it later without us. Members
//! stand in canonical order (RFC 8785), because some of these are hashed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Shown, Timestamp};

/// What is known of the verdicts on one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// SHA-256 over the canonical JSON (RFC 8785) of all the other members, to see that the file is whole. It proves nothing else.
    pub digest: String,
    /// The request.
    pub request: String,
    /// Its state.
    pub state: String,
    /// The version of this form: 1.
    pub v: u8,
    /// Its verdicts, oldest first.
    pub verdicts: Vec<EvidenceVerdict>,
}

/// One verdict, as it is recorded, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceVerdict {
    /// Its id.
    pub approval: String,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who gave it.
    pub person: String,
    /// What a passkey signed; absent where none did, and then only the audit vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The digest of what was shown.
    pub request_digest: String,
    /// `approve`, `deny` or `break_glass`.
    pub verdict: String,
}

/// What a passkey signed: all that verifying it takes (WebAuthn Level 3 §7.2). Bytes are in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// What the authenticator says; it is signed, followed by the SHA-256 of `client_data`.
    pub authenticator_data: String,
    /// What the browser says: the challenge, and the page it was answered at.
    pub client_data: String,
    /// The public key, as a COSE key (RFC 9052 §7).
    pub cose_key: String,
    /// The credential's id.
    pub credential: String,
    /// The random part of the challenge, which is SHA-256 over its bytes and `statement`.
    pub nonce: String,
    /// The pages that might be answered at.
    pub origins: Vec<String>,
    /// The audit event of the key's registration, byte for byte: look it up in the audit by its `id`.
    pub registration: String,
    /// Whom the key signs for: `authenticator_data` begins with this domain's SHA-256.
    pub rp_id: String,
    /// What the person was shown.
    #[schema(value_type = Object)]
    pub shown: Shown,
    /// The signature.
    pub signature: String,
    /// The verdict statement, as canonical JSON.
    pub statement: String,
    /// The version of this form: 1.
    pub v: u8,
}

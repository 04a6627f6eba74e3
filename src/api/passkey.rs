//! Passkeys on the wire: what a person has, what a browser is asked to sign, and what it answers. Options are in the JSON form of WebAuthn
//! Level 3 §5.1.8 and §5.1.9, so that a browser takes them as they are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AssertionAsk;
use crate::domain::Timestamp;

/// A passkey of the caller's.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PasskeyView {
    /// Its id.
    pub id: String,
    /// What its person calls it.
    pub name: String,
    /// `single_device`, `eligible` (it may be backed up) or `backed_up`.
    pub backup: String,
    /// How a browser reaches it, e.g. `internal` or `usb`.
    pub transports: Vec<String>,
    /// The model of its authenticator, as it says itself.
    pub aaguid: String,
    /// The audit event of its registration.
    pub registered_event: String,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last signed something that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    /// When it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// The caller's passkeys, at most ten.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PasskeysPage {
    /// Each of them.
    pub items: Vec<PasskeyView>,
}

/// What a passkey is called, or shall be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyNameAsk {
    /// 1 to 64 characters in one line.
    pub name: String,
}

/// What a browser is asked to do with a passkey, within two minutes and once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChallengeView {
    /// The challenge's id; it goes with the answer.
    pub id: String,
    /// For `navigator.credentials.get`, where a passkey the person has must sign: `PublicKeyCredentialRequestOptionsJSON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub get: Option<serde_json::Value>,
    /// For `navigator.credentials.create`, where one shall be made, after the other: `PublicKeyCredentialCreationOptionsJSON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub create: Option<serde_json::Value>,
    /// What is signed, as canonical JSON: the challenge is SHA-256 of `nonce` and this.
    pub statement: String,
    /// Random bytes, in base64url.
    pub nonce: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A browser's answer to `create` (WebAuthn Level 3 §5.2.1), each part in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrationAsk {
    /// The challenge's id, as it was handed out.
    pub challenge: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `attestationObject`.
    pub attestation_object: String,
    /// What `getTransports()` says.
    #[serde(default)]
    pub transports: Vec<String>,
    /// The answer to `get`, where there was one: a passkey the person has agrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<AssertionAsk>,
}

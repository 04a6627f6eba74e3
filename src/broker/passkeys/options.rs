//! What a browser is told to ask an authenticator for: the JSON form of WebAuthn Level 3 §5.1.8 and §5.1.9.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::CHALLENGE_MILLIS;
use crate::domain::{Passkey, RegistrationStatement};
use crate::identity::webauthn::{ALGORITHMS, RelyingParty};

/// `PublicKeyCredentialRequestOptionsJSON`: let one of these sign, and know who it is that uses it.
pub(super) fn get(party: &RelyingParty, to_sign: &[u8], known: &[Passkey]) -> Value {
    json!({
        "challenge": BASE64URL_NOPAD.encode(to_sign),
        "timeout": CHALLENGE_MILLIS,
        "rpId": party.id(),
        "allowCredentials": descriptors(known),
        "userVerification": "required",
    })
}

/// `PublicKeyCredentialCreationOptionsJSON`: make one that is not among these.
pub(super) fn create(
    party: &RelyingParty,
    to_sign: &[u8],
    known: &[Passkey],
    statement: &RegistrationStatement,
) -> Value {
    let kinds: Vec<Value> = ALGORITHMS.iter().map(|number| json!({ "type": "public-key", "alg": number })).collect();
    json!({
        "rp": { "id": party.id(), "name": "Hallpass" },
        "user": {
            "id": statement.user_handle,
            "name": statement.person.as_str(),
            "displayName": statement.person.as_str(),
        },
        "challenge": BASE64URL_NOPAD.encode(to_sign),
        "pubKeyCredParams": kinds,
        "timeout": CHALLENGE_MILLIS,
        "excludeCredentials": descriptors(known),
        "authenticatorSelection": { "residentKey": "preferred", "userVerification": "required" },
        "attestation": "none",
    })
}

fn descriptors(known: &[Passkey]) -> Vec<Value> {
    known
        .iter()
        .map(|passkey| json!({ "type": "public-key", "id": passkey.credential, "transports": passkey.transports }))
        .collect()
}

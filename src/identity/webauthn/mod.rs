//! Passkeys, as WebAuthn Level 3 has a relying party check them (§7.1 and §7.2): pure functions over bytes. Nobody else decides
//! here what a signature covers, because what it covers is our evidence; every length has a limit, and what is not needed is
//! refused and not skipped.

mod attestation;
mod auth_data;
mod cbor;
mod client_data;
mod cose;
mod party;

pub use party::{PartyError, PasskeySettings, RelyingParty};

use crate::domain::{Backup, PasskeyFault};
use crate::sys::sha256;

use auth_data::{AuthData, Ceremony};
use cose::CoseKey;

/// The algorithms that are asked for, the best first, by their COSE numbers: EdDSA, ES256, RS256.
pub const ALGORITHMS: [i64; 3] = [-8, -7, -257];
/// The longest credential id (WebAuthn Level 3 §7.1 step 25), in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 1023;
/// The longest `clientDataJSON`, in bytes.
pub const MAX_CLIENT_DATA_BYTES: usize = 4096;
/// The longest `attestationObject`, in bytes: a 4096-bit key, a signature by it and the longest credential id fit well.
pub const MAX_ATTESTATION_BYTES: usize = 8192;
/// The longest `authenticatorData` of an assertion, in bytes.
pub const MAX_AUTH_DATA_BYTES: usize = 2048;
/// The longest signature, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 512;

/// What a browser answers to a registration (§5.2.1).
#[derive(Debug, Clone, Copy)]
pub struct RegistrationResponse<'a> {
    /// `clientDataJSON`.
    pub client_data: &'a [u8],
    /// `attestationObject`.
    pub attestation_object: &'a [u8],
}

/// A credential that was made for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// Its id.
    pub id: Vec<u8>,
    /// Its public key, as a COSE key.
    pub cose_key: Vec<u8>,
    /// Its authenticator's model, as it says itself.
    pub aaguid: [u8; 16],
    /// How often it signed.
    pub sign_count: u32,
    /// Whether it can leave its device.
    pub backup: Backup,
}

/// Check what a browser answers to a registration with this challenge, and take the credential from it.
///
/// # Errors
/// [`PasskeyFault`]: the first rule that it breaks.
pub fn verify_registration(
    party: &RelyingParty,
    challenge: &[u8],
    response: &RegistrationResponse<'_>,
) -> Result<NewCredential, PasskeyFault> {
    // §7.1 steps 1 to 4 happen in the browser. Steps 5 to 11: the client data.
    client_data::check(response.client_data, "webauthn.create", challenge, party)?;
    // Steps 12 and 13: its hash, and the attestation object.
    let hash = sha256(response.client_data);
    let object = attestation::Object::parse(response.attestation_object)?;
    // Steps 14 to 19: the authenticator data.
    let data = AuthData::parse(object.auth_data(), Ceremony::Registration)?;
    data.check(party)?;
    let attested = data.attested.as_ref().ok_or(PasskeyFault::Malformed)?;
    // Step 20: the algorithm is one that was asked for, and the key is sound.
    let key = CoseKey::parse(&attested.cose_key)?;
    // Steps 21 to 24: the attestation statement.
    object.check_statement(&key, hash.as_bytes())?;
    // Step 25 is `AuthData::parse`. Step 26, that nobody has it yet, is for whoever stores it.
    Ok(NewCredential {
        id: attested.credential.clone(),
        cose_key: attested.cose_key.clone(),
        aaguid: attested.aaguid,
        sign_count: data.sign_count,
        backup: data.backup,
    })
}

/// What is known of a credential that should have signed.
#[derive(Debug, Clone, Copy)]
pub struct KnownCredential<'a> {
    /// Its public key, as a COSE key.
    pub cose_key: &'a [u8],
    /// How often it had signed.
    pub sign_count: u32,
    /// Whether it could leave its device.
    pub backup: Backup,
}

/// What a browser answers when a passkey has signed (§5.2.2).
#[derive(Debug, Clone, Copy)]
pub struct AssertionResponse<'a> {
    /// `clientDataJSON`.
    pub client_data: &'a [u8],
    /// `authenticatorData`.
    pub auth_data: &'a [u8],
    /// `signature`.
    pub signature: &'a [u8],
}

/// What an assertion that holds says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asserted {
    /// How often the credential has signed.
    pub sign_count: u32,
    /// Whether it can leave its device.
    pub backup: Backup,
}

/// Check that this credential signed this challenge for this relying party, with its person verified. That the credential is
/// the person's (§7.2 steps 5 and 6) is for whoever knows both.
///
/// # Errors
/// [`PasskeyFault`]: the first rule that it breaks.
pub fn verify_assertion(
    party: &RelyingParty,
    challenge: &[u8],
    known: &KnownCredential<'_>,
    response: &AssertionResponse<'_>,
) -> Result<Asserted, PasskeyFault> {
    if response.signature.len() > MAX_SIGNATURE_BYTES {
        return Err(PasskeyFault::Malformed);
    }
    // §7.2 steps 7 to 14: the client data.
    client_data::check(response.client_data, "webauthn.get", challenge, party)?;
    // Steps 15 to 18: the authenticator data.
    let data = AuthData::parse(response.auth_data, Ceremony::Assertion)?;
    data.check(party)?;
    // Step 19: whether it may be backed up never changes.
    if data.backup.is_eligible() != known.backup.is_eligible() {
        return Err(PasskeyFault::BackupChanged);
    }
    // Steps 20 and 21: the signature, over the authenticator data and the hash of the client data.
    let signed = [response.auth_data, sha256(response.client_data).as_bytes()].concat();
    CoseKey::parse(known.cose_key)?.verify(&signed, response.signature)?;
    // Step 22: a count that does not grow is a sign of a copy. Who does not count says 0 for ever.
    if (data.sign_count != 0 || known.sign_count != 0) && data.sign_count <= known.sign_count {
        return Err(PasskeyFault::CountWentBack);
    }
    // Step 23: no extension was asked for, so outputs of any mean nothing to us. Step 24 is for whoever stores it.
    Ok(Asserted { sign_count: data.sign_count, backup: data.backup })
}

//! The attestation object (WebAuthn Level 3 §6.5.4). We ask for no attestation: what model an authenticator is decides nothing
//! here. So `none` and self-attestation are taken, which vouch for nothing, and anything with a certificate is refused, because
//! taking it unchecked would look like a proof that nobody made.

use ciborium::Value;

use super::cose::CoseKey;
use super::{MAX_ATTESTATION_BYTES, cbor};
use crate::domain::PasskeyFault;

/// An attestation object, taken apart.
pub(super) struct Object {
    format: String,
    statement: Vec<(Value, Value)>,
    auth_data: Vec<u8>,
}

impl Object {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PasskeyFault> {
        if bytes.len() > MAX_ATTESTATION_BYTES {
            return Err(PasskeyFault::Malformed);
        }
        let members = cbor::only_map(bytes)?;
        let format = cbor::named(&members, "fmt").and_then(Value::as_text);
        let statement = cbor::named(&members, "attStmt").and_then(Value::as_map);
        let auth_data = cbor::named(&members, "authData").and_then(Value::as_bytes);
        match (format, statement, auth_data, members.len()) {
            (Some(format), Some(statement), Some(auth_data), 3) => {
                Ok(Self { format: format.to_owned(), statement: statement.clone(), auth_data: auth_data.clone() })
            }
            _ => Err(PasskeyFault::Malformed),
        }
    }

    /// The authenticator data.
    pub(super) fn auth_data(&self) -> &[u8] {
        &self.auth_data
    }

    /// §7.1 steps 21 to 24.
    pub(super) fn check_statement(&self, key: &CoseKey, client_data_hash: &[u8]) -> Result<(), PasskeyFault> {
        match &*self.format {
            // §8.7: an empty map.
            "none" if self.statement.is_empty() => Ok(()),
            // §8.2, self-attestation: the credential's own algorithm and a signature by it, and no certificate.
            "packed" if self.statement.len() == 2 => {
                let algorithm = cbor::named(&self.statement, "alg").and_then(cbor::whole);
                let signature = cbor::named(&self.statement, "sig").and_then(Value::as_bytes);
                match (algorithm, signature) {
                    (Some(algorithm), Some(signature)) if algorithm == key.algorithm() => {
                        key.verify(&[&*self.auth_data, client_data_hash].concat(), signature)
                    }
                    _ => Err(PasskeyFault::AttestationRefused),
                }
            }
            _ => Err(PasskeyFault::AttestationRefused),
        }
    }
}

//! The calls about passkeys, and about what they signed.

use super::calls::segment;
use super::transport::NO_BODY;
use super::{Client, ClientError};
use crate::api::{ChallengeView, Evidence, PasskeyNameAsk, PasskeyView, PasskeysPage, RegistrationAsk, VerdictAsk};

impl Client {
    /// `GET /v1/passkeys`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_passkeys(&self) -> Result<PasskeysPage, ClientError> {
        self.get("v1/passkeys", &[]).await
    }

    /// `POST /v1/passkeys/challenges`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn begin_passkey(&self, name: &str) -> Result<ChallengeView, ClientError> {
        let ask = PasskeyNameAsk { name: name.to_owned() };
        self.post("v1/passkeys/challenges", Some(&ask), None).await
    }

    /// `POST /v1/passkeys`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register_passkey(&self, ask: &RegistrationAsk) -> Result<PasskeyView, ClientError> {
        self.post("v1/passkeys", Some(ask), None).await
    }

    /// `POST /v1/passkeys/{id}/name`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rename_passkey(&self, passkey: &str, name: &str) -> Result<PasskeyView, ClientError> {
        let ask = PasskeyNameAsk { name: name.to_owned() };
        self.post(&format!("v1/passkeys/{}/name", segment(passkey)?), Some(&ask), None).await
    }

    /// `POST /v1/passkeys/{id}/end`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_passkey(&self, passkey: &str) -> Result<PasskeyView, ClientError> {
        self.post(&format!("v1/passkeys/{}/end", segment(passkey)?), NO_BODY, None).await
    }

    /// `POST /v1/requests/{id}/challenge`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn challenge_for_verdict(&self, request: &str, ask: &VerdictAsk) -> Result<ChallengeView, ClientError> {
        self.post(&format!("v1/requests/{}/challenge", segment(request)?), Some(ask), None).await
    }

    /// `GET /v1/requests/{id}/evidence`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_evidence(&self, request: &str) -> Result<Evidence, ClientError> {
        self.get(&format!("v1/requests/{}/evidence", segment(request)?), &[]).await
    }
}

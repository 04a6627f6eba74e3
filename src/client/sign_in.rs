//! Signing a command line in (RFC 8628): ask for codes, and poll until a person has answered in a browser.

use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::api::{DeviceAnswer, EndSessionsAnswer, EndSessionsAsk, SessionView, SessionsPage, TokenAnswer};

/// The client id of the command line.
const CLIENT: &str = "hallpass-cli";
/// The grant of RFC 8628 §3.4.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a poll is answered.
pub enum Polled {
    /// The session.
    SignedIn(TokenAnswer),
    /// Nobody has answered yet.
    Pending,
    /// The same, and from now on it must wait five seconds longer.
    SlowDown,
    /// The person said no.
    Denied,
    /// It took too long.
    Expired,
}

/// An error as OAuth answers it.
#[derive(Deserialize)]
struct OAuthRefusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Client {
    /// Ask to be signed in, under a name that the person is shown.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask_device_sign_in(&self, name: &str) -> Result<DeviceAnswer, ClientError> {
        let form = [("client_id", CLIENT), ("client_name", name)];
        match self.oauth("oauth/device_authorization", &form).await? {
            Ok(answer) => Ok(answer),
            Err((_, refusal)) => Err(self.unexpected(&refusal)),
        }
    }

    /// Poll.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn poll_device_sign_in(&self, device_code: &str) -> Result<Polled, ClientError> {
        let form = [("grant_type", GRANT), ("device_code", device_code), ("client_id", CLIENT)];
        let refusal = match self.oauth("oauth/token", &form).await? {
            Ok(answer) => return Ok(Polled::SignedIn(answer)),
            Err((status, refusal)) => (status.as_u16(), refusal),
        };
        match (refusal.0, refusal.1.error.as_str()) {
            (_, "authorization_pending") => Ok(Polled::Pending),
            // Whoever is told to come less often does (RFC 8628 §3.5).
            (_, "slow_down") | (429 | 503, _) => Ok(Polled::SlowDown),
            (_, "access_denied") => Ok(Polled::Denied),
            (_, "expired_token") => Ok(Polled::Expired),
            (_, _) => Err(self.unexpected(&refusal.1)),
        }
    }

    /// `GET /v1/sessions`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_sessions(&self, person: Option<&str>, all: bool) -> Result<Vec<SessionView>, ClientError> {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("limit", "200".to_owned())];
            query.extend(person.map(|person| ("person", person.to_owned())));
            query.extend(all.then(|| ("all", "true".to_owned())));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: SessionsPage = self.get("v1/sessions", &query).await?;
            found.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// `POST /v1/sessions/{id}/end`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_session(&self, session: &str) -> Result<SessionView, ClientError> {
        let path = format!("v1/sessions/{}/end", super::calls::segment(session)?);
        self.post(&path, super::transport::NO_BODY, None).await
    }

    /// `POST /v1/sessions/end-all`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_sessions_of(&self, person: Option<&str>) -> Result<EndSessionsAnswer, ClientError> {
        let ask = EndSessionsAsk { person: person.map(str::to_owned) };
        self.post("v1/sessions/end-all", Some(&ask), None).await
    }

    /// A form of a client without a secret, answered as OAuth answers.
    async fn oauth<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<Result<T, (StatusCode, OAuthRefusal)>, ClientError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self
            .request(Method::POST, path, &[], None)?
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body = self.body(answer).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map(Ok).map_err(|error| self.unreadable(&error.to_string()));
        }
        serde_json::from_slice(&body).map(|refusal| Err((status, refusal))).map_err(|_| self.stranger(status))
    }

    fn unexpected(&self, refusal: &OAuthRefusal) -> ClientError {
        let OAuthRefusal { error, error_description } = refusal;
        ClientError::NoToken(format!("{} does not sign anybody in: {error_description} ({error})", self.server()))
    }
}

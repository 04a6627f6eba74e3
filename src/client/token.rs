//! Where the identity token of a call comes from, and what such a token says about itself. Nothing is verified here: that is
//! the server's part. The claims are read only to explain a refusal to the token's own holder.

use std::path::PathBuf;

use serde_json::Value;

use super::ClientError;
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, SecretString};

/// The longest token that is read, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Where the identity token of a call comes from. Each call asks anew, as a token may be good for one call only.
#[derive(Clone)]
pub enum TokenSource {
    /// Nowhere: calls are made by nobody.
    Nobody,
    /// One token for every call.
    Fixed(SecretString),
    /// A file that something else keeps fresh.
    File(PathBuf),
    /// The issuer of `hallpass dev`: a fresh token for each call.
    DevIssuer {
        /// Where it hands out tokens.
        endpoint: url::Url,
        /// What it asks for, so that not every process of the machine is a sample agent.
        secret: SecretString,
        /// As whom: `{"name": …}`, and for whom and how long where that matters.
        ask: Value,
    },
}

impl TokenSource {
    /// A token for one call.
    pub(super) async fn fetch(&self, http: &reqwest::Client) -> Result<Option<SecretString>, ClientError> {
        match self {
            Self::Nobody => Ok(None),
            Self::Fixed(token) => Ok(Some(token.clone())),
            Self::File(path) => from_file(path).map(Some),
            Self::DevIssuer { endpoint, secret, ask } => from_dev(http, endpoint, secret, ask).await.map(Some),
        }
    }
}

fn from_file(path: &std::path::Path) -> Result<SecretString, ClientError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ClientError::NoToken(format!("the token file {} cannot be read: {error}", path.display())))?;
    let token = text.trim();
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Err(ClientError::NoToken(format!(
            "the token file {} holds no token (1 to {MAX_TOKEN_BYTES} bytes)",
            path.display()
        )));
    }
    Ok(SecretString::from(token))
}

async fn from_dev(
    http: &reqwest::Client,
    endpoint: &url::Url,
    secret: &SecretString,
    ask: &Value,
) -> Result<SecretString, ClientError> {
    let unreachable = |error: reqwest::Error| ClientError::Unreachable {
        server: endpoint.to_string(),
        why: format!("{} (is `hallpass dev` running?)", super::transport::cause(&error)),
    };
    let answer =
        http.post(endpoint.clone()).bearer_auth(secret.expose_secret()).json(ask).send().await.map_err(unreachable)?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(unreachable)?;
    let text = |member: &str| body.get(member).and_then(Value::as_str).map(str::to_owned);
    match text("token") {
        Some(token) if status.is_success() => Ok(SecretString::from(token)),
        Some(_) | None => Err(ClientError::NoToken(
            text("error").unwrap_or_else(|| format!("the dev issuer answered {status} without a token")),
        )),
    }
}

/// What a token says about itself; nobody has verified it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnverifiedClaims {
    /// `iss`.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `aud`, one or several.
    pub audiences: Vec<String>,
    /// `exp`.
    pub expires_at: Option<Timestamp>,
    /// `nbf`.
    pub not_before: Option<Timestamp>,
}

impl UnverifiedClaims {
    /// Read the payload of a compact JWS; `None` when it is not one.
    #[must_use]
    pub fn read(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        let bytes = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
        let claims: Value = serde_json::from_slice(&bytes).ok()?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let time = |name: &str| claims.get(name).and_then(Value::as_i64).map(Timestamp::from_secs);
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
        };
        Some(Self {
            issuer: text("iss"),
            subject: text("sub"),
            audiences,
            expires_at: time("exp"),
            not_before: time("nbf"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claims_of_a_token_are_read_without_its_key() {
        let payload = data_encoding::BASE64URL_NOPAD.encode(br#"{"iss":"https://i","sub":"s","aud":"a","exp":60}"#);
        let claims = UnverifiedClaims::read(&format!("e30.{payload}.x")).unwrap();
        assert_eq!(claims.issuer.as_deref(), Some("https://i"));
        assert_eq!(claims.audiences, ["a"]);
        assert_eq!(claims.expires_at, Some(Timestamp::from_secs(60)));
    }

    #[test]
    fn what_is_not_a_token_has_no_claims() {
        for text in ["", "a", "a.b.c", "..", "e30.!!.x"] {
            assert_eq!(UnverifiedClaims::read(text), None, "{text}");
        }
    }
}

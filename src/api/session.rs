//! What people see of sessions, and what a command line that wants to be signed in sends and is sent (RFC 8628).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Timestamp;

/// A session of a person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Its id.
    pub id: String,
    /// `console` or `cli`.
    pub kind: String,
    /// Whose it is.
    pub person: String,
    /// The issuer that signed the person in.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// What the browser or the command line called itself.
    pub user_agent: String,
    /// Where it was opened from.
    pub address: String,
    /// When the person last proved to the issuer who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub auth_time: Option<Timestamp>,
    /// The authentication context class the issuer stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
    /// When it ends in any case.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
    /// When it ends unless it is used before.
    #[schema(value_type = String, format = DateTime)]
    pub lapses_at: Timestamp,
    /// Whether it is the one this was asked with.
    pub current: bool,
}

/// A page of sessions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionsPage {
    /// The items.
    pub items: Vec<SessionView>,
    /// Pass it as `cursor` for more; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `POST /v1/sessions/end-all`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSessionsAsk {
    /// Whose; the caller's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EndSessionsAnswer {
    /// How many sessions were ended.
    pub ended: u32,
}

/// `POST /oauth/device_authorization` (RFC 8628 §3.2).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceAnswer {
    /// What the command line polls with; a secret.
    pub device_code: String,
    /// What the person types, as `XXXX-XXXX`.
    pub user_code: String,
    /// Where the person types it.
    pub verification_uri: String,
    /// The same with the code filled in.
    pub verification_uri_complete: String,
    /// For how many seconds the codes are good.
    pub expires_in: u32,
    /// How many seconds to wait from one poll to the next.
    pub interval: u32,
}

/// `POST /oauth/token` (RFC 6749 §5.1).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// The bearer of the new session; a secret.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// For how many seconds it is good.
    pub expires_in: i64,
}

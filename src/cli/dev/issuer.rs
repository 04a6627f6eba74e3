//! The identity issuer of `hallpass dev`: an OpenID Connect issuer on this machine that vouches for the sample agents and
//! people. The broker treats it like any other: discovery, keys, signatures, audiences, times. Its keys live as long as the
//! process; its tokens go to whoever knows the secret in the dev folder.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::people::{self, PEOPLE, SignIns};
use crate::sys::keys::{KeyTimes, SigningKey};
use crate::sys::{Clock, ExposeSecret as _, Ids, SecretString, SystemClock, SystemEntropy};

/// How long a token lives, in seconds.
const TOKEN_SECS: i64 = 300;
/// How long the key may sign: a month, in milliseconds; no dev session is longer.
const KEY_MILLIS: i64 = 31 * 86_400_000;
/// The sample agents, with what is said of each.
pub(super) const AGENTS: &[(&str, &str)] = &[("release-bot", "deploy team"), ("triage-bot", "read only")];

/// The issuer's state.
pub(super) struct Issuer {
    url: String,
    audience: String,
    key: SigningKey,
    secret: SecretString,
    ids: Ids,
    sign_ins: SignIns,
}

/// `POST /token`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenAsk {
    /// As whom.
    name: String,
    /// For another audience than the broker, to see it refused.
    audience: Option<String>,
    /// For another life than five minutes, in seconds; a token with a negative one has expired already.
    ttl_seconds: Option<i64>,
}

impl Issuer {
    /// An issuer at `url` whose tokens are for `audience`.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub(super) fn new(
        url: String,
        audience: String,
        secret: SecretString,
        ids: Ids,
        sign_ins: SignIns,
    ) -> anyhow::Result<Self> {
        let now = SystemClock.now();
        let end = now.plus_millis(KEY_MILLIS);
        let times = KeyTimes { created_at: now, activates_at: now, signs_until: end, retires_at: end };
        let key = SigningKey::generate(crate::sys::keys::KeyAlgorithm::Es256, times, &SystemEntropy::default())?;
        Ok(Self { url, audience, key, secret, ids, sign_ins })
    }

    /// Its routes.
    pub(super) fn router(self) -> Router {
        let jwks = json!({ "keys": [self.key.public_jwk()] });
        let document = |issuer: String, more: Value| {
            let mut document = json!({
                "issuer": issuer,
                "jwks_uri": format!("{}/jwks", self.url),
                "id_token_signing_alg_values_supported": ["ES256"],
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
            });
            if let (Some(document), Value::Object(more)) = (document.as_object_mut(), more) {
                document.extend(more);
            }
            get(async move || Json(document.clone()))
        };
        let agents = document(self.url.clone(), json!({}));
        let people = document(self.people(), people::metadata(&self.url));
        Router::new()
            .route("/.well-known/openid-configuration", agents)
            .route("/people/.well-known/openid-configuration", people)
            .route("/jwks", get(async move || Json(jwks.clone())))
            .route("/token", post(token))
            .merge(people::routes())
            .with_state(Arc::new(self))
    }

    /// The issuer of the sample people.
    pub(super) fn people(&self) -> String {
        format!("{}/people", self.url)
    }

    /// Its host and port, as a browser names them.
    pub(super) fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(super) const fn sign_ins(&self) -> &SignIns {
        &self.sign_ins
    }

    pub(super) const fn ids(&self) -> &Ids {
        &self.ids
    }

    /// A token of these claims.
    ///
    /// # Errors
    /// When the key cannot sign any more.
    pub(super) fn sign(&self, claims: &Value) -> anyhow::Result<SecretString> {
        Ok(self.key.sign_compact("JWT", &claims.to_string())?)
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes).unwrap_or_default();
        let expected = format!("Bearer {}", self.secret.expose_secret());
        presented.ct_eq(expected.as_bytes()).into()
    }

    /// The claims of a token, for one of those it vouches for.
    fn claims(&self, ask: &TokenAsk) -> Option<Value> {
        let now = SystemClock.now().as_secs();
        let life = ask.ttl_seconds.unwrap_or(TOKEN_SECS).clamp(-3600, 3600);
        // A token that has expired was good once: it was made before it ended.
        let issued = if life > 0 { now } else { now.saturating_add(life).saturating_sub(TOKEN_SECS) };
        let mut claims = json!({
            "sub": ask.name,
            "aud": ask.audience.as_ref().unwrap_or(&self.audience),
            "iat": issued,
            "exp": now.saturating_add(life),
            "jti": self.ids.opaque(),
        });
        let members = claims.as_object_mut()?;
        if AGENTS.iter().any(|(name, _)| *name == ask.name) {
            members.insert("iss".to_owned(), json!(self.url));
        } else if let Some(person) = PEOPLE.iter().find(|person| person.name == ask.name) {
            members.insert("iss".to_owned(), json!(self.people()));
            members.insert("groups".to_owned(), json!(person.groups));
            members.insert("email".to_owned(), json!(person.email));
            members.insert("email_verified".to_owned(), json!(true));
        } else {
            return None;
        }
        Some(claims)
    }
}

async fn token(
    State(issuer): State<Arc<Issuer>>,
    headers: HeaderMap,
    Json(ask): Json<TokenAsk>,
) -> (StatusCode, Json<Value>) {
    let refuse = |status, why: String| (status, Json(json!({ "error": why })));
    if !issuer.is_known(&headers) {
        return refuse(StatusCode::UNAUTHORIZED, "the secret is not the one in dev.json".to_owned());
    }
    let Some(claims) = issuer.claims(&ask) else {
        let known: Vec<&str> =
            AGENTS.iter().map(|(name, _)| *name).chain(PEOPLE.iter().map(|person| person.name)).collect();
        let name = ask.name.escape_debug();
        return refuse(
            StatusCode::NOT_FOUND,
            format!("the dev issuer vouches for {}, and not for `{name}`", known.join(", ")),
        );
    };
    match issuer.sign(&claims) {
        Ok(token) => (StatusCode::OK, Json(json!({ "token": token.expose_secret() }))),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

//! The resource servers of `hallpass dev`, so that a credential is good for something. `/releases` honours what the sandbox
//! honours; `/api/releases` verifies our JWTs as an outsider would, from nothing but the broker's published keys.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, put};
use axum::{Json, Router};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, EdDSA, JwsVerifier};
use serde_json::{Value, json};
use url::Url;

use super::folder::AUDIENCE;
use crate::minter::SandboxBackend;
use crate::sys::{Clock, FetchLimits, HttpClient, SystemClock};

/// The most releases it remembers.
const MAX_RELEASES: usize = 1_000;
/// The largest key set it reads, in bytes.
const MAX_JWKS_BYTES: usize = 256 * 1024;

/// What a resource server knows.
pub(super) struct Releases {
    sandbox: Arc<SandboxBackend>,
    http: HttpClient,
    issuer: String,
    names: Mutex<BTreeSet<String>>,
}

type Answer = (StatusCode, Json<Value>);

impl Releases {
    /// Beside a sandbox, trusting the tokens of a broker.
    pub(super) fn new(sandbox: Arc<SandboxBackend>, http: HttpClient, issuer: String) -> Self {
        let names = ["v1.4.0", "v1.4.1"].map(str::to_owned);
        Self { sandbox, http, issuer, names: Mutex::new(BTreeSet::from(names)) }
    }

    /// Its routes.
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/releases", get(list))
            .route("/releases/{name}", put(publish))
            .route("/api/releases", get(list_by_token))
            .with_state(Arc::new(self))
    }

    fn names(&self) -> Value {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "releases": names.iter().collect::<Vec<_>>() })
    }

    /// Whether the sandbox honours what was presented, for this action on releases.
    fn check(&self, headers: &HeaderMap, action: &str) -> Result<(), Answer> {
        let honoured = bearer(headers).and_then(|secret| self.sandbox.check(secret, SystemClock.now()));
        let Some(honoured) = honoured else {
            return Err(refuse(StatusCode::UNAUTHORIZED, "this credential is not honoured"));
        };
        let fits = |scope: &crate::domain::Scope| {
            scope.entry().resource().as_str() == "releases" && scope.entry().action().as_str() == action
        };
        if honoured.scopes.iter().any(fits) {
            Ok(())
        } else {
            Err(refuse(StatusCode::FORBIDDEN, "this credential does not permit that"))
        }
    }

    /// The claims of a token of the broker's that is for us and good now.
    async fn verify(&self, token: &str) -> Result<Value, String> {
        let jwks = Url::parse(&format!("{}/.well-known/jwks.json", self.issuer)).map_err(|error| error.to_string())?;
        let limits = FetchLimits { max_bytes: MAX_JWKS_BYTES, allow_private: true };
        let keys = self.http.get_json_bytes(&jwks, limits).await.map_err(|error| format!("no keys: {error}"))?;
        let keys: Value = serde_json::from_slice(&keys).map_err(|error| format!("no keys: {error}"))?;
        let part = |n| {
            let part: &str = token.split('.').nth(n).ok_or("the token is not in three parts")?;
            data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| "the token is not base64url")
        };
        let header: Value = serde_json::from_slice(&part(0)?).map_err(|error| error.to_string())?;
        if header.get("typ").and_then(Value::as_str) != Some("at+jwt") {
            return Err("the token is not of type at+jwt".to_owned());
        }
        let same_kid = |key: &&Value| key.get("kid").is_some_and(|kid| Some(kid) == header.get("kid"));
        let key = keys.get("keys").and_then(Value::as_array).and_then(|keys| keys.iter().find(same_kid));
        let key = key.ok_or("the token is signed by a key that is not published")?;
        let verifier = verifier(key)?;
        if header.get("alg").and_then(Value::as_str) != Some(verifier.algorithm().name()) {
            return Err("the token's algorithm is not its key's".to_owned());
        }
        let (message, _) = token.rsplit_once('.').ok_or("the token is not in three parts")?;
        verifier.verify(message.as_bytes(), &part(2)?).map_err(|_| "the signature is wrong")?;
        let claims: Value = serde_json::from_slice(&part(1)?).map_err(|error| error.to_string())?;
        self.check_claims(&claims)?;
        Ok(claims)
    }

    fn check_claims(&self, claims: &Value) -> Result<(), String> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err("the token is of another issuer".to_owned());
        }
        let for_us = match claims.get("aud") {
            Some(Value::String(one)) => one == AUDIENCE,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(AUDIENCE)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
        };
        if !for_us {
            return Err("the token is for another audience".to_owned());
        }
        match claims.get("exp").and_then(Value::as_i64) {
            Some(exp) if SystemClock.now().as_secs() < exp => Ok(()),
            Some(_) | None => Err("the token has expired".to_owned()),
        }
    }
}

fn verifier(key: &Value) -> Result<Box<dyn JwsVerifier>, String> {
    let members = key.as_object().cloned().unwrap_or_default();
    let jwk = Jwk::from_map(members).map_err(|error| error.to_string())?;
    match key.get("alg").and_then(Value::as_str) {
        Some("ES256") => ES256.verifier_from_jwk(&jwk).map(|verifier| Box::new(verifier) as Box<dyn JwsVerifier>),
        Some("EdDSA") => EdDSA.verifier_from_jwk(&jwk).map(|verifier| Box::new(verifier) as Box<dyn JwsVerifier>),
        Some(_) | None => return Err("the key is of an algorithm we do not accept".to_owned()),
    }
    .map_err(|error| error.to_string())
}

/// Whether the token's authorization details permit this action on releases.
fn permits(claims: &Value, action: &str) -> bool {
    let details = claims.get("authorization_details").and_then(Value::as_array);
    details.into_iter().flatten().any(|detail| {
        let acts = detail.get("actions").and_then(Value::as_array);
        detail.get("identifier").and_then(Value::as_str) == Some("releases")
            && acts.is_some_and(|acts| acts.iter().any(|one| one.as_str() == Some(action)))
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn refuse(status: StatusCode, why: &str) -> Answer {
    (status, Json(json!({ "error": why })))
}

async fn list(State(releases): State<Arc<Releases>>, headers: HeaderMap) -> Answer {
    match releases.check(&headers, "read") {
        Ok(()) => (StatusCode::OK, Json(releases.names())),
        Err(refusal) => refusal,
    }
}

async fn publish(State(releases): State<Arc<Releases>>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    if let Err(refusal) = releases.check(&headers, "write") {
        return refusal;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return refuse(StatusCode::BAD_REQUEST, "a release is named like v1.4.2");
    }
    let mut names = releases.names.lock().unwrap_or_else(PoisonError::into_inner);
    if names.len() >= MAX_RELEASES {
        return refuse(StatusCode::INSUFFICIENT_STORAGE, "the sandbox is full");
    }
    names.insert(name.clone());
    (StatusCode::CREATED, Json(json!({ "published": name })))
}

async fn list_by_token(State(releases): State<Arc<Releases>>, headers: HeaderMap) -> Answer {
    let Some(token) = bearer(&headers) else {
        return refuse(StatusCode::UNAUTHORIZED, "there is no bearer token");
    };
    match releases.verify(token).await {
        Ok(claims) if permits(&claims, "read") => (StatusCode::OK, Json(releases.names())),
        Ok(_) => refuse(StatusCode::FORBIDDEN, "this token does not permit that"),
        Err(why) => refuse(StatusCode::UNAUTHORIZED, &why),
    }
}

//! An upstream authorization server, as much of it as a token's life needs: its metadata (RFC 8414), the exchange (RFC 8693),
//! revocation (RFC 7009) and introspection (RFC 7662), each asked as a confidential client. Endpoints are looked up when they are
//! first needed, and believed only of the issuer that was configured.

use std::sync::Arc;

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue, Method, StatusCode};
use arc_swap::ArcSwapOption;
use serde_json::{Map, Value, json};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::super::MintError;
use super::super::web::{date, unheard};
use super::settings::Endpoints;
use crate::domain::Timestamp;
use crate::sys::keys::{KeyAlgorithm, KeyRing};
use crate::sys::{
    Clock, Entropy, ExposeSecret as _, FetchLimits, HttpClient, Incoming, Outgoing, SecretString, parse_object,
};

/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 128 * 1024;
/// How deep an answer is nested at most.
const MAX_DEPTH: usize = 16;
/// For how long metadata is believed before it is looked at again.
const METADATA_MILLIS: i64 = 3_600_000;
/// How long what we sign for the server is valid. A call that is held up longer does nothing any more, which bounds when a token
/// may come about after we have stopped waiting.
pub(super) const SIGNED_SECS: i64 = 30;
/// The longest piece of what the server says that goes into an error, in characters.
const MAX_SAID: usize = 200;

/// How we say who we are.
pub(super) enum ClientAuth {
    /// `private_key_jwt` (RFC 7523 §2.2), by a signing key of ours.
    Signature,
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    Secret(SecretString),
}

/// An answer whatever its status, its body wiped when it is dropped.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) date: Option<Timestamp>,
    body: Zeroizing<Vec<u8>>,
}

/// What the server publishes about itself.
pub(super) struct Metadata {
    pub(super) endpoints: Endpoints,
    pub(super) all: Map<String, Value>,
    pub(super) date: Option<Timestamp>,
}

/// The server.
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) auth: ClientAuth,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) keyring: Arc<KeyRing>,
    pub(super) http: HttpClient,
    pub(super) allow_private: bool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// As configured.
    pub(super) fixed: Option<Arc<Endpoints>>,
    /// As found, and until when that is believed.
    pub(super) found: ArcSwapOption<(Timestamp, Arc<Endpoints>)>,
}

impl Answer {
    /// The body as one strict JSON object.
    pub(super) fn object(&self) -> Option<Map<String, Value>> {
        parse_object(&self.body, MAX_DEPTH).ok()
    }

    /// The `error` of RFC 6749 §5.2, or nothing.
    fn error(&self) -> String {
        let object = self.object().unwrap_or_default();
        object.get("error").and_then(Value::as_str).map(fit).unwrap_or_default()
    }

    /// Status and error, fit to be shown to an operator.
    pub(super) fn said(&self) -> String {
        let object = self.object().unwrap_or_default();
        let text = |member: &str| object.get(member).and_then(Value::as_str).map(fit).unwrap_or_default();
        format!("{} {}: {}", self.status.as_u16(), text("error"), text("error_description"))
    }

    /// What an answer means that is not the one asked for.
    pub(super) fn refusal(&self, what: &str) -> MintError {
        let why = format!("the authorization server {what}: {}", self.said());
        match (self.status.as_u16(), self.error().as_str()) {
            (408 | 500.., _) => MintError::Unavailable(why),
            (429, _) | (_, "temporarily_unavailable" | "slow_down") => MintError::Unreached(why),
            (401, _) | (_, "invalid_client" | "unauthorized_client" | "unsupported_grant_type") => {
                MintError::Misconfigured(format!(
                    "{why}; register the client there with this grant and its way to authenticate"
                ))
            }
            (_, "invalid_request" | "invalid_grant") => MintError::Refused(format!(
                "{why}; it must trust the key set of this broker for subject tokens, and the clocks must be right"
            )),
            _ => MintError::Refused(why),
        }
    }
}

/// What a server wrote, fit for a line of a log.
pub(super) fn fit(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_SAID).collect()
}

impl Server {
    /// Where to ask what.
    ///
    /// # Errors
    /// [`MintError::Unreached`] when that cannot be found out, and `Misconfigured`; nothing else was asked.
    pub(super) async fn endpoints(&self) -> Result<Arc<Endpoints>, MintError> {
        if let Some(fixed) = &self.fixed {
            return Ok(Arc::clone(fixed));
        }
        let (now, known) = (self.clock.now(), self.found.load_full());
        match known.as_deref() {
            Some((until, endpoints)) if now < *until => return Ok(Arc::clone(endpoints)),
            Some(_) | None => {}
        }
        match (self.metadata().await, known) {
            (Ok(metadata), _) => {
                let endpoints = Arc::new(metadata.endpoints);
                self.found.store(Some(Arc::new((now.plus_millis(METADATA_MILLIS), Arc::clone(&endpoints)))));
                Ok(endpoints)
            }
            // What it said before is good enough to end what it gave.
            (Err(error), Some(known)) => {
                tracing::warn!(issuer = %self.issuer, %error, "the metadata could not be read again; what it said before is used");
                Ok(Arc::clone(&known.1))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Read the metadata, by RFC 8414 §3 or as OpenID Connect Discovery has it.
    ///
    /// # Errors
    /// As [`Self::endpoints`].
    pub(super) async fn metadata(&self) -> Result<Metadata, MintError> {
        let wrong = |why: String| MintError::Misconfigured(format!("the metadata of {}: {why}", self.issuer));
        let (mut base, bare) = match Url::parse(&self.issuer) {
            Ok(url) => (url, self.issuer.trim_end_matches('/')),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let path = format!("/.well-known/oauth-authorization-server{}", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let mut answer = self.get(base).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let url = Url::parse(&format!("{bare}/.well-known/openid-configuration"));
            answer = self.get(url.map_err(|error| wrong(error.to_string()))?).await?;
        }
        if answer.status != StatusCode::OK {
            let why = format!("the metadata of {}: {}", self.issuer, answer.said());
            let passes = answer.status.is_server_error()
                || matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            return Err(if passes { MintError::Unreached(why) } else { wrong(answer.said()) });
        }
        let all = answer.object().ok_or_else(|| wrong("not a JSON object".to_owned()))?;
        if all.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(wrong("it is of another issuer; `issuer` must be written as there".to_owned()));
        }
        let url = |member: &str| match all.get(member).map(|url| url.as_str().unwrap_or_default().parse::<Url>()) {
            None => Ok(None),
            Some(Ok(url)) => Ok(Some(url)),
            Some(Err(error)) => Err(wrong(format!("`{member}`: {error}"))),
        };
        let endpoints = Endpoints {
            introspection: url("introspection_endpoint")?,
            revocation: url("revocation_endpoint")?,
            token: url("token_endpoint")?.ok_or_else(|| wrong("no `token_endpoint`".to_owned()))?,
        };
        Ok(Metadata { endpoints, all, date: answer.date })
    }

    async fn get(&self, url: Url) -> Result<Answer, MintError> {
        let answer = self.send(Outgoing::get(url)).await;
        // Looking does nothing.
        answer.map_err(|error| if let MintError::Unavailable(why) = error { MintError::Unreached(why) } else { error })
    }

    async fn send(&self, request: Outgoing) -> Result<Answer, MintError> {
        let limits = FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private: self.allow_private };
        let answer = self.http.send(request, limits).await;
        let Incoming { status, headers, body } = answer.map_err(|error| unheard("the authorization server", error))?;
        Ok(Answer { status, date: date(&headers), body: Zeroizing::new(body) })
    }

    /// Send a form as the client we are.
    ///
    /// # Errors
    /// [`MintError`] when there is no answer.
    pub(super) async fn post(&self, url: &Url, form: &[(&str, &str)]) -> Result<Answer, MintError> {
        let request = self.request(url, form)?;
        self.send(request).await
    }

    fn request(&self, url: &Url, form: &[(&str, &str)]) -> Result<Outgoing, MintError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let mut body = Serializer::new(String::new());
        body.extend_pairs(form);
        match &self.auth {
            ClientAuth::Secret(secret) => drop(headers.insert(AUTHORIZATION, basic(&self.client_id, secret)?)),
            ClientAuth::Signature => {
                let assertion = self.assertion()?;
                body.append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                body.append_pair("client_assertion", assertion.expose_secret());
            }
        }
        let body = body.finish().into_bytes();
        Ok(Outgoing { method: Method::POST, url: url.clone(), headers, body })
    }

    /// RFC 7523 §3, its audience the issuer alone as rfc7523bis has it.
    fn assertion(&self) -> Result<SecretString, MintError> {
        let claims = json!({ "iss": self.client_id, "sub": self.client_id });
        self.sign("client-authentication+jwt", claims)
    }

    /// Sign something that only this server takes, only now and only once.
    ///
    /// # Errors
    /// [`MintError::Unreached`] when there is no key to sign with.
    pub(super) fn sign(&self, typ: &str, mut claims: Value) -> Result<SecretString, MintError> {
        let now = self.clock.now();
        let mut nonce = [0_u8; 16];
        self.entropy.fill(&mut nonce);
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("aud".to_owned(), self.issuer.as_str().into());
            claims.insert("exp".to_owned(), now.as_secs().saturating_add(SIGNED_SECS).into());
            claims.insert("iat".to_owned(), now.as_secs().into());
            claims.insert("jti".to_owned(), data_encoding::BASE64URL_NOPAD.encode(&nonce).into());
        }
        let key = self.keyring.signing_key(self.algorithm, now).ok_or_else(|| {
            MintError::Unreached(format!("no {} key may sign now; keys are being rotated", self.algorithm))
        })?;
        key.sign_compact(typ, &claims.to_string()).map_err(|error| MintError::Unreached(error.to_string()))
    }

    /// End a token. That it is gone is not proven by it: a server says the same of what it does not know.
    ///
    /// # Errors
    /// [`MintError`] when the server does not say that it is ended.
    pub(super) async fn revoke(&self, at: &Url, token: &SecretString, hint: &str) -> Result<(), MintError> {
        let answer = self.post(at, &[("token", token.expose_secret()), ("token_type_hint", hint)]).await?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(answer.refusal("does not revoke the token")) }
    }

    /// What the server says of a token, if it is active.
    ///
    /// # Errors
    /// [`MintError`] when it does not say.
    pub(super) async fn introspect(
        &self,
        at: &Url,
        token: &SecretString,
    ) -> Result<Option<Map<String, Value>>, MintError> {
        let answer = self.post(at, &[("token", token.expose_secret()), ("token_type_hint", "access_token")]).await?;
        let state = if answer.status == StatusCode::OK { answer.object() } else { None };
        match state.as_ref().and_then(|state| state.get("active")) {
            Some(Value::Bool(true)) => Ok(state),
            Some(Value::Bool(false)) => Ok(None),
            Some(_) | None => Err(answer.refusal("does not say whether the token is active")),
        }
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded first.
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, MintError> {
    let encoded = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
    let pair = Zeroizing::new(format!("{}:{}", *encoded(client_id), *encoded(secret.expose_secret())));
    let header = Zeroizing::new(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&header)
        .map_err(|_| MintError::Misconfigured("`client_secret` is not one that HTTP can carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

//! What the fake knows and how it answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hallpass::domain::Timestamp;
use hallpass::sys::keys::KeyRing;
use hallpass::sys::{Clock, Entropy as _, SystemEntropy};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use josekit::jwk::Jwk;
use josekit::jws::ES256;
use serde_json::{Map, Value, json};

use super::{CLIENT_ID, Call, Fault, Other, SECRET};

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) scope: String,
    pub(crate) aud: Vec<String>,
    /// The claims of the subject token.
    pub(crate) subject: Value,
    pub(crate) expires_at: Timestamp,
}

pub(crate) struct World {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: Arc<KeyRing>,
    /// The broker's public URL.
    pub(super) broker: String,
    /// Keys of a broker elsewhere.
    pub(super) published: Vec<Value>,
    pub(crate) issuer: String,
    pub(crate) life: i64,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) ever: Vec<String>,
    /// What was signed once and is taken no more.
    pub(super) jtis: Vec<String>,
    pub(super) calls: Vec<(Call, BTreeMap<String, String>)>,
    pub(super) next: BTreeMap<Call, VecDeque<Fault>>,
    pub(super) always: BTreeMap<Call, Fault>,
    pub(super) other: Option<Other>,
    /// What its metadata says otherwise; null takes a member away.
    pub(crate) metadata: Map<String, Value>,
    /// Whether it has its metadata only where OpenID Connect Discovery looks.
    pub(crate) by_openid: bool,
}

fn say(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body.clone())).into_response()
}

fn no(status: u16, error: &str) -> Response {
    say(status, &json!({ "error": error, "error_description": "as told" }))
}

fn kind(method: &Method, path: &str) -> Option<Call> {
    Some(match (method.as_str(), path) {
        ("GET", path) if path.contains("/.well-known/") => Call::Metadata,
        ("POST", "/token") => Call::Exchange,
        ("POST", "/revoke") => Call::Revoke,
        ("POST", "/introspect") => Call::Introspect,
        _ => return None,
    })
}

pub(super) async fn answer(
    State(world): State<Arc<Mutex<World>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(call) = kind(&method, uri.path()) else { return StatusCode::NOT_FOUND.into_response() };
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let mut form: BTreeMap<String, String> = pairs.iter().cloned().collect();
    assert_eq!(form.len(), pairs.len(), "no parameter comes twice");
    let fault = {
        let mut world = world.lock().unwrap();
        world.calls.push((call, form.clone()));
        let next = world.next.get_mut(&call).and_then(VecDeque::pop_front);
        next.or_else(|| world.always.get(&call).copied())
    };
    match fault {
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::Says(status, error)) => return no(status, error),
        Some(Fault::Moved) => return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/token")]).into_response(),
        Some(Fault::Unheard | Fault::Endless) | None => {}
    }
    let mut world = world.lock().unwrap();
    let mut done = if call == Call::Metadata {
        world.publish(uri.path())
    } else {
        match world.check_client(&headers, &mut form) {
            Err(why) => no(401, why),
            Ok(()) => world.act(call, &form),
        }
    };
    let date = jiff::Timestamp::from_millisecond(world.clock.now().as_millis()).unwrap();
    let date =
        jiff::fmt::strtime::format("%a, %d %b %Y %H:%M:%S GMT", &date.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    done.headers_mut().insert(header::DATE, date.parse().unwrap());
    match fault {
        Some(Fault::Unheard) => no(502, "server_error"),
        Some(Fault::Endless) => "x".repeat(200_000).into_response(),
        _ => done,
    }
}

impl World {
    /// Go by another clock.
    pub(crate) fn clock_is(&mut self, clock: Arc<dyn Clock>) {
        self.clock = clock;
    }

    fn publish(&self, path: &str) -> Response {
        let here = if self.by_openid {
            "/realms/acme/.well-known/openid-configuration"
        } else {
            "/.well-known/oauth-authorization-server/realms/acme"
        };
        if path != here {
            return StatusCode::NOT_FOUND.into_response();
        }
        let base = self.issuer.strip_suffix("/realms/acme").unwrap();
        let mut all = json!({
            "issuer": self.issuer, "token_endpoint": format!("{base}/token"),
            "revocation_endpoint": format!("{base}/revoke"), "introspection_endpoint": format!("{base}/introspect"),
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256"], "response_types_supported": [],
        });
        for (member, value) in &self.metadata {
            all[member] = value.clone();
        }
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        say(200, &all)
    }

    /// The claims of something that the broker signed for us just now, once; by josekit.
    fn verified(&mut self, jwt: &str, typ: &str) -> Result<Value, &'static str> {
        let now = self.clock.now();
        let header = josekit::jws::deserialize_compact_with_selector(jwt, |header| {
            let mut keys = self.published.clone();
            keys.extend(self.keys.keys().iter().map(|key| key.public_jwk()));
            let key = keys.into_iter().find(|key| key["kid"].as_str() == header.key_id()).unwrap();
            let verifier = ES256.verifier_from_jwk(&Jwk::from_map(key.as_object().unwrap().clone()).unwrap())?;
            Ok(Some(Box::leak(Box::new(verifier))))
        });
        let (payload, header) = header.map_err(|_| "invalid_request")?;
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        let at = |name: &str| claims[name].as_i64().unwrap();
        let jti = claims["jti"].as_str().unwrap().to_owned();
        let fits = header.token_type() == Some(typ)
            && claims["aud"] == self.issuer
            && at("iat") <= now.as_secs()
            && now.as_secs() < at("exp")
            && at("exp") - at("iat") <= 60
            && !self.jtis.contains(&jti);
        self.jtis.push(jti);
        if fits { Ok(claims) } else { Err("invalid_request") }
    }

    fn check_client(&mut self, headers: &HeaderMap, form: &mut BTreeMap<String, String>) -> Result<(), &'static str> {
        let decoded =
            |text: &str| url::form_urlencoded::parse(format!("x={text}").as_bytes()).into_owned().next().unwrap().1;
        if let Some(basic) = headers.get(header::AUTHORIZATION) {
            let pair = basic.to_str().unwrap().strip_prefix("Basic ").ok_or("invalid_client")?;
            let pair = String::from_utf8(data_encoding::BASE64.decode(pair.as_bytes()).unwrap()).unwrap();
            let (id, secret) = pair.split_once(':').ok_or("invalid_client")?;
            let right = decoded(id) == CLIENT_ID && decoded(secret) == SECRET;
            return if right { Ok(()) } else { Err("invalid_client") };
        }
        let kind = form.remove("client_assertion_type").ok_or("invalid_client")?;
        assert_eq!(kind, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let assertion = form.remove("client_assertion").ok_or("invalid_client")?;
        let claims = self.verified(&assertion, "client-authentication+jwt").map_err(|_| "invalid_client")?;
        let right = claims["iss"] == CLIENT_ID && claims["sub"] == CLIENT_ID;
        if right { Ok(()) } else { Err("invalid_client") }
    }

    fn act(&mut self, call: Call, form: &BTreeMap<String, String>) -> Response {
        let token = form.get("token").cloned().unwrap_or_default();
        match call {
            Call::Metadata => unreachable!("anybody may ask"),
            Call::Exchange => self.exchange(form).unwrap_or_else(|error| no(400, error)),
            Call::Revoke => {
                if self.other != Some(Other::Deaf) {
                    self.tokens.remove(&token);
                }
                StatusCode::OK.into_response()
            }
            Call::Introspect => {
                let now = self.clock.now();
                let mute = self.other == Some(Other::Mute);
                let active = self.tokens.get(&token).filter(|token| now < token.expires_at && !mute);
                say(
                    200,
                    &match active {
                        None => json!({ "active": false }),
                        Some(token) => json!({
                            "active": true, "scope": token.scope, "client_id": CLIENT_ID, "token_type": "Bearer",
                            "aud": token.aud, "exp": token.expires_at.as_secs(), "sub": token.subject["sub"],
                        }),
                    },
                )
            }
        }
    }

    fn exchange(&mut self, form: &BTreeMap<String, String>) -> Result<Response, &'static str> {
        let get = |name: &str| form.get(name).map(String::as_str);
        if get("grant_type") != Some("urn:ietf:params:oauth:grant-type:token-exchange") {
            return Err("unsupported_grant_type");
        }
        let subject = self.verified(get("subject_token").ok_or("invalid_request")?, "JWT")?;
        let subject_fits = subject["iss"] == self.broker
            && subject["scope"].as_str() == get("scope")
            && get("subject_token_type") == Some("urn:ietf:params:oauth:token-type:jwt")
            && get("requested_token_type") == Some("urn:ietf:params:oauth:token-type:access_token");
        if !subject_fits {
            return Err("invalid_request");
        }
        let target = get("resource").or(get("audience")).ok_or("invalid_target")?.to_owned();
        let mut scope = get("scope").filter(|scope| !scope.is_empty()).ok_or("invalid_scope")?.to_owned();
        let (mut life, mut aud) = (self.life, vec![target]);
        match self.other {
            Some(Other::WideScope | Other::SilentScope) => scope.push_str(" contacts:delete"),
            Some(Other::NarrowScope) => scope = scope.split(' ').next().unwrap().to_owned(),
            Some(Other::WideAudience) => aud.push("https://payroll.example/".to_owned()),
            Some(Other::LongLife | Other::SilentLife) => life = 86_400,
            _ => {}
        }
        let mut random = [0_u8; 24];
        SystemEntropy::default().fill(&mut random);
        let mut name = data_encoding::BASE64URL_NOPAD.encode(&random);
        if self.other == Some(Other::SpacedToken) {
            name.push_str(" and more");
        }
        let expires_at = Timestamp::from_secs(self.clock.now().as_secs() + life);
        self.ever.push(name.clone());
        self.tokens.insert(name.clone(), Token { scope: scope.clone(), aud, subject, expires_at });
        let mut given = json!({
            "access_token": name, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "bearer", "expires_in": life, "scope": scope,
        });
        match self.other {
            Some(Other::Refresh) => {
                let name = format!("{name}-refresh");
                given["refresh_token"] = json!(name);
                let token = self.tokens[given["access_token"].as_str().unwrap()].clone();
                self.tokens.insert(name, token);
            }
            Some(Other::Details) => given["authorization_details"] = json!([{ "type": "payment" }]),
            Some(Other::IssuedType) => given["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:id_token"),
            Some(Other::Dpop) => given["token_type"] = json!("DPoP"),
            Some(Other::NoLife) => given["expires_in"] = Value::Null,
            Some(Other::SilentLife) => given["expires_in"] = json!(600),
            Some(Other::SilentScope | Other::NoScope) => drop(given.as_object_mut().unwrap().remove("scope")),
            _ => {}
        }
        Ok(say(200, &given))
    }
}

//! What the fake knows and how it answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hallpass::domain::Timestamp;
use hallpass::sys::{Clock, Entropy as _, SystemEntropy};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use josekit::jws::RS256;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{CLIENT_ID, Call, Fault, INSTALLATION, Wider};

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) repositories: BTreeSet<u64>,
    pub(super) permissions: BTreeMap<String, String>,
    pub(super) expires_at: Timestamp,
}

pub(super) struct World {
    pub(super) clock: Arc<dyn Clock>,
    /// Of the whole installation.
    pub(super) permissions: BTreeMap<String, String>,
    pub(super) repositories: BTreeMap<u64, String>,
    pub(super) suspended: bool,
    pub(super) selection: &'static str,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) ever: Vec<String>,
    pub(super) calls: Vec<(Call, Value)>,
    pub(super) next: BTreeMap<Call, VecDeque<Fault>>,
    pub(super) always: BTreeMap<Call, Fault>,
    pub(super) wider: Option<Wider>,
    /// Says that a token was made, and waits for leave to answer.
    pub(super) held: Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>,
    pub(super) public_pem: Vec<u8>,
    pub(super) root: PathBuf,
}

fn say(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body.clone())).into_response()
}

fn no(status: u16, message: &str) -> Response {
    say(
        status,
        &json!({ "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string() }),
    )
}

fn kind(method: &Method, path: &str) -> Option<Call> {
    Some(match (method.as_str(), path) {
        ("POST", path) if path == format!("/app/installations/{INSTALLATION}/access_tokens") => Call::Mint,
        ("DELETE", "/installation/token") => Call::Delete,
        ("GET", "/installation/repositories") => Call::Probe,
        ("GET", "/app") => Call::Look,
        ("GET", path) if path == format!("/app/installations/{INSTALLATION}") => Call::Look,
        ("GET", path) if path.contains(".git/") => Call::Git,
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
    let Some(call) = kind(&method, uri.path()) else { return no(404, "Not Found") };
    let fault = {
        let mut world = world.lock().unwrap();
        let sent = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        world.calls.push((call, sent));
        let next = world.next.get_mut(&call).and_then(VecDeque::pop_front);
        next.or_else(|| world.always.get(&call).copied())
    };
    match fault {
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::Status(status)) => return no(status, "told to"),
        Some(Fault::AskedTooMuch(secs)) => {
            let mut answer = no(403, "You have exceeded a secondary rate limit.");
            answer.headers_mut().insert(header::RETRY_AFTER, secs.into());
            return answer;
        }
        Some(Fault::NoneLeftUntil(until)) => {
            let mut answer = no(403, "API rate limit exceeded for installation ID 7001.");
            answer.headers_mut().insert("x-ratelimit-remaining", 0.into());
            answer.headers_mut().insert("x-ratelimit-reset", until.as_secs().into());
            return answer;
        }
        Some(Fault::Unheard) | None => {}
    }
    let (mut done, clock, held) = {
        let mut world = world.lock().unwrap();
        let done = world.act(call, uri.path(), &headers, &body);
        (done, Arc::clone(&world.clock), if call == Call::Mint { world.held.take() } else { None })
    };
    if let Some((acted, go)) = held {
        acted.send(()).unwrap();
        go.await.unwrap();
    }
    let date = jiff::Timestamp::from_millisecond(clock.now().as_millis()).unwrap();
    let date =
        jiff::fmt::strtime::format("%a, %d %b %Y %H:%M:%S GMT", &date.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    done.headers_mut().insert(header::DATE, date.parse().unwrap());
    if matches!(fault, Some(Fault::Unheard)) { no(502, "Server Error") } else { done }
}

impl World {
    fn act(&mut self, call: Call, path: &str, headers: &HeaderMap, body: &[u8]) -> Response {
        match call {
            Call::Mint | Call::Look => {
                if let Err(why) = self.check_app(headers) {
                    return no(401, why);
                }
            }
            Call::Delete | Call::Probe | Call::Git => {}
        }
        match call {
            Call::Mint if self.suspended => no(403, "This installation has been suspended"),
            Call::Mint => self.mint(body),
            Call::Look if path == "/app" => say(200, &json!({ "id": 1, "client_id": CLIENT_ID, "slug": "hallpass" })),
            Call::Look => say(
                200,
                &json!({
                    "id": INSTALLATION, "repository_selection": self.selection, "permissions": self.permissions,
                    "suspended_at": self.suspended.then_some("2026-01-01T00:00:00Z"),
                }),
            ),
            Call::Delete => match self.holder(headers) {
                Some(name) => {
                    self.tokens.remove(&name);
                    StatusCode::NO_CONTENT.into_response()
                }
                None => no(401, "Bad credentials"),
            },
            Call::Probe => match self.holder(headers) {
                Some(name) => {
                    say(200, &json!({ "total_count": self.tokens[&name].repositories.len(), "repositories": [] }))
                }
                None => no(401, "Bad credentials"),
            },
            Call::Git => self.serve(path, headers),
        }
    }

    /// What GitHub asks of an App's JWT: RS256, `iss`, no time in the future, at most ten minutes.
    fn check_app(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let jwt = bearer.strip_prefix("Bearer ").ok_or("A JSON web token could not be decoded")?;
        let verifier = RS256.verifier_from_pem(&self.public_pem).unwrap();
        let (payload, jws) =
            josekit::jws::deserialize_compact(jwt, &verifier).map_err(|_| "A JSON web token could not be decoded")?;
        assert_eq!(jws.algorithm(), Some("RS256"));
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        let now = self.clock.now().as_secs();
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        if claims["iss"] != CLIENT_ID {
            return Err("'Issuer' claim ('iss') must be an Integer or a client id");
        }
        if iat > now || exp <= now {
            return Err("'Issued at' claim ('iat') or 'Expiration time' claim ('exp') is off");
        }
        if exp - now > 600 {
            return Err("'Expiration time' claim ('exp') is too far in the future");
        }
        Ok(())
    }

    fn mint(&mut self, body: &[u8]) -> Response {
        let body: Value = serde_json::from_slice(body).unwrap();
        // Absent or empty is everything, as at the real one.
        let asked = |member: &str| body.get(member).filter(|value| **value != json!([]) && **value != json!({}));
        let ids: BTreeSet<u64> = match asked("repository_ids") {
            Some(ids) => ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect(),
            None => self.repositories.keys().copied().collect(),
        };
        if ids.iter().any(|id| !self.repositories.contains_key(id)) {
            return no(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            );
        }
        let mut permissions: BTreeMap<String, String> = match asked("permissions") {
            Some(asked) => serde_json::from_value(asked.clone()).unwrap(),
            None => self.permissions.clone(),
        };
        let rank = |level: &str| ["read", "write", "admin"].iter().position(|one| *one == level);
        let held = |(name, level): (&String, &String)| {
            self.permissions
                .get(name)
                .is_some_and(|most| rank(level).is_some_and(|rank_of| Some(rank_of) <= rank(most)))
        };
        if !permissions.iter().all(held) {
            return no(422, "The permissions requested are not granted to this installation.");
        }
        permissions.insert("metadata".to_owned(), "read".to_owned());
        let (mut ids, mut life, mut selection) = (ids, 3600, "selected");
        match self.wider {
            Some(Wider::Level) => drop(permissions.insert("contents".to_owned(), "write".to_owned())),
            Some(Wider::Permission) => drop(permissions.insert("issues".to_owned(), "read".to_owned())),
            Some(Wider::Repository) => ids = self.repositories.keys().copied().collect(),
            Some(Wider::AllRepositories) => selection = "all",
            Some(Wider::Life) => life = 86_400,
            Some(Wider::Silent) | None => {}
        }
        let mut random = [0_u8; 27];
        SystemEntropy::default().fill(&mut random);
        let name = format!("ghs_{}", data_encoding::BASE64URL_NOPAD.encode(&random));
        let expires_at = Timestamp::from_secs(self.clock.now().as_secs() + life);
        let repositories: Vec<Value> = ids
            .iter()
            .map(|id| json!({ "id": id, "full_name": self.repositories[id], "private": true, "owner": { "login": "acme" } }))
            .collect();
        let mut given = json!({
            "token": name, "expires_at": expires_at.to_string(), "permissions": permissions,
            "repository_selection": selection, "repositories": repositories,
        });
        if self.wider == Some(Wider::Silent) {
            given.as_object_mut().unwrap().remove("permissions");
        }
        self.ever.push(name.clone());
        self.tokens.insert(name, Token { repositories: ids, permissions, expires_at });
        say(201, &given)
    }

    /// The token that is shown and honoured.
    fn holder(&self, headers: &HeaderMap) -> Option<String> {
        let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let name = match shown.split_once(' ')? {
            ("Bearer" | "token", name) => name.to_owned(),
            ("Basic", pair) => {
                let pair = String::from_utf8(data_encoding::BASE64.decode(pair.as_bytes()).ok()?).ok()?;
                pair.strip_prefix("x-access-token:")?.to_owned()
            }
            _ => return None,
        };
        let works = self.tokens.get(&name).is_some_and(|token| self.clock.now() < token.expires_at);
        works.then_some(name)
    }

    /// A file of a repository, to whoever may read it; the others hear that there is none.
    fn serve(&self, path: &str, headers: &HeaderMap) -> Response {
        let Some(name) = self.holder(headers) else {
            let mut answer = no(401, "Bad credentials");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, "Basic realm=\"GitHub\"".parse().unwrap());
            return answer;
        };
        let token = &self.tokens[&name];
        let (repository, _) = path.trim_start_matches('/').split_once(".git/").unwrap();
        let id = self.repositories.iter().find(|(_, full)| *full == repository).map(|(id, _)| *id);
        let may = id.is_some_and(|id| token.repositories.contains(&id)) && token.permissions.contains_key("contents");
        let file = self.root.join(path.trim_start_matches('/'));
        match std::fs::read(file) {
            Ok(bytes) if may && !path.contains("..") => bytes.into_response(),
            Ok(_) | Err(_) => no(404, "Not Found"),
        }
    }
}

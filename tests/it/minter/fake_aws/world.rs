//! What it remembers, the door at which every call is checked, and the data that sessions are for: objects of `s3`, read and written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request as HttpRequest, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hallpass::domain::Timestamp;
use hallpass::sys::Clock;
use serde_json::{Value, json};

use super::evaluate::{Context, Verdict, says};
use super::sign::{Request, Signed, short};
use super::{ACCOUNT, BROKER_KEY, BROKER_SECRET, Fault, context, iam, role_arn, sts, trust};

/// A signature is good for so long either way.
const SIGNED_MILLIS: i64 = 300_000;

/// A role's inline policy through time: from when on each text works; `None` is that it is gone.
pub(crate) type Inline = Vec<(Timestamp, Option<String>)>;

pub(crate) struct Role {
    pub(crate) arn: String,
    pub(crate) id: String,
    pub(crate) max_session_seconds: i64,
    pub(crate) trust: Value,
    /// What the role itself may do.
    pub(crate) identity: Value,
    pub(crate) inline: BTreeMap<String, Inline>,
}

impl Role {
    /// As they were written last.
    pub(crate) fn inline_now(&self) -> BTreeMap<String, Value> {
        let last = |inline: &Inline| inline.last().and_then(|(_, text)| text.clone());
        let written = self.inline.iter().filter_map(|(name, inline)| Some((name.clone(), last(inline)?)));
        written.map(|(name, text)| (name, serde_json::from_str(&text).unwrap())).collect()
    }

    fn working(&self, now: Timestamp) -> impl Iterator<Item = Value> {
        let at =
            move |inline: &Inline| inline.iter().rfind(|(from, _)| *from <= now).and_then(|(_, text)| text.clone());
        self.inline.values().filter_map(at).map(|text| serde_json::from_str(&text).unwrap())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) role: String,
    pub(crate) role_id: String,
    pub(crate) name: String,
    pub(crate) policy: Value,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) source_identity: String,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    secret: String,
    pub(crate) token: String,
}

pub(crate) struct World {
    pub(crate) clock: Arc<dyn Clock>,
    /// By how much its clock is ahead.
    pub(crate) ahead_millis: i64,
    /// How long a change in IAM takes to arrive.
    pub(crate) delay_millis: i64,
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    pub(crate) calls: Vec<BTreeMap<String, String>>,
    /// IAM actions that the broker has no right to.
    pub(crate) forbidden: Vec<String>,
    /// By how much policies and tags shrink when they are packed: the share of 2,048 bytes, in percent of their characters.
    pub(crate) packs_to: usize,
    pub(crate) next: BTreeMap<String, VecDeque<Fault>>,
    pub(crate) always: BTreeMap<String, Fault>,
}

/// A refusal: status, code, message.
pub(crate) struct No(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

/// Who calls.
pub(crate) enum Caller {
    Broker,
    Session(Box<Session>),
    /// STS lets a web identity in without a signature.
    Nobody,
}

impl World {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ahead_millis: 0,
            delay_millis: 0,
            roles: BTreeMap::new(),
            sessions: BTreeMap::new(),
            objects: BTreeMap::new(),
            calls: Vec::new(),
            forbidden: Vec::new(),
            packs_to: 80,
            next: BTreeMap::new(),
            always: BTreeMap::new(),
        }
    }

    pub(crate) fn add_role(&mut self, name: &str) {
        let role = Role {
            arn: role_arn(name),
            id: format!("AROA{}Z", short(name)),
            max_session_seconds: 3600,
            trust: trust(),
            identity: json!({ "Version": "2012-10-17", "Statement": [
                { "Effect": "Allow", "Action": ["s3:*", "kms:*", "iam:*", "sts:*"], "Resource": "*" },
            ] }),
            inline: BTreeMap::new(),
        };
        self.roles.insert(name.to_owned(), role);
    }

    /// What its clock shows.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().plus_millis(self.ahead_millis)
    }

    /// A new session, with its keys.
    pub(crate) fn give(&mut self, mut session: Session) -> (String, String, String) {
        let number = self.sessions.len().to_string();
        let key = format!("ASIA{}", short(&number));
        let secret = short(&format!("{number} secret"));
        let token = format!("{}{}", short(&format!("{number} token")), short("and more of it"));
        session.secret.clone_from(&secret);
        session.token.clone_from(&token);
        self.sessions.insert(key.clone(), session);
        (key, secret, token)
    }

    pub(crate) fn session(
        role: &str,
        role_id: &str,
        name: &str,
        policy: Value,
        life: (Timestamp, Timestamp),
    ) -> Session {
        Session {
            role: role.to_owned(),
            role_id: role_id.to_owned(),
            name: name.to_owned(),
            policy,
            tags: BTreeMap::new(),
            source_identity: String::new(),
            issued_at: life.0,
            expires_at: life.1,
            secret: String::new(),
            token: String::new(),
        }
    }

    /// What AWS would decide of a session's request: a denial anywhere wins; else both the role and the session must allow it.
    pub(crate) fn allows(&self, key: &str, action: &str, resource: &str, now: Timestamp) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        now < session.expires_at && self.decides(session, action, resource, &context(session, now), now)
    }

    fn decides(&self, session: &Session, action: &str, resource: &str, context: &Context, now: Timestamp) -> bool {
        let role = &self.roles[&session.role];
        let ask = |policy: &Value| says(policy, action, resource, context).unwrap();
        let (identity, narrowed) = (ask(&role.identity), ask(&session.policy));
        let denied = role.working(now).any(|policy| ask(&policy) == Verdict::Denied);
        !denied && identity == Verdict::Allowed && narrowed == Verdict::Allowed
    }

    fn caller(&self, request: &Request<'_>) -> Result<(Caller, String), No> {
        let Some(signed) = Signed::read(request.headers) else {
            return Ok((Caller::Nobody, "sts".to_owned()));
        };
        if self.now().millis_since(signed.at).abs() > SIGNED_MILLIS {
            return Err(No(403, "SignatureDoesNotMatch", "Signature expired".to_owned()));
        }
        let wanted = if signed.service == "iam" { "us-east-1" } else { super::REGION };
        if signed.region != wanted {
            return Err(No(403, "SignatureDoesNotMatch", format!("scoped to {}", signed.region)));
        }
        let token = request.headers.get("x-amz-security-token");
        let (caller, secret) = match self.sessions.get(&signed.key) {
            _ if signed.key == BROKER_KEY && token.is_none() => (Caller::Broker, BROKER_SECRET.to_owned()),
            Some(session) if token == Some(&session.token) => {
                if self.now() >= session.expires_at {
                    return Err(No(403, "ExpiredToken", "the security token is expired".to_owned()));
                }
                (Caller::Session(Box::new(session.clone())), session.secret.clone())
            }
            Some(_) | None => return Err(No(403, "InvalidClientTokenId", "the security token is invalid".to_owned())),
        };
        if !signed.is_by(&secret, request) {
            return Err(No(403, "SignatureDoesNotMatch", "the signature does not match".to_owned()));
        }
        Ok((caller, signed.service))
    }

    fn object(&mut self, session: &Session, request: &Request<'_>) -> Result<Vec<u8>, No> {
        let action = match request.method {
            "GET" => "s3:GetObject",
            "PUT" => "s3:PutObject",
            other => return Err(No(405, "MethodNotAllowed", other.to_owned())),
        };
        let key = request.path.trim_start_matches('/').to_owned();
        let now = self.now();
        if !self.decides(session, action, &format!("arn:aws:s3:::{key}"), &context(session, now), now) {
            return Err(No(403, "AccessDenied", "Access Denied".to_owned()));
        }
        if action == "s3:PutObject" {
            self.objects.insert(key, request.body.to_vec());
            return Ok(Vec::new());
        }
        self.objects.get(&key).cloned().ok_or_else(|| No(404, "NoSuchKey", "the key does not exist".to_owned()))
    }

    fn handle(&mut self, request: &Request<'_>) -> Result<Vec<u8>, No> {
        let (caller, service) = self.caller(request)?;
        if service == "s3" {
            let Caller::Session(session) = caller else { return Err(No(403, "AccessDenied", String::new())) };
            return self.object(&session, request);
        }
        let members: BTreeMap<String, String> = url::form_urlencoded::parse(request.body)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let action = members.get("Action").cloned().unwrap_or_default();
        self.calls.push(members.clone());
        let fault =
            self.next.get_mut(&action).and_then(VecDeque::pop_front).or_else(|| self.always.get(&action).cloned());
        if let Some(Fault::Says(status, code)) = fault {
            return Err(No(status, code, "as told".to_owned()));
        }
        let answer = match service.as_str() {
            "sts" => sts::answer(self, &caller, &action, &members),
            "iam" => iam::answer(self, &caller, &action, &members),
            other => Err(No(400, "InvalidAction", other.to_owned())),
        };
        match fault {
            Some(Fault::Unheard) => Err(No(500, "InternalFailure", String::new())),
            Some(Fault::Hang) => Err(No(0, "", String::new())),
            Some(Fault::Says(..)) | None => answer.map(String::into_bytes),
        }
    }

    /// The account of everybody.
    pub(super) const fn account() -> &'static str {
        ACCOUNT
    }
}

/// The door.
pub(super) async fn answer(State(world): State<Arc<Mutex<World>>>, request: HttpRequest<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let request = Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body: &body,
    };
    let (answer, now) = {
        let mut world = world.lock().unwrap();
        (world.handle(&request), world.now())
    };
    let seconds = jiff::Timestamp::from_second(now.as_secs()).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&seconds).unwrap();
    let head = [(header::DATE, date), (header::CONTENT_TYPE, "text/xml".to_owned())];
    match answer {
        Ok(bytes) => (head, bytes).into_response(),
        Err(No(0, ..)) => std::future::pending().await,
        Err(No(status, code, message)) => {
            let xml = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>r</RequestId></ErrorResponse>"
            );
            let xml = if headers.get("authorization").is_some_and(|text| text.contains("/s3/")) {
                format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
            } else {
                xml
            };
            (StatusCode::from_u16(status).unwrap(), head, xml).into_response()
        }
    }
}

//! A server on loopback that takes what is sent and remembers it, and answers as a test wants; and the broker that sends.

use std::collections::VecDeque;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hallpass::domain::{Actor, AuditEvent, EventKind, Person, Subjects};
use hallpass::store::{KnownPerson, Store};
use hallpass::sys::{Clock as _, Ids, SystemEntropy};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use crate::support::database::settings_of;
use crate::support::harness::{Harness, Options, PEOPLE};

/// One call that came in.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Call {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// How a call is answered that is not simply taken.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// With this status, and `Retry-After` if there is one.
    Status(u16, Option<&'static str>),
    /// It is taken, and no answer ever comes.
    TakenAndSilent,
    /// It is taken, and the connection breaks before the answer is told.
    TakenAndLost,
    /// It is sent somewhere else.
    Redirect,
}

/// What the server holds.
#[derive(Default)]
pub(super) struct Held {
    pub(super) calls: Vec<Call>,
    pub(super) faults: VecDeque<Fault>,
    /// What a chat shows now, by `ts`.
    pub(super) messages: Vec<(String, Value)>,
    /// What a chat told somebody alone, each time.
    pub(super) whispers: Vec<Value>,
}

#[derive(Clone)]
pub(super) struct Outside {
    pub(super) held: Arc<Mutex<Held>>,
    pub(super) url: String,
}

impl Outside {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let held = Arc::new(Mutex::new(Held::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&held));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { held, url }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.held.lock().unwrap().calls.clone()
    }

    /// Wait until so many calls have come in.
    pub(super) async fn until(&self, calls: usize) {
        while self.calls().len() < calls {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.held.lock().unwrap().faults.extend(faults);
    }

    pub(super) fn messages(&self) -> Vec<Value> {
        self.held.lock().unwrap().messages.iter().map(|(_, message)| message.clone()).collect()
    }

    pub(super) fn whispers(&self) -> Vec<String> {
        self.held.lock().unwrap().whispers.iter().map(|said| said["text"].as_str().unwrap().to_owned()).collect()
    }

    /// The buttons that can be pressed in any copy of any message.
    pub(super) fn buttons(&self) -> Vec<String> {
        let messages = self.messages();
        let blocks = messages.iter().flat_map(|message| message["blocks"].as_array().unwrap().clone());
        let elements =
            blocks.filter(|block| block["type"] == "actions").flat_map(|b| b["elements"].as_array().unwrap().clone());
        elements.map(|element| element["action_id"].as_str().unwrap().to_owned()).collect()
    }
}

async fn answer(State(held): State<Arc<Mutex<Held>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let call = Call { path: uri.path().to_owned(), headers, body: String::from_utf8(body.to_vec()).unwrap() };
    let (fault, reply) = {
        let mut held = held.lock().unwrap();
        held.calls.push(call.clone());
        let fault = held.faults.pop_front();
        let taken = !matches!(fault, Some(Fault::Status(..) | Fault::Redirect));
        (fault, if taken { take(&mut held, &call) } else { Value::Null })
    };
    match fault {
        None => axum::Json(reply).into_response(),
        Some(Fault::TakenAndSilent) => std::future::pending().await,
        Some(Fault::TakenAndLost) => {
            let broken: Result<Bytes, std::io::Error> = Err(std::io::ErrorKind::BrokenPipe.into());
            axum::body::Body::from_stream(futures_util::stream::iter([broken])).into_response()
        }
        Some(Fault::Redirect) => (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response(),
        Some(Fault::Status(status, None)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::Status(status, Some(after))) => {
            (StatusCode::from_u16(status).unwrap(), [("retry-after", after)]).into_response()
        }
    }
}

/// What a chat does with a call; anything else is just taken.
fn take(held: &mut Held, call: &Call) -> Value {
    match call.path.as_str() {
        "/api/chat.postMessage" => {
            let ts = format!("1700000000.{:06}", held.messages.len() + 1);
            held.messages.push((ts.clone(), call.json()));
            json!({ "ok": true, "channel": "C0001", "ts": ts })
        }
        "/api/chat.update" => {
            let update = call.json();
            match held.messages.iter_mut().find(|(ts, _)| update["ts"] == ts.as_str()) {
                Some((_, message)) => {
                    *message = update;
                    json!({ "ok": true })
                }
                None => json!({ "ok": false, "error": "message_not_found" }),
            }
        }
        "/api/auth.test" => json!({ "ok": true, "team_id": "T0001" }),
        "/actions/respond" => {
            held.whispers.push(call.json());
            json!({})
        }
        _ => json!({ "ok": true }),
    }
}

/// Files that only their owner may read, for secrets.
pub(super) fn secret(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    path.display().to_string()
}

/// The broker with channels, once their cursors have begun.
pub(super) async fn broker(notify: Vec<String>) -> Harness {
    broker_of(Options { notify, ..Options::default() }).await
}

pub(super) async fn broker_of(options: Options) -> Harness {
    let h = Harness::with(options).await;
    tell(&h).await;
    h
}

/// Work out who is to be told and tell them, until nothing is left to do now.
pub(super) async fn tell(h: &Harness) {
    loop {
        let mut report = h.broker.sweep_notices().await.unwrap();
        for channel in h.broker.channels() {
            let sent = h.broker.send_notices(&channel).await.unwrap();
            report.done += sent.done;
            report.more |= sent.more;
        }
        if report.done == 0 && !report.more {
            return;
        }
    }
}

/// The clock goes on, and what is due then is told.
pub(super) async fn later(h: &Harness, secs: i64) {
    h.clock.advance_secs(secs);
    tell(h).await;
}

/// A request that waits for release-approvers: its task and its id.
pub(super) async fn pending(h: &Harness) -> (String, String) {
    let ask = json!({ "purpose": "publish v1.4.2", "message": "<!channel> click *here*", "ttl_seconds": 600,
        "scopes": ["api:releases:write(prefix=v1)"] });
    let task = h.post("/v1/tasks", &h.agent("release-bot"), &ask).await.expect(202);
    let request = task["requests"][0]["id"].as_str().unwrap().to_owned();
    (task["id"].as_str().unwrap().to_owned(), request)
}

/// The approver's verdict.
pub(super) async fn decide(h: &Harness, request: &str, verdict: &str) {
    let approver = h.approver();
    let view = h.get(&format!("/v1/requests/{request}"), &approver).await.expect(200);
    let ask = json!({ "verdict": verdict, "request_digest": view["request_digest"], "reason": "looked at it" });
    h.post(&format!("/v1/requests/{request}/verdict"), &approver, &ask).await.expect(200);
}

/// Another way to the store of a harness.
pub(super) async fn store(h: &Harness) -> Store {
    Store::open(&settings_of(&h.store, h.dir.path())).await.unwrap()
}

/// Let it be known, as a sign-in does, who somebody is.
pub(super) async fn known(h: &Harness, subject: &str, person: &str, email: Option<&str>, groups: &[&str]) {
    let store = store(h).await;
    let known = KnownPerson {
        issuer: PEOPLE.to_owned(),
        subject: subject.to_owned(),
        person: Person::new(person),
        email: email.map(str::to_owned),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        seen_at: h.clock.now(),
        recheck_at: None,
    };
    let mut tx = store.begin("known");
    tx.insert_known_person(&known);
    let ids = Ids::new(Arc::clone(&h.clock) as _, Arc::new(SystemEntropy::default()));
    let event = AuditEvent {
        id: ids.event(),
        at: h.clock.now(),
        kind: EventKind::IdentityVerified,
        actor: Actor::Broker,
        subjects: Subjects::default(),
        data: std::collections::BTreeMap::new(),
    };
    tx.commit(event).await.unwrap();
    store.close().await;
}

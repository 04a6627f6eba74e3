//! The whole broker in one process: real router, real database, real policy bundle and real tokens; only the clock stands
//! still until it is moved, and the sandbox backend remembers what it honours.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use hallpass::broker::{Broker, LimitSettings};
use hallpass::domain::Timestamp;
use hallpass::http::Peer;
use hallpass::minter::SandboxBackend;
use hallpass::policy::Bundle;
use hallpass::sys::{Clock, Entropy, ManualClock, SecretString, SystemEntropy};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::built::{build, door};
use super::idp::{NOW_SECS, TestKey};

/// Where the broker under test says it is; the audience of identity tokens.
pub(crate) const PUBLIC_URL: &str = "https://hallpass.test";
/// The issuers of the shipped bundle.
pub(crate) const AGENTS: &str = "http://127.0.0.1:8601";
pub(crate) const PEOPLE: &str = "http://127.0.0.1:8601/people";
/// The audience of the shipped bundle's `api` scopes.
pub(crate) const API_AUDIENCE: &str = "https://releases.hallpass.example";
pub(super) const SERVER_SECRET: &str = "a resource server's secret, 32 characters";

/// What a test may want different.
pub(crate) struct Options {
    pub(crate) bundle: BTreeMap<String, String>,
    pub(crate) limits: LimitSettings,
    pub(crate) single_use: bool,
    /// The store's URL; the one of the harness's folder when absent.
    pub(crate) store: Option<String>,
    /// Backends besides the usual ones, each as TOML.
    pub(crate) backends: Vec<String>,
    /// The identity provider people sign in at; the one of the people's tokens, which is not there, when absent.
    pub(crate) provider: Option<String>,
    /// Channels by which people are told, each as TOML.
    pub(crate) notify: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let generous =
            LimitSettings { address_per_minute: 10_000, issuer_per_minute: 100_000, operator_per_minute: 10_000 };
        Self {
            bundle: shipped_bundle(),
            limits: generous,
            single_use: false,
            store: None,
            backends: Vec::new(),
            provider: None,
            notify: Vec::new(),
        }
    }
}

impl Options {
    /// Add policies, or replace a file of the bundle.
    pub(crate) fn with_file(mut self, path: &str, text: &str) -> Self {
        self.bundle.insert(path.to_owned(), text.to_owned());
        self
    }

    /// Replace a text in a file of the bundle; it must be there.
    pub(crate) fn with_change(mut self, path: &str, from: &str, to: &str) -> Self {
        let text = self.bundle.get_mut(path).unwrap();
        assert!(text.contains(from), "`{from}` is not in {path}");
        *text = text.replace(from, to);
        self
    }
}

/// The files of the bundle that the project ships, without its golden tests.
pub(crate) fn shipped_bundle() -> BTreeMap<String, String> {
    static SHIPPED: std::sync::OnceLock<Bundle> = std::sync::OnceLock::new();
    let bundle = SHIPPED.get_or_init(|| Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap());
    bundle.files().iter().filter(|(path, _)| !path.starts_with("tests/")).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The broker, and what tests hold of it.
pub(crate) struct Harness {
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sandbox: Arc<SandboxBackend>,
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) keys: Arc<TestKey>,
    pub(crate) store: String,
    kek: SecretString,
    bundle: BTreeMap<String, String>,
    backends: Vec<String>,
    pub(crate) notify: Vec<String>,
    single_use: bool,
    provider: Option<String>,
    limits: LimitSettings,
    router: axum::Router,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The JSON of an answer that must have this status.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = TestKey::es256("idp-1");
        std::fs::write(dir.path().join("jwks.json"), json!({ "keys": [keys.public] }).to_string()).unwrap();
        let mut raw = [0_u8; 32];
        SystemEntropy::default().fill(&mut raw);
        let kek = SecretString::from(data_encoding::BASE64.encode(&raw));
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(NOW_SECS)));
        let sandbox = Arc::new(SandboxBackend::default());
        let Options { bundle, limits, single_use, store, backends, provider, notify } = options;
        let store = store.unwrap_or_else(|| super::database::url(dir.path()));
        let broker = build(
            (dir.path(), &store),
            &kek,
            (&bundle, &backends, &notify),
            limits,
            (single_use, provider.as_deref()),
            &clock,
            &sandbox,
        )
        .await;
        let router = door(&broker);
        let (dir, keys) = (Arc::new(dir), Arc::new(keys));
        Self {
            broker,
            clock,
            sandbox,
            dir,
            keys,
            store,
            kek,
            bundle,
            backends,
            notify,
            single_use,
            provider,
            limits,
            router,
        }
    }

    /// A broker like this one.
    async fn build(&self, dir: &Path, store: &str, bundle: &BTreeMap<String, String>) -> Broker {
        let told = (bundle, self.backends.as_slice(), self.notify.as_slice());
        let people = (self.single_use, self.provider.as_deref());
        build((dir, store), &self.kek, told, self.limits, people, &self.clock, &self.sandbox).await
    }

    /// Stop, and start again on the same files. The backend outlives it, as a backend does.
    pub(crate) async fn restart(&mut self) {
        self.broker.stop().await;
        self.broker = self.build(self.dir.path(), &self.store, &self.bundle).await;
        self.router = door(&self.broker);
    }

    /// The key-encryption key.
    pub(crate) fn kek(&self) -> &str {
        hallpass::sys::ExposeSecret::expose_secret(&self.kek)
    }

    /// Stop, do something to the files, and start again.
    pub(crate) async fn restart_after(&mut self, between: impl FnOnce(&Path)) {
        self.broker.stop().await;
        between(self.dir.path());
        self.restart().await;
    }

    /// Another broker on a copy of the store, with the same backend, which takes it for the same or not. This one is stopped
    /// meanwhile.
    pub(crate) async fn fork(&mut self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(self.dir.path().join("jwks.json"), dir.path().join("jwks.json")).unwrap();
        self.restart_after(|folder| super::database::copy(folder, dir.path())).await;
        let store = super::database::url(dir.path());
        let broker = self.build(dir.path(), &store, &self.bundle).await;
        Self {
            router: door(&broker),
            broker,
            clock: Arc::clone(&self.clock),
            sandbox: Arc::clone(&self.sandbox),
            dir: Arc::new(dir),
            store,
            keys: Arc::clone(&self.keys),
            kek: self.kek.clone(),
            bundle: self.bundle.clone(),
            backends: self.backends.clone(),
            notify: self.notify.clone(),
            single_use: self.single_use,
            provider: self.provider.clone(),
            limits: self.limits,
        }
    }

    /// The same with a changed bundle.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        change(&mut self.bundle);
        self.restart().await;
    }

    /// Another broker on the same files, with a changed bundle, which it puts into force; neither knows of the other.
    pub(crate) async fn replica_with(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Self {
        let mut bundle = self.bundle.clone();
        change(&mut bundle);
        let broker = self.build(self.dir.path(), &self.store, &bundle).await;
        Self {
            router: door(&broker),
            broker,
            clock: Arc::clone(&self.clock),
            sandbox: Arc::clone(&self.sandbox),
            dir: Arc::clone(&self.dir),
            keys: Arc::clone(&self.keys),
            store: self.store.clone(),
            kek: self.kek.clone(),
            bundle,
            backends: self.backends.clone(),
            notify: self.notify.clone(),
            single_use: self.single_use,
            provider: self.provider.clone(),
            limits: self.limits,
        }
    }

    /// Put a changed bundle into force, as the watch on the folder would.
    pub(crate) async fn change_bundle(&mut self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        change(&mut self.bundle);
        let bundle = Bundle::from_files(self.bundle.clone()).unwrap();
        self.broker.activate_bundle(bundle, hallpass::domain::Actor::Broker).await.unwrap();
    }

    /// Run every chore that ends something until nothing is left to do.
    pub(crate) async fn sweep(&self) {
        loop {
            let done = [
                self.broker.sweep_killed().await.unwrap(),
                self.broker.sweep_tasks().await.unwrap(),
                self.broker.sweep_leases().await.unwrap(),
                self.broker.sweep_requests().await.unwrap(),
                self.broker.sweep_policy().await.unwrap(),
                self.broker.sweep_suspended().await.unwrap(),
                self.broker.sweep_people().await.unwrap(),
            ];
            if done.iter().all(|report| report.done == 0) {
                return;
            }
        }
    }

    /// An identity token of an agent's workload, good for five minutes of the test's clock.
    pub(crate) fn agent(&self, name: &str) -> String {
        self.token(AGENTS, name, &json!({}))
    }

    /// An identity token of a person with these groups.
    pub(crate) fn person(&self, name: &str, groups: &[&str]) -> String {
        self.token(PEOPLE, name, &json!({ "groups": groups }))
    }

    /// A person who may do everything an operator may.
    pub(crate) fn operator(&self) -> String {
        self.person("olga", &["hallpass-operators"])
    }

    /// A person who may approve releases.
    pub(crate) fn approver(&self) -> String {
        self.person("dev-approver", &["release-approvers"])
    }

    /// A token with changed claims; `null` takes a claim away.
    pub(crate) fn token(&self, issuer: &str, subject: &str, changes: &Value) -> String {
        let now = self.clock.now().as_secs();
        let mut random = [0_u8; 8];
        SystemEntropy::default().fill(&mut random);
        let mut claims = json!({
            "iss": issuer, "sub": subject, "aud": PUBLIC_URL, "iat": now, "exp": now + 300,
            "jti": data_encoding::HEXLOWER.encode(&random),
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                drop(claims.as_object_mut().unwrap().remove(name));
            } else {
                claims[name] = value.clone();
            }
        }
        self.keys.sign(&claims)
    }

    /// The router, for a test that handles the answer itself.
    pub(crate) fn router(&self) -> axum::Router {
        self.router.clone().layer(axum::Extension(Peer(SocketAddr::from(([192, 0, 2, 1], 40_000)))))
    }

    /// Any request, from 192.0.2.1.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let mut request = request;
        request.extensions_mut().insert(Peer(SocketAddr::from(([192, 0, 2, 1], 40_000))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        // What a worker does within some milliseconds; a test need not wait for it.
        self.broker.record_deliveries_now().await;
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Reply {
        self.call("GET", path, token, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.call("POST", path, token, Some(body), &[]).await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    /// Ask the broker, as the resource server of the shipped bundle's API, whether a token is to be relied on.
    pub(crate) async fn introspect(&self, token: &str) -> Value {
        let form = format!("token={token}");
        let request = Request::post("/oauth/introspect")
            .header("authorization", resource_server())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form));
        self.send(request.unwrap()).await.expect(200)
    }

    /// The audit events about a task, oldest first.
    pub(crate) async fn events_of(&self, task: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/events?task={task}&limit=200"), &self.operator()).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|item| item["event"].clone()).collect()
    }

    /// The kinds of the audit events about a task, oldest first.
    pub(crate) async fn kinds_of(&self, task: &str) -> Vec<String> {
        self.events_of(task).await.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }
}

/// The `Authorization` header of the resource server.
pub(crate) fn resource_server() -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!("release-api:{SERVER_SECRET}").as_bytes()))
}

/// A question for one scope.
pub(crate) fn ask(scope: &str) -> Value {
    json!({ "purpose": "publish v1.4.2", "scopes": [{ "scope": scope }] })
}

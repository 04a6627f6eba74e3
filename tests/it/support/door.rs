//! The whole broker behind its real router, without a port: a real SQLite file, the shipped bundle, an identity provider on
//! loopback, a clock that is moved, and a sandbox that remembers what it honours.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use hallpass::broker::{Broker, LimitSettings, Parts, ResourceServer};
use hallpass::domain::Ttl;
use hallpass::http::{HttpState, RequestIds, router};
use hallpass::minter::{MinterDeps, Minters, SandboxBackend};
use hallpass::policy::{Bundle, PolicyEngine};
use hallpass::store::{Store, StoreSettings};
use hallpass::sys::keys::{Kek, KeyAlgorithm, KeyRing, RotationSettings};
use hallpass::sys::{Clock, Entropy, ManualClock, SeededEntropy, sha256};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::idp::{FakeIdp, TestKey, at, claims, settings, verifiers};

/// Where the broker believes it is reached.
pub(crate) const PUBLIC_URL: &str = "https://hallpass.example";
/// The audience of the `api` scopes of the shipped catalogue.
const AUDIENCE: &str = "https://releases.hallpass.example";

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    Agent(&'static str),
    Person(&'static str, &'static [&'static str]),
    ResourceServer,
}

pub(crate) const RELEASE_BOT: Who = Who::Agent("release-bot");
pub(crate) const APPROVER: Who = Who::Person("dev-approver", &["release-approvers"]);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) struct Harness {
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sandbox: Arc<SandboxBackend>,
    pub(crate) state: HttpState,
    pub(crate) router: Router,
    idp: FakeIdp,
    key: TestKey,
    // Dropped last: the database lies in it.
    _folder: tempfile::TempDir,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_with(LimitSettings::default()).await
    }

    pub(crate) async fn start_with(limits: LimitSettings) -> Self {
        let key = TestKey::es256("k1");
        let idp = FakeIdp::start(&[&key]).await;
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at(0)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let sandbox = Arc::new(SandboxBackend::default());
        let keyring = Arc::new(KeyRing::new(Vec::new()));
        let deps = MinterDeps {
            keyring: Arc::clone(&keyring),
            issuer_url: PUBLIC_URL.to_owned(),
            clock: clock.clone(),
            entropy: Arc::clone(&entropy),
            sandbox: Some(Arc::clone(&sandbox)),
        };
        let backends = ["name = 'sandbox'\nkind = 'sandbox'", "name = 'api'\nkind = 'jwt'"];
        let backends: Vec<_> = backends.iter().map(|backend| toml::from_str(backend).unwrap()).collect();
        let store = format!("sqlite:{}", folder.path().join("hallpass.db").display());
        let server = ResourceServer { id: "releases".to_owned(), audiences: vec![AUDIENCE.to_owned()] };
        let broker = Broker::start(Parts {
            clock: clock.clone() as Arc<dyn Clock>,
            entropy: Arc::clone(&entropy),
            store: Store::open(&StoreSettings::new(store)).await.unwrap(),
            policy: PolicyEngine::new(bundle(&idp)),
            verifiers: verifiers(&issuers(&idp)),
            minters: Minters::build(&backends, &deps).unwrap(),
            keyring,
            kek: Kek::from_base64(&data_encoding::BASE64.encode(&[7; 32]).into()).unwrap(),
            key_algorithms: vec![KeyAlgorithm::Es256],
            rotation: RotationSettings::new(RotationSettings::ROTATE_AFTER_SECS, 300, Ttl::EIGHT_HOURS).unwrap(),
            jwks_max_age_secs: 300,
            resource_servers: vec![(server, sha256("rs-secret"))],
            limits,
            public_url: PUBLIC_URL.to_owned(),
        })
        .await
        .unwrap();
        let state = HttpState {
            broker: broker.clone(),
            public_url: PUBLIC_URL.into(),
            trusted_proxies: [].into(),
            request_ids: Arc::new(RequestIds::new(&*entropy)),
            stopping: CancellationToken::new(),
            work: TaskTracker::new(),
        };
        let router = router(state.clone());
        Self { broker, clock, sandbox, state, router, idp, key, _folder: folder }
    }

    /// The `Authorization` header of a caller.
    pub(crate) fn authorization(&self, who: Who) -> Option<String> {
        let now = self.clock.now().as_secs();
        let fresh = json!({ "iat": now, "nbf": now, "exp": now + 300 });
        let token = |issuer: &str, mut changes: Value| {
            changes.as_object_mut().unwrap().extend(fresh.as_object().unwrap().clone());
            format!("Bearer {}", self.key.sign(&claims(issuer, &changes)))
        };
        match who {
            Who::Nobody => None,
            Who::Agent(name) => Some(token(&self.idp.issuer, json!({ "sub": name }))),
            Who::Person(name, groups) => {
                Some(token(&format!("{}/people", self.idp.issuer), json!({ "sub": name, "groups": groups })))
            }
            Who::ResourceServer => Some(format!("Basic {}", data_encoding::BASE64.encode(b"releases:rs-secret"))),
        }
    }

    /// Send a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    /// Call a route with a JSON body, or with none.
    pub(crate) async fn call(&self, who: Who, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_with(who, method, path, body, &[]).await
    }

    /// The same with more headers.
    pub(crate) async fn call_with(
        &self,
        who: Who,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = self.authorization(who) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Open a task as release-bot.
    pub(crate) async fn open(&self, scopes: &[&str]) -> Answer {
        let ask = json!({ "purpose": "publish a release", "scopes": scopes, "ttl_seconds": 600 });
        self.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await
    }
}

/// The shipped bundle, with the issuers' addresses put in.
fn bundle(idp: &FakeIdp) -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).unwrap().replace("http://127.0.0.1:8601", &idp.issuer);
            files.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), text);
        }
    }
    Bundle::from_files(files).unwrap_or_else(|error| panic!("{error}"))
}

fn issuers(idp: &FakeIdp) -> Vec<hallpass::identity::IssuerSettings> {
    let people = format!(
        "name = \"people\"\nfor = \"people\"\nissuer = \"{}/people\"\njwks_url = \"{}\"\nallow_private = true\n\
         groups_claim = \"groups\"",
        idp.issuer,
        idp.keys_url()
    );
    vec![idp.settings(), settings(&people)]
}

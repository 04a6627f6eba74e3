//! The door of a harness as different kinds of callers find it, with the state behind the router in a test's hands.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use hallpass::broker::LimitSettings;
use hallpass::http::{HttpState, RequestIds, router};
use hallpass::sys::SystemEntropy;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::harness::{Harness, Options, PEOPLE, PUBLIC_URL, resource_server};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    Agent(&'static str),
    Person(&'static str, &'static [&'static str]),
    /// A person whom the bundle knows by this e-mail address, in no group.
    Registered(&'static str),
    ResourceServer,
}

pub(crate) const RELEASE_BOT: Who = Who::Agent("release-bot");
pub(crate) const APPROVER: Who = Who::Person("dev-approver", &["release-approvers"]);

/// Whoever answers for release-bot.
pub(crate) const OWNER: Who = Who::Registered("maya@acme.example");

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

pub(crate) struct Wire {
    harness: Harness,
    pub(crate) state: HttpState,
    pub(crate) router: Router,
}

impl Deref for Wire {
    type Target = Harness;
    fn deref(&self) -> &Harness {
        &self.harness
    }
}

impl DerefMut for Wire {
    fn deref_mut(&mut self) -> &mut Harness {
        &mut self.harness
    }
}

impl Wire {
    pub(crate) async fn start() -> Self {
        Self::over(Harness::start().await)
    }

    pub(crate) async fn start_with(limits: LimitSettings) -> Self {
        Self::over(Harness::with(Options { limits, ..Options::default() }).await)
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::over(Harness::with(options).await)
    }

    pub(crate) fn over(harness: Harness) -> Self {
        let state = HttpState {
            broker: harness.broker.clone(),
            public_url: PUBLIC_URL.into(),
            trusted_proxies: [].into(),
            admission: Arc::default(),
            request_ids: Arc::new(RequestIds::new(&SystemEntropy::default())),
            draining: CancellationToken::new(),
            work: TaskTracker::new(),
        };
        Self { harness, router: router(state.clone()), state }
    }

    /// The `Authorization` header of a caller.
    pub(crate) fn authorization(&self, who: Who) -> Option<String> {
        match who {
            Who::Nobody => None,
            Who::Agent(name) => Some(format!("Bearer {}", self.agent(name))),
            Who::Person(name, groups) => Some(format!("Bearer {}", self.person(name, groups))),
            Who::Registered(email) => {
                let claims = json!({ "groups": [], "email": email, "email_verified": true });
                Some(format!("Bearer {}", self.token(PEOPLE, "a-registered-person", &claims)))
            }
            Who::ResourceServer => Some(resource_server()),
        }
    }

    /// Send a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
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
        self.send(self.request(who, method, path, body, headers)).await
    }

    /// A request that was not sent yet.
    pub(crate) fn request(
        &self,
        who: Who,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = self.authorization(who) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match body {
            Some(body) => {
                request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
            }
            None => request.body(Body::empty()).unwrap(),
        }
    }

    /// Open a task as release-bot.
    pub(crate) async fn open(&self, scopes: &[&str]) -> Answer {
        let ask = json!({ "purpose": "publish a release", "scopes": scopes, "ttl_seconds": 600 });
        self.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await
    }
}

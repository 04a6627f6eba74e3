//! An API server on loopback with the semantics that matter here: objects with UIDs that are deleted by precondition, tokens that
//! are bound to a Secret and signed, a review that asks for that Secret and may remember its answer for ten seconds, RBAC that
//! lets nobody hand out more than they hold, and answers as `Status` objects. It can be told to fail as real ones do.

mod rbac;
mod serve;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use hallpass::domain::Timestamp;
use hallpass::http::{Limits, serve};
use hallpass::sys::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::idp::TestKey;

/// Who accepts the tokens that are for the API server itself.
pub(crate) const API: &str = "https://kubernetes.default.svc.cluster.local";
/// The broker's own bearer token.
pub(crate) const BROKER: &str = "the-brokers-own-token";

/// How the next calls fail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// This status with a `Status` object of this reason; nothing is done.
    Says(u16, &'static str),
    /// This status from something that is no API server; nothing is done.
    Html(u16),
    /// No answer, and nothing is done.
    Hangs,
    /// It is done, and the connection breaks before the answer is whole.
    DoneUnheard,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) accept: String,
    pub(crate) body: Value,
}

type Key = (String, String, String);
type Swap = Box<dyn FnOnce(&mut World) + Send>;

/// What is in the cluster, and how it behaves.
pub(crate) struct World {
    /// By resource, namespace and name.
    objects: BTreeMap<Key, Value>,
    next: u64,
    /// The namespaces there are.
    pub(crate) namespaces: BTreeSet<String>,
    /// What the broker may do, as rules, by namespace.
    pub(crate) broker: BTreeMap<String, Vec<Value>>,
    /// Whether the broker may do everything.
    pub(crate) admin: bool,
    /// The broker's token as it is now.
    pub(crate) broker_token: String,
    /// The next faults, then those of every call whose method and path begin so.
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) broken: Option<(&'static str, Fault)>,
    /// What happens just before the next deletion is judged.
    pub(crate) before_delete: Option<Swap>,
    /// Whether an answer of a token review is remembered for ten seconds.
    pub(crate) remembers: bool,
    remembered: BTreeMap<String, Timestamp>,
    /// How many seconds longer than asked for a token lives.
    pub(crate) extends: i64,
    /// How far its clock is ahead, in seconds.
    pub(crate) ahead: i64,
    /// How many objects a page of a list has at most.
    pub(crate) page: usize,
    pub(crate) calls: Vec<Call>,
}

/// The API server.
pub(crate) struct Kube {
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Clock>,
    key: Arc<TestKey>,
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
}

impl Drop for Kube {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What the broker has in each namespace where it may hand out accounts of their own.
fn usual_rights() -> Vec<Value> {
    let all = json!(["create", "get", "list", "delete"]);
    vec![
        json!({ "apiGroups": [""], "resources": ["secrets", "serviceaccounts"], "verbs": all }),
        json!({ "apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"] }),
        json!({ "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": all }),
        json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"] }),
    ]
}

impl Kube {
    /// With the namespaces `agents` and `ci`, a service account `agents/deployer` and a configmap `agents/web`.
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        Self::start_with(clock, None).await
    }

    pub(crate) async fn start_with(clock: Arc<dyn Clock>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let names = ["agents", "ci"].map(str::to_owned);
        let mut world = World {
            objects: BTreeMap::new(),
            next: 0,
            broker: names.iter().map(|name| (name.clone(), usual_rights())).collect(),
            namespaces: names.into(),
            admin: false,
            broker_token: BROKER.to_owned(),
            faults: VecDeque::new(),
            broken: None,
            before_delete: None,
            remembers: false,
            remembered: BTreeMap::new(),
            extends: 0,
            ahead: 0,
            page: 500,
            calls: Vec::new(),
        };
        world.put("serviceaccounts", "agents", "deployer", json!({}));
        world.put("serviceaccounts", "agents", "auditor", json!({}));
        world.put("configmaps", "agents", "web", json!({ "data": { "colour": "blue" } }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (world, key) = (Arc::new(Mutex::new(world)), Arc::new(TestKey::es256("sa-key")));
        let shutdown = CancellationToken::new();
        let kube = Self { world, clock, key, address, shutdown: shutdown.clone() };
        let (world, clock, key) = (Arc::clone(&kube.world), Arc::clone(&kube.clock), Arc::clone(&kube.key));
        let router = Router::new().fallback(move |request| serve::answer(world, clock, key, request));
        tokio::spawn(serve(listener, router, tls, Limits::default(), shutdown));
        kube
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Whether a token is accepted for an audience at a time, as a review that remembers nothing says it.
    pub(crate) fn accepts(&self, token: &str, audience: &str, now: Timestamp) -> bool {
        tokens::review(&self.world(), &self.key, token, &[audience], now).is_some()
    }

    /// Whether whoever holds a token may do something with an object in `agents`, by what it is for and what its account may do.
    pub(crate) fn may(&self, token: &str, now: Timestamp, verb: &str, resource: &str, name: &str) -> bool {
        let world = self.world();
        tokens::review(&world, &self.key, token, &[API], now).is_some_and(|(home, account)| {
            let deed = rbac::Deed { verb, group: "", resource, name };
            world.may(&rbac::User::Account(home, account), "agents", deed)
        })
    }

    /// What the API server itself says of a token now, which it may remember.
    pub(crate) fn review(&self, token: &str, audience: &str) -> bool {
        tokens::remembered_review(&mut self.world(), &self.key, token, &[audience], self.clock.now()).is_some()
    }

    /// The claims of a token, once its signature is found good.
    pub(crate) fn claims(&self, token: &str) -> Option<Value> {
        tokens::verified(&self.key, token)
    }

    /// The requests that came since the last time.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.world().calls)
    }
}

impl World {
    /// Put an object there, as somebody with all rights would; its UID.
    pub(crate) fn put(&mut self, resource: &str, namespace: &str, name: &str, mut object: Value) -> String {
        self.next += 1;
        let uid = format!("00000000-0000-4000-8000-{:012}", self.next);
        let metadata = &mut object["metadata"];
        metadata["name"] = name.into();
        metadata["namespace"] = namespace.into();
        metadata["uid"] = uid.clone().into();
        metadata["resourceVersion"] = self.next.to_string().into();
        self.objects.insert((resource.to_owned(), namespace.to_owned(), name.to_owned()), object);
        uid
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(resource.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    pub(crate) fn get_mut(&mut self, resource: &str, namespace: &str, name: &str) -> Option<&mut Value> {
        self.objects.get_mut(&(resource.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    pub(crate) fn take(&mut self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.objects.remove(&(resource.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    fn all<'w>(&'w self, resource: &'w str, namespace: &'w str) -> impl Iterator<Item = &'w Value> {
        let here = move |key: &Key| key.0 == resource && key.1 == namespace;
        self.objects.iter().filter(move |(key, _)| here(key)).map(|(_, object)| object)
    }

    /// The names of the objects of a resource whose labels say that they are ours.
    pub(crate) fn ours(&self, resource: &str) -> Vec<String> {
        let ours = |object: &&Value| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "hallpass";
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        self.objects.iter().filter(|(key, _)| key.0 == resource).map(|(_, o)| o).filter(ours).map(name).collect()
    }

    /// What the garbage collector does in its time: whoever's owner is gone goes too.
    pub(crate) fn collect_garbage(&mut self) {
        let uid = |object: &Value| object["uid"].as_str().unwrap_or_default().to_owned();
        let uids: BTreeSet<String> = self.objects.values().map(|object| uid(&object["metadata"])).collect();
        self.objects.retain(|_, object| {
            let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            owners.is_empty() || owners.iter().any(|owner| uids.contains(&uid(owner)))
        });
    }

    /// A namespace goes, with all that is in it.
    pub(crate) fn drop_namespace(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
        self.objects.retain(|key, _| key.1 != namespace);
    }
}

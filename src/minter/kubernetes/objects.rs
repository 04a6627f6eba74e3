//! The objects of a lease: a Secret without data that its token is bound to, and, where it has an account of its own, that, its
//! Role and its `RoleBinding`, all owned by the Secret. Only what carries our marks is ever taken for ours, and it is deleted by
//! its UID, so that what somebody else made in its place is never touched.

use std::collections::BTreeMap;

use ::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::MintError;
use super::api::{Api, Ask, No, Part, Reply, time};
use super::names::is_label_value;
use crate::domain::{Handle, LeaseId, Timestamp};

const DEPLOYMENT: &str = "hallpass/deployment";
const BACKEND: &str = "hallpass/backend";
const LEASE: &str = "hallpass/lease";
const TASK: &str = "hallpass/task";
const AGENT: &str = "hallpass/agent";
/// Whether the lease has an account of its own.
const OWN: &str = "hallpass/own-account";
/// When no token bound to the Secret is honoured any more.
const NATIVE_END: &str = "hallpass/native-end";
const PAGE: &str = "250";
const MAX_PAGES: usize = 200;
/// How often something is deleted that is made anew meanwhile.
const MAX_TRIES: usize = 3;

/// A kind of object that a lease may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    ServiceAccount,
    Role,
    RoleBinding,
}

impl Kind {
    /// In the order in which they are made.
    pub(super) const ALL: [Self; 4] = [Self::Secret, Self::ServiceAccount, Self::Role, Self::RoleBinding];

    const fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
        }
    }

    pub(super) const fn group(self) -> &'static str {
        match self {
            Self::Secret | Self::ServiceAccount => "",
            Self::Role | Self::RoleBinding => "rbac.authorization.k8s.io",
        }
    }

    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ServiceAccount => "serviceaccounts",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
        }
    }

    fn path<'a>(self, namespace: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        let root: &[&str] = if self.group().is_empty() { &["api", "v1"] } else { &["apis", self.group(), "v1"] };
        [root, &["namespaces", namespace, self.resource()], rest].concat()
    }
}

/// Where a lease's objects are: what its handle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) lease: LeaseId,
    /// Whether it has an account of its own.
    pub(super) own: bool,
}

impl Place {
    /// `namespace/jit-…`, or `namespace/jit-…/own`.
    pub(super) fn handle(&self) -> Handle {
        let own = if self.own { "/own" } else { "" };
        Handle::new(format!("{}/{}{own}", self.namespace, self.name()))
    }

    /// # Errors
    /// [`MintError::Unsupported`] when it is not a handle of this kind.
    pub(super) fn read(handle: &Handle) -> Result<Self, MintError> {
        let (whole, own) = handle.as_str().strip_suffix("/own").map_or((handle.as_str(), false), |rest| (rest, true));
        let place = whole.split_once("/jit-").and_then(|(namespace, digits)| {
            let lease = format!("{}_{digits}", LeaseId::PREFIX).parse().ok()?;
            super::names::is_label(namespace).then(|| Self { namespace: namespace.to_owned(), lease, own })
        });
        place.ok_or_else(|| MintError::Unsupported(format!("`{handle}` is no handle of a kubernetes backend")))
    }

    /// What all its objects are called.
    pub(super) fn name(&self) -> String {
        let id = self.lease.to_string();
        format!("jit-{}", id.split_once('_').map_or(id.as_str(), |(_, digits)| digits))
    }
}

/// What we put on everything that is ours.
#[derive(Debug)]
pub(super) struct Marks {
    pub(super) deployment: String,
    pub(super) backend: String,
}

/// Why an object is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reason<'a> {
    pub(super) task: &'a str,
    pub(super) agent: &'a str,
    pub(super) native_end: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
    #[serde(rename = "continue")]
    next: String,
}

/// Whatever has metadata: an object, a list, the `Status` of a deletion.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Metadata,
    items: Vec<Object>,
}

/// An object that carries our marks.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    pub(super) uid: String,
    /// For how long it has been marked as deleted, waiting for somebody's finalizer, in milliseconds.
    pub(super) doomed_millis: Option<i64>,
    /// When no token bound to it is honoured any more, if it says so.
    pub(super) native_end: Option<Timestamp>,
    task: String,
    agent: String,
}

/// What came of deleting an object.
#[derive(Debug)]
pub(super) enum Removal {
    /// There was nothing to delete.
    WasGone,
    /// It was there, and is gone.
    Deleted,
    /// It is marked as deleted, and waits for somebody's finalizer.
    Doomed(Ours),
}

impl Ours {
    /// Why it is there, for what is made after it.
    pub(super) fn reason(&self, now: Timestamp) -> Reason<'_> {
        Reason { task: &self.task, agent: &self.agent, native_end: self.native_end.unwrap_or(now) }
    }
}

impl Marks {
    fn selector(&self) -> String {
        format!("{DEPLOYMENT}={},{BACKEND}={}", self.deployment, self.backend)
    }

    fn are_on(&self, metadata: &Metadata, place: &Place) -> bool {
        let has = |label: &str, value: &str| metadata.labels.get(label).is_some_and(|is| is == value);
        has(DEPLOYMENT, &self.deployment) && has(BACKEND, &self.backend) && has(LEASE, &place.lease.to_string())
    }

    /// An object of a lease, to be created.
    pub(super) fn object(
        &self,
        kind: Kind,
        place: &Place,
        reason: Reason<'_>,
        owner: Option<&str>,
        rest: Value,
    ) -> Value {
        let version = if kind.group().is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group()) };
        let mut object = json!({
            "apiVersion": version,
            "kind": kind.name(),
            "metadata": {
                "name": place.name(),
                "namespace": place.namespace,
                "labels": {
                    "app.kubernetes.io/managed-by": "hallpass",
                    DEPLOYMENT: self.deployment,
                    BACKEND: self.backend,
                    LEASE: place.lease,
                    TASK: reason.task,
                    OWN: place.own.to_string(),
                },
                "annotations": { AGENT: reason.agent, NATIVE_END: reason.native_end },
            },
        });
        // An agent's name may end as no label's value may; the annotation always has it.
        if is_label_value(reason.agent)
            && let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut)
        {
            labels.insert(AGENT.to_owned(), reason.agent.into());
        }
        if let (Some(uid), Some(metadata)) = (owner, object.get_mut("metadata").and_then(Value::as_object_mut)) {
            let owner = json!([{ "apiVersion": "v1", "kind": "Secret", "name": place.name(), "uid": uid }]);
            metadata.insert("ownerReferences".to_owned(), owner);
        }
        if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
            object.extend(rest);
        }
        object
    }
}

impl Api {
    /// Look for an object of a lease; what carries other marks is not it.
    pub(super) async fn find(&self, kind: Kind, place: &Place, marks: &Marks) -> Result<Option<Ours>, MintError> {
        let reply: Reply<Object> = self
            .ask(Ask {
                method: Method::GET,
                path: &kind.path(&place.namespace, &[&place.name()]),
                query: &[],
                body: None,
                part: Part::Metadata,
            })
            .await?;
        match reply.said {
            Ok(Object { metadata, .. }) if marks.are_on(&metadata, place) => Ok(Some(ours(metadata, reply.date))),
            Ok(_) | Err((No::NotFound | No::Gone, _)) => Ok(None),
            Err((No::Conflict, message)) => Err(MintError::Unavailable(message)),
        }
    }

    /// Create an object of a lease, or find the one that an earlier try created.
    pub(super) async fn ensure(
        &self,
        kind: Kind,
        place: &Place,
        marks: &Marks,
        object: Value,
    ) -> Result<Ours, MintError> {
        let reply: Reply<Object> = self
            .ask(Ask {
                method: Method::POST,
                path: &kind.path(&place.namespace, &[]),
                query: &[],
                body: Some(object),
                part: Part::Metadata,
            })
            .await?;
        let date = reply.date;
        let message = match reply.said {
            Ok(Object { metadata, .. }) => return Ok(ours(metadata, date)),
            Err((No::Conflict, message)) => message,
            Err((No::NotFound | No::Gone, message)) => return Err(MintError::Refused(message)),
        };
        match self.find(kind, place, marks).await? {
            Some(Ours { doomed_millis: Some(_), .. }) => {
                Err(MintError::Refused(format!("{message}: it is being deleted")))
            }
            Some(ours) => Ok(ours),
            None => Err(MintError::Refused(format!("{message}: it is not ours"))),
        }
    }

    /// Delete an object of a lease, and look whether it is gone.
    pub(super) async fn remove(&self, kind: Kind, place: &Place, marks: &Marks) -> Result<Removal, MintError> {
        for tried in 0..=MAX_TRIES {
            let uid = match self.find(kind, place, marks).await? {
                None if tried == 0 => return Ok(Removal::WasGone),
                None => return Ok(Removal::Deleted),
                Some(doomed) if doomed.doomed_millis.is_some() => return Ok(Removal::Doomed(doomed)),
                Some(_) if tried == MAX_TRIES => break,
                Some(Ours { uid, .. }) => uid,
            };
            // 409: another UID has the name by now; 404 and 410: somebody was quicker. What is true is seen at the next look.
            self.ask::<Object>(Ask {
                method: Method::DELETE,
                path: &kind.path(&place.namespace, &[&place.name()]),
                query: &[],
                body: Some(json!({
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "preconditions": { "uid": uid },
                    "propagationPolicy": "Background",
                })),
                part: Part::Metadata,
            })
            .await?;
        }
        Err(MintError::Unavailable(format!("{} {} is made anew all the time", kind.name(), place.name())))
    }

    /// The leases of which a namespace has objects of this kind with our marks.
    pub(super) async fn list(&self, kind: Kind, namespace: &str, marks: &Marks) -> Result<Vec<Place>, MintError> {
        let (mut found, mut next, selector) = (Vec::new(), String::new(), marks.selector());
        for _ in 0..MAX_PAGES {
            let page: Reply<Object> = self
                .ask(Ask {
                    method: Method::GET,
                    path: &kind.path(namespace, &[]),
                    query: &[("labelSelector", &selector), ("limit", PAGE), ("continue", &next)],
                    body: None,
                    part: Part::MetadataList,
                })
                .await?;
            let page = page.yes()?;
            found.extend(page.items.into_iter().filter_map(|item| place_of(&item.metadata)));
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(found);
            }
        }
        Err(MintError::Unavailable(format!("namespace {namespace} has too many {}", kind.resource())))
    }
}

fn ours(metadata: Metadata, server_now: Option<Timestamp>) -> Ours {
    let doomed = metadata.deletion_timestamp.as_deref();
    let text = |from: &BTreeMap<String, String>, key: &str| from.get(key).cloned().unwrap_or_default();
    Ours {
        // Without a time to go by it counts as marked just now.
        doomed_millis: doomed
            .map(|since| server_now.zip(time(since)).map_or(0, |(now, since)| now.millis_since(since)).max(0)),
        native_end: metadata.annotations.get(NATIVE_END).and_then(|end| time(end)),
        task: text(&metadata.labels, TASK),
        agent: text(&metadata.annotations, AGENT),
        uid: metadata.uid,
    }
}

/// The lease of an object, if it is called as that lease's objects are.
fn place_of(metadata: &Metadata) -> Option<Place> {
    let place = Place {
        namespace: metadata.namespace.clone(),
        lease: metadata.labels.get(LEASE)?.parse().ok()?,
        own: metadata.labels.get(OWN).is_some_and(|own| own == "true"),
    };
    (place.name() == metadata.name).then_some(place)
}

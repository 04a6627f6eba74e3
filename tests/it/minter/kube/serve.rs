//! The wire of the API server on loopback: authentication, authorization, verbs, and failures as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, header};
use hallpass::domain::Timestamp;
use hallpass::sys::Clock;
use serde_json::{Value, json};

use super::rbac::{Deed, User};
use super::{API, Call, Fault, World, tokens};
use crate::support::idp::TestKey;

type Answer = (u16, Value);

fn status(code: u16, reason: &str, message: impl Into<String>) -> Answer {
    let message: String = message.into();
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code,
    });
    (code, status)
}

/// One request.
pub(super) async fn answer(
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Clock>,
    key: Arc<TestKey>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
    let text = |name: header::HeaderName| {
        parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        accept: text(header::ACCEPT),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let token = text(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default().to_owned();
    let (fault, ahead) = {
        let mut world = world.lock().unwrap();
        world.calls.push(call.clone());
        let line = format!("{} {}", call.method, call.path);
        let broken = world.broken.filter(|(start, _)| line.starts_with(start)).map(|(_, fault)| fault);
        (world.faults.pop_front().or(broken), world.ahead)
    };
    let now = clock.now();
    let act = || Server { world: &mut world.lock().unwrap(), key: &key, now }.act(&token, &call);
    let (code, said) = match fault {
        Some(Fault::Says(code, reason)) => status(code, reason, "it was told to"),
        Some(Fault::Html(code)) => (code, json!("<html>")),
        Some(Fault::Hangs) => std::future::pending().await,
        Some(Fault::DoneUnheard) => {
            act();
            let broken = futures_util::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("broken"))]);
            return Response::new(Body::from_stream(broken));
        }
        None => act(),
    };
    let date = jiff::Timestamp::from_second(now.as_secs() + ahead).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    Response::builder()
        .status(code)
        .header(header::DATE, date)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(said.to_string()))
        .unwrap()
}

struct Server<'a> {
    world: &'a mut World,
    key: &'a TestKey,
    now: Timestamp,
}

fn kind_of(resource: &str) -> &'static str {
    match resource {
        "secrets" => "Secret",
        "serviceaccounts" => "ServiceAccount",
        "configmaps" => "ConfigMap",
        "roles" => "Role",
        "rolebindings" => "RoleBinding",
        other => panic!("no such resource: {other}"),
    }
}

impl Server<'_> {
    fn act(&mut self, token: &str, call: &Call) -> Answer {
        let user = if token == self.world.broker_token {
            User::Broker
        } else {
            match tokens::remembered_review(self.world, self.key, token, &[API], self.now) {
                Some((namespace, name)) => User::Account(namespace, name),
                None => return status(401, "Unauthorized", "Unauthorized"),
            }
        };
        let path: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match path.as_slice() {
            ["api", "v1", "namespaces", namespace, rest @ ..] => self.objects(&user, call, "", namespace, rest),
            ["apis", group, "v1", "namespaces", namespace, rest @ ..] => {
                self.objects(&user, call, group, namespace, rest)
            }
            ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] => self.access_review(&user, call),
            ["apis", "authentication.k8s.io", "v1", "tokenreviews"] => self.token_review(call),
            path => discovery(path),
        }
    }

    fn objects(&mut self, user: &User, call: &Call, group: &str, namespace: &str, rest: &[&str]) -> Answer {
        let (resource, name, below) = match *rest {
            [resource] => (resource, "", ""),
            [resource, name] => (resource, name, ""),
            [resource, name, below] => (resource, name, below),
            _ => return status(404, "NotFound", "the server could not find the requested resource"),
        };
        let verb = match (call.method.as_str(), name.is_empty(), below) {
            ("GET", true, _) => "list",
            ("GET", false, _) => "get",
            ("POST", true, "") | ("POST", false, "token") => "create",
            ("DELETE", false, "") => "delete",
            _ => {
                return status(
                    405,
                    "MethodNotAllowed",
                    "the server does not allow this method on the requested resource",
                );
            }
        };
        let whole = if below.is_empty() { resource.to_owned() } else { format!("{resource}/{below}") };
        if !self.world.may(user, namespace, Deed { verb, group, resource: &whole, name }) {
            let message = format!(
                r#"{whole} "{name}" is forbidden: {user:?} cannot {verb} resource "{whole}" in API group "{group}" in the namespace "{namespace}""#
            );
            return status(403, "Forbidden", message);
        }
        match verb {
            "list" => self.list(call, resource, namespace),
            "get" => self.get(call, resource, namespace, name),
            "delete" => self.delete(call, resource, namespace, name),
            _ if below == "token" => self.token(call, namespace, name),
            _ => self.create(user, call, resource, namespace),
        }
    }

    /// As it was asked for: whole, or its metadata.
    fn shown(call: &Call, resource: &str, mut object: Value) -> Value {
        if call.accept.contains("as=PartialObjectMetadata") {
            return json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] });
        }
        object["kind"] = kind_of(resource).into();
        let rbac = resource.starts_with("role");
        object["apiVersion"] = if rbac { "rbac.authorization.k8s.io/v1" } else { "v1" }.into();
        object
    }

    fn list(&mut self, call: &Call, resource: &str, namespace: &str) -> Answer {
        let selector = call.query.get("labelSelector").cloned().unwrap_or_default();
        let fits = |object: &&Value| {
            selector.split(',').filter(|term| !term.is_empty()).all(|term| {
                let (label, value) = term.split_once('=').unwrap();
                object["metadata"]["labels"][label] == value
            })
        };
        let from: usize = call.query.get("continue").filter(|c| !c.is_empty()).map_or(0, |next| next.parse().unwrap());
        let asked = call.query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap()).min(self.world.page);
        let all: Vec<Value> = self.world.all(resource, namespace).filter(fits).cloned().collect();
        let next = if from + asked < all.len() { (from + asked).to_string() } else { String::new() };
        let items: Vec<Value> =
            all.into_iter().skip(from).take(asked).map(|object| Self::shown(call, resource, object)).collect();
        let kind = if call.accept.contains("as=PartialObjectMetadataList") {
            "PartialObjectMetadataList".to_owned()
        } else {
            format!("{}List", kind_of(resource))
        };
        (200, json!({ "kind": kind, "apiVersion": "v1", "metadata": { "continue": next }, "items": items }))
    }

    fn get(&mut self, call: &Call, resource: &str, namespace: &str, name: &str) -> Answer {
        match self.world.get(resource, namespace, name) {
            Some(object) => (200, Self::shown(call, resource, object.clone())),
            None => status(404, "NotFound", format!(r#"{resource} "{name}" not found"#)),
        }
    }

    fn create(&mut self, user: &User, call: &Call, resource: &str, namespace: &str) -> Answer {
        let name = call.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if !self.world.namespaces.contains(namespace) {
            return status(404, "NotFound", format!(r#"namespaces "{namespace}" not found"#));
        }
        let labels: BTreeMap<String, String> =
            serde_json::from_value(call.body["metadata"]["labels"].clone()).unwrap_or_default();
        let fits = |value: &String| {
            let ends = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
            let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            value.len() <= 63
                && value.bytes().all(inside)
                && ends(value.as_bytes().first())
                && ends(value.as_bytes().last())
        };
        if !labels.values().all(fits) || call.body["kind"] != kind_of(resource) || name.len() > 253 {
            return status(422, "Invalid", format!(r#"{resource} "{name}" is invalid"#));
        }
        if self.world.get(resource, namespace, &name).is_some() {
            return status(409, "AlreadyExists", format!(r#"{resource} "{name}" already exists"#));
        }
        let rules = match resource {
            "roles" => call.body["rules"].clone(),
            "rolebindings" => {
                let role = call.body["roleRef"]["name"].as_str().unwrap();
                self.world.get("roles", namespace, role).map(|role| role["rules"].clone()).unwrap_or_default()
            }
            _ => Value::Null,
        };
        if !self.world.holds(user, namespace, &rules) {
            let message =
                format!(r#"{resource} "{name}" is forbidden: attempting to grant RBAC permissions not currently held"#);
            return status(403, "Forbidden", message);
        }
        self.world.put(resource, namespace, &name, call.body.clone());
        let (_, made) = self.get(call, resource, namespace, &name);
        (201, made)
    }

    fn delete(&mut self, call: &Call, resource: &str, namespace: &str, name: &str) -> Answer {
        if let Some(swap) = self.world.before_delete.take() {
            swap(self.world);
        }
        let Some(object) = self.world.get_mut(resource, namespace, name) else {
            return status(404, "NotFound", format!(r#"{resource} "{name}" not found"#));
        };
        let (asked, is) = (&call.body["preconditions"]["uid"], object["metadata"]["uid"].clone());
        if !asked.is_null() && *asked != is {
            let message = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {is}");
            return status(409, "Conflict", message);
        }
        if object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()) {
            let at = jiff::Timestamp::from_second(self.now.as_secs() + self.world.ahead).unwrap();
            let object = self.world.get_mut(resource, namespace, name).unwrap();
            object["metadata"]["deletionTimestamp"] = at.to_string().into();
            let object = object.clone();
            return (200, Self::shown(call, resource, object));
        }
        self.world.take(resource, namespace, name);
        (200, json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }))
    }

    fn token(&mut self, call: &Call, namespace: &str, name: &str) -> Answer {
        let spec = &call.body["spec"];
        let seconds = spec["expirationSeconds"].as_i64().unwrap_or(3600);
        if seconds < 600 {
            return status(422, "Invalid", "spec.expirationSeconds: may not specify a duration less than 10 minutes");
        }
        let Some(account) = self.world.get("serviceaccounts", namespace, name).cloned() else {
            return status(404, "NotFound", format!(r#"serviceaccounts "{name}" not found"#));
        };
        let reference = &spec["boundObjectRef"];
        let mut secret = None;
        if !reference.is_null() {
            assert_eq!((&reference["apiVersion"], &reference["kind"]), (&json!("v1"), &json!("Secret")));
            let bound = reference["name"].as_str().unwrap();
            let Some(found) = self.world.get("secrets", namespace, bound) else {
                return status(404, "NotFound", format!(r#"secrets "{bound}" not found"#));
            };
            if reference["uid"] != found["metadata"]["uid"] {
                return status(
                    409,
                    "Conflict",
                    "the UID in the bound object reference does not match the UID in record",
                );
            }
            secret = Some(found.clone());
        }
        let some = spec["audiences"].as_array().is_some_and(|list| !list.is_empty());
        let audiences = if some { spec["audiences"].clone() } else { json!([API]) };
        self.world.next += 1;
        let now = self.now.as_secs() + self.world.ahead;
        let exp = now + seconds + self.world.extends;
        let token =
            tokens::issue(self.key, namespace, &account, secret.as_ref(), &audiences, (now, exp), self.world.next);
        let expiry = jiff::Timestamp::from_second(exp).unwrap().to_string();
        let mut made = call.body.clone();
        made["spec"]["audiences"] = audiences;
        made["status"] = json!({ "token": token, "expirationTimestamp": expiry });
        (201, made)
    }

    fn access_review(&mut self, user: &User, call: &Call) -> Answer {
        let asked = &call.body["spec"]["resourceAttributes"];
        let text = |name: &str| asked[name].as_str().unwrap_or_default();
        let below = text("subresource");
        let resource =
            if below.is_empty() { text("resource").to_owned() } else { format!("{}/{below}", text("resource")) };
        let deed = Deed { verb: text("verb"), group: text("group"), resource: &resource, name: text("name") };
        let mut said = call.body.clone();
        said["status"] = json!({ "allowed": self.world.may(user, text("namespace"), deed) });
        (201, said)
    }

    fn token_review(&mut self, call: &Call) -> Answer {
        let spec = &call.body["spec"];
        let audiences: Vec<&str> =
            spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let audiences = if audiences.is_empty() { vec![API] } else { audiences };
        let token = spec["token"].as_str().unwrap_or_default();
        let good = tokens::remembered_review(self.world, self.key, token, &audiences, self.now);
        let mut said = call.body.clone();
        said["status"] = match good {
            Some((namespace, name)) => json!({
                "authenticated": true,
                "audiences": audiences,
                "user": { "username": format!("system:serviceaccount:{namespace}:{name}") },
            }),
            None => json!({ "authenticated": false }),
        };
        (201, said)
    }
}

/// What kubectl asks before it asks for anything.
fn discovery(path: &[&str]) -> Answer {
    match path {
        ["version"] => (200, json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.0" })),
        ["api"] => (200, json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["apis"] => (200, json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] })),
        ["api", "v1"] => {
            let resource = |name: &str, kind: &str| json!({ "name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list"] });
            let resources = [resource("secrets", "Secret"), resource("configmaps", "ConfigMap")];
            (200, json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": resources }))
        }
        _ => status(404, "NotFound", "the server could not find the requested resource"),
    }
}

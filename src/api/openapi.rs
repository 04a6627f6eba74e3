//! The frame of the OpenAPI document: what it is, how callers authenticate, and the problems every operation can answer. The
//! operations come from the handlers' own annotations, so that the document cannot describe a route that is not there.

use serde_json::{Map, Value, json};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, PathItem};
use utoipa::{Modify, OpenApi as _};

use super::Problem;

/// 400 of a route that takes scopes and a purpose.
pub const ASK_400: &str = "invalid-request, scope-invalid, purpose-invalid, purpose-forbidden-characters";
/// 403 of a route that may mint.
pub const ASK_403: &str = "policy-denied, policy-error, scope-above-ceiling, agent-suspended, forbidden";
/// 422 of a route that takes scopes.
pub const ASK_422: &str = "ttl-too-long, scope-unmappable, idempotency-conflict";
/// 429 of a route that may mint.
pub const ASK_429: &str = "rate-limited, too-many-pending, too-many-leases";
/// 503 of a route that may mint.
pub const ASK_503: &str =
    "storage-unavailable, backend-unavailable, issuer-unavailable, kill-switch-active, clock-unsure, overloaded";

/// A route of the public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method, in capitals.
    pub method: &'static str,
    /// The path, with `{name}` for what varies.
    pub path: String,
    /// Who may call it: `nobody` (that is, anybody), `agent`, `operator`, `resource-server`, `chat`.
    pub callers: Vec<&'static str>,
}

/// How a caller authenticates: the scheme's name in the document, and the word for such callers.
const SCHEMES: &[(&str, &str)] = &[
    ("agentToken", "agent"),
    ("operatorToken", "operator"),
    ("resourceServer", "resource-server"),
    ("chatSignature", "chat"),
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Hallpass",
        description = "A just-in-time credential broker for AI agents. An agent opens a task, asks for scopes, and holds \
            what policy permits for as long as policy permits it. Unknown members are refused. Errors are RFC 9457 problems.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "tasks", description = "What agents do"),
        (name = "approvals", description = "What approvers read and decide"),
        (name = "passkeys", description = "What people sign with"),
        (name = "leases", description = "What is live, and how to end it"),
        (name = "policy", description = "What may be asked for, and why something was decided"),
        (name = "agents", description = "The inventory"),
        (name = "sessions", description = "Who is signed in, and how a command line signs in"),
        (name = "audit", description = "What happened"),
        (name = "authzen", description = "The AuthZEN Authorization API, and its Access Request and Approval Profile"),
        (name = "resource servers", description = "For those who are shown credentials"),
        (name = "health", description = "For those who run the broker"),
        (name = "reference", description = "This document, and what the problems mean"),
    ),
    components(schemas(Problem)),
    modifiers(&Schemes)
)]
struct Frame;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut OpenApi) {
        let described =
            |builder: HttpBuilder, text: &str| SecurityScheme::Http(builder.description(Some(text)).build());
        let components = document.components.get_or_insert_default();
        for (name, text) in [
            ("agentToken", "A workload's identity token from a registered issuer"),
            ("operatorToken", "A person's identity token from a registered issuer"),
        ] {
            let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
            components.add_security_scheme(name, described(bearer, text));
        }
        let basic = HttpBuilder::from(Http::new(HttpAuthScheme::Basic));
        components.add_security_scheme("resourceServer", described(basic, "The id and secret of a resource server"));
        let signature = ApiKeyValue::with_description(
            "X-Slack-Signature",
            "A chat's signature over the time and the bytes of its call",
        );
        components.add_security_scheme("chatSignature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    }
}

/// The document without its operations.
#[must_use]
pub fn frame() -> OpenApi {
    Frame::openapi()
}

/// The finished document: with the problems of each operation, pretty-printed, the same for the same handlers.
#[must_use]
pub fn finish(document: &OpenApi) -> String {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for (path, item) in paths {
            for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
                add_problems(path, operation);
            }
        }
    }
    format!("{document:#}\n")
}

/// Every route of a document, and who may call it.
#[must_use]
pub fn routes(document: &OpenApi) -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in operations(item) {
            let required = serde_json::to_value(&operation.security).unwrap_or_default();
            let names =
                |scheme: &str| required.as_array().is_some_and(|all| all.iter().any(|one| one.get(scheme).is_some()));
            let mut callers: Vec<_> =
                SCHEMES.iter().filter(|(scheme, _)| names(scheme)).map(|(_, word)| *word).collect();
            if callers.is_empty() {
                callers.push("nobody");
            }
            routes.push(Route { method, path: path.clone(), callers });
        }
    }
    routes
}

fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &utoipa::openapi::path::Operation)> {
    let all = [
        ("GET", &item.get),
        ("PUT", &item.put),
        ("POST", &item.post),
        ("DELETE", &item.delete),
        ("OPTIONS", &item.options),
        ("HEAD", &item.head),
        ("PATCH", &item.patch),
        ("TRACE", &item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// The problems an operation can answer, for its statuses that are not described already.
fn add_problems(path: &str, operation: &mut Value) {
    let has = |member: &str| operation.get(member).is_some();
    let others = ["resourceServer", "chatSignature"];
    let is_bearer = |all: &Value| !others.iter().any(|scheme| all.to_string().contains(scheme));
    let takes_bearer = operation.get("security").is_some_and(is_bearer);
    let takes_json = operation.pointer("/requestBody/content/application~1json").is_some();
    let mut common = Vec::new();
    if takes_bearer {
        common.extend([("401", "invalid-token"), ("403", "forbidden, agent-suspended, policy-denied")]);
        common.extend([("429", "rate-limited"), ("500", "internal, integrity-violation")]);
        common.push(("503", "storage-unavailable, issuer-unavailable, overloaded"));
        if has("requestBody") || has("parameters") {
            common.push(("400", "invalid-request"));
        }
        if takes_json {
            common.extend([("413", "body-too-large"), ("415", "unsupported-media-type")]);
        }
    }
    if path.contains('{') {
        common.push(("404", "not-found"));
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for (status, codes) in common {
        responses.entry(status).or_insert_with(|| json!({ "description": codes }));
    }
    for (status, response) in responses {
        let Some(response) = response.as_object_mut() else { continue };
        if status.starts_with(['4', '5']) && !response.contains_key("content") {
            if path.starts_with("/access/v1/evaluation") {
                let text = json!({ "text/plain": { "schema": { "type": "string" } } });
                response.insert("content".to_owned(), text);
                continue;
            }
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            response.insert("content".to_owned(), json!({ "application/problem+json": { "schema": schema } }));
        }
    }
}

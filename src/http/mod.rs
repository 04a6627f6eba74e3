//! The HTTP door: routes, who may call them, and how answers look. It translates and decides nothing. Every path that is not
//! listed here is refused, and every refusal is a problem document.

mod address;
mod admission;
mod agents;
mod authzen;
mod body;
mod caller;
mod chat;
mod console;
mod delegations;
mod delivery;
mod device;
mod filings;
mod frame;
mod health;
mod idempotency;
mod insights;
mod introspect;
mod leases;
mod lists;
mod metrics;
mod passkeys;
mod policy;
mod problem;
mod questions;
mod reference;
mod refusal;
mod requests;
mod serve;
mod sessions;
mod tasks;

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{ProblemKind, openapi};
use crate::broker::{Broker, BrokerError};

pub use address::Peer;
pub use admission::Admission;
pub use console::SIGN_IN_CALLBACK;
pub use frame::RequestIds;
pub use metrics::metrics_router;
pub use serve::{Limits, serve};

use refusal::Refusal;

/// What the routes need.
#[derive(Clone)]
pub struct HttpState {
    /// The use cases.
    pub broker: Broker,
    /// Where callers reach us, without a slash at the end; the base of problem types.
    pub public_url: Arc<str>,
    /// Proxies whose `X-Forwarded-For` is believed; none by default.
    pub trusted_proxies: Arc<[IpNet]>,
    /// How much is worked on at once.
    pub admission: Arc<Admission>,
    /// Makes request ids.
    pub request_ids: Arc<RequestIds>,
    /// Cancelled when the server is about to stop: it is not ready any more, long polls answer at once, and every answer asks
    /// for another connection.
    pub draining: CancellationToken,
    /// Work that goes on when its caller hangs up; shutdown waits for it.
    pub work: TaskTracker,
}

/// Every route of the public listener.
pub fn router(state: HttpState) -> Router {
    let (routes, _) = assemble().split_for_parts();
    let state = Arc::new(state);
    routes
        .merge(console::router(&state))
        .fallback(async || Refusal::not_found())
        .method_not_allowed_fallback(async || {
            Refusal::new(ProblemKind::MethodNotAllowed, "Use a method that the `Allow` header names.")
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&state), frame::frame))
        .with_state(state)
}

/// The OpenAPI document as the server serves it and `docs/openapi.json` keeps it.
pub fn openapi_document() -> String {
    openapi::finish(&assemble().into_openapi())
}

/// Every route and who may call it.
pub fn route_list() -> Vec<openapi::Route> {
    api_routes().into_iter().chain(console::route_list()).collect()
}

/// Those that the OpenAPI document describes.
fn api_routes() -> Vec<openapi::Route> {
    openapi::routes(&assemble().into_openapi())
}

fn assemble() -> OpenApiRouter<Arc<HttpState>> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(tasks::open))
        .routes(routes!(tasks::read))
        .routes(routes!(tasks::ask_for_more))
        .routes(routes!(tasks::withdraw))
        .routes(routes!(tasks::collect))
        .routes(routes!(tasks::heartbeat))
        .routes(routes!(tasks::complete))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::closure))
        .routes(routes!(requests::list))
        .routes(routes!(requests::read))
        .routes(routes!(requests::decide))
        .routes(routes!(delegations::review))
        .routes(routes!(delegations::reviews))
        .routes(routes!(delegations::give))
        .routes(routes!(delegations::list))
        .routes(routes!(delegations::end))
        .routes(routes!(questions::ask))
        .routes(routes!(questions::answer_one))
        .routes(routes!(passkeys::challenge))
        .routes(routes!(passkeys::evidence))
        .routes(routes!(passkeys::list))
        .routes(routes!(passkeys::begin))
        .routes(routes!(passkeys::register))
        .routes(routes!(passkeys::rename))
        .routes(routes!(passkeys::end))
        .routes(routes!(chat::slack))
        .routes(routes!(leases::list))
        .routes(routes!(leases::revoke))
        .routes(routes!(policy::scopes))
        .routes(routes!(policy::whoami))
        .routes(routes!(policy::decision))
        .routes(routes!(policy::simulate))
        .routes(routes!(agents::list))
        .routes(routes!(agents::suspend))
        .routes(routes!(agents::resume))
        .routes(routes!(agents::events))
        .routes(routes!(insights::approvals))
        .routes(routes!(insights::suggestions))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::end_all))
        .routes(routes!(device::authorize))
        .routes(routes!(device::token))
        .routes(routes!(introspect::introspect))
        .routes(routes!(lists::read))
        .routes(routes!(lists::krl))
        .routes(routes!(lists::status_list))
        .routes(routes!(authzen::configuration))
        .routes(routes!(authzen::evaluation))
        .routes(routes!(authzen::evaluations))
        .routes(routes!(filings::file))
        .routes(routes!(filings::read))
        .routes(routes!(filings::cancel, filings::delete))
        .routes(routes!(health::jwks))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(reference::openapi_json))
        .routes(routes!(reference::docs))
        .routes(routes!(reference::problem_page))
}

/// Run a use case that must not stop half-way when its caller hangs up: axum drops a handler with its connection.
async fn detached<T: Send + 'static>(
    state: &HttpState,
    work: impl Future<Output = Result<T, BrokerError>> + Send + 'static,
) -> Result<T, Refusal> {
    match state.work.spawn(work.in_current_span()).await {
        Ok(done) => done.map_err(Refusal::from),
        Err(_) => Err(Refusal::internal("a use case panicked")),
    }
}

/// A value as a JSON answer.
fn answer(value: &impl serde::Serialize) -> axum::response::Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => ([(axum::http::header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => Refusal::internal(format!("an answer could not be written: {error}")).into_response(),
    }
}

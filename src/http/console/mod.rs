//! The console: pages for people, made on the server, that work without a script and ask nobody else for anything. This table is all of
//! it: what is not listed here does not exist, and who may call is printed from here.

mod agents;
mod assets;
mod device;
mod dress;
mod effect;
mod events;
mod inbox;
mod insights;
mod live;
mod next;
mod page;
mod passkeys;
mod policies;
mod request;
mod request_page;
pub(in crate::http) mod session;
mod settings;
mod sign_in;
mod stream;
mod tasks;
mod text;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::HttpState;
use super::refusal::Refusal;
use crate::api::openapi::Route;

/// Where people sign in.
const SIGN_IN: &str = "/sign-in";
/// Where a browser comes back to from the identity provider; registered there.
pub const SIGN_IN_CALLBACK: &str = "/sign-in/callback";

/// Method, path, and who may call.
type Row = (&'static str, &'static str, &'static [&'static str]);

macro_rules! routes {
    ($($method:ident $path:literal $handler:expr => $($caller:literal)+;)+) => {
        /// Every route of the console.
        const ROUTES: &[Row] = &[$((stringify!($method), $path, &[$($caller),+])),+];

        fn mount(router: Router<Arc<HttpState>>) -> Router<Arc<HttpState>> {
            router$(.route($path, $method($handler)))+
        }
    };
}

routes! {
    get "/" inbox::read => "operator";
    get "/inbox" inbox::read => "operator";
    get "/r/{id}" request::read => "operator";
    post "/r/{id}/verdict" request::decide => "operator";
    post "/r/{id}/challenge" request::challenge => "operator";
    post "/r/{id}/break-glass" request::break_glass => "operator";
    post "/r/{id}/questions" request::ask => "operator";
    post "/r/{id}/review" request::review => "operator";
    get "/live" live::read => "operator";
    post "/live/end" live::end => "operator";
    post "/live/kill" live::kill => "operator";
    get "/tasks" tasks::list => "operator";
    get "/tasks/{id}" tasks::read => "operator";
    get "/agents" agents::list => "operator";
    get "/agents/{id}" agents::read => "operator";
    post "/agents/{id}/suspend" agents::suspend => "operator";
    post "/agents/{id}/resume" agents::resume => "operator";
    get "/policies" policies::list => "operator";
    get "/policies/{id}" policies::read => "operator";
    get "/decisions/{id}" policies::decision => "operator";
    get "/insights" insights::read => "operator";
    get "/events.csv" events::read => "operator";
    get "/settings" settings::read => "operator";
    post "/settings/delegations" settings::delegate => "operator";
    post "/settings/delegations/end" settings::end_delegation => "operator";
    post "/settings/passkeys" passkeys::register => "operator";
    post "/settings/passkeys/challenge" passkeys::begin => "operator";
    post "/settings/passkeys/name" passkeys::rename => "operator";
    post "/settings/passkeys/end" passkeys::end => "operator";
    post "/settings/sessions/end" settings::end_session => "operator";
    post "/settings/sessions/end-all" settings::end_all => "operator";
    get "/stream" stream::read => "operator";
    get "/sign-in" sign_in::begin => "nobody";
    get "/sign-in/callback" sign_in::finish => "nobody";
    post "/sign-out" sign_in::sign_out => "operator";
    get "/device" device::show => "operator";
    post "/device" device::answer => "operator";
    get "/static/{file}" assets::read => "nobody";
}

/// The console's routes in their frame.
pub(super) fn router(state: &Arc<HttpState>) -> Router<Arc<HttpState>> {
    let dressed = axum::middleware::from_fn_with_state(Arc::clone(state), dress::dress);
    mount(Router::new()).route_layer(dressed)
}

/// Every route of the console and who may call it.
pub(super) fn route_list() -> impl Iterator<Item = Route> {
    ROUTES.iter().map(|(method, path, callers)| Route {
        method: if *method == "post" { "POST" } else { "GET" },
        path: (*path).to_owned(),
        callers: callers.to_vec(),
    })
}

/// To another page of ours, or to the identity provider's: what was posted is done, and loading again repeats nothing (RFC 9110
/// §15.4.4).
fn see_other(to: &str) -> Response {
    match HeaderValue::try_from(to) {
        Ok(to) => {
            let private = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (StatusCode::SEE_OTHER, [(header::LOCATION, to), private]).into_response()
        }
        Err(_) => Refusal::internal("a redirect to what is no URL").into_response(),
    }
}

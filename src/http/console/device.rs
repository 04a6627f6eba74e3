//! The page on which a person lets a command line sign in as them: it shows who asks and from where, because whoever sends
//! somebody a link with a code in it hopes that nobody looks (RFC 8628 §5.4).

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::broker::{BrokerError, DeviceShown};
use crate::http::body::Params;
use crate::http::refusal::Refusal;
use crate::http::{HttpState, detached};

use super::dress::Nonce;
use super::page::show_as;
use super::session::{Posted, SignedIn};

/// What may stand in the query of [`show`].
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DeviceParams {
    user_code: Option<String>,
}

/// What the form of the page sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceForm {
    user_code: String,
    answer: String,
}

/// Ask for the code, or show who asks.
#[derive(Template)]
#[template(path = "console/device.html")]
struct DevicePage<'a> {
    nonce: &'a str,
    person: &'a str,
    csrf: &'a str,
    problem: &'a str,
    shown: Option<&'a DeviceShown>,
}

/// What came of it.
#[derive(Template)]
#[template(path = "console/device_done.html")]
struct DeviceDonePage<'a> {
    nonce: &'a str,
    confirmed: bool,
}

/// `GET /device`.
pub(super) async fn show(
    State(state): State<Arc<HttpState>>,
    SignedIn { caller, csrf }: SignedIn,
    Nonce(nonce): Nonce,
    Params(params): Params<DeviceParams>,
) -> Result<Response, Refusal> {
    let person = caller.operator.person.as_str();
    let mut shown = None;
    let mut problem = "";
    if let Some(code) = params.user_code.filter(|code| !code.trim().is_empty()) {
        match state.broker.device_sign_in(&caller, &code).await {
            Ok(found) => shown = Some(found),
            Err(BrokerError::NotFound(_)) => problem = NO_SUCH_CODE,
            Err(error) => return Err(error.into()),
        }
    }
    let status = if problem.is_empty() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Ok(show_as(status, &DevicePage { nonce: &nonce, person, csrf: csrf.as_str(), problem, shown: shown.as_ref() }))
}

const NO_SUCH_CODE: &str = "There is no such code: it may be mistyped, over, or used. Compare it with your terminal.";

/// `POST /device`.
pub(super) async fn answer(
    State(state): State<Arc<HttpState>>,
    SignedIn { caller, csrf }: SignedIn,
    Nonce(nonce): Nonce,
    Posted(form): Posted<DeviceForm>,
) -> Result<Response, Refusal> {
    let confirmed = match form.answer.as_str() {
        "confirm" => true,
        "refuse" => false,
        _ => return Err(Refusal::invalid("`answer` is `confirm` or `refuse`.")),
    };
    let (broker, person) = (state.broker.clone(), caller.operator.person.clone());
    let answered = async move {
        match broker.answer_device_sign_in(&caller, &form.user_code, confirmed).await {
            Ok(()) => Ok(true),
            Err(BrokerError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    };
    if detached(&state, answered).await? {
        return Ok(show_as(StatusCode::OK, &DeviceDonePage { nonce: &nonce, confirmed }));
    }
    let again =
        DevicePage { nonce: &nonce, person: person.as_str(), csrf: csrf.as_str(), problem: NO_SUCH_CODE, shown: None };
    Ok(show_as(StatusCode::NOT_FOUND, &again))
}

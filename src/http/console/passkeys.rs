//! What somebody signs with: registered, renamed and removed on the settings page. The browser's part is `static/passkey.js`; what must be
//! signed and what came back travel through forms of this session, like everything else here.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::super::refusal::Refusal;
use super::super::{HttpState, answer, detached};
use super::see_other;
use super::session::Posted;
use super::visit::Visit;
use crate::api::{PasskeyNameAsk, RegistrationAsk};

/// What a passkey shall be called; the script sends the rest of the form too.
#[derive(Debug, Deserialize)]
pub(super) struct BeginForm {
    name: String,
}

/// `POST /settings/passkeys/challenge`: what the browser must be asked for.
pub(super) async fn begin(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<BeginForm>,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.begin_passkey(&visit.caller, &PasskeyNameAsk { name: form.name }).await?))
}

/// What the browser made, put into the form by the script.
#[derive(Debug, Deserialize)]
pub(super) struct RegisterForm {
    #[serde(default)]
    registration: String,
}

/// `POST /settings/passkeys`
pub(super) async fn register(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<RegisterForm>,
) -> Result<Response, Refusal> {
    let ask: RegistrationAsk = serde_json::from_str(&form.registration).map_err(|_| {
        Refusal::invalid("A passkey is made by the browser, which needs JavaScript. Nothing was registered.")
    })?;
    let (broker, caller) = (state.broker.clone(), visit.caller);
    detached(&state, async move { broker.finish_passkey(&caller, &ask).await }).await?;
    Ok(see_other("/settings"))
}

/// Another name for a passkey.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameForm {
    id: String,
    name: String,
}

/// `POST /settings/passkeys/name`
pub(super) async fn rename(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<NameForm>,
) -> Result<Response, Refusal> {
    state.broker.rename_passkey(&visit.caller, &form.id, &PasskeyNameAsk { name: form.name }).await?;
    Ok(see_other("/settings"))
}

/// Which passkey is removed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndForm {
    id: String,
}

/// `POST /settings/passkeys/end`
pub(super) async fn end(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<EndForm>,
) -> Result<Response, Refusal> {
    state.broker.end_passkey(&visit.caller, &form.id).await?;
    Ok(see_other("/settings"))
}

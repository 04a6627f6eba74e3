//! Passkeys: what a person has, how one is registered, and what one is asked to sign for a verdict. The browser's part is in
//! `docs/passkeys.md`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::api::{ChallengeView, Evidence, PasskeyNameAsk, PasskeyView, PasskeysPage, RegistrationAsk, VerdictAsk};

use super::body::Json;
use super::caller::{PathId, Person};
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// List your passkeys
///
/// Those that were removed are not among them.
#[utoipa::path(get, path = "/v1/passkeys", operation_id = "list_passkeys", tag = "passkeys", security(("operatorToken" = [])),
    responses((status = 200, description = "Your passkeys", body = PasskeysPage)))]
pub(super) async fn list(State(state): State<Arc<HttpState>>, Person(person): Person) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.list_passkeys(&person).await?))
}

/// Begin to register a passkey
///
/// Needs a sign-in of the last ten minutes. Answers what the browser must be asked for: where you have a passkey, it must sign first
/// (`get`), then another one is made (`create`).
#[utoipa::path(post, path = "/v1/passkeys/challenges", operation_id = "begin_passkey", tag = "passkeys", request_body = PasskeyNameAsk,
    security(("operatorToken" = [])),
    responses(
        (status = 201, description = "What to ask the browser for", body = ChallengeView),
        (status = 401, description = "invalid-token, step-up-required"),
        (status = 403, description = "passkey-refused, forbidden"),
        (status = 501, description = "not-implemented"),
    ))]
pub(super) async fn begin(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    Json(ask): Json<PasskeyNameAsk>,
) -> Result<Response, Refusal> {
    Ok((StatusCode::CREATED, answer(&state.broker.begin_passkey(&person, &ask).await?)).into_response())
}

/// Register a passkey
///
/// With what the browser answered. No attestation is asked for, and none with a certificate is taken.
#[utoipa::path(post, path = "/v1/passkeys", operation_id = "register_passkey", tag = "passkeys", request_body = RegistrationAsk,
    security(("operatorToken" = [])),
    responses(
        (status = 201, description = "The passkey", body = PasskeyView),
        (status = 401, description = "invalid-token, step-up-required"),
        (status = 403, description = "passkey-refused, forbidden"),
        (status = 501, description = "not-implemented"),
    ))]
pub(super) async fn register(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    Json(ask): Json<RegistrationAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let passkey = detached(&state, async move { broker.finish_passkey(&person, &ask).await }).await?;
    Ok((StatusCode::CREATED, answer(&passkey)).into_response())
}

/// Rename a passkey
#[utoipa::path(post, path = "/v1/passkeys/{id}/name", operation_id = "rename_passkey", tag = "passkeys", request_body = PasskeyNameAsk,
    security(("operatorToken" = [])), params(("id" = String, Path, description = "The passkey's id")),
    responses((status = 200, description = "The passkey", body = PasskeyView)))]
pub(super) async fn rename(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    Json(ask): Json<PasskeyNameAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let passkey = detached(&state, async move { broker.rename_passkey(&person, &id, &ask).await }).await?;
    Ok(answer(&passkey))
}

/// Remove a passkey
///
/// Needs a sign-in of the last ten minutes. It signs nothing any more that counts; what it signed stays verifiable.
#[utoipa::path(post, path = "/v1/passkeys/{id}/end", operation_id = "end_passkey", tag = "passkeys",
    security(("operatorToken" = [])), params(("id" = String, Path, description = "The passkey's id")),
    responses(
        (status = 200, description = "The passkey, as it ended", body = PasskeyView),
        (status = 401, description = "invalid-token, step-up-required"),
    ))]
pub(super) async fn end(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    _: super::body::NoBody,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let passkey = detached(&state, async move { broker.end_passkey(&person, &id).await }).await?;
    Ok(answer(&passkey))
}

/// Ask what a passkey must sign for a verdict
///
/// The body is the verdict as it will be sent, without its `assertion`. What is signed is SHA-256 of the nonce and the statement, so the
/// signature is over exactly this verdict on exactly what was shown. Good for two minutes and once; nothing is decided by asking.
#[utoipa::path(post, path = "/v1/requests/{id}/challenge", operation_id = "challenge_for_verdict", tag = "passkeys",
    request_body = VerdictAsk, security(("operatorToken" = [])), params(("id" = String, Path, description = "The request's id")),
    responses(
        (status = 201, description = "What to ask the browser for", body = ChallengeView),
        (status = 403, description = "passkey-refused, forbidden"),
        (status = 409, description = "approval-mismatch, already-decided"),
        (status = 501, description = "not-implemented"),
    ))]
pub(super) async fn challenge(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    Json(ask): Json<VerdictAsk>,
) -> Result<Response, Refusal> {
    let challenge = state.broker.challenge_for_verdict(&person, &id, &ask).await?;
    Ok((StatusCode::CREATED, answer(&challenge)).into_response())
}

/// Read the evidence of a request's verdicts
///
/// What was shown, what each passkey signed, and by which key: `hallpass audit verify-approval` checks it without a server, and so can
/// anybody else.
#[utoipa::path(get, path = "/v1/requests/{id}/evidence", operation_id = "read_evidence", tag = "audit", security(("operatorToken" = [])),
    params(("id" = String, Path, description = "The request's id")),
    responses((status = 200, description = "The evidence", body = Evidence)))]
pub(super) async fn evidence(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.read_evidence(&person, &id).await?))
}

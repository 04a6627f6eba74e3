//! Revocation lists, for whoever verifies credentials without asking us for each. Public, as the keys are: they name credentials
//! by numbers that mean nothing to anybody who does not hold one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::HttpState;
use super::address::client_address;
use super::caller::{PathId, PathIds};
use super::refusal::Refusal;
use crate::api::ProblemKind;
use crate::broker::PublishedList;

/// Read the revocation list of a backend
///
/// What verifiers must refuse although it has not come to its own end, of a backend whose credentials they check without asking. For
/// `ssh` an OpenSSH key revocation list, for `RevokedKeys` of `sshd_config`; for `x509` a CRL in DER (RFC 5280), as the distribution
/// point in each certificate says. At most a second old; send the `ETag` back as `If-None-Match` to fetch it only when it changed.
/// Counted by address.
#[utoipa::path(get, path = "/v1/backends/{name}/revocation-list", operation_id = "read_revocation_list", tag = "resource servers",
    params(("name" = String, Path, description = "The backend's name")),
    responses(
        (status = 200, description = "The list", content(
            (Vec<u8> = "application/octet-stream"),
            (Vec<u8> = "application/pkix-crl"),
        )),
        (status = 304, description = "It has not changed"),
        (status = 404, description = "not-found"),
        (status = 429, description = "rate-limited"),
        (status = 503, description = "storage-unavailable, store-restored, overloaded"),
    ))]
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    PathId(backend): PathId,
    request: Request,
) -> Result<Response, Refusal> {
    answer(&state, &backend, request).await
}

/// Read the revocation list of a backend
///
/// The same as `/v1/backends/{name}/revocation-list`, by the name it had when only `ssh` had one.
#[utoipa::path(get, path = "/v1/backends/{name}/krl", operation_id = "read_krl", tag = "resource servers",
    params(("name" = String, Path, description = "The backend's name")),
    responses(
        (status = 200, description = "The list", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "It has not changed"),
        (status = 404, description = "not-found"),
        (status = 429, description = "rate-limited"),
        (status = 503, description = "storage-unavailable, store-restored, overloaded"),
    ))]
pub(super) async fn krl(
    State(state): State<Arc<HttpState>>,
    PathId(backend): PathId,
    request: Request,
) -> Result<Response, Refusal> {
    answer(&state, &backend, request).await
}

async fn answer(state: &HttpState, backend: &str, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    state.broker.admit_address(client_address(&parts, &state.trusted_proxies))?;
    let published = state.broker.revocation_list(backend).await?;
    Ok(published_answer(&parts.headers, &published))
}

/// Read a Token Status List
///
/// Which tokens of a backend of kind `jwt` must be refused although their `exp` has not come (draft-ietf-oauth-status-list): a signed
/// list with one bit for each token, at the `uri` of a token's `status.status_list` claim. At most a second old; keep it for its
/// `ttl`, never beyond its `exp`. Counted by address. Lists of the past (`time`) are not kept.
#[utoipa::path(get, path = "/v1/backends/{name}/status-lists/{list}", operation_id = "read_status_list", tag = "resource servers",
    params(("name" = String, Path, description = "The backend's name"), ("list" = String, Path, description = "The list's name")),
    responses(
        (status = 200, description = "The list", body = String, content_type = "application/statuslist+jwt"),
        (status = 304, description = "It has not changed"),
        (status = 404, description = "not-found"),
        (status = 429, description = "rate-limited"),
        (status = 501, description = "not-implemented"),
        (status = 503, description = "storage-unavailable, store-restored, overloaded"),
    ))]
pub(super) async fn status_list(
    State(state): State<Arc<HttpState>>,
    PathIds(backend, list): PathIds,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    state.broker.admit_address(client_address(&parts, &state.trusted_proxies))?;
    // §8.4: whoever asks how it once was is not to be told how it is.
    let query = parts.uri.query().unwrap_or_default();
    if url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "time") {
        let detail = "Status lists of the past are not kept. Ask without `time` for the list as it is now.";
        return Err(Refusal::new(ProblemKind::NotImplemented, detail));
    }
    let published = state.broker.status_list(&backend, &list).await?;
    Ok(published_answer(&parts.headers, &published))
}

/// The list, or that the caller has it already.
fn published_answer(asked: &HeaderMap, published: &PublishedList) -> Response {
    let tag = format!("\"{}\"", published.tag);
    // Whoever keeps it asks each time whether it changed.
    let headers = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "no-cache")];
    if is_known(asked, &tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let media_type = [(header::CONTENT_TYPE, published.list.media_type)];
    (headers, media_type, published.list.bytes.clone()).into_response()
}

/// Whether the caller has these bytes (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let sent = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(',')).map(str::trim).any(|one| {
        let one = one.strip_prefix("W/").unwrap_or(one);
        one == tag || one == "*"
    })
}

//! Bodies and query strings, read strictly: limits before parsing, one content type, no duplicate members, no unknown
//! members. A refusal names the member and what was expected there, and never repeats the value that was sent.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::api::ProblemKind;
use crate::sys::check_strict;

use super::refusal::Refusal;

/// Most bytes of a request body.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Deepest nesting of a request body.
const MAX_DEPTH: usize = 16;
/// Longest a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most characters of the caller's own text that a refusal repeats.
const MAX_ECHO_CHARS: usize = 80;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(not_json());
        }
        parse(&read(&parts.headers, body).await?).map(Self)
    }
}

fn not_json() -> Refusal {
    Refusal::new(ProblemKind::UnsupportedMediaType, "Send the body as `Content-Type: application/json`, in UTF-8.")
}

/// A JSON body that may be left out.
pub(super) struct JsonOrNone<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonOrNone<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body).await?;
        match bytes.trim_ascii() {
            b"" | b"{}" => Ok(Self(T::default())),
            _ if is_json(&parts.headers) => parse(&bytes).map(Self),
            _ => Err(not_json()),
        }
    }
}

/// No body, or an empty JSON object.
pub(super) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        match read(&parts.headers, body).await?.trim_ascii() {
            b"" | b"{}" => Ok(Self),
            _ => Err(Refusal::invalid("This call takes no body.")),
        }
    }
}

/// The members of the query string.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|rejection| {
            let said = rejection.body_text();
            let said = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
            Refusal::invalid(format!("The query string: {}.", reword(said)))
        })
    }
}

/// The whole body, if it is small and arrives in time. A body of one frame is not copied.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    read_within(BODY_TIMEOUT, headers, body).await
}

async fn read_within(timeout: Duration, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let too_large =
        || Refusal::new(ProblemKind::BodyTooLarge, "Send at most 65536 bytes: ask for fewer scopes at a time.");
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(timeout, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::invalid("The body could not be read to its end.")),
        Err(_) => Err(Refusal::invalid("The body did not arrive in time (10 s).")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|(kind, charset)| {
        kind.eq_ignore_ascii_case("application/json") && charset.is_none_or(|set| set.eq_ignore_ascii_case("utf-8"))
    })
}

/// The content type and its charset; nothing when there are two, or a parameter that is no charset.
pub(super) fn media_type(headers: &HeaderMap) -> Option<(&str, Option<&str>)> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = value.to_str().ok()?.split(';').map(str::trim);
    let kind = parts.next()?;
    let Some(parameter) = parts.next() else { return Some((kind, None)) };
    let (name, charset) = parameter.split_once('=')?;
    let only = name.trim().eq_ignore_ascii_case("charset") && parts.next().is_none();
    only.then(|| (kind, Some(charset.trim().trim_matches('"'))))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    check_strict(bytes, MAX_DEPTH).map_err(|error| Refusal::invalid(format!("The body cannot be read: {error}.")))?;
    serde_json::from_slice(bytes).map_err(|_| Refusal::invalid(explain::<T>(bytes)))
}

/// What is wrong with a body: parsed once more, this time keeping the path.
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        return "The body cannot be read.".to_owned();
    };
    let said = error.inner().to_string();
    let path = error.path().to_string();
    // Of an unknown member the path names the member too; once is enough.
    let unknown = said.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`')).map(|(name, _)| name);
    let path = unknown.and_then(|name| path.strip_suffix(name)).unwrap_or(&path).trim_end_matches('.');
    let said = reword(&said);
    if path.is_empty() { format!("The body: {said}.") } else { format!("`{}`: {said}.", echo(path)) }
}

/// Serde's words without the value that was sent.
fn reword(said: &str) -> String {
    let named =
        |prefix: &str| said.split_once(prefix).and_then(|(_, rest)| rest.split_once('`')).map(|(name, _)| echo(name));
    if let Some(name) = named("unknown field `") {
        return format!("there is no member `{name}`; unknown members are refused");
    }
    if let Some(name) = named("missing field `") {
        return format!("the member `{name}` is missing");
    }
    if let Some(name) = named("duplicate field `") {
        return format!("the member `{name}` comes twice");
    }
    // `invalid type: string "…", expected i64 at line 1 column 9`: what follows the last `expected` is ours.
    match said.rsplit_once("expected ") {
        Some((_, expected)) => {
            let expected = expected.split(" at line ").next().unwrap_or(expected);
            format!("expected {}", echo(plain(expected)))
        }
        None => "the value cannot be used here".to_owned(),
    }
}

fn plain(expected: &str) -> &str {
    match expected {
        "i64" | "u32" | "u64" => "a whole number that is not too large, without quotes",
        other => other,
    }
}

/// The caller's own words, short and visible.
fn echo(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(MAX_ECHO_CHARS).collect()
}

#[cfg(test)]
mod tests;

//! Who calls. The bearer token of the one `Authorization` header is all that counts: no header a proxy could set or forget to
//! strip names a caller. Callers without an accepted token are counted by address, the others by name.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::api::ProblemKind;
use crate::broker::{AgentCaller, BrokerError, Caller, OperatorCaller};

use super::HttpState;
use super::address::client_address;
use super::refusal::Refusal;

/// Longest bearer token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Longest id in a path.
const MAX_PATH_ID_BYTES: usize = 128;

/// Whoever calls.
pub(super) struct Anyone(pub(super) Caller);
/// An agent; a person is refused.
pub(super) struct Agent(pub(super) AgentCaller);
/// A person; an agent is refused.
pub(super) struct Person(pub(super) OperatorCaller);

impl FromRequestParts<Arc<HttpState>> for Anyone {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &Arc<HttpState>) -> Result<Self, Refusal> {
        let address = client_address(parts, &state.trusted_proxies);
        let refused = match bearer(&parts.headers) {
            Some(token) => match state.broker.authenticate(token, &address.to_string()).await {
                Ok(caller) => {
                    state.broker.admit(&caller)?;
                    return Ok(Self(caller));
                }
                Err(error) => error,
            },
            None => BrokerError::IdentityRefused,
        };
        // Over its budget, an address learns nothing more about its tokens.
        state.broker.admit_address(address)?;
        Err(refused.into())
    }
}

impl FromRequestParts<Arc<HttpState>> for Agent {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &Arc<HttpState>) -> Result<Self, Refusal> {
        match Anyone::from_request_parts(parts, state).await?.0 {
            Caller::Agent(agent) => Ok(Self(agent)),
            Caller::Operator(_) => Err(Refusal::new(ProblemKind::Forbidden, "Only an agent may call this.")),
        }
    }
}

impl FromRequestParts<Arc<HttpState>> for Person {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &Arc<HttpState>) -> Result<Self, Refusal> {
        match Anyone::from_request_parts(parts, state).await?.0 {
            Caller::Operator(person) => Ok(Self(person)),
            Caller::Agent(_) => Err(Refusal::new(ProblemKind::Forbidden, "Only a person may call this, not an agent.")),
        }
    }
}

/// The credentials of the one `Authorization` header, if it is of this scheme (RFC 9110 §11.4, RFC 6750 §2.1).
pub(super) fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (found, rest) = value.to_str().ok()?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim_start_matches(' '))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let token = credentials(headers, "Bearer")?;
    let is_token68 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    ((1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(is_token68)).then_some(token)
}

/// The `{id}` of the path. What cannot be an id is the id of nothing.
pub(super) struct PathId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) if is_id(&id) => Ok(Self(id)),
            Ok(_) | Err(_) => Err(Refusal::not_found()),
        }
    }
}

/// Two of them: of a thing, and of one of its own.
pub(super) struct PathIds(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((of, own))) if is_id(&of) && is_id(&own) => Ok(Self(of, own)),
            Ok(_) | Err(_) => Err(Refusal::not_found()),
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() <= MAX_PATH_ID_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer_of(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::AUTHORIZATION, line.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn a_bearer_is_read_from_exactly_one_well_formed_header() {
        assert_eq!(bearer_of(&["Bearer a.b.c"]).as_deref(), Some("a.b.c"));
        assert_eq!(bearer_of(&["bearer a.b.c"]).as_deref(), Some("a.b.c"));
        for refused in
            [&[][..], &["Bearer "], &["Bearer"], &["Basic a.b.c"], &["Bearer a", "Bearer b"], &["Bearer a b"]]
        {
            assert_eq!(bearer_of(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn tok_29_an_oversized_token_is_refused_before_anybody_parses_it() {
        assert!(bearer_of(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES))]).is_some());
        assert_eq!(bearer_of(&[&format!("Bearer {}", ".".repeat(MAX_TOKEN_BYTES + 1))]), None);
    }
}

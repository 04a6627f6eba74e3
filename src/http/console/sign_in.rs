//! Signing in and out: to the identity provider, back from it, and away. The pages say what went wrong in words that help the
//! person and tell a stranger nothing.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use url::form_urlencoded;

use crate::broker::{OpenedFrom, SignInAnswer, SignInAsk, SignInError};
use crate::http::address::client_address;
use crate::http::refusal::Refusal;
use crate::http::{HttpState, detached};
use crate::sys::ExposeSecret as _;

use super::dress::Nonce;
use super::next::{Next, sign_in_url};
use super::page::show_as;
use super::see_other;
use super::session::{Posted, SESSION_COOKIE, SignedIn, cookie, find, set_cookie};

/// The cookie of somebody who is at the identity provider.
const FLOW_COOKIE: &str = "__Host-hallpass-flow";

/// What may stand in the query of [`begin`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BeginParams {
    next: Option<String>,
    step_up: Option<String>,
    login_hint: Option<String>,
    signed_out: Option<String>,
}

/// A form without fields of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoFields {}

/// The page of somebody who is not signed in.
#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignInPage<'a> {
    nonce: &'a str,
    /// What it is about.
    title: &'a str,
    /// What happened, and what to do.
    message: &'a str,
    /// Where to sign in; empty when nobody can.
    sign_in: &'a str,
    /// Whether to say how it is configured.
    unconfigured: bool,
    /// What to register at the issuer.
    callback: &'a str,
}

/// `GET /sign-in`: to the identity provider.
pub(super) async fn begin(State(state): State<Arc<HttpState>>, nonce: Nonce, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    match to_issuer(&state, &nonce, &mut parts).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn to_issuer(state: &HttpState, nonce: &Nonce, parts: &mut Parts) -> Result<Response, Refusal> {
    let Query(params) = Query::<BeginParams>::try_from_uri(&parts.uri)
        .map_err(|_| Refusal::invalid("The query string cannot be read."))?;
    let next = params.next.as_deref().and_then(Next::parse).unwrap_or_default();
    if params.signed_out.is_some() {
        return Ok(told(state, nonce, StatusCode::OK, "You are signed out", "", Some(&Next::default())));
    }
    let present = find(parts, state).await?;
    let step_up = params.step_up.is_some();
    if present.is_some() && !step_up {
        return Ok(see_other(next.as_str()));
    }
    if present.is_none() {
        state.broker.admit_address(client_address(parts, &state.trusted_proxies))?;
    }
    let ask = SignInAsk { next: next.as_str().to_owned(), step_up, login_hint: params.login_hint };
    Ok(match state.broker.begin_sign_in(ask, present.as_ref().map(|present| &present.caller)).await {
        Ok(begun) => {
            let cookie = set_cookie(FLOW_COOKIE, begun.flow.expose_secret(), begun.good_for_secs);
            let mut response = see_other(begun.url.as_str());
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
        }
        Err(error) => failed(state, nonce, error, &next)?,
    })
}

/// `GET /sign-in/callback`: back from the identity provider.
pub(super) async fn finish(State(state): State<Arc<HttpState>>, nonce: Nonce, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let mut response = match from_issuer(&state, &nonce, &mut parts).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    // Whatever came of it, this question was answered.
    response.headers_mut().append(header::SET_COOKIE, set_cookie(FLOW_COOKIE, "", 0));
    response
}

async fn from_issuer(state: &Arc<HttpState>, nonce: &Nonce, parts: &mut Parts) -> Result<Response, Refusal> {
    let address = client_address(parts, &state.trusted_proxies);
    state.broker.admit_address(address)?;
    let present = find(parts, state).await?;
    let flow = cookie(&parts.headers, FLOW_COOKIE);
    let from = OpenedFrom { user_agent: user_agent(parts), address: address.to_string() };
    let Some([answered, code, iss, error]) = members(parts.uri.query(), ["state", "code", "iss", "error"]) else {
        return failed(state, nonce, SignInError::Refused("parameter_twice"), &Next::default());
    };
    let (broker, caller) = (state.broker.clone(), present.map(|present| present.caller));
    // A browser that hangs up must not leave half a sign-in behind.
    let done = detached(state, async move {
        let answer = SignInAnswer {
            flow: flow.as_deref(),
            state: answered.as_deref(),
            code: code.as_deref(),
            iss: iss.as_deref(),
            error: error.as_deref(),
        };
        Ok(broker.finish_sign_in(&answer, &from, caller.as_ref()).await)
    })
    .await?;
    match done {
        Ok(finished) => {
            let session = &finished.opened.session;
            let life = session.ends_at.millis_since(session.opened_at) / 1000;
            let cookie = set_cookie(SESSION_COOKIE, finished.opened.secret.expose_secret(), life);
            let mut response = see_other(Next::parse(&finished.next).unwrap_or_default().as_str());
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(error) => failed(state, nonce, error, &Next::default()),
    }
}

/// `POST /sign-out`.
pub(super) async fn sign_out(
    State(state): State<Arc<HttpState>>,
    SignedIn { caller, .. }: SignedIn,
    Posted(NoFields {}): Posted<NoFields>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    detached(&state, async move { broker.sign_out(&caller).await }).await?;
    let mut response = see_other("/sign-in?signed_out=1");
    response.headers_mut().append(header::SET_COOKIE, set_cookie(SESSION_COOKIE, "", 0));
    Ok(response)
}

fn failed(state: &HttpState, nonce: &Nonce, error: SignInError, next: &Next) -> Result<Response, Refusal> {
    let (status, title, message) = match error {
        SignInError::NotConfigured => return Ok(unconfigured(state, nonce)),
        SignInError::Refused(why) => {
            metrics::counter!("hallpass_sign_in_refused_total", "reason" => why).increment(1);
            tracing::info!(reason = why, "a sign-in was refused");
            let message = match why {
                "refused_by_issuer" => {
                    "Your identity provider did not sign you in. Try again, or ask whoever looks after it."
                }
                "other_person" => "That was somebody else's account. Confirm with the account you are signed in with.",
                "proof_is_old" => {
                    "Your identity provider did not ask you again who you are, and this needs a fresh proof. Try again."
                }
                _ => {
                    "The answer does not belong to a sign-in of this browser, or came too late. Begin again from here."
                }
            };
            (StatusCode::BAD_REQUEST, "You are not signed in", message)
        }
        SignInError::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Your identity provider cannot be reached",
            "Nothing is wrong with your account. Try again in a moment; if it stays so, tell whoever runs this broker.",
        ),
        SignInError::Broker(error) => return Err(error.into()),
    };
    Ok(told(state, nonce, status, title, message, Some(next)))
}

fn told(
    state: &HttpState,
    nonce: &Nonce,
    status: StatusCode,
    title: &str,
    message: &str,
    next: Option<&Next>,
) -> Response {
    if !state.broker.has_sign_in() {
        return unconfigured(state, nonce);
    }
    let sign_in = next.map(|next| sign_in_url(state, next)).unwrap_or_default();
    show_as(
        status,
        &SignInPage { nonce: &nonce.0, title, message, sign_in: &sign_in, unconfigured: false, callback: "" },
    )
}

fn unconfigured(state: &HttpState, nonce: &Nonce) -> Response {
    let callback = format!("{}{}", state.public_url, super::SIGN_IN_CALLBACK);
    let title = "Nobody can sign in here yet";
    let message = "Tell the broker where your people sign in:";
    show_as(
        StatusCode::SERVICE_UNAVAILABLE,
        &SignInPage { nonce: &nonce.0, title, message, sign_in: "", unconfigured: true, callback: &callback },
    )
}

/// Each of these query members, if it comes at most once.
fn members<const N: usize>(query: Option<&str>, names: [&str; N]) -> Option<[Option<String>; N]> {
    let mut found = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let Some(slot) = names.iter().position(|known| *known == name).and_then(|at| found.get_mut(at)) else {
            continue;
        };
        if slot.replace(value.into_owned()).is_some() {
            return None;
        }
    }
    Some(found)
}

/// What the browser calls itself.
fn user_agent(parts: &Parts) -> String {
    let text = parts.headers.get(header::USER_AGENT).and_then(|text| text.to_str().ok());
    text.unwrap_or_default().to_owned()
}

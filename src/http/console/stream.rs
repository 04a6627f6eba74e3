//! What changed since a page was made, told as it happens (server-sent events): how many wait, how many of them are new, and whether the
//! request somebody looks at is another by now. Nothing moves by itself: the page offers to show it.
//!
//! A stream holds no room that others need: it is counted by itself, ends with the session it was opened in, and ends when the server is
//! about to stop.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use serde::Deserialize;

use super::super::HttpState;
use super::super::admission::Stream;
use super::super::body::Params;
use super::super::refusal::Refusal;
use super::session::SignedIn;
use super::text::count;
use super::visit::counted;
use crate::broker::{BrokerError, OperatorCaller};

/// How often the rows are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks after which a line is sent that says nothing: 20 s.
const LOOKS_A_LINE: u32 = 10;
/// Looks after which a stream ends and the browser comes again: 10 minutes.
const MAX_LOOKS: u32 = 300;
/// What the page that listens was made with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamParams {
    /// The newest request on the page.
    after: Option<String>,
    /// The request it is about.
    request: Option<String>,
    /// How that stood.
    seen: Option<String>,
}

struct Listening {
    state: Arc<HttpState>,
    caller: OperatorCaller,
    params: StreamParams,
    looks: u32,
    last: String,
    _room: Stream,
}

/// `GET /stream`
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    signed_in: SignedIn,
    Params(params): Params<StreamParams>,
) -> Result<Response, Refusal> {
    let caller = signed_in.caller;
    // Whoever may not see what waits is told so before a stream is opened.
    state.broker.waiting(&caller, None).await?;
    let room = state.admission.admit_stream(&key(&caller)).ok_or(BrokerError::Overloaded)?;
    let listening = Listening { state, caller, params, looks: 0, last: String::new(), _room: room };
    let events = unfold(Some(listening), async |listening| next(listening?).await);
    let mut response = Body::from_stream(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that gather answers would keep the news to themselves.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Whose streams are counted together: those of one session, or of one person who came without.
fn key(caller: &OperatorCaller) -> String {
    caller.sign_in.session.map_or_else(|| caller.operator.person.to_string(), |session| session.to_string())
}

type Event = Result<Bytes, std::convert::Infallible>;

/// Wait for the next thing to say. The first is said at once, so that the browser knows that it is connected.
async fn next(mut listening: Listening) -> Option<(Event, Option<Listening>)> {
    loop {
        let is_first = listening.looks == 0;
        if !is_first {
            let draining = listening.state.draining.clone();
            if tokio::time::timeout(LOOK_EVERY, draining.cancelled()).await.is_ok() {
                return None;
            }
        }
        listening.looks = listening.looks.saturating_add(1);
        if listening.looks > MAX_LOOKS {
            return None;
        }
        if !listening.state.broker.session_stands(&listening.caller).await.unwrap_or(true) {
            return Some((Ok(Bytes::from_static(b"event: over\ndata: {}\n\n")), None));
        }
        match listening.look().await {
            Ok(news) if news != listening.last => {
                listening.last.clone_from(&news);
                return Some((Ok(Bytes::from(news)), Some(listening)));
            }
            Ok(_) if is_first => return Some((Ok(Bytes::from_static(b"retry: 5000\n\n")), Some(listening))),
            // A line that says nothing shows both ends that the other is there.
            Ok(_) if listening.looks.is_multiple_of(LOOKS_A_LINE) => {
                return Some((Ok(Bytes::from_static(b": still here\n\n")), Some(listening)));
            }
            Ok(_) => {}
            Err(BrokerError::Forbidden(_) | BrokerError::NotFound(_)) => {
                return Some((Ok(Bytes::from_static(b"event: over\ndata: {}\n\n")), None));
            }
            // The database may be back at the next look.
            Err(error) => tracing::debug!(%error, "a stream could not look"),
        }
    }
}

impl Listening {
    /// What is to be said now; nothing if nothing is new.
    async fn look(&self) -> Result<String, BrokerError> {
        let waiting = self.state.broker.waiting(&self.caller, self.params.after.as_deref()).await?;
        let mut text = String::new();
        if let (Some(request), Some(seen)) = (&self.params.request, &self.params.seen) {
            if self.state.broker.request_standing(&self.caller, request).await? != *seen {
                "This request has changed. Show it as it is now".clone_into(&mut text);
            }
        } else if self.params.after.is_some() && waiting.newer > 0 {
            let newer = u64::try_from(waiting.newer).unwrap_or_default();
            text = format!("{} – show", count(newer, "new request", "new requests"));
        }
        if text.is_empty() {
            return Ok(String::new());
        }
        let data = serde_json::json!({ "pending": counted(waiting.all), "text": text });
        Ok(format!("event: news\ndata: {data}\n\n"))
    }
}

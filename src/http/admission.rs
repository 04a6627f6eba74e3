//! How much is worked on at once. What comes on top is refused at once and cheaply, so that those who were let in are answered
//! in time; what ends authority has room of its own, so that no flood of requests keeps anybody from ending anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{Method, Request};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

/// Requests that are worked on at the same time. At the rates of docs/benchmarks.md this many are answered within 100 ms.
const COMMON: usize = 256;
/// Of those that end authority or keep it alive.
const ENDING: usize = 256;
/// Of those that wait for something to change.
const WAITING: usize = 1024;
/// Streams of the console that are open at the same time; they take no room of the others'.
const STREAMS: usize = 256;
/// Of those that belong to one session.
const STREAMS_OF_ONE: usize = 6;

/// Room for requests, by what they are for.
#[derive(Debug)]
pub struct Admission {
    common: Semaphore,
    ending: Semaphore,
    waiting: Semaphore,
    streams: Arc<Mutex<HashMap<String, usize>>>,
}

/// Room for one stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    of: String,
    all: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&self.of) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                all.remove(&self.of);
            }
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            common: Semaphore::new(COMMON),
            ending: Semaphore::new(ENDING),
            waiting: Semaphore::new(WAITING),
            streams: Arc::default(),
        }
    }
}

impl Admission {
    /// Let a request in: with the room it needs until that is dropped, or with none.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<Option<SemaphorePermit<'_>>, TryAcquireError> {
        let (method, path) = (request.method(), request.uri().path());
        if !path.starts_with("/v1/") && !path.starts_with("/oauth/") {
            return Ok(None);
        }
        let waits = method == Method::GET && request.uri().query().is_some_and(|query| query.contains("wait="));
        let room = if waits {
            &self.waiting
        } else if ends_or_keeps_alive(method, path) {
            &self.ending
        } else {
            &self.common
        };
        room.try_acquire().map(Some)
    }

    /// Let a stream of somebody's in, if there is room for one more.
    pub(super) fn admit_stream(&self, of: &str) -> Option<Stream> {
        let mut all = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().sum::<usize>() >= STREAMS || all.get(of).is_some_and(|open| *open >= STREAMS_OF_ONE) {
            return None;
        }
        let open = all.entry(of.to_owned()).or_default();
        *open = open.saturating_add(1);
        Some(Stream { of: of.to_owned(), all: Arc::clone(&self.streams) })
    }
}

/// Revocations and the kill switch, the ends of tasks, suspensions, and heartbeats, without which tasks end.
fn ends_or_keeps_alive(method: &Method, path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    method == Method::POST
        && (matches!(path, "/v1/revocations" | "/v1/sessions/end-all")
            || (path.starts_with("/v1/sessions/") && last == "end")
            || matches!(last, "complete" | "cancel" | "heartbeat" | "suspend"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str) -> Request<()> {
        Request::builder().method(method).uri(uri).body(()).unwrap()
    }

    #[test]
    fn load_02_when_there_is_no_room_left_authority_can_still_be_ended_and_health_asked_for() {
        let admission = Admission::default();
        let open = request("POST", "/v1/tasks");
        let admitted: Vec<_> = (0..COMMON).map(|_| admission.admit(&open).unwrap()).collect();
        assert!(admission.admit(&open).is_err());
        assert!(admission.admit(&request("GET", "/v1/tasks/tsk_1")).is_err());
        assert!(admission.admit(&request("POST", "/oauth/introspect")).is_err());
        for (method, uri) in [
            ("POST", "/v1/revocations"),
            ("POST", "/v1/tasks/tsk_1/complete"),
            ("POST", "/v1/tasks/tsk_1/heartbeat"),
            ("POST", "/v1/agents/bot/suspend"),
            ("GET", "/v1/tasks/tsk_1?wait=25"),
            ("GET", "/readyz"),
            ("GET", "/.well-known/jwks.json"),
        ] {
            assert!(admission.admit(&request(method, uri)).is_ok(), "{method} {uri}");
        }
        drop(admitted);
        assert!(admission.admit(&open).is_ok());
    }

    #[test]
    fn those_who_wait_take_no_room_from_those_who_work() {
        let admission = Admission::default();
        let wait = request("GET", "/v1/tasks/tsk_1?wait=25");
        let waiting: Vec<_> = (0..WAITING).map(|_| admission.admit(&wait).unwrap()).collect();
        assert!(admission.admit(&wait).is_err());
        assert!(admission.admit(&request("POST", "/v1/tasks")).is_ok());
        drop(waiting);
    }
    #[test]
    fn streams_are_bounded_for_each_session_and_for_all() {
        let admission = Admission::default();
        let own: Vec<_> = (0..STREAMS_OF_ONE).map(|_| admission.admit_stream("ses_1").unwrap()).collect();
        assert!(admission.admit_stream("ses_1").is_none());
        let others: Vec<_> =
            (STREAMS_OF_ONE..STREAMS).map(|n| admission.admit_stream(&n.to_string()).unwrap()).collect();
        assert!(admission.admit_stream("ses_2").is_none());
        drop((own, others));
        assert!(admission.admit_stream("ses_1").is_some());
        assert!(admission.streams.lock().unwrap().is_empty());
    }
}

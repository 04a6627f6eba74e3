//! Secrets on their way out. From the moment a use case returns credentials, somebody answers for them: either their bytes
//! are handed to the connection, or the broker is told that they were not and ends their leases. Dropping is the second.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::api::TaskAnswer;
use crate::broker::Broker;

use super::refusal::Refusal;

/// Answers for leases whose secrets are not delivered yet.
struct Receipt {
    broker: Broker,
    leases: Vec<String>,
}

impl Receipt {
    fn sign(&mut self) {
        let leases = std::mem::take(&mut self.leases);
        if !leases.is_empty() {
            self.broker.delivered(&leases);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.broker.undelivered(&self.leases);
        }
    }
}

/// A task's answer with whatever credentials it carries.
pub(super) struct Delivery {
    answer: TaskAnswer,
    receipt: Receipt,
}

impl Delivery {
    pub(super) fn new(broker: Broker, answer: TaskAnswer) -> Self {
        let leases = answer.credentials.iter().map(|credential| credential.id.clone()).collect();
        Self { answer, receipt: Receipt { broker, leases } }
    }

    /// Whether something waits for a person.
    pub(super) fn waits(&self) -> bool {
        self.answer.requests.iter().any(|request| request.state == "pending")
    }

    pub(super) fn has_credentials(&self) -> bool {
        !self.answer.credentials.is_empty()
    }

    /// The answer with this status; where something waits, with where and when to ask again.
    pub(super) fn respond(self, status: StatusCode) -> Response {
        let Ok(bytes) = serde_json::to_vec(&self.answer) else {
            return Refusal::internal("a task's answer could not be written").into_response();
        };
        let location = HeaderValue::try_from(format!("/v1/tasks/{}", self.answer.id));
        let mut response = Response::new(Body::new(Parcel { bytes: Some(bytes.into()), receipt: self.receipt }));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let (StatusCode::CREATED | StatusCode::ACCEPTED, Ok(location)) = (status, location) {
            headers.insert(header::LOCATION, location);
        }
        if status == StatusCode::ACCEPTED {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// One frame of bytes, and the receipt that is signed when the connection takes it.
struct Parcel {
    bytes: Option<Bytes>,
    receipt: Receipt,
}

impl http_body::Body for Parcel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        crate::sys::killpoint!(DeliverBeforeBody, blocking);
        let bytes = self.bytes.take();
        if bytes.is_some() {
            self.receipt.sign();
            crate::sys::killpoint!(DeliverAfterBody, blocking);
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

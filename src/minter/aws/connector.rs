//! The SDK's way out: our one HTTP client, with its limits and its address guard, and our clock, so that no request of the SDK goes
//! past either.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::header::DATE;
use url::Url;

use crate::domain::Timestamp;
use crate::sys::{Clock, FetchError, FetchLimits, HttpClient, Outgoing};

/// The longest answer, in bytes.
pub(super) const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// How AWS is reached.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) http: HttpClient,
    pub(super) allow_private: bool,
    pub(super) clock: Arc<dyn Clock>,
    /// What the other side's clock showed last, and when that was by ours.
    pub(super) seen: Arc<Mutex<Option<(Timestamp, Timestamp)>>>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("allow_private", &self.allow_private).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) const fn limits(&self) -> FetchLimits {
        FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private: self.allow_private }
    }

    /// By how many milliseconds their clock was ahead of ours at the last answer; dates are cut to the second.
    pub(super) fn ahead_millis(&self) -> Option<i64> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.map(|(theirs, ours)| theirs.millis_since(ours))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
        let (parts, body) = request.try_into_http1x().map_err(|error| user(error.into()))?.into_parts();
        let url: Url = parts.uri.to_string().parse().map_err(|error: url::ParseError| user(error.into()))?;
        let body = body.bytes().map(<[u8]>::to_vec).unwrap_or_default();
        let outgoing = Outgoing { method: parts.method, url, headers: parts.headers, body };
        let answer = self.http.send(outgoing, self.limits()).await.map_err(|error| match error {
            FetchError::TimedOut => ConnectorError::timeout(error.into()),
            FetchError::UrlNotAllowed | FetchError::AddressBlocked | FetchError::TooLarge { .. } => user(error.into()),
            FetchError::Unreachable | FetchError::Broken | FetchError::Status { .. } => {
                ConnectorError::io(error.into())
            }
        })?;
        self.note_date(answer.headers.get(DATE));
        let mut response = http::Response::new(SdkBody::from(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }

    fn note_date(&self, date: Option<&http::HeaderValue>) {
        let read = |date: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok();
        let date = date.and_then(|date| date.to_str().ok()).and_then(read);
        if let Some(date) = date {
            let seen = (Timestamp::from_millis(date.as_millisecond()), self.clock.now());
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.send(request).await })
    }
}

impl SdkHttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl TimeSource for Connector {
    fn now(&self) -> SystemTime {
        system_time(self.clock.now())
    }
}

pub(super) fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}

//! Talking to an API server. Each call carries a `timeout` that the server itself keeps, so that nothing lands long after we
//! gave up; of objects only their metadata is asked for, so that no Secret's data ever comes here; and a 404 counts only when
//! an API server said it.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::super::MintError;
use super::super::web::date;
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, FetchError, FetchLimits, HttpClient, Incoming, Outgoing, SecretRef, SecretString};

/// How long the API server may work on one call; less than the 5 s that we wait.
const SERVER_TIMEOUT: &str = "4s";
/// A page of 250 objects' metadata has about 200 KiB.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
const MAX_MESSAGE_CHARS: usize = 300;

/// What of an object is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Whole,
    Metadata,
    MetadataList,
}

impl Part {
    const fn accept(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Self::MetadataList => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<Value>,
    pub(super) part: Part,
}

/// What an API server says that did not do as asked, and that need not be a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 410.
    Gone,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply<T> {
    /// What the server's clock says, to the second.
    pub(super) date: Option<Timestamp>,
    /// What it says.
    pub(super) said: Result<T, (No, String)>,
}

impl<T> Reply<T> {
    /// The answer, where a no is a failure.
    ///
    /// # Errors
    /// [`MintError::Refused`], and `Unavailable` where somebody else was quicker.
    pub(super) fn yes(self) -> Result<T, MintError> {
        self.said.map_err(|(no, message)| match no {
            No::NotFound => MintError::Refused(message),
            No::Conflict | No::Gone => MintError::Unavailable(message),
        })
    }
}

/// The `Status` object of a failed call.
#[derive(Deserialize)]
struct Status {
    kind: String,
    #[serde(default)]
    message: String,
}

/// An API server.
pub(super) struct Api {
    pub(super) base: Url,
    pub(super) http: HttpClient,
    /// Read again for each call, as a projected token is replaced every hour.
    pub(super) token: SecretRef,
    /// The authorities that its certificate is checked against besides the web's, in PEM.
    pub(super) ca: Option<String>,
}

impl Api {
    /// What a client needs to know of the server besides a token.
    pub(super) fn reached_by(&self) -> impl Iterator<Item = (&'static str, SecretString)> {
        let server = ("server", self.base.as_str().trim_end_matches('/').into());
        std::iter::once(server).chain(self.ca.as_deref().map(|ca| ("server_ca", ca.into())))
    }

    /// Ask.
    ///
    /// # Errors
    /// [`MintError`] for whatever is neither a success nor one of [`No`].
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<Reply<T>, MintError> {
        let request = self.request(ask)?;
        let limits = FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private: true };
        let answer = self.http.send(request, limits).await.map_err(|error| match error {
            FetchError::UrlNotAllowed | FetchError::AddressBlocked => {
                MintError::Misconfigured(format!("`url`: {error}"))
            }
            FetchError::Unreachable
            | FetchError::TimedOut
            | FetchError::Broken
            | FetchError::TooLarge { .. }
            | FetchError::Status { .. } => MintError::Unavailable(format!("the API server: {error}")),
        })?;
        Ok(Reply { date: date(&answer.headers), said: judge(&answer)? })
    }

    fn request(&self, ask: Ask<'_>) -> Result<Outgoing, MintError> {
        let token = self.token.read().map_err(|why| MintError::Misconfigured(format!("`token`: {why}")))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| MintError::Misconfigured("`token` is no bearer token".to_owned()))?;
        bearer.set_sensitive(true);
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| MintError::Misconfigured("`url` has no place for a path".to_owned()))?
            .pop_if_empty()
            .extend(ask.path);
        url.query_pairs_mut().extend_pairs(ask.query).append_pair("timeout", SERVER_TIMEOUT);
        let headers: [(HeaderName, HeaderValue); 3] = [
            (header::AUTHORIZATION, bearer),
            (header::ACCEPT, HeaderValue::from_static(ask.part.accept())),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ];
        let body = ask.body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        Ok(Outgoing { method: ask.method, url, headers: HeaderMap::from_iter(headers), body })
    }
}

fn judge<T: DeserializeOwned>(answer: &Incoming) -> Result<Result<T, (No, String)>, MintError> {
    let code = answer.status.as_u16();
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body)
            .map(Ok)
            .map_err(|error| MintError::Refused(format!("the API server's answer cannot be read: {error}")));
    }
    let status = serde_json::from_slice::<Status>(&answer.body).ok().filter(|status| status.kind == "Status");
    let message = match &status {
        Some(status) => format!("the API server: {} ({code})", clean(&status.message)),
        None => format!("it answered {code}, and not as an API server does"),
    };
    match (code, status) {
        // Whether it acted is not known: a proxy's time was up, or the server's own.
        (408 | 429 | 500..=599, _) => Err(MintError::Unavailable(message)),
        (401, _) => Err(MintError::Refused(format!("{message}: it does not accept the broker's token"))),
        (_, None) => Err(MintError::Misconfigured(format!("{message}: check `url`"))),
        (404, Some(_)) => Ok(Err((No::NotFound, message))),
        (409, Some(_)) => Ok(Err((No::Conflict, message))),
        (410, Some(_)) => Ok(Err((No::Gone, message))),
        (_, Some(_)) => Err(MintError::Refused(message)),
    }
}

/// What a server wrote, fit for one line of a log.
fn clean(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// RFC 3339, as `metav1.Time` is written.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp::from_millis(time.as_millisecond()))
}

//! What senders that speak HTTP have in common: what an answer other than yes means.

use std::path::PathBuf;

use ::http::header::RETRY_AFTER;
use ::http::{HeaderMap, StatusCode};
use url::Url;

use super::{Misconfigured, SendError, SenderDeps};
use crate::sys::{FetchError, HttpClient, is_loopback_url, read_ca_file};

/// The longest rest that is kept to, in seconds.
const LONGEST_REST_SECS: u32 = 3600;
/// How long a channel that says it is asked too much is left alone when it does not say for how long.
const REST_SECS: u32 = 30;

/// What a missing answer means.
pub(super) fn unheard(error: FetchError) -> SendError {
    SendError::new(error.to_string())
}

/// What an answer that is no success means. `Retry-After` is taken in seconds (RFC 9110 §10.2.3); a date is not worth the parsing.
pub(super) fn not_taken(status: StatusCode, headers: &HeaderMap) -> SendError {
    let said = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok());
    let busy = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
    let rest = said.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(REST_SECS));
    SendError {
        why: format!("the answer has status {}", status.as_u16()),
        rest_secs: rest.filter(|_| busy).map(|secs| secs.clamp(1, LONGEST_REST_SECS)),
    }
}

/// The client for a channel: with authorities of its own, if it names some.
pub(super) fn client(deps: &SenderDeps, ca_file: Option<&PathBuf>) -> Result<HttpClient, Misconfigured> {
    let Some(file) = ca_file else { return Ok(deps.http.clone()) };
    let pem = read_ca_file(&deps.folder.join(file)).map_err(Misconfigured)?;
    deps.http.with_ca(&pem).map_err(|error| Misconfigured(error.to_string()))
}

/// Whether a URL may be called: HTTPS, or plain HTTP to this machine where private addresses are allowed; no user name in it.
pub(super) fn may_call(url: &Url, allow_private: bool) -> bool {
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && allow_private && is_loopback_url(url));
    scheme && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_asked_too_much_is_left_alone_for_as_long_as_it_says_within_an_hour() {
        let rest = |status: u16, after: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
            }
            not_taken(StatusCode::from_u16(status).unwrap(), &headers).rest_secs
        };
        assert_eq!((rest(429, Some("7")), rest(429, None), rest(503, Some("9"))), (Some(7), Some(30), Some(9)));
        assert_eq!((rest(503, None), rest(500, Some("9")), rest(404, None)), (None, None, None));
        assert_eq!((rest(429, Some("999999")), rest(429, Some("0"))), (Some(3600), Some(1)));
    }

    #[test]
    fn plain_http_is_for_this_machine_only_and_only_where_settings_say_so() {
        let may = |url: &str, private| may_call(&url.parse().unwrap(), private);
        assert!(may("https://hooks.acme.example/x", false) && may("http://127.0.0.1:8080/x", true));
        for (url, private) in [
            ("http://hooks.acme.example/x", true),
            ("http://127.0.0.1/x", false),
            ("https://user:pw@hooks.acme.example/", false),
            ("ftp://127.0.0.1/", true),
        ] {
            assert!(!may(url, private), "{url}");
        }
    }
}

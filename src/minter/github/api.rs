//! GitHub's REST API, as much of it as a token's life needs. A request is either the App's, under a JWT of ours, or of the
//! installation, under the very token it is about. What GitHub asks for when it is asked too much is kept to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::super::MintError;
use super::super::web::{date, unheard};
use crate::domain::Timestamp;
use crate::sys::keys::RsaKey;
use crate::sys::{Clock, ExposeSecret as _, FetchLimits, HttpClient, Incoming, Outgoing, SecretString, parse_object};

/// The longest answer, in bytes: 500 repositories are some 3 MB.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// How deep an answer is nested at most.
const MAX_DEPTH: usize = 16;
/// The App's JWT is dated back so far, because clocks differ, and lives so long from now; GitHub allows ten minutes.
const DATED_BACK_SECS: i64 = 60;
const JWT_SECS: i64 = 300;
/// How long GitHub is left alone when it says that it is asked too much, if it does not say for how long, and at most: longer than
/// this nobody waits between two attempts to end something.
const REST_SECS: i64 = 60;
/// The longest piece of what GitHub says that goes into an error, in characters.
const MAX_SAID: usize = 200;

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum As<'a> {
    /// The App itself.
    App,
    /// The holder of an installation token.
    Holder(&'a SecretString),
}

/// An answer whatever its status, its body wiped when it is dropped.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

/// The API of one installation of one App.
pub(super) struct Api {
    pub(super) base: Url,
    pub(super) allow_private: bool,
    pub(super) client_id: String,
    pub(super) key: RsaKey,
    pub(super) http: HttpClient,
    pub(super) clock: Arc<dyn Clock>,
    /// Until when the App and the holders are to ask nothing, in milliseconds since 1970: GitHub counts them apart.
    pub(super) rests: [AtomicI64; 2],
}

impl As<'_> {
    const fn lane(self) -> usize {
        match self {
            Self::App => 0,
            Self::Holder(_) => 1,
        }
    }
}

impl Api {
    /// Ask.
    ///
    /// # Errors
    /// [`MintError::Unreached`] when nothing was sent or GitHub is asked too much; [`MintError::Unavailable`] when it does not answer
    /// or is out of order.
    pub(super) async fn ask(
        &self,
        caller: As<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, MintError> {
        let now = self.clock.now();
        let rest = self.rests.get(caller.lane()).map_or(0, |rest| rest.load(Ordering::Relaxed));
        if now.as_millis() < rest {
            let until = Timestamp::from_millis(rest);
            return Err(MintError::Unreached(format!("GitHub wants to be left alone until {until}")));
        }
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let url = url.parse().map_err(|error| MintError::Misconfigured(format!("`api_url`: {error}")))?;
        let headers = self.headers(caller, now)?;
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let limits = FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private: self.allow_private };
        let answer = self
            .http
            .send(Outgoing { method, url, headers, body }, limits)
            .await
            .map_err(|error| unheard("GitHub", error))?;
        let Incoming { status, headers, body } = answer;
        let answer = Answer { status, headers, body: Zeroizing::new(body) };
        if let Some(secs) = answer.asked_too_much(now) {
            let until = now.plus_millis(secs.saturating_mul(1000));
            if let Some(rest) = self.rests.get(caller.lane()) {
                rest.fetch_max(until.as_millis(), Ordering::Relaxed);
            }
            return Err(MintError::Unreached(format!("GitHub is asked too much: {}", answer.said())));
        }
        if status.is_server_error() {
            return Err(MintError::Unavailable(format!("GitHub answers {}", answer.said())));
        }
        Ok(answer)
    }

    fn headers(&self, caller: As<'_>, now: Timestamp) -> Result<HeaderMap, MintError> {
        let bearer = match caller {
            As::App => format!("Bearer {}", self.jwt(now)?.expose_secret()),
            As::Holder(token) => format!("Bearer {}", token.expose_secret()),
        };
        let bearer = Zeroizing::new(bearer);
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| MintError::Refused("the token is not one that HTTP can carry".to_owned()))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        Ok(headers)
    }

    /// The JWT by which an App says who it is (docs.github.com, "Generating a JSON Web Token for a GitHub App").
    fn jwt(&self, now: Timestamp) -> Result<SecretString, MintError> {
        let now = now.as_secs();
        let claims = json!({
            "exp": now.saturating_add(JWT_SECS), "iat": now.saturating_sub(DATED_BACK_SECS), "iss": self.client_id,
        });
        self.key.sign_jwt(&claims.to_string()).map_err(|error| MintError::Unreached(error.to_string()))
    }
}

impl Answer {
    /// The body as one strict JSON object.
    pub(super) fn object(&self) -> Option<Map<String, Value>> {
        parse_object(&self.body, MAX_DEPTH).ok()
    }

    /// Status and message, fit to be shown to an operator.
    pub(super) fn said(&self) -> String {
        let object = self.object().unwrap_or_default();
        let message = object.get("message").and_then(Value::as_str).unwrap_or_default();
        let message: String = message.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_SAID).collect();
        format!("{}: {message}", self.status.as_u16())
    }

    /// For how many seconds GitHub wants to be left alone, if it does (docs.github.com, "Rate limits for the REST API").
    fn asked_too_much(&self, now: Timestamp) -> Option<i64> {
        let number = |name: &str| self.headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
        let none_left = number("x-ratelimit-remaining") == Some(0);
        let says_so = self.said().to_ascii_lowercase().contains("rate limit");
        let limited = match self.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::FORBIDDEN => self.headers.contains_key(RETRY_AFTER) || none_left || says_so,
            _ => false,
        };
        let reset = || number("x-ratelimit-reset").filter(|_| none_left).map(|at| at.saturating_sub(now.as_secs()));
        let secs = number(RETRY_AFTER.as_str()).or_else(reset).unwrap_or(REST_SECS);
        limited.then(|| secs.clamp(1, REST_SECS))
    }

    /// What the other side's clock shows.
    pub(super) fn date(&self) -> Option<Timestamp> {
        date(&self.headers)
    }
}

/// Where Git finds the repositories of a REST API: an Enterprise Server has its API at `/api/v3` of the same host; github.com and
/// ghe.com have it on a host of its own.
pub(super) fn git_url(api: &Url) -> String {
    let mut url = api.clone();
    let own_host = url.host_str().and_then(|host| host.strip_prefix("api.")).map(str::to_owned);
    if let Some(host) = own_host.filter(|_| !api.path().starts_with("/api/")) {
        // A host without its first label is a host.
        let _ = url.set_host(Some(&host));
    }
    url.set_path("");
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_found_beside_the_api() {
        for (api, git) in [
            ("https://api.github.com", "https://github.com"),
            ("https://api.octocorp.ghe.com/", "https://octocorp.ghe.com"),
            ("https://git.acme.example/api/v3", "https://git.acme.example"),
            ("https://api.acme.example:8443/api/v3/", "https://api.acme.example:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(git_url(&Url::parse(api).unwrap()), git, "{api}");
        }
    }
}

//! One request out, one bounded answer in. Plain HTTP goes to this machine only; a token never travels further in the clear.

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::{ClientError, Refusal, TokenSource, UnverifiedClaims};
use crate::api::Problem;
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, Ids, SecretString, is_loopback_url, read_ca_file};

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a whole call may take: the longest long poll and some air.
const CALL_TIMEOUT: Duration = Duration::from_secs(35);

/// What a client needs to know.
pub struct ClientSettings {
    /// The server's address, e.g. `https://hallpass.acme.example`.
    pub server: String,
    /// Where identity tokens come from.
    pub tokens: TokenSource,
    /// A file of CA certificates in PEM to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// Makes idempotency keys.
    pub ids: Ids,
}

/// Calls the API. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    tokens: TokenSource,
    ids: Ids,
}

/// A body that is not sent.
pub(super) const NO_BODY: Option<&()> = None;

impl Client {
    /// A client for one server.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when the address is no HTTP URL, would send tokens in the clear over a network, or the
    /// certificates cannot be read.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let base = parse_server(&settings.server)?;
        let http = build(&base, settings.ca_file.as_deref())?;
        Ok(Self { http, base, tokens: settings.tokens, ids: settings.ids })
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The same server, called by somebody else.
    #[must_use]
    pub fn with_tokens(&self, tokens: TokenSource) -> Self {
        Self { tokens, ..self.clone() }
    }

    /// A token as a call would present it.
    ///
    /// # Errors
    /// [`ClientError`] when there is none to be had.
    pub async fn fetch_token(&self) -> Result<Option<SecretString>, ClientError> {
        self.tokens.fetch(&self.http).await
    }

    /// Call something that is not our API, e.g. a resource server, and answer the status.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when there is no answer.
    pub async fn status_of(&self, method: Method, path: &str) -> Result<StatusCode, ClientError> {
        let token = self.tokens.fetch(&self.http).await?;
        let request = self.request(method, path, &[], token.as_ref())?;
        request.send().await.map(|answer| answer.status()).map_err(|error| self.unreachable(&error))
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let token = self.tokens.fetch(&self.http).await?;
        self.send(self.request(Method::GET, path, query, token.as_ref())?, token.as_ref()).await
    }

    /// A POST with an idempotency key: the caller's, or a fresh one.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
        idempotency_key: Option<&str>,
    ) -> Result<T, ClientError> {
        let token = self.tokens.fetch(&self.http).await?;
        let key = idempotency_key.map_or_else(|| self.ids.opaque(), str::to_owned);
        let mut request = self.request(Method::POST, path, &[], token.as_ref())?.header("Idempotency-Key", key);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request, token.as_ref()).await
    }

    /// A form as OAuth clients send it, with HTTP Basic credentials.
    pub(super) async fn post_form<T: DeserializeOwned>(
        &self,
        path: &str,
        id: &str,
        secret: &SecretString,
        form: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self
            .request(Method::POST, path, &[], None)?
            .basic_auth(id, Some(secret.expose_secret()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        self.send(request, None).await
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        token: Option<&SecretString>,
    ) -> Result<reqwest::RequestBuilder, ClientError> {
        let mut url = self.base.join(path).map_err(|error| ClientError::Invalid(error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url).header(header::ACCEPT, "application/json");
        if let Some(token) = token {
            let mut value = header::HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
                .map_err(|_| ClientError::NoToken("the identity token has characters no token may have".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        token: Option<&SecretString>,
    ) -> Result<T, ClientError> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let text = |name: header::HeaderName| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let retry_after_secs = text(header::RETRY_AFTER).and_then(|text| text.trim().parse().ok());
        let server_now = text(header::DATE).and_then(|text| http_date(&text));
        let body = self.body(answer).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.unreadable(&error.to_string()));
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(|_| self.stranger(status))?;
        let presented = token.and_then(|token| UnverifiedClaims::read(token.expose_secret()));
        Err(ClientError::Refused(Box::new(Refusal { problem, retry_after_secs, server_now, presented })))
    }

    pub(super) async fn body(&self, answer: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(&error))?;
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Err(self.unreadable("it is larger than 8 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { server: self.server().to_owned(), why: cause(error) }
    }

    pub(super) fn unreadable(&self, why: &str) -> ClientError {
        ClientError::Unreadable { server: self.server().to_owned(), why: why.to_owned() }
    }

    pub(super) fn stranger(&self, status: StatusCode) -> ClientError {
        self.unreadable(&format!("it answered {status} without a problem document, so it may not be a Hallpass server"))
    }
}

/// The innermost causes of a failed call, without the URL, whose query may say more than a log should know.
pub(super) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut text = String::new();
    let mut next = error.source();
    while let Some(source) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        let _ = write!(text, "{source}");
        next = source.source();
    }
    if text.is_empty() { "the connection failed".to_owned() } else { text }
}

fn parse_server(server: &str) -> Result<Url, ClientError> {
    let invalid = |why: &str| ClientError::Invalid(format!("the server address `{server}` {why}"));
    let mut url = Url::parse(server).map_err(|error| invalid(&format!("is not a URL: {error}")))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback_url(&url) => {}
        "http" => {
            return Err(invalid(
                "is plain HTTP to another machine, which would show your token to the network; use https",
            ));
        }
        _ => return Err(invalid("must begin with https:// (or http:// on this machine)")),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(ClientError::Invalid(
            "the server address must not have credentials, a query or a fragment".to_owned(),
        ));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn build(base: &Url, ca_file: Option<&std::path::Path>) -> Result<reqwest::Client, ClientError> {
    // Whoever comes first names the provider; all of us name the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(
        clippy::disallowed_methods,
        reason = "the outgoing client's address guard refuses loopback, where a server may well listen for its own CLI"
    )]
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .user_agent(concat!("hallpass/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let why = |error: &dyn std::fmt::Display| {
            ClientError::Invalid(format!("the CA file {} cannot be used: {error}", path.display()))
        };
        let pem = read_ca_file(path).map_err(ClientError::Invalid)?;
        let certs = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| why(&error))?;
        builder = builder.tls_certs_only(certs);
    } else if base.scheme() == "http" {
        // No TLS will be spoken, so the client must also work where the machine has no certificates installed.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| ClientError::Invalid(format!("the HTTP client cannot be built: {}", cause(&error))))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_do_not_travel_in_the_clear() {
        for refused in ["http://broker.example", "ftp://127.0.0.1", "127.0.0.1:8600", "https://u:p@h", "https://h/?q"] {
            assert!(parse_server(refused).is_err(), "{refused}");
        }
        for accepted in ["http://127.0.0.1:8600", "http://localhost:1", "http://[::1]:1", "https://broker.example/base"]
        {
            assert!(parse_server(accepted).is_ok(), "{accepted}");
        }
    }

    #[test]
    fn the_servers_clock_is_read_from_its_date_header() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:01:00 GMT"), Some(Timestamp::from_secs(60)));
        assert_eq!(http_date("yesterday"), None);
    }
}

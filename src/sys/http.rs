//! The one outgoing HTTP client. It speaks HTTPS, follows no redirect, obeys no proxy variable, decompresses nothing, gives up
//! after 3 s of connecting or 5 s in all, reads no more than it was told to, and connects to a private address only where
//! settings say so. The address is judged where the connection is made, so a name that changes its mind gains nothing.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use url::{Host, Url};

use super::address::{is_loopback_url, is_public};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What one call may cost and whom it may reach.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// The longest answer body that is read, in bytes.
    pub max_bytes: usize,
    /// Whether the address may be a private one (loopback, RFC 1918, link-local, unique local …).
    pub allow_private: bool,
}

/// One outgoing request.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where to: `https`, or `http` to loopback where private addresses are allowed.
    pub url: Url,
    /// The header fields; mark credentials with `HeaderValue::set_sensitive`.
    pub headers: HeaderMap,
    /// The body; empty means none.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// A GET without header fields.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Vec::new() }
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Incoming {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, at most as long as the limit.
    pub body: Vec<u8>,
}

/// Why there is no answer. Nothing of what was fetched is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL is not one this client may use; nothing was sent.
    #[error(
        "the URL must be https (http only to loopback, where private addresses are allowed) and carry no user name"
    )]
    UrlNotAllowed,
    /// The host is, or resolves to, an address that is not public; nothing was sent.
    #[error("the host's address is private; allow_private permits that")]
    AddressBlocked,
    /// No connection came about (name, network, TLS); nothing was sent.
    #[error("no connection")]
    Unreachable,
    /// Time was up; the other side may have acted.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke; the other side may have acted.
    #[error("the connection broke")]
    Broken,
    /// The answer is longer than the limit; the other side has acted.
    #[error("the answer is longer than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The answer is not a success.
    #[error("the answer has status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
}

impl FetchError {
    /// Whether the request certainly never reached the other side.
    #[must_use]
    pub const fn never_sent(self) -> bool {
        matches!(self, Self::UrlNotAllowed | Self::AddressBlocked | Self::Unreachable)
    }
}

/// The client cannot be set up: a certificate authority's file is not PEM, or TLS does not start.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct HttpSetupError(String);

/// The one outgoing HTTP client; cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    guarded: reqwest::Client,
    unguarded: reqwest::Client,
    resolver: Arc<dyn Resolve>,
}

impl HttpClient {
    /// A client that trusts the web's certificate authorities, and those of `extra_ca_pem` (a PEM bundle) besides.
    ///
    /// # Errors
    /// [`HttpSetupError`] when the bundle holds no certificate or one that cannot be read.
    pub fn new(extra_ca_pem: Option<&[u8]>) -> Result<Self, HttpSetupError> {
        Self::with_resolver(extra_ca_pem, Arc::new(SystemResolver))
    }

    /// The same with another way to resolve names.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn with_resolver(extra_ca_pem: Option<&[u8]>, resolver: Arc<dyn Resolve>) -> Result<Self, HttpSetupError> {
        let guarded = build(extra_ca_pem, Arc::new(GuardedResolver(Arc::clone(&resolver))))?;
        let unguarded = build(extra_ca_pem, Arc::clone(&resolver))?;
        Ok(Self { guarded, unguarded, resolver })
    }

    /// A client like this one that trusts the authorities of another PEM bundle instead.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn with_ca(&self, ca_pem: &[u8]) -> Result<Self, HttpSetupError> {
        Self::with_resolver(Some(ca_pem), Arc::clone(&self.resolver))
    }

    /// Send a request and read the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`FetchError`], all but `Status`.
    pub async fn send(&self, request: Outgoing, limits: FetchLimits) -> Result<Incoming, FetchError> {
        check_url(&request.url, limits.allow_private)?;
        let client = if limits.allow_private { &self.unguarded } else { &self.guarded };
        let mut builder = client.request(request.method, request.url).headers(request.headers);
        if !request.body.is_empty() {
            builder = builder.body(request.body);
        }
        let mut answer = builder.send().await.map_err(|error| classify(&error))?;
        let too_large = FetchError::TooLarge { max_bytes: limits.max_bytes };
        let announced = answer.content_length().unwrap_or(0);
        if usize::try_from(announced).map_or(true, |length| length > limits.max_bytes) {
            return Err(too_large);
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| classify(&error))? {
            if body.len().saturating_add(chunk.len()) > limits.max_bytes {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Incoming { status: answer.status(), headers: std::mem::take(answer.headers_mut()), body })
    }

    /// Whether a URL may be called at all: what it is, and where its name leads at this moment. A name that leads nowhere may
    /// lead somewhere later, and is judged again whenever it is called.
    ///
    /// # Errors
    /// [`FetchError::UrlNotAllowed`] or [`FetchError::AddressBlocked`].
    pub async fn check(&self, url: &Url, allow_private: bool) -> Result<(), FetchError> {
        check_url(url, allow_private)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        let Ok(name) = name.parse::<Name>() else { return Err(FetchError::UrlNotAllowed) };
        if allow_private {
            return Ok(());
        }
        let Ok(Ok(mut found)) = tokio::time::timeout(CONNECT_TIMEOUT, self.resolver.resolve(name)).await else {
            return Ok(());
        };
        if found.any(|address| is_public(address.ip())) { Ok(()) } else { Err(FetchError::AddressBlocked) }
    }

    /// GET a document and read it whole.
    ///
    /// # Errors
    /// [`FetchError`]; anything but a 2xx status is one.
    pub async fn get_json_bytes(&self, url: &Url, limits: FetchLimits) -> Result<Vec<u8>, FetchError> {
        let answer = self.send(Outgoing::get(url.clone()), limits).await?;
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(FetchError::Status { status: answer.status.as_u16() })
        }
    }
}

fn build(extra_ca_pem: Option<&[u8]>, resolver: Arc<dyn Resolve>) -> Result<reqwest::Client, HttpSetupError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra_ca_pem {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| HttpSetupError(format!("CA bundle: {error}")))?;
            roots.add(certificate).map_err(|error| HttpSetupError(format!("CA bundle: {error}")))?;
        }
        if roots.len() == before {
            return Err(HttpSetupError("the CA bundle holds no PEM certificate".to_owned()));
        }
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpSetupError(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    #[expect(clippy::disallowed_methods, reason = "the one place that builds an HTTP client")]
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(resolver)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent(concat!("hallpass/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| HttpSetupError(error.to_string()))
}

/// The client's resolver never sees a literal address, so that is judged here.
fn check_url(url: &Url, allow_private: bool) -> Result<(), FetchError> {
    let literal = match url.host() {
        Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
        Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
        Some(Host::Domain(_)) => None,
        None => return Err(FetchError::UrlNotAllowed),
    };
    let loopback = is_loopback_url(url);
    let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && allow_private && loopback);
    if !scheme_fits || !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::UrlNotAllowed);
    }
    if !allow_private && literal.is_some_and(|address| !is_public(address)) {
        return Err(FetchError::AddressBlocked);
    }
    Ok(())
}

fn classify(error: &reqwest::Error) -> FetchError {
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = source {
        if cause.is::<Blocked>() {
            return FetchError::AddressBlocked;
        }
        source = cause.source();
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, _) => FetchError::Unreachable,
        (false, true) => FetchError::TimedOut,
        (false, false) => FetchError::Broken,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("every address of the name is private")]
struct Blocked;

/// The operating system's resolver.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Lets only public addresses through: the client can connect to nothing it is not given here.
struct GuardedResolver(Arc<dyn Resolve>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let answer = self.0.resolve(name);
        Box::pin(async move {
            let public: Vec<SocketAddr> = answer.await?.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() { Err(Blocked.into()) } else { Ok(Box::new(public.into_iter()) as Addrs) }
        })
    }
}

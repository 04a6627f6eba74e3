//! The container credentials endpoint (AWS SDKs and Tools Reference Guide, "Container credential provider"), on loopback and for
//! one command: SDKs fetch their keys here and come again before they end. It answers who has the token that only the command was
//! given, under the address that it was given; a page in a browser has neither. It is gone when the command is.

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode, header};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fresh::{Fresh, Trouble};
use crate::cli::failure::{Exit, Failure};
use crate::http::{Limits, serve};
use crate::sys::{ExposeSecret as _, SecretString};

/// Where the first credential is; others have a number for the last segment.
const PATH: &str = "/credentials/";
/// One command has few connections at a time.
const LIMITS: Limits = Limits {
    max_connections: 64,
    handshake_timeout: Duration::from_secs(2),
    header_timeout: Duration::from_secs(5),
    drain_timeout: Duration::from_millis(100),
};

/// The endpoint; it is closed when this is dropped.
pub(super) struct Endpoint {
    address: SocketAddr,
    shutdown: CancellationToken,
}

struct Served {
    credentials: Vec<Arc<Fresh>>,
    /// The one `Host` by which it was handed out; another is that of a page whose name was made to lead here.
    host: String,
    token: SecretString,
}

impl Endpoint {
    /// Serve these to whoever has the token.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub(super) async fn open(credentials: Vec<Arc<Fresh>>, token: SecretString) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let served = Arc::new(Served { credentials, host: address.to_string(), token });
        let router = Router::new().fallback(answer).with_state(served);
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, router, None, LIMITS, shutdown.clone()));
        Ok(Self { address, shutdown })
    }

    /// Where the credential of this number is.
    pub(super) fn url(&self, number: usize) -> String {
        format!("http://{}{PATH}{number}", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response<Body> {
    match served.find(&request) {
        Ok(fresh) => match fresh.keys().await {
            Ok(keys) => match keys.for_container() {
                Ok(text) => respond(StatusCode::OK, text),
                Err(failure) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "failure", &failure.message),
            },
            Err(trouble) => refuse(status(&trouble), &trouble.code, &trouble.message),
        },
        Err((status, code, why)) => refuse(status, code, why),
    }
}

impl Served {
    /// What is asked for, if whoever asks may have it.
    fn find(&self, request: &Request) -> Result<&Arc<Fresh>, (StatusCode, &'static str, &'static str)> {
        let sent = |name| {
            let mut all = request.headers().get_all(name).iter();
            let first = all.next();
            // Of two, somebody on the way may have seen the other.
            first.filter(|_| all.next().is_none()).map(header::HeaderValue::as_bytes).unwrap_or_default()
        };
        if sent(header::HOST) != self.host.as_bytes() {
            return Err((StatusCode::FORBIDDEN, "forbidden", "this is not the address that was handed out"));
        }
        if !bool::from(sent(header::AUTHORIZATION).ct_eq(self.token.expose_secret().as_bytes())) {
            return Err((StatusCode::UNAUTHORIZED, "unauthorized", "send AWS_CONTAINER_AUTHORIZATION_TOKEN"));
        }
        let number = request.uri().path().strip_prefix(PATH).and_then(|text| text.parse::<usize>().ok());
        let found = number.filter(|_| request.uri().query().is_none()).and_then(|number| self.credentials.get(number));
        let found = found.ok_or((StatusCode::NOT_FOUND, "not-found", "ask for AWS_CONTAINER_CREDENTIALS_FULL_URI"))?;
        if request.method() == Method::GET {
            Ok(found)
        } else {
            Err((StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "credentials are fetched with GET"))
        }
    }
}

const fn status(trouble: &Trouble) -> StatusCode {
    match trouble.exit {
        // SDKs do not repeat what was answered so.
        Exit::Denied | Exit::Ended | Exit::Usage | Exit::Pending => StatusCode::FORBIDDEN,
        Exit::Unauthenticated => StatusCode::UNAUTHORIZED,
        Exit::Failure | Exit::Unreachable | Exit::Backend => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    respond(status, json!({ "code": code, "message": message }).to_string())
}

fn respond(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET"));
    }
    response
}

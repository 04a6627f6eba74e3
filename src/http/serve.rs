//! The listener: one loop that accepts, with a cap on connections and a limit on each stage of one (handshake, header, body),
//! so that slow callers cannot take the place of others. At shutdown it stops accepting and lets answers finish.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::Peer;

/// Most bytes of a request's header.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Most header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long to leave the listener alone when it cannot accept, e.g. because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much the listener takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections at a time; one more is closed at once.
    pub max_connections: usize,
    /// Longest a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Longest a request's header may take to arrive, and longest a connection may be idle.
    pub header_timeout: Duration,
    /// Longest that open connections may take to finish at shutdown.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 2048,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(15),
        }
    }
}

/// What every connection of a listener shares.
struct Door {
    router: Router,
    tls: Option<TlsAcceptor>,
    http: http1::Builder,
    limits: Limits,
    shutdown: CancellationToken,
}

/// Serve a router on a listener until `shutdown`, then let open connections finish.
///
/// # Errors
/// When the listener has no address, i.e. was never bound.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    // `with_state` here and not in each request: it builds the routes' services once.
    let router = router.with_state(());
    let door = Arc::new(Door { router, tls: tls.map(TlsAcceptor::from), http, limits, shutdown });
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let (connections, cut_off) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                let _ = tokio::time::timeout(ACCEPT_PAUSE, door.shutdown.cancelled()).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            metrics::counter!("hallpass_http_connections_refused_total").increment(1);
            continue;
        };
        let (door, cut_off) = (Arc::clone(&door), cut_off.clone());
        connections.spawn(async move {
            cut_off.run_until_cancelled(door.welcome(stream, peer)).await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(%address, open = connections.len(), "closing connections that did not finish in time");
        cut_off.cancel();
        connections.wait().await;
    }
    Ok(())
}

impl Door {
    async fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let Some(tls) = &self.tls else { return self.speak(stream, peer).await };
        match tokio::time::timeout(self.limits.handshake_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr) {
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            self.router.clone().call(request)
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended");
        }
    }
}

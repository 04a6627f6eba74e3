//! The listener itself, on loopback: slow and idle callers, too many of them, headers that are too large, and shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hallpass::http::{Limits, Peer, metrics_router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Nothing here takes longer, unless it hangs.
const BOUND: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

async fn running(router: Router, limits: Limits, tls: Option<std::sync::Arc<rustls::ServerConfig>>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(serve(listener, router, tls, limits, shutdown.clone()));
    Running { address, shutdown, served }
}

fn quick() -> Limits {
    let short = Duration::from_millis(200);
    Limits { header_timeout: short, handshake_timeout: short, ..Limits::default() }
}

fn peer_router() -> Router {
    Router::new().route("/", get(async |axum::Extension(Peer(peer)): axum::Extension<Peer>| peer.ip().to_string()))
}

/// Everything the server sends until it closes.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is a close too.
    let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut bytes)).await.expect("the server never closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    read_all(&mut stream).await
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_handler_sees_the_peer() {
    let server = running(peer_router(), quick(), None).await;
    let answer = ask(server.address, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn api_12_slow_and_idle_callers_are_closed_while_others_are_served() {
    let server = running(peer_router(), quick(), None).await;
    let mut slow = Vec::new();
    for index in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if index % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow").await.unwrap();
        }
        slow.push(stream);
    }
    assert!(ask(server.address, GET).await.starts_with("HTTP/1.1 200"));
    for stream in &mut slow {
        let answer = read_all(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

#[tokio::test]
async fn api_12_stalled_handshakes_are_closed() {
    #[derive(Debug)]
    struct Nobody;
    impl rustls::server::ResolvesServerCert for Nobody {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<std::sync::Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(std::sync::Arc::new(Nobody));
    let server = running(peer_router(), quick(), Some(std::sync::Arc::new(config))).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
        stalled.push(stream);
    }
    for stream in &mut stalled {
        read_all(stream).await;
    }
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_room_is_given_back() {
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let server = running(peer_router(), limits, None).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0_u8; 12];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    assert_eq!(ask(server.address, GET).await, "");
    drop(held);
    let served = async {
        while !ask(server.address, GET).await.starts_with("HTTP/1.1 200") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, served).await.unwrap();
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let server = running(peer_router(), quick(), None).await;
    let large = |bytes: usize| {
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-large: {}\r\n\r\n", "a".repeat(bytes))
    };
    assert!(ask(server.address, &large(16 * 1024)).await.starts_with("HTTP/1.1 200"));
    assert!(ask(server.address, &large(33 * 1024)).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-many: 1\r\n".repeat(100));
    assert!(ask(server.address, &many).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn shutdown_lets_answers_finish_and_takes_no_more() {
    let (entered_sender, mut entered) = tokio::sync::mpsc::channel::<()>(1);
    let release = CancellationToken::new();
    let gate = release.clone();
    let held = get(async move || {
        entered_sender.send(()).await.unwrap();
        gate.cancelled().await;
        "finished"
    });
    let server = running(Router::new().route("/", held), Limits::default(), None).await;
    let asking = tokio::spawn(ask(server.address, GET));
    entered.recv().await.unwrap();
    server.shutdown.cancel();
    release.cancel();
    assert!(asking.await.unwrap().ends_with("finished"));
    tokio::time::timeout(BOUND, server.served).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let (entered_sender, mut entered) = tokio::sync::mpsc::channel::<()>(1);
    let held = get(async move || {
        entered_sender.send(()).await.unwrap();
        std::future::pending::<&str>().await
    });
    let limits = Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = running(Router::new().route("/", held), limits, None).await;
    let asking = tokio::spawn(ask(server.address, GET));
    entered.recv().await.unwrap();
    server.shutdown.cancel();
    tokio::time::timeout(BOUND, server.served).await.unwrap().unwrap().unwrap();
    assert_eq!(asking.await.unwrap(), "");
}

#[tokio::test]
async fn api_21_the_metrics_listener_shows_metrics_and_nothing_else() {
    let handle = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
    let router = metrics_router(handle);
    for (path, status) in [("/metrics", 200), ("/", 404), ("/v1/tasks", 404), ("/debug/pprof", 404)] {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), status, "{path}");
    }
}

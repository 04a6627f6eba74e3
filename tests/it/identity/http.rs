//! The outgoing client: whom it connects to, and how much it takes.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};

use hallpass::identity::Verifiers;
use hallpass::sys::{FetchError, FetchLimits, HttpClient};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

use crate::support::idp::{AUDIENCE, Answer, FakeIdp, TestKey, at, claims, settings, verdict};

const GUARDED: FetchLimits = FetchLimits { max_bytes: 1000, allow_private: false };
const PRIVATE: FetchLimits = FetchLimits { max_bytes: 1000, allow_private: true };

/// Answers each look-up with the next list, and the last one for ever.
struct Scripted(Mutex<Vec<Vec<IpAddr>>>);

impl Scripted {
    fn client(answers: &[&[&str]]) -> HttpClient {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().rev().map(parse).collect();
        HttpClient::with_resolver(None, Arc::new(Self(Mutex::new(answers)))).unwrap()
    }
}

impl Resolve for Scripted {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() }.unwrap();
        let found: Vec<_> = next.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

async fn fetch(client: &HttpClient, url: &str, limits: FetchLimits) -> Result<Vec<u8>, FetchError> {
    client.get_json_bytes(&Url::parse(url).unwrap(), limits).await
}

#[tokio::test]
async fn tok_17_a_name_that_resolves_to_a_private_address_is_not_connected_to() {
    let key = TestKey::es256("k");
    for address in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1",
        "10.0.0.1",
        "169.254.169.254",
    ] {
        let client = Scripted::client(&[&[address]]);
        assert_eq!(
            fetch(&client, "https://keys.example/", GUARDED).await,
            Err(FetchError::AddressBlocked),
            "{address}"
        );
        let section = settings("name = \"x\"\nissuer = \"https://idp.example\"\njwks_url = \"https://keys.example/\"");
        let verifiers = Verifiers::new(&[section], AUDIENCE, client).unwrap();
        let token = key.sign(&claims("https://idp.example", &json!({})));
        assert_eq!(verdict(&verifiers, &token, at(0)).await, Err("issuer_unavailable"), "{address}");
    }
}

#[tokio::test]
async fn tok_17_a_name_that_changes_its_mind_gains_nothing() {
    let idp = FakeIdp::start(&[]).await;
    let port = idp.issuer.rsplit(':').next().unwrap().to_owned();
    let url = format!("https://keys.example:{port}/keys");
    // 3ffe::/16 counts as public and is routed nowhere.
    let client = Scripted::client(&[&["3ffe::1"], &["127.0.0.1"]]);
    let first = fetch(&client, &url, GUARDED).await;
    assert!(matches!(first, Err(FetchError::Unreachable)), "{first:?}");
    assert_eq!(fetch(&client, &url, GUARDED).await, Err(FetchError::AddressBlocked));
    // Of a mixed answer only the public part is tried.
    let client = Scripted::client(&[&["127.0.0.1", "3ffe::1"]]);
    assert_eq!(fetch(&client, &url, GUARDED).await, Err(FetchError::Unreachable));
    assert_eq!(idp.requests(), 0);
}

#[tokio::test]
async fn tok_17_a_literal_private_address_is_refused_however_it_is_written() {
    let client = HttpClient::new(None).unwrap();
    for url in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://169.254.169.254/",
    ] {
        assert_eq!(fetch(&client, url, GUARDED).await, Err(FetchError::AddressBlocked), "{url}");
    }
    for url in [
        "http://127.0.0.1/",
        "http://keys.example/",
        "ftp://keys.example/",
        "https://me@keys.example/",
        "data:text/plain,x",
    ] {
        assert_eq!(fetch(&client, url, GUARDED).await, Err(FetchError::UrlNotAllowed), "{url}");
    }
    assert_eq!(fetch(&client, "http://10.0.0.1/", PRIVATE).await, Err(FetchError::UrlNotAllowed));
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit_and_redirects_are_not_followed() {
    let idp = FakeIdp::start(&[]).await;
    let client = HttpClient::new(None).unwrap();
    idp.answer(Answer::Body(vec![b'x'; 1000].into()));
    assert_eq!(fetch(&client, &idp.keys_url(), PRIVATE).await.map(|body| body.len()), Ok(1000));
    idp.answer(Answer::Body(vec![b'x'; 1001].into()));
    assert_eq!(fetch(&client, &idp.keys_url(), PRIVATE).await, Err(FetchError::TooLarge { max_bytes: 1000 }));
    let before = idp.requests();
    idp.answer(Answer::Redirect(format!("{}/elsewhere", idp.issuer)));
    assert_eq!(fetch(&client, &idp.keys_url(), PRIVATE).await, Err(FetchError::Status { status: 302 }));
    assert_eq!(idp.requests(), before + 1);
}

#[tokio::test]
async fn tok_18_an_answer_that_never_ends_is_given_up_after_five_seconds() {
    let idp = FakeIdp::start(&[]).await;
    idp.answer(Answer::Drip);
    let client = HttpClient::new(None).unwrap();
    let url = idp.keys_url();
    let bounded = tokio::time::timeout(std::time::Duration::from_secs(7), fetch(&client, &url, PRIVATE));
    assert_eq!(bounded.await, Ok(Err(FetchError::TimedOut)));
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let script = "set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf
printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\nbasicConstraints=CA:FALSE' > leaf.ext
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile leaf.ext";
    let made = Command::new("sh").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pem = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let chain = rustls_pem::<rustls::pki_types::CertificateDer<'static>>(&pem("leaf.pem"));
    let key = rustls_pem::<rustls::pki_types::PrivateKeyDer<'static>>(&pem("leaf.key"));
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(answer_over_tls(listener, tokio_rustls::TlsAcceptor::from(Arc::new(tls))));

    let web_only = HttpClient::new(None).unwrap();
    assert_eq!(fetch(&web_only, &url, PRIVATE).await, Err(FetchError::Unreachable));
    let with_ca = web_only.with_ca(&pem("ca.pem")).unwrap();
    assert_eq!(fetch(&with_ca, &url, PRIVATE).await, Ok(b"{}".to_vec()));
    assert_eq!(fetch(&with_ca, &url, GUARDED).await, Err(FetchError::AddressBlocked));
    assert!(HttpClient::new(Some(b"no certificate")).is_err());
}

/// One `{}` for every connection that gets through the handshake.
async fn answer_over_tls(listener: tokio::net::TcpListener, acceptor: tokio_rustls::TlsAcceptor) {
    while let Ok((socket, _)) = listener.accept().await {
        let Ok(mut stream) = acceptor.accept(socket).await else { continue };
        let mut request = [0; 4096];
        let _read = stream.read(&mut request).await;
        let _written = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await;
        let _closed = stream.shutdown().await;
    }
}

fn rustls_pem<T: rustls::pki_types::pem::PemObject>(pem: &[u8]) -> T {
    T::from_pem_slice(pem).unwrap()
}

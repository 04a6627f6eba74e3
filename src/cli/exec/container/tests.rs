//! Who is answered, and what.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::fresh::tests::{Stage, keys};
use super::*;
use serde_json::Value;

const TOKEN: &str = "the-token-of-this-command";

async fn open(stage: &Stage) -> Endpoint {
    Endpoint::open(vec![Arc::clone(&stage.fresh)], SecretString::from(TOKEN)).await.unwrap()
}

/// Status, head and body of the answer to these bytes.
async fn send(endpoint: &Endpoint, request: &str) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

fn request(line: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    format!("{line} HTTP/1.1\r\n{headers}connection: close\r\n\r\n")
}

#[tokio::test]
async fn who_has_the_token_gets_the_keys_as_an_sdk_reads_them() {
    let stage = Stage::new();
    let endpoint = open(&stage).await;
    let host = endpoint.address.to_string();
    assert_eq!(endpoint.url(0), format!("http://{host}/credentials/0"));
    assert!(endpoint.address.ip().is_loopback());
    let asked = request("GET /credentials/0", &[("host", &host), ("authorization", TOKEN)]);
    let (status, head, body) = send(&endpoint, &asked).await;
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: no-store") && head.contains("content-type: application/json"), "{head}");
    let expected = json!({
        "AccessKeyId": "ASIA1", "SecretAccessKey": "the-secret-key-of-1", "Token": "the-session-token-of-1",
        "Expiration": "2027-01-15T08:15:00Z",
    });
    assert_eq!(body, expected);
    stage.told.to(Ok(keys("2", 1500)));
    stage.clock.advance_secs(600);
    assert_eq!(send(&endpoint, &asked).await.2["AccessKeyId"], "ASIA2");
}

#[tokio::test]
async fn nobody_else_gets_anything() {
    let stage = Stage::new();
    let endpoint = open(&stage).await;
    let host = endpoint.address.to_string();
    let port = endpoint.address.port();
    let (other_name, other_port) = (format!("localhost:{port}"), "127.0.0.1:1".to_owned());
    let rebound = format!("evil.example:{port}");
    let good = ("authorization", TOKEN);
    for (line, headers, status, code) in [
        ("GET /credentials/0", vec![("host", host.as_str())], 401, "unauthorized"),
        (
            "GET /credentials/0",
            vec![("host", &host), ("authorization", "the-token-of-this-commanD")],
            401,
            "unauthorized",
        ),
        ("GET /credentials/0", vec![("host", &host), ("authorization", "")], 401, "unauthorized"),
        (
            "GET /credentials/0",
            vec![("host", &host), ("authorization", "Bearer the-token-of-this-command")],
            401,
            "unauthorized",
        ),
        ("GET /credentials/0", vec![("host", &host), good, good], 401, "unauthorized"),
        ("GET /credentials/0", vec![("host", &rebound), good], 403, "forbidden"),
        ("GET /credentials/0", vec![("host", &other_name), good], 403, "forbidden"),
        ("GET /credentials/0", vec![("host", &other_port), good], 403, "forbidden"),
        ("GET /credentials/0", vec![("host", &host), ("host", &rebound), good], 403, "forbidden"),
        ("GET /credentials/0", vec![good], 403, "forbidden"),
        ("GET /credentials/1", vec![("host", &host), good], 404, "not-found"),
        ("GET /credentials/0/", vec![("host", &host), good], 404, "not-found"),
        ("GET /credentials/0?x=1", vec![("host", &host), good], 404, "not-found"),
        ("GET /", vec![("host", &host), good], 404, "not-found"),
        ("POST /credentials/0", vec![("host", &host), good, ("content-length", "0")], 405, "method-not-allowed"),
        ("PUT /credentials/0", vec![("host", &host), good, ("content-length", "0")], 405, "method-not-allowed"),
        ("OPTIONS /credentials/0", vec![("host", &host), good], 405, "method-not-allowed"),
    ] {
        let (got, head, body) = send(&endpoint, &request(line, &headers)).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{line} {headers:?}");
        assert!(body["message"].as_str().is_some_and(|message| !message.contains("secret")), "{body}");
        assert!(!head.contains("access-control"), "{head}");
    }
    assert_eq!(stage.told.asked(), 0);
}

#[tokio::test]
async fn why_there_are_no_keys_is_said_in_words() {
    let stage = Stage::new();
    let endpoint = open(&stage).await;
    let host = endpoint.address.to_string();
    let asked = request("GET /credentials/0", &[("host", &host), ("authorization", TOKEN)]);
    stage.keeping.ended.cancel();
    let (status, _, body) = send(&endpoint, &asked).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("task-closed")));
    assert!(body["message"].as_str().unwrap().contains("do not use any other credential"));
}

#[tokio::test]
async fn when_the_command_is_gone_so_is_the_endpoint() {
    let stage = Stage::new();
    let endpoint = open(&stage).await;
    let address = endpoint.address;
    drop(endpoint);
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("nobody listens there any more");
}

#[tokio::test]
async fn a_header_that_never_ends_is_not_read_for_ever() {
    let endpoint = open(&Stage::new()).await;
    let long = format!("GET /credentials/0 HTTP/1.1\r\nhost: {}\r\nx: {}", endpoint.address, "x".repeat(64 * 1024));
    let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
    // The answer may come, and the connection break, before all of it is written.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

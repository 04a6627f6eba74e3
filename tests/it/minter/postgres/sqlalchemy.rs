//! SQLAlchemy as the agent: it connects by the URL as it was handed out, does what it may, and is cut off.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{end, live, reads, shared, value};

#[tokio::test(flavor = "multi_thread")]
async fn pg_02_sqlalchemy_reads_what_it_may_and_is_cut_off_at_the_end() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let minter = shared().minter("sqlalchemy");
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let mut python = Command::new(root.join("target/venv/bin/python"));
    python.arg(root.join("tests/foreign/sqlalchemy_client.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = python.spawn().expect("`make tools` installs what this test needs (Python packages)");
    let mut input = client.stdin.take().unwrap();
    let mut told = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut hear = || serde_json::from_str::<Value>(&told.next().expect("an answer").unwrap()).unwrap();
    writeln!(input, "{}", value(&minted, "url")).unwrap();
    assert_eq!(hear()["rows"], serde_json::json!([[plan.handle.as_str(), 100]]));
    let beyond = hear();
    assert_eq!(beyond["sqlstate"], "42501", "insufficient privilege: {beyond}");
    end(&*minter, &plan).await;
    writeln!(input, "go on").unwrap();
    let cut = hear();
    assert_eq!(cut["error"], "OperationalError", "{cut}");
    let text = cut["text"].as_str().unwrap();
    assert!(text.contains("terminating connection") || text.contains("closed the connection"), "{cut}");
    let again = hear();
    assert!(again["text"].as_str().is_some_and(|text| text.contains("authentication failed")), "{again}");
    assert!(client.wait().unwrap().success());
}

//! Tokens that other people's implementations made: each says what it expects, and we must agree. Where the tools are not
//! installed these tests fail, as nothing would be known otherwise.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hallpass::domain::Timestamp;
use hallpass::identity::{Algorithm, IssuerState, Verifiers};
use hallpass::sys::{Clock as _, HttpClient, SystemClock};
use serde_json::Value;

use crate::support::idp::{settings, verdict, verifiers};

const HINT: &str = "`make tools` installs what this test needs (Python and npm packages)";

pub(crate) fn foreign() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

/// The virtual environment's Python, in the target directory this test runs from.
pub(crate) fn python() -> PathBuf {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf();
    let python = target.join("venv/bin/python");
    assert!(python.exists(), "{} is missing; {HINT}", python.display());
    python
}

fn node() -> PathBuf {
    assert!(foreign().join("node_modules/jose").exists(), "tests/foreign/node_modules is missing; {HINT}");
    PathBuf::from("node")
}

fn mint(program: &Path, script: &str) -> Value {
    let ran = Command::new(program).arg(foreign().join(script)).output().expect(HINT);
    assert!(ran.status.success(), "{script}: {}; {HINT}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

async fn agree_on(minted: &Value, at_least: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, minted["jwks"].to_string()).unwrap();
    let (issuer, audience) = (minted["issuer"].as_str().unwrap(), minted["audience"].as_str().unwrap());
    let section = settings(&format!("name = \"f\"\nissuer = \"{issuer}\"\njwks_file = \"{}\"", file.display()));
    let desk = Verifiers::new(&[section], audience, HttpClient::new(None).unwrap()).unwrap();
    let now = Timestamp::from_secs(minted["now"].as_i64().unwrap());
    let cases = minted["cases"].as_array().unwrap();
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let (mut accepted, mut disagreements) = (BTreeSet::new(), Vec::new());
    for case in cases {
        let word = match verdict(&desk, case["token"].as_str().unwrap(), now).await {
            Ok(subject) if subject == "workload-1" => "ok",
            Ok(_) => "another subject",
            Err(word) => word,
        };
        if word == "ok" {
            accepted.insert(case["name"].as_str().unwrap());
        }
        if word != case["expect"] {
            disagreements.push(format!("{}: expected {}, found {word}", case["name"], case["expect"]));
        }
    }
    assert_eq!(disagreements, Vec::<String>::new());
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        assert!(accepted.iter().any(|name| name.contains(algorithm.as_str())), "no good {algorithm} token");
    }
}

#[tokio::test]
async fn joserfc_and_authlib_agree_with_us_on_every_token() {
    agree_on(&mint(&python(), "tokens.py"), 200).await;
}

#[tokio::test]
async fn jose_agrees_with_us_on_every_token() {
    agree_on(&mint(&node(), "tokens.mjs"), 110).await;
}

#[tokio::test]
async fn a_real_openid_provider_is_discovered_and_its_token_accepted() {
    let mut provider = Command::new(node())
        .arg(foreign().join("oidc.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect(HINT);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(provider.stdout.take().unwrap()), &mut line).unwrap();
    let minted: Value = serde_json::from_str(&line).expect("the provider printed no token; `make tools` installs it");
    let (issuer, token) = (minted["issuer"].as_str().unwrap(), minted["token"].as_str().unwrap());
    let trusting = |typ: &str| {
        verifiers(&[settings(&format!(
            "name = \"op\"\nissuer = \"{issuer}\"\nallow_private = true\ntyp = [\"{typ}\"]"
        ))])
    };
    let now = SystemClock.now();
    let desk = trusting("at+jwt");
    assert_eq!(verdict(&desk, token, now).await, Ok("robot".to_owned()));
    let status = desk.status(now).remove(0);
    assert_eq!((status.state, status.keys), (IssuerState::Ok, 1));
    assert_eq!(verdict(&desk, token, now.plus_millis(400_000)).await, Err("expired"));
    assert_eq!(verdict(&trusting("JWT"), token, now).await, Err("typ_not_allowed"));
    assert_eq!(verdict(&desk, minted["opaque"].as_str().unwrap(), now).await, Err("malformed"));
    drop(provider.stdin.take());
    assert!(provider.wait().unwrap().success());
}

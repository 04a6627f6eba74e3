//! Tokens that other people's implementations made: each says what it expects, and we must agree.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use hallpass::domain::Timestamp;
use hallpass::identity::{Algorithm, IssuerState, Verifiers};
use hallpass::sys::{Clock as _, HttpClient, SystemClock};
use serde_json::Value;

use crate::support::foreign::{HINT, Server, folder, node, python};
use crate::support::idp::{settings, verdict, verifiers};

fn mint(program: &Path, script: &str) -> Value {
    let ran = Command::new(program).arg(folder().join(script)).output().expect(HINT);
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
    let (_provider, minted) = Server::start(&node(), "oidc.mjs", None);
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
}

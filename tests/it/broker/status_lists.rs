//! Token Status Lists over the router: whoever checks a token without asking us learns from the list that it has ended, as soon as
//! the answer said, and learns nothing of the others.

use std::process::Command;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::jwt::part;
use super::text;
use crate::support::harness::{Harness, Options, PUBLIC_URL, Reply, ask};

const SCOPE: &str = "parts:drawings:read";
const AUDIENCE: &str = "https://parts.acme.example";

/// A house whose release-bot may have tokens that are checked by a status list.
async fn house() -> Harness {
    let ceiling = "\"api:releases:read\", \"api:releases:write\"]";
    let wider = ceiling.replace(']', &format!(", \"{SCOPE}\"]"));
    let mut options = Options::default().with_change("agents.toml", ceiling, &wider);
    let scope = format!(
        r#"
[[scope]]
name = "{SCOPE}"
description = "Look at drawings"
risk = 10
owner = "maya"
max_ttl_seconds = 3600
effect = {{ audience = "{AUDIENCE}" }}
"#,
    );
    options.bundle.get_mut("catalogue.toml").unwrap().push_str(&scope);
    Harness::with(options).await
}

/// The lease, the task and the token of a new task.
async fn granted(house: &Harness) -> (String, String, String) {
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &ask(SCOPE)).await.expect(201);
    let credential = &task["credentials"][0];
    assert_eq!(credential["revocation"]["strength"], "within_seconds", "{credential}");
    (text(&credential["id"]), text(&task["id"]), text(&credential["values"]["access_token"]))
}

async fn fetch(house: &Harness, path: &str) -> Reply {
    house.send(Request::get(path).body(Body::empty()).unwrap()).await
}

/// Where a token says its list is, as a path of ours.
fn path_of(token: &str) -> String {
    let uri = text(&part(token, 1)["status"]["status_list"]["uri"]);
    uri.strip_prefix(PUBLIC_URL).unwrap().to_owned()
}

/// The list that a token names, as it is now.
async fn list_of(house: &Harness, token: &str) -> String {
    let reply = fetch(house, &path_of(token)).await;
    assert_eq!(reply.headers["content-type"], "application/statuslist+jwt");
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.body).unwrap()
}

/// What other people's code says of a token by a list: 0 is VALID, 1 INVALID.
async fn status(house: &Harness, token: &str, list: &str) -> Result<u64, String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let jwks = fetch(house, "/.well-known/jwks.json").await.expect(200);
    let now = house.broker.now().as_secs();
    let case =
        json!({ "token": token, "list": list, "jwks": jwks, "issuer": PUBLIC_URL, "audience": AUDIENCE, "now": now });
    let mut judge = Command::new("node");
    judge.current_dir(root).arg("tests/foreign/status.mjs").arg(case.to_string());
    let output = tokio::task::spawn_blocking(move || judge.output()).await.unwrap().expect("node runs");
    if output.status.success() {
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        Ok(said["status"].as_u64().unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[tokio::test]
async fn a_foreign_verifier_learns_within_a_second_of_the_list_that_a_token_ended_and_its_sibling_did_not() {
    let house = house().await;
    let (ended, task, token) = granted(&house).await;
    let (_, _, sibling) = granted(&house).await;
    assert_eq!(path_of(&token), path_of(&sibling), "they share a list");
    let before = list_of(&house, &token).await;
    assert_eq!(status(&house, &token, &before).await, Ok(0));
    house.post(&format!("/v1/tasks/{task}/complete"), &house.agent("release-bot"), &json!({})).await.expect(200);
    house.clock.advance_secs(1);
    let after = list_of(&house, &token).await;
    assert_eq!(status(&house, &token, &after).await, Ok(1));
    assert_eq!(status(&house, &sibling, &after).await, Ok(0));
    assert_eq!(house.introspect(&token).await, json!({ "active": false }), "and whoever asks learns it at once");

    // The answer says by when everybody knows; then, and not before, it has ended.
    let lease = house.lease(&ended).await;
    assert_eq!(lease["state"], "ending", "{lease}");
    house.clock.advance_secs(43);
    house.sweep().await;
    assert_eq!(house.lease(&ended).await["state"], "ending");
    // The list from before is not believed any more.
    assert!(status(&house, &token, &before).await.unwrap_err().contains("exp"));
    house.clock.advance_secs(1);
    house.sweep().await;
    let lease = house.lease(&ended).await;
    assert_eq!(lease["state"], "ended", "{lease}");
    assert!(text(&lease["proof"]).contains("in the status list since"), "{lease}");
    assert_eq!(status(&house, &token, &list_of(&house, &token).await).await, Ok(1), "it stays listed until its exp");
}

#[tokio::test]
async fn a_list_survives_a_restart_and_new_tokens_have_another() {
    let mut house = house().await;
    let (ended, _, token) = granted(&house).await;
    house.revoke(&json!({ "lease": ended })).await;
    house.restart().await;
    let (_, _, later) = granted(&house).await;
    assert_ne!(path_of(&token), path_of(&later), "no two processes give out the same place");
    assert_eq!(status(&house, &token, &list_of(&house, &token).await).await, Ok(1));
    assert_eq!(status(&house, &later, &list_of(&house, &later).await).await, Ok(0));
}

#[tokio::test]
async fn it_is_fetched_again_only_when_it_changed_and_what_is_no_list_is_refused() {
    let house = house().await;
    let (_, _, token) = granted(&house).await;
    let path = path_of(&token);
    let first = fetch(&house, &path).await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    let again = house.send(Request::get(&path).header("if-none-match", tag).body(Body::empty()).unwrap()).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(fetch(&house, &format!("{path}?time=1")).await.expect(501)["code"], "not-implemented");
    let (lists, name) = path.rsplit_once('/').unwrap();
    for wrong in [
        format!("{lists}/{}", &name[1..]),
        format!("{lists}/{}", name.to_uppercase()),
        path.replace("/parts/", "/api/"),
    ] {
        assert_eq!(fetch(&house, &wrong).await.expect(404)["code"], "not-found", "{wrong}");
    }
}

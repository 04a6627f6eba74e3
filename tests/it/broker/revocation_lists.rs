//! Revocation lists over the router: public, complete, as fresh as they say, and never short of what a lost database knew.

use axum::body::Body;
use http::Request;
use serde_json::json;

use super::text;
use crate::support::harness::{Harness, Options, Reply, ask};
use crate::support::openssh::is_revoked;

const SCOPE: &str = "hosts:web:read";

/// A house whose release-bot may log in to hosts.
async fn house() -> Harness {
    let ceiling = "\"api:releases:read\", \"api:releases:write\"]";
    let wider = ceiling.replace(']', &format!(", \"{SCOPE}\"]"));
    let mut options = Options::default().with_change("agents.toml", ceiling, &wider);
    options.bundle.get_mut("catalogue.toml").unwrap().push_str(
        r#"
[[scope]]
name = "hosts:web:read"
description = "Ask a host how it is"
risk = 10
owner = "maya"
max_ttl_seconds = 3600
effect = { principals = ["status"], force_command = ["/usr/bin/uptime"] }
"#,
    );
    Harness::with(options).await
}

/// The lease and the certificate of a new task.
async fn granted(house: &Harness) -> (String, String) {
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &ask(SCOPE)).await.expect(201);
    let credential = &task["credentials"][0];
    assert_eq!(credential["revocation"]["strength"], "within_seconds", "{credential}");
    (text(&credential["id"]), text(&credential["values"]["certificate"]))
}

async fn krl(house: &Harness, backend: &str, known: Option<&str>) -> Reply {
    let mut request = Request::get(format!("/v1/backends/{backend}/krl"));
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    house.send(request.body(Body::empty()).unwrap()).await
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.headers[name].to_str().unwrap()
}

#[tokio::test]
async fn ssh_06_the_list_has_what_ended_early_within_a_second_and_is_fetched_only_when_it_changed() {
    let house = house().await;
    let (ended, certificate) = granted(&house).await;
    let (_, sibling) = granted(&house).await;
    let before = krl(&house, "hosts", None).await;
    assert_eq!((before.status.as_u16(), header(&before, "cache-control")), (200, "no-cache"));
    assert_eq!(header(&before, "content-type"), "application/octet-stream");
    assert!(!is_revoked(&before.body, &certificate));
    let tag = header(&before, "etag").to_owned();
    house.clock.advance_secs(1);
    let unchanged = krl(&house, "hosts", Some(&tag)).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));

    house.revoke(&json!({ "lease": ended })).await;
    house.clock.advance_secs(1);
    let after = krl(&house, "hosts", Some(&tag)).await;
    assert_eq!(after.status.as_u16(), 200);
    assert!(is_revoked(&after.body, &certificate) && !is_revoked(&after.body, &sibling));
    house.clock.advance_secs(60);
    let anew = krl(&house, "hosts", None).await;
    assert!(anew.body != after.body && is_revoked(&anew.body, &certificate), "made anew each minute");
}

#[tokio::test]
async fn ssh_06_it_ends_when_hosts_have_fetched_the_list_and_stays_listed_beyond_its_own_end() {
    let house = house().await;
    let (ended, certificate) = granted(&house).await;
    let closure = house.revoke(&json!({ "lease": ended })).await;
    assert_ne!(closure["closure"], "closed", "{closure}");
    assert_eq!(house.lease(&ended).await["state"], "ending");
    house.broker.publish_revocation_lists().await.unwrap();
    let file = std::fs::read(house.dir.path().join("hosts.krl")).unwrap();
    assert!(is_revoked(&file, &certificate));
    house.clock.advance_secs(34);
    house.sweep().await;
    assert_eq!(house.lease(&ended).await["state"], "ending", "hosts may not know yet");
    house.clock.advance_secs(1);
    house.sweep().await;
    let lease = house.lease(&ended).await;
    assert_eq!(lease["state"], "ended");
    assert!(text(&lease["proof"]).contains("on the revocation list since"), "{lease}");
    // Ten minutes after its mint its own end passes; a host whose clock is behind needs the list a little longer.
    house.clock.advance_secs(600);
    assert!(is_revoked(&krl(&house, "hosts", None).await.body, &certificate));
    house.clock.advance_secs(300);
    assert!(!is_revoked(&krl(&house, "hosts", None).await.body, &certificate));
}

#[tokio::test]
async fn what_has_no_list_is_not_there() {
    let house = house().await;
    for backend in ["api", "sandbox", "nobody", "HOSTS", "%2e%2e", "hosts%00"] {
        krl(&house, backend, None).await.expect(404);
    }
}

#[tokio::test]
async fn ssh_06_a_restored_database_answers_with_no_list_and_leaves_the_file_as_it_is() {
    let mut house = house().await;
    let (ended, certificate) = granted(&house).await;
    let backup = tempfile::tempdir().unwrap();
    house.restart_after(|folder| crate::support::database::copy(folder, backup.path())).await;
    house.revoke(&json!({ "lease": ended })).await;
    house.clock.advance_secs(1);
    house.broker.publish_revocation_lists().await.unwrap();
    let file = std::fs::read(house.dir.path().join("hosts.krl")).unwrap();
    assert!(is_revoked(&file, &certificate));
    house.restart_after(|folder| crate::support::database::copy(backup.path(), folder)).await;
    krl(&house, "hosts", None).await.expect(503);
    house.broker.publish_revocation_lists().await.unwrap();
    assert_eq!(std::fs::read(house.dir.path().join("hosts.krl")).unwrap(), file);
}

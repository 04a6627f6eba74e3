//! A database that was restored, copied or put back: nothing is issued and nothing is ended until an operator has said what
//! happened, and then nothing works that may have been revoked since.

use std::path::Path;

use hallpass::broker::{ReconcileAsk, ReconcileReport, Told};
use hallpass::minter::{Fault, SandboxCall};
use serde_json::json;

use super::{API_READ, Held, READ, text};
use crate::support::database;
use crate::support::harness::{AGENTS, Harness, Options, ask};

fn told(told: Told) -> ReconcileAsk {
    ReconcileAsk { told, reason: "a test says so".to_owned(), dry_run: false }
}

impl Harness {
    async fn reconcile(&self, ask: &ReconcileAsk) -> ReconcileReport {
        let mut reports = self.broker.reconcile_restored(ask).await.unwrap();
        reports.remove(&"sandbox".parse().unwrap()).unwrap()
    }

    async fn is_ready(&self) -> bool {
        let readiness = self.broker.readiness().await;
        assert_eq!(readiness.ready, readiness.details["restore"] == "ok", "{readiness:?}");
        readiness.ready
    }

    /// Nothing is issued: whoever asks hears why.
    async fn refuses(&self) {
        assert!(!self.is_ready().await);
        let reply = self.post("/v1/tasks", &self.agent("release-bot"), &ask(READ)).await;
        assert_eq!(reply.headers["retry-after"], "60");
        assert_eq!(reply.expect(503)["code"], "store-restored");
    }
}

/// A backup of the store of a house that was stopped.
fn backup(folder: &Path) -> tempfile::TempDir {
    let backup = tempfile::tempdir().unwrap();
    database::copy(folder, backup.path());
    backup
}

#[tokio::test]
async fn sto_10_a_restored_database_issues_and_ends_nothing_until_it_is_reconciled() {
    let mut house = Harness::start().await;
    let before = house.granted(READ).await;
    let revoked = house.granted(API_READ).await;
    let mut saved = None;
    house.restart_after(|folder| saved = Some(backup(folder))).await;
    assert!(house.is_ready().await, "a stop and a start are no restore");
    house.revoke(&json!({ "task": revoked.task })).await;
    let after = house.granted(READ).await;
    house.restart_after(|folder| database::copy(saved.as_ref().unwrap().path(), folder)).await;

    house.refuses().await;
    assert_eq!(house.lease(&revoked.lease).await["state"], "live", "what was revoked looks live");
    assert_eq!(house.introspect(&revoked.secret).await, json!({ "active": false }));
    let ends = house.sandbox.calls(SandboxCall::Revoke);
    house.revoke(&json!({ "task": before.task })).await;
    house.sweep().await;
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), ends, "an end is recorded, and nobody is told");
    assert!(house.works(&before.secret));
    house.restart().await;
    house.refuses().await;
    assert_eq!(house.events("store.restored").await.len(), 1, "once, whoever starts on it");

    let dry = house.reconcile(&ReconcileAsk { dry_run: true, ..told(Told::Restored) }).await;
    assert_eq!((dry.leases, dry.honoured, dry.ended), (1, 1, 1));
    house.refuses().await;
    assert!(house.works(&before.secret) && house.works(&after.secret));

    let report = house.reconcile(&told(Told::Restored)).await;
    assert_eq!((report.leases, report.ended, report.ending, report.orphans), (1, 1, 0, 1), "{report:?}");
    assert!(house.sandbox.honoured(house.broker.now()).is_empty(), "neither what is on record nor what is not");
    assert_eq!(house.introspect(&revoked.secret).await, json!({ "active": false }));
    for held in [&before, &revoked] {
        assert_eq!(house.lease(&held.lease).await["state"], "ended");
        assert_eq!(house.task(&held.task).await["state"], "closed");
    }
    assert!(house.is_ready().await);
    let reconciled = house.events("store.reconciled").await.remove(0);
    assert_eq!(reconciled["data"]["reason"], "a test says so");
    assert_eq!(reconciled["data"]["orphans"], json!([after.lease]));
    assert!(house.works(&house.granted(READ).await.secret));
    house.restart().await;
    assert!(house.is_ready().await, "it is trusted from then on");
}

#[tokio::test]
async fn a_copy_does_not_touch_what_belongs_to_the_original() {
    let mut house = Harness::start().await;
    let held = house.granted(READ).await;
    let token = house.granted(API_READ).await;
    let mut fork = house.fork().await;
    fork.refuses().await;
    assert!(house.is_ready().await, "the original goes on");
    fork.revoke(&json!({ "kill_switch": "engage" })).await;
    fork.revoke(&json!({ "kill_switch": "release" })).await;
    fork.sweep().await;
    assert!(house.works(&held.secret));

    let calls = house.sandbox.calls(SandboxCall::Revoke);
    let reports = fork.broker.reconcile_restored(&told(Told::Fork)).await.unwrap();
    // The token ended in its row with its task: no backend is asked about it.
    assert_eq!(reports.values().map(|report| report.ended).sum::<u64>(), 1, "{reports:?}");
    assert_eq!(fork.lease(&token.lease).await["state"], "ended");
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), calls);
    fork.refuses().await;
    fork.restart().await;
    assert!(fork.is_ready().await, "with its own name it goes on");
    assert_eq!(fork.lease(&held.lease).await["state"], "ended");
    fork.sweep().await;
    let own = fork.granted(READ).await;
    // Its name is its own: what it lists as its own is what it made.
    let report = fork.reconcile(&told(Told::Restored)).await;
    assert_eq!((report.leases, report.ended, report.orphans), (1, 1, 0), "{report:?}");
    assert!(!fork.works(&own.secret));
    assert!(house.works(&held.secret));
    assert_eq!(house.introspect(&token.secret).await["active"], true);
    let signed = fork.granted(API_READ).await;
    assert_eq!(house.introspect(&signed.secret).await, json!({ "active": false }));
    let kids = |jwks: String| -> Vec<String> {
        let jwks: serde_json::Value = serde_json::from_str(&jwks).unwrap();
        jwks["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"])).collect()
    };
    let (ours, theirs) = (kids(house.broker.jwks().0), kids(fork.broker.jwks().0));
    assert!(!theirs.is_empty() && theirs.iter().all(|kid| !ours.contains(kid)), "{ours:?} {theirs:?}");
}

#[tokio::test]
async fn a_database_that_was_moved_and_lost_nothing_keeps_what_the_backends_honour() {
    let mut house = Harness::start().await;
    let (held, gone) = (house.granted(READ).await, house.granted(READ).await);
    let token = house.granted(API_READ).await;
    house
        .restart_after(|folder| {
            let moved = backup(folder);
            database::copy(moved.path(), folder);
        })
        .await;
    house.refuses().await;
    assert_eq!(house.introspect(&token.secret).await, json!({ "active": false }));
    house.sandbox.forget(&gone.lease);
    let report = house.reconcile(&told(Told::Complete)).await;
    assert_eq!((report.leases, report.honoured, report.refused, report.ended), (2, 1, 1, 1), "{report:?}");
    assert_eq!(report.orphans, 0);
    assert!(house.is_ready().await && house.works(&held.secret));
    assert_eq!(house.lease(&held.lease).await["state"], "live");
    assert_eq!(house.lease(&gone.lease).await["state"], "ended");
    assert_eq!(house.introspect(&token.secret).await["active"], true);
    let path = format!("/v1/tasks/{}/complete", held.task);
    let closure = house.post(&path, &house.agent("release-bot"), &json!({})).await.expect(200);
    assert_eq!(closure["closure"], "closed");
}

#[tokio::test]
async fn a_reconciliation_that_was_interrupted_is_simply_done_again() {
    let mut house = Harness::start().await;
    let (first, second) = (house.granted(READ).await, house.granted(READ).await);
    house
        .restart_after(|folder| {
            let saved = backup(folder);
            database::copy(saved.path(), folder);
        })
        .await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Revoke);
    let ask = told(Told::Restored);
    tokio::select! {
        done = house.broker.reconcile_restored(&ask) => panic!("it waits for the backend: {done:?}"),
        () = held_back.acted() => {}
    }
    drop(held_back);
    house.restart().await;
    house.refuses().await;
    house.sandbox.fail_always(SandboxCall::Revoke, Fault::Unavailable);
    house.sandbox.fail_always(SandboxCall::Inventory, Fault::Unavailable);
    let report = house.reconcile(&ask).await;
    assert!(report.unlistable && report.leases >= 1 && report.ended + report.ending == report.leases, "{report:?}");
    house.sandbox.mend();
    house.advance_secs(60);
    house.sweep().await;
    assert!(!house.works(&first.secret) && !house.works(&second.secret));
    for held in [&first, &second] {
        assert_eq!(house.lease(&held.lease).await["state"], "ended");
    }
}

#[tokio::test]
async fn a_token_that_was_used_after_the_backup_is_not_accepted_again() {
    let mut house = Harness::with(Options { single_use: true, ..Options::default() }).await;
    let mut saved = None;
    house.restart_after(|folder| saved = Some(backup(folder))).await;
    let used = house.agent("release-bot");
    house.post("/v1/tasks", &used, &ask(READ)).await.expect(201);
    house.restart_after(|folder| database::copy(saved.as_ref().unwrap().path(), folder)).await;
    house.advance_secs(10);
    house.reconcile(&told(Told::Restored)).await;
    house.post("/v1/tasks", &used, &ask(READ)).await.expect(401);
    let rejected = house.events("identity.rejected").await.remove(0);
    assert_eq!(rejected["data"]["reason"], "issued_before_restore");
    let undated = house.token(AGENTS, "release-bot", &json!({ "jti": "another" }));
    house.post("/v1/tasks", &undated, &ask(READ)).await.expect(201);
}

#[tokio::test]
async fn a_replica_that_has_not_heard_of_it_mints_nothing() {
    let house = Harness::start().await;
    let other = house.replica_with(|_| {}).await;
    // An operator says so on one replica; the backend does not answer, so the quarantine stays for now.
    let mut held_back = house.sandbox.hold_next(SandboxCall::Inventory);
    let ask_for = told(Told::Restored);
    let minting = async {
        held_back.acted().await;
        let reply = other.post("/v1/tasks", &other.agent("release-bot"), &ask(READ)).await;
        assert_eq!(reply.expect(503)["code"], "store-restored");
        held_back.release();
    };
    let (reports, ()) = tokio::join!(house.broker.reconcile_restored(&ask_for), minting);
    reports.unwrap();
    let task = other.post("/v1/tasks", &other.agent("release-bot"), &ask(READ)).await;
    // It looks again once a second; asked before that, it may still say no, and never mints in the old epoch.
    other.broker.look_again().await.unwrap();
    let held = if task.status == 201 { Held::of(&task.json()) } else { other.granted(READ).await };
    assert!(other.works(&held.secret));
}

#[tokio::test]
async fn a_mint_that_is_under_way_when_the_quarantine_begins_is_delivered_to_nobody() {
    let house = Harness::start().await;
    let mut minted = house.sandbox.hold_next(SandboxCall::Mint);
    let mut listing = house.sandbox.hold_next(SandboxCall::Inventory);
    let (token, body, told) = (house.agent("release-bot"), ask(READ), told(Told::Complete));
    let (answered, heard) = tokio::sync::oneshot::channel();
    let opening = async {
        let reply = house.post("/v1/tasks", &token, &body).await;
        answered.send(()).unwrap();
        reply
    };
    let reconciling = async {
        minted.acted().await;
        let in_quarantine = async {
            listing.acted().await;
            minted.release();
            heard.await.unwrap();
            listing.release();
        };
        tokio::join!(house.broker.reconcile_restored(&told), in_quarantine).0
    };
    let (reply, reports) = tokio::join!(opening, reconciling);
    assert_eq!(reply.expect(503)["code"], "store-restored");
    reports.unwrap();
    house.settle().await;
    assert_eq!(house.leases().await[0]["state"], "ended");
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
}

/// A file that is written over keeps its number and its birth, and a server its name; the mark outside remembers what it held.
#[tokio::test]
async fn a_database_that_was_put_back_in_place_is_noticed_by_what_was_seen_last() {
    let mut house = Harness::start().await;
    let mut saved = None;
    house.restart_after(|folder| saved = Some(database::remember(folder))).await;
    house.granted(READ).await;
    house.restart_after(|folder| database::put_back_in_place(folder, &saved.unwrap())).await;
    house.refuses().await;
    let restored = house.events("store.restored").await.remove(0);
    assert!(text(&restored["data"]["why"]).contains("is not in it"), "{restored}");
}

/// STO-11: what the database keeps, searched byte by byte.
#[tokio::test]
async fn sto_11_no_secret_is_in_what_the_database_keeps() {
    let mut house = Harness::start().await;
    let (sandbox, token) = (house.granted(READ).await, house.granted(API_READ).await);
    let identity = house.agent("release-bot");
    house.post("/v1/tasks", &identity, &ask(READ)).await.expect(201);
    let mut kept = Vec::new();
    house.restart_after(|folder| kept = database::everything_kept(folder)).await;
    assert!(kept.len() > 10_000, "{}", kept.len());
    let finder = |needle: &str| kept.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(finder(&sandbox.lease), "it is what the broker wrote");
    for canary in [sandbox.secret.as_str(), &token.secret, &identity, house.kek(), "PRIVATE KEY", "\"d\":"] {
        assert!(!finder(canary), "a secret that begins with {}", &canary[..4]);
    }
}

//! Two brokers on one database: what one decides binds the other from its commit on, though nobody tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hallpass::store::Hint;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::KINDS;
use super::{API_READ, READ, text};
use crate::support::harness::{Harness, Options, ask};

fn same(_: &mut BTreeMap<String, String>) {}

fn forbid_reading(files: &mut BTreeMap<String, String>) {
    let forbid = "@id(\"reading\")\n@reason(\"Not reading\")\n\
        forbid (principal, action == Hallpass::Action::\"grant\", resource) when { resource.action == \"read\" };\n";
    files.insert("reading.cedar".to_owned(), forbid.to_owned());
}

#[tokio::test]
async fn pol_06_a_decision_under_a_bundle_that_is_no_longer_in_force_mints_nothing() {
    for scope in [READ, API_READ] {
        let house = Harness::start().await;
        let before = house.broker.bundle().digest();
        let other = house.replica_with(forbid_reading).await;
        assert_eq!(house.broker.bundle().digest(), before, "it has not looked yet");
        let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(scope)).await.expect(403);
        assert_eq!((&problem["code"], &problem["because"]), (&json!("policy-denied"), &json!(["Not reading"])));
        assert_eq!(house.broker.bundle().digest(), other.broker.bundle().digest());
        assert!(house.leases().await.is_empty());
        assert!(house.events("credential.").await.is_empty());
        assert_eq!(house.events("task.opened").await.len(), 1, "and the decision under the old one left nothing");
    }
}

#[tokio::test]
async fn tok_10_a_token_is_used_once_among_all_replicas() {
    let house = Harness::with(Options { single_use: true, ..Options::default() }).await;
    let other = house.replica_with(same).await;
    let token = house.agent("release-bot");
    let (here, there) = tokio::join!(house.get("/v1/whoami", &token), other.get("/v1/whoami", &token));
    let mut statuses = [here.status.as_u16(), there.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    for replica in [&house, &other] {
        replica.get("/v1/whoami", &token).await.expect(401);
    }
}

#[tokio::test]
async fn task_10_equal_questions_to_two_replicas_have_one_answer() {
    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    let (token, body) = (house.agent("release-bot"), ask(READ));
    let key = [("idempotency-key", "8e03978e-40d5")];
    let calls = (0..50).map(|n| {
        let replica = if n % 2 == 0 { &house } else { &other };
        replica.call("POST", "/v1/tasks", &token, Some(&body), &key)
    });
    let mut ids = BTreeSet::new();
    let mut secrets = 0;
    for reply in futures_util::future::join_all(calls).await {
        assert!(reply.status.is_success(), "{}", String::from_utf8_lossy(&reply.body));
        let answer = reply.json();
        ids.insert(text(&answer["id"]));
        secrets += answer["credentials"].as_array().unwrap().len();
    }
    assert_eq!((ids.len(), secrets), (1, 1));
    assert_eq!(house.sandbox.ever_minted().len(), 1);
    assert_eq!(house.events("credential.minted").await.len(), 1);
}

#[tokio::test]
async fn jwt_02_a_token_revoked_at_one_replica_is_inactive_at_the_other_at_once() {
    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    let held = house.granted(API_READ).await;
    assert_eq!(other.introspect(&held.secret).await["active"], true);
    house.revoke(&json!({ "task": held.task })).await;
    assert_eq!(other.introspect(&held.secret).await, json!({ "active": false }));
}

#[tokio::test]
async fn a_kill_switch_and_a_suspension_bind_a_replica_that_has_not_looked() {
    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    let waiting = other.waiting().await;
    other.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    house.revoke(&json!({ "kill_switch": "engage" })).await;
    assert_eq!(other.collect(&waiting.task).await.expect(503)["code"], "kill-switch-active");

    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    let reason = json!({ "reason": "it behaves oddly" });
    house.post("/v1/agents/release-bot/suspend", &house.operator(), &reason).await.expect(200);
    let problem = other.post("/v1/tasks", &house.agent("release-bot"), &ask(API_READ)).await.expect(403);
    assert_eq!(problem["code"], "agent-suspended");
    assert!(house.leases().await.is_empty());
}

#[tokio::test]
async fn two_who_decide_and_collect_at_two_replicas_make_one_credential() {
    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    for _ in 0..5 {
        let waiting = house.waiting().await;
        let (one, two) = (house.approver(), house.person("nia", &["release-approvers"]));
        let (first, second) = tokio::join!(
            house.verdict(&waiting.request, &one, "approve"),
            other.verdict(&waiting.request, &two, "approve")
        );
        assert!([first, second].iter().any(|reply| reply.status == 200));
        let (here, there) = tokio::join!(house.collect(&waiting.task), other.collect(&waiting.task));
        let count = |body: Value| body["credentials"].as_array().map_or(0, Vec::len);
        assert_eq!(count(here.json()) + count(there.json()), 1);
        let kinds = house.kinds_of(&waiting.task).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "access.granted").count(), 1, "{kinds:?}");
        house.revoke(&json!({ "task": waiting.task })).await;
    }
}

#[tokio::test]
async fn two_that_sweep_at_once_end_everything_once() {
    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    for n in 0..12 {
        house.granted(if n % 2 == 0 { READ } else { API_READ }).await;
    }
    house.advance_secs(601);
    tokio::join!(house.sweep(), other.sweep());
    assert!(house.leases().await.iter().all(|lease| lease["state"] == "ended"));
    for kind in ["lease.ended", "lease.ending", "task.closed"] {
        assert_eq!(house.events(kind).await.len(), 12, "{kind}");
    }
}

/// The chores of a replica that nobody tells anything: it looks at the rows, and that is all.
fn look_without_listening(house: &Harness) -> (CancellationToken, TaskTracker) {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    hallpass::worker::start(&house.broker, hallpass::worker::Intervals::default(), &stop, &tasks);
    (stop, tasks)
}

/// How long it may take until what one replica did counts at one that was not told (HA-07).
const AT_MOST: Duration = Duration::from_secs(5);

#[tokio::test]
async fn ha_07_whoever_waits_at_a_replica_that_is_told_nothing_is_answered_all_the_same() {
    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    for settle in ["approve", "revoke"] {
        let waiting = house.waiting().await;
        let (path, token) = (format!("/v1/tasks/{}?wait=25", waiting.task), house.agent("release-bot"));
        let settled = async {
            // The wait is there before anything happens.
            let _ = tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
            match settle {
                "approve" => drop(house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200)),
                _ => drop(house.revoke(&json!({ "task": waiting.task })).await),
            }
        };
        let held = async { tokio::time::timeout(AT_MOST, other.get(&path, &token)).await.expect("in time") };
        let (answer, ()) = tokio::join!(held, settled);
        let answer = answer.expect(200);
        assert!(answer["requests"][0]["state"] != "pending", "{settle}: {answer}");
    }
}

#[tokio::test]
async fn ha_07_a_kill_switch_a_policy_and_a_suspension_reach_a_replica_that_is_told_nothing() {
    let mut house = Harness::start().await;
    let other = house.replica_with(same).await;
    let (stop, tasks) = look_without_listening(&other);
    house.change_bundle(forbid_reading).await;
    let reason = json!({ "reason": "it behaves oddly" });
    house.post("/v1/agents/release-bot/suspend", &house.operator(), &reason).await.expect(200);
    house.revoke(&json!({ "kill_switch": "engage" })).await;
    let knows = async {
        let mut tries = tokio::time::interval(Duration::from_millis(50));
        loop {
            tries.tick().await;
            let agents = other.get("/v1/agents", &other.operator()).await.expect(200);
            let suspended = agents["items"].as_array().unwrap().iter().any(|agent| agent["suspended"].is_string());
            let killed = other.broker.readiness().await.details.contains_key("kill_switch");
            if suspended && killed && other.broker.bundle().digest() == house.broker.bundle().digest() {
                return;
            }
        }
    };
    tokio::time::timeout(AT_MOST, knows).await.expect("in time");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn what_one_replica_says_wakes_whoever_waits_at_another() {
    let house = Harness::start().await;
    let other = house.replica_with(same).await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let fresh = other.waiting().await;
    let (path, token) = (format!("/v1/tasks/{}?wait=25", fresh.task), house.agent("release-bot"));
    let hint = Hint { tasks: vec![fresh.task.parse().unwrap()], ..Hint::default() };
    let hinted = async {
        let _ = tokio::time::timeout(Duration::from_millis(200), std::future::pending::<()>()).await;
        other.broker.heed(&hint).await.unwrap();
    };
    let held = tokio::time::timeout(Duration::from_millis(1500), other.get(&path, &token));
    let (answer, ()) = tokio::join!(held, hinted);
    assert_eq!(answer.expect("before it would look by itself").expect(200)["state"], "open");
    house.revoke(&json!({ "kill_switch": "engage" })).await;
    other.broker.heed(&Hint { control: true, ..Hint::default() }).await.unwrap();
    assert!(other.broker.readiness().await.details.contains_key("kill_switch"));
}

#[tokio::test]
async fn an_agents_limits_hold_among_all_replicas() {
    let options =
        Options::default().with_change("agents.toml", KINDS, &format!("{KINDS}\nlimits = {{ live_leases = 3 }}"));
    let house = Harness::with(options).await;
    let other = house.replica_with(same).await;
    let (token, body) = (house.agent("release-bot"), ask(API_READ));
    let calls = (0..12).map(|n| {
        let replica = if n % 2 == 0 { &house } else { &other };
        replica.post("/v1/tasks", &token, &body)
    });
    let replies = futures_util::future::join_all(calls).await;
    let granted = replies.iter().filter(|reply| reply.status == 201).count();
    let refused = replies.iter().filter(|reply| reply.status == 429).count();
    assert_eq!((granted, refused), (3, 9));
}

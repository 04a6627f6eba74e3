//! Every way authority ends: by its agent, by a person, by the clock, by silence, and from rows alone after a restart.

use hallpass::minter::SandboxCall;
use serde_json::{Value, json};

use super::{API_READ, Held, READ, WRITE, text};
use crate::support::harness::{Harness, ask};
use crate::support::store_fault::StoreFault;

impl Harness {
    async fn ended(&self, held: &Held, cause: &str) {
        assert!(!self.works(&held.secret));
        let lease = self.lease(&held.lease).await;
        assert_eq!((&lease["state"], &lease["cause"]), (&json!("ended"), &json!(cause)), "{lease}");
    }
}

#[tokio::test]
async fn rev_01_a_task_ends_by_its_agent_and_the_answer_says_what_is_known() {
    for (word, cause) in [("complete", "completed"), ("cancel", "cancelled")] {
        let house = Harness::start().await;
        let held = house.granted(READ).await;
        let path = format!("/v1/tasks/{}/{word}", held.task);
        let closure = house.post(&path, &house.agent("release-bot"), &json!({})).await.expect(200);
        assert_eq!((&closure["closure"], &closure["cause"]), (&json!("closed"), &json!(cause)));
        assert!(text(&closure["leases"][0]["proof"]).contains("probe was refused"));
        house.ended(&held, cause).await;
        assert_eq!(house.collect(&held.task).await.expect(409)["code"], "task-closed");
        let again = house.post(&path, &house.agent("release-bot"), &json!({})).await.expect(200);
        assert_eq!(again["leases"], closure["leases"], "safe to repeat");
        assert_eq!(house.sandbox.calls(SandboxCall::Revoke), 1);
    }
}

#[tokio::test]
async fn a_pending_request_is_withdrawn_with_its_task() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house
        .post(&format!("/v1/tasks/{}/cancel", waiting.task), &house.agent("release-bot"), &json!({}))
        .await
        .expect(200);
    assert_eq!(house.request_state(&waiting.request).await, "withdrawn");
    let problem = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(409);
    assert_eq!(problem["code"], "already-decided");
}

#[tokio::test]
async fn time_ends_a_credential_and_then_its_task() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["task_ttl_seconds"] = json!(1200);
    let held = Held::of(&house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201));
    house.advance_secs(599);
    house.sweep().await;
    assert!(house.works(&held.secret));
    house.advance_secs(1);
    assert!(!house.works(&held.secret), "at its native end, sweep or no sweep");
    house.sweep().await;
    house.ended(&held, "expired").await;
    assert_eq!(house.task(&held.task).await["state"], "open");
    house.advance_secs(600);
    house.sweep().await;
    let task = house.task(&held.task).await;
    assert_eq!((&task["state"], &task["cause"]), (&json!("closed"), &json!("expired")));
}

#[tokio::test]
async fn a_token_of_our_own_expires_without_anybody_being_told() {
    let house = Harness::start().await;
    let held = house.granted(API_READ).await;
    house.advance_secs(600);
    assert_eq!(house.introspect(&held.secret).await, json!({ "active": false }), "before any sweep");
    house.sweep().await;
    house.ended(&held, "expired").await;
}

#[tokio::test]
async fn rev_04_a_task_that_is_not_heard_from_ends() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["heartbeat_seconds"] = json!(60);
    let token = house.agent("release-bot");
    let held = Held::of(&house.post("/v1/tasks", &token, &body).await.expect(201));
    for _ in 0..3 {
        house.advance_secs(59);
        house.sweep().await;
        house.post(&format!("/v1/tasks/{}/heartbeat", held.task), &token, &json!({})).await.expect(200);
    }
    assert!(house.works(&held.secret));
    house.advance_secs(61);
    house.sweep().await;
    let cause = text(&house.task(&held.task).await["cause"]);
    assert!(cause.contains("heartbeat"), "{cause}");
    house.ended(&held, &cause).await;
    house
        .post(&format!("/v1/tasks/{}/heartbeat", held.task), &house.agent("release-bot"), &json!({}))
        .await
        .expect(409);
}

#[tokio::test]
async fn rev_08_a_revocation_ends_what_it_names_and_nothing_else() {
    for what in ["agent", "task", "grant", "lease", "backend"] {
        let house = Harness::start().await;
        let held = house.granted(READ).await;
        let triage = house.post("/v1/tasks", &house.agent("triage-bot"), &ask(API_READ)).await.expect(201);
        let other = Held::of(&triage);
        let name = match what {
            "agent" => "release-bot".to_owned(),
            "task" => held.task.clone(),
            "grant" => text(&house.lease(&held.lease).await["grant"]),
            "lease" => held.lease.clone(),
            _ => "sandbox".to_owned(),
        };
        let closure = house.revoke(&json!({ what: name })).await;
        assert_eq!(closure["closure"], "closed", "{what}: {closure}");
        house.ended(&held, "revoked").await;
        assert_eq!(house.introspect(&other.secret).await["active"], true, "{what}");
        let revoked = house.events("authority.revoked").await;
        assert_eq!(revoked[0]["data"]["what"], json!(what));
        // Who ends an agent ends its tasks, each of which says so too.
        assert_eq!(revoked.len(), if what == "agent" { 2 } else { 1 }, "{what}");
        assert!(revoked.iter().all(|event| event["data"]["reason"] == "a test ends it"), "{what}");
    }
}

#[tokio::test]
async fn an_agent_gives_up_its_own_and_ends_nobody_elses() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let grant = text(&house.lease(&held.lease).await["grant"]);
    let revoke = |target: Value| json!({ "target": target, "reason": "done" });
    let stranger = house.agent("triage-bot");
    for target in [json!({ "task": held.task }), json!({ "grant": grant }), json!({ "lease": held.lease })] {
        house.post("/v1/revocations", &stranger, &revoke(target)).await.expect(404);
    }
    for target in
        [json!({ "agent": "triage-bot" }), json!({ "backend": "sandbox" }), json!({ "kill_switch": "engage" })]
    {
        house.post("/v1/revocations", &stranger, &revoke(target)).await.expect(403);
    }
    let approver = house.approver();
    house.post("/v1/revocations", &approver, &revoke(json!({ "task": held.task }))).await.expect(403);
    assert!(house.works(&held.secret));
    house.post("/v1/revocations", &house.agent("release-bot"), &revoke(json!({ "grant": grant }))).await.expect(200);
    house.ended(&held, "revoked").await;
    assert_eq!(house.collect(&held.task).await.json()["credentials"], json!([]), "a grant that ended mints no more");
}

#[tokio::test]
async fn rev_08_rev_11_the_kill_switch_ends_everything_and_nothing_is_minted_until_it_is_released() {
    let mut house = Harness::start().await;
    let (sandbox, api) = (house.granted(READ).await, house.granted(API_READ).await);
    let waiting = house.waiting().await;
    let closure = house.revoke(&json!({ "kill_switch": "engage" })).await;
    assert_eq!(closure["state"], "engaged");
    house.ended(&sandbox, "kill_switch").await;
    assert_eq!(house.introspect(&api.secret).await, json!({ "active": false }));
    let minted = house.sandbox.ever_minted().len();
    // Neither anew nor by collecting, neither now nor after a restart, and no approval changes it.
    house.verdict(&waiting.request, &house.approver(), "approve").await;
    for restart in [false, true] {
        if restart {
            house.restart().await;
        }
        let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(503);
        assert_eq!(problem["code"], "kill-switch-active");
        for task in [&sandbox.task, &waiting.task] {
            assert_eq!(house.collect(task).await.expect(503)["code"], "kill-switch-active");
        }
        house.sweep().await;
    }
    assert_eq!(house.sandbox.ever_minted().len(), minted);

    house.revoke(&json!({ "kill_switch": "release" })).await;
    assert!(!house.works(&sandbox.secret), "what ended stays ended");
    let fresh = house.granted(READ).await;
    assert!(house.works(&fresh.secret));
    let kinds: Vec<String> = house.events("kill_switch.").await.iter().map(|event| text(&event["kind"])).collect();
    assert_eq!(kinds, ["kill_switch.engaged", "kill_switch.released"]);
}

#[tokio::test]
async fn rev_09_the_kill_switch_stops_a_mint_that_is_under_way_even_if_it_is_released_at_once() {
    for words in [&["engage"][..], &["engage", "release"]] {
        let house = Harness::start().await;
        let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
        let (token, body) = (house.agent("release-bot"), ask(READ));
        let kill = async {
            held_back.acted().await;
            for word in words {
                house.revoke(&json!({ "kill_switch": word })).await;
            }
            held_back.release();
        };
        let (reply, ()) = tokio::join!(house.post("/v1/tasks", &token, &body), kill);
        assert_eq!(reply.expect(503)["code"], "kill-switch-active", "{words:?}");
        house.settle().await;
        assert!(house.sandbox.honoured(house.broker.now()).is_empty());
        assert_eq!(house.leases().await[0]["state"], "ended");
        assert_eq!(house.sandbox.calls(SandboxCall::Activate), 0);
    }
}

#[tokio::test]
async fn rev_16_a_suspended_agent_is_refused_and_holds_nothing_until_it_is_resumed() {
    let mut house = Harness::start().await;
    let (sandbox, api) = (house.granted(READ).await, house.granted(API_READ).await);
    let reason = json!({ "reason": "it behaves oddly" });
    house.post("/v1/agents/release-bot/suspend", &house.approver(), &reason).await.expect(403);
    house.post("/v1/agents/release-bot/suspend", &house.operator(), &reason).await.expect(200);
    house.ended(&sandbox, "revoked").await;
    assert_eq!(house.introspect(&api.secret).await, json!({ "active": false }));
    for restart in [false, true] {
        if restart {
            house.restart().await;
        }
        let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(403);
        assert_eq!(problem["code"], "agent-suspended");
        assert_eq!(house.collect(&sandbox.task).await.expect(403)["code"], "agent-suspended");
    }
    house.post("/v1/tasks", &house.agent("triage-bot"), &ask(API_READ)).await.expect(201);
    house.post("/v1/agents/release-bot/resume", &house.operator(), &reason).await.expect(200);
    assert!(!house.works(&sandbox.secret));
    house.granted(READ).await;
    let kinds: Vec<String> = house.events("agent.").await.iter().map(|event| text(&event["kind"])).collect();
    assert_eq!(kinds, ["agent.suspended", "agent.resumed"]);
}

#[tokio::test]
async fn what_a_suspension_could_not_end_is_ended_soon_after() {
    let house = Harness::start().await;
    let (sandbox, api) = (house.granted(READ).await, house.granted(API_READ).await);
    let mut faults = StoreFault::behind(house.dir.path()).await;
    faults.raise(("task", "UPDATE", "NEW.state = 'closed'")).await;
    let reason = json!({ "reason": "it behaves oddly" });
    house.post("/v1/agents/release-bot/suspend", &house.operator(), &reason).await;
    faults.mend().await;
    assert!(house.works(&sandbox.secret), "only the suspension itself is on record");
    house.broker.look_again().await.unwrap();
    house.sweep().await;
    house.clock.advance_secs(11);
    house.sweep().await;
    house.ended(&sandbox, "revoked").await;
    assert_eq!(house.introspect(&api.secret).await, json!({ "active": false }));
}

#[tokio::test]
async fn to_suspend_twice_is_answered_and_changes_nothing() {
    let house = Harness::start().await;
    let reason = json!({ "reason": "it behaves oddly" });
    for word in ["suspend", "suspend", "resume", "resume"] {
        let view = house.post(&format!("/v1/agents/release-bot/{word}"), &house.operator(), &reason).await.expect(200);
        assert_eq!(view["suspended"].is_null(), word == "resume", "{word}");
    }
}

#[tokio::test]
async fn rev_03_after_a_restart_what_is_due_ends_from_rows_alone() {
    let mut house = Harness::start().await;
    let (sandbox, api) = (house.granted(READ).await, house.granted(API_READ).await);
    let waiting = house.waiting().await;
    house.restart().await;
    assert!(house.works(&sandbox.secret), "a restart by itself ends nothing");
    house.advance_secs(3600);
    house.restart().await;
    house.sweep().await;
    house.ended(&sandbox, "expired").await;
    house.ended(&api, "expired").await;
    for task in [&sandbox.task, &waiting.task] {
        assert_eq!(house.task(task).await["state"], "closed");
    }
    assert_ne!(house.request_state(&waiting.request).await, "pending");
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
}

#[tokio::test]
async fn many_leases_of_one_agent_end_in_one_revocation() {
    let house = Harness::start().await;
    let mut all = Vec::new();
    for _ in 0..25 {
        all.push(house.granted(READ).await);
    }
    let closure = house.revoke(&json!({ "agent": "release-bot" })).await;
    assert_eq!((&closure["closure"], &closure["total"]), (&json!("closed"), &json!(25)));
    assert!(all.iter().all(|held| !house.works(&held.secret)));
    house.waiting_with(&json!({ "scopes": [WRITE] })).await;
}

#[tokio::test]
async fn heartbeats_at_the_same_moment_are_all_heard() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["heartbeat_seconds"] = json!(60);
    let token = house.agent("release-bot");
    let held = Held::of(&house.post("/v1/tasks", &token, &body).await.expect(201));
    house.advance_secs(30);
    let (path, nothing) = (format!("/v1/tasks/{}/heartbeat", held.task), json!({}));
    let beats = (0..8).map(|_| house.post(&path, &token, &nothing));
    for reply in futures_util::future::join_all(beats).await {
        reply.expect(200);
    }
    house.advance_secs(59);
    house.sweep().await;
    assert!(house.works(&held.secret));
}

#[tokio::test]
async fn a_heartbeat_while_a_credential_is_minted_does_not_spoil_it() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["heartbeat_seconds"] = json!(60);
    body["task_ttl_seconds"] = json!(3600);
    let held = Held::of(&house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201));
    house.revoke(&json!({ "lease": held.lease })).await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let (token, path) = (house.agent("release-bot"), format!("/v1/tasks/{}/heartbeat", held.task));
    let beat = async {
        held_back.acted().await;
        house.advance_secs(1);
        house.post(&path, &token, &json!({})).await.expect(200);
        held_back.release();
    };
    let (reply, ()) = tokio::join!(house.collect(&held.task), beat);
    assert_eq!(reply.expect(200)["credentials"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn ending_a_task_many_times_at_once_ends_it_once() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let (token, nothing) = (house.agent("release-bot"), json!({}));
    let paths = [format!("/v1/tasks/{}/complete", held.task), format!("/v1/tasks/{}/cancel", held.task)];
    let calls = (0..10).map(|n| house.post(&paths[n % 2], &token, &nothing));
    for reply in futures_util::future::join_all(calls).await {
        reply.expect(200);
    }
    house.sweep().await;
    let kinds = house.kinds_of(&held.task).await;
    for kind in ["task.closed", "lease.ending", "lease.ended", "grant.ended"] {
        assert_eq!(kinds.iter().filter(|known| *known == kind).count(), 1, "{kinds:?}");
    }
    assert!(!house.works(&held.secret));
}

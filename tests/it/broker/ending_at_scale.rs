//! Endings that are many, that fail, or whose backend hangs: each is done once, none is dropped, and nobody else waits for them.

use std::collections::BTreeMap;
use std::time::Duration;

use hallpass::domain::{
    Actor, AuditEvent, Digest, EventKind, Facts, Handle, Lease, LeaseRecord, LeaseState, MintPlan, Name, ScopeSet,
    Subjects,
};
use hallpass::minter::{Fault, SandboxCall};
use hallpass::store::{LeaseFilter, Store};
use hallpass::sys::{Clock as _, Ids, SystemEntropy};
use serde_json::json;

use super::{Held, READ, text};
use crate::support::harness::{Harness, ask};

pub(super) fn name(backend: &str) -> Name {
    backend.parse().unwrap()
}

impl Harness {
    /// A way of its own to the broker's database.
    pub(super) async fn store(&self) -> Store {
        Store::open(&crate::support::database::settings(self.dir.path())).await.unwrap()
    }

    pub(super) fn ids(&self) -> Ids {
        Ids::new(self.clock.clone(), std::sync::Arc::new(SystemEntropy::default()))
    }

    /// Leases of a backend that live and are due after `secs`, written into the database as one change.
    pub(super) async fn fill(&self, backend: &str, count: usize, secs: i64) -> Vec<Lease> {
        let (ids, now) = (self.ids(), self.clock.now());
        let lease = |_| {
            let id = ids.lease();
            Lease::new(LeaseRecord {
                id,
                grant: ids.grant(),
                request: ids.request(),
                task: ids.task(),
                agent: "release-bot".parse().unwrap(),
                backend: name(backend),
                scopes: ScopeSet::new([format!("{backend}:notes:read").parse().unwrap()]).unwrap(),
                plan: Digest::from_bytes([5; 32]),
                handle: Handle::new(id.to_string()),
                intent_at: now,
                ends_at: now.plus_millis(secs * 1000),
                native_end: now.plus_millis(secs * 1000 + 600_000),
                fence: 1,
                state: LeaseState::Live { minted_at: now, fingerprint: "00".to_owned(), delivered_at: Some(now) },
            })
            .unwrap()
        };
        let leases: Vec<Lease> = (0..count).map(lease).collect();
        let store = self.store().await;
        let mut tx = store.begin("fill");
        for lease in &leases {
            tx.insert_lease(lease);
        }
        tx.commit(Facts::new(AuditEvent {
            id: ids.event(),
            at: now,
            kind: EventKind::CredentialMinted,
            actor: Actor::Broker,
            subjects: Subjects::default(),
            data: BTreeMap::new(),
        }))
        .await
        .unwrap();
        store.close().await;
        leases
    }

    /// Make something at a backend, under a lease's name.
    pub(super) async fn make_object(&self, backend: &str, lease: hallpass::domain::LeaseId) {
        let end = self.clock.now().plus_millis(3_600_000);
        let plan = MintPlan {
            backend: name(backend),
            digest: Digest::from_bytes([5; 32]),
            effect: String::new(),
            summary: Vec::new(),
            handle: Handle::new(lease.to_string()),
            ends_at: end,
            native_end: end,
            native: json!({ "scopes": [] }),
        };
        let minter = self.broker.minters().find(&name(backend)).unwrap();
        minter.mint(&plan).await.unwrap();
        minter.activate(&plan.handle).await.unwrap();
    }

    /// The leases of a backend by the words of their states.
    async fn states(&self, backend: &str) -> BTreeMap<String, usize> {
        let store = self.store().await;
        let filter = LeaseFilter { backend: Some(name(backend)), ..LeaseFilter::default() };
        let mut states = BTreeMap::new();
        for lease in store.list_leases(&filter, None, 1000).await.unwrap() {
            *states.entry(lease.state.as_str().to_owned()).or_default() += 1;
        }
        store.close().await;
        states
    }
}

fn same(_: &mut BTreeMap<String, String>) {}

#[tokio::test]
async fn rev_02_a_hundred_revocations_at_once_over_three_replicas_end_it_once() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let (second, third) = (house.replica_with(same).await, house.replica_with(same).await);
    let (token, body) = (house.operator(), json!({ "target": { "lease": held.lease }, "reason": "all at once" }));
    let replicas = [&house, &second, &third];
    let calls = (0..100).map(|n| replicas[n % 3].post("/v1/revocations", &token, &body));
    for reply in futures_util::future::join_all(calls).await {
        reply.expect(200);
    }
    house.sweep().await;
    assert!(!house.works(&held.secret));
    assert!(house.sandbox.calls(SandboxCall::Revoke) <= 2);
    let kinds = house.kinds_of(&held.task).await;
    for kind in ["lease.ending", "lease.ended"] {
        assert_eq!(kinds.iter().filter(|known| *known == kind).count(), 1, "{kind}");
    }
}

#[tokio::test]
async fn rev_03_a_broker_is_not_ready_before_what_fell_due_while_it_was_down_has_ended() {
    let mut house = Harness::start().await;
    let held = house.granted(READ).await;
    house.fill("other", 300, 60).await;
    house.advance_secs(900);
    house.restart().await;
    house.broker.begin_catch_up();
    let readiness = house.broker.readiness().await;
    assert!(!readiness.ready && readiness.details["endings_at_start"] != "ok");
    house.broker.catch_up().await;
    assert!(house.broker.readiness().await.ready);
    assert!(!house.works(&held.secret));
    assert_eq!(house.states("other").await, BTreeMap::from([("ended".to_owned(), 300)]));
}

#[tokio::test]
async fn rev_06_a_stranger_cannot_keep_a_task_alive() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["heartbeat_seconds"] = json!(60);
    let held = Held::of(&house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201));
    house.advance_secs(50);
    // To others there is no such task; a 403 would say that there is.
    let beat = format!("/v1/tasks/{}/heartbeat", held.task);
    house.post(&beat, &house.agent("triage-bot"), &json!({})).await.expect(404);
    house.advance_secs(11);
    house.sweep().await;
    assert!(!house.works(&held.secret));
}

#[tokio::test]
async fn rev_12_what_cannot_be_ended_is_shouted_about_tried_on_and_ended_when_its_backend_is_well() {
    let house = Harness::start().await;
    // The first bundle was looked at with nothing to end; what is filled in next has no task that it could ask about.
    house.sweep().await;
    let (stuck, other) = (house.granted(READ).await, house.fill("sandbox", 1, 80_000).await.remove(0));
    house.sandbox.fail_always(SandboxCall::Revoke, Fault::Refused);
    house.revoke(&json!({ "task": stuck.task })).await;
    for tried in 1..10_u64 {
        assert_eq!(house.sandbox.calls(SandboxCall::Revoke), tried);
        assert_eq!(house.lease(&stuck.lease).await["irrevocable"], false, "after {tried}");
        house.advance_secs(90);
        house.sweep().await;
    }
    let listed = house.get("/v1/leases?irrevocable=true", &house.operator()).await.expect(200);
    assert_eq!((&listed["items"][0]["id"], listed["items"].as_array().unwrap().len()), (&json!(stuck.lease), 1));
    assert_eq!(listed["items"][0]["irrevocable"], true);
    assert!(house.broker.readiness().await.details["endings"].contains("1 of them irrevocable"));
    assert!(house.broker.readiness().await.ready, "others still work");
    let alarms = |kinds: Vec<String>| kinds.iter().filter(|kind| *kind == "lease.irrevocable").count();
    assert_eq!(alarms(house.kinds_of(&stuck.task).await), 1);
    // Never dropped, and never more often than now and then.
    house.advance_secs(449);
    house.sweep().await;
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), 10);
    house.advance_secs(901);
    house.sweep().await;
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), 11);
    assert_eq!(alarms(house.kinds_of(&stuck.task).await), 1, "shouted once");
    // The first end that works says that the backend is well, and this one is tried at once.
    house.sandbox.mend();
    house.revoke(&json!({ "lease": other.id.to_string() })).await;
    house.sweep().await;
    assert_eq!(house.lease(&stuck.lease).await["state"], "ended");
    let listed = house.get("/v1/leases?irrevocable=true", &house.operator()).await.expect(200);
    assert_eq!(listed["items"], json!([]));
    assert_eq!(house.broker.readiness().await.details["endings"], "ok");
}

#[tokio::test]
async fn rev_13_a_backend_that_hangs_holds_up_no_other() {
    let house = Harness::start().await;
    house.fill("sandbox", 1000, 10).await;
    house.fill("other", 100, 20).await;
    house.sandbox.hang(&name("sandbox"));
    house.advance_secs(30);
    let broker = house.broker.clone();
    let hanging = tokio::spawn(async move { while broker.sweep_backend(&name("sandbox")).await.unwrap().more {} });
    let ended = async { while house.broker.sweep_backend(&name("other")).await.unwrap().done > 0 {} };
    tokio::time::timeout(Duration::from_secs(2), ended).await.expect("within two seconds");
    assert_eq!(house.states("other").await, BTreeMap::from([("ended".to_owned(), 100)]));
    let states = house.states("sandbox").await;
    assert!(!states.contains_key("ended") && states["live"] >= 900, "no more is taken than can be told: {states:?}");
    hanging.abort();
}

#[tokio::test]
async fn mints_of_a_backend_that_does_not_answer_are_refused_at_once_until_it_does() {
    let house = Harness::start().await;
    house.sandbox.fail_always(SandboxCall::Mint, Fault::Unavailable);
    for _ in 0..5 {
        let task = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(201);
        assert_eq!(task["credentials"], json!([]));
    }
    let leases = house.leases().await.len();
    let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(503);
    assert_eq!(problem["code"], "backend-unavailable");
    assert_eq!(house.sandbox.calls(SandboxCall::Mint), 5, "it was not asked");
    assert_eq!(house.leases().await.len(), leases, "nor was an intent recorded");
    assert_ne!(house.broker.readiness().await.details["backend:sandbox"], "ok");
    house.sandbox.mend();
    house.advance_secs(2);
    let held = house.granted(READ).await;
    assert!(house.works(&held.secret));
    assert_eq!(house.broker.readiness().await.details["backend:sandbox"], "ok");
}

#[tokio::test]
async fn rev_15_what_may_have_been_minted_is_ended_twice_the_second_time_when_no_call_can_land_any_more() {
    let house = Harness::start().await;
    house.sandbox.fail_next(SandboxCall::Mint, Fault::Unheard);
    house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(201);
    assert_eq!(house.sandbox.ever_minted().len(), 1);
    house.sweep().await;
    let lease = house.leases().await.remove(0);
    assert_eq!((&lease["state"], house.sandbox.calls(SandboxCall::Revoke)), (&json!("ending"), 1));
    assert!(lease["disabled_at"].is_string(), "{lease}");
    let task = text(&lease["task"]);
    house.advance_secs(14);
    house.sweep().await;
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), 1, "a call may land until then");
    house.advance_secs(1);
    house.sweep().await;
    assert_eq!((house.sandbox.calls(SandboxCall::Revoke), &house.leases().await[0]["state"]), (2, &json!("ended")));
    let kinds = house.kinds_of(&task).await;
    for kind in ["lease.disabled", "lease.ended"] {
        assert_eq!(kinds.iter().filter(|known| *known == kind).count(), 1, "{kinds:?}");
    }
}

#[tokio::test]
async fn what_landed_late_is_not_taken_for_dead() {
    let house = Harness::start().await;
    house.sandbox.fail_next(SandboxCall::Mint, Fault::Unheard);
    house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(201);
    house.sweep().await;
    house.sandbox.fail_next(SandboxCall::Revoke, Fault::Unavailable);
    house.advance_secs(15);
    house.sweep().await;
    let lease = house.leases().await.remove(0);
    assert!(lease["disabled_at"].is_null(), "what it was seen to be is not sure any more: {lease}");
    house.advance_secs(2);
    house.sweep().await;
    assert_eq!(house.leases().await[0]["state"], "ended", "and it is tried again soon");
}

#[tokio::test]
async fn a_dead_credential_is_dead_though_what_it_left_cannot_be_tidied_up() {
    let house = Harness::start().await;
    let lease = house.fill("untidy", 1, 60).await.remove(0);
    house.make_object("untidy", lease.id).await;
    house.sandbox.fail_always(SandboxCall::Cleanup, Fault::Refused);
    let closure = house.revoke(&json!({ "lease": lease.id.to_string() })).await;
    assert_eq!((&closure["closure"], &closure["leases"][0]["state"]), (&json!("closed"), &json!("ending")));
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    assert_eq!(house.sandbox.debris().len(), 1);
    for _ in 0..12 {
        house.advance_secs(5400);
        house.sweep().await;
    }
    let view = house.lease(&lease.id.to_string()).await;
    assert_eq!((&view["state"], &view["irrevocable"]), (&json!("ending"), &json!(false)), "debris is no alarm");
    assert_eq!(house.sandbox.calls(SandboxCall::Cleanup), 13);
    house.sandbox.mend();
    house.advance_secs(5400);
    house.sweep().await;
    assert_eq!(house.lease(&lease.id.to_string()).await["state"], "ended");
    assert!(house.sandbox.debris().is_empty());
}

#[tokio::test]
async fn ha_02_a_thousand_due_endings_are_done_once_each_by_three_workers() {
    let house = Harness::start().await;
    let leases = house.fill("other", 1000, 60).await;
    let (second, third) = (house.replica_with(same).await, house.replica_with(same).await);
    house.advance_secs(60);
    let work = [&house, &second, &third]
        .map(|replica| async { while replica.broker.sweep_backend(&name("other")).await.unwrap().done > 0 {} });
    futures_util::future::join_all(work).await;
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), 1000, "each once");
    let store = house.store().await;
    for chunk in leases.chunks(100) {
        let ids: Vec<_> = chunk.iter().map(|lease| lease.id).collect();
        for lease in store.find_leases(&ids).await.unwrap() {
            // Live, taken, ending, ended: nobody else wrote in between.
            assert_eq!((lease.fence, lease.state.as_str()), (4, "ended"));
        }
    }
}

#[tokio::test]
async fn clk_01_a_clock_that_jumps_ahead_ends_what_is_over() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    house.advance_secs(3600);
    house.sweep().await;
    assert!(!house.works(&held.secret));
    assert_eq!(house.lease(&held.lease).await["state"], "ended");
}

#[tokio::test]
async fn clk_02_a_clock_that_jumps_back_revives_nothing() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    house.revoke(&json!({ "lease": held.lease })).await;
    let events = house.events_of(&held.task).await.len();
    house.advance_secs(-3600);
    house.sweep().await;
    assert!(!house.works(&held.secret));
    assert_eq!(house.lease(&held.lease).await["state"], "ended");
    assert_eq!(house.events_of(&held.task).await.len(), events);
}

//! Between the fact and the agent: whoever crashes, hangs up or is not sure what it committed leaves no credential that nobody
//! answers for.

use std::pin::pin;
use std::task::Poll;

use hallpass::minter::{Fault, HeldAnswer, SandboxCall};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{API_READ, Held, READ, text};
use crate::support::database;
use crate::support::harness::{Harness, ask};

impl Harness {
    fn opening(&self, body: &Value) -> Request<axum::body::Body> {
        Request::post("/v1/tasks")
            .header("authorization", format!("Bearer {}", self.agent("release-bot")))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap()
    }

    /// Open a task and read its answer to the end; nothing records the delivery.
    async fn taken(&self, body: &Value) -> Held {
        let response = self.router().oneshot(self.opening(body)).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Held::of(&serde_json::from_slice(&bytes).unwrap())
    }

    /// Have the broker look at the keys of the issuers, so that it need not later.
    async fn whoami(&self) {
        self.get("/v1/whoami", &self.agent("release-bot")).await.expect(200);
    }

    async fn deliveries_of(&self, held: &Held) -> Vec<Value> {
        let events = self.events_of(&held.task).await;
        events.into_iter().filter(|event| event["kind"] == "credential.delivered").collect()
    }
}

fn heartbeat(scope: &str) -> Value {
    let mut body = ask(scope);
    body["heartbeat_seconds"] = json!(60);
    body["task_ttl_seconds"] = json!(3600);
    body
}

/// Another process on the same rows is what is left after a crash: it knows nothing that is not on record.
async fn survivor(house: &Harness) -> Harness {
    house.replica_with(|_| ()).await
}

#[tokio::test]
async fn crash_01_k7_what_nobody_was_seen_to_have_is_ended_after_half_a_minute() {
    for scope in [READ, API_READ] {
        let house = Harness::start().await;
        let held = house.taken(&ask(scope)).await;
        let survivor = survivor(&house).await;
        house.advance_secs(29);
        survivor.sweep().await;
        assert_eq!(survivor.lease(&held.lease).await["state"], "live", "{scope}");
        house.advance_secs(1);
        survivor.settle().await;
        let lease = survivor.lease(&held.lease).await;
        assert_eq!((&lease["state"], &lease["cause"]), (&json!("ended"), &json!("undelivered")), "{scope}");
        assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    }
}

#[tokio::test]
async fn crash_01_k8_k9_an_agent_that_is_heard_from_after_the_crash_has_its_credential() {
    for scope in [READ, API_READ] {
        let house = Harness::start().await;
        let held = house.taken(&heartbeat(scope)).await;
        let survivor = survivor(&house).await;
        house.advance_secs(10);
        let beat = format!("/v1/tasks/{}/heartbeat", held.task);
        for _ in 0..2 {
            survivor.post(&beat, &house.agent("release-bot"), &json!({})).await.expect(200);
        }
        house.advance_secs(45);
        survivor.sweep().await;
        assert_eq!(survivor.lease(&held.lease).await["state"], "live", "{scope}");
        let delivered = survivor.deliveries_of(&held).await;
        assert_eq!((delivered.len(), &delivered[0]["data"]["seen_by"]), (1, &json!("heartbeat")), "{scope}");
    }
}

#[tokio::test]
async fn a_heartbeat_does_not_speak_for_a_mint_that_may_still_be_under_way() {
    let house = Harness::start().await;
    let held = house.taken(&heartbeat(READ)).await;
    let survivor = survivor(&house).await;
    house.advance_secs(6);
    let beat = format!("/v1/tasks/{}/heartbeat", held.task);
    survivor.post(&beat, &house.agent("release-bot"), &json!({})).await.expect(200);
    assert!(survivor.deliveries_of(&held).await.is_empty());
    house.advance_secs(24);
    survivor.settle().await;
    assert_eq!(survivor.lease(&held.lease).await["cause"], "undelivered");
}

#[tokio::test]
async fn what_was_handed_over_and_could_not_be_recorded_is_recorded_by_the_sweep_and_not_ended() {
    let house = Harness::start().await;
    let held = house.taken(&ask(READ)).await;
    house.advance_secs(31);
    house.sweep().await;
    assert_eq!(house.lease(&held.lease).await["state"], "live");
    assert_eq!(house.deliveries_of(&held).await.len(), 1);
    house.broker.record_deliveries_now().await;
    assert_eq!(house.deliveries_of(&held).await.len(), 1);
}

#[tokio::test]
async fn a_broker_that_stops_records_what_it_handed_over() {
    let mut house = Harness::start().await;
    let held = house.taken(&ask(READ)).await;
    house.restart().await;
    house.advance_secs(31);
    house.sweep().await;
    assert_eq!(house.lease(&held.lease).await["state"], "live");
    assert_eq!(house.deliveries_of(&held).await.len(), 1);
}

#[tokio::test]
async fn a_task_that_is_done_as_soon_as_it_has_its_answer_ends_at_once() {
    let house = Harness::start().await;
    let held = house.taken(&ask(READ)).await;
    let path = format!("/v1/tasks/{}/complete", held.task);
    let request = Request::post(&path).header("authorization", format!("Bearer {}", house.agent("release-bot")));
    let response = house.router().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let closure: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(closure["closure"], "closed", "nothing of its mint is waited for: {closure}");
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), 1);
    house.broker.record_deliveries_now().await;
    assert_eq!(house.deliveries_of(&held).await.len(), 1, "and that it was delivered is on record all the same");
}

/// Poll a request so many times and no more; `None` when it was not answered by then, and is dropped.
async fn polled(
    times: usize,
    request: impl Future<Output = Response<axum::body::Body>>,
) -> Option<Response<axum::body::Body>> {
    let mut request = pin!(request);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        request.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn crash_02_a_client_that_goes_away_at_any_moment_leaves_nothing_that_works() {
    for scope in [READ, API_READ] {
        let house = Harness::start().await;
        let mut answered = 0;
        for times in 0..200 {
            let body = ask(scope);
            let response = polled(times, async { house.router().oneshot(house.opening(&body)).await.unwrap() }).await;
            // Whoever goes on without it, mint and end alike, needs no further look at the clock.
            let ends = house.leases().await;
            answered += usize::from(response.is_some());
            drop((response, ends));
            if answered == 3 {
                break;
            }
        }
        assert_eq!(answered, 3, "{scope}: it was dropped at each of its waits, and three times with its answer");
        // What goes on without its client needs its time, but no clock.
        for _ in 0..10_000 {
            if house.leases().await.iter().all(|lease| lease["state"] == "ended" || lease["state"] == "ending") {
                break;
            }
            tokio::task::yield_now().await;
        }
        house.settle().await;
        let leases = house.leases().await;
        assert!(leases.len() >= 3, "{scope}");
        for lease in &leases {
            assert_eq!((&lease["state"], &lease["cause"]), (&json!("ended"), &json!("undelivered")), "{scope}");
        }
        assert!(house.sandbox.honoured(house.broker.now()).is_empty());
        // I1: whatever the backend ever made has a lease; I3: no secret counts as delivered.
        if scope == READ {
            assert!(house.sandbox.ever_minted().len() <= leases.len());
        }
        assert!(house.events("credential.delivered").await.is_empty());
    }
}

/// Holds the one lock for writing on a SQLite file, so that whatever is committed waits.
pub(super) struct Lock(sqlx::AnyConnection);

impl Lock {
    pub(super) async fn take(house: &Harness) -> Self {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite:{}", house.dir.path().join("hallpass.db").display());
        let mut behind = sqlx::AnyConnection::connect(&url).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut behind).await.unwrap();
        Self(behind)
    }

    pub(super) async fn let_go(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
    }
}

/// Give every other task its turn, until all of them wait for something.
pub(super) async fn let_others_work() {
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_delivery_that_is_being_recorded_when_the_broker_stops_is_recorded_once() {
    if database::is_postgres() {
        return;
    }
    let house = Harness::start().await;
    let held = house.taken(&ask(READ)).await;
    let lock = Lock::take(&house).await;
    let (broker, stopping) = (house.broker.clone(), CancellationToken::new());
    let stop = stopping.clone();
    let recording = tokio::spawn(async move { broker.record_deliveries_until(stop.cancelled()).await });
    // It waits for its commit by then.
    let_others_work().await;
    stopping.cancel();
    let_others_work().await;
    lock.let_go().await;
    recording.await.unwrap();
    house.broker.record_deliveries_now().await;
    assert_eq!(house.deliveries_of(&held).await.len(), 1);
}

/// Whoever waits for the outcome of a commit now waits no longer, and does not know it.
async fn lose_patience() {
    let_others_work().await;
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(31)).await;
    tokio::time::resume();
}

/// Once the backend has made the credential, nobody hears of so many commits, one after the other.
async fn lose_the_fact(house: &Harness, mut minted: HeldAnswer, commits: usize) -> Lock {
    minted.acted().await;
    let lock = Lock::take(house).await;
    minted.release();
    for _ in 0..commits {
        lose_patience().await;
    }
    lock
}

#[tokio::test]
async fn crash_01_k1_an_intent_that_nobody_knows_of_is_not_acted_on_though_it_lands_later() {
    if database::is_postgres() {
        return;
    }
    for scope in [READ, API_READ] {
        let house = Harness::start().await;
        house.whoami().await;
        let (body, token) = (ask(scope), house.agent("release-bot"));
        let open = || house.call("POST", "/v1/tasks", &token, Some(&body), &[("idempotency-key", "k")]);
        let lock = Lock::take(&house).await;
        let (reply, ()) = tokio::join!(open(), lose_patience());
        assert_eq!(reply.expect(503)["code"], "storage-unavailable", "{scope}");
        lock.let_go().await;
        assert_eq!(house.sandbox.calls(SandboxCall::Mint), 0, "{scope}");
        // It did land. The same question again finds it, and mints nothing more.
        let again = open().await.expect(201);
        assert_eq!((&again["credentials"], house.leases().await.len()), (&json!([]), 1), "{scope}");
        house.settle().await;
        let lease = house.leases().await.remove(0);
        assert_eq!(lease["state"], "ended", "{scope}");
        assert!(house.sandbox.ever_minted().is_empty());
        assert_eq!(house.collect(&text(&lease["task"])).await.expect(200)["credentials"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn crash_01_k6_a_fact_that_nobody_knows_of_is_read_back_and_delivered_if_it_is_there() {
    if database::is_postgres() {
        return;
    }
    let house = Harness::start().await;
    let held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let (token, body) = (house.agent("release-bot"), ask(READ));
    // Its opposite waits behind it then, and will find that it landed.
    let meanwhile = async { lose_the_fact(&house, held_back, 1).await.let_go().await };
    let (reply, ()) = tokio::join!(house.post("/v1/tasks", &token, &body), meanwhile);
    let held = Held::of(&reply.expect(201));
    assert!(house.works(&held.secret));
    house.settle().await;
    assert_eq!(house.lease(&held.lease).await["state"], "live");
}

#[tokio::test]
async fn crash_01_k6_a_fact_that_nobody_can_learn_of_is_delivered_by_nobody_and_ended_by_the_sweep() {
    if database::is_postgres() {
        return;
    }
    let house = Harness::start().await;
    let held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let (token, body) = (house.agent("release-bot"), ask(READ));
    // Neither of the fact is heard, nor of its opposite, nor of what is tried after.
    let meanwhile = lose_the_fact(&house, held_back, 4);
    let (reply, lock) = tokio::join!(house.post("/v1/tasks", &token, &body), meanwhile);
    assert_eq!(reply.expect(503)["code"], "storage-unavailable");
    lock.let_go().await;
    assert_eq!(house.sandbox.calls(SandboxCall::Activate), 0);
    house.settle().await;
    assert_eq!(house.leases().await[0]["state"], "ended");
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    assert!(house.events("credential.delivered").await.is_empty());
}

#[tokio::test]
async fn what_a_revocation_could_not_end_because_it_was_being_let_work_is_ended_after() {
    let house = Harness::start().await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Activate);
    for _ in 0..4 {
        house.sandbox.fail_next(SandboxCall::Revoke, Fault::Unavailable);
    }
    let (token, body) = (house.agent("release-bot"), ask(READ));
    let end = async {
        held_back.acted().await;
        let task = text(&house.leases().await[0]["task"]);
        house.revoke(&json!({ "task": task })).await;
        held_back.release();
    };
    let (reply, ()) = tokio::join!(house.post("/v1/tasks", &token, &body), end);
    assert_eq!(reply.expect(409)["code"], "task-closed");
    assert_eq!(house.sandbox.calls(SandboxCall::Revoke), 4, "by the revocation, and three times by the mint");
    assert!(!house.sandbox.honoured(house.broker.now()).is_empty());
    house.settle().await;
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    assert_eq!(house.leases().await[0]["state"], "ended");
}

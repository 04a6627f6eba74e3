//! What a database does to its replicas: it crashes, cuts connections, has none left, or one of the replicas stands still in
//! the middle of its work.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::load::Load;
use super::{ASK, PATIENCE, Replicas, for_a_while, text, until};
use crate::support::loopback::Wire;
use crate::support::postgres::{Server, shared};

#[tokio::test]
async fn ha_01_a_database_that_crashes_costs_seconds_and_nothing_that_was_answered() {
    let server = Arc::new(Server::start());
    let replicas = Replicas::start(&server, "ha_01", 3).await;
    let load = Load::start(&replicas);
    load.goes_on(40).await;
    let crashed = Arc::clone(&server);
    tokio::task::spawn_blocking(move || {
        crashed.crash();
        crashed.resume();
    })
    .await
    .unwrap();
    for number in 0..3 {
        until(Duration::from_secs(10), "it grants again", async || {
            replicas.open(number, ASK).await.is_some_and(|(status, _)| status == 201)
        })
        .await;
    }
    load.goes_on(40).await;
    let seen = load.stop().await;
    assert!(seen.longest_gap() <= Duration::from_secs(10), "{:?}", seen.longest_gap());
    assert!(seen.unavailable > 0, "nobody noticed");
    assert_eq!((seen.cut, seen.refused), (0, 0), "whoever asks is answered");
    seen.is_all_there(&server, "ha_01");
}

#[tokio::test]
async fn connections_that_are_cut_cost_a_moment_and_nothing_that_was_answered() {
    let server = shared();
    let replicas = Replicas::start(server, "terminate", 2).await;
    let load = Load::start(&replicas);
    for _ in 0..4 {
        load.goes_on(20).await;
        let cut = tokio::task::spawn_blocking(|| {
            let all = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
            shared().query("terminate", all)
        });
        assert!(cut.await.unwrap().trim().parse::<u32>().unwrap() >= 2, "each has at least the one that writes");
    }
    load.goes_on(20).await;
    let seen = load.stop().await;
    assert!(seen.longest_gap() <= Duration::from_secs(5), "{:?}", seen.longest_gap());
    assert_eq!((seen.cut, seen.refused), (0, 0), "whoever asks is answered");
    seen.is_all_there(server, "terminate");
}

#[tokio::test]
async fn a_database_without_free_connections_is_named_at_the_start() {
    let server = shared();
    let url = server.url("narrow");
    server.query("narrow", "create role narrow login connection limit 1; grant all on schema public to narrow");
    let mut replicas = Replicas::on(url.replace("hallpass@", "narrow@"), 1);
    replicas.spawn(0);
    let status = replicas.ended(0).await;
    assert_eq!(status.code(), Some(1));
    let log = replicas.stage.log();
    assert!(log.contains("opening the store") && log.contains("each replica needs 7 of them"), "{log}");
    server.query("narrow", "alter role narrow connection limit 20");
    replicas.spawn(0);
    replicas.ready(0).await;
}

#[tokio::test]
async fn ha_03_a_replica_that_stands_still_delays_the_others_briefly_and_delivers_nothing_twice() {
    let server = shared();
    let replicas = Replicas::start(server, "ha_03", 3).await;
    let load = Load::start(&replicas);
    load.goes_on(40).await;
    replicas.signal(0, Signal::STOP);
    // A question with a key to the one that stands still, then the same to another.
    let body = ASK;
    let ask = format!(
        "POST /v1/tasks HTTP/1.1\r\nhost: h\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         idempotency-key: ha-03\r\ncontent-length: {}\r\n\r\n{body}",
        replicas.stage.agent("bench-3"),
        body.len()
    );
    let mut still = Wire::connect(replicas.addresses[0]).await.unwrap();
    let early = tokio::time::timeout(Duration::from_secs(3), still.send(ask.as_bytes())).await;
    assert!(early.is_err(), "it stands still");
    let (status, answer) = replicas.send(1, ask.as_bytes()).await.unwrap();
    assert_eq!(status, 201);
    replicas.signal(0, Signal::CONT);
    for_a_while(1500).await;
    let (_, late) = replicas.send(0, ask.as_bytes()).await.unwrap();
    assert_eq!(late["id"], answer["id"]);
    let count = |answer: &serde_json::Value| answer["credentials"].as_array().unwrap().len();
    assert_eq!((count(&answer), count(&late)), (1, 0), "one key, one delivery");
    until(PATIENCE, "it grants again", async || replicas.open(0, ASK).await.is_some_and(|(status, _)| status == 201))
        .await;
    let seen = load.stop().await;
    // The database ends the turn of whoever holds it and does nothing.
    assert!(seen.longest_gap() <= Duration::from_secs(4), "{:?}", seen.longest_gap());
    assert_eq!((seen.cut, seen.refused), (0, 0), "whoever asks is answered");
    seen.is_all_there(server, "ha_03");
    let twice = "select count(*) from (select lease_id from event where kind = 'credential.minted'
        group by lease_id having count(*) > 1) as twice";
    assert_eq!(server.query("ha_03", twice).trim(), "0");
}

#[tokio::test]
async fn ha_07_what_one_replica_ends_is_ended_at_those_that_do_not_listen() {
    let server = shared();
    let mut replicas = Replicas::prepare(server, "ha_07", 2);
    for name in replicas.names.clone() {
        replicas.stage.configure(&name, "migrate = true\n", "migrate = true\nlisten = false\n");
    }
    replicas.spawn_all().await;
    let listening = "select count(*) from pg_stat_activity where query like 'LISTEN%' and datname = current_database()";
    assert_eq!(server.query("ha_07", listening).trim(), "0");
    let (status, held) = replicas.open(0, ASK).await.unwrap();
    assert_eq!(status, 201);
    let token = text(&held["credentials"][0]["values"]["access_token"]);
    assert!(replicas.is_active(1, &token).await);
    let target = format!(r#"{{"task":{}}}"#, held["id"]);
    assert_eq!(replicas.revoke(0, &target).await.unwrap().0, 200);
    assert!(!replicas.is_active(1, &token).await, "at once");
    assert_eq!(replicas.revoke(0, r#"{"kill_switch":"engage"}"#).await.unwrap().0, 200);
    // Nobody asks it to mint, so only its own look tells it.
    until(Duration::from_secs(5), "it knows of the kill switch", async || {
        replicas.get(1, "/readyz").await.is_some_and(|(_, view)| view["parts"]["kill_switch"] == "failing")
    })
    .await;
    assert_eq!(replicas.open(1, ASK).await.unwrap().1["code"], "kill-switch-active");
}

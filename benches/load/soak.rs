//! A steady rate for a long time: 200 tasks a second over 32 connections, each with an identity token of its own, half of them
//! completed by their agent. Nothing may fail, nobody may wait long, and memory may not grow with what is over (LOAD-01).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::loopback::{Wire, request};
use super::process::Stage;
use super::{ASK, Fleet, Options, agent, at};

const CLIENTS: usize = 32;
const TASKS_PER_SECOND: u32 = 200;

/// Print what a soak came to.
///
/// # Panics
/// When an answer is not the one that was asked for.
pub(crate) async fn load_01_a_steady_rate_for_ten_minutes(stage: &Rc<Stage>, fleet: &Fleet, options: &Options) {
    let (start, time) = (Instant::now(), Duration::from_secs(options.seconds));
    let before = fleet.resident_kib();
    // From when a task was due, so that a stall is seen by all who would have asked meanwhile.
    let waits = Rc::new(RefCell::new(Vec::new()));
    let every = Duration::from_secs(1) * CLIENTS as u32 / TASKS_PER_SECOND;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let address = fleet.addresses[number % fleet.addresses.len()];
            let (stage, waits) = (Rc::clone(stage), Rc::clone(&waits));
            tokio::task::spawn_local(async move {
                let mut wire = Wire::connect(address).await.unwrap();
                let mut due = start + every * number as u32 / CLIENTS as u32;
                let mut count = 0_u32;
                while due.duration_since(start) < time {
                    tokio::time::sleep_until(due.into()).await;
                    let authorization = stage.agent(&agent(number));
                    let ask = request("POST", "/v1/tasks", &authorization, "application/json", ASK);
                    let answer = wire.send(&ask).await.expect("an answer");
                    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(answer.body));
                    waits.borrow_mut().push(due.elapsed().as_micros() as u32);
                    let task = answer.json()["id"].as_str().unwrap().to_owned();
                    count += 1;
                    if count.is_multiple_of(2) {
                        let path = format!("/v1/tasks/{task}/complete");
                        let done = request("POST", &path, &stage.agent(&agent(number)), "application/json", "{}");
                        let answer = wire.send(&done).await.expect("an answer");
                        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
                    }
                    due += every;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    stage.ready().await;
    let mut waits = waits.take();
    waits.sort_unstable();
    println!(
        "s  soak               {} tasks in {:.0} s ({:.0}/s), 0 errors, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; {:.0} MB resident at \
         first, {:.0} MB at last",
        waits.len(),
        start.elapsed().as_secs_f64(),
        waits.len() as f64 / start.elapsed().as_secs_f64(),
        at(&waits, 0.5),
        at(&waits, 0.99),
        at(&waits, 1.0),
        before as f64 / 1024.0,
        fleet.resident_kib() as f64 / 1024.0
    );
}

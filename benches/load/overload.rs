//! Ten times the clients: how fast those are refused who are too many, how much is still done for the others, and how long the kill
//! switch takes meanwhile.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::loopback::{Wire, request};
use super::process::Stage;
use super::{ASK, Fleet, Options, agent, at};

/// How many times the clients of the other phases.
const TIMES: usize = 10;
/// How long a client that was refused stays away; a patient one, who does as `Retry-After` says, for ten times as long.
const PAUSE: Duration = Duration::from_millis(100);

/// What clients saw.
#[derive(Default)]
struct Seen {
    answered_us: Vec<u32>,
    refused_us: Vec<u32>,
}

/// Print what an overload comes to, beside the peak of the usual number of clients in the same run.
pub(crate) async fn report(stage: &Stage, fleet: &Fleet, options: &Options) {
    let time = Duration::from_secs(options.seconds);
    let peak = drive(stage, fleet, options.connections, time, None).await;
    let peak_rate = peak.0.answered_us.len() as f64 / time.as_secs_f64();
    let operator = stage.operator();
    let (mut seen, switch_ms) = drive(stage, fleet, options.connections * TIMES, time, Some(operator)).await;
    let rate = seen.answered_us.len() as f64 / time.as_secs_f64();
    seen.answered_us.sort_unstable();
    seen.refused_us.sort_unstable();
    println!(
        "o  overload           {} clients: {rate:.0} tasks/s ({:.0} % of {peak_rate:.0} with {}), p50 {:.1} ms, p99 {:.1} ms; {:.0} \
         refusals/s, p50 {:.1} ms, p99 {:.1} ms; kill switch thrown after {switch_ms:.0} ms",
        options.connections * TIMES,
        100.0 * rate / peak_rate,
        options.connections,
        at(&seen.answered_us, 0.5),
        at(&seen.answered_us, 0.99),
        seen.refused_us.len() as f64 / time.as_secs_f64(),
        at(&seen.refused_us, 0.5),
        at(&seen.refused_us, 0.99),
    );
}

/// So many clients for so long; if somebody may, the kill switch is thrown at the end, while all still ask.
async fn drive(stage: &Stage, fleet: &Fleet, clients: usize, time: Duration, operator: Option<String>) -> (Seen, f64) {
    let (start, stop) = (Instant::now(), Rc::new(Cell::new(false)));
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            let address = fleet.addresses[number % fleet.addresses.len()];
            let bytes = request("POST", "/v1/tasks", &stage.agent(&agent(number)), "application/json", ASK);
            let stop = Rc::clone(&stop);
            tokio::task::spawn_local(async move {
                let mut seen = Seen::default();
                let mut wire = Wire::connect(address).await.unwrap();
                while !stop.get() {
                    let before = Instant::now();
                    let status = wire.send(&bytes).await.expect("an answer").status;
                    let took = before.elapsed().as_micros() as u32;
                    if start.elapsed() > time {
                        continue;
                    }
                    match status {
                        201 => seen.answered_us.push(took),
                        503 => {
                            seen.refused_us.push(took);
                            tokio::time::sleep(PAUSE).await;
                        }
                        other => panic!("{other}"),
                    }
                }
                seen
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    let mut switch_ms = 0.0;
    if let Some(operator) = operator {
        let throw = |word: &str| {
            let ask = format!(r#"{{"target":{{"kill_switch":"{word}"}},"reason":"overload"}}"#);
            request("POST", "/v1/revocations", &operator, "application/json", &ask)
        };
        let mut wire = Wire::connect(stage.address).await.unwrap();
        let before = Instant::now();
        let status = wire.send(&throw("engage")).await.unwrap().status;
        switch_ms = before.elapsed().as_secs_f64() * 1000.0;
        assert_eq!(status, 200);
        assert_eq!(wire.send(&throw("release")).await.unwrap().status, 200);
    }
    stop.set(true);
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await.unwrap();
        all.answered_us.extend(seen.answered_us);
        all.refused_us.extend(seen.refused_us);
    }
    (all, switch_ms)
}

//! Clients that ask as fast as answers come and write down every answer, and everything that was not one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{ASK, PATIENCE, Replicas};
use crate::support::loopback::{Wire, request};
use crate::support::postgres::Server;

/// Clients at a time.
const CLIENTS: usize = 12;
/// Wait before asking another replica.
const PAUSE: Duration = Duration::from_millis(20);

/// What clients saw.
#[derive(Default)]
pub(super) struct Seen {
    /// The leases they were told of, and when.
    told: Vec<(String, Instant)>,
    /// Connections that nobody took.
    pub(super) refused: usize,
    /// Answers that said to come again.
    pub(super) unavailable: usize,
    /// Requests without an answer.
    pub(super) cut: usize,
    /// Everything else.
    pub(super) wrong: Vec<String>,
}

/// Clients at work.
pub(super) struct Load {
    stop: CancellationToken,
    clients: Vec<tokio::task::JoinHandle<Seen>>,
    answers: Arc<AtomicUsize>,
    began: Instant,
}

impl Load {
    pub(super) fn start(replicas: &Replicas) -> Self {
        let (stop, answers) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let clients = (0..CLIENTS)
            .map(|number| {
                let agent = replicas.stage.agent(&format!("bench-{}", number % 4));
                let ask = request("POST", "/v1/tasks", &agent, "application/json", ASK);
                tokio::spawn(client(number, replicas.addresses.clone(), ask, stop.clone(), Arc::clone(&answers)))
            })
            .collect();
        Self { stop, clients, answers, began: Instant::now() }
    }

    /// Wait until there are so many more answers.
    pub(super) async fn goes_on(&self, more: usize) {
        let wanted = self.answers.load(Ordering::Relaxed) + more;
        super::until(PATIENCE, "clients are answered", async || self.answers.load(Ordering::Relaxed) >= wanted).await;
    }

    pub(super) async fn stop(self) -> Seen {
        let ended = Instant::now();
        self.stop.cancel();
        let mut all = Seen::default();
        for client in self.clients {
            let one = tokio::time::timeout(PATIENCE, client).await.expect("clients stop").unwrap();
            all.told.extend(one.told);
            all.refused += one.refused;
            all.unavailable += one.unavailable;
            all.cut += one.cut;
            all.wrong.extend(one.wrong);
        }
        all.told.push((String::new(), self.began));
        all.told.push((String::new(), ended));
        all.told.sort_by_key(|(_, at)| *at);
        assert!(all.wrong.is_empty(), "{:?}", &all.wrong[..all.wrong.len().min(5)]);
        all
    }
}

impl Seen {
    /// The longest time in which nobody was answered.
    pub(super) fn longest_gap(&self) -> Duration {
        self.told.windows(2).map(|two| two[1].1 - two[0].1).max().unwrap_or_default()
    }

    /// Whatever was told is in the database, each lease once.
    pub(super) fn is_all_there(&self, server: &Server, purpose: &str) {
        let rows = server.query(purpose, "select id from lease");
        let rows: BTreeSet<&str> = rows.lines().collect();
        let told = self.told.iter().map(|(lease, _)| lease.as_str()).filter(|lease| !lease.is_empty());
        let mut once = BTreeSet::new();
        for lease in told {
            assert!(rows.contains(lease), "the lease {lease} is lost");
            assert!(once.insert(lease), "the lease {lease} was told twice");
        }
        assert!(once.len() > 20, "only {} answers prove nothing", once.len());
    }
}

async fn client(
    number: usize,
    addresses: Vec<SocketAddr>,
    ask: Vec<u8>,
    stop: CancellationToken,
    answers: Arc<AtomicUsize>,
) -> Seen {
    let mut seen = Seen::default();
    let mut turn = number;
    let mut wire = None;
    while !stop.is_cancelled() {
        let Some(open) = wire.as_mut() else {
            if let Ok(new) = Wire::connect(addresses[turn % addresses.len()]).await {
                wire = Some(new);
            } else {
                seen.refused += 1;
                turn += 1;
                let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
            }
            continue;
        };
        let stays = match tokio::time::timeout(PATIENCE, Wire::send(open, &ask)).await {
            Ok(Ok(answer)) => {
                match answer.status {
                    201 => {
                        seen.told.push((super::text(&answer.json()["credentials"][0]["id"]), Instant::now()));
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    503 => seen.unavailable += 1,
                    other => seen.wrong.push(format!("{other} {}", String::from_utf8_lossy(answer.body))),
                }
                answer.status == 201 && !answer.last
            }
            Ok(Err(_)) => {
                seen.cut += 1;
                false
            }
            Err(_) => {
                seen.wrong.push("no answer at all".to_owned());
                false
            }
        };
        if !stays {
            wire = None;
            turn += 1;
            let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
        }
    }
    seen
}

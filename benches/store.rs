//! Measures the store where it is hot: 64 tasks that each commit lists of a task with one credential (1 task, request,
//! decision of 1.2 KB, grant, lease, and 7 events of some 350 bytes), with full durability.
//!
//! `cargo bench --bench store -- [seconds] [concurrency] [folder]`. The rate depends on who else uses the machine; the CPU
//! time of the whole process for each list does not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program, not the broker")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    reason = "figures for people, from every noun of the domain at once"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hallpass::domain::*;
use hallpass::store::{Store, StoreSettings};
use hallpass::sys::{Clock, Ids, SystemClock, SystemEntropy, sha256};

/// One list, as a broker would write it.
fn list(store: &Store, ids: &Ids, now: Timestamp, agent: &AgentId) -> (hallpass::store::Tx, Facts) {
    let ttl = |secs| Ttl::from_secs(secs).unwrap();
    let scopes = ScopeSet::new(["db:orders:read(path=eu/west)".parse().unwrap()]).unwrap();
    let backend: Name = "db".parse().unwrap();
    let (digest, grant_id) = (sha256("plan"), ids.grant());
    let task = Task::new(TaskRecord {
        id: ids.task(),
        agent: agent.clone(),
        identity: "https://token.actions.example#repo:acme/app:ref:refs/heads/main".to_owned(),
        purpose: "Rotate the orders table and report on rows that do not match the ledger".parse().unwrap(),
        kind: Some("maintenance".parse().unwrap()),
        beneficiary: None,
        references: BTreeMap::from([("ticket".to_owned(), "OPS-1234".to_owned())]),
        message: None,
        ceiling: Ceiling::new(vec!["db:orders:read".parse().unwrap()]),
        opened_at: now,
        ends_at: now.plus(ttl(3600)),
        heartbeat: None,
        heard_at: None,
        state: TaskState::Open,
    })
    .unwrap();
    let request = AccessRequest::new(AccessRequestRecord {
        id: ids.request(),
        task: task.id,
        agent: agent.clone(),
        backend: backend.clone(),
        scopes: scopes.clone(),
        ttl: ttl(900),
        confirmation_key: None,
        digest,
        plan: digest,
        effect: "{\"audience\":\"https://orders.example\",\"claims\":{\"role\":\"reader\"}}".to_owned(),
        decision: ids.decision(),
        asked_at: now,
        settled_at: Some(now),
        state: RequestState::Granted { grant: grant_id },
    })
    .unwrap();
    let decision = Decision {
        id: request.decision,
        outcome: Outcome::Permit(Terms::of(ttl(900))),
        determining: vec![PolicyRef { id: "readers".to_owned(), reason: "readers may read".to_owned() }],
        bundle: digest,
        input: format!("{{\"context\":{{\"{}\":\"{}\"}}}}", "k".repeat(180), "\\\"v\\\"".repeat(160)),
        at: now,
    };
    let grant = Grant::new(GrantRecord {
        id: grant_id,
        request: request.id,
        task: task.id,
        agent: agent.clone(),
        backend: backend.clone(),
        scopes: scopes.clone(),
        plan: digest,
        ttl: ttl(900),
        given_at: now,
        until: now.plus(ttl(3600)),
        approved: None,
        state: GrantState::Live,
    })
    .unwrap();
    let lease = Lease::new(LeaseRecord {
        id: ids.lease(),
        grant: grant_id,
        request: request.id,
        task: task.id,
        agent: agent.clone(),
        backend,
        scopes,
        plan: digest,
        handle: Handle::new("jti-0123456789"),
        intent_at: now,
        ends_at: now.plus(ttl(900)),
        native_end: now.plus(ttl(900)),
        fence: 1,
        state: LeaseState::Live { minted_at: now, fingerprint: "0123456789abcdef".to_owned(), delivered_at: None },
    })
    .unwrap();
    let mut tx = store.begin("bench");
    tx.expect_control(&hallpass::store::Control {
        kill_epoch: 0,
        killed: false,
        bundle: None,
        agents_epoch: 0,
        ..Default::default()
    });
    tx.limit_usage(agent, u32::MAX, u32::MAX);
    tx.insert_task(&task);
    tx.insert_request(&request);
    tx.insert_decision(&decision, Some(request.id), Some(task.id), agent);
    tx.insert_grant(&grant);
    tx.insert_lease(&lease);
    let event = |kind, with_lease| AuditEvent {
        id: ids.event(),
        at: now,
        kind,
        actor: Actor::Agent(agent.clone()),
        subjects: Subjects {
            agent: Some(agent.clone()),
            task: Some(task.id),
            request: Some(request.id),
            decision: None,
            grant: None,
            lease: if with_lease { Some(lease.id) } else { None },
        },
        data: BTreeMap::from([("scopes", Datum::List(vec!["db:orders:read(path=eu/west)".to_owned()]))]),
    };
    let mut facts = Facts::new(event(EventKind::IdentityVerified, false));
    facts.extend([
        event(EventKind::TaskOpened, false),
        event(EventKind::AccessRequested, false),
        event(EventKind::PolicyDecided, false),
        event(EventKind::AccessGranted, false),
        event(EventKind::CredentialMinting, true),
        event(EventKind::CredentialMinted, true),
    ]);
    (tx, facts)
}

/// CPU milliseconds of this process (user and system), and its resident kilobytes.
fn usage() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields.get(at).unwrap().parse::<u64>().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    ((ticks(11) + ticks(12)) * 10, line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

async fn run(store: &Store, concurrency: u64, seconds: i64) -> (u64, i64, Vec<i64>) {
    let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
    let done = Arc::new(AtomicU64::new(0));
    let start = SystemClock.now();
    let end = start.plus_millis(seconds * 1000);
    let workers = (0..concurrency).map(|worker| {
        let (store, ids, done) = (store.clone(), ids.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let agent: AgentId = format!("agent-{}", worker % 16).parse().unwrap();
            let mut waits = Vec::new();
            while SystemClock.now() < end {
                let before = SystemClock.now();
                let (tx, facts) = list(&store, &ids, before, &agent);
                tx.commit(facts).await.unwrap();
                waits.push(SystemClock.now().millis_since(before));
                done.fetch_add(1, Ordering::Relaxed);
            }
            waits
        })
    });
    let mut waits = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        waits.extend(worker.await.unwrap());
    }
    waits.sort_unstable();
    (done.load(Ordering::Relaxed), SystemClock.now().millis_since(start), waits)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |at: usize, default: i64| args.get(at).map_or(default, |text| text.parse().unwrap());
    let (seconds, concurrency) = (number(0, 10), number(1, 64));
    let temporary = tempfile::tempdir().unwrap();
    let folder = args.get(2).map_or_else(|| temporary.path().to_owned(), std::path::PathBuf::from);
    let store =
        Store::open(&StoreSettings::new(format!("sqlite:{}", folder.join("bench.db").display()))).await.unwrap();
    let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
    let agent: AgentId = "agent-0".parse().unwrap();
    let (before, _) = usage();
    for _ in 0..20_000 {
        drop(std::hint::black_box(list(&store, &ids, SystemClock.now(), &agent)));
    }
    let making = (usage().0 - before) as f64 * 1000.0 / 20_000.0;
    run(&store, concurrency.unsigned_abs(), 1).await;
    let (before, _) = usage();
    let (lists, millis, waits) = run(&store, concurrency.unsigned_abs(), seconds).await;
    let (after, peak) = usage();
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(0);
    let cpu = (after - before) as f64 * 1000.0 / lists as f64;
    let rate = lists as f64 * 1000.0 / millis as f64;
    println!("{lists} lists in {millis} ms with {concurrency} at once: {rate:.0} lists/s");
    println!("CPU {cpu:.1} µs a list, of which {making:.1} µs make it; p50 {} ms, p99 {} ms", at(0.5), at(0.99));
    println!("peak resident {} MB", peak / 1024);
    store.close().await;
}

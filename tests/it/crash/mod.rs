//! The failure matrix, as it happens: the real broker dies at each kill point of a story, starts again, and is looked at from
//! outside. What was answered is on record, what is on record ends, and nothing is honoured that nobody answers for.
//!
//! A debug build only: a release build has no kill points. `KILLPOINT=mint.after_fact cargo test --test it crash::` runs one.

mod drive;
mod full_disk;
mod held;
mod kept;
mod points;

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use hallpass::sys::killpoint::KillPoint;

use crate::support::database;
use drive::{Case, Minter};

/// Cases at a time: each is a broker of its own that mostly waits, on PostgreSQL most of all.
fn at_a_time() -> usize {
    if database::is_postgres() { 16 } else { 6 }
}

/// Run some cases, several at a time; every failure is reported.
async fn run(cases: Vec<Case>) -> BTreeSet<&'static str> {
    let outcomes = futures_util::stream::iter(cases)
        .map(|case| {
            let name = case.name();
            async move { (name, tokio::spawn(case.run()).await) }
        })
        .buffer_unordered(at_a_time())
        .collect::<Vec<_>>()
        .await;
    let mut hit = BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(Ok(point)) => drop(hit.insert(point)),
            Ok(Err(why)) => wrong.push(format!("{name}: {why}")),
            Err(panicked) => wrong.push(format!("{name}: {panicked}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    hit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_01_crash_09_the_broker_dies_at_every_kill_point_and_the_matrix_holds() {
    #[expect(clippy::disallowed_methods, reason = "which point to look at is for whoever runs the test to say")]
    let only = std::env::var("KILLPOINT").ok();
    let mut cases = Vec::new();
    for minter in [Minter::Offline, Minter::Outside] {
        for point in KillPoint::ALL.iter().filter(|point| minter.passes(**point)) {
            cases.push(Case::new(*point, 1, minter));
        }
        // The same two points at other moments of the story: at its start, around the intent, the fact and the ends.
        for hit in [3, 4, 5, 6, 8] {
            cases.push(Case::new(KillPoint::StoreBeforeCommit, hit, minter));
            cases.push(Case::new(KillPoint::StoreAfterCommit, hit, minter));
        }
    }
    cases.retain(|case| only.as_ref().is_none_or(|only| case.point.as_str() == only));
    let hit = run(cases).await;
    if only.is_none() {
        let here =
            KillPoint::ALL.iter().filter(|point| [Minter::Offline, Minter::Outside].iter().any(|m| m.passes(**point)));
        let all: BTreeSet<&str> = here.map(|point| point.as_str()).collect();
        let never: Vec<_> = all.difference(&hit).collect();
        assert!(never.is_empty(), "no scenario reaches {never:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sto_08_a_migration_that_dies_half_way_is_done_by_the_next_start() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
    let count = u64::try_from(std::fs::read_dir(folder).unwrap().count()).unwrap();
    assert!(count >= 7);
    let cases = (1..=count).map(|hit| Case::new(KillPoint::MigrateStatement, hit, Minter::Offline));
    run(cases.collect()).await;
}

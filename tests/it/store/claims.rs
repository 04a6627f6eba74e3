//! Due leases: found backend by backend, taken by one at a time, and never written by whoever had them before.

use std::collections::BTreeSet;

use hallpass::domain::*;
use hallpass::store::{Claim, StoreError};

use super::fixture::{Fixture, START, agent, ttl};

const HOUR: i64 = 3_600_000;

fn claim(owner: &str, now: Timestamp, limit: u32) -> Claim {
    Claim { backend: "db".parse().unwrap(), now, owner: owner.to_owned(), until: now.plus_millis(30_000), limit }
}

#[tokio::test]
async fn a_claim_takes_the_longest_due_raises_their_fence_and_leaves_the_rest() {
    let f = Fixture::new().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        let story = f.story(&agent("builder"));
        f.write(&story).await;
        all.push(story.lease);
    }
    let due = all[0].due_at().unwrap();
    assert!(f.store.claim_due_leases(claim("one", due.plus_millis(-1), 10)).await.unwrap().is_empty());
    let first = f.store.claim_due_leases(claim("one", due, 3)).await.unwrap();
    let second = f.store.claim_due_leases(claim("two", due, 10)).await.unwrap();
    assert_eq!((first.len(), second.len()), (3, 2));
    let ids: BTreeSet<LeaseId> = first.iter().chain(&second).map(|lease| lease.id).collect();
    assert_eq!(ids, all.iter().map(|lease| lease.id).collect());
    for lease in first.iter().chain(&second) {
        assert_eq!((lease.fence, &lease.state), (2, &LeaseState::Minting));
    }
    // Not due again before the claim runs out; then somebody else may have them, and a write with the old fence is no write.
    assert!(f.store.claim_due_leases(claim("two", due.plus_millis(29_999), 10)).await.unwrap().is_empty());
    assert_eq!(f.store.claim_due_leases(claim("two", due.plus_millis(30_000), 10)).await.unwrap().len(), 5);
    let mut stale = f.store.begin("stale");
    stale.update_lease(&first[0], &first[0].clone().end(EndCause::Aborted, due).unwrap());
    assert!(matches!(stale.commit(f.fact()).await, Err(StoreError::Conflict { table: "lease" })));
}

#[tokio::test]
async fn ha_02_three_who_claim_at_once_share_the_work_and_do_none_twice() {
    let f = Fixture::new().await;
    for _ in 0..100 {
        f.write(&f.story(&agent("builder"))).await;
    }
    let now = START.plus_millis(HOUR);
    let stores = [f.store.clone(), f.open_again().await, f.open_again().await];
    let workers = stores.iter().enumerate().map(|(at, store)| async move {
        let mut mine = Vec::new();
        loop {
            let some = store.claim_due_leases(claim(&at.to_string(), now, 7)).await.unwrap();
            if some.is_empty() {
                return mine;
            }
            mine.extend(some.into_iter().map(|lease| lease.id));
        }
    });
    let all: Vec<LeaseId> = futures_util::future::join_all(workers).await.into_iter().flatten().collect();
    assert_eq!(all.len(), 100);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 100, "each once");
}

#[tokio::test]
async fn what_could_not_be_ended_is_counted_found_and_hastened_when_its_backend_is_well() {
    let f = Fixture::new().await;
    let (failing, waiting) = (f.story(&agent("builder")), f.story(&agent("builder")));
    for story in [&failing, &waiting] {
        f.write(story).await;
    }
    let mut lease = failing.lease.clone().end(EndCause::Revoked, START).unwrap();
    f.step(&failing.lease, &lease).await;
    for tries in 1..=10_u64 {
        let next = lease.clone().try_again(None, 1000, START).unwrap();
        f.step(&lease, &next).await;
        lease = next;
        let found = f.store.overdue_endings().await.unwrap();
        assert_eq!((found.overdue, found.irrevocable), (u64::from(tries >= 3), u64::from(tries >= 10)));
        assert_eq!(found.oldest, (tries >= 3).then_some(START));
    }
    assert!(lease.is_irrevocable());
    let filter = hallpass::store::LeaseFilter { irrevocable: true, ..Default::default() };
    assert_eq!(f.store.list_leases(&filter, None, 10).await.unwrap(), [lease.clone()]);
    let soon = START.plus_millis(1);
    assert!(f.store.list_due_backends(soon).await.unwrap().is_empty());
    assert_eq!(f.store.hasten_endings(&"db".parse().unwrap(), soon).await.unwrap(), 1);
    let claimed = f.store.claim_due_leases(claim("one", soon, 10)).await.unwrap();
    assert_eq!(claimed.iter().map(|lease| lease.id).collect::<Vec<_>>(), [lease.id]);
    assert_eq!(f.store.hasten_endings(&"db".parse().unwrap(), soon).await.unwrap(), 0, "somebody is at work on it");
    // One that ends by itself at a stated time is no failure.
    let ending = waiting.lease.clone().end(EndCause::Revoked, START).unwrap();
    f.step(&waiting.lease, &ending).await;
    let stated = ending.clone().try_again(Some(START.plus(ttl(900))), 1000, START).unwrap();
    f.step(&ending, &stated).await;
    assert_eq!(f.store.hasten_endings(&"db".parse().unwrap(), soon).await.unwrap(), 0);
    assert_eq!(f.store.find_leases(&[lease.id, f.ids.lease(), stated.id]).await.unwrap().len(), 2);
}

//! What is on record of a delivery: the lease's own mark, which takes nothing from whoever ends it, and the credentials that are
//! kept sealed.

use hallpass::domain::{EndCause, LeaseState};
use hallpass::store::{Claim, IdempotencyRecord, KeptSecret, SealedDelivery, StoreError};

use super::fixture::*;

#[tokio::test]
async fn a_delivery_marks_a_live_lease_of_its_fence_and_no_other() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let deliver = |fence| {
        let mut tx = f.store.begin("deliver");
        tx.deliver_lease(story.lease.id, fence, START);
        tx.commit(f.fact())
    };
    deliver(story.lease.fence).await.unwrap();
    let row = f.store.find_lease(story.lease.id).await.unwrap().unwrap();
    assert_eq!(row, story.lease, "one that is still minting is delivered to nobody");

    let live = story.lease.clone().minted("f".to_owned(), START).unwrap();
    let mut tx = f.store.begin("mint");
    tx.update_lease(&story.lease, &live);
    tx.commit(f.fact()).await.unwrap();
    deliver(story.lease.fence).await.unwrap();
    assert!(f.store.find_lease(live.id).await.unwrap().unwrap().is_undelivered(), "an old fence");
    for _ in 0..2 {
        deliver(live.fence).await.unwrap();
        let row = f.store.find_lease(live.id).await.unwrap().unwrap();
        assert_eq!(row, live.clone().delivered(START).unwrap());
    }
    let now = START.plus(ttl(31));
    let claim = Claim {
        backend: live.backend.clone(),
        now,
        owner: "one".to_owned(),
        until: now.plus_millis(30_000),
        limit: 10,
    };
    assert!(f.store.claim_due_leases(claim).await.unwrap().is_empty(), "it is due at its end now");

    // Whoever read it before it was delivered still ends it, and of both at the same moment the end stands.
    let ending = live.clone().end(EndCause::Completed, START).unwrap();
    let mut tx = f.store.begin("end");
    tx.deliver_lease(live.id, live.fence, START);
    tx.update_lease(&live, &ending);
    tx.commit(f.fact()).await.unwrap();
    let row = f.store.find_lease(live.id).await.unwrap().unwrap();
    assert!(matches!(row.state, LeaseState::Ending { .. }), "{row:?}");
}

#[tokio::test]
async fn a_sealed_credential_is_kept_until_its_lease_ends() {
    let f = Fixture::new().await;
    let (one, other) = (f.story(&agent("builder")), f.story(&agent("reader")));
    for story in [&one, &other] {
        f.write(story).await;
        let delivery = SealedDelivery {
            lease: story.lease.id,
            task: story.lease.task,
            sealed: "{\"sealed\":\"e30.\\u0041\"}".to_owned(),
            keep_until: START.plus(ttl(60)),
        };
        let keep = || {
            let mut tx = f.store.begin("keep");
            tx.insert_sealed_delivery(&delivery);
            tx.commit(f.fact())
        };
        keep().await.unwrap();
        assert!(matches!(keep().await, Err(StoreError::Conflict { table: "sealed_delivery" })));
        assert_eq!(f.store.list_sealed_deliveries(story.lease.task).await.unwrap(), [delivery]);
    }
    assert_eq!(f.store.forget_sealed_deliveries(10).await.unwrap(), 0);
    let mut tx = f.store.begin("end");
    tx.update_lease(&one.lease, &one.lease.clone().end(EndCause::Completed, START).unwrap());
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.forget_sealed_deliveries(10).await.unwrap(), 1);
    assert!(f.store.list_sealed_deliveries(one.lease.task).await.unwrap().is_empty());
    assert_eq!(f.store.forget(START.plus(ttl(59))).await.unwrap(), 0);
    assert_eq!(f.store.forget(START.plus(ttl(60))).await.unwrap(), 1);
    assert!(f.store.list_sealed_deliveries(other.lease.task).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_is_remembered_by_itself_once() {
    let f = Fixture::new().await;
    let record = IdempotencyRecord {
        owner: "operator:ann".to_owned(),
        key: "k".to_owned(),
        request: digest("body"),
        subject: "kill_switch".to_owned(),
        at: START,
        keep_until: START.plus(ttl(60)),
    };
    f.store.remember_idempotency(&record).await.unwrap();
    let again = f.store.remember_idempotency(&record).await;
    assert!(matches!(again, Err(StoreError::Conflict { table: "idempotency" })));
    assert_eq!(f.store.find_idempotency("operator:ann", "k").await.unwrap(), Some(record));
}

#[tokio::test]
async fn what_ends_a_credential_is_kept_once_until_it_is_deleted_or_of_no_use() {
    let f = Fixture::new().await;
    let (one, other) = (f.story(&agent("builder")), f.story(&agent("reader")));
    for story in [&one, &other] {
        f.write(story).await;
        let kept = KeptSecret { lease: story.lease.id, sealed: "c2VhbGVk".to_owned(), keep_until: START.plus(ttl(60)) };
        let keep = || {
            let mut tx = f.store.begin("keep");
            tx.insert_kept_secret(&kept);
            tx.commit(f.fact())
        };
        keep().await.unwrap();
        assert!(matches!(keep().await, Err(StoreError::Conflict { table: "kept_secret" })));
        assert_eq!(f.store.find_kept_secret(story.lease.id).await.unwrap(), Some(kept));
    }
    for _ in 0..2 {
        let mut tx = f.store.begin("end");
        tx.delete_kept_secret(one.lease.id);
        tx.commit(f.fact()).await.unwrap();
    }
    assert_eq!(f.store.find_kept_secret(one.lease.id).await.unwrap(), None);
    assert_eq!(f.store.forget(START.plus(ttl(59))).await.unwrap(), 0);
    assert!(f.store.find_kept_secret(other.lease.id).await.unwrap().is_some());
    assert_eq!(f.store.forget(START.plus(ttl(60))).await.unwrap(), 1);
    assert_eq!(f.store.find_kept_secret(other.lease.id).await.unwrap(), None);
}

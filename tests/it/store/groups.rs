//! What a group promises: only the loser loses, limits and the control row hold, and events stay.

use hallpass::domain::*;
use hallpass::store::{EventFilter, StoreError, TaskFilter};
use sqlx::{Executor as _, Row as _};

use super::fixture::*;

#[tokio::test]
async fn of_64_lists_of_a_group_only_the_two_that_conflict_fail() {
    let f = Fixture::new().await;
    let used = |n: usize| {
        let mut tx = f.store.begin("use");
        // 10 and 50 use the token that 3 uses.
        let key = if n == 10 || n == 50 { 3 } else { n };
        tx.insert_token_seen(digest(&key.to_string()), START, START);
        tx.insert_task(&f.task(&agent("builder")));
        tx.commit(f.fact())
    };
    let waiting: Vec<_> = (0..64).map(used).collect();
    let answers = futures_util::future::join_all(waiting).await;
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(()) => assert!(n != 10 && n != 50),
            Err(error) => {
                assert!(n == 10 || n == 50, "{n}: {error}");
                assert!(matches!(error, StoreError::Conflict { table: "token_seen" }));
            }
        }
    }
    assert_eq!(f.store.list_events(&EventFilter::default(), 0, 100).await.unwrap().len(), 62);
    assert_eq!(f.store.list_tasks(&TaskFilter::default(), None, 100).await.unwrap().len(), 62);
}

#[tokio::test]
async fn of_two_writers_of_one_lease_one_wins() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let live = story.lease.clone().minted("ab".to_owned(), START).unwrap();
    let ending = story.lease.clone().end(EndCause::Revoked, START).unwrap();
    let step = |after: &Lease| {
        let mut tx = f.store.begin("step");
        tx.update_lease(&story.lease, after);
        tx.commit(f.fact())
    };
    let (one, two) = (step(&live), step(&ending));
    one.await.unwrap();
    assert!(matches!(two.await, Err(StoreError::Conflict { table: "lease" })));
    assert_eq!(f.store.find_lease(live.id).await.unwrap(), Some(live));
}

#[tokio::test]
async fn a_changed_control_row_stops_who_expected_another() {
    let f = Fixture::new().await;
    let seen = f.store.control().await.unwrap();
    let mint = || {
        let mut tx = f.store.begin("mint");
        tx.expect_control(&seen);
        tx.insert_task(&f.task(&agent("builder")));
        tx.commit(f.fact())
    };
    mint().await.unwrap();
    let mut killed = seen.clone();
    (killed.kill_epoch, killed.killed) = (1, true);
    let mut tx = f.store.begin("kill");
    tx.set_control(&seen, &killed);
    // The three are in one go of the committer: the switch is thrown between the mints.
    let (before, kill, after) = (mint(), tx.commit(f.fact()), mint());
    before.await.unwrap();
    kill.await.unwrap();
    assert!(matches!(after.await, Err(StoreError::ControlChanged(present)) if present == killed));
    let mut tx = f.store.begin("suspend");
    tx.suspend_agent(&agent("builder"), "ann", "odd", START);
    tx.commit(f.fact()).await.unwrap();
    let mut tx = f.store.begin("mint");
    tx.expect_control(&killed);
    assert!(matches!(tx.commit(f.fact()).await, Err(StoreError::ControlChanged(now)) if now.agents_epoch == 1));
}

#[tokio::test]
async fn nothing_is_closed_while_a_lease_that_its_closer_did_not_see_lives() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    let mut tx = f.store.begin("mint");
    tx.insert_task(&story.task);
    tx.insert_lease(&story.lease);
    tx.commit(f.fact()).await.unwrap();
    let closed = story.task.clone().close(EndCause::Revoked, START).unwrap();
    for grant in [None, Some(story.lease.grant)] {
        let close = |lease: Option<&Lease>| {
            let mut tx = f.store.begin("close");
            tx.check_none_lives(story.task.id, grant);
            if let Some(lease) = lease {
                tx.update_lease(lease, &lease.clone().end(EndCause::Revoked, START).unwrap());
                tx.update_task(&story.task, &closed);
            }
            tx.commit(f.fact())
        };
        assert!(matches!(close(None).await, Err(StoreError::Conflict { table: "lease" })));
        if grant.is_some() {
            close(Some(&story.lease)).await.unwrap();
            close(None).await.unwrap();
        }
    }
    // A lease of another grant is no obstacle to the end of one grant.
    let other = f.lease(&story.grant);
    let mut tx = f.store.begin("mint");
    tx.insert_lease(&other);
    tx.commit(f.fact()).await.unwrap();
    let mut tx = f.store.begin("end of another grant");
    tx.check_none_lives(story.task.id, Some(f.story(&agent("builder")).grant.id));
    tx.commit(f.fact()).await.unwrap();
}

#[tokio::test]
async fn limits_hold_within_one_group_and_giving_up_is_always_possible() {
    let f = Fixture::new().await;
    let hold = |_| {
        let story = f.story(&agent("builder"));
        let mut tx = f.store.begin("hold");
        tx.insert_lease(&story.lease);
        tx.limit_usage(&agent("builder"), 3, 1);
        (story.lease, tx.commit(f.fact()))
    };
    let mut held = Vec::new();
    let mut refused = 0;
    for (lease, answer) in (0..8).map(hold).collect::<Vec<_>>() {
        match answer.await {
            Ok(()) => held.push(lease),
            Err(error) => {
                assert!(matches!(error, StoreError::LimitReached("live_leases")));
                refused += 1;
            }
        }
    }
    assert_eq!((held.len(), refused), (3, 5));
    let ending = held[0].clone().end(EndCause::Completed, START).unwrap();
    let mut tx = f.store.begin("give up");
    tx.update_lease(&held[0], &ending);
    tx.limit_usage(&agent("builder"), 0, 0);
    tx.commit(f.fact()).await.unwrap();
    hold(0).1.await.unwrap();

    let task = f.task(&agent("builder"));
    let ask = || {
        let request = f.pending(&task);
        let mut tx = f.store.begin("ask");
        tx.insert_request(&request);
        tx.limit_usage(&agent("builder"), 3, 1);
        (request, tx.commit(f.fact()))
    };
    let (request, answer) = ask();
    answer.await.unwrap();
    assert!(matches!(ask().1.await, Err(StoreError::LimitReached("pending_requests"))));
    let mut tx = f.store.begin("withdraw");
    tx.update_request(&request, &request.clone().withdraw(START).unwrap());
    tx.commit(f.fact()).await.unwrap();
    ask().1.await.unwrap();
}

#[tokio::test]
async fn a_count_never_falls_below_zero() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let mut back = f.behind_our_back().await;
    back.execute("UPDATE agent_usage SET live_leases = 0").await.unwrap();
    let mut tx = f.store.begin("end");
    tx.update_lease(&story.lease, &story.lease.clone().end(EndCause::Completed, START).unwrap());
    tx.commit(f.fact()).await.unwrap();
    let row = back.fetch_one("SELECT live_leases FROM agent_usage").await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 0);
}

#[tokio::test]
async fn an_event_is_never_changed_and_never_removed() {
    let f = Fixture::new().await;
    f.store.begin("say").commit(f.fact()).await.unwrap();
    let mut back = f.behind_our_back().await;
    for sql in ["UPDATE event SET body = '{}'", "DELETE FROM event", "UPDATE event SET seq = 7"] {
        let error = back.execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("audit events are never"), "{error}");
    }
    assert_eq!(f.store.list_events(&EventFilter::default(), 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_dropped_answer_does_not_undo_the_change() {
    let f = Fixture::new().await;
    let task = f.task(&agent("builder"));
    let mut tx = f.store.begin("open");
    tx.insert_task(&task);
    drop(tx.commit(f.fact()));
    // Behind it in the queue, so written after it.
    f.store.probe_write().await.unwrap();
    assert_eq!(f.store.find_task(task.id).await.unwrap(), Some(task));
}

#[tokio::test]
async fn a_row_changed_behind_our_back_is_named_by_table_and_column() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let mut back = f.behind_our_back().await;
    for (sql, named) in [
        ("UPDATE lease SET scopes = '[]'", "lease.scopes"),
        ("UPDATE lease SET scopes = '[\"db:orders:read\"]', state = 'asleep'", "lease.state"),
        ("UPDATE lease SET state = 'live'", "lease.minted_at"),
        ("UPDATE lease SET state = 'minting', plan = 'sha256:1'", "lease.plan"),
    ] {
        back.execute(sql).await.unwrap();
        let error = f.store.find_lease(story.lease.id).await.unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt(why) if why.contains(named)), "{error}");
    }
    back.execute("UPDATE access_grant SET until_at = 0").await.unwrap();
    let error = f.store.find_grant(story.grant.id).await.unwrap_err().to_string();
    assert!(error.contains("access_grant") && error.contains("it ends before it begins"), "{error}");
}

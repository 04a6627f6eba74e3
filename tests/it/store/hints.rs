//! What replicas tell each other with a commit, and the clock they share: where the store is a file there is neither.

use std::time::Duration;

use hallpass::store::Hint;

use super::fixture::{Fixture, START, agent};
use crate::support::database::is_postgres;

/// Longest wait for what was said.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_commit_tells_other_replicas_what_they_may_wait_for_and_nothing_else() {
    let f = Fixture::new().await;
    let Some(mut hints) = f.store.hints() else {
        assert!(!is_postgres());
        return;
    };
    let mut next = async || tokio::time::timeout(SOON, hints.next_hint()).await.expect("a hint");
    assert_eq!(next().await, Hint { anything: true, ..Hint::default() }, "nobody listened before");
    let story = f.story(&agent("builder"));
    // A task that got all it asked for is waited for by nobody.
    f.write(&story).await;
    let task = f.task(&agent("builder"));
    let request = f.pending(&task);
    let mut tx = f.store.begin("ask");
    tx.insert_task(&task);
    tx.insert_request(&request);
    tx.commit(f.fact()).await.unwrap();
    let mut tx = f.store.begin("withdraw");
    tx.update_request(&request, &request.clone().withdraw(START).unwrap());
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(next().await, Hint { tasks: vec![task.id], ..Hint::default() });
    // A change that was refused is not told.
    let mut tx = f.store.begin("withdraw");
    tx.update_request(&request, &request.clone().withdraw(START).unwrap());
    tx.commit(f.fact()).await.unwrap_err();
    let before = f.store.control().await.unwrap();
    let mut tx = f.store.begin("kill");
    let mut killed = before.clone();
    (killed.kill_epoch, killed.killed) = (before.kill_epoch + 1, true);
    tx.set_control(&before, &killed);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(next().await, Hint { control: true, ..Hint::default() });
    let mut tx = f.store.begin("suspend");
    tx.suspend_agent(&agent("builder"), "ann", "odd", START);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(next().await, Hint { control: true, ..Hint::default() });
}

#[tokio::test]
async fn too_much_to_say_is_said_as_anything() {
    let f = Fixture::new().await;
    let Some(mut hints) = f.store.hints() else { return };
    let mut next = async || tokio::time::timeout(SOON, hints.next_hint()).await.expect("a hint");
    assert!(next().await.anything);
    let task = f.task(&agent("builder"));
    let requests: Vec<_> = (0..300).map(|_| f.pending(&task)).collect();
    let mut tx = f.store.begin("ask");
    tx.insert_task(&task);
    for request in &requests {
        tx.insert_request(request);
    }
    tx.commit(f.fact()).await.unwrap();
    let mut tx = f.store.begin("withdraw");
    for request in &requests {
        tx.update_request(request, &request.clone().withdraw(START).unwrap());
    }
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(next().await, Hint { anything: true, ..Hint::default() });
}

#[tokio::test]
async fn a_listener_that_was_cut_off_listens_again_and_says_that_anything_may_have_changed() {
    let f = Fixture::new().await;
    let Some(mut hints) = f.store.hints() else { return };
    let mut next = async || tokio::time::timeout(SOON, hints.next_hint()).await.expect("a hint");
    assert!(next().await.anything);
    let mut back = f.behind_our_back().await;
    let cut = "SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_stat_activity
        WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    assert_eq!(sqlx::query(cut).fetch_all(&mut back).await.unwrap().len(), 1);
    assert!(next().await.anything);
}

#[tokio::test]
async fn ha_08_a_database_server_tells_the_time() {
    let f = Fixture::new().await;
    let (before, told) =
        (hallpass::sys::Clock::now(&hallpass::sys::SystemClock), f.store.database_time().await.unwrap());
    assert_eq!(told.is_some(), is_postgres());
    if let Some(told) = told {
        assert!((told.as_millis() - before.as_millis()).abs() < 5_000, "{told} {before}");
    }
}

//! Figures for people who look, counted on both databases.

use hallpass::store::TaskFilter;

use super::fixture::*;

#[tokio::test]
async fn figures_count_what_is_there() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let (task, long_ago) = (&story.task, START.plus_millis(-1000));
    assert_eq!(f.store.count_waiting(None).await.unwrap().newer, f.store.count_waiting(None).await.unwrap().all);
    assert_eq!(f.store.count_waiting(Some(f.ids.request())).await.unwrap().newer, 0);
    let decided = f.store.count_decisions(long_ago).await.unwrap();
    assert_eq!(decided.iter().map(|one| one.count).sum::<i64>(), 1);
    assert_eq!(decided[0].determining, story.decision.determining);
    let policy = &story.decision.determining[0].id;
    assert_eq!(
        f.store.list_decisions_by_policy(policy, long_ago, 10).await.unwrap(),
        std::slice::from_ref(&story.decision)
    );
    assert_eq!(f.store.list_decisions_by_policy("%", long_ago, 10).await.unwrap(), []);
    let later = START.plus(ttl(3600));
    assert_eq!(f.store.count_decisions(later).await.unwrap(), []);
    let minted = f.store.count_minted(&task.agent, long_ago).await.unwrap();
    assert_eq!((minted.len(), minted[0].count, &minted[0].scopes), (1, 1, &story.lease.scopes));
    assert_eq!(f.store.count_minted(&agent("other"), long_ago).await.unwrap(), []);
    assert!(f.store.count_granted(&task.agent, long_ago).await.unwrap().len() <= 1);
    let (open, closed) = (
        TaskFilter { open: Some(true), ..TaskFilter::default() },
        TaskFilter { open: Some(false), ..TaskFilter::default() },
    );
    let listed = f.store.list_newest_tasks(&open, None, 10).await.unwrap();
    assert_eq!((listed.len(), listed.first()), (1, Some(task)));
    assert_eq!(f.store.list_newest_tasks(&open, Some(task.id), 10).await.unwrap(), []);
    assert_eq!(f.store.list_newest_tasks(&closed, None, 10).await.unwrap(), []);
}

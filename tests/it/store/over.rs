//! What is over and not yet at its native end, as revocation lists are made from it.

use hallpass::domain::*;
use hallpass::store::OverRow;

use super::fixture::*;

#[tokio::test]
async fn what_is_over_is_listed_until_its_native_end_and_page_by_page() {
    let f = Fixture::new().await;
    let (mut over, mut causes) = (Vec::new(), std::collections::HashMap::new());
    for cause in [EndCause::Revoked, EndCause::Completed, EndCause::Expired] {
        let story = f.story(&agent("builder"));
        f.write(&story).await;
        let ending = story.lease.clone().end(cause, START).unwrap();
        let mut tx = f.store.begin("end");
        tx.update_lease(&story.lease, &ending);
        tx.commit(f.fact()).await.unwrap();
        causes.insert(ending.id, cause);
        over.push(ending);
    }
    let ended = over[0].clone().ended("gone".to_owned(), START).unwrap();
    let mut tx = f.store.begin("ended");
    tx.update_lease(&over[0], &ended);
    tx.commit(f.fact()).await.unwrap();
    f.write(&f.story(&agent("reader"))).await;
    over.sort_by_key(|lease| (lease.native_end, lease.id));
    let (backend, native_end) = (&over[0].backend, over[0].native_end);
    let list = async |after, limit| f.store.list_ended_before_native_end(backend, after, limit).await.unwrap();
    let all = list((native_end.plus_millis(-1), None), 10).await;
    let row = |(lease, cause): (&Lease, EndCause)| OverRow {
        lease: lease.id,
        handle: lease.handle.clone(),
        native_end: lease.native_end,
        since: START,
        cause,
    };
    let causes = over.iter().map(|lease| causes[&lease.id]);
    assert_eq!(
        all,
        over.iter().zip(causes).map(row).collect::<Vec<_>>(),
        "neither what lives nor what another backend has"
    );
    assert_eq!(list((native_end.plus_millis(-1), None), 2).await, all[..2]);
    assert_eq!(list((native_end, Some(all[1].lease)), 2).await, all[2..]);
    assert_eq!(list((native_end, None), 10).await, [], "its own end has passed");
    let other = "elsewhere".parse().unwrap();
    assert_eq!(f.store.list_ended_before_native_end(&other, (START, None), 10).await.unwrap(), []);
}

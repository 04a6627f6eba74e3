//! Whether a database is the one that was relied on: a standby in the place of the server, with everything in it or not. The
//! rest of it is tried through the broker, in `broker/restore.rs`.

use hallpass::store::{Control, History, Lineage, Store, StoreError, StoreSettings};

use super::fixture::*;
use crate::support::postgres::Server;

/// A store on a server, the standby that has a copy of everything up to now, and what the store says once it took over.
async fn fail_over(loses_something: bool) -> (Fixture, Server, Server, History) {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let url = server.url(&folder.path().display().to_string());
    let f = Fixture::on(folder, url).await;
    f.store.begin("say").commit(f.fact()).await.unwrap();
    assert_eq!(f.store.look_at_history().await.unwrap().1, History::Whole);
    f.store.begin("say").commit(f.fact()).await.unwrap();
    let standby = server.standby();
    if loses_something {
        f.store.begin("say").commit(f.fact()).await.unwrap();
    }
    server.crash();
    standby.resume();
    let error = Store::open(&StoreSettings::new(f.url())).await.err().unwrap().to_string();
    assert!(error.contains("read-only"), "a standby is refused: {error}");
    standby.promote();
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(50));
    let history = loop {
        tries.tick().await;
        if let Ok((_, history)) = f.store.look_at_history().await {
            break history;
        }
    };
    (f, server, standby, history)
}

/// Say where it is now, as the broker does.
async fn accept(f: &Fixture, place: &str) -> Result<(), StoreError> {
    let before = f.store.lineage().await.unwrap();
    let control = f.store.control().await.unwrap();
    let mut tx = f.store.begin("accept");
    tx.set_lineage(&before, &Lineage { place: place.to_owned(), ..before.clone() });
    tx.set_control(&control, &Control { restore_epoch: control.restore_epoch + 1, ..control.clone() });
    tx.commit(f.fact()).await?;
    f.store.accept_history().await
}

#[tokio::test]
async fn a_promoted_standby_with_everything_in_it_goes_on_in_a_new_epoch() {
    let (f, _server, _standby, history) = fail_over(false).await;
    let History::Promoted { place } = history else { panic!("{history:?}") };
    let seen = f.store.control().await.unwrap();
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(50));
    let refused = loop {
        tries.tick().await;
        let refused = f.store.begin("say").commit(f.fact()).await.unwrap_err();
        if refused.to_string().contains("was restored, copied or replaced") {
            break refused;
        }
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "nothing else is written before");
    accept(&f, &place).await.unwrap();
    f.store.begin("say").commit(f.fact()).await.unwrap();
    assert_eq!(f.store.look_at_history().await.unwrap().1, History::Whole);
    let mut tx = f.store.begin("mint");
    tx.expect_control(&seen);
    let late = tx.commit(f.fact()).await;
    assert!(matches!(late, Err(StoreError::ControlChanged(now)) if now.restore_epoch == 1), "of the epoch before");
}

#[tokio::test]
async fn a_promoted_standby_that_lacks_what_was_answered_is_not_trusted() {
    let (f, _server, _standby, history) = fail_over(true).await;
    let History::Broken { place, .. } = history else { panic!("{history:?}") };
    // Whoever starts on it anew cannot know that it lacks nothing.
    let store = Store::open(&StoreSettings::new(f.url())).await.unwrap();
    assert!(matches!(store.look_at_history().await.unwrap().1, History::Broken { .. }));
    assert!(matches!(store.begin("say").commit(f.fact()).await, Err(StoreError::Unavailable(_))));
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(50));
    while accept(&f, &place).await.is_err() {
        tries.tick().await;
    }
    store.begin("say").commit(f.fact()).await.unwrap();
    assert_eq!(store.look_at_history().await.unwrap().1, History::Whole);
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_named() {
    let f = Fixture::new().await;
    f.store.begin("say").commit(f.fact()).await.unwrap();
    let mark = f.folder.path().join("a mark");
    let settings = StoreSettings { mark: Some(mark.clone()), ..StoreSettings::new(f.url()) };
    let store = Store::open(&settings).await.unwrap();
    assert_eq!(store.look_at_history().await.unwrap().1, History::Whole);
    let noted = std::fs::read_to_string(&mark).unwrap();
    assert!(noted.contains("\"event\":\"evt_"), "{noted}");
    std::fs::write(&mark, "{").unwrap();
    let error = Store::open(&settings).await.err().unwrap();
    assert!(matches!(&error, StoreError::Corrupt(why) if why.contains("a mark")), "{error}");
}

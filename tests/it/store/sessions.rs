//! Sessions and command lines that wait to be signed in: kept by the digest of their secrets, ended once, and forgotten when they
//! are over.

use hallpass::domain::{DeviceSignIn, DeviceSignInState, Person, Session, SessionKind};
use hallpass::store::StoreError;
use hallpass::sys::sha256;

use super::fixture::*;

fn session(f: &Fixture, person: &str) -> Session {
    Session {
        id: f.ids.session(),
        kind: SessionKind::Console,
        person: Person::new(person),
        issuer: "https://idp".to_owned(),
        subject: format!("{person}-1"),
        email: Some(format!("{person}@acme.example")),
        groups: vec!["a".to_owned(), "b\u{1f}\"".to_owned()],
        auth_time: Some(START),
        acr: Some("phr".to_owned()),
        user_agent: "a browser".to_owned(),
        address: "192.0.2.1".to_owned(),
        opened_at: START,
        seen_at: START,
        ends_at: START.plus(ttl(600)),
        lapses_at: START.plus(ttl(60)),
    }
}

async fn open(f: &Fixture, session: &Session, secret: &str) -> Result<(), StoreError> {
    let mut tx = f.store.begin("open");
    tx.insert_session(session, sha256(secret));
    tx.commit(f.fact()).await
}

#[tokio::test]
async fn a_session_is_found_by_its_secret_until_it_is_ended() {
    let f = Fixture::new().await;
    let (mut one, mut two) = (f.ids.session(), f.ids.session());
    if two < one {
        std::mem::swap(&mut one, &mut two);
    }
    let ann = Session { id: one, ..session(&f, "ann") };
    let bob =
        Session { id: two, email: None, auth_time: None, acr: None, kind: SessionKind::Cli, ..session(&f, "bob") };
    open(&f, &ann, "one").await.unwrap();
    open(&f, &bob, "two").await.unwrap();
    let twice = session(&f, "eve");
    assert!(matches!(open(&f, &twice, "one").await, Err(StoreError::Conflict { table: "session" })));
    assert_eq!(f.store.find_session_by_token(sha256("one")).await.unwrap().as_ref(), Some(&ann));
    assert_eq!(f.store.find_session_by_token(sha256("two")).await.unwrap().as_ref(), Some(&bob));
    assert_eq!(f.store.find_session_by_token(sha256("three")).await.unwrap(), None);
    assert_eq!(f.store.list_sessions(None, None, 10).await.unwrap(), [ann.clone(), bob.clone()]);
    assert_eq!(f.store.list_sessions(None, Some(ann.id), 10).await.unwrap(), std::slice::from_ref(&bob));
    assert_eq!(f.store.list_sessions(Some(&ann.person), None, 10).await.unwrap(), std::slice::from_ref(&ann));
    let end = || {
        let mut tx = f.store.begin("end");
        tx.delete_session(ann.id);
        tx.commit(f.fact())
    };
    end().await.unwrap();
    assert!(matches!(end().await, Err(StoreError::Conflict { table: "session" })));
    f.store.note_session_seen(ann.id, START.plus_millis(1), START.plus(ttl(90))).await.unwrap();
    assert_eq!(f.store.find_session(ann.id).await.unwrap(), None, "to be seen brings nothing back");
}

#[tokio::test]
async fn use_makes_a_session_last_and_never_shortens_it() {
    let f = Fixture::new().await;
    let ann = session(&f, "ann");
    open(&f, &ann, "one").await.unwrap();
    let later = START.plus(ttl(30));
    f.store.note_session_seen(ann.id, later, START.plus(ttl(90))).await.unwrap();
    f.store.note_session_seen(ann.id, START, START.plus(ttl(60))).await.unwrap();
    let seen = Session { seen_at: later, lapses_at: START.plus(ttl(90)), ..ann.clone() };
    assert_eq!(f.store.find_session(ann.id).await.unwrap(), Some(seen));
    assert_eq!(f.store.forget(START.plus(ttl(89))).await.unwrap(), 0);
    assert_eq!(f.store.forget(START.plus(ttl(90))).await.unwrap(), 1);
    assert_eq!(f.store.find_session(ann.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_device_sign_in_is_answered_once_and_used_once() {
    let f = Fixture::new().await;
    let asked = DeviceSignIn {
        device_code: sha256("device"),
        user_code: sha256("user"),
        client: "hallpass on a laptop".to_owned(),
        address: "192.0.2.1".to_owned(),
        asked_at: START,
        expires_at: START.plus(ttl(600)),
        pause_secs: 5,
        polled_at: START,
        state: DeviceSignInState::Asked,
        answered_by: None,
    };
    f.store.ask_device_sign_in(&asked).await.unwrap();
    let same_code = DeviceSignIn { device_code: sha256("other"), ..asked.clone() };
    let again = f.store.ask_device_sign_in(&same_code).await;
    assert!(matches!(again, Err(StoreError::Conflict { table: "device_sign_in" })));
    assert_eq!(f.store.count_device_sign_ins().await.unwrap(), 1);
    assert_eq!(f.store.find_device_sign_in(sha256("device")).await.unwrap().as_ref(), Some(&asked));
    assert_eq!(f.store.find_device_sign_in_by_user_code(sha256("user")).await.unwrap().as_ref(), Some(&asked));
    let polled = DeviceSignIn { polled_at: START.plus(ttl(5)), pause_secs: 10, ..asked.clone() };
    f.store.note_device_poll(&asked, &polled).await.unwrap();
    let confirmed = |before: &DeviceSignIn| {
        let state = DeviceSignInState::Confirmed;
        let after = DeviceSignIn { state, answered_by: Some(f.ids.session()), ..before.clone() };
        let mut tx = f.store.begin("answer");
        tx.update_device_sign_in(before, &after);
        (after, tx.commit(f.fact()))
    };
    assert!(matches!(confirmed(&asked).1.await, Err(StoreError::Conflict { .. })), "it was polled meanwhile");
    let (after, committed) = confirmed(&polled);
    committed.await.unwrap();
    assert_eq!(f.store.find_device_sign_in(sha256("device")).await.unwrap(), Some(after));
    assert!(matches!(confirmed(&polled).1.await, Err(StoreError::Conflict { .. })), "it was answered");
    let used = || {
        let mut tx = f.store.begin("use");
        tx.delete_device_sign_in(sha256("device"));
        tx.commit(f.fact())
    };
    used().await.unwrap();
    assert!(matches!(used().await, Err(StoreError::Conflict { table: "device_sign_in" })));
    f.store.ask_device_sign_in(&asked).await.unwrap();
    assert_eq!(f.store.forget(START.plus(ttl(600))).await.unwrap(), 1);
}

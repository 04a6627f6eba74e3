//! Notices in the store: what follows from events is written with the cursor that passes them, or not at all.

use hallpass::domain::*;
use hallpass::store::{KnownPerson, NoticeChanges, StoreError};

use super::fixture::*;

fn channel() -> Name {
    "chat".parse().unwrap()
}

fn notice(f: &Fixture, request: RequestId) -> Notice {
    let payload = "{\"sentence\":\"a \\\"b\\\"\"}".to_owned();
    Notice::new(f.ids.notice(), channel(), request, NoticeKind::Awaited, payload, START).to("ann@acme.example")
}

#[tokio::test]
async fn a_notice_reads_back_in_each_state_of_its_life_and_only_its_claimant_changes_it() {
    let f = Fixture::new().await;
    let request = f.ids.request();
    let (new, other) = (notice(&f, request), notice(&f, request));
    let follow = notice(&f, request).after(new.id);
    let insert = vec![new.clone(), other.clone(), follow.clone()];
    f.store.record_notices(&NoticeChanges { insert, ..NoticeChanges::default() }).await.unwrap();
    assert_eq!(f.store.find_notice(follow.id).await.unwrap(), Some(follow));
    assert_eq!(f.store.find_notice(f.ids.notice()).await.unwrap(), None);
    assert_eq!(f.store.list_notices_about(request, &channel()).await.unwrap().len(), 3);
    assert_eq!(f.store.list_due_notices(&channel(), START, 2).await.unwrap().len(), 2);
    assert_eq!(f.store.list_due_notices(&"mail".parse().unwrap(), START, 2).await.unwrap(), []);
    let change = |before: &Notice, after: &Notice| NoticeChanges {
        update: vec![(before.clone(), after.clone())],
        ..NoticeChanges::default()
    };
    let claimed = new.clone().claim("me", START);
    f.store.record_notices(&change(&new, &claimed)).await.unwrap();
    assert_eq!(f.store.find_notice(new.id).await.unwrap().as_ref(), Some(&claimed));
    let late = f.store.record_notices(&change(&new, &new.clone().claim("other", START))).await;
    assert!(matches!(late, Err(StoreError::Conflict { table: "notice" })), "{late:?}");
    let missed = claimed.clone().missed(None, START);
    let sent = missed.clone().claim("me", START).sent(Some("C1/17".to_owned()), START);
    f.store.record_notices(&change(&claimed, &missed)).await.unwrap();
    f.store.record_notices(&change(&missed, &missed.clone().claim("me", START))).await.unwrap();
    f.store.record_notices(&change(&missed.clone().claim("me", START), &sent)).await.unwrap();
    assert_eq!(f.store.find_notice(new.id).await.unwrap().as_ref(), Some(&sent));
    assert!(f.store.record_notices(&change(&sent, &sent)).await.is_err(), "what is settled stays so");
    let failed = other.clone().give_up(10, START);
    let mut tx = f.store.begin("fail");
    tx.update_notice(&other, &failed);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.find_notice(other.id).await.unwrap(), Some(failed));
    f.store.forget(sent.keep_until.plus_millis(-1)).await.unwrap();
    assert_eq!(f.store.list_notices_about(request, &channel()).await.unwrap().len(), 3);
    f.store.forget(sent.keep_until).await.unwrap();
    assert_eq!(f.store.list_notices_about(request, &channel()).await.unwrap(), []);
}

#[tokio::test]
async fn of_two_that_read_the_same_events_one_writes_what_follows() {
    let f = Fixture::new().await;
    let second = f.open_again().await;
    assert_eq!(f.store.find_notice_cursor(&channel()).await.unwrap(), None);
    f.store.begin_notices(&channel(), 7).await.unwrap();
    second.begin_notices(&channel(), 9).await.unwrap();
    assert_eq!(f.store.find_notice_cursor(&channel()).await.unwrap(), Some(7), "the first has the say");
    let request = f.ids.request();
    let changes =
        || NoticeChanges { cursor: Some((channel(), 7, 12)), insert: vec![notice(&f, request)], update: Vec::new() };
    assert!(!changes().say_nothing());
    let (one, two) = (changes(), changes());
    let (one, two) = tokio::join!(f.store.record_notices(&one), second.record_notices(&two));
    let lost = if one.is_ok() { two } else { one };
    assert!(matches!(lost, Err(StoreError::Conflict { table: "notice_cursor" })), "{lost:?}");
    assert_eq!(f.store.list_notices_about(request, &channel()).await.unwrap().len(), 1);
    assert_eq!(second.find_notice_cursor(&channel()).await.unwrap(), Some(12));
}

#[tokio::test]
async fn what_waited_is_told_with_its_end_and_what_never_waited_is_not() {
    let f = Fixture::new().await;
    assert_eq!(f.store.find_newest_event().await.unwrap(), 0);
    let about = |kind, request| {
        let mut event = f.event(kind, &agent("builder"), Some(f.ids.task()), None);
        event.subjects.request = Some(request);
        event
    };
    let (waited, at_once) = (f.ids.request(), f.ids.request());
    let awaited = about(EventKind::ApprovalAwaited, waited);
    let of_task = |kind, request: RequestId| {
        let mut event = about(kind, request);
        event.subjects.task = awaited.subjects.task;
        event
    };
    for event in [
        of_task(EventKind::AccessDenied, waited),
        awaited.clone(),
        of_task(EventKind::AccessGranted, at_once),
        of_task(EventKind::ApprovalRecorded, waited),
        of_task(EventKind::AccessGranted, waited),
        of_task(EventKind::AccessLapsed, waited),
        about(EventKind::AccessGranted, waited),
    ] {
        f.store.begin("event").commit(event).await.unwrap();
    }
    let newest = f.store.find_newest_event().await.unwrap();
    let found = f.store.list_notable_events(0, newest, 10).await.unwrap();
    let kinds: Vec<&str> = found.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["approval.awaited", "access.granted", "access.lapsed"]);
    assert_eq!(f.store.list_notable_events(0, newest, 2).await.unwrap(), found[..2]);
    assert_eq!(f.store.list_notable_events(found[0].seq, found[1].seq, 10).await.unwrap(), found[1..2]);
}

#[tokio::test]
async fn what_may_be_taken_once_is_taken_once() {
    let f = Fixture::new().await;
    let second = f.open_again().await;
    let (key, until) = (digest("call"), START.plus(ttl(600)));
    assert!(f.store.take_once(key, START, until).await.unwrap());
    assert!(!second.take_once(key, START, until).await.unwrap());
    f.store.forget(until).await.unwrap();
    assert!(second.take_once(key, START, until).await.unwrap());
}

#[tokio::test]
async fn people_are_found_by_the_very_group_they_are_in() {
    let f = Fixture::new().await;
    let person = |subject: &str, groups: &[&str], email: Option<&str>, seen_at| KnownPerson {
        issuer: "https://people.example".to_owned(),
        subject: subject.to_owned(),
        person: Person::new(subject),
        email: email.map(str::to_owned),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        seen_at,
        recheck_at: None,
    };
    let mail = Some("x@acme.example");
    let mut tx = f.store.begin("people");
    for known in [
        person("ann", &["a_b%|\"c\\", "ops"], mail, START),
        person("bob", &["aXb%|\"c\\", "OPS", "ops2"], mail, START),
        person("cyd", &["ops"], None, START),
        person("dan", &["ops"], mail, START.plus_millis(-1)),
    ] {
        tx.insert_known_person(&known);
    }
    tx.commit(f.fact()).await.unwrap();
    let found = async |group: &str| {
        let found = f.store.list_people_in_group(group, START, 100).await.unwrap();
        found.into_iter().map(|known| known.subject).collect::<Vec<_>>()
    };
    assert_eq!(found("ops").await, ["ann"]);
    assert_eq!(found("a_b%|\"c\\").await, ["ann"]);
    assert_eq!(found("%").await, Vec::<String>::new());
}

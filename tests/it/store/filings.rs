//! Filings and callbacks: read back as they were written, and each callback taken by one.

use hallpass::domain::*;
use hallpass::store::StoreError;

use super::fixture::*;

fn filing(f: &Fixture, task: &Task, request: RequestId) -> Filing {
    let item = FiledItem {
        request,
        scope: "sandbox:releases:write".parse().unwrap(),
        binding: "YmluZGluZw".to_owned(),
        resource: r#"{"id":"a\u0000b","type":"scope"}"#.to_owned(),
        action: r#"{"name":"write"}"#.to_owned(),
        evaluation: f.ids.evaluation(),
    };
    let text = FiledText {
        subject: r#"{"id":"builder","type":"agent"}"#.to_owned(),
        context: "{}".to_owned(),
        client: Some(r#"{"id":"é"}"#.to_owned()),
        bundled: true,
        until: Some(START.plus(ttl(60))),
        items: vec![item.clone(), FiledItem { evaluation: f.ids.evaluation(), ..item }],
    };
    let readable_until = START.plus(ttl(900));
    Filing { id: f.ids.filing(), agent: task.agent.clone(), task: task.id, text, filed_at: START, readable_until }
}

fn callback(filing: &Filing, request: RequestId) -> Callback {
    Callback {
        filing: filing.id,
        request,
        endpoint: "https://agents.example/told".to_owned(),
        state: Some("run-7".to_owned()),
        events: vec!["approved".to_owned()],
        due_at: START,
        tries: 0,
        keep_until: filing.readable_until,
    }
}

#[tokio::test]
async fn a_filing_reads_back_by_its_id_and_by_its_task() {
    let f = Fixture::new().await;
    let task = f.task(&agent("builder"));
    let (one, two) = (filing(&f, &task, f.ids.request()), filing(&f, &task, f.ids.request()));
    let mut tx = f.store.begin("file");
    tx.insert_filing(&one);
    tx.insert_filing(&two);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.find_filing(one.id).await.unwrap().as_ref(), Some(&one));
    assert_eq!(f.store.find_filing(f.ids.filing()).await.unwrap(), None);
    let mut both = [one, two];
    both.sort_by_key(|filing| filing.id);
    assert_eq!(f.store.list_filings_of_task(task.id).await.unwrap(), both);
    assert_eq!(f.store.list_filings_of_task(f.ids.task()).await.unwrap(), []);
}

#[tokio::test]
async fn a_callback_is_due_when_its_request_waits_no_more_and_is_taken_once() {
    let f = Fixture::new().await;
    let task = f.task(&agent("builder"));
    let pending = f.pending(&task);
    let filing = filing(&f, &task, pending.id);
    let callback = callback(&filing, pending.id);
    let mut tx = f.store.begin("file");
    tx.insert_request(&pending);
    tx.insert_filing(&filing);
    tx.insert_callback(&callback);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.list_due_callbacks(START, 10).await.unwrap(), []);
    let denied = pending.clone().deny("by_approver", START).unwrap();
    let mut tx = f.store.begin("settle");
    tx.update_request(&pending, &denied);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.list_due_callbacks(START, 10).await.unwrap(), std::slice::from_ref(&callback));
    let taken = Callback { tries: 1, due_at: START.plus(ttl(5)), ..callback.clone() };
    f.store.take_callback(&callback, &taken).await.unwrap();
    let again = f.store.take_callback(&callback, &taken).await;
    assert!(matches!(again, Err(StoreError::Conflict { table: "callback" })), "{again:?}");
    assert_eq!(f.store.list_due_callbacks(START.plus(ttl(4)), 10).await.unwrap(), []);
    assert_eq!(f.store.list_due_callbacks(START.plus(ttl(5)), 10).await.unwrap(), [taken]);
    f.store.forget_callback(filing.id).await.unwrap();
    f.store.forget_callback(filing.id).await.unwrap();
    assert_eq!(f.store.list_due_callbacks(START.plus(ttl(5)), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_callback_is_forgotten_past_its_time() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let filing = filing(&f, &story.task, story.request.id);
    let mut tx = f.store.begin("file");
    tx.insert_filing(&filing);
    tx.insert_callback(&callback(&filing, story.request.id));
    tx.commit(f.fact()).await.unwrap();
    f.store.forget(START.plus(ttl(899))).await.unwrap();
    assert_eq!(f.store.list_due_callbacks(START, 10).await.unwrap().len(), 1);
    f.store.forget(START.plus(ttl(900))).await.unwrap();
    assert_eq!(f.store.list_due_callbacks(START, 10).await.unwrap(), []);
    assert!(f.store.find_filing(filing.id).await.unwrap().is_some());
}

#[tokio::test]
async fn of_like_requests_of_a_task_one_waits() {
    let f = Fixture::new().await;
    let task = f.task(&agent("builder"));
    let ask = |request: &AccessRequest| {
        let mut tx = f.store.begin("ask");
        tx.insert_request(request);
        tx.check_alone_waiting(request);
        tx.commit(f.fact())
    };
    let (one, like) = (f.pending(&task), f.pending(&task));
    assert_eq!(one.digest, like.digest);
    // In one group, too: the second to be replayed finds the first.
    let (first, second) = tokio::join!(ask(&one), ask(&like));
    assert_eq!([&first, &second].iter().filter(|done| done.is_ok()).count(), 1);
    let lost = first.err().or(second.err()).unwrap();
    assert!(matches!(lost, StoreError::Conflict { table: "access_request" }), "{lost:?}");
    let waiting = f.store.list_pending_requests_of_task(task.id, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    // Another task's is another, and once it waits no more there may be one again.
    ask(&f.pending(&f.task(&agent("builder")))).await.unwrap();
    let mut tx = f.store.begin("withdraw");
    tx.update_request(&waiting[0], &waiting[0].clone().withdraw(START).unwrap());
    tx.commit(f.fact()).await.unwrap();
    ask(&f.pending(&task)).await.unwrap();
}

//! What is to be told is told, once in effect, whatever the servers, the replicas and the clock do.

use hallpass::domain::NoticeState;
use hallpass::sys::Clock as _;
use serde_json::{Value, json};

use super::world::*;
use crate::support::harness::Harness;

fn hooks(outside: &Outside, folder: &tempfile::TempDir) -> String {
    let file = secret(folder, "secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    format!("name='hooks'\nkind='webhook'\nurl='{}/hook'\nallow_private=true\nsecrets=[{{file='{file}'}}]", outside.url)
}

async fn states(h: &Harness, request: &str) -> Vec<NoticeState> {
    let store = store(h).await;
    let found = store.list_notices_about(request.parse().unwrap(), &"hooks".parse().unwrap()).await.unwrap();
    store.close().await;
    // Of one millisecond, ids are in no order.
    let mut found: Vec<_> = found.iter().map(|notice| (notice.kind, notice.state)).collect();
    found.sort();
    found.into_iter().map(|(_, state)| state).collect()
}

fn ids(outside: &Outside) -> Vec<String> {
    outside.calls().iter().map(|call| call.header("webhook-id").to_owned()).collect()
}

#[tokio::test]
async fn what_a_server_does_not_take_is_tried_again_as_the_clock_goes_on_under_the_same_id() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![hooks(&outside, &folder)]).await;
    outside.fail([Fault::Status(500, None), Fault::Status(429, Some("60")), Fault::Status(404, None)]);
    let (_, request) = pending(&h).await;
    tell(&h).await;
    assert_eq!(outside.calls().len(), 1);
    later(&h, 4).await;
    assert_eq!(outside.calls().len(), 1, "not before its time");
    later(&h, 1).await;
    assert_eq!(outside.calls().len(), 2);
    later(&h, 59).await;
    assert_eq!(outside.calls().len(), 2, "a server that wants to be left alone is");
    later(&h, 1).await;
    later(&h, 45).await;
    assert_eq!(outside.calls().len(), 4);
    let ids = ids(&outside);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(states(&h, &request).await, [NoticeState::Sent]);
    later(&h, 600).await;
    assert_eq!(outside.calls().len(), 4);
}

#[tokio::test]
async fn what_nobody_takes_is_given_up_at_last_and_that_is_on_record() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![hooks(&outside, &folder)]).await;
    // Long enough for all attempts; the request itself must not lapse before.
    let ask = json!({ "purpose": "p", "ttl_seconds": 600, "task_ttl_seconds": 28_800,
        "scopes": ["api:releases:write(prefix=v1)"] });
    let task = h.post("/v1/tasks", &h.agent("release-bot"), &ask).await;
    let task = if task.status == 202 { task.json() } else { panic!("{}", String::from_utf8_lossy(&task.body)) };
    let request = task["requests"][0]["id"].as_str().unwrap();
    outside.fail(std::iter::repeat_n(Fault::Status(500, None), 10));
    tell(&h).await;
    for wait in [5, 15, 45, 135, 405, 1215, 3600, 3600, 3600] {
        later(&h, wait).await;
    }
    assert_eq!(outside.calls().len(), 10);
    assert_eq!(states(&h, request).await, [NoticeState::Failed]);
    let events = h.events_of(task["id"].as_str().unwrap()).await;
    let failed: Vec<&Value> = events.iter().filter(|event| event["kind"] == "notice.failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((&failed[0]["data"]["channel"], &failed[0]["data"]["attempts"]), (&json!("hooks"), &json!(10)));
    assert_eq!(failed[0]["request"], json!(request));
}

#[tokio::test]
async fn a_server_that_never_answers_holds_up_no_other_channel_and_no_request() {
    let (slow, quick, folder) = (Outside::start().await, Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![hooks(&slow, &folder), hooks(&quick, &folder).replace("hooks", "quick")]).await;
    slow.fail([Fault::TakenAndSilent]);
    let (_, request) = pending(&h).await;
    h.broker.sweep_notices().await.unwrap();
    let sending = {
        let broker = h.broker.clone();
        tokio::spawn(async move { broker.send_notices(&"hooks".parse().unwrap()).await })
    };
    slow.until(1).await;
    h.broker.send_notices(&"quick".parse().unwrap()).await.unwrap();
    assert_eq!(quick.calls().len(), 1);
    decide(&h, &request, "approve").await;
    assert!(!sending.is_finished());
    sending.abort();
    assert_eq!((slow.calls().len(), states(&h, &request).await), (1, vec![NoticeState::Due]));
}

#[tokio::test]
async fn of_several_replicas_one_tells_and_none_passes_an_event_over() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![hooks(&outside, &folder)]).await;
    let other = h.replica_with(|_| {}).await;
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.push(pending(&h).await.1);
    }
    asked.sort();
    let (one, two) = (h.broker.clone(), other.broker.clone());
    let work = async |broker: hallpass::broker::Broker| {
        for _ in 0..6 {
            broker.sweep_notices().await.unwrap();
            broker.send_notices(&"hooks".parse().unwrap()).await.unwrap();
        }
    };
    tokio::join!(work(one.clone()), work(two.clone()), work(one), work(two));
    let mut told: Vec<String> =
        outside.calls().iter().map(|call| call.json()["data"]["request"].as_str().unwrap().to_owned()).collect();
    told.sort();
    assert_eq!(told, asked);
}

#[tokio::test]
async fn whoever_is_settled_before_anybody_was_asked_is_asked_about_by_nobody() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![hooks(&outside, &folder)]).await;
    let (_, early) = pending(&h).await;
    decide(&h, &early, "deny").await;
    let (_, unsent) = pending(&h).await;
    h.broker.sweep_notices().await.unwrap();
    decide(&h, &unsent, "deny").await;
    tell(&h).await;
    let told: Vec<Value> = outside.calls().iter().map(|call| call.json()["type"].clone()).collect();
    assert_eq!(told, [json!("request.resolved"), json!("request.resolved")]);
    assert_eq!(states(&h, &unsent).await, [NoticeState::Superseded, NoticeState::Sent]);
}

#[tokio::test]
async fn an_ask_that_was_missed_is_not_sent_once_its_request_is_settled_and_the_outcome_comes_after() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![hooks(&outside, &folder)]).await;
    outside.fail([Fault::Status(500, None)]);
    let (_, request) = pending(&h).await;
    tell(&h).await;
    decide(&h, &request, "approve").await;
    tell(&h).await;
    later(&h, 60).await;
    let told: Vec<Value> = outside.calls().iter().map(|call| call.json()["type"].clone()).collect();
    assert_eq!(told, [json!("request.awaited"), json!("request.resolved")]);
    assert_eq!(states(&h, &request).await, [NoticeState::Superseded, NoticeState::Sent]);
}

#[tokio::test]
async fn a_request_that_lapses_is_told_as_lapsed_and_a_new_channel_hears_nothing_of_the_past() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let mut h = broker(Vec::new()).await;
    pending(&h).await;
    assert_eq!(h.broker.sweep_notices().await.unwrap().done, 0, "no channel, no work");
    h.notify = vec![hooks(&outside, &folder)];
    h.restart().await;
    tell(&h).await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    h.clock.advance_secs(24 * 3600);
    h.sweep().await;
    tell(&h).await;
    let about: Vec<Value> = outside.calls().iter().map(|call| call.json()["data"]["request"].clone()).collect();
    assert_eq!(about[0], json!(request));
    let last = outside.calls().last().unwrap().json();
    assert_eq!((&last["type"], h.clock.now().as_secs() > 0), (&json!("request.resolved"), true));
}

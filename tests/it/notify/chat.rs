//! A no from Slack is a verdict like any other: of a known person, in the groups, on what was shown. There is no yes from there, and no
//! call works twice, late, or changed.

use axum::body::Body;
use hallpass::sys::Clock as _;
use http::Request;
use ring::hmac;
use serde_json::{Value, json};

use super::slack::channel;
use super::world::*;
use crate::support::harness::{Harness, Options};

/// What Slack sends when a user presses the button of this name in a message.
fn pressed(outside: &Outside, user: &str, message: &Value, action: &str) -> Value {
    let blocks = message["blocks"].as_array().unwrap();
    let buttons = blocks
        .iter()
        .find(|block| block["type"] == "actions")
        .map_or_else(Vec::new, |block| block["elements"].as_array().unwrap().clone());
    let button = buttons.iter().find(|button| button["action_id"] == action).cloned().unwrap_or_default();
    json!({
        "type": "block_actions", "team": { "id": "T0001", "domain": "acme" }, "user": { "id": user, "username": "x" },
        "api_app_id": "A1", "trigger_id": "1.2", "channel": { "id": "C0001" }, "message": message,
        "response_url": format!("{}/actions/respond", outside.url),
        "actions": [{ "action_id": action, "block_id": "b", "type": "button", "value": button["value"], "action_ts": "1" }],
    })
}

fn form(payload: &Value) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish()
}

fn signed(secs: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"shhh");
    format!("v0={}", data_encoding::HEXLOWER.encode(hmac::sign(&key, format!("v0:{secs}:{body}").as_bytes()).as_ref()))
}

async fn call(h: &Harness, secs: i64, body: &str, signature: &str) -> u16 {
    let request = Request::post("/notify/slack/chat/actions")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-slack-request-timestamp", secs.to_string())
        .header("x-slack-signature", signature);
    h.send(request.body(Body::from(body.to_owned())).unwrap()).await.status.as_u16()
}

async fn press(h: &Harness, payload: &Value) -> u16 {
    let (secs, body) = (h.clock.now().as_secs(), form(payload));
    call(h, secs, &body, &signed(secs, &body)).await
}

/// The last thing that was whispered, once there are so many.
async fn whisper(outside: &Outside, count: usize) -> String {
    while outside.whispers().len() < count {
        tokio::task::yield_now().await;
    }
    outside.whispers().last().unwrap().clone()
}

async fn state(h: &Harness, request: &str) -> String {
    let view = h.get(&format!("/v1/requests/{request}"), &h.approver()).await.expect(200);
    view["state"].as_str().unwrap().to_owned()
}

/// A broker whose register knows three accounts of the chat.
async fn start(outside: &Outside, folder: &tempfile::TempDir) -> Harness {
    let account = |id: &str| format!("{{ issuer = \"https://slack.com/T0001\", subject = \"{id}\" }}");
    let people = "email = \"maya@acme.example\"";
    let with_maya = format!("{people}\nidentities = [{}]", account("UMAYA"));
    let known = "{ issuer = \"http://127.0.0.1:8601/people\", subject = \"dev-approver\" }";
    let jonas = "email = \"jonas@acme.example\"";
    let options = Options { notify: vec![channel(outside, folder)], ..Options::default() }
        .with_change("people.toml", people, &with_maya)
        .with_change("people.toml", jonas, &format!("{jonas}\nidentities = [{}]", account("UJONAS")))
        .with_change("people.toml", known, &format!("{known}, {}", account("UDEV")));
    let h = broker_of(options).await;
    super::world::known(&h, "dev-approver", "dev-approver", None, &["release-approvers"]).await;
    super::world::known(&h, "maya", "maya", None, &["release-approvers"]).await;
    h
}

#[tokio::test]
async fn deny_in_the_chat_denies_once_and_says_so_to_whoever_pressed_it() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = start(&outside, &folder).await;
    let (task, request) = pending(&h).await;
    tell(&h).await;
    let payload = pressed(&outside, "UDEV", &outside.messages()[0], "hallpass_deny");
    let (secs, body) = (h.clock.now().as_secs(), form(&payload));
    assert_eq!(call(&h, secs, &body, &signed(secs, &body)).await, 200);
    assert_eq!(whisper(&outside, 1).await, "Done: you denied it. The agent is told.");
    assert_eq!(state(&h, &request).await, "denied");
    assert_eq!(call(&h, secs, &body, &signed(secs, &body)).await, 400, "the same call again");
    assert_eq!(press(&h, &pressed(&outside, "UDEV", &outside.messages()[0], "hallpass_deny")).await, 400);
    h.clock.advance_secs(1);
    assert_eq!(press(&h, &payload).await, 200);
    assert!(whisper(&outside, 2).await.contains("denied already"));
    let recorded: Vec<Value> = h.events_of(&task).await;
    let verdicts: Vec<&Value> = recorded.iter().filter(|event| event["kind"] == "approval.recorded").collect();
    assert_eq!(verdicts.len(), 1);
    assert_eq!(
        (&verdicts[0]["actor"]["name"], &verdicts[0]["data"]["verdict"]),
        (&json!("dev-approver"), &json!("deny"))
    );
    tell(&h).await;
    assert_eq!(outside.buttons(), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_denies_who_is_not_known_not_in_the_groups_or_whose_own_it_is() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = start(&outside, &folder).await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    let message = outside.messages()[0].clone();
    for (number, (user, why)) in [
        ("USTRANGER", "nobody in the register"),
        ("UJONAS", "before you have signed in once"),
        ("UMAYA", "you own the agent"),
    ]
    .into_iter()
    .enumerate()
    {
        h.clock.advance_secs(1);
        assert_eq!(press(&h, &pressed(&outside, user, &message, "hallpass_deny")).await, 200);
        let said = whisper(&outside, number + 1).await;
        assert!(said.starts_with("Not done: ") && said.contains(why), "{said}");
    }
    super::world::known(&h, "jonas", "jonas", None, &["database-owners"]).await;
    h.clock.advance_secs(1);
    assert_eq!(press(&h, &pressed(&outside, "UJONAS", &message, "hallpass_deny")).await, 200);
    let said = whisper(&outside, 4).await;
    assert!(said.starts_with("Not done: "), "{said}");
    assert_eq!(state(&h, &request).await, "pending");
}

#[tokio::test]
async fn there_is_no_yes_from_a_chat_whatever_it_sends() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = start(&outside, &folder).await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    let message = outside.messages()[0].clone();
    let mut approve = pressed(&outside, "UDEV", &message, "hallpass_deny");
    approve["actions"][0]["action_id"] = json!("hallpass_approve");
    approve["verdict"] = json!("approve");
    assert_eq!(press(&h, &approve).await, 200, "signed, and about nothing that can be done");
    assert_eq!(press(&h, &pressed(&outside, "UDEV", &message, "hallpass_open")).await, 200);
    assert_eq!(state(&h, &request).await, "pending");
    h.clock.advance_secs(1);
    let mut value = pressed(&outside, "UDEV", &message, "hallpass_deny");
    let shown: Value = serde_json::from_str(value["actions"][0]["value"].as_str().unwrap()).unwrap();
    let other =
        json!({ "digest": format!("sha256:{}", "0".repeat(64)), "request": shown["request"], "verdict": "approve" });
    value["actions"][0]["value"] = json!(other.to_string());
    assert_eq!(press(&h, &value).await, 200);
    assert!(whisper(&outside, 1).await.contains("not what this message shows"));
    assert_eq!(state(&h, &request).await, "pending");
}

#[tokio::test]
async fn only_what_the_chat_signed_just_now_is_taken() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = start(&outside, &folder).await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    let (secs, body) =
        (h.clock.now().as_secs(), form(&pressed(&outside, "UDEV", &outside.messages()[0], "hallpass_deny")));
    let good = signed(secs, &body);
    for (secs, body, signature) in [
        (secs, format!("{body}&x=1"), good.clone()),
        (secs + 1, body.clone(), good.clone()),
        (secs - 301, body.clone(), signed(secs - 301, &body)),
        (secs + 301, body.clone(), signed(secs + 301, &body)),
        (secs, body.clone(), String::new()),
        (secs, body.clone(), good.replace("v0=", "v1=")),
    ] {
        assert_eq!(call(&h, secs, &body, &signature).await, 401);
    }
    let elsewhere = Request::post("/notify/slack/nowhere/actions").body(Body::from(body.clone())).unwrap();
    assert_eq!(h.send(elsewhere).await.status.as_u16(), 404);
    let bare = Request::post("/notify/slack/chat/actions").body(Body::from(body.clone())).unwrap();
    assert_eq!(h.send(bare).await.status.as_u16(), 401);
    assert_eq!((state(&h, &request).await.as_str(), outside.whispers().len()), ("pending", 0));
    assert_eq!(call(&h, secs, &body, &good).await, 200);
    assert_eq!(whisper(&outside, 1).await, "Done: you denied it. The agent is told.");
}

//! Webhooks, taken by a server and verified by an implementation of Standard Webhooks that is not ours.

use std::process::Command;

use hallpass::notify::{ChannelSettings, Channels, SenderDeps};
use hallpass::sys::{Clock as _, HttpClient};
use serde_json::{Value, json};

use super::world::*;
use crate::support::foreign;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn channel(outside: &Outside, folder: &tempfile::TempDir, more: &str) -> String {
    let (new, old) = (secret(folder, "new", SECRET), secret(folder, "old", OLD_SECRET));
    format!(
        "name='hooks'\nkind='webhook'\nurl='{}/hook'\nallow_private=true\nsecrets=[{{file='{new}'}},{{file='{old}'}}]\n{more}",
        outside.url
    )
}

/// What the other implementation makes of a call that comes at `now`.
fn verified(call: &Call, secret: &str, now: i64) -> Result<Value, String> {
    let headers: serde_json::Map<String, Value> =
        call.headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap()))).collect();
    let case = json!({ "secret": secret, "now": now, "headers": headers, "body": call.body });
    let script = foreign::folder().join("webhook_verify.py");
    let run = Command::new(foreign::python()).arg(script).arg(case.to_string()).output().expect(foreign::HINT);
    if run.status.success() {
        Ok(serde_json::from_slice(&run.stdout).unwrap())
    } else {
        Err(String::from_utf8(run.stderr).unwrap())
    }
}

#[tokio::test]
async fn a_webhook_is_what_the_standard_says_and_no_byte_of_it_can_be_changed_or_played_again() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![channel(&outside, &folder, "")]).await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    let [call] = outside.calls().try_into().unwrap();
    let now = h.clock.now().as_secs();
    for secret in [SECRET, OLD_SECRET] {
        let body = verified(&call, secret, now).unwrap();
        assert_eq!((&body["type"], &body["data"]["request"]), (&json!("request.awaited"), &json!(request)));
    }
    let data = &call.json()["data"];
    assert_eq!(data["not_for"], json!(["maya"]), "nobody is asked about a request of their own");
    assert_eq!(data["link"], json!(format!("https://hallpass.test/r/{request}")));
    assert!(!call.body.contains("click") && !call.body.contains("channel>"), "the agent's words: {}", call.body);
    verified(&call, SECRET, now + 299).unwrap();
    assert!(verified(&call, SECRET, now + 301).unwrap_err().contains("too old"));
    assert!(verified(&call, SECRET, now - 301).unwrap_err().contains("too new"));
    assert!(verified(&call, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", now).is_err());
    let changed = Call { body: call.body.replace("v1", "v2"), ..call.clone() };
    assert!(verified(&changed, SECRET, now).is_err());
    let mut other_id = call.clone();
    other_id.headers.insert("webhook-id", "ntc_other".parse().unwrap());
    assert!(verified(&other_id, SECRET, now).is_err());
}

#[tokio::test]
async fn each_outcome_is_told_once_and_nothing_that_never_waited() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![channel(&outside, &folder, "")]).await;
    let free = json!({ "purpose": "look", "scopes": ["sandbox:releases:read"], "ttl_seconds": 600 });
    h.post("/v1/tasks", &h.agent("release-bot"), &free).await.expect(201);
    for verdict in ["approve", "deny"] {
        let (_, request) = pending(&h).await;
        tell(&h).await;
        decide(&h, &request, verdict).await;
        tell(&h).await;
    }
    let (withdrawn, _) = pending(&h).await;
    tell(&h).await;
    h.post(&format!("/v1/tasks/{withdrawn}/cancel"), &h.agent("release-bot"), &json!({})).await.expect(200);
    let told: Vec<(Value, Value)> = {
        tell(&h).await;
        let calls = outside.calls();
        calls.iter().map(|call| (call.json()["type"].clone(), call.json()["data"]["outcome"].clone())).collect()
    };
    let (awaited, resolved) = (json!("request.awaited"), json!("request.resolved"));
    let expected = [
        (awaited.clone(), Value::Null),
        (resolved.clone(), json!("granted")),
        (awaited.clone(), Value::Null),
        (resolved.clone(), json!("denied")),
        (awaited, Value::Null),
        (resolved, json!("withdrawn")),
    ];
    assert_eq!(told, expected);
    let by = outside.calls().iter().map(|call| call.json()["data"]["by"].clone()).collect::<Vec<_>>();
    assert_eq!((&by[1], &by[3], &by[5]), (&json!(["dev-approver"]), &json!(["dev-approver"]), &json!([])));
    later(&h, 3600).await;
    assert_eq!(outside.calls().len(), 6);
}

#[tokio::test]
async fn a_channel_is_told_what_it_wants_of_the_groups_it_is_for() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let named = |name: &str, more: &str| {
        channel(&outside, &folder, more).replace("hooks", name).replace("/hook", &format!("/{name}"))
    };
    let h = broker(vec![
        named("other-group", "groups=['database-owners']"),
        named("this-group", "groups=['release-approvers','x']\nevents=['awaited']"),
        named("outcomes", "events=['resolved']"),
        named("emergencies", "events=['break_glass','review_due']"),
    ])
    .await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    decide(&h, &request, "approve").await;
    tell(&h).await;
    let told: Vec<String> =
        outside.calls().iter().map(|call| format!("{} {}", call.path, call.json()["type"])).collect();
    assert_eq!(told, ["/this-group \"request.awaited\"", "/outcomes \"request.resolved\""]);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_private_address_not_called() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![channel(&outside, &folder, "")]).await;
    outside.fail([Fault::Redirect]);
    pending(&h).await;
    tell(&h).await;
    assert_eq!(outside.calls().iter().map(|call| call.path.clone()).collect::<Vec<_>>(), ["/hook"]);
    later(&h, 5).await;
    assert_eq!(outside.calls().iter().map(|call| call.path.clone()).collect::<Vec<_>>(), ["/hook", "/hook"]);
    let deps = || SenderDeps { http: HttpClient::new(None).unwrap(), folder: folder.path().to_owned() };
    let build = |text: &str| {
        let settings: ChannelSettings = toml::from_str(text).unwrap();
        Channels::build(&[settings], &deps())
    };
    let file = secret(&folder, "new", SECRET);
    let https = format!("name='a'\nkind='webhook'\nurl='https://127.0.0.1:1/'\nsecrets=[{{file='{file}'}}]");
    let channels = build(&https).unwrap();
    let said = channels.iter().next().unwrap().sender.check().await.unwrap_err();
    assert!(said.contains("private"), "{said}");
    for (wrong, why) in [
        (https.replace("https:", "http:"), "must be https"),
        (https.replace("webhook", "pigeon"), "there is no such kind; there are slack, smtp, webhook"),
        (format!("{https}\nsecret=1"), "unknown field"),
        (https.replace(&file, &secret(&folder, "short", "whsec_AAAA")), "24 to 64 bytes"),
        ("name='a'\nkind='webhook'\nurl='https://a.example'\nsecrets=[]".to_owned(), "one to 4"),
    ] {
        let said = build(&wrong).unwrap_err().to_string();
        assert!(said.contains(why) && said.contains("`a`"), "{said}");
    }
}

//! Slack: one message for each request, which shows how it stands.

use serde_json::json;

use super::world::*;

pub(super) fn channel(outside: &Outside, folder: &tempfile::TempDir) -> String {
    let (token, signing) = (secret(folder, "token", "xoxb-1"), secret(folder, "signing", "shhh"));
    format!(
        "name='chat'\nkind='slack'\ntoken={{file='{token}'}}\nchannel='C0001'\nteam='T0001'\nsigning_secret={{file='{signing}'}}\n\
         api_url='{}/api/'\nallow_private=true",
        outside.url
    )
}

#[tokio::test]
async fn the_message_shows_how_the_request_stands_and_no_copy_looks_open_that_is_not() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![channel(&outside, &folder)]).await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    assert_eq!(outside.calls()[0].header("authorization"), "Bearer xoxb-1");
    assert_eq!(outside.buttons(), ["hallpass_open", "hallpass_deny"]);
    let shown = outside.messages()[0].to_string();
    assert!(
        shown.contains("api:releases:write(prefix=v1)") && shown.contains("High-risk scopes need a person"),
        "{shown}"
    );
    assert!(!shown.contains("click") && !shown.contains("publish v1.4.2"), "the agent's words: {shown}");
    decide(&h, &request, "deny").await;
    tell(&h).await;
    assert_eq!((outside.messages().len(), outside.buttons()), (1, Vec::new()));
    let shown = outside.messages()[0].to_string();
    assert!(shown.contains("Denied by dev-approver"), "{shown}");
}

#[tokio::test]
async fn a_message_is_changed_even_where_outcomes_are_not_wanted_and_the_channel_was_down() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![format!("{}\nevents=['awaited']", channel(&outside, &folder))]).await;
    let (_, request) = pending(&h).await;
    tell(&h).await;
    decide(&h, &request, "approve").await;
    outside.fail([Fault::Status(503, None), Fault::Status(429, Some("30"))]);
    tell(&h).await;
    assert_eq!(outside.buttons().len(), 2);
    later(&h, 5).await;
    later(&h, 30).await;
    assert_eq!((outside.messages().len(), outside.buttons()), (1, Vec::new()));
}

#[tokio::test]
async fn what_was_never_posted_is_not_posted_when_it_is_over() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![channel(&outside, &folder)]).await;
    outside.fail([Fault::Status(500, None)]);
    let (_, request) = pending(&h).await;
    tell(&h).await;
    decide(&h, &request, "approve").await;
    later(&h, 60).await;
    later(&h, 60).await;
    assert!(outside.messages().is_empty());
}

#[tokio::test]
async fn a_copy_that_a_lost_answer_left_behind_can_do_nothing() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let h = broker(vec![channel(&outside, &folder)]).await;
    // Slack has no way to say "this once only": the answer to the first post is lost, so there are two.
    outside.fail([Fault::TakenAndLost]);
    let (_, request) = pending(&h).await;
    tell(&h).await;
    later(&h, 5).await;
    assert_eq!(outside.messages().len(), 2);
    decide(&h, &request, "approve").await;
    tell(&h).await;
    let open: Vec<bool> = outside.messages().iter().map(|m| m.to_string().contains("hallpass_deny")).collect();
    assert_eq!(
        open,
        [true, false],
        "the one we know of is changed; the other's button is refused, see the chat's tests"
    );
}

#[tokio::test]
async fn the_doctor_asks_and_posts_nothing() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let check = async |text: String| {
        let settings = [toml::from_str(&text).unwrap()];
        let deps = hallpass::notify::SenderDeps {
            http: hallpass::sys::HttpClient::new(None).unwrap(),
            folder: folder.path().to_owned(),
        };
        let channels = hallpass::notify::Channels::build(&settings, &deps).unwrap();
        channels.iter().next().unwrap().sender.check().await
    };
    let text = channel(&outside, &folder);
    assert_eq!(check(text.clone()).await.unwrap(), "the token is accepted; messages with a Deny button");
    assert!(check(text.replace("T0001", "T0002")).await.unwrap_err().contains("workspace T0001"));
    outside.fail([Fault::Status(500, None)]);
    assert!(check(text).await.unwrap_err().contains("500"));
    assert_eq!((outside.messages().len(), outside.calls()[0].json()), (0, json!({})));
}

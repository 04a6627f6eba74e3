//! A verdict given by form: it binds what was shown, counts once, and says no more than what came of it.

use super::*;
use crate::support::sign_in::{hidden, location};

/// A page's form for a verdict, filled in.
fn form<'f>(page: &'f [(String, String)], more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    page.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more.iter().copied()).collect()
}

fn shown(page: &str) -> Vec<(String, String)> {
    ["csrf", "request_digest", "shown", "once"].map(|name| (name.to_owned(), hidden(page, name))).to_vec()
}

#[tokio::test]
async fn a_request_is_approved_from_its_link_without_scripts() {
    let console = Console::start().await;
    let (task, request) = console.ask(json!({})).await;
    let mut browser = console.browser("ana", APPROVERS).await;
    let path = format!("/r/{request}");
    let page = text(&browser.get(&path).await);
    let fields = shown(&page);
    let done = browser
        .post(&format!("{path}/verdict"), &form(&fields, &[("verdict", "approve"), ("reason", "REL-482")]))
        .await;
    assert_eq!((done.status.as_u16(), location(&done)), (303, path.as_str()));
    let page = text(&browser.get(&path).await);
    assert!(
        page.contains("Granted. release-bot may collect its credential.") && page.contains("You approved it"),
        "{page}"
    );
    assert!(!page.contains("value=\"approve\""), "what is decided has no buttons");
    // The same form once more changes nothing and says the same.
    let again = browser
        .post(&format!("{path}/verdict"), &form(&fields, &[("verdict", "approve"), ("reason", "REL-482")]))
        .await;
    assert_eq!(again.status, 303);
    let collected = console
        .wire
        .call(RELEASE_BOT, "POST", &format!("/v1/tasks/{}/credentials", task["id"].as_str().unwrap()), None)
        .await;
    assert_eq!(collected.json()["credentials"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_is_denied_and_less_than_was_asked_is_approved() {
    let console = Console::start().await;
    let mut browser = console.browser("ana", APPROVERS).await;
    let (_, request) = console.ask(json!({})).await;
    let fields = shown(&text(&browser.get(&format!("/r/{request}")).await));
    browser.post(&format!("/r/{request}/verdict"), &form(&fields, &[("verdict", "deny")])).await;
    assert!(text(&browser.get(&format!("/r/{request}")).await).contains("Denied. release-bot is told."));
    let (_, request) = console.ask(json!({})).await;
    let fields = shown(&text(&browser.get(&format!("/r/{request}")).await));
    let nothing = browser.post(&format!("/r/{request}/verdict"), &form(&fields, &[("verdict", "narrow")])).await;
    assert_eq!(nothing.status, 400);
    assert!(text(&nothing).contains("Choose a shorter life or fewer scopes"));
    let less = [("verdict", "approve"), ("ttl_seconds", "120"), ("reason", "")];
    assert_eq!(browser.post(&format!("/r/{request}/verdict"), &form(&fields, &less)).await.status, 303);
    let page = text(&browser.get(&format!("/r/{request}")).await);
    assert!(page.contains("approved less than was asked") && page.contains("at most 120 s"), "{page}");
}

#[tokio::test]
async fn apr_07_what_is_not_what_was_shown_comes_anew_with_what_changed() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let mut console = Console { wire: Wire::over(harness), people };
    let (_, request) = console.ask(json!({})).await;
    let fields = shown(&text(&console.browser("ana", APPROVERS).await.get(&format!("/r/{request}")).await));
    console.wire.change_bundle(|files| files.get_mut("people.toml").unwrap().push_str("\n# changed\n")).await;
    let mut browser = console.browser("ana", APPROVERS).await;
    let before = hidden(&text(&browser.get(&format!("/r/{request}")).await), "csrf");
    let mut fields: Vec<(String, String)> = fields;
    fields[0].1 = before;
    let stale = browser
        .post(&format!("/r/{request}/verdict"), &form(&fields, &[("verdict", "approve"), ("reason", "x")]))
        .await;
    let page = text(&stale);
    assert_eq!(stale.status, 409, "{page}");
    assert!(page.contains("not what you were shown") && page.contains("The policy bundle in force changed."), "{page}");
    assert_ne!(hidden(&page, "request_digest"), fields[1].1, "the page is the new one");
    assert!(text(&browser.get(&format!("/r/{request}")).await).contains("value=\"approve\""), "it still waits");
}

#[tokio::test]
async fn con_01_a_form_of_another_site_decides_nothing() {
    let console = Console::start().await;
    let (_, request) = console.ask(json!({})).await;
    let mut browser = console.browser("ana", APPROVERS).await;
    let path = format!("/r/{request}");
    let fields = shown(&text(&browser.get(&path).await));
    let verdict = form(&fields, &[("verdict", "approve"), ("reason", "x")]);
    for headers in [
        &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")][..],
        &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        &[("origin", "https://hallpass.test"), ("sec-fetch-site", "same-site")],
    ] {
        let refused = browser.post_from(&format!("{path}/verdict"), &verdict, headers).await;
        assert_eq!(refused.status, 403);
        assert!(text(&refused).contains("csrf-failed"));
    }
    let mut without: Vec<(&str, &str)> = verdict.clone();
    without.retain(|(name, _)| *name != "csrf");
    assert_eq!(browser.post(&format!("{path}/verdict"), &without).await.status, 403);
    assert!(text(&browser.get(&path).await).contains("value=\"approve\""), "it still waits");
}

#[tokio::test]
async fn whoever_cannot_decide_sees_no_buttons_and_one_line_why() {
    let console = Console::start().await;
    let (_, request) = console.ask(json!({})).await;
    let mut browser = console.browser("guest", &[]).await;
    let page = text(&browser.get(&format!("/r/{request}")).await);
    assert!(page.contains("You cannot decide this: only people in release-approvers may."), "{page}");
    for button in ["value=\"approve\"", "value=\"deny\"", "Ask a question"] {
        assert!(!page.contains(button), "{button}");
    }
}

#[tokio::test]
async fn apr_20_the_inbox_has_one_group_for_each_agent_and_one_card_for_like_requests() {
    let console = Console::start().await;
    for _ in 0..3 {
        console.ask(json!({})).await;
    }
    let mut browser = console.browser("ana", APPROVERS).await;
    let page = text(&browser.get("/").await);
    assert_eq!(page.matches("class=\"title\"").count(), 1, "{page}");
    assert!(page.contains("The same again:"));
    assert_eq!(page.matches("href=\"/r/req_").count(), 3);
}

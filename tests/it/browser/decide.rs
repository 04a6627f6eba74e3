//! The whole of it: from the link to a decision. One is approved with a passkey, one denied, one narrowed.

use serde_json::json;

use super::{NOTES, PAGES, PUBLISH, Site, sound};
use crate::support::webdriver::{Browser, DESK, PHONE};

async fn decides(size: (u32, u32), name: &str) {
    let site = Site::start().await;
    let browser = Browser::start(size, true).await;
    let authenticator = browser.add_authenticator().await;
    site.visit(&browser, "/settings", "ann").await;
    browser.click("details:has([data-passkey]) summary").await;
    browser.type_into("#passkey-name", "Laptop").await;
    browser.click("form[data-passkey] button").await;
    browser.says("#passkeys ~ *", "Laptop").await;
    sound(&browser, "settings").await;
    browser.picture(&format!("settings-{name}")).await;

    // Signed with the passkey, from the link: one click besides the passkey.
    let (task, request) = site.waiting(&[PUBLISH]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    assert!(browser.text("h1").await.contains("bench-0"), "{}", browser.text("body").await);
    sound(&browser, "request").await;
    browser.picture(&format!("request-{name}")).await;
    // Who is not the passkey's owner gets nowhere.
    browser.verify_user(&authenticator, false).await;
    browser.click("button[value=approve]").await;
    browser.says("[data-passkey-says]", "not used").await;
    browser.complaints().await;
    browser.verify_user(&authenticator, true).await;
    browser.click("button[value=approve]").await;
    browser.says("main", "signed with a passkey").await;
    sound(&browser, "decided").await;
    browser.picture(&format!("decided-{name}")).await;
    let held = site.collected(&task).await;
    assert_eq!(held[0]["scopes"], json!([PUBLISH]), "{}", site.log());
    let evidence = site.read(&format!("/v1/requests/{request}/evidence")).await;
    assert!(evidence.to_string().contains("signature"), "{evidence}");

    // Denied, in one click.
    let (task, request) = site.waiting(&[NOTES]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    browser.click("button[value=deny]").await;
    browser.says("main", "enied").await;
    assert_eq!(site.collected(&task).await, json!([]));

    // Less than was asked: one of two scopes, for five minutes.
    let (task, request) = site.waiting(&[NOTES, PAGES]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    browser.click("details:has(button[value=narrow]) summary").await;
    browser.click(&format!("input[value='{PAGES}']")).await;
    browser.click("#ttl option[value='300']").await;
    sound(&browser, "narrowing").await;
    browser.picture(&format!("narrow-{name}")).await;
    browser.click("button[value=narrow]").await;
    browser.says("main", "without").await;
    let held = site.collected(&task).await;
    assert_eq!(held[0]["scopes"], json!([NOTES]), "{}", site.log());
    let lease = site.read("/v1/leases?live=true").await;
    assert!(lease.to_string().contains(NOTES) && !lease.to_string().contains(PAGES), "{lease}");
}

#[tokio::test]
async fn apr_25_a_person_approves_with_a_passkey_denies_and_narrows_on_a_phone() {
    decides(PHONE, "phone").await;
}

#[tokio::test]
async fn a_person_approves_with_a_passkey_denies_and_narrows_at_a_desk() {
    decides(DESK, "desk").await;
}

async fn decides_without_scripts(size: (u32, u32), name: &str) {
    let site = Site::start().await;
    let browser = Browser::start(size, false).await;
    let (task, request) = site.waiting(&[NOTES, PAGES]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    browser.picture(&format!("request-no-script-{name}")).await;
    browser.click("details:has(button[value=narrow]) summary").await;
    browser.click(&format!("input[value='{PAGES}']")).await;
    browser.click("button[value=narrow]").await;
    browser.says("main", "without").await;
    assert_eq!(site.collected(&task).await[0]["scopes"], json!([NOTES]), "{}", site.log());

    let (task, request) = site.waiting(&[NOTES]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    browser.click("button[value=approve]").await;
    browser.says("main", "rant").await;
    assert_eq!(site.collected(&task).await[0]["scopes"], json!([NOTES]), "{}", site.log());

    // What a passkey must sign cannot be signed without a script: the page says so, a yes is refused, a no is taken.
    let (task, request) = site.waiting(&[PUBLISH]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    browser.says("main", "needs JavaScript").await;
    browser.click("button[value=approve]").await;
    browser.says("main", "passkey").await;
    assert_eq!(site.read(&format!("/v1/requests/{request}")).await["state"], "pending");
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    browser.click("button[value=deny]").await;
    browser.says("main", "enied").await;
    assert_eq!(site.collected(&task).await, json!([]));
}

#[tokio::test]
async fn everything_but_passkeys_works_without_scripts_on_a_phone() {
    decides_without_scripts(PHONE, "phone").await;
}

#[tokio::test]
async fn everything_but_passkeys_works_without_scripts_at_a_desk() {
    decides_without_scripts(DESK, "desk").await;
}

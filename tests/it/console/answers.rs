//! What every answer of the console wears, and what is on its pages.

use std::io::Read as _;

use axum::body::Body;
use axum::http::Request;
use flate2::read::GzDecoder;
use serde_json::json;

use super::*;
use crate::support::sign_in::location;

const PAGES: [&str; 9] = [
    "/",
    "/live",
    "/tasks",
    "/agents",
    "/agents/release-bot",
    "/policies",
    "/policies/low-risk-reads",
    "/settings",
    "/insights",
];

#[tokio::test]
async fn con_03_every_page_says_what_may_run_and_that_nobody_may_frame_or_keep_it() {
    let console = Console::start().await;
    let mut browser = console.browser("olga", &["hallpass-operators"]).await;
    let (task, request) = console.ask(json!({})).await;
    let more = [format!("/r/{request}"), format!("/tasks/{}", task["id"].as_str().unwrap()), "/r/nothing".to_owned()];
    let mut nonces = std::collections::BTreeSet::new();
    for path in PAGES.iter().map(ToString::to_string).chain(more) {
        let reply = browser.get(&path).await;
        let header = |name: &str| reply.headers.get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                 trusted-types htmx"
            ),
            "{path}"
        );
        assert!(nonces.insert(nonce.clone()) && nonce.len() >= 43, "a nonce is for one answer");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("strict-transport-security", "max-age=63072000"),
        ] {
            assert_eq!(header(name), value, "{name} of {path}");
        }
        assert!(header("permissions-policy").contains("camera=()"));
        let page = text(&reply);
        for tag in ["<script", "<link rel=\"stylesheet\""] {
            for part in page.split(tag).skip(1) {
                assert!(part.split('>').next().unwrap().contains(&format!("nonce=\"{nonce}\"")), "{tag} of {path}");
            }
        }
        assert!(!page.contains(" style=") && !page.contains(" onclick") && !page.contains("<style"), "{path}");
        assert!(!page.contains("//") || !page.contains("src=\"http"), "{path} fetches from elsewhere");
    }
}

#[tokio::test]
async fn a_page_with_all_it_brings_along_weighs_less_than_60_kilobytes() {
    let console = Console::start().await;
    let mut browser = console.browser("ana", APPROVERS).await;
    let (_, request) = console.ask(json!({ "message": "m".repeat(500) })).await;
    let mut get = async |path: &str| {
        let request = Request::get(path).header("accept-encoding", "gzip").body(Body::empty()).unwrap();
        browser.send(request).await
    };
    let page = get(&format!("/r/{request}")).await;
    assert_eq!(page.headers["content-encoding"], "gzip");
    let mut html = String::new();
    GzDecoder::new(&page.body[..]).read_to_string(&mut html).unwrap();
    let mut weight = page.body.len();
    for part in html.split("\"/static/").skip(1) {
        let asset = get(&format!("/static/{}", part.split('"').next().unwrap())).await;
        assert_eq!((asset.status.as_u16(), &asset.headers["content-encoding"]), (200, &"gzip".parse().unwrap()));
        assert!(asset.headers["cache-control"].to_str().unwrap().ends_with("immutable"));
        weight += asset.body.len();
    }
    assert!((10_000..60 * 1024).contains(&weight), "{weight} bytes");
}

#[tokio::test]
async fn con_02_texts_of_an_agent_stay_texts() {
    let console = Console::start().await;
    let mut browser = console.browser("olga", &["hallpass-operators", "release-approvers"]).await;
    for attack in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        "javascript:alert(1)",
        "</blockquote></main><form action=//evil.example>",
        "{{7*7}} ${7*7} <%= 7*7 %>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "https://evil.example/approve",
    ] {
        let ask =
            json!({ "purpose": attack, "message": attack, "references": { "ticket": attack }, "on_behalf_of": attack });
        let (task, request) = console.ask(ask).await;
        let task = task["id"].as_str().unwrap().to_owned();
        for path in [format!("/r/{request}"), format!("/tasks/{task}"), "/tasks".to_owned()] {
            let page = text(&browser.get(&path).await);
            assert!(read_aloud(&page).contains(attack), "{path} does not show {attack}");
            // Whatever is between `<` and `>` is ours.
            let tags: Vec<&str> = page.split('<').skip(1).filter_map(|rest| rest.split('>').next()).collect();
            for word in ["alert(", "evil.example", "javascript:", "7*7"] {
                assert!(!tags.iter().any(|tag| tag.contains(word)), "{path} has {word} in a tag");
            }
        }
        let closed = console.wire.call(RELEASE_BOT, "POST", &format!("/v1/tasks/{task}/cancel"), None).await;
        assert_eq!(closed.status, 200);
    }
}

#[tokio::test]
async fn con_12_events_are_exported_without_formulas() {
    let console = Console::start().await;
    console.ask(json!({})).await;
    let mut browser = console.browser("otto", &["hallpass-auditors"]).await;
    let reply = browser.get("/events.csv?kind=access.").await;
    let csv = text(&reply);
    assert_eq!(reply.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert!(csv.starts_with("seq,actor,at,kind,") && csv.lines().count() >= 2, "{csv}");
    assert!(
        csv.lines().skip(1).all(|line| line.contains("\"agent:release-bot\"") && line.contains("\"access.")),
        "{csv}"
    );
}

#[tokio::test]
async fn whoever_is_not_signed_in_comes_back_to_where_they_wanted_to_be() {
    let console = Console::start().await;
    let (_, request) = console.ask(json!({})).await;
    let mut browser = Browser::new(&console.wire);
    let away = browser.get(&format!("/r/{request}")).await;
    assert_eq!(away.status, 303);
    let to = location(&away).to_owned();
    let back = browser.sign_in(&console.people, &to, "ana", APPROVERS).await;
    assert_eq!(location(&back), format!("/r/{request}"));
    assert!(text(&browser.get(&format!("/r/{request}")).await).contains("Approve"));
}

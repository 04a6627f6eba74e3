//! Every page of the console, as a person finds it: nothing is wrong with it, on any screen, by keyboard too; what an agent says is
//! shown and never run; and what other sites try comes to nothing.

use serde_json::{Value, json};

use super::{NOTES, PUBLISH, Site, sound};
use crate::support::webdriver::{Browser, DESK, PHONE};

/// The narrowest screen that counts, and what a desk's becomes when it is zoomed to 200 %.
const NARROW: (u32, u32) = (320, 640);

/// Most bytes that come over the wire for a page with everything it brings along.
const MAX_BYTES: u64 = 60_000;

/// What came over the wire for the page, as the browser counted it; every part of it from the broker.
async fn weight(browser: &Browser) -> u64 {
    let script = "const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]; \
        return [all.reduce((sum, one) => sum + one.encodedBodySize, 0), all.filter((one) => new URL(one.name).host !== location.host).length]";
    let found = browser.run(script).await;
    assert_eq!(found[1], json!(0), "nothing comes from anybody else");
    found[0].as_u64().unwrap()
}

#[tokio::test]
async fn axe_finds_nothing_wrong_with_any_page_and_each_fits_every_screen() {
    let site = Site::start().await;
    let read = json!({ "purpose": "Read", "scopes": ["api:releases:read"], "ttl_seconds": 600 });
    let task = site.agent("/v1/tasks", &read).await;
    let (id, decision) = (task["id"].as_str().unwrap(), task["requests"][0]["decision"].as_str().unwrap());
    let (_, request) = site.waiting(&[PUBLISH]).await;
    site.waiting(&[NOTES]).await;
    let paths = [
        ("inbox", "/".to_owned()),
        ("request", format!("/r/{request}")),
        ("live", "/live".to_owned()),
        ("tasks", "/tasks".to_owned()),
        ("task", format!("/tasks/{id}")),
        ("agents", "/agents".to_owned()),
        ("agent", "/agents/bench-0".to_owned()),
        ("policies", "/policies".to_owned()),
        ("policy", "/policies/high-risk-needs-a-person".to_owned()),
        ("decision", format!("/decisions/{decision}")),
        ("insights", "/insights".to_owned()),
        ("settings", "/settings".to_owned()),
        ("device", "/device".to_owned()),
        ("nothing", "/tasks/tsk_0".to_owned()),
    ];
    for (screen, size) in [("phone", PHONE), ("desk", DESK), ("narrow", NARROW)] {
        let browser = Browser::start(size, true).await;
        for (name, path) in &paths {
            site.visit(&browser, path, "ann").await;
            if *name == "nothing" {
                // A browser notes by itself that a page was not found.
                browser.complaints().await;
            }
            sound(&browser, &format!("{name} on {screen}")).await;
            assert!(weight(&browser).await < MAX_BYTES, "{name} weighs {} bytes", weight(&browser).await);
            browser.picture(&format!("{name}-{screen}")).await;
        }
        let cookies = browser.cookies().await;
        assert!(!cookies.is_empty());
        for cookie in cookies {
            assert!(cookie["name"].as_str().unwrap().starts_with("__Host-"), "{cookie}");
            assert_eq!((&cookie["httpOnly"], &cookie["secure"]), (&json!(true), &json!(true)), "{cookie}");
        }
        let kept = browser.run("return Object.keys(localStorage).length + Object.keys(sessionStorage).length").await;
        assert_eq!(kept, json!(0), "con_06: nothing is kept in the page's storage");
    }
}

/// Texts of an agent's that would do something if a page let them.
const NASTY: [&str; 6] = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "javascript:document.title='owned'",
    "\" autofocus onfocus=\"document.title='owned'",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "<a href=\"https://evil.example\">click</a> https://evil.example/",
];

#[tokio::test]
async fn con_02_what_an_agent_says_is_shown_and_never_run() {
    let site = Site::start().await;
    let browser = Browser::start(DESK, true).await;
    for nasty in NASTY {
        let ask = json!({
            "purpose": nasty, "scopes": [NOTES], "ttl_seconds": 600, "message": nasty, "references": { "ticket": nasty },
        });
        let task = site.agent("/v1/tasks", &ask).await;
        let request = task["requests"][0]["id"].as_str().unwrap();
        for path in [format!("/r/{request}"), format!("/tasks/{}", task["id"].as_str().unwrap()), "/".to_owned()] {
            site.visit(&browser, &path, "ann").await;
            assert!(!browser.run("return document.title").await.as_str().unwrap().contains("owned"), "{nasty}");
            let links =
                browser.run("return [...document.links].map((a) => a.host).filter((h) => h !== location.host)").await;
            assert_eq!(links, json!([]), "{nasty} at {path}");
            assert!(browser.complaints().await.is_empty(), "{nasty}");
        }
        site.visit(&browser, &format!("/r/{request}"), "ann").await;
        let shown = browser.run("return [...document.querySelectorAll('blockquote')].map((q) => q.textContent)").await;
        let shown: Vec<&Value> = shown.as_array().unwrap().iter().collect();
        assert!(shown.iter().any(|text| text.as_str().unwrap().contains(&nasty[..10])), "{nasty}: {shown:?}");
        let scope = browser.run("return document.querySelector('[data-scope]').textContent").await;
        assert_eq!(scope, json!(NOTES), "con_08: the scope is what its canonical form says");
    }
}

/// Another web site, with this page.
async fn elsewhere(page: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/", axum::routing::get(async move || axum::response::Html(page.clone())));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn con_03_no_page_lets_itself_be_framed() {
    let site = Site::start().await;
    let browser = Browser::start(DESK, true).await;
    site.visit(&browser, "/", "ann").await;
    let page = format!("<!doctype html><title>evil</title><iframe src=\"{}/live\"></iframe>", site.url);
    browser.open(&elsewhere(page).await).await;
    browser
        .until("the browser says that it refused", async || {
            browser.complaints().await.iter().any(|said| said.contains("frame"))
        })
        .await;
}

#[tokio::test]
async fn con_01_a_form_of_another_site_is_refused() {
    let site = Site::start().await;
    let browser = Browser::start(DESK, true).await;
    let (_, request) = site.waiting(&[NOTES]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    let digest = browser.property("[name=request_digest]", "value").await;
    let csrf = browser.property("[name=csrf]", "value").await;
    // Another site that has even got hold of the token: its form is a form of another site's all the same.
    let form = format!(
        "<!doctype html><title>evil</title><form method=post action=\"{}/r/{request}/verdict\"><input name=csrf value=@CSRF@>\
         <input name=request_digest value=@DIGEST@><button name=verdict value=approve>go</button></form>",
        site.url
    );
    let (csrf, digest) = (csrf.as_str().unwrap(), digest.as_str().unwrap());
    let form = form.replace("@CSRF@", csrf).replace("@DIGEST@", digest);
    browser.open(&elsewhere(form).await).await;
    browser.click("button").await;
    // The session's cookie is not sent along; whoever comes without one is sent to sign in, and nothing is done.
    browser.until("the broker answers", async || browser.url().await.starts_with(&site.url)).await;
    assert_eq!(site.read(&format!("/v1/requests/{request}")).await["state"], "pending");
}

#[tokio::test]
async fn the_console_can_be_used_by_keyboard_alone() {
    let site = Site::start().await;
    let browser = Browser::start(DESK, true).await;
    let (_, request) = site.waiting(&[NOTES]).await;
    site.visit(&browser, &format!("/r/{request}"), "ann").await;
    // Nothing that decides has the focus by itself.
    let focused = browser.run("return document.activeElement.tagName").await;
    assert_eq!(focused, json!("BODY"), "con_09");
    for _ in 0..60 {
        browser.press(&["\u{E004}"]).await;
        if browser.run("return document.activeElement.value").await == json!("deny") {
            break;
        }
    }
    let outlined = browser.run("return getComputedStyle(document.activeElement).outlineStyle").await;
    assert_ne!(outlined, json!("none"), "whoever uses the keyboard sees where they are");
    browser.press(&["\u{E007}"]).await;
    browser.says("main", "enied").await;
    assert_eq!(site.read(&format!("/v1/requests/{request}")).await["state"], "denied");
}

//! Sessions: a new one each time, over at once when ended, idle, too old, or their person's no more; and nothing but the cookie
//! and a bearer of our own opens them.

use serde_json::{Value, json};

use crate::support::harness::{Harness, Options};
use crate::support::sign_in::{Browser, People, location, text};

async fn world() -> (People, Harness) {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    (people, harness)
}

async fn is_in(browser: &mut Browser<'_>) -> bool {
    let cookies = browser.cookies.clone();
    let status = browser.get("/device").await.status;
    browser.cookies = cookies;
    assert!(matches!(status.as_u16(), 200 | 303), "{status}");
    status == 200
}

async fn ends(harness: &Harness) -> Vec<Value> {
    let page = harness.get("/v1/events?limit=200&kind=session.ended", &harness.operator()).await.expect(200);
    page["items"].as_array().unwrap().iter().map(|item| item["event"]["data"]["reason"].clone()).collect()
}

#[tokio::test]
async fn con_05_each_sign_in_makes_a_new_session_and_ends_the_one_before() {
    let (people, harness) = world().await;
    let mut browser = Browser::new(&harness);
    browser.cookies.insert("__Host-hallpass".to_owned(), "planted-by-somebody-else-0123456789abcdefgh".to_owned());
    browser.sign_in(&people, "/sign-in", "ann", &[]).await;
    let first = browser.session().unwrap().to_owned();
    assert!(!first.starts_with("planted"), "what was there before is not what there is now");
    browser.sign_in(&people, "/sign-in?step_up=1", "ann", &[]).await;
    let second = browser.session().unwrap().to_owned();
    assert_ne!(first, second);
    let mut old = Browser::new(&harness);
    old.cookies.insert("__Host-hallpass".to_owned(), first);
    assert!(!is_in(&mut old).await && is_in(&mut browser).await);
    assert_eq!(ends(&harness).await, [json!("replaced")]);
}

#[tokio::test]
async fn con_05_a_session_is_over_at_once_when_its_person_signs_out() {
    let (people, harness) = world().await;
    let mut browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let kept = browser.cookies.clone();
    let csrf = browser.csrf().await;
    let reply = browser.post("/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!((reply.status.as_u16(), location(&reply)), (303, "/sign-in?signed_out=1"));
    assert!(browser.cookies.is_empty());
    browser.cookies = kept;
    assert!(!is_in(&mut browser).await, "the cookie opens nothing any more");
    let page = Browser::new(&harness).get("/sign-in?signed_out=1").await;
    assert_eq!(page.status, 200);
    assert!(text(&page).contains("href=\"/sign-in?next=%2F\""), "{}", text(&page));
    assert_eq!(ends(&harness).await, [json!("signed_out")]);
}

#[tokio::test]
async fn con_05_a_session_that_nobody_uses_ends_after_a_quarter_of_an_hour_and_any_after_eight_hours() {
    let (people, harness) = world().await;
    let mut idle = Browser::signed_in(&harness, &people, "ann", &[]).await;
    harness.clock.advance_secs(899);
    assert!(is_in(&mut idle).await);
    harness.clock.advance_secs(899);
    assert!(is_in(&mut idle).await, "use makes it last");
    harness.clock.advance_secs(900);
    assert!(!is_in(&mut idle).await);
    let mut busy = Browser::signed_in(&harness, &people, "ann", &[]).await;
    for _ in 0..47 {
        harness.clock.advance_secs(600);
        assert!(is_in(&mut busy).await);
    }
    harness.clock.advance_secs(599);
    assert!(is_in(&mut busy).await, "a second before eight hours");
    harness.clock.advance_secs(1);
    assert!(!is_in(&mut busy).await);
    harness.broker.sweep_memory().await.unwrap();
    let all = harness.get("/v1/sessions?all=true", &harness.operator()).await.expect(200);
    assert_eq!(all["items"], json!([]));
}

#[tokio::test]
async fn that_a_session_is_used_is_written_once_a_minute() {
    let (people, harness) = world().await;
    let mut browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let operator = harness.operator();
    let seen =
        async || harness.get("/v1/sessions?all=true", &operator).await.expect(200)["items"][0]["seen_at"].clone();
    let at_first = seen().await;
    harness.clock.advance_secs(59);
    assert!(is_in(&mut browser).await);
    assert_eq!(seen().await, at_first);
    harness.clock.advance_secs(1);
    assert!(is_in(&mut browser).await);
    assert_ne!(seen().await, at_first);
}

#[tokio::test]
async fn con_05_somebody_who_may_revoke_ends_anybodys_sessions_and_everybody_their_own() {
    let (people, harness) = world().await;
    let (ann, bob) = (format!("{}#ann", people.issuer()), format!("{}#bob", people.issuer()));
    let mut one = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let mut two = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let mut other = Browser::signed_in(&harness, &people, "bob", &[]).await;
    let guest = harness.person("guest", &[]);
    let own = harness.get("/v1/sessions", &guest).await.expect(200);
    assert_eq!(own["items"], json!([]), "a bearer of an issuer has none");
    harness.get("/v1/sessions?all=true", &guest).await.expect(403);
    harness.get(&format!("/v1/sessions?person={}", ann.replace('#', "%23")), &guest).await.expect(403);
    let operator = harness.operator();
    let all = harness.get("/v1/sessions?all=true", &operator).await.expect(200);
    let of = |person: &str| {
        let items = all["items"].as_array().unwrap().iter();
        items
            .filter(|item| item["person"] == person)
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!((of(&ann).len(), of(&bob).len()), (2, 1));
    let path = format!("/v1/sessions/{}/end", of(&bob)[0]);
    harness.call("POST", &path, &guest, None, &[]).await.expect(404);
    assert_eq!(harness.call("POST", &path, &operator, None, &[]).await.expect(200)["person"], json!(bob));
    harness.call("POST", &path, &operator, None, &[]).await.expect(404);
    assert!(!is_in(&mut other).await && is_in(&mut one).await && is_in(&mut two).await);
    harness.post("/v1/sessions/end-all", &guest, &json!({ "person": ann })).await.expect(403);
    assert_eq!(harness.post("/v1/sessions/end-all", &guest, &json!({})).await.expect(200), json!({ "ended": 0 }));
    let answer = harness.post("/v1/sessions/end-all", &operator, &json!({ "person": ann })).await.expect(200);
    assert_eq!(answer, json!({ "ended": 2 }));
    assert!(!is_in(&mut one).await && !is_in(&mut two).await);
    assert_eq!(ends(&harness).await, [json!("revoked"), json!("revoked"), json!("revoked")]);
}

#[tokio::test]
async fn con_05_a_person_who_is_disabled_is_out_at_once_however_they_came() {
    let (people, mut harness) = world().await;
    let cookies = Browser::signed_in(&harness, &people, "ann", &[]).await.cookies;
    harness
        .change_bundle(|files| {
            let register = files.get_mut("people.toml").unwrap();
            register.push_str("\n[[person]]\nname = \"ann\"\nemail = \"ann@idp.example\"\n");
        })
        .await;
    let mut browser = Browser::new(&harness);
    browser.cookies.clone_from(&cookies);
    assert!(text(&browser.get("/device").await).contains("<strong>ann</strong>"), "the register counts at once");
    drop(browser);
    harness
        .change_bundle(|files| {
            let register = files.get_mut("people.toml").unwrap();
            register.push_str(
                "disabled = true\nidentities = [{ issuer = \"http://127.0.0.1:8601/people\", subject = \"ann\" }]\n",
            );
        })
        .await;
    let mut browser = Browser::new(&harness);
    browser.cookies = cookies;
    assert!(!is_in(&mut browser).await);
    let reply = browser.sign_in(&people, "/sign-in", "ann", &[]).await;
    assert_eq!(reply.status, 400, "and cannot come back");
    harness.get("/v1/whoami", &harness.person("ann", &[])).await.expect(401);
    let page = harness.get("/v1/events?limit=200&kind=identity.rejected", &harness.operator()).await.expect(200);
    assert_eq!(page["items"][0]["event"]["data"]["reason"], json!("person_disabled"));
}

#[tokio::test]
async fn one_person_has_at_most_twenty_sessions() {
    let (people, harness) = world().await;
    let mut first = Browser::signed_in(&harness, &people, "ann", &[]).await;
    for _ in 0..19 {
        harness.clock.advance_secs(1);
        Browser::signed_in(&harness, &people, "ann", &[]).await;
    }
    assert!(is_in(&mut first).await);
    Browser::signed_in(&harness, &people, "ann", &[]).await;
    assert!(!is_in(&mut first).await);
    assert_eq!(ends(&harness).await, [json!("too_many")]);
}

#[tokio::test]
async fn con_01_a_form_that_no_page_of_the_session_sent_changes_nothing() {
    let (people, harness) = world().await;
    let mut browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let mut other = Browser::signed_in(&harness, &people, "eve", &[]).await;
    let (csrf, foreign) = (browser.csrf().await, other.csrf().await);
    assert_ne!(csrf, foreign);
    let ours = ("origin", "https://hallpass.test");
    let refused = async |browser: &mut Browser<'_>, fields: &[(&str, &str)], headers: &[(&str, &str)], why: &str| {
        let reply = browser.post_from("/sign-out", fields, headers).await;
        assert_eq!(reply.status, 403, "{fields:?} {headers:?}");
        let page = String::from_utf8(reply.body).unwrap();
        assert!(page.contains("csrf-failed"), "{why}: {page}");
    };
    refused(&mut browser, &[], &[ours], "token").await;
    refused(&mut browser, &[("csrf", &foreign)], &[ours], "token").await;
    refused(&mut browser, &[("csrf", &csrf), ("csrf", &csrf)], &[ours], "token").await;
    let evil = ("origin", "https://evil.example");
    refused(&mut browser, &[("csrf", &csrf)], &[evil], "origin").await;
    refused(&mut browser, &[("csrf", &csrf)], &[ours, ("sec-fetch-site", "cross-site")], "origin").await;
    refused(&mut browser, &[("csrf", &csrf)], &[("origin", "null")], "origin").await;
    let json = http::Request::post("/sign-out").header("content-type", "text/plain").header("origin", ours.1);
    let reply = browser.send(json.body(axum::body::Body::from(format!("csrf={csrf}"))).unwrap()).await;
    assert_eq!(reply.status.as_u16(), 403);
    assert!(is_in(&mut browser).await, "nobody was signed out");
    let mut nobody = Browser::new(&harness);
    assert_eq!(nobody.post("/sign-out", &[("csrf", &csrf)]).await.status, 303, "nobody is sent to sign in");
    assert_eq!(browser.post("/sign-out", &[("csrf", &csrf)]).await.status, 303);
}

#[tokio::test]
async fn con_06_a_cookie_is_no_bearer_and_what_the_database_keeps_opens_nothing() {
    let (people, harness) = world().await;
    let browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let secret = browser.session().unwrap().to_owned();
    for bearer in [secret.clone(), format!("hps_{secret}")] {
        harness.get("/v1/whoami", &bearer).await.expect(401);
    }
    let with_cookie = http::Request::get("/v1/whoami").header("cookie", format!("__Host-hallpass={secret}"));
    assert_eq!(harness.send(with_cookie.body(axum::body::Body::empty()).unwrap()).await.status, 401);
    let stored = hallpass::sys::sha256(&secret).to_string();
    for stolen in [stored.trim_start_matches("sha256:"), &stored] {
        let mut thief = Browser::new(&harness);
        thief.cookies.insert("__Host-hallpass".to_owned(), stolen.replace(':', ""));
        assert!(!is_in(&mut thief).await);
    }
}

#[tokio::test]
async fn parts_of_a_page_and_streams_are_told_to_sign_in_in_their_own_ways() {
    let (_people, harness) = world().await;
    let ask = |name: &'static str, value: &'static str| {
        let request = http::Request::get("/device")
            .header(name, value)
            .header("hx-current-url", "https://hallpass.test/device?user_code=X");
        harness.send(request.body(axum::body::Body::empty()).unwrap())
    };
    let part = ask("hx-request", "true").await;
    assert_eq!(part.status, 401);
    assert_eq!(part.headers["hx-redirect"], "/sign-in?next=%2Fdevice%3Fuser_code%3DX");
    assert_eq!(ask("accept", "text/event-stream").await.status, 401);
}

#[tokio::test]
async fn con_05_what_was_ended_after_a_backup_does_not_come_back_with_it() {
    let people = People::start().await;
    let mut harness = people.harness(Options::default()).await;
    let browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let cookies = browser.cookies;
    harness.clock.advance_secs(1);
    let fork = harness.fork().await;
    let mut restored = Browser::new(&fork);
    restored.cookies = cookies;
    assert_eq!(restored.get("/device").await.status, 303, "the copy of a database has nobody signed in");
}

//! What must not sign anybody in, and where nobody is sent.

use serde_json::{Value, json};

use crate::support::harness::Options;
use crate::support::idp::TestKey;
use crate::support::sign_in::{Browser, Manners, People, location, text};

/// A sign-in with a provider that behaves like this: refused, and nobody is signed in.
async fn is_refused(what: &str, change: impl FnOnce(&mut Manners)) {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    people.be(change);
    let mut browser = Browser::new(&harness);
    let reply = browser.sign_in(&people, "/sign-in", "ann", &[]).await;
    assert_eq!(reply.status, 400, "{what}: {}", text(&reply));
    assert!(browser.cookies.is_empty(), "{what}: the question was answered, and nobody is signed in");
}

#[tokio::test]
async fn a_person_signs_in_and_comes_to_where_they_wanted() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let mut browser = Browser::new(&harness);
    let away = browser.get("/device?user_code=BCDF-GHJK").await;
    assert_eq!(away.status, 303);
    assert_eq!(location(&away), "/sign-in?next=%2Fdevice%3Fuser_code%3DBCDF-GHJK");
    let reply = browser.sign_in(&people, location(&away), "ann", &["release-approvers"]).await;
    assert_eq!((reply.status.as_u16(), location(&reply)), (303, "/device?user_code=BCDF-GHJK"));
    assert!(browser.session().is_some_and(|secret| secret.len() == 43));
    assert_eq!(browser.cookies.len(), 1, "the flow's cookie is gone");
    let page = browser.get("/device").await;
    assert_eq!(page.status, 200);
    assert!(text(&page).contains(&format!("{}#ann", people.issuer())), "{}", text(&page));
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    let again = browser.get("/sign-in?next=/device").await;
    assert_eq!(location(&again), "/device", "who is signed in already goes on");
}

#[tokio::test]
async fn con_04_an_answer_with_another_state_or_no_question_signs_nobody_in() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let mut browser = Browser::new(&harness);
    let sent_to = browser.begin("/sign-in").await;
    let good = people.sign_in(&sent_to, "ann", &[]);
    let flow = browser.cookies.clone();
    let state = sent_to.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    for wrong in [
        good.replace(&state, "x"),
        good.replace("state=", "stat="),
        format!("{good}&state={state}"),
        format!("{good}&code=x"),
        good.replace("code=", "cod="),
        "/sign-in/callback".to_owned(),
        format!("/sign-in/callback?error=access_denied&state={state}&iss={}", people.issuer()),
    ] {
        browser.cookies.clone_from(&flow);
        let reply = browser.get(&wrong).await;
        assert_eq!(reply.status, 400, "{wrong}: {}", text(&reply));
        assert!(browser.cookies.is_empty(), "{wrong}");
    }
    let mut other = Browser::new(&harness);
    assert_eq!(other.get(&good).await.status, 400, "a browser that asked nothing");
    other.begin("/sign-in").await;
    assert_eq!(other.get(&good).await.status, 400, "a browser that asked another question");
    let mut forged = Browser::new(&harness);
    let mut bent = flow["__Host-hallpass-flow"].clone().into_bytes();
    bent[40] = if bent[40] == b'A' { b'B' } else { b'A' };
    forged.cookies.insert("__Host-hallpass-flow".to_owned(), String::from_utf8(bent).unwrap());
    assert_eq!(forged.get(&good).await.status, 400, "a cookie that somebody changed");
    browser.cookies = flow;
    assert_eq!(browser.get(&good).await.status, 303, "the right one still does");
}

#[tokio::test]
async fn con_04_an_answer_that_comes_too_late_or_twice_signs_nobody_in() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let mut browser = Browser::new(&harness);
    let sent_to = browser.begin("/sign-in").await;
    let back = people.sign_in(&sent_to, "ann", &[]);
    let flow = browser.cookies.clone();
    harness.clock.advance_secs(600);
    assert_eq!(browser.get(&back).await.status, 400, "after ten minutes");
    let sent_to = browser.begin("/sign-in").await;
    let back = people.sign_in(&sent_to, "ann", &[]);
    let kept = browser.cookies.clone();
    assert_eq!(browser.get(&back).await.status, 303);
    let mut thief = Browser::new(&harness);
    thief.cookies.clone_from(&kept);
    assert_eq!(thief.get(&back).await.status, 400, "the provider takes no code twice");
    people.be(|manners| manners.forgetful = true);
    let sent_to = browser.begin("/sign-in?step_up=1").await;
    let back = people.sign_in(&sent_to, "ann", &[]);
    let kept = browser.cookies.clone();
    assert_eq!(browser.get(&back).await.status, 303);
    thief.cookies = kept;
    thief.cookies.remove("__Host-hallpass");
    let reply = thief.get(&back).await;
    assert_eq!(reply.status, 400, "not even where the provider would: {}", text(&reply));
    assert!(thief.session().is_none() && flow.len() == 1);
}

#[tokio::test]
async fn con_04_the_issuer_of_an_answer_must_be_the_one_that_was_asked() {
    is_refused("no iss, though the provider says it sends one", |manners| manners.iss = None).await;
    is_refused("another iss", |manners| manners.iss = Some("https://evil.example".to_owned())).await;
    is_refused("another iss, where none is promised", |manners| {
        manners.says_iss = false;
        manners.iss = Some("https://evil.example".to_owned());
    })
    .await;
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    people.be(|manners| (manners.says_iss, manners.iss) = (false, None));
    Browser::signed_in(&harness, &people, "ann", &[]).await;
}

#[tokio::test]
async fn con_04_an_id_token_for_another_question_client_or_issuer_signs_nobody_in() {
    let cases: [(&str, Value); 13] = [
        ("another nonce", json!({ "nonce": "x" })),
        ("no nonce", json!({ "nonce": null })),
        ("another audience", json!({ "aud": "other" })),
        ("our public URL, as bearers have it", json!({ "aud": "https://hallpass.test" })),
        ("a second audience and no authorized party", json!({ "aud": ["hallpass", "other"] })),
        ("another authorized party", json!({ "azp": "other" })),
        ("another issuer that we trust", json!({ "iss": "http://127.0.0.1:8601/people" })),
        ("an issuer of agents", json!({ "iss": "http://127.0.0.1:8601" })),
        ("expired", json!({ "exp": 1_799_999_900 })),
        ("without exp", json!({ "exp": null })),
        ("without iat", json!({ "iat": null })),
        ("auth_time as text", json!({ "auth_time": "1800000000" })),
        ("a proof of the future", json!({ "auth_time": 1_800_009_000 })),
    ];
    for (what, claims) in cases {
        is_refused(what, |manners| manners.claims = claims).await;
    }
    is_refused("signed by another key", |manners| manners.signer = Some(TestKey::es256("people-1"))).await;
}

#[tokio::test]
async fn con_04_nobody_is_sent_to_another_site() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    for next in
        ["//evil.example", "/%5Cevil.example", "https://evil.example", "%2F%2Fevil.example", "/%09/evil.example"]
    {
        let mut browser = Browser::new(&harness);
        let from = format!("/sign-in?next={next}");
        let reply = browser.sign_in(&people, &from, "ann", &[]).await;
        assert_eq!((reply.status.as_u16(), location(&reply)), (303, "/"), "{next}");
        assert_eq!(location(&browser.get(&from).await), "/", "{next}");
    }
}

#[tokio::test]
async fn somebody_who_only_begins_costs_no_row_and_is_counted() {
    let people = People::start().await;
    let mut options = Options::default();
    options.limits.address_per_minute = 10;
    let harness = people.harness(options).await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(Browser::new(&harness).get("/sign-in").await.status.as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 10, "{statuses:?}");
    assert_eq!(statuses[11], 429);
    let page = harness.get("/v1/events?limit=200&kind=session.", &harness.operator()).await.expect(200);
    assert_eq!(page["items"], json!([]));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_told_from_a_refusal() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    people.be(|manners| manners.down = true);
    let reply = Browser::new(&harness).get("/sign-in").await;
    assert_eq!(reply.status, 503);
    assert!(text(&reply).contains("cannot be reached"), "{}", text(&reply));
}

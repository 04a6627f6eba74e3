//! Signing a command line in: at the door, step by step; and the commands themselves against `hallpass dev`, with a person in a
//! browser of ours.

use http::Request;
use serde_json::{Value, json};

use crate::support::harness::{Harness, Options, Reply};
use crate::support::sign_in::{Browser, People, hidden, text};

async fn world() -> (People, Harness) {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    (people, harness)
}

async fn form(harness: &Harness, path: &str, fields: &[(&str, &str)]) -> Reply {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    harness.send(request.body(body.into()).unwrap()).await
}

async fn ask(harness: &Harness) -> Value {
    let fields = [("client_id", "hallpass-cli"), ("client_name", "hallpass on <b>ann's\u{202e}</b> laptop")];
    form(harness, "/oauth/device_authorization", &fields).await.expect(200)
}

async fn poll(harness: &Harness, asked: &Value) -> Reply {
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let code = asked["device_code"].as_str().unwrap();
    form(harness, "/oauth/token", &[("grant_type", grant), ("device_code", code), ("client_id", "hallpass-cli")]).await
}

async fn answer(browser: &mut Browser<'_>, asked: &Value, answer: &str) -> Reply {
    let page = browser.get(&format!("/device?user_code={}", asked["user_code"].as_str().unwrap())).await;
    let page = text(&page);
    let (csrf, code) = (hidden(&page, "csrf"), hidden(&page, "user_code"));
    browser.post("/device", &[("csrf", &csrf), ("user_code", &code), ("answer", answer)]).await
}

#[tokio::test]
async fn a_person_signs_a_command_line_in_and_it_acts_as_them() {
    let (people, harness) = world().await;
    let asked = ask(&harness).await;
    assert_eq!((&asked["expires_in"], &asked["interval"]), (&json!(600), &json!(5)));
    assert_eq!(asked["verification_uri"], "https://hallpass.test/device");
    assert_eq!(poll(&harness, &asked).await.expect(400)["error"], "authorization_pending");
    let mut browser = Browser::signed_in(&harness, &people, "ann", &["hallpass-auditors"]).await;
    let page = text(
        &browser
            .get(asked["verification_uri_complete"].as_str().unwrap().trim_start_matches("https://hallpass.test"))
            .await,
    );
    for shown in
        [asked["user_code"].as_str().unwrap(), "192.0.2.1", "hallpass on &#60;b&#62;ann&#39;s&#60;/b&#62; laptop"]
    {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert_eq!(answer(&mut browser, &asked, "confirm").await.status, 200);
    harness.clock.advance_secs(5);
    let given = poll(&harness, &asked).await;
    assert_eq!(given.headers["cache-control"], "no-store");
    let given = given.expect(200);
    let bearer = given["access_token"].as_str().unwrap();
    assert!(bearer.starts_with("hps_"), "a scanner of secrets finds it");
    assert_eq!((&given["token_type"], &given["expires_in"]), (&json!("Bearer"), &json!(28_800)));
    let me = harness.get("/v1/whoami", bearer).await.expect(200);
    assert_eq!((&me["subject"], &me["groups"]), (&json!("ann"), &json!(["hallpass-auditors"])));
    harness.get("/v1/events", bearer).await.expect(200);
    assert_eq!(poll(&harness, &asked).await.expect(400)["error"], "expired_token", "it is handed over once");
    let mut thief = Browser::new(&harness);
    thief.cookies.insert("__Host-hallpass".to_owned(), bearer.to_owned());
    assert_eq!(thief.get("/device").await.status, 303, "it is no cookie");
    harness.clock.advance_secs(28_799);
    harness.get("/v1/whoami", bearer).await.expect(200);
    harness.clock.advance_secs(1);
    harness.get("/v1/whoami", bearer).await.expect(401);
    let kinds: Vec<Value> =
        harness.get("/v1/events?limit=200&kind=session.", &harness.operator()).await.expect(200)["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["event"]["kind"].clone())
            .collect();
    assert_eq!(kinds, ["session.opened", "session.answered", "session.opened"]);
}

#[tokio::test]
async fn a_person_may_refuse_and_a_code_runs_out() {
    let (people, harness) = world().await;
    let mut browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let refused = ask(&harness).await;
    assert_eq!(answer(&mut browser, &refused, "refuse").await.status, 200);
    assert_eq!(poll(&harness, &refused).await.expect(400)["error"], "access_denied");
    let late = ask(&harness).await;
    harness.clock.advance_secs(600);
    assert_eq!(poll(&harness, &late).await.expect(400)["error"], "expired_token");
    let page = browser.get(&format!("/device?user_code={}", late["user_code"].as_str().unwrap())).await;
    assert_eq!(page.status, 404, "{}", text(&page));
    assert_eq!(poll(&harness, &json!({ "device_code": "made-up" })).await.expect(400)["error"], "expired_token");
}

#[tokio::test]
async fn who_polls_too_fast_must_wait_longer() {
    let (_people, harness) = world().await;
    let asked = ask(&harness).await;
    let word = async || poll(&harness, &asked).await.expect(400)["error"].clone();
    assert_eq!(word().await, "authorization_pending");
    assert_eq!(word().await, "slow_down");
    harness.clock.advance_secs(9);
    assert_eq!(word().await, "slow_down", "ten seconds by now");
    harness.clock.advance_secs(15);
    assert_eq!(word().await, "authorization_pending", "fifteen");
}

#[tokio::test]
async fn a_yes_counts_only_while_whoever_said_it_is_signed_in() {
    let (people, harness) = world().await;
    let mut browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let asked = ask(&harness).await;
    assert_eq!(answer(&mut browser, &asked, "confirm").await.status, 200);
    let ann = format!("{}#ann", people.issuer());
    harness.post("/v1/sessions/end-all", &harness.operator(), &json!({ "person": ann })).await.expect(200);
    assert_eq!(poll(&harness, &asked).await.expect(400)["error"], "access_denied");
}

#[tokio::test]
async fn guesses_at_codes_and_command_lines_that_wait_are_bounded() {
    let (people, harness) = world().await;
    let mut browser = Browser::signed_in(&harness, &people, "eve", &[]).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(browser.get("/device?user_code=BCDF-GHJK").await.status.as_u16());
    }
    assert_eq!(statuses, [404, 404, 404, 404, 404, 429]);
    for _ in 0..1000 {
        harness.broker.ask_device_sign_in("x", "192.0.2.1").await.map(drop).unwrap();
    }
    let full = form(&harness, "/oauth/device_authorization", &[("client_id", "hallpass-cli")]).await;
    assert_eq!(full.expect(503)["error"], "temporarily_unavailable");
    harness.clock.advance_secs(600);
    harness.broker.sweep_memory().await.unwrap();
    ask(&harness).await;
}

#[tokio::test]
async fn what_is_no_device_flow_is_refused_in_oauths_words() {
    let (_people, harness) = world().await;
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    for (path, fields, error) in [
        ("/oauth/device_authorization", &[("client_id", "other")][..], "invalid_client"),
        ("/oauth/device_authorization", &[], "invalid_client"),
        ("/oauth/token", &[("grant_type", "password"), ("client_id", "hallpass-cli")], "unsupported_grant_type"),
        ("/oauth/token", &[("grant_type", device), ("device_code", "x"), ("client_id", "other")], "invalid_client"),
        ("/oauth/token", &[("grant_type", device), ("client_id", "hallpass-cli")], "invalid_request"),
        ("/oauth/token", &[("grant_type", device), ("device_code", "x"), ("device_code", "y")], "invalid_request"),
    ] {
        assert_eq!(form(&harness, path, fields).await.expect(400)["error"], error, "{fields:?}");
    }
}

//! The stream of news: what it tells, and that it ends with what it hangs on.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

/// Far longer than any step takes; a bound, not a wait.
const LONG: std::time::Duration = std::time::Duration::from_mins(1);

async fn open(console: &Console, cookie: &str, path: &str) -> Body {
    let request = Request::get(path)
        .header("cookie", format!("__Host-hallpass={cookie}"))
        .header("accept", "text/event-stream")
        .body(Body::empty())
        .unwrap();
    let response = console.router().oneshot(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    response.into_body()
}

/// The next thing it says; nothing when it has ended.
async fn next(stream: &mut Body) -> Option<String> {
    let frame = tokio::time::timeout(LONG, stream.frame()).await.expect("the stream says nothing")?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

/// The next event; that it is still here says nothing.
async fn event(stream: &mut Body) -> Option<String> {
    loop {
        match next(stream).await {
            Some(said) if said.starts_with(':') => {}
            said => return said,
        }
    }
}

#[tokio::test]
async fn what_is_new_is_told_and_nothing_else() {
    let console = Console::start().await;
    let browser = console.browser("ana", APPROVERS).await;
    let (_, first) = console.ask(json!({})).await;
    let mut stream = open(&console, browser.session().unwrap(), &format!("/stream?after={first}")).await;
    assert_eq!(next(&mut stream).await.unwrap(), "retry: 5000\n\n");
    // Ids sort by the millisecond in which they were made.
    console.wire.clock.advance_secs(1);
    console.ask(json!({ "scopes": ["sandbox:releases:write"] })).await;
    let news = event(&mut stream).await.unwrap();
    assert_eq!(news, "event: news\ndata: {\"pending\":\"2\",\"text\":\"1 new request – show\"}\n\n");
}

#[tokio::test]
async fn con_05_a_stream_ends_with_its_session() {
    let console = Console::start().await;
    let mut browser = console.browser("ana", APPROVERS).await;
    let mut stream = open(&console, browser.session().unwrap(), "/stream?after=").await;
    assert_eq!(next(&mut stream).await.unwrap(), "retry: 5000\n\n");
    let csrf = browser.csrf().await;
    assert_eq!(browser.post("/sign-out", &[("csrf", &csrf)]).await.status, 303);
    assert_eq!(event(&mut stream).await.unwrap(), "event: over\ndata: {}\n\n");
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn con_05_a_stream_ends_when_policy_lets_its_person_see_nothing_more() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let mut console = Console { wire: Wire::over(harness), people };
    let cookie = console.browser("ana", APPROVERS).await.session().unwrap().to_owned();
    let mut stream = open(&console, &cookie, "/stream?after=").await;
    assert_eq!(next(&mut stream).await.unwrap(), "retry: 5000\n\n");
    console
        .wire
        .change_bundle(|files| {
            let policies = files.get_mut("operators.cedar").unwrap();
            *policies = policies.replace(
                "permit (principal is Hallpass::Operator, action == Hallpass::Action::\"review\", resource);",
                "permit (principal in Hallpass::Group::\"nobody\", action == Hallpass::Action::\"review\", resource);",
            );
        })
        .await;
    assert_eq!(event(&mut stream).await.unwrap(), "event: over\ndata: {}\n\n");
}

#[tokio::test]
async fn a_stream_ends_when_the_server_is_about_to_stop() {
    let console = Console::start().await;
    let browser = console.browser("ana", APPROVERS).await;
    let mut stream = open(&console, browser.session().unwrap(), "/stream?after=").await;
    assert_eq!(next(&mut stream).await.unwrap(), "retry: 5000\n\n");
    console.state().draining.cancel();
    assert_eq!(next(&mut stream).await, None);
}

//! Whoever dies between sending and writing it down sends again, under the same id: the broker in this process, and one that is killed.

use hallpass::sys::Clock as _;
use serde_json::{Value, json};

use super::world::*;

fn hooks(outside: &Outside, file: &str) -> String {
    format!("name='hooks'\nkind='webhook'\nurl='{}/hook'\nallow_private=true\nsecrets=[{{file='{file}'}}]", outside.url)
}

/// What was told, and not what else a broker asks of the same server.
fn told(outside: &Outside) -> Vec<Call> {
    outside.calls().into_iter().filter(|call| call.path == "/hook").collect()
}

fn ids(outside: &Outside) -> Vec<String> {
    told(outside).iter().map(|call| call.header("webhook-id").to_owned()).collect()
}

#[tokio::test]
async fn what_was_sent_and_not_written_down_is_sent_again_once_the_claim_has_run_out() {
    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let file = secret(&folder, "secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let mut h = broker(vec![hooks(&outside, &file)]).await;
    let (_, request) = pending(&h).await;
    h.broker.sweep_notices().await.unwrap();
    outside.fail([Fault::TakenAndSilent]);
    let broker = h.broker.clone();
    let sending = tokio::spawn(async move { broker.send_notices(&"hooks".parse().unwrap()).await });
    outside.until(1).await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    h.restart().await;
    tell(&h).await;
    later(&h, 59).await;
    assert_eq!(told(&outside).len(), 1, "it may still be under way");
    later(&h, 1).await;
    let ids = ids(&outside);
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    let about = told(&outside)[1].json();
    assert_eq!(about["data"]["request"], json!(request));
    assert!(h.clock.now().as_secs() > 0);
}

/// The real broker, killed when the webhook has been taken and nothing says so yet.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_after_sending_sends_again_when_it_is_back() {
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::time::Duration;

    use crate::support::database::is_postgres;
    use crate::support::loopback::{Wire, request as ask};
    use crate::support::postgres;
    use crate::support::process::Stage;

    let (outside, folder) = (Outside::start().await, tempfile::tempdir().unwrap());
    let file = secret(&folder, "secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let more = format!(
        "\n[[notify]]\n{}\n\n[[backends]]\nname='sandbox'\nkind='sandbox'\nurl='{}/'\n",
        hooks(&outside, &file),
        outside.url
    );
    let stage = Stage::with(is_postgres().then(|| postgres::shared().fresh_url()), 1, &more, true);
    let broker = Path::new(env!("CARGO_BIN_EXE_hallpass"));
    let mut dies = stage.start_with(broker, "hallpass", &[("HALLPASS_KILLPOINT", "notice.after_send=abort")]);
    stage.ready().await;
    let body =
        json!({ "purpose": "write", "scopes": ["api:releases:write(prefix=v1)"], "ttl_seconds": 600 }).to_string();
    let mut wire = Wire::connect(stage.address).await.unwrap();
    let bytes = ask("POST", "/v1/tasks", &stage.agent("bench-0"), "application/json", &body);
    let answer = wire.send(&bytes).await.unwrap();
    assert_eq!(answer.status, 202, "{}", stage.log());
    let request = answer.json()["requests"][0]["id"].clone();
    let status = tokio::task::spawn_blocking(move || dies.wait()).await.unwrap().unwrap();
    assert_eq!(status.signal(), Some(6), "{}", stage.log());
    assert_eq!(told(&outside).len(), 1);
    // On PostgreSQL the time is the database's, so the claim is waited for.
    let ahead: &[(&str, &str)] = if is_postgres() { &[] } else { &[("HALLPASS_CLOCK_AHEAD_SECS", "70")] };
    let mut back = stage.start_with(broker, "hallpass", ahead);
    let again = tokio::time::timeout(Duration::from_secs(100), async {
        let mut tries = tokio::time::interval(Duration::from_millis(50));
        while told(&outside).len() < 2 {
            tries.tick().await;
        }
    });
    let came = again.await;
    back.kill().unwrap();
    back.wait().unwrap();
    came.unwrap_or_else(|_| panic!("{}", stage.log()));
    let about: Vec<Value> = told(&outside).iter().map(|call| call.json()["data"]["request"].clone()).collect();
    assert_eq!(about, [request.clone(), request]);
    let ids = ids(&outside);
    assert_eq!(ids[0], ids[1]);
}

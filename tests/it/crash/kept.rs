//! A broker that dies between the mint and the fact of a credential that no name ends: nobody has it, nothing of it is kept, and what
//! is said of it is the truth: it ends when its backend ends it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hallpass::sys::SystemClock;
use serde_json::{Value, json};

use super::drive::text;
use crate::minter::fake_github::{FakeGithub, WIDGET};
use crate::support::database;
use crate::support::loopback::{Wire, get, request};
use crate::support::postgres;
use crate::support::process::Stage;

/// Longest wait for the sweep to find the lost mint.
const PATIENCE: Duration = Duration::from_secs(75);

fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

async fn first_lease(stage: &Stage) -> Value {
    let mut wire = Wire::connect(stage.address).await.unwrap();
    let page = wire.send(&get("/v1/leases", &stage.operator())).await.unwrap().json();
    page["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_mint_and_fact_keeps_nothing_and_the_lease_ends_natively() {
    let github = FakeGithub::start(Arc::new(SystemClock)).await;
    let more = format!("\n[[backends]]\n{}\n[intervals]\nending_seconds = 1\n", github.settings("gh"));
    let store = database::is_postgres().then(|| postgres::shared().fresh_url());
    let stage = Stage::with(store, 1, &more, false);
    let policies = stage.folder.path().join("policies");
    let (id, name) = WIDGET;
    let entry = format!(
        "[[scope]]\nname = \"gh:widget:read\"\ndescription = \"Read the code\"\nrisk = 20\nowner = \"maya\"\n\
         max_ttl_seconds = 3600\neffect = {{ repositories = [{{ id = {id}, name = \"{name}\" }}], permissions = {{ contents \
         = \"read\" }} }}\n\n[[scope]]"
    );
    change(&policies.join("catalogue.toml"), "[[scope]]", &entry);
    change(&policies.join("agents.toml"), "ceiling = [", "ceiling = [\"gh:widget:read\", ");
    let executable = Path::new(env!("CARGO_BIN_EXE_hallpass"));

    let die = [("HALLPASS_KILLPOINT", "mint.after_external:1=abort")];
    let mut broker = stage.start_with(executable, "hallpass", &die);
    stage.ready().await;
    let ask = json!({ "purpose": "read it", "scopes": ["gh:widget:read"], "ttl_seconds": 600 });
    let mut wire = Wire::connect(stage.address).await.unwrap();
    let asked = request("POST", "/v1/tasks", &stage.agent("bench-0"), "application/json", &ask.to_string());
    assert!(wire.send(&asked).await.is_err(), "it dies before it answers");
    tokio::task::spawn_blocking(move || broker.wait()).await.unwrap().unwrap();
    assert_eq!((github.ever().len(), github.honoured()), (1, 1));

    let later: &[(&str, &str)] = if database::is_postgres() { &[] } else { &[("HALLPASS_CLOCK_AHEAD_SECS", "40")] };
    let mut broker = stage.start_with(executable, "hallpass", later);
    stage.ready().await;
    let mut tries = tokio::time::interval(Duration::from_millis(100));
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            tries.tick().await;
            let lease = first_lease(&stage).await;
            if lease["ends_by"].is_string() {
                return lease;
            }
        }
    });
    let lease = found.await.unwrap_or_else(|_| panic!("no end in sight: {}", stage.log()));
    assert_eq!((text(&lease, "/state"), text(&lease, "/cause")), ("ending".to_owned(), "aborted".to_owned()));
    assert_eq!(lease["ends_by"], lease["native_end"]);
    assert_eq!(github.honoured(), 1, "it lives on, and nobody has it");
    broker.kill().unwrap();
    broker.wait().unwrap();
}

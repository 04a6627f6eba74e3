//! What a yes is worth: narrower than asked, so often and so long, by people who are still who they were, for exactly what they
//! were shown, and for one outcome however many click at once.

mod cases;
mod narrow;
mod people;
mod races;
mod step_up;
mod tamper;
mod terms;
mod uses;

use serde_json::{Value, json};

use super::{API_READ, Waiting, text};
use crate::support::harness::{Harness, Options, Reply};

/// The annotation of the shipped policy.
const ONE: &str = "@approval(\"1 of release-approvers\")";
/// Waits for one of `release-approvers`, as a token of our own.
const API_WRITE: &str = "api:releases:write(prefix=v1)";
/// The same in another place.
const API_WRITE_TWO: &str = "api:releases:write(prefix=v2)";

/// The shipped bundle with other annotations where people must agree.
async fn with_notes(notes: &str) -> Harness {
    Harness::with(Options::default().with_change("agents.cedar", ONE, notes)).await
}

/// The same with something beside the annotation that is there.
async fn with_more(notes: &str) -> Harness {
    with_notes(&format!("{ONE}\n{notes}")).await
}

fn refusal(problem: &Value) -> (&str, &str) {
    (problem["code"].as_str().unwrap(), problem["reason"].as_str().unwrap_or_default())
}

impl Harness {
    /// Open a task of release-bot's that waits for a person, for these scopes.
    async fn waiting_for(&self, scopes: &[&str], ttl_seconds: u32, task_ttl_seconds: u32) -> Waiting {
        let scopes: Vec<Value> = scopes.iter().map(|scope| json!({ "scope": scope })).collect();
        let body = json!({ "purpose": "publish", "scopes": scopes, "ttl_seconds": ttl_seconds, "task_ttl_seconds": task_ttl_seconds });
        let task = self.post("/v1/tasks", &self.agent("release-bot"), &body).await.expect(202);
        Waiting { task: text(&task["id"]), request: text(&task["requests"][0]["id"]) }
    }

    /// A verdict on what is shown now, with other members.
    async fn say(&self, request: &str, person: &str, members: &Value) -> Reply {
        let shown = self.get(&format!("/v1/requests/{request}"), person).await.expect(200);
        let mut body = json!({ "verdict": "approve", "request_digest": shown["request_digest"] });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.post(&format!("/v1/requests/{request}/verdict"), person, &body).await
    }

    async fn shown(&self, request: &str) -> Value {
        self.get(&format!("/v1/requests/{request}"), &self.operator()).await.expect(200)
    }

    /// A second person who may approve releases.
    fn second_approver(&self) -> String {
        self.person("nia", &["release-approvers"])
    }

    /// The one credential that collecting hands over.
    async fn collected(&self, task: &str) -> Value {
        let answer = self.collect(task).await.expect(200);
        assert_eq!(answer["credentials"].as_array().map(Vec::len), Some(1), "{answer}");
        answer["credentials"][0].clone()
    }

    /// Let the credential of a task come to its end by the clock.
    async fn run_out(&self, secs: i64) {
        self.clock.advance_secs(secs);
        self.sweep().await;
    }

    /// Change the database behind the broker's back.
    async fn behind_its_back(&self, sql: &str) -> u64 {
        use sqlx::{Connection as _, Executor as _};
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.store).await.unwrap();
        let changed = connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap().rows_affected();
        connection.close().await.unwrap();
        changed
    }

    /// The reasons of all events of a kind.
    async fn reasons(&self, kind: &str) -> Vec<String> {
        self.events(kind).await.iter().map(|event| text(&event["data"]["reason"])).collect()
    }
}

//! What people do besides a verdict, over the router with real parts: they read what a decision rests on, ask the agent, stand in for
//! each other, let pass alone in an emergency and look back at it; and what is known of how they decide.

mod delegations;
mod glass;
mod insights;
mod questions;
mod views;

use serde_json::{Value, json};

use super::{WRITE, text};
use crate::support::harness::{Harness, Options, Reply};

const QUORUM_OF_ONE: &str = "@approval(\"1 of release-approvers\")";

impl Harness {
    /// A request as a person reads it.
    async fn seen_by(&self, request: &str, person: &str) -> Value {
        self.get(&format!("/v1/requests/{request}"), person).await.expect(200)
    }

    /// Somebody else who may approve releases.
    fn nia(&self) -> String {
        self.person("nia", &["release-approvers"])
    }

    async fn ask_agent(&self, request: &str, person: &str, text: &str) -> Reply {
        self.post(&format!("/v1/requests/{request}/questions"), person, &json!({ "text": text })).await
    }

    async fn answer_person(&self, waiting: &super::Waiting, question: &str, text: &str) -> Reply {
        let path = format!("/v1/tasks/{}/requests/{}/answers", waiting.task, waiting.request);
        self.post(&path, &self.agent("release-bot"), &json!({ "question": question, "text": text })).await
    }
}

async fn with_approval(annotations: &str) -> Harness {
    Harness::with(Options::default().with_change("agents.cedar", QUORUM_OF_ONE, annotations)).await
}

fn code(problem: &Value) -> &str {
    problem["code"].as_str().unwrap()
}

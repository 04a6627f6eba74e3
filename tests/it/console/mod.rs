//! The console as a browser without scripts finds it: what its answers wear, what a verdict by form does, and what texts of agents cannot
//! do to it.

mod answers;
mod stream;
mod verdicts;

use hallpass::http::{HttpState, router};
use serde_json::{Value, json};

use crate::support::harness::{Options, Reply};
use crate::support::sign_in::{Browser, People};
use crate::support::wire::{RELEASE_BOT, Wire};

const APPROVERS: &[&str] = &["release-approvers"];

/// A broker whose people sign in, found through its router.
struct Console {
    wire: Wire,
    people: People,
}

impl Console {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let people = People::start().await;
        Self { wire: Wire::over(people.harness(options).await), people }
    }

    async fn browser(&self, who: &str, groups: &[&str]) -> Browser<'_> {
        Browser::signed_in(&self.wire, &self.people, who, groups).await
    }

    /// Ask as release-bot for something that waits; the task's answer and the id of what waits.
    async fn ask(&self, changes: Value) -> (Value, String) {
        let mut ask =
            json!({ "purpose": "publish a release", "scopes": ["api:releases:write(prefix=v1)"], "ttl_seconds": 600 });
        for (name, value) in changes.as_object().unwrap() {
            ask[name] = value.clone();
        }
        let answer = self.wire.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let task = answer.json();
        let waits = |request: &&Value| request["state"] == "pending";
        let pending =
            task["requests"].as_array().unwrap().iter().find(waits).unwrap()["id"].as_str().unwrap().to_owned();
        (task, pending)
    }

    fn state(&self) -> &HttpState {
        &self.wire.state
    }

    fn router(&self) -> axum::Router {
        router(self.state().clone())
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

/// The text of a page as a reader has it: without tags, with its characters as they are.
fn read_aloud(html: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    for (entity, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ] {
        out = out.replace(entity, c);
    }
    out
}

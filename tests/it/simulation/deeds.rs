//! What happens in a simulation: whatever agents and people may do, and whatever time does, chosen by the dice.

use hallpass::minter::SandboxCall;
use serde_json::{Value, json};

use super::world::World;
use crate::support::harness::{Reply, ask};

pub(super) const READ: &str = "sandbox:releases:read";
pub(super) const WRITE: &str = "sandbox:releases:write";
const API_READ: &str = "api:releases:read";

impl World {
    /// Do something.
    pub(super) async fn deed(&mut self) {
        match self.dice.below(100) {
            0..16 => self.open(READ).await,
            16..20 | 93..97 => self.interrupt().await,
            20..25 => self.open(API_READ).await,
            25..35 => self.open(WRITE).await,
            35..41 => self.open_and_hang_up().await,
            41..47 => self.open_with_key().await,
            47..57 => self.decide().await,
            57..67 => self.on_task("credentials", &json!({})).await,
            67..70 => self.on_task("requests", &json!({ "scopes": [READ] })).await,
            70..72 => self.on_task("heartbeat", &json!({})).await,
            72..78 => self.on_task("complete", &json!({})).await,
            78..80 => self.on_task("cancel", &json!({})).await,
            80..85 => self.end_something().await,
            85..87 => self.throw_or_release().await,
            87..89 => self.suspend_or_resume().await,
            89..90 => self.change_policy().await,
            90..91 => self.restart().await,
            91..93 => self.two_at_once().await,
            _ => self.time_passes().await,
        }
    }

    pub(super) async fn open(&mut self, scope: &str) {
        let reply = self.house.post("/v1/tasks", &self.house.agent("release-bot"), &ask(scope)).await;
        self.note(&format!("open {scope}"), &reply, None);
    }

    /// The agent goes away with its answer unread.
    pub(super) async fn open_and_hang_up(&mut self) {
        use tower::ServiceExt as _;
        let request = http::Request::post("/v1/tasks")
            .header("authorization", format!("Bearer {}", self.house.agent("release-bot")))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(ask(READ).to_string()))
            .unwrap();
        let response = self.house.router().oneshot(request).await.unwrap();
        self.trace.push(format!("open {READ} and hang up: {}", response.status()));
        drop(response);
        // Whoever ends it does so on their own.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// One of three keys, for one of two questions.
    async fn open_with_key(&mut self) {
        let key = format!("key-{}-{}", self.seed, self.dice.below(3));
        let body = ask(self.dice.pick(&[READ, READ, WRITE]));
        let token = self.house.agent("release-bot");
        let reply =
            self.house.call("POST", "/v1/tasks", &token, Some(&body), &[("idempotency-key", key.as_str())]).await;
        self.note(&format!("open with {key}"), &reply, Some((&key, &body)));
    }

    /// Approve whatever waits.
    pub(super) async fn approve_all(&mut self) {
        let person = self.house.approver();
        for request in std::mem::take(&mut self.waiting) {
            let shown = self.house.get(&format!("/v1/requests/{request}"), &person).await.expect(200);
            let body = json!({ "verdict": "approve", "request_digest": shown["request_digest"], "reason": "REL-1" });
            self.house.post(&format!("/v1/requests/{request}/verdict"), &person, &body).await.expect(200);
        }
    }

    async fn decide(&mut self) {
        if self.waiting.is_empty() {
            return self.open(WRITE).await;
        }
        let request = self.waiting[self.dice.below(self.waiting.len())].clone();
        // The agent's own owner tries, too.
        let person = if self.dice.percent(85) {
            self.house.approver()
        } else {
            self.house.token(
                crate::support::harness::PEOPLE,
                "maya",
                &json!({ "groups": ["release-approvers"], "email": "maya@acme.example", "email_verified": true }),
            )
        };
        let verdict = if self.dice.percent(85) { "approve" } else { "deny" };
        let shown = self.house.get(&format!("/v1/requests/{request}"), &person).await;
        if !shown.status.is_success() {
            return;
        }
        let body = json!({ "verdict": verdict, "request_digest": shown.json()["request_digest"], "reason": "REL-1" });
        let reply = self.house.post(&format!("/v1/requests/{request}/verdict"), &person, &body).await;
        self.trace.push(format!("{verdict} {request}: {}", reply.status));
    }

    pub(super) async fn on_task(&mut self, verb: &str, body: &Value) {
        if self.tasks.is_empty() {
            return self.open(READ).await;
        }
        let task = self.tasks[self.dice.below(self.tasks.len())].clone();
        let reply = self.house.post(&format!("/v1/tasks/{task}/{verb}"), &self.house.agent("release-bot"), body).await;
        self.note(&format!("{verb} {task}"), &reply, None);
    }

    async fn end_something(&mut self) {
        let target = match (self.dice.below(4), self.seen.delivered.last(), self.tasks.last()) {
            (0, Some(held), _) => json!({ "lease": held.lease }),
            (1 | 2, _, Some(task)) => json!({ "task": task }),
            (3, _, _) => json!({ "backend": "sandbox" }),
            _ => json!({ "agent": "release-bot" }),
        };
        let reply = self.revoke(&target).await;
        self.trace.push(format!("revoke {target}: {}", reply.status));
    }

    async fn throw_or_release(&mut self) {
        let word = if self.killed { "release" } else { "engage" };
        let reply = self.revoke(&json!({ "kill_switch": word })).await;
        self.trace.push(format!("kill switch {word}: {}", reply.status));
        self.killed = word == "engage";
    }

    async fn suspend_or_resume(&mut self) {
        let word = if self.suspended { "resume" } else { "suspend" };
        let reason = json!({ "reason": "a simulation" });
        let operator = self.house.operator();
        let reply = self.house.post(&format!("/v1/agents/release-bot/{word}"), &operator, &reason).await;
        self.trace.push(format!("{word}: {}", reply.status));
        self.suspended = word == "suspend";
    }

    /// Writing is forbidden, or no longer so.
    async fn change_policy(&mut self) {
        self.mend_database().await;
        let strict = "@id(\"no-writes-today\")\n@reason(\"a freeze\")\nforbid (principal, action == Hallpass::Action::\"grant\", resource) when { resource.action == \"write\" };\n";
        self.house
            .change_bundle(|files| {
                if files.remove("freeze.cedar").is_none() {
                    files.insert("freeze.cedar".to_owned(), strict.to_owned());
                }
            })
            .await;
        self.trace.push("policy changes".to_owned());
    }

    pub(super) async fn restart(&mut self) {
        self.mend_database().await;
        self.house.restart().await;
        self.trace.push("restart".to_owned());
    }

    /// A task is collected and ended in the same moment.
    async fn two_at_once(&mut self) {
        let Some(task) = self.tasks.last().cloned() else { return self.open(WRITE).await };
        let token = self.house.agent("release-bot");
        let path = format!("/v1/tasks/{task}/credentials");
        let target = json!({ "task": task });
        let empty = json!({});
        let (collected, revoked): (Reply, Reply) =
            tokio::join!(self.house.post(&path, &token, &empty), self.revoke(&target));
        self.note(&format!("collect {task} and revoke it at once ({})", revoked.status), &collected, None);
    }

    /// While the backend holds back its answer to a mint or an activation, authority ends, or its deadline passes.
    async fn interrupt(&mut self) {
        let call = self.dice.pick(&[SandboxCall::Mint, SandboxCall::Activate]);
        let choice = self.dice.below(4);
        let mut held = self.house.sandbox.hold_next(call);
        let (what, reply) = {
            let (token, body) = (self.house.agent("release-bot"), ask(READ));
            let opening = self.house.post("/v1/tasks", &token, &body);
            tokio::pin!(opening);
            tokio::select! {
                biased;
                reply = &mut opening => ("nothing", reply),
                () = held.acted() => {
                    let what = self.meanwhile(choice).await;
                    held.release();
                    (what, opening.await)
                }
            }
        };
        self.killed |= what == "the kill switch is thrown";
        self.note(&format!("open {READ}, and in its {call:?} {what}"), &reply, None);
    }

    async fn meanwhile(&self, choice: usize) -> &'static str {
        let (target, what) = match choice {
            0 => (json!({ "kill_switch": "engage" }), "the kill switch is thrown"),
            1 => (json!({ "agent": "release-bot" }), "its agent is revoked"),
            2 => (json!({ "backend": "sandbox" }), "its backend is revoked"),
            _ => {
                self.house.clock.advance_secs(20);
                self.sweep().await;
                return "20 s pass";
            }
        };
        let reply = self.revoke(&target).await;
        if reply.status.is_success() { what } else { "a revocation fails" }
    }

    async fn time_passes(&mut self) {
        let secs = if self.dice.percent(70) { 1 + self.dice.below(20) } else { 30 + self.dice.below(1000) };
        self.house.clock.advance_secs(i64::try_from(secs).unwrap());
        self.sweep().await;
        self.trace.push(format!("{secs} s pass"));
    }
}

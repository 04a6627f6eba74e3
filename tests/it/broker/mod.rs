//! The broker's promises, each tried over the router with real parts: what is asked, who decides, what is minted, how it ends.

mod approval;
mod approvals;
mod closures;
mod credentials;
mod delivery;
mod ending;
mod ending_at_scale;
mod extremes;
mod fact;
mod faults;
mod identity;
mod intake;
mod jwt;
mod kept;
mod life;
mod limits;
mod once;
mod people;
mod policy;
mod reconcile;
mod repeated;
mod replicas;
mod restore;
mod revocation_lists;
mod sealed;
mod status_lists;

use serde_json::{Value, json};

use crate::support::harness::{Harness, PEOPLE, Reply, ask};

/// Granted at once, in the sandbox.
const READ: &str = "sandbox:releases:read";
/// Waits for one of `release-approvers`.
const WRITE: &str = "sandbox:releases:write";
/// Granted at once, as a token of our own.
const API_READ: &str = "api:releases:read";

impl Harness {
    /// Open a task of release-bot's that is granted at once.
    async fn granted(&self, scope: &str) -> Held {
        let task = self.post("/v1/tasks", &self.agent("release-bot"), &ask(scope)).await.expect(201);
        Held::of(&task)
    }

    /// Open a task of release-bot's that waits for a person.
    async fn waiting(&self) -> Waiting {
        self.waiting_with(&json!({})).await
    }

    /// The same, with other members.
    async fn waiting_with(&self, members: &Value) -> Waiting {
        let mut body = ask(WRITE);
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        let task = self.post("/v1/tasks", &self.agent("release-bot"), &body).await.expect(202);
        Waiting { task: text(&task["id"]), request: text(&task["requests"][0]["id"]) }
    }

    /// Read a request and give a verdict on what was shown.
    async fn verdict(&self, request: &str, person: &str, verdict: &str) -> Reply {
        let shown = self.get(&format!("/v1/requests/{request}"), person).await.expect(200);
        self.verdict_on(request, person, verdict, &text(&shown["request_digest"])).await
    }

    async fn verdict_on(&self, request: &str, person: &str, verdict: &str, digest: &str) -> Reply {
        let body = json!({ "verdict": verdict, "request_digest": digest });
        self.post(&format!("/v1/requests/{request}/verdict"), person, &body).await
    }

    async fn request_state(&self, request: &str) -> String {
        let shown = self.get(&format!("/v1/requests/{request}"), &self.operator()).await.expect(200);
        text(&shown["state"])
    }

    async fn collect(&self, task: &str) -> Reply {
        self.post(&format!("/v1/tasks/{task}/credentials"), &self.agent("release-bot"), &json!({})).await
    }

    async fn task(&self, task: &str) -> Value {
        self.get(&format!("/v1/tasks/{task}"), &self.agent("release-bot")).await.expect(200)
    }

    async fn revoke(&self, target: &Value) -> Value {
        let body = json!({ "target": target, "reason": "a test ends it" });
        self.post("/v1/revocations", &self.operator(), &body).await.expect(200)
    }

    /// Every lease there is, as an operator sees it.
    async fn leases(&self) -> Vec<Value> {
        let page = self.get("/v1/leases?limit=200", &self.operator()).await.expect(200);
        page["items"].as_array().unwrap().clone()
    }

    async fn lease(&self, id: &str) -> Value {
        self.leases().await.into_iter().find(|lease| lease["id"] == id).unwrap()
    }

    /// Every event of a kind, oldest first.
    async fn events(&self, kind: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/events?kind={kind}&limit=200"), &self.operator()).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|item| item["event"].clone()).collect()
    }

    /// Whether the sandbox honours this secret now.
    fn works(&self, secret: &str) -> bool {
        self.sandbox.check(secret, self.broker.now()).is_some()
    }

    /// Let everything come to its end: wait until nothing of a mint can be under way any more, and sweep.
    async fn settle(&self) {
        self.sweep().await;
        self.advance_secs(31);
        self.sweep().await;
        self.advance_secs(8);
        self.sweep().await;
    }

    fn advance_secs(&self, secs: i64) {
        self.clock.advance_secs(secs);
    }

    /// A person with an e-mail address.
    fn addressed(&self, name: &str, email: &str) -> String {
        self.token(PEOPLE, name, &json!({ "groups": ["release-approvers"], "email": email, "email_verified": true }))
    }
}

/// A credential that was delivered.
struct Held {
    task: String,
    lease: String,
    secret: String,
}

impl Held {
    fn of(task: &Value) -> Self {
        let credential = &task["credentials"][0];
        let values = credential["values"].as_object().unwrap();
        Self {
            task: text(&task["id"]),
            lease: text(&credential["id"]),
            secret: text(values.get("token").or(values.get("access_token")).unwrap()),
        }
    }
}

/// A request that waits for a person.
struct Waiting {
    task: String,
    request: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

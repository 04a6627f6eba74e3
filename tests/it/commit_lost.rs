//! The link to PostgreSQL breaks at a COMMIT: before the server has it, or after the server has done it and before we hear so.
//! Either way the outcome is read back before anything is made of it: nothing is minted twice, no lease is lost.

use hallpass::minter::SandboxCall;
use serde_json::{Value, json};

use crate::support::fault_proxy::{Cut, FaultProxy};
use crate::support::harness::{Harness, Options, Reply, ask};
use crate::support::postgres;

const READ: &str = "sandbox:releases:read";
const WRITE: &str = "sandbox:releases:write";

/// A broker whose link to PostgreSQL can be cut.
struct Linked {
    house: Harness,
    proxy: FaultProxy,
}

impl Linked {
    async fn start() -> Self {
        let server = postgres::shared();
        let proxy = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
        let purpose = format!("commit lost {}", proxy.address.port());
        let store = Some(server.url_by(&purpose, proxy.address.port()));
        Self { house: Harness::with(Options { store, ..Options::default() }).await, proxy }
    }

    async fn keyed(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.house.call("POST", path, token, Some(body), &[("idempotency-key", "the-key")]).await
    }

    async fn open(&self, scope: &str) -> Reply {
        self.keyed("/v1/tasks", &self.house.agent("release-bot"), &ask(scope)).await
    }

    /// The state and the cause of every lease.
    async fn leases(&self) -> Vec<(Value, Value)> {
        let page = self.house.get("/v1/leases?limit=200", &self.house.operator()).await.expect(200);
        let leases = page["items"].as_array().unwrap().iter();
        leases.map(|lease| (lease["state"].clone(), lease["cause"].clone())).collect()
    }

    /// What the backend honours, by handle.
    fn honoured(&self) -> usize {
        self.house.sandbox.honoured(self.house.broker.now()).len()
    }
}

#[tokio::test]
async fn ha_05_an_intent_whose_commit_was_cut_is_there_or_not_and_never_twice() {
    for (cut, status) in [(Cut::AfterCommit, 201), (Cut::BeforeCommit, 503)] {
        let linked = Linked::start().await;
        linked.proxy.cut(cut);
        let first = linked.open(READ).await;
        linked.proxy.cuts(1).await;
        assert_eq!(first.status, status, "{cut:?}: {}", String::from_utf8_lossy(&first.body));
        let again = linked.open(READ).await;
        assert!(again.status.is_success(), "{cut:?}: {}", again.status);
        if status == 201 {
            assert_eq!(again.json()["id"], first.json()["id"]);
        }
        assert_eq!((linked.leases().await.len(), linked.honoured()), (1, 1), "{cut:?}");
        assert_eq!(linked.house.sandbox.ever_minted().len(), 1, "{cut:?}");
    }
}

#[tokio::test]
async fn ha_05_a_fact_whose_commit_was_cut_is_delivered_or_undone() {
    for (cut, delivered) in [(Cut::AfterCommit, 1), (Cut::BeforeCommit, 0)] {
        let linked = Linked::start().await;
        let mut held = linked.house.sandbox.hold_next(SandboxCall::Mint);
        let cutting = async {
            held.acted().await;
            linked.proxy.cut(cut);
            held.release();
        };
        let (reply, ()) = tokio::join!(linked.open(READ), cutting);
        linked.proxy.cuts(1).await;
        let answer = reply.expect(if delivered == 1 { 201 } else { 503 });
        assert_eq!(answer["credentials"].as_array().map_or(0, Vec::len), delivered, "{cut:?}");
        // Past the time within which a call of the mint could still land.
        linked.house.clock.advance_secs(20);
        linked.house.sweep().await;
        assert_eq!(linked.honoured(), delivered, "{cut:?}");
        let expected = if delivered == 1 { (json!("live"), Value::Null) } else { (json!("ended"), json!("aborted")) };
        assert_eq!(linked.leases().await, [expected], "{cut:?}");
    }
}

#[tokio::test]
async fn ha_05_an_approval_whose_commit_was_cut_counts_once() {
    for (cut, status) in [(Cut::AfterCommit, 200), (Cut::BeforeCommit, 503)] {
        let linked = Linked::start().await;
        let task = linked.open(WRITE).await.expect(202);
        let (approver, request) = (linked.house.approver(), task["requests"][0]["id"].as_str().unwrap().to_owned());
        let path = format!("/v1/requests/{request}");
        let digest = linked.house.get(&path, &approver).await.expect(200)["request_digest"].clone();
        let verdict = json!({ "verdict": "approve", "request_digest": digest, "reason": "REL-1" });
        linked.proxy.cut(cut);
        let first = linked.house.post(&format!("{path}/verdict"), &approver, &verdict).await;
        linked.proxy.cuts(1).await;
        assert_eq!(first.status, status, "{cut:?}: {}", String::from_utf8_lossy(&first.body));
        if status == 503 {
            linked.house.post(&format!("{path}/verdict"), &approver, &verdict).await.expect(200);
        }
        let collect = format!("/v1/tasks/{}/credentials", task["id"].as_str().unwrap());
        let collected = linked.house.post(&collect, &linked.house.agent("release-bot"), &json!({})).await.expect(200);
        assert_eq!(collected["credentials"].as_array().unwrap().len(), 1, "{cut:?}");
        let task = task["id"].as_str().unwrap();
        let kinds = linked.house.kinds_of(task).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "approval.recorded").count(), 1, "{cut:?} {kinds:?}");
    }
}

#[tokio::test]
async fn ha_05_a_revocation_whose_commit_was_cut_ends_it_or_says_that_it_did_not() {
    for (cut, status) in [(Cut::AfterCommit, 200), (Cut::BeforeCommit, 503)] {
        let linked = Linked::start().await;
        let task = linked.open(READ).await.expect(201);
        let body = json!({ "target": { "task": task["id"] }, "reason": "enough" });
        // Who the operator is has been written down before.
        linked.house.get("/v1/whoami", &linked.house.operator()).await.expect(200);
        linked.proxy.cut(cut);
        let first = linked.house.post("/v1/revocations", &linked.house.operator(), &body).await;
        linked.proxy.cuts(1).await;
        assert_eq!(first.status, status, "{cut:?}: {}", String::from_utf8_lossy(&first.body));
        if status == 503 {
            assert_eq!(linked.honoured(), 1, "nothing was ended in secret");
            linked.house.post("/v1/revocations", &linked.house.operator(), &body).await.expect(200);
        }
        linked.house.clock.advance_secs(20);
        linked.house.sweep().await;
        assert_eq!(linked.honoured(), 0, "{cut:?}");
        assert_eq!(linked.leases().await, [(json!("ended"), json!("revoked"))], "{cut:?}");
        let kinds = linked.house.kinds_of(task["id"].as_str().unwrap()).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "lease.ended").count(), 1, "{cut:?} {kinds:?}");
    }
}

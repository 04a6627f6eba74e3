//! One case: a broker that is to die at a kill point, the story that takes it there, and the look at what is left.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use hallpass::sys::killpoint::KillPoint;
use serde_json::{Value, json};

use super::points::{Fate, fate};
use crate::support::database;
use crate::support::history::{Delivered, History, Keyed, Observations, violations};
use crate::support::loopback::{Wire, get};
use crate::support::outside::Outside;
use crate::support::postgres;
use crate::support::process::Stage;

/// Longest wait for an answer, a death or an end: the deadline of a delivery, and of what may still land after it.
const PATIENCE: Duration = Duration::from_secs(75);
/// Who asks.
const AGENT: &str = "bench-0";

/// Which backend the story's credentials are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Minter {
    /// Tokens we sign ourselves: no outside call.
    Offline,
    /// A backend that outlives the broker.
    Outside,
}

/// A kill point, at its n-th passing, with a minter.
pub(super) struct Case {
    pub(super) point: KillPoint,
    hit: u64,
    pub(super) minter: Minter,
}

/// What went wrong, for people.
pub(super) type Wrong = String;

/// The broker is not there any more.
pub(super) struct Dead;

/// An answer that came.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// A broker as a process, its backend, and what was seen of both.
pub(super) struct House {
    pub(super) stage: Stage,
    pub(super) outside: Outside,
    pub(super) seen: Observations,
    minter: Minter,
}

impl Case {
    pub(super) fn new(point: KillPoint, hit: u64, minter: Minter) -> Self {
        Self { point, hit, minter }
    }

    pub(super) fn name(&self) -> String {
        format!("{}:{} {:?}", self.point.as_str(), self.hit, self.minter)
    }

    /// Run it; which point it died at.
    pub(super) async fn run(self) -> Result<&'static str, Wrong> {
        let mut house = House::new(self.minter).await;
        let order = format!("{}:{}=abort", self.point.as_str(), self.hit);
        let mut broker = house.start(&[("HALLPASS_KILLPOINT", &order)]);
        let began = house.stage.ready_or_dead(&mut broker).await;
        if began && house.story().await.is_ok() {
            return Err(format!("the story went to its end\n{}", house.stage.log()));
        }
        let status = tokio::task::spawn_blocking(move || broker.wait()).await.unwrap().unwrap();
        if status.signal() != Some(6) {
            return Err(format!("it ended with {status} instead of dying at the kill point\n{}", house.stage.log()));
        }
        let mut broker = house.start_later();
        house.stage.ready().await;
        let looked = house.look(fate(self.point, self.minter)).await;
        broker.kill().unwrap();
        broker.wait().unwrap();
        looked
            .map(|()| self.point.as_str())
            .map_err(|why| format!("{why}\n(log: {} lines)", house.stage.log().lines().count()))
    }
}

impl House {
    pub(super) async fn new(minter: Minter) -> Self {
        let outside = Outside::start("sandbox").await;
        let more = format!(
            "\n[[backends]]\nname = \"sandbox\"\nkind = \"sandbox\"\ndebris = true\nurl = \"http://{}/\"\n\n[intervals]\nending_seconds = 1\n",
            outside.address
        );
        let store = database::is_postgres().then(|| postgres::shared().fresh_url());
        let stage = Stage::with(store, 1, &more, true);
        let owners = BTreeMap::from([(AGENT.to_owned(), "maya".to_owned())]);
        Self { stage, outside, seen: Observations { owners, ..Observations::default() }, minter }
    }

    /// Start it as if it had been down past the deadlines of mints and of deliveries. With PostgreSQL the time is the database's,
    /// so those are waited for.
    pub(super) fn start_later(&self) -> Child {
        self.start(if database::is_postgres() { &[] } else { &[("HALLPASS_CLOCK_AHEAD_SECS", "40")] })
    }

    pub(super) fn start(&self, environment: &[(&str, &str)]) -> Child {
        self.stage.start_with(Path::new(env!("CARGO_BIN_EXE_hallpass")), "hallpass", environment)
    }

    /// The scope that is granted at once.
    pub(super) fn read_scope(&self) -> &'static str {
        match self.minter {
            Minter::Offline => "api:releases:read",
            Minter::Outside => "sandbox:releases:read",
        }
    }

    /// The scope that waits for a person.
    fn write_scope(&self) -> &'static str {
        match self.minter {
            Minter::Offline => "api:releases:write(prefix=v1)",
            Minter::Outside => "sandbox:releases:write",
        }
    }

    /// Ask, hold, ask for more, get it approved, collect, finish, and throw the kill switch.
    async fn story(&mut self) -> Result<(), Dead> {
        let (agent, operator, approver) =
            (self.stage.agent(AGENT), self.stage.operator(), self.stage.person("dev-approver", &["release-approvers"]));
        let task = self.open("first").await?;
        let more = json!({ "purpose": "write it", "scopes": [self.write_scope()], "ttl_seconds": 600 });
        let waiting = self.call("POST", "/v1/tasks", &agent, Some(&more), "second").await?;
        let request = text(&waiting.body, "/requests/0/id");
        let shown = self.call("GET", &format!("/v1/requests/{request}"), &approver, None, "").await?;
        let verdict =
            json!({ "verdict": "approve", "request_digest": text(&shown.body, "/request_digest"), "reason": "go" });
        self.call("POST", &format!("/v1/requests/{request}/verdict"), &approver, Some(&verdict), "").await?;
        let path = format!("/v1/tasks/{}/credentials", text(&waiting.body, "/id"));
        let collected = self.call("POST", &path, &agent, Some(&json!({})), "third").await?;
        self.note(&collected.body);
        self.call("POST", &format!("/v1/tasks/{task}/complete"), &agent, Some(&json!({})), "").await?;
        self.let_one_expire().await?;
        let kill = json!({ "target": { "kill_switch": "engage" }, "reason": "a test" });
        self.call("POST", "/v1/revocations", &operator, Some(&kill), "").await?;
        // What dies off the hot path may take a moment longer.
        for _ in 0..20 {
            self.call("GET", "/v1/leases", &operator, None, "").await?;
        }
        Ok(())
    }

    /// Hold a credential for a second, and wait until a sweep has taken it up.
    async fn let_one_expire(&mut self) -> Result<(), Dead> {
        let ask = json!({ "purpose": "read it", "scopes": [self.read_scope()], "ttl_seconds": 1 });
        let opened = self.call("POST", "/v1/tasks", &self.stage.agent(AGENT), Some(&ask), "").await?;
        self.note(&opened.body);
        let path = format!("/v1/leases?task={}", text(&opened.body, "/id"));
        let mut tries = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..50 {
            tries.tick().await;
            let leases = self.call("GET", &path, &self.stage.operator(), None, "").await?;
            if leases.body["items"].as_array().into_iter().flatten().all(|lease| lease["state"] == "ended") {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Open a task with a credential that is granted at once; the task.
    pub(super) async fn open(&mut self, key: &str) -> Result<String, Dead> {
        let agent = self.stage.agent(AGENT);
        let ask = json!({ "purpose": "read it", "scopes": [self.read_scope()], "ttl_seconds": 600 });
        let reply = self.call("POST", "/v1/tasks", &agent, Some(&ask), key).await?;
        if reply.status < 300 {
            let task = text(&reply.body, "/id");
            self.seen.keyed.push(Keyed { key: key.to_owned(), body: ask.to_string(), task: task.clone() });
            self.note(&reply.body);
            return Ok(task);
        }
        Ok(String::new())
    }

    /// Remember what was delivered.
    pub(super) fn note(&mut self, answer: &Value) {
        for credential in answer["credentials"].as_array().into_iter().flatten() {
            let scopes = credential["scopes"].as_array().into_iter().flatten();
            self.seen.delivered.push(Delivered {
                lease: text(credential, "/id"),
                task: text(answer, "/id"),
                scopes: scopes.filter_map(Value::as_str).map(str::to_owned).collect(),
            });
        }
    }

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Result<Reply, Dead> {
        let request = match body {
            None => get(path, authorization),
            Some(body) => {
                let body = body.to_string();
                let key = if key.is_empty() { String::new() } else { format!("idempotency-key: \"{key}\"\r\n") };
                let length = body.len();
                format!(
                    "{method} {path} HTTP/1.1\r\nhost: h\r\nauthorization: {authorization}\r\n{key}content-type: \
                     application/json\r\ncontent-length: {length}\r\n\r\n{body}"
                )
                .into_bytes()
            }
        };
        let asked = async {
            let mut wire = Wire::connect(self.stage.address).await.map_err(|_| Dead)?;
            let answer = wire.send(&request).await.map_err(|_| Dead)?;
            Ok(Reply { status: answer.status, body: answer.json() })
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(Dead))
    }

    /// The same of a broker that must be there.
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Wrong> {
        let reply = self.call(method, path, &self.stage.operator(), body, "").await;
        let reply = reply.map_err(|Dead| format!("{method} {path}: no answer"))?;
        if reply.status < 300 {
            Ok(reply.body)
        } else {
            Err(format!("{method} {path}: {} {}", reply.status, reply.body))
        }
    }

    /// After the restart: the fate of the first lease, then the client that comes back, then the end of everything.
    pub(super) async fn look(&mut self, fate: Fate) -> Result<(), Wrong> {
        let first = self.leases().await?.first().map(|lease| text(lease, "/id"));
        self.check_fate(fate, first.as_deref()).await?;
        let release = json!({ "target": { "kill_switch": "release" }, "reason": "a test" });
        self.ask("POST", "/v1/revocations", Some(&release)).await?;
        // Whoever lost an answer asks again with the same key, and gets the same task or one for the first time.
        self.open("first").await.map_err(|Dead| "it died again".to_owned())?;
        let all = json!({ "target": { "agent": AGENT }, "reason": "a test is over" });
        self.ask("POST", "/v1/revocations", Some(&all)).await?;
        self.until_ended(None).await?;
        let history = self.history().await?;
        let found = violations(&history, &self.seen, true);
        let debris = self.outside.sandbox.debris();
        if !debris.is_empty() {
            return Err(format!("left behind: {debris:?}"));
        }
        if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
    }

    async fn check_fate(&mut self, fate: Fate, first: Option<&str>) -> Result<(), Wrong> {
        let lease = match (fate, first) {
            (Fate::Any, _) | (Fate::None, None) => return Ok(()),
            (Fate::None, Some(lease)) => return Err(format!("there is a lease, {lease}, where nothing was durable")),
            (_, None) => return Err(format!("there is no lease where {fate:?} was expected")),
            (_, Some(lease)) => lease,
        };
        if fate == Fate::LivesOrUndelivered {
            let row = self.lease(lease).await?;
            let fits = row["state"] == "live" || row["cause"] == "undelivered";
            return if fits { Ok(()) } else { Err(format!("{fate:?}: {row}")) };
        }
        self.until_ended(Some(lease)).await?;
        let row = self.lease(lease).await?;
        let cause = if let Fate::Ends(cause) = fate { cause } else { "completed" };
        if row["cause"] != cause {
            return Err(format!("{fate:?}: {row}"));
        }
        let honoured = self.outside.honoured();
        if honoured.iter().any(|handle| handle == lease) {
            return Err(format!("{lease} has ended and is honoured"));
        }
        let life = self.history().await?;
        let ended = life.life_of(lease).iter().filter(|kind| **kind == "lease.ended").count();
        if ended == 1 { Ok(()) } else { Err(format!("{ended} ends: {:?}", life.life_of(lease))) }
    }

    pub(super) async fn lease(&self, id: &str) -> Result<Value, Wrong> {
        self.leases().await?.into_iter().find(|lease| lease["id"] == id).ok_or_else(|| format!("{id} has vanished"))
    }

    /// Every lease, the oldest first.
    pub(super) async fn leases(&self) -> Result<Vec<Value>, Wrong> {
        let page = self.ask("GET", "/v1/leases?limit=200", None).await?;
        let mut leases = page["items"].as_array().cloned().unwrap_or_default();
        leases.sort_by_key(|lease| (text(lease, "/intent_at"), text(lease, "/id")));
        Ok(leases)
    }

    /// What is on record, with what the backend says of itself.
    pub(super) async fn history(&mut self) -> Result<History, Wrong> {
        self.seen.ever_minted = self.outside.sandbox.ever_minted().iter().map(ToString::to_string).collect();
        self.seen.honoured = self.outside.honoured().into_iter().collect();
        let events = self.ask("GET", "/v1/events?limit=200", None).await?;
        Ok(History::new(events["items"].as_array().unwrap(), self.leases().await?))
    }

    /// Wait until a lease has ended, or every one has.
    async fn until_ended(&self, lease: Option<&str>) -> Result<(), Wrong> {
        let mut tries = tokio::time::interval(Duration::from_millis(100));
        let ending = async {
            loop {
                let leases = self.leases().await?;
                let mut named = leases.iter().filter(|row| lease.is_none_or(|lease| row["id"] == lease));
                if named.all(|row| row["state"] == "ended") {
                    return Ok(());
                }
                tries.tick().await;
            }
        };
        match tokio::time::timeout(PATIENCE, ending).await {
            Ok(done) => done,
            Err(_) => Err(format!("not ended in time: {:?}", self.leases().await?)),
        }
    }
}

pub(super) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

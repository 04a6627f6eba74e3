//! The world of a seed: a broker, what goes wrong in it, the peace after, and what was seen.

use std::collections::{BTreeMap, BTreeSet};

use hallpass::minter::{Fault, SandboxCall};
use serde_json::{Value, json};

use super::Dice;
use crate::support::harness::{Harness, Options, Reply};
use crate::support::history::{Delivered, History, Keyed, Observations, violations};
use crate::support::store_fault::{StoreFault, TARGETS};

/// Operations of one seed.
const DEEDS: usize = 10;
/// Steps of five seconds within which everything due has to end once nothing fails any more.
const PEACE_STEPS: usize = 12;

/// A broker, its faults, and what was seen of it.
pub(super) struct World {
    pub(super) house: Harness,
    pub(super) dice: Dice,
    pub(super) seed: u64,
    faults: StoreFault,
    pub(super) seen: Observations,
    /// Tasks of this seed, and requests of it that wait.
    pub(super) tasks: Vec<String>,
    pub(super) waiting: Vec<String>,
    pub(super) killed: bool,
    pub(super) suspended: bool,
    /// What was done, to read when it went wrong.
    pub(super) trace: Vec<String>,
    /// The last event of the seeds before.
    after: i64,
    /// What was on record of this seed when it was last looked at.
    earlier: History,
    /// What the backend had made before this seed.
    minted_before: BTreeSet<String>,
}

impl World {
    pub(super) async fn start() -> Self {
        let roomy = "kinds = [\"deploy\"]\nlimits = { live_leases = 10000, requests_per_minute = 1000000, pending_requests = 1000 }";
        let house = Harness::with(Options::default().with_change("agents.toml", "kinds = [\"deploy\"]", roomy)).await;
        let faults = StoreFault::behind(house.dir.path()).await;
        Self {
            house,
            dice: Dice(0),
            seed: 0,
            faults,
            seen: Observations::default(),
            tasks: Vec::new(),
            waiting: Vec::new(),
            killed: false,
            suspended: false,
            trace: Vec::new(),
            after: 0,
            earlier: History::default(),
            minted_before: BTreeSet::new(),
        }
    }

    /// Play a seed: war, then peace; what was wrong.
    pub(super) async fn play(&mut self, seed: u64) -> Vec<String> {
        self.begin(seed);
        let deadly = 5 + self.dice.below(21);
        for deed in 0..DEEDS {
            self.go_wrong(deadly).await;
            self.deed().await;
            self.house.clock.advance_secs(1);
            if deed == DEEDS / 2 {
                self.earlier = self.history().await;
            }
        }
        self.make_peace().await;
        self.end().await
    }

    /// Forget what was seen before.
    pub(super) fn begin(&mut self, seed: u64) {
        (self.dice, self.seed) = (Dice(seed), seed);
        self.seen = Observations {
            owners: BTreeMap::from([("release-bot".to_owned(), "maya".to_owned())]),
            ..Observations::default()
        };
        (self.tasks, self.waiting, self.trace, self.earlier) = (Vec::new(), Vec::new(), Vec::new(), History::default());
        self.minted_before = self.ever_minted();
    }

    /// What is wrong now.
    pub(super) async fn wrong(&mut self, at_rest: bool) -> Vec<String> {
        let history = self.history().await;
        self.seen.ever_minted = self.ever_minted().difference(&self.minted_before).cloned().collect();
        self.look_outside().await;
        let mut wrong = violations(&history, &self.seen, at_rest);
        wrong.extend(history.extends(&self.earlier).err());
        self.earlier = history;
        wrong
    }

    /// What is wrong at the end, when everything must have ended.
    pub(super) async fn end(&mut self) -> Vec<String> {
        let wrong = self.wrong(true).await;
        if let Some(last) = self.earlier.entries.last() {
            self.after = last.seq;
        }
        wrong
    }

    /// Let the backend and the database fail now and then; what the database refuses, it refuses for one operation.
    async fn go_wrong(&mut self, percent: usize) {
        self.faults.mend().await;
        for call in
            [SandboxCall::Mint, SandboxCall::Activate, SandboxCall::Revoke, SandboxCall::Probe, SandboxCall::Inventory]
        {
            if self.dice.percent(percent) {
                let fault = self.dice.pick(&[Fault::Refused, Fault::Unheard, Fault::Unavailable]);
                self.trace.push(format!("[the next {call:?} is {fault:?}]"));
                self.house.sandbox.fail_next(call, fault);
            }
        }
        if self.dice.percent(percent) {
            let target = self.dice.pick(TARGETS);
            self.trace.push(format!("[the database refuses {target:?}]"));
            self.faults.raise(target).await;
        }
    }

    /// What is not about requests is done with a database that takes it.
    pub(super) async fn mend_database(&mut self) {
        self.faults.mend().await;
    }

    /// Nothing fails any more, everything is to end, and a minute passes.
    pub(super) async fn make_peace(&mut self) {
        self.faults.mend().await;
        self.house.sandbox.mend();
        let operator = self.house.operator();
        if self.killed {
            self.revoke(&json!({ "kill_switch": "release" })).await;
            self.killed = false;
        }
        if self.suspended {
            let reason = json!({ "reason": "peace" });
            self.house.post("/v1/agents/release-bot/resume", &operator, &reason).await;
            self.suspended = false;
        }
        let reply = self.revoke(&json!({ "agent": "release-bot" })).await;
        self.trace.push(format!("peace: {}", reply.status));
        for _ in 0..PEACE_STEPS {
            self.sweep().await;
            self.house.clock.advance_secs(5);
        }
        self.sweep().await;
    }

    /// Every chore once; what fails is tried again at the next.
    pub(super) async fn sweep(&self) {
        let broker = &self.house.broker;
        let _ = broker.look_again().await;
        let _ = broker.sweep_killed().await;
        let _ = broker.sweep_tasks().await;
        let _ = broker.sweep_leases().await;
        let _ = broker.sweep_requests().await;
        let _ = broker.sweep_policy().await;
        let _ = broker.sweep_suspended().await;
        let _ = broker.sweep_orphans().await;
    }

    fn ever_minted(&self) -> BTreeSet<String> {
        self.house.sandbox.ever_minted().iter().map(ToString::to_string).collect()
    }

    async fn look_outside(&mut self) {
        let now = self.house.broker.now();
        self.seen.honoured = self.house.sandbox.honoured(now).iter().map(|held| held.handle.to_string()).collect();
        self.seen.fences.extend(self.faults.fences().await);
    }

    /// What this seed has left on record so far. What goes on in the background may write while it is read, so it is read until
    /// nothing has come in between.
    async fn history(&mut self) -> History {
        let operator = self.house.operator();
        let mut items: Vec<Value> = Vec::new();
        loop {
            self.read_events(&operator, &mut items).await;
            let before = items.len();
            let opened: BTreeSet<&str> = items
                .iter()
                .filter(|item| item["event"]["kind"] == "task.opened")
                .filter_map(|item| item["event"]["task"].as_str())
                .collect();
            let mut leases = Vec::new();
            for task in opened {
                let page = self.house.get(&format!("/v1/leases?task={task}&limit=200"), &operator).await.expect(200);
                leases.extend(page["items"].as_array().unwrap().iter().cloned());
            }
            self.read_events(&operator, &mut items).await;
            if items.len() == before {
                self.seen.fences.extend(self.faults.fences().await);
                return History::new(&items, leases);
            }
        }
    }

    /// Read the events that are not read yet.
    async fn read_events(&self, operator: &str, items: &mut Vec<Value>) {
        loop {
            let from = items.last().map_or(self.after, |item| item["seq"].as_i64().unwrap());
            let page = self.house.get(&format!("/v1/events?limit=200&cursor={from}"), operator).await.expect(200);
            let page = page["items"].as_array().unwrap();
            if page.is_empty() {
                return;
            }
            items.extend(page.iter().cloned());
        }
    }

    pub(super) async fn revoke(&self, target: &Value) -> Reply {
        let body = json!({ "target": target, "reason": "a simulation" });
        self.house.post("/v1/revocations", &self.house.operator(), &body).await
    }

    /// Remember what an answer brought.
    pub(super) fn note(&mut self, what: &str, reply: &Reply, key: Option<(&str, &Value)>) {
        self.trace.push(format!("{what}: {}", reply.status));
        if !reply.status.is_success() {
            return;
        }
        let answer = reply.json();
        let Some(task) = answer["id"].as_str() else { return };
        if !self.tasks.iter().any(|known| known == task) {
            self.tasks.push(task.to_owned());
        }
        if let Some((key, body)) = key {
            self.seen.keyed.push(Keyed { key: key.to_owned(), body: body.to_string(), task: task.to_owned() });
        }
        for request in answer["requests"].as_array().into_iter().flatten() {
            let id = request["id"].as_str().unwrap();
            if request["state"] == "pending" && !self.waiting.iter().any(|known| known == id) {
                self.waiting.push(id.to_owned());
            }
        }
        for credential in answer["credentials"].as_array().into_iter().flatten() {
            let scopes = credential["scopes"].as_array().unwrap();
            self.seen.delivered.push(Delivered {
                lease: credential["id"].as_str().unwrap().to_owned(),
                task: task.to_owned(),
                scopes: scopes.iter().map(|scope| scope.as_str().unwrap().to_owned()).collect(),
            });
        }
    }
}

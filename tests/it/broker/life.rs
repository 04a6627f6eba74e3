//! Random lives against a small model: whatever is done in whatever order, with failing backends, restarts and jumps of the
//! clock, nothing is honoured that nobody answers for. Each walk is repeatable by its seed.

use std::collections::{BTreeMap, BTreeSet};

use hallpass::minter::{Fault, SandboxCall};
use serde_json::{Value, json};

use super::{API_READ, READ, WRITE, text};
use crate::support::harness::{Harness, ask};

const SEEDS: std::ops::Range<u64> = 1..11;
const STEPS: usize = 60;

/// `SplitMix64`: the same seed, the same life.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.roll(from.len())) }
    }
}

/// What the model knows: what was asked for, and what must not work any more.
#[derive(Default)]
struct Model {
    tasks: Vec<String>,
    over: BTreeSet<String>,
    tokens: Vec<(String, String)>,
    ended_leases: BTreeSet<String>,
    suspended: bool,
    killed: bool,
    writes_forbidden: bool,
}

struct Walk {
    house: Harness,
    dice: Dice,
    model: Model,
    told: Vec<String>,
}

impl Walk {
    async fn begin(seed: u64) -> Self {
        Self {
            house: Harness::start().await,
            dice: Dice(seed),
            model: Model::default(),
            told: vec![format!("seed {seed}")],
        }
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    /// Remember a task and what was delivered with an answer.
    fn learn(&mut self, answer: &Value) {
        let Some(id) = answer["id"].as_str() else { return };
        if !self.model.tasks.iter().any(|known| known == id) {
            self.model.tasks.push(id.to_owned());
        }
        for credential in answer["credentials"].as_array().into_iter().flatten() {
            if let Some(token) = credential["values"]["access_token"].as_str() {
                self.model.tokens.push((text(&credential["id"]), token.to_owned()));
            }
            assert!(!self.model.suspended && !self.model.killed, "nothing is delivered now: {:?}", self.told);
            assert!(!self.model.over.contains(id), "a task that is over delivers nothing: {:?}", self.told);
            assert!(!(self.model.writes_forbidden && credential["scopes"] == json!([WRITE])), "{:?}", self.told);
        }
    }

    async fn step(&mut self) {
        // What stands still teaches little: sooner or later somebody lets it go on.
        if self.dice.roll(3) == 0 && self.model.killed {
            return self.toggle_kill_switch().await;
        }
        if self.dice.roll(3) == 0 && self.model.suspended {
            return self.toggle_agent().await;
        }
        match self.dice.roll(22) {
            0..=3 => self.open().await,
            4 | 5 => self.more().await,
            6..=8 => self.decide().await,
            9 | 10 => self.collect().await,
            11 => self.end_task().await,
            12 | 13 => self.revoke().await,
            14 => self.toggle_agent().await,
            15 => self.toggle_kill_switch().await,
            16 | 17 => self.jump(),
            18 => self.house.sweep().await,
            19 => {
                self.tell("restart");
                self.house.restart().await;
            }
            20 => self.break_something(),
            _ => self.change_policy().await,
        }
    }

    async fn open(&mut self) {
        let scopes = [json!([READ]), json!([WRITE]), json!([API_READ]), json!([READ, WRITE, API_READ])];
        let mut body = ask(READ);
        body["scopes"] = self.dice.pick(&scopes).unwrap().clone();
        if self.dice.roll(3) == 0 {
            body["task_ttl_seconds"] = json!(600 + self.dice.roll(1200));
        }
        let reply = self.house.post("/v1/tasks", &self.house.agent("release-bot"), &body).await;
        self.tell(format!("open {} -> {}", body["scopes"], reply.status.as_u16()));
        if reply.status.is_success() {
            self.learn(&reply.json());
        }
    }

    async fn more(&mut self) {
        let Some(task) = self.dice.pick(&self.model.tasks).cloned() else { return };
        let scope = *self.dice.pick(&[READ, WRITE, API_READ]).unwrap();
        let path = format!("/v1/tasks/{task}/requests");
        let reply = self.house.post(&path, &self.house.agent("release-bot"), &json!({ "scopes": [scope] })).await;
        self.tell(format!("more {scope} in {task} -> {}", reply.status.as_u16()));
        if reply.status.is_success() {
            self.learn(&reply.json());
        }
    }

    async fn decide(&mut self) {
        let page = self.house.get("/v1/requests?state=pending&limit=200", &self.house.operator()).await.expect(200);
        let pending = page["items"].as_array().unwrap();
        let Some(request) = self.dice.pick(pending).map(|request| text(&request["id"])) else { return };
        let verdict = if self.dice.roll(4) == 0 { "deny" } else { "approve" };
        let reply = self.house.verdict(&request, &self.house.approver(), verdict).await;
        self.tell(format!("{verdict} {request} -> {}", reply.status.as_u16()));
    }

    async fn collect(&mut self) {
        let Some(task) = self.dice.pick(&self.model.tasks).cloned() else { return };
        // Twice at once: of two who collect, one gets it.
        let (first, second) = tokio::join!(self.house.collect(&task), self.house.collect(&task));
        self.tell(format!("collect {task} -> {} {}", first.status.as_u16(), second.status.as_u16()));
        for reply in [first, second].iter().filter(|reply| reply.status.is_success()) {
            self.learn(&reply.json());
        }
    }

    async fn end_task(&mut self) {
        let Some(task) = self.dice.pick(&self.model.tasks).cloned() else { return };
        let path = format!("/v1/tasks/{task}/{}", self.dice.pick(&["complete", "cancel"]).unwrap());
        let reply = self.house.post(&path, &self.house.agent("release-bot"), &json!({})).await;
        self.tell(format!("{path} -> {}", reply.status.as_u16()));
        if reply.status.is_success() {
            self.model.over.insert(task);
        }
    }

    async fn revoke(&mut self) {
        let leases = self.house.leases().await;
        let Some(lease) = self.dice.pick(&leases).cloned() else { return };
        let what = *self.dice.pick(&["lease", "grant", "task", "backend", "agent"]).unwrap();
        let name = if what == "lease" { text(&lease["id"]) } else { text(&lease[what]) };
        let closure = self.house.revoke(&json!({ what: name })).await;
        self.tell(format!("revoke {what} {name} -> {}", closure["closure"]));
        for named in closure["leases"].as_array().unwrap() {
            self.model.ended_leases.insert(text(&named["id"]));
        }
        match what {
            "task" => drop(self.model.over.insert(name)),
            "agent" => self.model.over.extend(self.model.tasks.iter().cloned()),
            _ => {}
        }
    }

    async fn toggle_agent(&mut self) {
        let word = if self.model.suspended { "resume" } else { "suspend" };
        let path = format!("/v1/agents/release-bot/{word}");
        self.house.post(&path, &self.house.operator(), &json!({ "reason": "a walk" })).await.expect(200);
        self.tell(word);
        self.model.suspended = !self.model.suspended;
        if self.model.suspended {
            self.model.over.extend(self.model.tasks.iter().cloned());
        }
    }

    async fn toggle_kill_switch(&mut self) {
        let word = if self.model.killed { "release" } else { "engage" };
        self.house.revoke(&json!({ "kill_switch": word })).await;
        self.tell(format!("{word} the kill switch"));
        self.model.killed = !self.model.killed;
        if self.model.killed {
            self.model.ended_leases.extend(self.house.leases().await.iter().map(|lease| text(&lease["id"])));
        }
    }

    fn jump(&mut self) {
        let secs = i64::try_from(1 + self.dice.roll(250)).unwrap();
        self.house.advance_secs(secs);
        self.tell(format!("{secs} s pass"));
    }

    fn break_something(&mut self) {
        let calls = [SandboxCall::Mint, SandboxCall::Activate, SandboxCall::Revoke, SandboxCall::Probe];
        let call = *self.dice.pick(&calls).unwrap();
        let fault = *self.dice.pick(&[Fault::Refused, Fault::Unheard, Fault::Unavailable]).unwrap();
        self.house.sandbox.fail_next(call, fault);
        self.tell(format!("the next {call:?} is {fault:?}"));
    }

    async fn change_policy(&mut self) {
        self.model.writes_forbidden = !self.model.writes_forbidden;
        let forbidden = self.model.writes_forbidden;
        self.tell(format!("writes forbidden: {forbidden}"));
        self.house
            .change_bundle(|files| {
                let text = "@id(\"walk\")\n@reason(\"No writes\")\nforbid (principal, action == Hallpass::Action::\"grant\", \
                            resource) when { resource.action == \"write\" };\n";
                if forbidden {
                    files.insert("walk.cedar".to_owned(), text.to_owned());
                } else {
                    files.remove("walk.cedar");
                }
            })
            .await;
    }

    /// What holds at every moment.
    async fn check(&self) {
        let now = self.house.broker.now();
        let leases = self.leases_by_id().await;
        for honoured in self.house.sandbox.honoured(now) {
            let lease = &leases[honoured.handle.as_str()];
            assert_ne!(lease["state"], "ended", "ended, and still honoured: {lease} {:?}", self.told);
        }
        let usable = leases.values().filter(|lease| {
            ["minting", "live"].contains(&lease["state"].as_str().unwrap()) && now < moment(&lease["usable_until"])
        });
        let mut grants = BTreeSet::new();
        for lease in usable {
            assert!(grants.insert(lease["grant"].as_str()), "two credentials of one grant: {lease} {:?}", self.told);
        }
        for (lease, token) in &self.model.tokens {
            let active = self.house.introspect(token).await["active"] == true;
            let row = &leases[lease];
            let may = row["state"] == "live" && !self.model.ended_leases.contains(lease) && !self.model.killed;
            assert!(!active || may, "relied on: {row} {:?}", self.told);
        }
    }

    /// What holds once the backend works, the longest back-off has passed and the sweeps have run.
    async fn check_at_rest(&self) {
        self.house.sandbox.mend();
        self.house.advance_secs(61);
        self.house.sweep().await;
        let now = self.house.broker.now();
        let leases = self.leases_by_id().await;
        for honoured in self.house.sandbox.honoured(now) {
            let lease = &leases[honoured.handle.as_str()];
            let told = &self.told;
            assert_eq!(lease["state"], "live", "{lease} {told:?}");
            assert!(!self.model.over.contains(&text(&lease["task"])), "its task is over: {lease} {told:?}");
            assert!(!self.model.ended_leases.contains(&text(&lease["id"])), "it was revoked: {lease} {told:?}");
            assert!(!self.model.killed && !self.model.suspended, "{lease} {told:?}");
            assert!(!(self.model.writes_forbidden && lease["scopes"] == json!([WRITE])), "{lease} {told:?}");
            assert_eq!(self.house.task(&text(&lease["task"])).await["state"], "open", "{lease} {told:?}");
        }
        for lease in leases.values() {
            assert!(["live", "ended"].contains(&lease["state"].as_str().unwrap()), "{lease} {:?}", self.told);
        }
    }

    async fn leases_by_id(&self) -> BTreeMap<String, Value> {
        self.house.leases().await.into_iter().map(|lease| (text(&lease["id"]), lease)).collect()
    }

    /// What the audit says: every step has its cause before it, and authority only shrinks on its way.
    async fn check_record(&self) {
        let leases = self.leases_by_id().await;
        for task in &self.model.tasks {
            let events = self.house.events_of(task).await;
            assert!(events.len() < 200, "the whole record was read");
            let of = |kind: &str, what: &str, id: &Value| {
                events.iter().position(|event| event["kind"] == kind && event[what] == *id)
            };
            for (at, event) in events.iter().enumerate().filter(|(_, event)| event["kind"] == "credential.minted") {
                let lease = &leases[event["lease"].as_str().unwrap()];
                let minting = of("credential.minting", "lease", &event["lease"]);
                assert!(minting.is_some_and(|before| before < at), "{:?}", self.told);
                let granted = of("access.granted", "grant", &event["grant"]).unwrap();
                assert!(granted < at);
                let requested = of("access.requested", "request", &event["request"]).unwrap();
                assert!(requested < granted);
                assert_eq!(lease["scopes"], events[granted]["data"]["scopes"]);
                assert_eq!(events[granted]["data"]["scopes"], events[requested]["data"]["scopes"]);
                assert_eq!(
                    events[granted]["data"]["until"], events[0]["data"]["ends_at"],
                    "a grant ends with its task"
                );
                assert!(moment(&lease["usable_until"]) <= moment(&events[granted]["data"]["until"]));
                assert!(moment(&lease["native_end"]) <= moment(&events[granted]["data"]["until"]));
                if lease["scopes"].to_string().contains(WRITE) {
                    let yes = events.iter().position(|known| {
                        known["kind"] == "approval.recorded"
                            && known["request"] == event["request"]
                            && known["data"]["verdict"] == "approve"
                    });
                    assert!(yes.is_some_and(|before| before < granted), "{:?}", self.told);
                }
            }
        }
    }
}

fn moment(value: &Value) -> hallpass::domain::Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn whatever_happens_nothing_is_honoured_that_nobody_answers_for() {
    for seed in SEEDS {
        let mut walk = Walk::begin(seed).await;
        for step in 0..STEPS {
            walk.step().await;
            walk.check().await;
            if step % 15 == 14 {
                walk.check_at_rest().await;
            }
        }
        walk.check_record().await;
        assert!(walk.model.tasks.len() > 3, "a walk that did something: {:?}", walk.told);
    }
}

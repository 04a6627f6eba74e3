//! What it takes to end a credential that no name ends: kept sealed from the fact to the end, and nowhere else. The backend is a
//! GitHub that remembers what it honours.

use std::sync::Arc;

use hallpass::broker::{ReconcileAsk, Told};
use hallpass::store::{KeptSecret, Store};
use hallpass::sys::keys::{Kek, KeyError};
use hallpass::sys::{ManualClock, SecretString};
use serde_json::{Value, json};

use super::{Held, READ, text};
use crate::minter::fake_github::{Call, FakeGithub, Fault, GADGET, WIDGET};
use crate::support::database;
use crate::support::harness::{Harness, Options, Reply, ask};
use crate::support::idp::NOW_SECS;

/// Granted at once, for the widget.
const WIDGET_READ: &str = "gh:widget:read";
/// Seconds after which GitHub has ended everything by itself.
const NATIVE_SECS: i64 = 3_661;

/// A house with a GitHub.
async fn start() -> (Harness, FakeGithub) {
    let clock = ManualClock::new(hallpass::domain::Timestamp::from_secs(NOW_SECS));
    let github = FakeGithub::start(Arc::new(clock)).await;
    let entry = |name: &str, more: &str, repositories: &[(u64, &str)]| {
        let repositories: Vec<String> =
            repositories.iter().map(|(id, name)| format!("{{ id = {id}, name = \"{name}\" }}")).collect();
        format!(
            "\n[[scope]]\nname = \"{name}\"\ndescription = \"Read the code\"\nrisk = 20\nowner = \"maya\"\n\
             max_ttl_seconds = 3600\neffect = {{ repositories = [{}], permissions = {{ contents = \"read\" }}{more} }}\n",
            repositories.join(", ")
        )
    };
    let mut options = Options { backends: vec![github.settings("gh")], ..Options::default() };
    let catalogue = options.bundle.get_mut("catalogue.toml").unwrap();
    catalogue.push_str(&entry(WIDGET_READ, "", &[WIDGET]));
    catalogue.push_str(&entry("gh:any:read", ", choose = \"repository\"", &[WIDGET, GADGET]));
    catalogue.push_str("params.repository = { type = \"word\", max_length = 64 }\n");
    let ceiling = "ceiling = [\"sandbox:releases:read\", \"sandbox:releases:write\", ";
    let options =
        options.with_change("agents.toml", ceiling, &format!("{ceiling}\"{WIDGET_READ}\", \"gh:any:read\", "));
    let house = Harness::with(options).await;
    github.follow(house.clock.clone());
    (house, github)
}

impl Harness {
    /// Stop, look what is kept for a lease, and start again.
    async fn kept(&mut self, lease: &str) -> Option<KeptSecret> {
        self.broker.stop().await;
        let store = Store::open(&database::settings_of(&self.store, self.dir.path())).await.unwrap();
        let kept = store.find_kept_secret(lease.parse().unwrap()).await.unwrap();
        store.close().await;
        self.restart().await;
        kept
    }

    async fn open(&self, scope: &str) -> Reply {
        self.post("/v1/tasks", &self.agent("release-bot"), &ask(scope)).await
    }

    async fn complete(&self, task: &str) -> Value {
        self.post(&format!("/v1/tasks/{task}/complete"), &self.agent("release-bot"), &json!({})).await.expect(200)
    }

    /// Everything an operator or the agent can read about a task.
    async fn everything_said_of(&self, task: &str) -> String {
        let mut said = String::new();
        let paths = [format!("/v1/tasks/{task}"), format!("/v1/leases?task={task}"), format!("/v1/events?task={task}")];
        for token in [self.operator(), self.agent("release-bot")] {
            for path in
                paths.iter().map(String::as_str).chain(["/v1/leases", "/v1/events", "/v1/requests", "/v1/tasks"])
            {
                said.push_str(&String::from_utf8(self.get(path, &token).await.body).unwrap());
            }
        }
        said
    }
}

#[tokio::test]
async fn gh_01_a_token_is_kept_sealed_over_a_restart_and_ends_with_its_task() {
    let (mut house, github) = start().await;
    let held = Held::of(&house.open(WIDGET_READ).await.expect(201));
    assert!(github.accepts(&held.secret, house.broker.now()).is_some());
    let kept = house.kept(&held.lease).await.expect("it is kept");
    assert_eq!(kept.keep_until.as_secs(), NOW_SECS + 3660);
    let bytes = database::everything_kept(house.dir.path());
    assert!(!bytes.windows(held.secret.len()).any(|window| window == held.secret.as_bytes()));
    let said = house.everything_said_of(&held.task).await;
    assert!(said.contains(&held.lease) && !said.contains(&held.secret) && !said.contains(&kept.sealed));

    let closed = house.complete(&held.task).await;
    assert_eq!(github.accepts(&held.secret, house.broker.now()), None);
    let lease = house.lease(&held.lease).await;
    assert_eq!(lease["state"], "ended", "{closed}");
    assert_eq!(house.kept(&held.lease).await, None, "it went with the end");

    // Both ends are on record, under the name that GitHub's audit log has for the token.
    let events = house.events_of(&held.task).await;
    let of = |kind: &str| events.iter().find(|event| event["kind"] == kind).unwrap()["data"].clone();
    let fingerprint = text(&of("credential.minted")["fingerprint"]);
    let hashed = FakeGithub::hashed(&held.secret);
    assert_eq!(data_encoding::BASE64.encode(&data_encoding::HEXLOWER.decode(fingerprint.as_bytes()).unwrap()), hashed);
    assert!(text(&of("lease.ended")["proof"]).contains(&hashed));
}

#[tokio::test]
async fn what_is_kept_is_of_no_use_under_another_key_or_for_another_lease() {
    let (mut house, _github) = start().await;
    let held = Held::of(&house.open(WIDGET_READ).await.expect(201));
    let kept = house.kept(&held.lease).await.unwrap();
    let sealed = data_encoding::BASE64.decode(kept.sealed.as_bytes()).unwrap();
    let label = |lease: &str| format!("kept secret\0{lease}");
    let ours = Kek::from_base64(&SecretString::from(house.kek())).unwrap();
    assert_eq!(**ours.unseal(&label(&held.lease), &sealed).unwrap(), *held.secret.as_bytes());
    let other = Held::of(&house.open(WIDGET_READ).await.expect(201));
    assert!(matches!(ours.unseal(&label(&other.lease), &sealed), Err(KeyError::Corrupt { .. })));
    let foreign = Kek::from_base64(&SecretString::from(data_encoding::BASE64.encode(&[7; 32]))).unwrap();
    assert!(matches!(foreign.unseal(&label(&held.lease), &sealed), Err(KeyError::WrongKek { .. })));
}

#[tokio::test]
async fn gh_04_while_github_does_not_end_a_token_its_lease_says_so_until_its_native_end() {
    let (mut house, github) = start().await;
    for fault in [Fault::Status(500), Fault::AskedTooMuch(30), Fault::Status(403)] {
        github.fail_always(Call::Delete, fault);
        let both = json!({ "purpose": "read", "scopes": [{ "scope": WIDGET_READ }] });
        let task = house.post("/v1/tasks", &house.agent("release-bot"), &both).await.expect(201);
        let held = Held::of(&task);
        let beside = house.granted(READ).await;
        house.complete(&held.task).await;
        house.complete(&beside.task).await;
        assert_eq!(house.lease(&beside.lease).await["state"], "ended", "another backend is not affected");
        for _ in 0..12 {
            house.advance_secs(100);
            house.sweep().await;
            assert_eq!(
                house.lease(&held.lease).await["state"],
                "ending",
                "{fault:?}: it is honoured, and so not ended"
            );
        }
        assert!(house.kept(&held.lease).await.is_some());
        house.advance_secs(NATIVE_SECS);
        house.sweep().await;
        let lease = house.lease(&held.lease).await;
        assert_eq!(lease["state"], "ended", "{fault:?}: {lease}");
        assert!(house.kept(&held.lease).await.is_none());
    }
    let alarms = house.events("lease.irrevocable").await;
    assert!(!alarms.is_empty(), "somebody hears of it");

    // And when it answers again, it is told at once.
    let held = Held::of(&house.open(WIDGET_READ).await.expect(201));
    house.complete(&held.task).await;
    assert!(github.accepts(&held.secret, house.broker.now()).is_some());
    github.mend();
    house.advance_secs(60);
    house.sweep().await;
    assert_eq!(house.lease(&held.lease).await["state"], "ended");
    assert_eq!(github.accepts(&held.secret, house.broker.now()), None);
}

#[tokio::test]
async fn a_token_that_was_lost_before_its_fact_ends_with_its_hour_and_the_lease_says_so() {
    let (mut house, github) = start().await;
    github.fail_next(Call::Mint, Fault::Unheard);
    assert_eq!(house.open(WIDGET_READ).await.expect(201)["credentials"], json!([]));
    assert_eq!(github.honoured(), 1, "GitHub made it, and nobody has it");
    house.settle().await;
    let lease = house.leases().await.remove(0);
    assert_eq!((&lease["state"], &lease["cause"]), (&json!("ending"), &json!("aborted")));
    assert_eq!(lease["ends_by"], lease["native_end"], "{lease}");
    assert_eq!(house.kept(&text(&lease["id"])).await, None);
    house.advance_secs(NATIVE_SECS);
    house.sweep().await;
    assert_eq!(house.leases().await[0]["state"], "ended");
    assert_eq!(github.honoured(), 0);
}

#[tokio::test]
async fn a_token_whose_fact_cannot_be_recorded_is_ended_at_once() {
    let (mut house, github) = start().await;
    let (acted, go) = github.hold_mint();
    let between = async {
        acted.await.unwrap();
        house.revoke(&json!({ "kill_switch": "engage" })).await;
        go.send(()).unwrap();
    };
    let (reply, ()) = tokio::join!(house.open(WIDGET_READ), between);
    assert_eq!(reply.expect(503)["code"], "kill-switch-active");
    assert_eq!((github.ever().len(), github.honoured()), (1, 0));
    let lease = house.leases().await.remove(0);
    assert_ne!(lease["state"], "live", "{lease}");
    assert_eq!(house.kept(&text(&lease["id"])).await, None);
    house.advance_secs(NATIVE_SECS);
    house.sweep().await;
    assert_eq!(house.leases().await[0]["state"], "ended");
    assert!(house.events("credential.minted").await.is_empty());
}

#[tokio::test]
async fn gh_05_a_repository_that_changed_after_it_was_approved_is_a_problem_of_its_own() {
    let (house, github) = start().await;
    github.rename(WIDGET.0, "acme/widget-two");
    let refused = house.open(WIDGET_READ).await.expect(409);
    assert_eq!((&refused["code"], &refused["agent_action"]), (&json!("target-changed"), &json!("ask_human")));
    assert_eq!((github.ever().len(), github.honoured()), (1, 0));
    let lease = house.leases().await.remove(0);
    assert_eq!(lease["state"], "ended", "nothing is left, and that is known: {lease}");
    assert!(text(&lease["proof"]).contains("nothing was minted"), "{lease}");
}

#[tokio::test]
async fn gh_02_a_repository_that_is_not_listed_is_refused_and_github_is_not_asked() {
    let (house, github) = start().await;
    let refused = house.open("gh:any:read(repository=secrets)").await.expect(422);
    assert_eq!(refused["code"], "scope-unmappable");
    assert!(github.calls(Call::Mint).is_empty());
    house.open("gh:any:read(repository=gadget)").await.expect(201);
    assert_eq!(github.calls(Call::Mint)[0]["repository_ids"], json!([GADGET.0]));
}

#[tokio::test]
async fn a_moved_database_asks_with_what_was_kept_and_a_copy_forgets_it() {
    let (mut house, github) = start().await;
    let held = Held::of(&house.open(WIDGET_READ).await.expect(201));
    let told = |told| ReconcileAsk { told, reason: "a test says so".to_owned(), dry_run: false };
    let mut fork = house.fork().await;
    fork.broker.reconcile_restored(&told(Told::Fork)).await.unwrap();
    assert_eq!(fork.kept(&held.lease).await, None, "it is the original's");
    assert!(github.accepts(&held.secret, house.broker.now()).is_some());
    let reports = house.broker.reconcile_restored(&told(Told::Complete)).await.unwrap();
    let report = &reports[&"gh".parse().unwrap()];
    assert_eq!((report.leases, report.honoured, report.unlistable), (1, 1, true), "{report:?}");
    let report = &house.broker.reconcile_restored(&told(Told::Restored)).await.unwrap()[&"gh".parse().unwrap()];
    assert_eq!((report.honoured, report.ended), (1, 1), "{report:?}");
    assert_eq!(github.honoured(), 0);
}

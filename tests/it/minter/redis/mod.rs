//! Kind `redis`, against a real server whose broker has the rights of docs/backends/redis-broker.acl, and with redis-cli as the
//! agent: it passes the suite, and what it makes is exactly what was planned.

mod attacks;
mod checks;
mod ending;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hallpass::domain::{CatalogueEntry, MintPlan, Scope, Timestamp};
use hallpass::minter::{CredentialRef, Found, Inventory, MintError, Minted, Minter, MinterDeps, Probe};
use hallpass::sys::{ExposeSecret as _, SystemEntropy};
use serde_json::json;

use super::{World, live, plan_for, scope, suite};
use crate::support::redis::{Redis, said};

/// A minter of a deployment of that name.
fn minter_with(deployment: &str, settings: &str) -> Arc<dyn Minter> {
    let mut world = World::new();
    let entropy = Arc::new(SystemEntropy::default());
    world.deps = MinterDeps { entropy, deployment: deployment.to_owned(), ..world.deps };
    world.minter(settings)
}

fn minter_at(redis: &Redis) -> Arc<dyn Minter> {
    minter_with("tested", &redis.settings(""))
}

fn reads(tenant: &str) -> (Scope, CatalogueEntry) {
    let effect = json!({ "commands": ["get", "mget", "blpop"], "keys": { "orders:{tenant}:*": "read_write" } });
    scope(&format!("cache:orders:read(tenant={tenant})"), effect)
}

fn writes() -> (Scope, CatalogueEntry) {
    let effect = json!({
        "commands": ["set", "del", "publish", "subscribe"], "keys": { "prices:*": "read_write" }, "channels": ["prices"]
    });
    scope("cache:prices:write", effect)
}

async fn end(minter: &dyn Minter, plan: &MintPlan) {
    minter.revoke(CredentialRef::of_plan(plan)).await.unwrap();
    assert_eq!(minter.probe(CredentialRef::of_plan(plan)).await.unwrap(), Probe::Refused);
}

fn value<'a>(minted: &'a Minted, name: &str) -> &'a str {
    minted.values[name].expose_secret()
}

/// redis-cli as its holder runs it.
fn cli(redis: &Redis, minted: &Minted) -> Command {
    redis.cli(value(minted, "username"), value(minted, "password"))
}

/// What redis-cli prints.
fn run(redis: &Redis, minted: &Minted, words: &[&str]) -> String {
    said(&cli(redis, minted).args(words).output().unwrap())
}

/// A redis-cli that stays connected and waits for something.
struct Waiting(Child);

impl Waiting {
    /// Begin; it waits when this returns.
    fn begin(redis: &Redis, minted: &Minted, words: &str) -> Self {
        let mut child =
            cli(redis, minted).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{words}").unwrap();
        let command = words.split(' ').next().unwrap();
        let waits = format!("cmd={command} user={}", value(minted, "username"));
        while !redis.operator(&["client", "list"]).lines().any(|line| line.contains(&waits)) {
            std::thread::yield_now();
        }
        Self(child)
    }

    /// Whether it has lost its connection, and what it heard before.
    fn lost(mut self) -> (bool, String) {
        drop(self.0.stdin.take());
        let heard =
            BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok).collect::<Vec<_>>().join("\n");
        let told =
            BufReader::new(self.0.stderr.take().unwrap()).lines().map_while(Result::ok).collect::<Vec<_>>().join("\n");
        self.0.wait().unwrap();
        let lost = told.contains("Server closed the connection") || told.contains("Connection reset");
        (lost, format!("{heard}\n{told}"))
    }
}

#[tokio::test]
async fn the_redis_minter_passes_the_suite() {
    let (world, redis) = (World::new(), Redis::start());
    suite::run_with_one_bucket(suite::Subject {
        minter: world.minter(&redis.settings("")),
        clock: world.clock.clone(),
        scopes: vec![reads("acme"), writes()],
        elsewhere: reads("globex"),
        accepts: &|minted, _: Timestamp| run(&redis, minted, &["get", "orders:acme:1"]).is_empty(),
    })
    .await;
}

#[tokio::test]
async fn red_01_a_user_is_what_was_planned_is_born_off_and_a_second_mint_voids_the_first_password() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    let plan = plan_for(&*minter, &[reads("acme")]);
    let first = minter.mint(&plan).await.unwrap();
    let name = value(&first, "username");
    assert!(run(&redis, &first, &["get", "orders:acme:1"]).contains("WRONGPASS"), "it is off");
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Refused);
    let (_, digits) = name.rsplit_once('-').unwrap();
    let found = Found { handle: plan.handle.clone(), lease: format!("lse_{digits}").parse().ok() };
    assert!(found.lease.is_some());
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(vec![found]), "what is off is listed too");
    let second = minter.mint(&plan).await.unwrap();
    minter.activate(&plan.handle).await.unwrap();
    assert!(run(&redis, &first, &["get", "orders:acme:1"]).contains("WRONGPASS"));
    redis.operator(&["set", "orders:acme:1", "rope"]);
    assert_eq!(run(&redis, &second, &["get", "orders:acme:1"]), "rope");
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Honoured);
    let acl = redis.operator(&["acl", "list"]);
    let line = acl.lines().find(|line| line.contains(name)).unwrap();
    let (own, selector) = line.split_once(" (").unwrap();
    assert!(
        own.ends_with(&format!("#{} resetchannels -@all", second.fingerprint)),
        "nothing outside of selectors: {own}"
    );
    let mut words: Vec<&str> = selector.trim_end_matches(')').split(' ').collect();
    words.sort_unstable();
    assert_eq!(words, ["+blpop", "+get", "+mget", "-@all", "resetchannels", "~orders:acme:*"]);
    assert!(!acl.contains(value(&second, "password")));
    end(&*minter, &plan).await;
    assert!(matches!(minter.activate(&plan.handle).await, Err(MintError::Refused(_))), "what has ended stays so");
    assert!(!redis.operator(&["acl", "users"]).contains(name));
}

#[tokio::test]
async fn what_is_handed_out_is_what_clients_take() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    let (plan, minted) = live(&*minter, &[reads("acme")]).await;
    let given: Vec<&str> = minted.values.keys().copied().collect();
    assert_eq!(given, ["host", "password", "port", "tls", "url", "username"]);
    let by_url = Command::new("redis-cli")
        .args(["--no-auth-warning", "-u", value(&minted, "url"), "get", "orders:acme:1"])
        .output();
    assert_eq!(said(&by_url.unwrap()), "");
    let shown = serde_json::to_string(&plan.native).unwrap() + &plan.effect + &plan.summary.join("\n");
    assert!(!shown.contains(value(&minted, "password")));
    assert!(plan.summary[0].contains("ends nothing by itself"), "{:?}", plan.summary);
    assert_eq!(plan.native_end, Timestamp::NEVER);
    end(&*minter, &plan).await;
}

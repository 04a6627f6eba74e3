//! Makes, lets work, ends and tidies up thousands of roles at a PostgreSQL server of its own, as the `postgres` backend does, and
//! measures how many a second, and whether anything in the server's catalogues grows with them.
//!
//! `cargo bench --bench roles -- [--leases N] [--at-once 8,16,32,64]`; N leases in all (10,000), divided among the numbers that are
//! under way at once. See docs/benchmarks.md.
#![allow(
    clippy::pedantic,
    clippy::restriction,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a measuring program, not the broker"
)]

#[path = "load/machine.rs"]
mod machine;
#[path = "../tests/it/support/ports.rs"]
mod ports;
#[path = "../tests/it/support/postgres.rs"]
mod postgres;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hallpass::domain::{CatalogueEntry, Scope, Ttl};
use hallpass::minter::{BackendSettings, CredentialRef, MintOrder, Minter, MinterDeps, Minters};
use hallpass::sys::keys::KeyRing;
use hallpass::sys::{Clock, Ids, SystemClock, SystemEntropy};
use machine::{Limits, cpu_millis};
use postgres::Server;

/// How many rows and access rights there are that could grow; each line a name and a number.
const COUNTS: &str = "select 'roles', count(*) from pg_authid union all select 'memberships', count(*) from pg_auth_members
    union all select 'tables', count(*) from pg_class
    union all select 'rights of tables', sum(coalesce(array_length(relacl, 1), 0)) from pg_class
    union all select 'rights of databases', sum(coalesce(array_length(datacl, 1), 0)) from pg_database
    union all select 'rights of schemas', sum(coalesce(array_length(nspacl, 1), 0)) from pg_namespace
    union all select 'dependencies', count(*) from pg_shdepend union all select 'comments', count(*) from pg_shdescription
    union all select 'row values', count(*) from hallpass.scope_values";
const SIZES: &str = "select string_agg(name || ' ' || pg_total_relation_size(name::regclass) / 1024, ', ')
    from unnest(array['pg_authid', 'pg_auth_members', 'pg_shdepend', 'pg_shdescription', 'pg_class']) as name";

/// A server as docs/backends/postgres-setup.sql and postgres-rows.sql leave it, with a table behind a group.
fn start() -> Server {
    let rules = "local all all trust\nhost all all 127.0.0.1/32 trust\n";
    let server = Server::start_after(|data| std::fs::write(data.join("pg_hba.conf"), rules).unwrap());
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/backends").join(name);
    for database in ["orders", "billing"] {
        server.sql("postgres", &format!("create database {database}"));
    }
    server.run_file("postgres", &file("postgres-setup.sql"));
    server.run_file("orders", &file("postgres-rows.sql"));
    server.sql(
        "orders",
        "create table public.orders (tenant text, what text); grant select on public.orders to orders_reader",
    );
    server
}

fn minter(server: &Server) -> Arc<dyn Minter> {
    let settings = format!(
        "name = 'shop'\nkind = 'postgres'\nurl = 'postgres://hallpass_broker@127.0.0.1:{}/orders'\n\
        databases = ['orders', 'billing']\ngroups = ['orders_reader', 'orders_writer']",
        server.port()
    );
    let settings: BackendSettings = toml::from_str(&settings).unwrap();
    let deps = MinterDeps {
        keyring: Arc::new(KeyRing::new(Vec::new())),
        issuer_url: "https://hallpass.example".to_owned(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::default()),
        deployment: "measured".to_owned(),
        folder: std::env::temp_dir(),
        sandbox: None,
    };
    let minters = Minters::build(std::slice::from_ref(&settings), &deps).unwrap();
    Arc::clone(minters.find(&settings.name).unwrap())
}

/// Where the time of one lease goes: mint, activate, revoke, tidy up.
type Parts = [Duration; 4];

async fn one(minter: &dyn Minter, ids: &Ids, scope: &(Scope, CatalogueEntry)) -> Parts {
    let (agent, now) = ("release-bot".parse().unwrap(), SystemClock.now());
    let order = MintOrder {
        lease: ids.lease(),
        task: ids.task(),
        agent: &agent,
        beneficiary: None,
        scopes: vec![(&scope.0, &scope.1)],
        ttl: Ttl::TEN_MINUTES,
        now,
        ends_at: now.plus(Ttl::TEN_MINUTES),
        confirmation_key: None,
        status: None,
    };
    let plan = minter.plan(&order).unwrap();
    let mut at = Instant::now();
    let mut lap = || std::mem::replace(&mut at, Instant::now()).elapsed();
    minter.mint(&plan).await.unwrap();
    let minted = lap();
    minter.activate(&plan.handle).await.unwrap();
    let activated = lap();
    minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    let revoked = lap();
    minter.cleanup(CredentialRef::of_plan(&plan)).await.unwrap();
    [minted, activated, revoked, lap()]
}

/// So many leases, so many of them at once; each one's times.
async fn round(minter: &Arc<dyn Minter>, leases: usize, at_once: usize) -> Vec<Parts> {
    let written: Scope = "shop:orders:read".parse().unwrap();
    let entry = CatalogueEntry {
        name: written.entry().clone(),
        description: "Reads orders.".to_owned(),
        risk: 10,
        owner: "maya".to_owned(),
        max_ttl: Ttl::EIGHT_HOURS,
        params: BTreeMap::new(),
        labels: BTreeMap::new(),
        effect: serde_json::json!({ "groups": ["orders_reader"], "rows": { "tenant": "acme" } }),
    };
    let scope = Arc::new((written, entry));
    let ids = Arc::new(Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy::default())));
    let left = Arc::new(AtomicUsize::new(leases));
    let mut hands = Vec::new();
    for _ in 0..at_once {
        let (minter, scope, ids, left) = (Arc::clone(minter), Arc::clone(&scope), Arc::clone(&ids), Arc::clone(&left));
        hands.push(tokio::spawn(async move {
            let mut done = Vec::new();
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                done.push(one(&*minter, &ids, &scope).await);
            }
            done
        }));
    }
    let mut done = Vec::new();
    for hand in hands {
        done.extend(hand.await.unwrap());
    }
    done
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let leases: usize = option("--leases").map_or(10_000, |text| text.parse().unwrap());
    let at_once = option("--at-once").unwrap_or_else(|| "8,16,32,64".to_owned());
    let at_once: Vec<usize> = at_once.split(',').map(|text| text.parse().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::measure(folder.path());
    limits.print();
    let server = start();
    let minter = minter(&server);
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    let before = server.sql("orders", COUNTS);
    println!("KiB before     {}", server.sql("orders", SIZES));
    println!(
        "\nat once   pairs/s   of fdatasync/s   p50 ms: mint  activate  revoke  tidy up   p99 ms of all   our CPU ms"
    );
    let share = leases / at_once.len();
    for at_once in &at_once {
        let (cpu, start) = (cpu_millis(None), Instant::now());
        let mut parts = round(&minter, share, *at_once).await;
        let rate = share as f64 / start.elapsed().as_secs_f64();
        let cpu = (cpu_millis(None) - cpu) / share as f64;
        let mut median = [0.0; 4];
        for (part, median) in median.iter_mut().enumerate() {
            parts.sort_unstable_by_key(|times| times[part]);
            *median = parts[parts.len() / 2][part].as_secs_f64() * 1000.0;
        }
        let mut whole: Vec<Duration> = parts.iter().map(|times| times.iter().sum()).collect();
        whole.sort_unstable();
        println!(
            "{at_once:7} {rate:9.0} {:16.2} {:14.1} {:9.1} {:7.1} {:8.1} {:15.1} {cpu:12.2}",
            rate / limits.syncs_per_second,
            median[0],
            median[1],
            median[2],
            median[3],
            whole[whole.len() * 99 / 100].as_secs_f64() * 1000.0,
        );
        println!("KiB            {}", server.sql("orders", SIZES));
    }
    assert_eq!(server.sql("orders", COUNTS), before, "nothing grew");
    println!("after          {}", before.replace('\n', ", ").replace('|', " "));
    println!("               rows and rights as before, after {leases} leases");
}

//! Kind `postgres`, against a real server that was set up as docs/backends/postgres-setup.sql says, and with psql as the agent:
//! it passes the suite, and what it makes is exactly what was planned.

mod checks;
mod ending;
mod left_behind;
mod rows;
mod scale;
mod sqlalchemy;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use hallpass::domain::{CatalogueEntry, MintPlan, ParamType, Scope, Timestamp};
use hallpass::minter::{CredentialRef, Found, Inventory, MintError, Minted, Minter, MinterDeps, Probe};
use hallpass::sys::{Clock as _, ExposeSecret as _, SystemClock, SystemEntropy};
use serde_json::json;

use super::{T0, World, live, plan_for, scope, suite};
use crate::support::postgres::{Server, program};

/// Only the superuser of the tests comes in without a password.
const RULES: &str = "local all hallpass trust\nhost all hallpass 127.0.0.1/32 trust\n\
    host replication hallpass 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
const BROKER_PASSWORD: &str = "the-brokers-own-password";
/// What an operator has besides what the set-up makes.
const TABLES: &str = "create table orders (id int primary key, tenant text not null, what text not null);
    insert into orders values (1, 'acme', 'rope'), (2, 'globex', 'laser');
    alter table orders enable row level security;
    create policy tenant on orders using (tenant = (select hallpass.scope_value('tenant')));
    create table prices (id int primary key, cents int not null);
    insert into prices values (1, 100);
    grant select on orders, prices to orders_reader;
    grant select, insert, update, delete on orders, prices to orders_writer;";

/// A server with the databases `orders` and `billing`.
pub(super) struct Shop {
    server: Server,
    folder: tempfile::TempDir,
}

/// The one that most tests share; each test has a deployment of its own there.
fn shared() -> &'static Shop {
    static SHARED: OnceLock<Shop> = OnceLock::new();
    SHARED.get_or_init(|| Shop::open(Vec::new()))
}

impl Shop {
    pub(super) fn open(environment: Vec<(&'static str, String)>) -> Self {
        Self::open_by(RULES.to_owned(), environment)
    }

    /// One that lets the broker in without a password: an unoptimised driver takes its time to prove that it has one.
    pub(super) fn open_for_load() -> Self {
        let shop = Self::open_by(format!("host all hallpass_broker 127.0.0.1/32 trust\n{RULES}"), Vec::new());
        shop.sql("alter role hallpass_broker reset log_statement");
        shop
    }

    fn open_by(rules: String, environment: Vec<(&'static str, String)>) -> Self {
        let server = Server::start_in(environment, |data| std::fs::write(data.join("pg_hba.conf"), rules).unwrap());
        let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/backends").join(name);
        server.sql("postgres", "create database orders");
        server.sql("postgres", "create database billing");
        server.run_file("postgres", &file("postgres-setup.sql"));
        server.run_file("orders", &file("postgres-rows.sql"));
        // The superuser of the tests has the name of the schema.
        server.sql("postgres", "alter role hallpass set search_path = public");
        server.sql("orders", TABLES);
        server.sql("postgres", &format!("alter role hallpass_broker password '{BROKER_PASSWORD}'"));
        server.sql("postgres", "alter role hallpass_broker set log_statement = 'all'");
        server.sql("billing", "revoke connect on database billing from public");
        server.sql("billing", "grant connect on database billing to hallpass_broker, orders_writer");
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, BROKER_PASSWORD).unwrap();
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { server, folder }
    }

    /// Settings by which the broker reaches it, with more lines.
    pub(super) fn settings(&self, more: &str) -> String {
        format!(
            "name = 'shop'\nkind = 'postgres'\nurl = 'postgres://hallpass_broker@127.0.0.1:{}/orders'\n\
            password = {{ file = '{}' }}\ndatabases = ['orders', 'billing']\n\
            groups = ['orders_reader', 'orders_writer']\n{more}",
            self.server.port(),
            self.folder.path().join("password").display()
        )
    }

    /// Where it listens on this machine.
    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    /// A minter of a deployment of that name, in the present.
    fn minter(&self, deployment: &str) -> Arc<dyn Minter> {
        minter_with(deployment, &self.settings(""))
    }

    /// As the superuser.
    pub(super) fn sql(&self, statements: &str) -> String {
        self.server.sql("orders", statements)
    }

    fn role_exists(&self, plan: &MintPlan) -> bool {
        self.sql(&format!("select count(*) from pg_roles where rolname = '{}'", plan.handle)) == "1"
    }
}

/// A minter of a deployment of that name, with other settings, in the present.
fn minter_with(deployment: &str, settings: &str) -> Arc<dyn Minter> {
    let mut world = World::new();
    world.deps = MinterDeps {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::default()),
        deployment: deployment.to_owned(),
        ..world.deps
    };
    world.minter(settings)
}

fn reads() -> (Scope, CatalogueEntry) {
    scope("shop:prices:read", json!({ "groups": ["orders_reader"] }))
}

fn writes() -> (Scope, CatalogueEntry) {
    scope("shop:prices:write", json!({ "groups": ["orders_writer"] }))
}

/// The orders of one tenant.
fn of_tenant(action: &str, group: &str, tenant: &str) -> (Scope, CatalogueEntry) {
    let effect = json!({ "groups": [group], "rows": { "tenant": { "param": "tenant" } } });
    scope(&format!("shop:orders:{action}(tenant={tenant})"), effect)
}

async fn end(minter: &dyn Minter, plan: &MintPlan) {
    minter.revoke(CredentialRef::of_plan(plan)).await.unwrap();
    minter.cleanup(CredentialRef::of_plan(plan)).await.unwrap();
}

fn value<'a>(minted: &'a Minted, name: &str) -> &'a str {
    minted.values[name].expose_secret()
}

/// psql as its holder runs it, by the URL as it was handed out.
fn psql_at(url: &str) -> Command {
    let mut psql = Command::new(program("psql"));
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]).stdin(Stdio::null());
    psql
}

/// What psql answers, or says that was wrong.
fn psql(minted: &Minted, statements: &str) -> Result<String, String> {
    psql_in(minted, "orders", statements)
}

fn psql_in(minted: &Minted, database: &str, statements: &str) -> Result<String, String> {
    let url = value(minted, "url").replace("/orders", &format!("/{database}"));
    let output = psql_at(&url).args(["-c", statements]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A psql that stays connected.
struct Session(Child);

impl Session {
    /// Log in and run something; it has run when this returns.
    fn open(minted: &Minted, statements: &str) -> Self {
        let mut psql = psql_at(value(minted, "url"));
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{statements}\n\\echo ready").unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "psql did not get there");
        Self(child)
    }

    /// Start something that takes its time.
    fn begin(&mut self, statements: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{statements}").unwrap();
    }

    /// Whether psql has lost its connection: whatever it is asked now is answered by nobody.
    fn lost(mut self) -> bool {
        let _gone_already = writeln!(self.0.stdin.take().unwrap(), "select 1;");
        !self.0.wait().unwrap().success()
    }
}

/// A clock of the server's that a test sets.
struct BentClock {
    file: PathBuf,
    environment: Vec<(&'static str, String)>,
    _folder: tempfile::TempDir,
}

impl BentClock {
    /// None where libfaketime is not installed.
    #[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
    fn new() -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
        let found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
        let Some(library) = found else {
            eprintln!("libfaketime is not installed, so nothing was tested (Debian package: faketime)");
            return None;
        };
        // The server reads the file under another name than ours.
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("clock");
        let environment = vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let clock = Self { file, environment, _folder: folder };
        clock.set(SystemClock.now());
        Some(clock)
    }

    fn set(&self, at: Timestamp) {
        let off = at.millis_since(SystemClock.now());
        let new = self.file.with_extension("new");
        let sign = if off < 0 { '-' } else { '+' };
        std::fs::write(&new, format!("{sign}{}.{:03}\n", off.abs() / 1000, off.abs() % 1000)).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

#[tokio::test]
async fn the_postgres_minter_passes_the_suite() {
    let Some(clock) = BentClock::new() else { return };
    let shop = Shop::open(clock.environment.clone());
    let world = World::new();
    clock.set(T0);
    suite::run(suite::Subject {
        minter: world.minter(&shop.settings("")),
        clock: world.clock.clone(),
        scopes: vec![reads(), writes()],
        elsewhere: scope("shop:bills:write", json!({ "groups": ["orders_writer"], "database": "billing" })),
        accepts: &|minted, now| {
            clock.set(now);
            psql(minted, "select 1").is_ok()
        },
    })
    .await;
}

#[tokio::test]
async fn pg_01_a_role_is_what_was_planned_and_its_password_is_in_no_log() {
    let (shop, minter) = (shared(), shared().minter("pg-01"));
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let (role, password) = (value(&minted, "username"), value(&minted, "password"));
    assert_eq!(role, plan.handle.as_str());
    assert_eq!(
        psql(&minted, "select session_user, current_user, cents from prices").unwrap(),
        format!("{role}|{role}|100")
    );
    let log = shop.server.log();
    assert!(log.contains(&format!("create role \"{role}\" nologin")), "the statement is in the log");
    assert!(log.contains("password 'SCRAM-SHA-256$4096:"), "with a verifier");
    assert!(!log.contains(password), "but never with the password");
    assert_eq!(
        shop.sql(&format!(
            "select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin, rolconnlimit,
                extract(epoch from rolvaliduntil) * 1000 = {} from pg_authid where rolname = '{role}'",
            plan.ends_at.as_millis()
        )),
        "f|f|f|f|f|t|10|t"
    );
    let groups = format!("select roleid::regrole, admin_option from pg_auth_members where member = '{role}'::regrole");
    assert_eq!(shop.sql(&groups), "orders_reader|f");
    let grants = format!("select count(*) from pg_shdepend where refobjid = '{role}'::regrole");
    assert_eq!(shop.sql(&grants), "0", "nothing is granted to the role itself");
    let comment = shop.sql(&format!("select shobj_description('{role}'::regrole, 'pg_authid')"));
    let reason = format!("shop lease=lse_{} task=tsk_", role.strip_prefix("jit_").unwrap());
    assert!(comment.contains(&reason) && comment.ends_with("agent=release-bot"), "{comment}");
    assert!(psql(&minted, "insert into prices values (2, 1)").unwrap_err().contains("permission denied"));
    assert!(psql_in(&minted, "billing", "select 1").unwrap_err().contains("permission denied"));
    end(&*minter, &plan).await;
}

#[tokio::test]
async fn a_role_is_born_unable_to_log_in_and_a_second_mint_voids_the_first_password() {
    let minter = shared().minter("born");
    let plan = plan_for(&*minter, &[reads()]);
    let first = minter.mint(&plan).await.unwrap();
    assert!(psql(&first, "select 1").unwrap_err().contains("not permitted to log in"));
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Refused);
    let lease = plan.handle.as_str().replace("jit_", "lse_").parse().ok();
    let found = Found { handle: plan.handle.clone(), lease };
    assert!(found.lease.is_some());
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(vec![found]), "what is disabled is listed too");
    let second = minter.mint(&plan).await.unwrap();
    minter.activate(&plan.handle).await.unwrap();
    assert!(psql(&first, "select 1").unwrap_err().contains("password authentication failed"));
    assert_eq!(psql(&second, "select 1").unwrap(), "1");
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Honoured);
    minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(matches!(minter.activate(&plan.handle).await, Err(MintError::Refused(_))), "what has ended stays so");
    minter.cleanup(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(matches!(minter.activate(&plan.handle).await, Err(MintError::Refused(_))), "and what is gone");
}

#[tokio::test]
async fn pg_03_names_and_values_are_never_sql() {
    const EVIL: &str = r#""; DROP ROLE admin; --'\"#;
    let shop = shared();
    let minter = shop.minter("pg-03");
    for effect in [
        json!({ "groups": [EVIL] }),
        json!({ "groups": ["orders_reader"], "database": EVIL }),
        json!({ "groups": [] }),
        json!({ "groups": ["postgres"] }),
        json!({ "groups": ["orders_reader"], "rows": { "tenant": { "param": "nobody" } } }),
        json!({ "groups": ["orders_reader"], "sql": EVIL }),
    ] {
        let refused = minter.bucket(&scope("shop:x:read", effect.clone()).1);
        assert!(matches!(refused, Err(MintError::Misconfigured(_))), "{effect}: {refused:?}");
    }
    let wide = scope("shop:x:read(tenant=acme)", json!({ "groups": ["orders_reader"] })).1;
    let refused = minter.bucket(&wide).unwrap_err().to_string();
    assert!(refused.contains("`tenant` narrows nothing"), "a parameter that is not used would widen: {refused}");
    assert!(reads().1.check(&format!("shop:prices:read(tenant={EVIL})").parse().unwrap_or(reads().0)).is_ok());

    // Where an operator does have such names, they are only names.
    let quoted = EVIL.replace('"', "\"\"");
    shop.sql(&format!("create role admin; create role \"{quoted}\"; grant select on prices to \"{quoted}\""));
    shop.sql(&format!("grant connect on database orders to \"{quoted}\""));
    let settings = shop.settings("").replace("'orders_writer'", &format!("'''{EVIL}'''"));
    let minter = minter_with("pg-03", &settings);
    let (written, mut entry) = of_tenant("read", EVIL, "acme");
    let values = vec![EVIL.to_owned()];
    entry.params.values_mut().for_each(|kind| *kind = ParamType::OneOf { values: values.clone() });
    let params = written.params().keys().map(|name| (name.clone(), EVIL.to_owned())).collect();
    let scope = Scope::new(written.entry().clone(), params).unwrap();
    let (plan, minted) = live(&*minter, &[(scope, entry)]).await;
    assert_eq!(psql(&minted, "select cents from prices").unwrap(), "100");
    assert_eq!(psql(&minted, "select hallpass.scope_value('tenant')").unwrap(), EVIL);
    end(&*minter, &plan).await;
    assert_eq!(shop.sql("select count(*) from pg_roles where rolname = 'admin'"), "1");
}

#[tokio::test]
async fn what_is_handed_out_is_what_libraries_take() {
    let minter = shared().minter("values");
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let given: Vec<&str> = minted.values.keys().copied().collect();
    assert_eq!(given, ["database", "host", "password", "port", "sslmode", "url", "username"]);
    assert_eq!((value(&minted, "host"), value(&minted, "database")), ("127.0.0.1", "orders"));
    let mut psql = Command::new(program("psql"));
    psql.args(["-X", "-A", "-t", "-c", "select cents from prices"]).env("PGPASSWORD", value(&minted, "password"));
    psql.args(["-h", value(&minted, "host"), "-p", value(&minted, "port")]);
    let output = psql.args(["-U", value(&minted, "username"), "-d", value(&minted, "database")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "100\n", "{output:?}");
    let shown = serde_json::to_string(&plan.native).unwrap() + &plan.effect + &plan.summary.join("\n");
    assert!(!shown.contains(value(&minted, "password")));
    assert!(plan.summary[0].contains("the group orders_reader"), "{:?}", plan.summary);
    end(&*minter, &plan).await;
    let advertised = shared().settings("advertise = { host = 'db.acme.example', port = 6432 }");
    let minter = minter_with("values", &advertised);
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let url = value(&minted, "url");
    assert!(url.ends_with("@db.acme.example:6432/orders?sslmode=verify-full"), "{url}");
    end(&*minter, &plan).await;
}

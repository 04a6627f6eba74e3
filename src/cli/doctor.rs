//! `hallpass doctor`: look at everything a broker needs, one line each: what, why, how to fix. It mints nothing and changes
//! nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::failure::{Exit, Failure, Outcome};
use super::inspect;
use super::output::print;
use super::session::system_ids;
use crate::app::config::{Config, Overrides};
use crate::app::telemetry::escape;
use crate::app::wiring;
use crate::domain::{CatalogueEntry, Scope};
use crate::identity::IssuerState;
use crate::minter::{MintOrder, Minters, StatusPlaces};
use crate::policy::Bundle;
use crate::store::{Store, StoreSettings};
use crate::sys::keys::Kek;
use crate::sys::{Clock, HttpClient, SystemClock, SystemEntropy};

/// No machine's clock may stand before this: the year in which this was written, as milliseconds.
const NOT_BEFORE_MILLIS: i64 = 1_767_225_600_000;

/// How long one backend may take to say what is wrong with it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// One line of the report.
struct Finding {
    what: String,
    /// What is so, or what is wrong and how to mend it.
    found: Result<String, (String, &'static str)>,
}

/// Run it.
///
/// # Errors
/// [`Failure`] when anything is wrong.
pub(crate) async fn run(told: Option<&Path>) -> Outcome {
    let path = Config::locate(told);
    let config = Config::load(&path, &Overrides::from_environment()?)?;
    let mut findings = vec![Finding { what: "configuration".to_owned(), found: Ok(path.display().to_string()) }];
    findings.extend([clock(), kek(&config), resource_servers(&config), database(&config).await]);
    findings.extend(issuers(&config).await);
    findings.push(sign_in(&config).await);
    findings.extend(policy_and_backends(&config).await);
    findings.extend(channels(&config).await);
    let mut failed = 0_usize;
    for finding in &findings {
        let what = escape(&finding.what);
        match &finding.found {
            Ok(so) => print(&format!("✓ ok    {what:<22} {}", escape(so)))?,
            Err((why, fix)) => {
                failed = failed.saturating_add(1);
                print(&format!("✗ FAIL  {what:<22} {}\n        {:<22} fix: {fix}", escape(why), ""))?;
            }
        }
    }
    if failed == 0 {
        return Ok(0);
    }
    Err(Failure::new(Exit::Failure, format!("{failed} of {} checks failed", findings.len())))
}

fn finding(what: impl Into<String>, found: Result<String, String>, fix: &'static str) -> Finding {
    Finding { what: what.into(), found: found.map_err(|why| (why, fix)) }
}

fn clock() -> Finding {
    let now = SystemClock.now();
    let found = if now.as_millis() >= NOT_BEFORE_MILLIS {
        Ok(now.to_string())
    } else {
        Err(format!("the machine says {now}, which is long ago"))
    };
    finding("clock", found, "set the machine's clock; tokens are checked against it")
}

fn kek(config: &Config) -> Finding {
    let read = config.keys.kek.read().and_then(|text| Kek::from_base64(&text).map_err(|error| error.to_string()));
    let found = read.map(|kek| format!("{} (check value {})", config.keys.kek, kek.check_value()));
    finding("key-encryption key", found, "make one with `hallpass keys generate-kek FILE` and name it in [keys] kek")
}

fn resource_servers(config: &Config) -> Finding {
    let wrong: Vec<String> =
        config.secret_problems().into_iter().filter(|problem| problem.starts_with("resource server")).collect();
    let found = if wrong.is_empty() {
        Ok(format!("{} may introspect", config.resource_servers.len()))
    } else {
        Err(wrong.join("; "))
    };
    finding("resource servers", found, "put each secret where [[resource_servers]] says, mode 0600")
}

/// Open what is there; a database that is not there yet would be made at start, and is not made here.
async fn database(config: &Config) -> Finding {
    if config.store.is_shared() {
        let fix = "check [store], that the database is reached and PostgreSQL 15 or later, and run `hallpass migrate`";
        let settings = wiring::store_settings(config).map(|settings| StoreSettings { migrate: false, ..settings });
        let opened = match settings {
            Ok(settings) => Store::open(&settings).await.map_err(|error| error.to_string()),
            Err(why) => Err(why.to_string()),
        };
        return finding("database", opened.map(|_| "PostgreSQL, schema up to date".to_owned()), fix);
    }
    let file = config.store.url.strip_prefix("sqlite:").unwrap_or(&config.store.url);
    let fix = "check [store] url and [server] data_dir, and that this user may write there";
    if !Path::new(file).exists() {
        let folder = Path::new(file).parent().unwrap_or(Path::new("."));
        let writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok() || !folder.exists();
        let found = if writable {
            Ok(format!("{file} will be made at the first start"))
        } else {
            Err(format!("{} cannot be written", folder.display()))
        };
        return finding("database", found, fix);
    }
    let opened = Store::open(&StoreSettings::new(&config.store.url)).await;
    finding("database", opened.map(|_| file.to_owned()).map_err(|error| error.to_string()), fix)
}

async fn issuers(config: &Config) -> Vec<Finding> {
    let fix = "check the issuer's address, that this machine reaches it, and its section of [[issuers]]";
    let verifiers = match inspect::verifiers(config) {
        Ok(verifiers) => verifiers,
        Err(why) => return vec![finding("issuers", Err(why), fix)],
    };
    let now = SystemClock.now();
    verifiers.refresh(now).await;
    let status = verifiers.status(now).into_iter();
    status
        .map(|status| {
            let found = match status.state {
                IssuerState::Ok => Ok(format!("{} keys", status.keys)),
                IssuerState::Degraded | IssuerState::Unfetched => {
                    Err(status.why.unwrap_or_else(|| "no keys could be fetched".to_owned()))
                }
            };
            finding(format!("issuer {}", status.name), found, fix)
        })
        .collect()
}

/// Ask the identity provider what it says of itself.
async fn sign_in(config: &Config) -> Finding {
    let fix = "check [sign_in], and that this machine reaches the issuer; docs/sign-in.md says what to register there";
    let built = HttpClient::new(None).map_err(anyhow::Error::from).and_then(|http| wiring::provider(config, &http));
    let found = match built {
        Ok(None) => Ok("nobody: there is no [sign_in], so the console and `hallpass login` are closed".to_owned()),
        Ok(Some(provider)) => match provider.check(SystemClock.now()).await {
            Ok(()) => Ok(format!("at {}", provider.issuer())),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(format!("{error:#}")),
    };
    finding("sign-in", found, fix)
}

async fn policy_and_backends(config: &Config) -> Vec<Finding> {
    let bundle = match inspect::bundle(config) {
        Ok(bundle) => bundle,
        Err(problems) => {
            let fix = "mend the bundle; `hallpass policy check` shows each problem with its place";
            return vec![finding("policy", Err(problems.join("; ")), fix)];
        }
    };
    let (scopes, agents) = (bundle.catalogue().entries().count(), bundle.agents().count());
    let mut findings =
        vec![finding("policy", Ok(format!("{scopes} scopes, {agents} agents, {}", bundle.digest())), "")];
    let tests = crate::policy::run_tests(&bundle);
    let tested = if tests.is_success() { Ok("all pass".to_owned()) } else { Err("a golden test fails".to_owned()) };
    findings.push(finding("policy tests", tested, "run `hallpass policy test`"));
    if let Ok(verifiers) = inspect::verifiers(config) {
        let unknown = inspect::unknown_issuers(config, &bundle, &verifiers);
        let found = if unknown.is_empty() { Ok("all known".to_owned()) } else { Err(unknown.join("; ")) };
        findings.push(finding("agents' issuers", found, "add the issuer to [[issuers]], or mend the binding"));
    }
    match inspect::minters(config) {
        Ok(minters) => {
            findings.extend(plans(&bundle, &minters));
            findings.extend(rights(&minters).await);
        }
        Err(why) => findings.push(finding("backends", Err(why), "mend [[backends]]")),
    }
    findings
}

/// Ask each channel whether it could be sent to; nobody is told anything.
async fn channels(config: &Config) -> Vec<Finding> {
    let fix = "mend its section of [[notify]]; see docs/notifications.md for what each kind needs";
    let channels = match inspect::channels(config) {
        Ok(channels) => channels,
        Err(why) => return vec![finding("channels", Err(why), fix)],
    };
    let mut findings = Vec::new();
    for channel in channels.iter() {
        let checked = tokio::time::timeout(CHECK_TIMEOUT, channel.sender.check()).await;
        let found = checked.unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())));
        findings.push(finding(format!("channel {}", channel.name), found, fix));
    }
    if let Ok(bundle) = inspect::bundle(config) {
        let idle = inspect::idle_groups(config, &bundle);
        if !idle.is_empty() {
            findings.push(finding("channels' groups", Err(idle.join("; ")), fix));
        }
    }
    findings
}

/// Ask each backend that is outside whether it can do what will be asked of it.
async fn rights(minters: &Minters) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, minter) in minters.iter().filter(|(_, minter)| !minter.is_offline()) {
        let found = match tokio::time::timeout(CHECK_TIMEOUT, minter.check()).await {
            Ok(Ok(problems)) if problems.is_empty() => Ok("reached, with the rights it needs".to_owned()),
            Ok(Ok(problems)) => Err(problems.join("; ")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
        };
        findings.push(finding(format!("rights in {name}"), found, "see docs/backends for what the broker needs there"));
    }
    findings
}

/// For each backend: plan every scope of the catalogue that has no open parameter, and check the effect of the others.
fn plans(bundle: &Bundle, minters: &Minters) -> Vec<Finding> {
    let fix = "mend the effect in the bundle's catalogue, or the backend in [[backends]]";
    let mut findings = Vec::new();
    for (name, minter) in minters.iter() {
        let entries: Vec<&CatalogueEntry> =
            bundle.catalogue().entries().filter(|entry| entry.name.backend() == name).collect();
        let planned: Result<Vec<()>, String> = entries.iter().map(|entry| plan(bundle, &**minter, entry)).collect();
        let ends = minter.revocability();
        let found = planned.map(|all| format!("{} scopes can be minted; {}: {}", all.len(), ends.strength, ends.how));
        findings.push(finding(format!("backend {name}"), found, fix));
    }
    let homeless: Vec<String> = minters.check_catalogue(bundle.catalogue()).iter().map(ToString::to_string).collect();
    if !homeless.is_empty() {
        findings.push(finding("catalogue", Err(homeless.join("; ")), fix));
    }
    findings
}

fn plan(bundle: &Bundle, minter: &dyn crate::minter::Minter, entry: &CatalogueEntry) -> Result<(), String> {
    let why = |error: &dyn std::fmt::Display| format!("`{}`: {error}", entry.name);
    minter.bucket(entry).map_err(|error| why(&error))?;
    if !entry.params.is_empty() {
        return Ok(());
    }
    let scope: Scope = entry.name.to_string().parse().map_err(|error| why(&error))?;
    let Some(agent) = bundle.agents().next() else { return Ok(()) };
    let ids = system_ids();
    let now = SystemClock.now();
    let order = MintOrder {
        lease: ids.lease(),
        task: ids.task(),
        agent: &agent.id,
        beneficiary: None,
        scopes: vec![(&scope, entry)],
        ttl: entry.max_ttl,
        now,
        ends_at: now.plus(entry.max_ttl),
        confirmation_key: None,
        status: Some(StatusPlaces::new(Arc::new(SystemEntropy::default())).next()),
    };
    minter.plan(&order).map(|_| ()).map_err(|error| why(&error))
}

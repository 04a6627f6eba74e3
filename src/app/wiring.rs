//! From settings to rooms: the only place that sees everything. It builds each room from its own settings and hands them to the
//! broker; nothing here decides anything.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use super::config::{Config, SecretRef};
use crate::broker::{Broker, CallbackSettings, LimitSettings, Parts, ResourceServer};
use crate::domain::{Digest, Ttl};
use crate::identity::{Provider, Verifiers};
use crate::minter::{MinterDeps, Minters, SandboxBackend};
use crate::notify::{Channels, SenderDeps};
use crate::policy::{Bundle, PolicyEngine};
use crate::store::{Hints, Store, StoreSettings};
use crate::sys::keys::{Kek, KeyRing, RotationSettings};
use crate::sys::{
    Clock, Entropy, ExposeSecret as _, HttpClient, OffsetClock, SteadyClock, SystemClock, SystemEntropy, sha256,
};
use crate::worker::ClockWatch;

/// Seconds in a day.
const DAY_SECS: u32 = 86_400;

/// What may differ between a deployment, `hallpass dev` and a test.
pub struct World {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether the database's clock is followed, where it has one; not where a clock is bent on purpose.
    pub follow_database: bool,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The sandbox, in `hallpass dev` and in tests only.
    pub sandbox: Option<Arc<SandboxBackend>>,
}

impl Default for World {
    /// The machine's clock and randomness, and no sandbox.
    fn default() -> Self {
        #[cfg(debug_assertions)]
        if let Some(ahead) = super::env::read(super::env::CLOCK_AHEAD_SECS).and_then(|secs| secs.parse().ok()) {
            let clock = Arc::new(crate::sys::ShiftedClock::ahead(ahead));
            return Self { clock, follow_database: false, entropy: Arc::new(SystemEntropy::default()), sandbox: None };
        }
        Self {
            clock: Arc::new(SystemClock),
            follow_database: true,
            entropy: Arc::new(SystemEntropy::default()),
            sandbox: None,
        }
    }
}

/// A broker, and what keeps it in step with other replicas, where there may be some.
pub struct Built {
    /// The broker.
    pub broker: Broker,
    /// What the others say.
    pub hints: Option<Hints>,
    /// The clock they share.
    pub clock: Option<ClockWatch>,
}

/// Build the broker from a configuration that was checked.
///
/// # Errors
/// What cannot be built, and why, for people.
pub async fn build(config: &Config, world: World) -> anyhow::Result<Built> {
    let bundle = load_bundle(&config.policy.folder)?;
    let store = Store::open(&store_settings(config)?).await.with_context(|| "opening the store")?;
    let (clock, watch) =
        clock(&store, world.clock, world.follow_database).await.context("reading the database's clock")?;
    let hints = store.hints();
    let public_url = config.public_url();
    let http = HttpClient::new(None).context("setting up the outgoing HTTP client")?;
    let provider = provider(config, &http)?;
    let callbacks = callbacks(config, &http);
    let verifiers = Verifiers::new(&config.issuers, &public_url, http.clone()).context("[[issuers]]")?;
    let channels =
        Channels::build(&config.notify, &SenderDeps { http, folder: config.folder() }).context("[[notify]]")?;
    let keyring = Arc::new(KeyRing::new(Vec::new()));
    let deployment = store.lineage().await.context("reading whose database it is")?.deployment;
    let deps = MinterDeps {
        keyring: Arc::clone(&keyring),
        issuer_url: public_url.clone(),
        deployment: deployment.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&world.entropy),
        folder: config.folder(),
        sandbox: world.sandbox,
    };
    let minters = Minters::build(&config.backends, &deps).context("[[backends]]")?;
    let unmintable: Vec<String> = minters.check_catalogue(bundle.catalogue()).iter().map(ToString::to_string).collect();
    if !unmintable.is_empty() {
        bail!("the catalogue has scopes that no backend here can mint:\n  {}", unmintable.join("\n  "));
    }
    let mut key_algorithms = vec![config.keys.algorithm];
    key_algorithms.extend(minters.iter().filter_map(|(_, minter)| minter.signs_with()));
    key_algorithms.sort_unstable();
    key_algorithms.dedup();
    let longest = bundle.catalogue().entries().map(|entry| entry.max_ttl).max().unwrap_or(Ttl::EIGHT_HOURS);
    let rotate_after_secs = config.keys.rotate_after_days.saturating_mul(DAY_SECS);
    let rotation =
        RotationSettings::new(rotate_after_secs, config.keys.jwks_max_age_seconds, longest).context("[keys]")?;
    let broker = Broker::start(Parts {
        clock,
        entropy: world.entropy,
        store,
        policy: PolicyEngine::new(bundle),
        verifiers,
        provider,
        dev: config.dev,
        minters,
        channels,
        keyring,
        kek: kek(&config.keys.kek)?,
        key_algorithms,
        rotation,
        jwks_max_age_secs: config.keys.jwks_max_age_seconds,
        resource_servers: resource_servers(config)?,
        limits: LimitSettings {
            address_per_minute: config.limits.address_per_minute,
            issuer_per_minute: config.limits.issuer_per_minute,
            operator_per_minute: config.limits.operator_per_minute,
        },
        callbacks,
        public_url,
        passkeys: config.passkeys.clone(),
        deployment,
    })
    .await
    .context("starting the broker")?;
    Ok(Built { broker, hints, clock: watch })
}

/// Where people sign in, if they can; nothing is fetched yet.
///
/// # Errors
/// What of `[sign_in]` cannot be, for people.
pub fn provider(config: &Config, http: &HttpClient) -> anyhow::Result<Option<Provider>> {
    let Some(settings) = config.sign_in.clone() else { return Ok(None) };
    let back = format!("{}{}", config.public_url(), crate::http::SIGN_IN_CALLBACK);
    Provider::new(settings, &config.issuers, &back, http).map(Some).context("[sign_in]")
}

fn callbacks(config: &Config, http: &HttpClient) -> CallbackSettings {
    let settings = &config.access_requests;
    CallbackSettings {
        http: http.clone(),
        hosts: settings.callback_hosts.clone(),
        private_hosts: settings.private_callback_hosts.clone(),
    }
}

/// How often a database's clock is read before anything rests on it.
const FIRST_READINGS: usize = 3;

/// The broker's clock: the database's where replicas must agree, the machine's otherwise.
async fn clock(
    store: &Store,
    machine: Arc<dyn Clock>,
    follow_database: bool,
) -> anyhow::Result<(Arc<dyn Clock>, Option<ClockWatch>)> {
    let steady: Arc<dyn Clock> = Arc::new(SteadyClock::default());
    let first = if follow_database { ClockWatch::read(store, &*steady).await? } else { None };
    let Some(first) = first else {
        return Ok((Arc::new(OffsetClock::of_machine(machine, steady)), None));
    };
    let clock = Arc::new(OffsetClock::of_database(machine, steady, first));
    for _ in 1..FIRST_READINGS {
        ClockWatch::read(store, clock.steady()).await?.into_iter().for_each(|reading| clock.follow(reading));
    }
    Ok((clock.clone(), Some(ClockWatch::new(store.ending(), clock))))
}

/// How to open the store.
///
/// # Errors
/// When its password cannot be read.
pub fn store_settings(config: &Config) -> anyhow::Result<StoreSettings> {
    let section = &config.store;
    let password = section.password.as_ref().map(SecretRef::read).transpose();
    Ok(StoreSettings {
        url: section.url.clone(),
        password: password.map_err(|why| anyhow!("[store] password: {why}"))?,
        read_connections: section.read_connections,
        migrate: section.migrate.unwrap_or(!section.is_shared()),
        listen: section.listen,
        exclusive: !section.is_shared(),
        mark: section.is_shared().then(|| config.server.data_dir.join("history-mark")),
    })
}

/// Load the policy bundle; warnings go to the log.
fn load_bundle(folder: &Path) -> anyhow::Result<Bundle> {
    let bundle =
        Bundle::load(folder).map_err(|error| anyhow!("the policy bundle in {}:\n{error}", folder.display()))?;
    for warning in bundle.warnings() {
        tracing::warn!(%warning, "policy bundle");
    }
    Ok(bundle)
}

fn kek(reference: &SecretRef) -> anyhow::Result<Kek> {
    let secret = reference.read().map_err(|why| anyhow!("[keys] kek: {why}"))?;
    Kek::from_base64(&secret).context("[keys] kek")
}

fn resource_servers(config: &Config) -> anyhow::Result<Vec<(ResourceServer, Digest)>> {
    config
        .resource_servers
        .iter()
        .map(|server| {
            let secret = server.secret.read().map_err(|why| anyhow!("[[resource_servers]] {}: {why}", server.id))?;
            let known = ResourceServer { id: server.id.clone(), audiences: server.audiences.clone() };
            Ok((known, sha256(secret.expose_secret())))
        })
        .collect()
}

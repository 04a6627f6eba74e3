//! Minters: one conformance suite that every kind must pass, and what is particular to each.

mod all_kinds;
mod aws;
mod aws_ends;
mod aws_foreign;
mod fake_as;
pub(crate) mod fake_aws;
pub(crate) mod fake_github;
mod github;
mod github_ends;
mod jwt;
pub(crate) mod kube;
mod kubernetes;
pub(crate) mod kubernetes_accounts;
mod kubernetes_faults;
mod oauth;
mod oauth_ends;
mod oauth_foreign;
mod postgres;
mod redis;
mod registry;
mod sandbox;
mod ssh;
mod suite;
mod x509;
mod x509_read;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use hallpass::domain::{
    AgentId, CatalogueEntry, EndCause, LeaseId, MintPlan, Name, ParamType, Scope, TaskId, Timestamp, Ttl,
};
use hallpass::minter::{
    BackendSettings, CredentialRef, MintOrder, Minted, Minter, MinterDeps, Minters, Over, SandboxBackend, StatusPlace,
};
use hallpass::sys::keys::{KeyAlgorithm, KeyRing, KeyTimes, SigningKey};
use hallpass::sys::{Clock as _, ManualClock, SeededEntropy, SystemClock};

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_999);

/// Real parts that stand still.
struct World {
    clock: Arc<ManualClock>,
    sandbox: Arc<SandboxBackend>,
    deps: MinterDeps,
}

impl World {
    fn new() -> Self {
        Self::at(T0)
    }

    /// At another time, e.g. the present, which others go by.
    fn at(now: Timestamp) -> Self {
        let times = KeyTimes {
            created_at: now,
            activates_at: now,
            signs_until: now.plus(Ttl::EIGHT_HOURS),
            retires_at: now.plus(Ttl::EIGHT_HOURS),
        };
        let entropy = Arc::new(SeededEntropy::new(1));
        let keys =
            KeyAlgorithm::ALL.iter().map(|algorithm| SigningKey::generate(*algorithm, times, &*entropy).unwrap());
        let clock = Arc::new(ManualClock::new(now));
        let sandbox = Arc::new(SandboxBackend::default());
        let deps = MinterDeps {
            keyring: Arc::new(KeyRing::new(keys.collect())),
            issuer_url: "https://hallpass.example".to_owned(),
            deployment: "tested".to_owned(),
            clock: clock.clone(),
            entropy,
            folder: std::env::temp_dir(),
            sandbox: Some(Arc::clone(&sandbox)),
        };
        Self { clock, sandbox, deps }
    }

    fn minter(&self, settings: &str) -> Arc<dyn Minter> {
        let settings: BackendSettings = toml::from_str(settings).unwrap();
        let minters = Minters::build(std::slice::from_ref(&settings), &self.deps).unwrap();
        Arc::clone(minters.find(&settings.name).unwrap())
    }
}

/// A scope with its entry; `params` are words.
fn scope(written: &str, effect: serde_json::Value) -> (Scope, CatalogueEntry) {
    let scope: Scope = written.parse().unwrap();
    let param = |name: &Name| (name.clone(), ParamType::Word { max_length: 64 });
    let entry = CatalogueEntry {
        name: scope.entry().clone(),
        description: "Does something.".to_owned(),
        risk: 10,
        owner: "maya".to_owned(),
        max_ttl: Ttl::EIGHT_HOURS,
        params: scope.params().keys().map(param).collect::<BTreeMap<_, _>>(),
        labels: BTreeMap::new(),
        effect,
    };
    (scope, entry)
}

fn lease(number: u8) -> LeaseId {
    LeaseId::new(T0, [number; 10])
}

/// An order of ten minutes for the first lease.
fn order<'a>(agent: &'a AgentId, scopes: &'a [(Scope, CatalogueEntry)]) -> MintOrder<'a> {
    MintOrder {
        lease: lease(1),
        task: TaskId::new(T0, [9; 10]),
        agent,
        beneficiary: Some("maya@acme.example"),
        scopes: scopes.iter().map(|(scope, entry)| (scope, entry)).collect(),
        ttl: Ttl::TEN_MINUTES,
        now: T0,
        ends_at: T0.plus(Ttl::TEN_MINUTES),
        confirmation_key: None,
        status: Some(StatusPlace { list: "0123456789abcdef0123".to_owned(), index: 9 }),
    }
}

fn agent() -> AgentId {
    "release-bot".parse().unwrap()
}

/// These leases, revoked at that time.
fn over<'a>(plans: &[&'a MintPlan], since: Timestamp) -> Vec<Over<'a>> {
    let over = |plan: &&'a MintPlan| Over { credential: CredentialRef::of_plan(plan), since, cause: EndCause::Revoked };
    plans.iter().map(over).collect()
}

/// A plan in the present, for a lease that no other test has.
fn plan_for(minter: &dyn Minter, scopes: &[(Scope, CatalogueEntry)]) -> MintPlan {
    static LEASES: AtomicU16 = AtomicU16::new(0);
    let mut random = [7; 10];
    random[..2].copy_from_slice(&LEASES.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    let (agent, now) = (agent(), SystemClock.now());
    let mut order = order(&agent, scopes);
    (order.lease, order.now, order.ends_at) = (LeaseId::new(now, random), now, now.plus(Ttl::TEN_MINUTES));
    minter.plan(&order).unwrap()
}

/// A credential that works.
async fn live(minter: &dyn Minter, scopes: &[(Scope, CatalogueEntry)]) -> (MintPlan, Minted) {
    let plan = plan_for(minter, scopes);
    let minted = minter.mint(&plan).await.unwrap();
    minter.activate(&plan.handle).await.unwrap();
    (plan, minted)
}

/// The plan of an order for these scopes, after a change to it.
fn plan_of(
    minter: &dyn Minter,
    scopes: &[(Scope, CatalogueEntry)],
    change: impl FnOnce(&mut MintOrder<'_>),
) -> MintPlan {
    let agent = agent();
    let mut order = order(&agent, scopes);
    change(&mut order);
    minter.plan(&order).unwrap()
}

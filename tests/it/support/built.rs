//! The broker of the harness, put together from real parts as `app::wiring` does it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hallpass::broker::{Broker, CallbackSettings, LimitSettings, Parts, ResourceServer};
use hallpass::domain::Ttl;
use hallpass::http::{HttpState, RequestIds, router};
use hallpass::identity::{IssuerSettings, Provider, Verifiers};
use hallpass::minter::{BackendSettings, MinterDeps, Minters, SandboxBackend};
use hallpass::notify::{ChannelSettings, Channels, SenderDeps};
use hallpass::policy::{Bundle, PolicyEngine};
use hallpass::store::Store;
use hallpass::sys::keys::{Kek, KeyAlgorithm, KeyRing, RotationSettings};
use hallpass::sys::{Clock, Entropy, HttpClient, ManualClock, SecretString, SystemEntropy, sha256};

use super::harness::{AGENTS, API_AUDIENCE, PEOPLE, PUBLIC_URL, SERVER_SECRET};
use super::idp::settings;
use super::openssh::write_authority;
use super::sign_in::CLIENT;

/// Who vouches for agents and people.
fn issuers(dir: &Path, single_use: bool, provider: Option<&str>) -> Vec<IssuerSettings> {
    let jwks = dir.join("jwks.json").display().to_string();
    let mut issuers = vec![
        settings(&format!(
            "name='agents'\nissuer='{AGENTS}'\njwks_file='{jwks}'\nallow_private=true\nsingle_use={single_use}\nalgorithms=['ES256']"
        )),
        settings(&format!(
            "name='people'\nfor='people'\nissuer='{PEOPLE}'\njwks_file='{jwks}'\nallow_private=true\nalgorithms=['ES256']"
        )),
    ];
    issuers.extend(provider.map(|url| {
        settings(&format!("name='idp'\nfor='people'\nissuer='{url}'\nallow_private=true\nalgorithms=['ES256']"))
    }));
    issuers
}

/// Build it on the files of a folder and a store.
pub(super) async fn build(
    (dir, store): (&Path, &str),
    kek: &SecretString,
    (bundle, more, notify): (&BTreeMap<String, String>, &[String], &[String]),
    limits: LimitSettings,
    (single_use, provider): (bool, Option<&str>),
    clock: &Arc<ManualClock>,
    sandbox: &Arc<SandboxBackend>,
) -> Broker {
    let store = Store::open(&super::database::settings_of(store, dir)).await.unwrap();
    let deployment = store.lineage().await.unwrap().deployment;
    let issuers = issuers(dir, single_use, provider);
    let issuer = if provider.is_some() { "idp" } else { "people" };
    let sign_in = toml::from_str(&format!("issuer='{issuer}'\nclient_id='{CLIENT}'")).unwrap();
    let http = HttpClient::new(None).unwrap();
    let back = format!("{PUBLIC_URL}{}", hallpass::http::SIGN_IN_CALLBACK);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let keyring = Arc::new(KeyRing::new(Vec::new()));
    let deps = MinterDeps {
        keyring: Arc::clone(&keyring),
        issuer_url: PUBLIC_URL.to_owned(),
        deployment: deployment.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        folder: dir.to_owned(),
        sandbox: Some(Arc::clone(sandbox)),
    };
    let authority = dir.join("ssh-ca");
    if !authority.exists() {
        write_authority(&authority);
    }
    let backends: Vec<BackendSettings> = [
        "name='sandbox'\nkind='sandbox'",
        "name='other'\nkind='sandbox'",
        "name='untidy'\nkind='sandbox'\ndebris=true",
        "name='api'\nkind='jwt'",
        "name='hosts'\nkind='ssh'\nca_key={file='ssh-ca'}\nkrl_file='hosts.krl'\nhosts_poll_seconds=30",
        "name='parts'\nkind='jwt'\nverifiers='status_list'\nstatus_list_seconds=30",
    ]
    .into_iter()
    .chain(more.iter().map(String::as_str))
    .map(|text| toml::from_str(text).unwrap())
    .collect();
    let told: Vec<ChannelSettings> = notify.iter().map(|text| toml::from_str(text).unwrap()).collect();
    let channels = Channels::build(&told, &SenderDeps { http: http.clone(), folder: dir.to_owned() }).unwrap();
    // A receiver of callbacks listens on this machine, on whatever port it got; a test that has one writes its place down.
    let private_hosts = std::fs::read_to_string(dir.join("callback-hosts")).unwrap_or_default();
    let callbacks = CallbackSettings {
        http: http.clone(),
        hosts: vec!["callbacks.example".to_owned(), "127.0.0.1".to_owned(), "localhost".to_owned()],
        private_hosts: private_hosts.lines().map(str::to_owned).collect(),
    };
    let server = ResourceServer { id: "release-api".to_owned(), audiences: vec![API_AUDIENCE.to_owned()] };
    Broker::start(Parts {
        clock,
        entropy,
        store,
        policy: PolicyEngine::new(Bundle::from_files(bundle.clone()).unwrap()),
        provider: Some(Provider::new(sign_in, &issuers, &back, &http).unwrap()),
        dev: false,
        verifiers: Verifiers::new(&issuers, PUBLIC_URL, http).unwrap(),
        minters: Minters::build(&backends, &deps).unwrap(),
        channels,
        keyring,
        kek: Kek::from_base64(kek).unwrap(),
        key_algorithms: vec![KeyAlgorithm::Es256],
        rotation: RotationSettings::new(30 * 86_400, 300, Ttl::EIGHT_HOURS).unwrap(),
        jwks_max_age_secs: 300,
        resource_servers: vec![(server, sha256(SERVER_SECRET))],
        limits,
        callbacks,
        public_url: PUBLIC_URL.to_owned(),
        passkeys: hallpass::identity::webauthn::PasskeySettings::default(),
        deployment,
    })
    .await
    .unwrap()
}

/// Its door, in process.
pub(super) fn door(broker: &Broker) -> axum::Router {
    router(HttpState {
        broker: broker.clone(),
        public_url: PUBLIC_URL.into(),
        trusted_proxies: Vec::new().into(),
        admission: Arc::default(),
        request_ids: Arc::new(RequestIds::new(&SystemEntropy::default())),
        draining: tokio_util::sync::CancellationToken::new(),
        work: tokio_util::task::TaskTracker::new(),
    })
}

//! The use cases, one file each: they decide the order of things. Doors translate to and from them; they ask the
//! capabilities below and decide nothing about the wire.

mod ask;
mod authenticate;
mod authzen;
mod bulkhead;
mod caller;
mod chat;
mod close_task;
mod closure;
mod collect;
mod console;
mod control;
mod count;
mod decide_request;
mod delegations;
mod deliver;
mod device;
mod end_lease;
mod error;
mod evaluate;
mod facts;
mod govern;
mod grant_agreed;
mod idempotency;
mod inbox;
mod inquire;
mod insights;
mod introspect;
mod kept;
mod keys;
mod limits;
mod membership;
mod mint;
mod mint_outside;
mod notice_content;
mod notice_people;
mod notices;
mod once_more;
mod open_task;
mod passkeys;
mod permit_again;
mod places;
mod questions;
mod read;
mod readiness;
mod reconcile;
mod reconcile_restored;
mod repeat;
mod request_view;
mod restore;
mod reviews;
mod revocation_lists;
mod revoke;
mod said;
mod sealed;
mod seals;
mod send_notices;
mod sentence;
mod sessions;
mod sign_in;
mod signals;
mod status_lists;
mod sweep;
mod sweep_leases;
mod unusual;
mod views;
mod withdraw;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::domain::{Digest, LeaseId, Timestamp};
use crate::identity::webauthn::{PartyError, PasskeySettings, RelyingParty};
use crate::identity::{Provider, Verifiers};
use crate::minter::{Minters, StatusPlaces};
use crate::notify::Channels;
use crate::policy::PolicyEngine;
use crate::store::Store;
use crate::sys::keys::{Kek, KeyAlgorithm, KeyRing, RotationSettings};
use crate::sys::{Clock, Entropy, Ids};

pub use authzen::CallbackSettings;
pub use caller::{AgentCaller, Caller, OperatorCaller, ResourceServer, SignIn};
pub use chat::ChatCall;
pub use console::{AgentUse, PoliciesView, PolicyUse, Rights, ScopeUse, TasksAsk};
pub use device::{DeviceError, DeviceShown};
pub use error::{BrokerError, FilingFault};
pub use limits::LimitSettings;
pub use passkeys::PasskeyProof;
pub use readiness::Readiness;
pub use reconcile_restored::{ReconcileAsk, ReconcileReport, Told};
pub use revocation_lists::PublishedList;
pub use sessions::{OpenedFrom, OpenedSession, SessionsAsk};
pub use sign_in::{BegunSignIn, FinishedSignIn, SignInAnswer, SignInAsk, SignInError};
pub use sweep::SweepReport;

/// What the broker is built from.
pub struct Parts {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The store.
    pub store: Store,
    /// The policy engine with the bundle to put into force.
    pub policy: PolicyEngine,
    /// The issuers that are trusted.
    pub verifiers: Verifiers,
    /// Where people sign in, if they can.
    pub provider: Option<Provider>,
    /// Whether it is `hallpass dev`'s, whose one-time code is handed on to its issuer.
    pub dev: bool,
    /// The backends.
    pub minters: Minters,
    /// The ways to tell people.
    pub channels: Channels,
    /// The keys that sign credentials; shared with the minters.
    pub keyring: Arc<KeyRing>,
    /// The key under which they are sealed.
    pub kek: Kek,
    /// The algorithms a key is kept for.
    pub key_algorithms: Vec<KeyAlgorithm>,
    /// When they are replaced.
    pub rotation: RotationSettings,
    /// For how many seconds the JWKS document may be cached.
    pub jwks_max_age_secs: u32,
    /// Who may introspect, each with the SHA-256 of its secret.
    pub resource_servers: Vec<(ResourceServer, Digest)>,
    /// How many calls a minute.
    pub limits: LimitSettings,
    /// Who may be called when a filing is settled.
    pub callbacks: CallbackSettings,
    /// Where the API is reached, without a slash at the end.
    pub public_url: String,
    /// Whom passkeys are for.
    pub passkeys: PasskeySettings,
    /// The deployment that the minters were built for, as the store names it.
    pub deployment: String,
}

/// The broker: what the use cases need, built once. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

impl Deref for Broker {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What the use cases reach for.
pub struct Inner {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ids: Ids,
    store: Store,
    /// The same store by the way that is kept for what ends authority.
    endings: Store,
    policy: PolicyEngine,
    verifiers: Verifiers,
    provider: Option<Provider>,
    dev: bool,
    minters: Minters,
    channels: Channels,
    told: Mutex<notices::Known>,
    keyring: Arc<KeyRing>,
    kek: Kek,
    key_algorithms: Vec<KeyAlgorithm>,
    rotation: RotationSettings,
    jwks_max_age_secs: u32,
    resource_servers: Vec<(ResourceServer, Digest)>,
    limits: limits::Limits,
    callbacks: CallbackSettings,
    public_url: String,
    party: Result<RelyingParty, PartyError>,
    deployment: String,
    standing: ArcSwap<control::Standing>,
    looks: control::Looks,
    signals: signals::Signals,
    deliveries: deliver::Deliveries,
    active_keys: Mutex<BTreeSet<String>>,
    rechecked: Mutex<Rechecked>,
    killed: Mutex<sweep_leases::Killed>,
    suspended: Mutex<sweep::Suspended>,
    bulkheads: bulkhead::Bulkheads,
    heard: membership::Heard,
    lists: revocation_lists::Lists,
    status_places: StatusPlaces,
    status_lists: status_lists::StatusLists,
    replica: String,
    catching_up: AtomicBool,
}

/// How far the live leases were looked at under a bundle.
struct Rechecked {
    bundle: Digest,
    after: Option<LeaseId>,
    done: bool,
}

impl Broker {
    /// Build it: load what stands, put the bundle into force, and have keys that sign.
    ///
    /// # Errors
    /// When the store does not answer or a key cannot be unsealed.
    pub async fn start(parts: Parts) -> Result<Self, BrokerError> {
        let control = parts.store.control().await?;
        let bundle = parts.policy.current();
        // The leases that live now were permitted by the bundle that was in force; only another one sends the sweep over them.
        let rechecked =
            Rechecked { bundle: bundle.digest(), after: None, done: control.bundle == Some(bundle.digest()) };
        let mut replica = [0_u8; 8];
        parts.entropy.fill(&mut replica);
        let broker = Self(Arc::new(Inner {
            replica: data_encoding::HEXLOWER.encode(&replica),
            bulkheads: bulkhead::Bulkheads::new(&parts.minters),
            lists: revocation_lists::Lists::new(&parts.minters, parts.clock.now()),
            status_places: StatusPlaces::new(Arc::clone(&parts.entropy)),
            status_lists: status_lists::StatusLists::new(&parts.minters),
            heard: membership::Heard::default(),
            ids: Ids::new(Arc::clone(&parts.clock), Arc::clone(&parts.entropy)),
            limits: limits::Limits::new(parts.limits, Arc::clone(&parts.clock)),
            clock: parts.clock,
            entropy: parts.entropy,
            endings: parts.store.ending(),
            store: parts.store,
            policy: parts.policy,
            verifiers: parts.verifiers,
            provider: parts.provider,
            dev: parts.dev,
            minters: parts.minters,
            channels: parts.channels,
            told: Mutex::default(),
            keyring: parts.keyring,
            kek: parts.kek,
            key_algorithms: parts.key_algorithms,
            rotation: parts.rotation,
            jwks_max_age_secs: parts.jwks_max_age_secs,
            resource_servers: parts.resource_servers,
            party: parts.passkeys.party(&parts.public_url),
            callbacks: parts.callbacks,
            public_url: parts.public_url,
            deployment: parts.deployment,
            looks: control::Looks::default(),
            standing: ArcSwap::from_pointee(control::Standing {
                control,
                suspended: BTreeMap::new(),
                deployment: None,
            }),
            signals: signals::Signals::default(),
            deliveries: deliver::Deliveries::default(),
            active_keys: Mutex::default(),
            rechecked: Mutex::new(rechecked),
            killed: Mutex::default(),
            suspended: Mutex::default(),
            catching_up: AtomicBool::new(false),
        }));
        // Before anything is written: what is at the other end may be another database.
        broker.look_at_history().await?;
        broker.put_first_bundle_into_force(&bundle).await?;
        broker.look_again().await?;
        broker.rotate_keys().await?;
        broker.begin_channels().await;
        Ok(broker)
    }

    /// The issuers, for a worker that refreshes their keys and for those who look after them.
    #[must_use]
    pub fn verifiers(&self) -> &Verifiers {
        &self.verifiers
    }

    /// The bundle in force.
    #[must_use]
    pub fn bundle(&self) -> Arc<crate::policy::Bundle> {
        self.policy.current()
    }

    /// The backends.
    #[must_use]
    pub fn minters(&self) -> &Minters {
        &self.minters
    }

    /// The present, as the broker has it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Write what is still to be written, and close the store.
    pub async fn stop(&self) {
        self.record_deliveries_now().await;
        // So that whoever starts next knows with what it ended.
        if let Err(error) = self.store.look_at_history().await {
            tracing::warn!(%error, "the last event could not be noted");
        }
        self.store.close().await;
    }
}

/// A page of something: how many at most (1 to 200), and after which cursor.
#[derive(Debug, Clone, Default)]
pub struct PageAsk {
    /// At most so many; 50 when absent.
    pub limit: Option<u32>,
    /// After this cursor.
    pub cursor: Option<String>,
}

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct RequestsAsk {
    /// In this state.
    pub state: Option<String>,
    /// Of this agent.
    pub agent: Option<String>,
    /// The page.
    pub page: PageAsk,
}

/// Which leases to list.
#[derive(Debug, Clone, Default)]
pub struct LeasesAsk {
    /// Live ones, or the others.
    pub live: Option<bool>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this task.
    pub task: Option<String>,
    /// Of this backend.
    pub backend: Option<String>,
    /// Only those whose end failed so often that somebody must look.
    pub irrevocable: bool,
    /// The page.
    pub page: PageAsk,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventsAsk {
    /// About this agent.
    pub agent: Option<String>,
    /// About this task.
    pub task: Option<String>,
    /// About this request.
    pub request: Option<String>,
    /// About this lease.
    pub lease: Option<String>,
    /// Of this kind, or of every kind below a prefix that ends in `.`.
    pub kind: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// The newest first instead of the oldest.
    pub newest_first: bool,
    /// The page; its cursor is a `seq`.
    pub page: PageAsk,
}

/// The longest a long poll is held.
pub const MAX_WAIT: Duration = Duration::from_secs(25);

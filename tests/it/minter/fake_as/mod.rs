//! An authorization server that remembers what it honours: it verifies what we sign with code that is not ours, exchanges tokens,
//! forgets them when told, and says which are active. It can be told to give other than it was asked for, to lie, to fail, and to
//! hang.

mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use hallpass::domain::Timestamp;
use hallpass::sys::Clock;
use hallpass::sys::keys::KeyRing;

pub(super) use world::Token;
use world::{World, answer};

pub(super) const CLIENT_ID: &str = "hallpass:crm";
/// With what form encoding and Base64 each treat in their own way.
pub(super) const SECRET: &str = "s3cret: +/%é";
/// The broker's public URL, as the tests have it.
pub(super) const BROKER: &str = "https://hallpass.example";
pub(super) const RESOURCE: &str = "https://crm.example/api";

/// What it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Metadata,
    Exchange,
    Revoke,
    Introspect,
}

/// How it fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// This status and no JSON, and nothing is done.
    Status(u16),
    /// This status and `error`, and nothing is done.
    Says(u16, &'static str),
    /// It is done, and the answer says 502.
    Unheard,
    /// It is done, and the answer is longer than anybody reads.
    Endless,
    /// It is somewhere else.
    Moved,
    /// Nothing is ever answered.
    Hang,
}

/// How it does other than it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    Refresh,
    Details,
    IssuedType,
    Dpop,
    NoLife,
    LongLife,
    WideScope,
    NarrowScope,
    NoScope,
    SpacedToken,
    /// The answer has no scope, and the token has more than was asked for.
    SilentScope,
    /// The token is for another audience too.
    WideAudience,
    /// The token lives longer than the answer says.
    SilentLife,
    /// Every token is called inactive.
    Mute,
    /// A revocation is taken and nothing done.
    Deaf,
}

/// The server.
#[derive(Clone)]
pub(super) struct FakeAs {
    world: Arc<Mutex<World>>,
    pub(super) address: SocketAddr,
}

impl FakeAs {
    /// Serve it as long as the runtime lives.
    pub(super) async fn start(clock: Arc<dyn Clock>, keys: Arc<KeyRing>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World {
            clock,
            keys,
            broker: BROKER.to_owned(),
            published: Vec::new(),
            issuer: format!("http://{address}/realms/acme"),
            life: 600,
            tokens: BTreeMap::new(),
            ever: Vec::new(),
            jtis: Vec::new(),
            calls: Vec::new(),
            next: BTreeMap::new(),
            always: BTreeMap::new(),
            other: None,
            metadata: serde_json::Map::new(),
            by_openid: false,
        }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { world, address }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Trust a broker elsewhere, by the keys that it publishes, instead of the one with the keys from the start.
    pub(super) fn trust(&self, broker: String, keys: Vec<serde_json::Value>) {
        let mut world = self.world();
        (world.broker, world.published) = (broker, keys);
    }

    pub(super) fn issuer(&self) -> String {
        self.world().issuer.clone()
    }

    /// The settings of a backend called `crm`.
    pub(super) fn settings(&self) -> String {
        format!(
            "name = 'crm'\nkind = 'oauth'\nissuer = '{}'\nclient_id = '{CLIENT_ID}'\ntoken_lifetime_seconds = 600\n\
             allow_private = true\n",
            self.issuer()
        )
    }

    pub(super) fn fail_next(&self, call: Call, fault: Fault) {
        self.world().next.entry(call).or_default().push_back(fault);
    }

    pub(super) fn fail_always(&self, call: Call, fault: Fault) {
        self.world().always.insert(call, fault);
    }

    pub(super) fn mend(&self) {
        self.world().always.clear();
        self.world().other = None;
    }

    pub(super) fn do_other(&self, other: Other) {
        self.world().other = Some(other);
    }

    /// The forms of the calls of a kind, oldest first, without what proves who we are.
    pub(super) fn calls(&self, call: Call) -> Vec<BTreeMap<String, String>> {
        self.world().calls.iter().filter(|(kind, _)| *kind == call).map(|(_, form)| form.clone()).collect()
    }

    /// How many tokens there ever were, and how many are honoured now.
    pub(super) fn counted(&self) -> (usize, usize) {
        let world = self.world();
        let now = world.clock.now();
        (world.ever.len(), world.tokens.values().filter(|token| now < token.expires_at).count())
    }

    /// A token it honours at a time.
    pub(super) fn accepts(&self, token: &str, now: Timestamp) -> Option<Token> {
        self.world().tokens.get(token).filter(|token| now < token.expires_at).cloned()
    }
}

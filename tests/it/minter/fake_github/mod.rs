//! A GitHub that remembers what it honours: it verifies the App's JWT with code that is not ours, gives tokens for repositories and
//! permissions, forgets them when told, and serves a repository to whoever holds one that may read it. It can be told to rename a
//! repository, to give more than it was asked for, to be asked too much, to fail, and to hang.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use hallpass::domain::Timestamp;
use hallpass::sys::{Clock, sha256};
use josekit::jws::RS256;
use serde_json::Value;
use tokio::sync::oneshot;

use world::{World, answer};

pub(crate) const CLIENT_ID: &str = "Iv23liTestOfHallpass";
pub(crate) const INSTALLATION: u64 = 7_001;
pub(crate) const WIDGET: (u64, &str) = (1_296_269, "acme/widget");
pub(crate) const GADGET: (u64, &str) = (42, "acme/gadget");

/// What GitHub is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Mint,
    Delete,
    Probe,
    Look,
    Git,
}

/// How it fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// 403, as the secondary rate limit answers, with these seconds in `Retry-After`.
    AskedTooMuch(u64),
    /// 403, as the primary rate limit answers: none left until this moment.
    NoneLeftUntil(Timestamp),
    /// This status, and nothing is done.
    Status(u16),
    /// It is done, and the answer says 502.
    Unheard,
    /// Nothing is ever answered.
    Hang,
}

/// How it gives more than it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wider {
    Level,
    Permission,
    Repository,
    AllRepositories,
    Life,
    Silent,
}

/// GitHub, and what belongs to its App.
#[derive(Clone)]
pub(crate) struct FakeGithub {
    world: Arc<Mutex<World>>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: Arc<tempfile::TempDir>,
}

impl FakeGithub {
    /// Serve it as long as the runtime lives; the App's key is in its folder.
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = RS256.generate_key_pair(2048).unwrap();
        for (name, pem) in
            [("pkcs1.pem", pair.to_traditional_pem_private_key()), ("pkcs8.pem", pair.to_pem_private_key())]
        {
            write_private(&folder.path().join(name), &pem);
        }
        let mapped = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect()
        };
        let world = Arc::new(Mutex::new(World {
            clock,
            permissions: mapped(&[
                ("metadata", "read"),
                ("contents", "write"),
                ("pull_requests", "write"),
                ("issues", "read"),
            ]),
            repositories: [WIDGET, GADGET].into_iter().map(|(id, name)| (id, name.to_owned())).collect(),
            suspended: false,
            selection: "selected",
            tokens: BTreeMap::new(),
            ever: Vec::new(),
            calls: Vec::new(),
            next: BTreeMap::new(),
            always: BTreeMap::new(),
            wider: None,
            held: None,
            public_pem: pair.to_pem_public_key(),
            root: folder.path().join("git"),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { world, address, folder: Arc::new(folder) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The settings of a backend of this name.
    pub(crate) fn settings(&self, name: &str) -> String {
        let (address, key) = (self.address, self.folder.path().join("pkcs1.pem"));
        format!(
            "name = '{name}'\nkind = 'github'\nclient_id = '{CLIENT_ID}'\ninstallation_id = {INSTALLATION}\n\
             private_key = {{ file = '{}' }}\napi_url = 'http://{address}'\nallow_private = true\n",
            key.display()
        )
    }

    /// Go by another clock.
    pub(crate) fn follow(&self, clock: Arc<dyn Clock>) {
        self.world().clock = clock;
    }

    pub(crate) fn fail_next(&self, call: Call, fault: Fault) {
        self.world().next.entry(call).or_default().push_back(fault);
    }

    pub(crate) fn fail_always(&self, call: Call, fault: Fault) {
        self.world().always.insert(call, fault);
    }

    pub(crate) fn mend(&self) {
        let mut world = self.world();
        world.next.clear();
        world.always.clear();
        world.wider = None;
    }

    pub(crate) fn give_more(&self, wider: Wider) {
        self.world().wider = Some(wider);
    }

    pub(crate) fn rename(&self, id: u64, name: &str) {
        self.world().repositories.insert(id, name.to_owned());
    }

    pub(crate) fn take_away(&self, id: u64) {
        self.world().repositories.remove(&id);
    }

    pub(crate) fn permit(&self, permission: &str, level: &str) {
        self.world().permissions.insert(permission.to_owned(), level.to_owned());
    }

    pub(crate) fn suspend(&self) {
        self.world().suspended = true;
    }

    pub(crate) fn install_on_all(&self) {
        self.world().selection = "all";
    }

    /// Hold back the answer to the next mint: what says that the token was made, and what lets the answer go.
    pub(crate) fn hold_mint(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((acted, was_acted), (go, may_go)) = (oneshot::channel(), oneshot::channel());
        self.world().held = Some((acted, may_go));
        (was_acted, go)
    }

    /// The bodies of the calls of a kind, oldest first.
    pub(crate) fn calls(&self, call: Call) -> Vec<Value> {
        self.world().calls.iter().filter(|(kind, _)| *kind == call).map(|(_, body)| body.clone()).collect()
    }

    /// Every token there ever was.
    pub(crate) fn ever(&self) -> Vec<String> {
        self.world().ever.clone()
    }

    /// How many tokens are honoured now.
    pub(crate) fn honoured(&self) -> usize {
        let world = self.world();
        let now = world.clock.now();
        world.tokens.values().filter(|token| now < token.expires_at).count()
    }

    /// Whether it honours a token at a time, and in which repositories.
    pub(crate) fn accepts(&self, token: &str, now: Timestamp) -> Option<(BTreeSet<u64>, BTreeMap<String, String>)> {
        let world = self.world();
        let token = world.tokens.get(token).filter(|token| now < token.expires_at)?;
        Some((token.repositories.clone(), token.permissions.clone()))
    }

    /// What its audit log calls a token.
    pub(crate) fn hashed(token: &str) -> String {
        data_encoding::BASE64.encode(sha256(token).as_bytes())
    }

    /// Put something into a repository, for the dumb protocol, which needs no more than files.
    pub(crate) fn fill(&self, repository: &str) {
        let bare = self.world().root.join(format!("{repository}.git"));
        let work = self.folder.path().join("work");
        std::fs::create_dir_all(&work).unwrap();
        std::fs::write(work.join("README.md"), "a widget\n").unwrap();
        let who = ["-c", "user.name=t", "-c", "user.email=t@t.example"];
        git(&work, &["init", "-q", "-b", "main", "."]);
        git(&work, &["add", "."]);
        git(&work, &[who.as_slice(), &["commit", "-q", "-m", "Begin"]].concat());
        git(&work, &["clone", "-q", "--bare", ".", &bare.display().to_string()]);
        git(&bare, &["update-server-info"]);
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let done =
        Command::new("git").current_dir(folder).args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn write_private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
}

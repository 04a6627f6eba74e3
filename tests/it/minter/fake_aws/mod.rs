//! An AWS that is as strict as the real one where simulators are not: it verifies signatures, refuses what STS refuses, remembers the
//! sessions it gave, and answers each call for data by evaluating the role's policies, the session's policy and the role's inline
//! policies as of some time ago. Its clock is the tests' to move, and may differ from the broker's.

pub(crate) mod evaluate;
mod iam;
pub(crate) mod sign;
mod sts;
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use hallpass::domain::Timestamp;
use hallpass::sys::Clock;
use serde_json::{Value, json};

use evaluate::Context;
pub(crate) use world::{Session, World};

pub(crate) const ACCOUNT: &str = "123456789012";
/// The broker's own user.
pub(crate) const BROKER_KEY: &str = "AKIAHALLPASSBROKER00";
pub(crate) const BROKER_SECRET: &str = "broker/secret+of/the+tests";
pub(crate) const EXTERNAL_ID: &str = "hallpass:tested";
pub(crate) const REGION: &str = "eu-central-1";

/// How it fails the next call of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This status and code, and nothing is done.
    Says(u16, &'static str),
    /// It is done, and the answer is 500.
    Unheard,
    /// Nothing is ever answered.
    Hang,
}

/// AWS.
#[derive(Clone)]
pub(crate) struct FakeAws {
    world: Arc<Mutex<World>>,
    pub(crate) address: SocketAddr,
}

pub(crate) fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/agents/{name}")
}

impl FakeAws {
    /// Serve it as long as the runtime lives, with the roles `releases` and `reports`.
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        let mut world = World::new(clock);
        for name in ["releases", "reports"] {
            world.add_role(name);
        }
        let world = Arc::new(Mutex::new(world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(world::answer).with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { world, address }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Settings of a backend with the broker's keys in this folder.
    pub(crate) fn settings(&self, folder: &std::path::Path, more: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        for (name, text) in [("key", BROKER_KEY), ("secret", BROKER_SECRET)] {
            std::fs::write(folder.join(name), text).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let (address, folder) = (self.address, folder.display());
        format!(
            "name = 'aws'\nkind = 'aws'\nregion = '{REGION}'\naccess_key_id = {{ file = '{folder}/key' }}\n\
             secret_access_key = {{ file = '{folder}/secret' }}\nexternal_id = '{EXTERNAL_ID}'\n\
             sts_endpoint = 'http://{address}'\niam_endpoint = 'http://{address}'\nallow_private = true\n{more}\n\
             [roles]\nreleases = '{}'\nreports = '{}'\n",
            role_arn("releases"),
            role_arn("reports")
        )
    }

    /// Whether a session's keys may do something at a time, as the data calls would answer.
    pub(crate) fn allows(&self, key: &str, action: &str, resource: &str, now: Timestamp) -> bool {
        self.world().allows(key, action, resource, now)
    }

    pub(crate) fn fail_next(&self, action: &str, fault: Fault) {
        self.world().next.entry(action.to_owned()).or_default().push_back(fault);
    }

    pub(crate) fn fail_always(&self, action: &str, fault: Fault) {
        self.world().always.insert(action.to_owned(), fault);
    }

    /// The members of each call of an action that was understood, oldest first.
    pub(crate) fn calls(&self, action: &str) -> Vec<BTreeMap<String, String>> {
        self.world().calls.iter().filter(|call| call["Action"] == action).cloned().collect()
    }

    /// What the newest inline policies of a role are, whether they work yet or not.
    pub(crate) fn inline(&self, role: &str) -> BTreeMap<String, Value> {
        self.world().roles[role].inline_now()
    }
}

/// Everything that may be asked about when nobody says more.
pub(crate) fn context(session: &Session, now: Timestamp) -> Context {
    let mut context = Context::new();
    context.insert("aws:userid".to_owned(), format!("{}:{}", session.role_id, session.name));
    context.insert("aws:CurrentTime".to_owned(), now.to_string());
    context.insert("aws:TokenIssueTime".to_owned(), session.issued_at.to_string());
    context.insert("aws:SourceIdentity".to_owned(), session.source_identity.clone());
    context.insert("aws:RequestedRegion".to_owned(), REGION.to_owned());
    for (key, value) in &session.tags {
        context.insert(format!("aws:PrincipalTag/{key}"), value.clone());
    }
    context
}

/// A trust policy as docs/backends/aws.md has it.
pub(crate) fn trust() -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:user/hallpass") },
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        "Condition": { "StringEquals": { "sts:ExternalId": EXTERNAL_ID } },
    }] })
}

//! Kind `redis`: users of a Redis server (ACL). A user is made off, has a selector for each of its scopes and no other right, and is
//! deleted with its connections at once. Redis ends nothing by itself, so a user lives until the broker ends it, and the plan says so.

mod check;
mod commands;
mod effect;
mod server;
mod settings;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    BackendSettings, CredentialRef, Found, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe,
    Revocability, Revoked, mark,
};
use crate::domain::{CatalogueEntry, Handle, LeaseId, MintPlan, Name, Timestamp};
use crate::minter::settings::{canonical, without_form};
use crate::sys::{Entropy, SecretString, fingerprint, sha256};
use effect::{Effect, selectors};
use server::Server;
use settings::Target;
use users::Users;

/// What the plan keeps for the mint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    selectors: BTreeSet<String>,
}

struct RedisMinter {
    backend: Name,
    target: Target,
    users: Users,
    /// How the name of each of our users begins: it is all of a user that can carry our mark.
    prefix: String,
    entropy: Arc<dyn Entropy>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let target = Target::new(settings, deps)?;
    let ours = mark(&format!("{} {} {}", mark(&deps.issuer_url), deps.deployment, settings.name));
    Ok(Arc::new(RedisMinter {
        backend: settings.name.clone(),
        users: Users { server: Server::new(target.client.clone()) },
        target,
        prefix: format!("hallpass-{ours}-"),
        entropy: Arc::clone(&deps.entropy),
    }))
}

impl RedisMinter {
    /// The name of a lease's user.
    fn user_of(&self, lease: LeaseId) -> String {
        let lease = lease.to_string();
        let digits = lease.split_once('_').map_or(lease.as_str(), |(_, digits)| digits);
        format!("{}{digits}", self.prefix)
    }

    /// The lease of a user.
    fn lease_of(&self, user: &str) -> Option<LeaseId> {
        format!("{}_{}", LeaseId::PREFIX, user.strip_prefix(&self.prefix)?).parse().ok()
    }

    /// The user that a handle names; never one that is not ours.
    fn named<'a>(&self, handle: &'a Handle) -> Result<&'a str, MintError> {
        let name = handle.as_str();
        match self.lease_of(name) {
            Some(lease) if self.user_of(lease) == name => Ok(name),
            Some(_) | None => Err(MintError::Refused(format!("`{handle}` is not the name of a user of ours"))),
        }
    }

    fn server(&self) -> String {
        format!("{}:{}", self.target.host, self.target.port)
    }

    fn summary(&self, order: &MintOrder<'_>) -> Result<Vec<String>, MintError> {
        let mut lines = vec![
            format!(
                "a user of Redis at {} for {}; Redis ends nothing by itself: should the broker be down then, it works until the \
                broker is back",
                self.server(),
                order.ttl
            ),
            "anybody who holds the password can use it".to_owned(),
        ];
        let mut scopes = order.scopes.clone();
        scopes.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.risk));
        for (scope, entry) in scopes {
            let one = MintOrder { scopes: vec![(scope, entry)], ..order.clone() };
            let rules: Vec<String> = selectors(&one)?.into_iter().collect();
            lines.push(format!("permits {scope}: {}", rules.join(" ")));
        }
        Ok(lines)
    }
}

#[async_trait]
impl Minter for RedisMinter {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn revocability(&self) -> Revocability {
        Revocability { how: "the user is deleted and its connections are closed", strength: "immediate" }
    }

    /// Each scope has a selector of its own, so any of them share a user.
    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Effect::read(entry).map(|_| String::new())
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        if order.confirmation_key.is_some() {
            return Err(MintError::Unsupported("a Redis password cannot be bound to a key".to_owned()));
        }
        let native = Native { selectors: selectors(order)? };
        let scopes: Vec<_> = order.scopes.iter().map(|(scope, _)| *scope).collect();
        let effect = canonical(&json!({
            "agent": order.agent,
            "backend": self.backend,
            "kind": self.kind(),
            "scopes": scopes,
            "selectors": native.selectors,
            "server": self.server(),
            "tls": self.target.tls,
            "ttl_seconds": order.ttl.as_secs(),
        }))?;
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary: self.summary(order)?,
            handle: Handle::new(self.user_of(order.lease)),
            ends_at: order.ends_at,
            native_end: Timestamp::NEVER,
            native: serde_json::to_value(native).map_err(without_form)?,
        })
    }

    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let native = Native::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of a redis backend: {error}")))?;
        let name = self.named(&plan.handle)?;
        let mut random = [0_u8; 32];
        self.entropy.fill(&mut random);
        let password = data_encoding::BASE64URL_NOPAD.encode(&random);
        // With 256 random bits nothing slower than one SHA-256 is needed. The server never sees the password before its holder
        // logs in.
        let hash = fingerprint(&password);
        self.users.create(name, &hash, &native.selectors).await?;
        let scheme = if self.target.tls { "rediss" } else { "redis" };
        let values = BTreeMap::from([
            ("host", SecretString::from(self.target.host.trim_matches(['[', ']']))),
            ("port", SecretString::from(self.target.port.to_string())),
            ("tls", SecretString::from(self.target.tls.to_string())),
            ("url", SecretString::from(format!("{scheme}://{name}:{password}@{}/0", self.server()))),
            ("username", SecretString::from(name)),
            ("password", SecretString::from(password)),
        ]);
        Ok(Minted { kind: "redis", values, fingerprint: hash, kept: None })
    }

    async fn activate(&self, handle: &Handle) -> Result<(), MintError> {
        self.users.enable(self.named(handle)?).await
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        self.users.remove(self.named(credential.handle)?).await.map(Revoked::Gone)
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        self.findings().await
    }

    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        let works = self.users.works(self.named(credential.handle)?).await?;
        Ok(if works { Probe::Honoured } else { Probe::Refused })
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        let names = self.users.list(&self.prefix).await?;
        let found = names.into_iter().map(|name| Found { lease: self.lease_of(&name), handle: Handle::new(name) });
        Ok(Inventory::Complete(found.collect()))
    }
}

//! Kind `postgres`: roles of a PostgreSQL server. A role is made without LOGIN, is a member of groups that are there already and
//! has no grant of its own, so that thousands of them leave no access list longer. It ends at once: it may not log in any more
//! and has left its groups before its sessions are ended, and what it owned is dropped, never handed to others.

mod check;
mod effect;
mod quote;
mod role;
mod scram;
mod server;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    BackendSettings, CredentialRef, Found, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe,
    Revocability, Revoked, mark,
};
use crate::domain::{CatalogueEntry, Handle, LeaseId, MintPlan, Name};
use crate::minter::settings::{canonical, without_form};
use crate::sys::{Clock, Entropy, SecretString, fingerprint, is_loopback, sha256};
use effect::{Effect, RoleEffect};
use quote::Ident;
use role::{NewRole, Roles};
use server::Server;
use settings::Target;

/// How the name of each of our roles begins; the rest of it is that of its lease.
const PREFIX: &str = "jit_";

/// What the plan keeps for the mint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    role: RoleEffect,
    connection_limit: u16,
    comment: String,
    valid_until: String,
}

struct PostgresMinter {
    backend: Name,
    target: Target,
    roles: Roles,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let target = Target::new(settings, deps)?;
    let roles = Roles {
        server: Server::new(&target),
        home: target.home.clone(),
        mark: format!("hallpass {} {} {} ", mark(&deps.issuer_url), deps.deployment, settings.name),
    };
    Ok(Arc::new(PostgresMinter {
        backend: settings.name.clone(),
        target,
        roles,
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
    }))
}

/// The name of a lease's role.
fn role_of(lease: LeaseId) -> String {
    let lease = lease.to_string();
    let digits = lease.split_once('_').map_or(lease.as_str(), |(_, digits)| digits);
    format!("{PREFIX}{digits}")
}

/// The lease of a role.
fn lease_of(role: &str) -> Option<LeaseId> {
    format!("{}_{}", LeaseId::PREFIX, role.strip_prefix(PREFIX)?).parse().ok()
}

/// The role that a handle names. Whatever else a handle may hold, it never reaches a statement.
fn named(handle: &Handle) -> Result<Ident, MintError> {
    let role = lease_of(handle.as_str()).and_then(|_| Ident::new(handle.as_str()).ok());
    role.ok_or_else(|| MintError::Refused(format!("`{handle}` is not the name of a role of ours")))
}

/// A text in a URL (RFC 3986 §2.1): all but unreserved characters percent-encoded.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect()
}

impl PostgresMinter {
    fn summary(&self, order: &MintOrder<'_>, role: &RoleEffect) -> Vec<String> {
        let (host, port, limit) = (&self.target.host, self.target.port, self.target.connection_limit);
        let groups: Vec<&str> = role.groups.iter().map(String::as_str).collect();
        let mut lines = vec![
            format!(
                "a login in PostgreSQL at {host}:{port}, database {}, may do for {} what the group {} may",
                role.database,
                order.ttl,
                groups.join(" and the group ")
            ),
            format!("anybody who holds the password can use it, up to {limit} connections at once"),
        ];
        let mut scopes = order.scopes.clone();
        scopes.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.risk));
        lines.extend(scopes.iter().map(|(scope, _)| format!("permits {scope}")));
        for (key, value) in &role.rows {
            lines.push(format!("row policies read {key} = {value}, which its holder cannot change"));
        }
        lines
    }

    /// Beyond this machine the server's certificate is to be verified by whoever connects.
    fn sslmode(&self) -> &'static str {
        let near = self.target.host.starts_with('/') || is_loopback(&self.target.host);
        if near { "prefer" } else { "verify-full" }
    }

    /// As libpq and what understands its URLs connect.
    fn url(&self, role: &str, password: &str, database: &str) -> String {
        let (host, port, database) = (&self.target.host, self.target.port, encoded(database));
        let who = format!("postgresql://{}:{}", encoded(role), encoded(password));
        if host.starts_with('/') {
            return format!("{who}@/{database}?host={}&port={port}", encoded(host));
        }
        let tls = format!("?sslmode={}", self.sslmode());
        let host = if host.contains(':') { format!("[{host}]") } else { encoded(host) };
        format!("{who}@{host}:{port}/{database}{tls}")
    }
}

#[async_trait]
impl Minter for PostgresMinter {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn revocability(&self) -> Revocability {
        Revocability { how: "the role may not log in any more and its sessions are ended", strength: "immediate" }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Effect::read(entry, &self.target)?.bucket()
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        if order.confirmation_key.is_some() {
            return Err(MintError::Unsupported("a PostgreSQL password cannot be bound to a key".to_owned()));
        }
        if order.ends_at.as_millis() <= order.now.as_millis() {
            return Err(MintError::Unsupported("no time is left for it to live".to_owned()));
        }
        let role = RoleEffect::of(&order.scopes, &self.target)?;
        let scopes: Vec<_> = order.scopes.iter().map(|(scope, _)| *scope).collect();
        let effect = canonical(&json!({
            "agent": order.agent,
            "backend": self.backend,
            "connection_limit": self.target.connection_limit,
            "database": role.database,
            "groups": role.groups,
            "kind": self.kind(),
            "rows": role.rows,
            "scopes": scopes,
            "server": format!("{}:{}", self.target.host, self.target.port),
            "ttl_seconds": order.ttl.as_secs(),
        }))?;
        let summary = self.summary(order, &role);
        let native = Native {
            role,
            connection_limit: self.target.connection_limit,
            comment: format!("{}lease={} task={} agent={}", self.roles.mark, order.lease, order.task, order.agent),
            valid_until: order.ends_at.to_string(),
        };
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary,
            handle: Handle::new(role_of(order.lease)),
            ends_at: order.ends_at,
            native_end: order.ends_at,
            native: serde_json::to_value(native).map_err(without_form)?,
        })
    }

    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let foreign = |why: &str| MintError::Unsupported(format!("the plan is not one of a postgres backend: {why}"));
        let native = Native::deserialize(&plan.native).map_err(|error| foreign(&error.to_string()))?;
        let name = named(&plan.handle)?;
        let groups = native.role.groups.iter().map(|group| Ident::new(group).map_err(foreign));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let (mut random, mut salt) = ([0_u8; 32], [0_u8; scram::SALT_BYTES]);
        self.entropy.fill(&mut random);
        self.entropy.fill(&mut salt);
        let password = data_encoding::BASE64URL_NOPAD.encode(&random);
        let database = &native.role.database;
        let role = NewRole {
            name: &name,
            verifier: &scram::verifier(&password, &salt),
            valid_until: &native.valid_until,
            connection_limit: native.connection_limit,
            comment: &native.comment,
            groups: &groups,
            database: &Ident::new(database).map_err(foreign)?,
            rows: &native.role.rows,
        };
        self.roles.create(&role).await?;
        let values = BTreeMap::from([
            ("database", SecretString::from(database.clone())),
            ("host", SecretString::from(self.target.host.clone())),
            ("port", SecretString::from(self.target.port.to_string())),
            ("sslmode", SecretString::from(self.sslmode())),
            ("url", SecretString::from(self.url(name.as_str(), &password, database))),
            ("username", SecretString::from(name.as_str())),
        ]);
        let (fingerprint, password) = (fingerprint(&password), SecretString::from(password));
        let values = values.into_iter().chain([("password", password)]).collect();
        Ok(Minted { kind: "postgres", values, fingerprint, kept: None })
    }

    async fn activate(&self, handle: &Handle) -> Result<(), MintError> {
        self.roles.enable(&named(handle)?).await
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        self.roles.stop(&named(credential.handle)?).await.map(Revoked::Gone)
    }

    fn needs_cleanup(&self) -> bool {
        true
    }

    async fn cleanup(&self, credential: CredentialRef<'_>) -> Result<(), MintError> {
        self.roles.remove(&named(credential.handle)?).await
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        self.findings().await
    }

    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        let works = self.roles.works(&named(credential.handle)?).await?;
        Ok(if works { Probe::Honoured } else { Probe::Refused })
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        let names = self.roles.list(PREFIX).await?;
        let found = names.into_iter().map(|name| Found { lease: lease_of(&name), handle: Handle::new(name) });
        Ok(Inventory::Complete(found.collect()))
    }
}

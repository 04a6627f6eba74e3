//! Kind `sandbox`: a backend inside the process, for `hallpass dev` and for tests. It remembers what it honours, so that
//! tests assert on the world and not on calls, and it can be told to fail in the ways real backends do. Production has none.

mod fault;
mod held;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

pub use fault::{Fault, SandboxCall};
pub use held::HeldAnswer;
use held::Late;

use super::settings::{canonical, read_effect};
use super::{
    BackendSettings, CredentialRef, Found, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe,
    Revocability, Revoked, mark,
};
use crate::domain::{CatalogueEntry, Digest, Handle, MintPlan, Name, Scope, Timestamp};
use crate::sys::{Clock, Entropy, ExposeSecret as _, SecretString, fingerprint, sha256};

/// A credential the sandbox honours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Honoured {
    /// Its handle.
    pub handle: Handle,
    /// The backend it was minted in; several may share one sandbox.
    pub backend: Name,
    /// What it permits.
    pub scopes: Vec<Scope>,
    /// Until when.
    pub ends_at: Timestamp,
}

#[derive(Debug)]
struct Held {
    secret: Digest,
    active: bool,
    mark: String,
    honoured: Honoured,
}

#[derive(Debug, Default)]
struct World {
    held: BTreeMap<String, Held>,
    faults: BTreeMap<SandboxCall, VecDeque<Fault>>,
    broken: BTreeMap<SandboxCall, Fault>,
    calls: BTreeMap<SandboxCall, u64>,
    late: BTreeMap<SandboxCall, VecDeque<Late>>,
    ever: BTreeSet<String>,
    lies: bool,
    hung: BTreeSet<Name>,
    debris: BTreeMap<String, (Name, String)>,
}

/// The backend itself: what it honours, how it shall fail, and how often it was asked.
#[derive(Debug, Default)]
pub struct SandboxBackend(Mutex<World>);

impl SandboxBackend {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a resource server asks: does this secret work at `now`, and for what?
    #[must_use]
    pub fn check(&self, secret: &str, now: Timestamp) -> Option<Honoured> {
        let secret = sha256(secret);
        self.world()
            .held
            .values()
            .find(|held| held.secret == secret && held.works(now))
            .map(|held| held.honoured.clone())
    }

    /// Everything that works at `now`.
    #[must_use]
    pub fn honoured(&self, now: Timestamp) -> Vec<Honoured> {
        self.world().held.values().filter(|held| held.works(now)).map(|held| held.honoured.clone()).collect()
    }

    /// Fail the next call of that kind; faults queue up.
    pub fn fail_next(&self, call: SandboxCall, fault: Fault) {
        self.world().faults.entry(call).or_default().push_back(fault);
    }

    /// Fail every call of that kind until mended.
    pub fn fail_always(&self, call: SandboxCall, fault: Fault) {
        self.world().broken.insert(call, fault);
    }

    /// Forget a credential, as somebody at the backend would by hand.
    pub fn forget(&self, handle: &str) {
        self.world().held.remove(handle);
    }

    /// From now until mended, say that a credential is gone, and go on honouring it.
    pub fn lie_about_ends(&self) {
        self.world().lies = true;
    }

    /// From now until mended, a backend answers nothing, and does nothing.
    pub fn hang(&self, backend: &Name) {
        self.world().hung.insert(backend.clone());
    }

    /// What credentials left behind and nobody has tidied up.
    #[must_use]
    pub fn debris(&self) -> Vec<Handle> {
        self.world().debris.keys().map(Handle::new).collect()
    }

    /// Hold back the answer to the next call of that kind, after the backend has done as it does.
    pub fn hold_next(&self, call: SandboxCall) -> HeldAnswer {
        let (held, late) = HeldAnswer::new();
        self.world().late.entry(call).or_default().push_back(late);
        held
    }

    /// Take all faults away.
    pub fn mend(&self) {
        let mut world = self.world();
        world.faults.clear();
        world.broken.clear();
        world.lies = false;
        world.hung.clear();
    }

    /// How often it was asked so, failures included.
    #[must_use]
    pub fn calls(&self, call: SandboxCall) -> u64 {
        self.world().calls.get(&call).copied().unwrap_or(0)
    }

    /// Every handle for which a credential was ever made.
    #[must_use]
    pub fn ever_minted(&self) -> Vec<Handle> {
        self.world().ever.iter().map(Handle::new).collect()
    }

    /// Do what was asked, or fail as told; then answer, at once or when it may.
    async fn act<T>(
        &self,
        call: SandboxCall,
        deed: impl FnOnce(&mut World) -> Result<T, MintError>,
    ) -> Result<T, MintError> {
        let answer = self.act_at_once(call, deed);
        let late = self.world().late.get_mut(&call).and_then(VecDeque::pop_front);
        if let Some(Late { acted, go }) = late {
            let _ = acted.send(());
            let _ = go.await;
        }
        answer
    }

    fn act_at_once<T>(
        &self,
        call: SandboxCall,
        deed: impl FnOnce(&mut World) -> Result<T, MintError>,
    ) -> Result<T, MintError> {
        let mut world = self.world();
        let count = world.calls.entry(call).or_default();
        *count = count.saturating_add(1);
        let next = world.faults.get_mut(&call).and_then(VecDeque::pop_front);
        match next.or_else(|| world.broken.get(&call).copied()) {
            None => deed(&mut world),
            Some(Fault::Refused) => Err(MintError::Refused("the sandbox was told to refuse".to_owned())),
            Some(Fault::Unavailable) => Err(MintError::Unavailable("the sandbox was told not to answer".to_owned())),
            Some(Fault::Unheard) => {
                // It acts whatever it would have answered; only the answer is lost.
                let _lost = deed(&mut world);
                Err(MintError::Unavailable("the sandbox acted, but its answer was lost".to_owned()))
            }
        }
    }
}

impl Held {
    fn works(&self, now: Timestamp) -> bool {
        self.active && now < self.honoured.ends_at
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Whether a credential leaves something behind that must be tidied up.
    #[serde(default)]
    debris: bool,
}

/// The native effect of a catalogue entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    /// What it would let its holder do, in a sentence for people.
    allows: Option<String>,
    /// Scopes of one bucket share a credential.
    #[serde(default)]
    bucket: String,
}

struct SandboxMinter {
    backend: Name,
    mark: String,
    leaves_debris: bool,
    sandbox: Arc<SandboxBackend>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    #[cfg(debug_assertions)]
    if let Some(url) = settings.rest.get("url").and_then(|url| url.as_str()?.parse().ok()) {
        return super::sandbox_outside::build(settings, deps, url);
    }
    let Some(sandbox) = &deps.sandbox else {
        return Err(MintError::Misconfigured(format!(
            "backend `{}`: the kind `sandbox` exists only in `hallpass dev`; configure a real backend instead",
            settings.name
        )));
    };
    let Settings { debris } = settings.read()?;
    Ok(Arc::new(SandboxMinter {
        backend: settings.name.clone(),
        mark: format!("{} {}", mark(&deps.issuer_url), deps.deployment),
        leaves_debris: debris,
        sandbox: Arc::clone(sandbox),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
    }))
}

impl SandboxMinter {
    /// Ask the backend, unless it hangs.
    async fn ask<T>(
        &self,
        call: SandboxCall,
        deed: impl FnOnce(&mut World) -> Result<T, MintError>,
    ) -> Result<T, MintError> {
        if self.sandbox.world().hung.contains(&self.backend) {
            return std::future::pending().await;
        }
        self.sandbox.act(call, deed).await
    }
}

#[async_trait]
impl Minter for SandboxMinter {
    fn kind(&self) -> &'static str {
        "sandbox"
    }

    fn revocability(&self) -> Revocability {
        Revocability { how: "the sandbox forgets it", strength: "immediate" }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        read_effect(entry).map(|effect: Effect| effect.bucket)
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        if order.confirmation_key.is_some() {
            return Err(MintError::Unsupported("the sandbox cannot bind a credential to a key".to_owned()));
        }
        let mut bucket: Option<String> = None;
        let mut summary = Vec::with_capacity(order.scopes.len());
        for (scope, entry) in &order.scopes {
            let effect: Effect = read_effect(entry)?;
            if bucket.as_ref().is_some_and(|first| *first != effect.bucket) {
                return Err(MintError::Unsupported("one credential is of one bucket".to_owned()));
            }
            bucket = Some(effect.bucket);
            let allows = effect.allows.unwrap_or_else(|| entry.description.clone());
            summary.push(format!("sandbox secret permits {scope} for {}: {allows}", order.ttl));
        }
        let bucket = bucket.ok_or_else(|| MintError::Unsupported("no scopes".to_owned()))?;
        let scopes: Vec<&Scope> = order.scopes.iter().map(|(scope, _)| *scope).collect();
        let effect = canonical(&json!({
            "backend": self.backend,
            "kind": self.kind(),
            "bucket": bucket,
            "agent": order.agent,
            "scopes": scopes,
            "ttl_seconds": order.ttl.as_secs(),
        }))?;
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary,
            handle: Handle::new(order.lease.to_string()),
            ends_at: order.ends_at,
            native_end: order.ends_at,
            native: json!({ "scopes": scopes }),
        })
    }

    /// Born disabled. Minted again, the new secret takes the place of the old one.
    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let scopes = plan.native.get("scopes").map(Vec::<Scope>::deserialize).and_then(Result::ok);
        let scopes = scopes.ok_or_else(|| MintError::Unsupported("the plan is not one of a sandbox".to_owned()))?;
        let mut random = [0_u8; 32];
        self.entropy.fill(&mut random);
        let token = SecretString::from(format!("sbx_{}", data_encoding::BASE64URL_NOPAD.encode(&random)));
        let now = self.clock.now();
        self.ask(SandboxCall::Mint, |world| {
            world.held.retain(|_, held| now < held.honoured.ends_at);
            world.ever.insert(plan.handle.to_string());
            let honoured = Honoured {
                handle: plan.handle.clone(),
                backend: self.backend.clone(),
                scopes,
                ends_at: plan.native_end,
            };
            let held = Held { secret: sha256(token.expose_secret()), active: false, mark: self.mark.clone(), honoured };
            world.held.insert(plan.handle.to_string(), held);
            Ok(())
        })
        .await?;
        let fingerprint = fingerprint(token.expose_secret());
        Ok(Minted { kind: "sandbox", values: BTreeMap::from([("token", token)]), fingerprint, kept: None })
    }

    async fn activate(&self, handle: &Handle) -> Result<(), MintError> {
        self.ask(SandboxCall::Activate, |world| match world.held.get_mut(handle.as_str()) {
            Some(held) => {
                held.active = true;
                Ok(())
            }
            None => Err(MintError::Refused(format!("the sandbox holds no {handle}"))),
        })
        .await
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        self.ask(SandboxCall::Revoke, |world| {
            if world.lies {
                return Ok(Revoked::Gone("the sandbox has forgotten it".to_owned()));
            }
            Ok(Revoked::Gone(match world.held.remove(credential.handle.as_str()) {
                Some(held) => {
                    if self.leaves_debris {
                        world.debris.insert(credential.handle.to_string(), (self.backend.clone(), held.mark));
                    }
                    "the sandbox has forgotten it".to_owned()
                }
                None => "the sandbox holds no such credential".to_owned(),
            }))
        })
        .await
    }

    fn needs_cleanup(&self) -> bool {
        self.leaves_debris
    }

    async fn cleanup(&self, credential: CredentialRef<'_>) -> Result<(), MintError> {
        self.ask(SandboxCall::Cleanup, |world| {
            world.debris.remove(credential.handle.as_str());
            Ok(())
        })
        .await
    }

    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        let now = self.clock.now();
        self.ask(SandboxCall::Probe, |world| {
            let works = world.held.get(credential.handle.as_str()).is_some_and(|held| held.works(now));
            Ok(if works { Probe::Honoured } else { Probe::Refused })
        })
        .await
    }

    /// Disabled credentials are listed too: they could still be let to work; and what is left to be tidied up.
    async fn inventory(&self) -> Result<Inventory, MintError> {
        let now = self.clock.now();
        self.ask(SandboxCall::Inventory, |world| {
            let held = world.held.iter().filter(|(_, held)| now < held.honoured.ends_at);
            let held = held.map(|(handle, held)| (handle, &held.honoured.backend, &held.mark));
            let left = world.debris.iter().map(|(handle, (backend, mark))| (handle, backend, mark));
            let ours = held.chain(left).filter(|(_, backend, mark)| **backend == self.backend && **mark == self.mark);
            Ok(Inventory::Complete(
                ours.map(|(name, ..)| Found { handle: Handle::new(name), lease: name.parse().ok() }).collect(),
            ))
        })
        .await
    }
}

//! Kind `ssh`: OpenSSH user certificates, signed here by an authority that hosts trust. Nothing outside is asked when one is
//! minted, and no host asks us: it ends early by a revocation list that hosts fetch, and is called gone only when they have.

mod effect;
mod keys;
mod krl;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{PrivateKey, PublicKey};

use self::effect::{Effect, Permits, permits};
use super::listing::Listing;
use super::settings::canonical;
use super::{
    BackendSettings, CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Over, Probe,
    Revocability, RevocationList, Revoked,
};
use crate::domain::{AgentId, CatalogueEntry, Handle, MintPlan, Name, Scope, Timestamp};
use crate::sys::{Clock, Entropy, SecretRef, SecretString, fingerprint, sha256};

/// How long before its mint a certificate is valid already, for hosts whose clocks are behind.
const BACKDATED_MILLIS: i64 = 30_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The private key of the authority that hosts trust, as `ssh-keygen -t ed25519` writes it.
    ca_key: SecretRef,
    /// A file to keep the revocation list in, for a host that shares it.
    #[serde(default)]
    krl_file: Option<PathBuf>,
    /// How often every host fetches the revocation list, at the longest.
    #[serde(default = "one_minute")]
    hosts_poll_seconds: u32,
}

const fn one_minute() -> u32 {
    60
}

/// What would be minted, as approvers are shown it.
#[derive(Serialize)]
struct Shown<'a> {
    agent: &'a AgentId,
    authority: String,
    backend: &'a Name,
    hosts_poll_seconds: u32,
    key: &'a str,
    kind: &'a str,
    #[serde(flatten)]
    permits: &'a Permits,
    scopes: Vec<&'a Scope>,
    ttl_seconds: u32,
}

/// What the plan keeps for the mint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    serial: u64,
    key_id: String,
    permits: Permits,
    valid_after: u64,
    valid_before: u64,
    /// The agent's key as OpenSSH writes it; a new one is made when it sent none.
    public_key: Option<String>,
}

struct SshMinter {
    backend: Name,
    authority: PrivateKey,
    hosts_poll_seconds: u32,
    listing: Listing,
    deployment: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let own: Settings = settings.read()?;
    let wrong = |why: String| MintError::Misconfigured(format!("backend `{}` of kind `ssh`: {why}", settings.name));
    if !(1..=3600).contains(&own.hosts_poll_seconds) {
        return Err(wrong("`hosts_poll_seconds` is 1 to 3600".to_owned()));
    }
    let secret = own.ca_key.below(&deps.folder);
    let text = secret.read().map_err(|why| wrong(format!("`ca_key`: {why}")))?;
    Ok(Arc::new(SshMinter {
        backend: settings.name.clone(),
        authority: keys::read_authority(&text).map_err(|why| wrong(format!("`ca_key`, {secret}: {why}")))?,
        hosts_poll_seconds: own.hosts_poll_seconds,
        listing: Listing::new("hosts", own.hosts_poll_seconds, own.krl_file.map(|file| deps.folder.join(file))),
        deployment: deps.deployment.clone(),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
    }))
}

/// The serial number of a lease's certificates: 64 bits of the digest of its id, which has 80 random ones. Never 0, which is that
/// of certificates without one.
fn serial_of(handle: &Handle) -> u64 {
    let digest = sha256(handle.as_str());
    digest.as_bytes().iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)).max(1)
}

fn summary(order: &MintOrder<'_>, permits: &Permits, key: Option<&str>) -> Vec<String> {
    let who = permits.principals.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
    let mut lines = vec![match &permits.force_command {
        None => format!("run any command as {who}"),
        Some(command) => format!("run `{command}` as {who}, and no other command"),
    }];
    lines.extend(permits.extensions.iter().map(|extension| extension.words().to_owned()));
    lines.push(match &permits.source_address {
        None => "from any address".to_owned(),
        Some(list) => format!("only from {list}"),
    });
    lines.push(match key {
        None => "anybody who holds the private key that is delivered with it can use it".to_owned(),
        Some(key) => format!("only the holder of the agent's key {key} can use it"),
    });
    for (scope, _) in &order.scopes {
        lines.push(format!("certificate for {scope} for {}", order.ttl));
    }
    lines
}

impl SshMinter {
    fn sign(&self, native: &Native) -> Result<Minted, ssh_key::Error> {
        let (key, private) = match &native.public_key {
            Some(text) => (PublicKey::from_openssh(text)?.key_data().clone(), None),
            None => keys::make(&native.key_id, &*self.entropy).map(|(key, private)| (key, Some(private)))?,
        };
        let mut nonce = vec![0_u8; 32];
        self.entropy.fill(&mut nonce);
        let mut builder = Builder::new(nonce, key, native.valid_after, native.valid_before)?;
        builder.serial(native.serial)?.cert_type(CertType::User)?.key_id(native.key_id.as_str())?;
        builder.comment(native.key_id.as_str())?;
        let permits = &native.permits;
        for principal in &permits.principals {
            builder.valid_principal(principal)?;
        }
        for (name, value) in [("force-command", &permits.force_command), ("source-address", &permits.source_address)] {
            if let Some(value) = value {
                builder.critical_option(name, value)?;
            }
        }
        for extension in &permits.extensions {
            builder.extension(extension.name(), "")?;
        }
        let certificate = builder.sign(&self.authority)?.to_openssh()?;
        let fingerprint = fingerprint(&certificate);
        let mut values = BTreeMap::from([("certificate", SecretString::from(certificate))]);
        values.extend(private.map(|private| ("private_key", private)));
        Ok(Minted { kind: "ssh", values, fingerprint, kept: None })
    }
}

#[async_trait]
impl Minter for SshMinter {
    fn kind(&self) -> &'static str {
        "ssh"
    }

    fn is_offline(&self) -> bool {
        true
    }

    fn revocability(&self) -> Revocability {
        Revocability {
            how: "hosts refuse new logins once they have fetched the revocation list; an open session goes on",
            strength: self.listing.strength(),
        }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Effect::read(entry)?.bucket()
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        let permits = permits(order)?;
        let seconds = |at: Timestamp| u64::try_from(at.as_secs()).unwrap_or(0);
        if order.ends_at.as_secs() <= order.now.as_secs() {
            return Err(MintError::Unsupported("less than one second is left for it to live".to_owned()));
        }
        let key = order.confirmation_key.map(|jwk| keys::of_agent(jwk, &self.authority)).transpose()?;
        let named = key.as_ref().map(keys::fingerprint);
        let unwritable = |error: String| MintError::Unsupported(format!("no canonical form: {error}"));
        let effect = canonical(&Shown {
            agent: order.agent,
            authority: keys::fingerprint(self.authority.public_key().key_data()),
            backend: &self.backend,
            hosts_poll_seconds: self.hosts_poll_seconds,
            key: named.as_deref().unwrap_or("made by the broker and delivered"),
            kind: self.kind(),
            permits: &permits,
            scopes: order.scopes.iter().map(|(scope, _)| *scope).collect(),
            ttl_seconds: order.ttl.as_secs(),
        })?;
        let handle = Handle::new(order.lease.to_string());
        let summary = summary(order, &permits, named.as_deref());
        let public_key = key.map(|key| PublicKey::new(key, "").to_openssh()).transpose();
        let native = Native {
            serial: serial_of(&handle),
            key_id: format!("{} {} {} {}", order.lease, order.task, order.agent, self.deployment),
            permits,
            valid_after: seconds(order.now.plus_millis(-BACKDATED_MILLIS)),
            valid_before: seconds(order.ends_at),
            public_key: public_key.map_err(|error| unwritable(error.to_string()))?,
        };
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary,
            handle,
            ends_at: order.ends_at,
            native_end: order.ends_at,
            native: json!(native),
        })
    }

    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let native = Native::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of an ssh backend: {error}")))?;
        self.sign(&native).map_err(|error| MintError::Unavailable(format!("no certificate could be made: {error}")))
    }

    /// Gone when every host that fetches the list as often as it should has one that lists it.
    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        Ok(self.listing.told(credential, self.clock.now()))
    }

    fn revocation_list(&self, over: &[Over<'_>], now: Timestamp) -> Option<RevocationList> {
        let serials: Vec<u64> = over.iter().map(|over| serial_of(over.credential.handle)).collect();
        // No media type is registered for it.
        Some(RevocationList { media_type: "application/octet-stream", bytes: krl::render(&serials, now) })
    }

    async fn publish(&self, over: &[Over<'_>], list: &RevocationList, now: Timestamp) -> Result<(), MintError> {
        self.listing.publish(over, &list.bytes, now).await
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        Ok(self.listing.check("krl_file").into_iter().collect())
    }

    /// Hosts honour a certificate without asking anybody, and none of them can be asked.
    async fn probe(&self, _credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        Ok(Probe::Unknown)
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        Ok(Inventory::Unlistable)
    }
}

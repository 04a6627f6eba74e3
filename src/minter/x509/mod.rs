//! Kind `x509`: TLS client certificates, signed here by an authority that servers trust. Nothing outside is asked when one is
//! minted, and no server asks us: it ends early by a revocation list that servers load, and is called gone only when they have.

mod authority;
mod certificate;
mod keys;
mod profile;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rcgen::PublicKeyData;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::authority::{Authority, certificates, pem, read_file};
use self::certificate::{BACKDATED_SECS, Facts, SERIAL_BYTES, issue, list};
use self::profile::{Effect, Profile};
use super::listing::Listing;
use super::settings::canonical;
use super::{
    BackendSettings, CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Over, Probe,
    Revocability, RevocationList, Revoked,
};
use crate::domain::{AgentId, CatalogueEntry, Handle, LeaseId, MintPlan, Name, Scope, Timestamp, Ttl};
use crate::sys::{Clock, SecretRef, SecretString, fingerprint, sha256};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The certificate of the authority that servers trust, and those above it, in PEM.
    ca_certificate: PathBuf,
    /// Its private key, as `openssl genpkey` writes it.
    ca_key: SecretRef,
    /// A file to keep the revocation list in, for a server that shares it.
    #[serde(default)]
    crl_file: Option<PathBuf>,
    /// How it is written there; the door always answers in DER.
    #[serde(default)]
    crl_form: Form,
    /// After how many seconds without a newer list servers refuse everybody.
    #[serde(default = "one_hour")]
    crl_valid_seconds: u32,
    /// Within how many seconds every server has loaded the list again.
    #[serde(default = "one_minute")]
    servers_poll_seconds: u32,
    /// What clients trust servers by, in PEM; handed out with each certificate.
    #[serde(default)]
    server_ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Pem,
    Der,
}

const fn one_hour() -> u32 {
    3600
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
    key: &'a str,
    kind: &'a str,
    #[serde(flatten)]
    profile: &'a Profile,
    scopes: Vec<&'a Scope>,
    servers_poll_seconds: u32,
    ttl_seconds: u32,
}

/// What the plan keeps for the mint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    lease: LeaseId,
    profile: Profile,
    reason: String,
    not_before: i64,
    not_after: i64,
    /// The agent's key as a JWK; a new one is made when it sent none.
    public_key: Option<String>,
}

struct X509Minter {
    backend: Name,
    authority: Authority,
    crl_form: Form,
    crl_valid_seconds: u32,
    servers_poll_seconds: u32,
    server_ca: Option<String>,
    /// Where the list is.
    list_url: String,
    listing: Listing,
    deployment: String,
    clock: Arc<dyn Clock>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let own: Settings = settings.read()?;
    let wrong = |why: String| MintError::Misconfigured(format!("backend `{}` of kind `x509`: {why}", settings.name));
    if !(1..=3600).contains(&own.servers_poll_seconds) {
        return Err(wrong("`servers_poll_seconds` is 1 to 3600".to_owned()));
    }
    // A list is made anew each minute, and loaded a poll later.
    let least = own.servers_poll_seconds.saturating_mul(2).saturating_add(120);
    if !(least..=604_800).contains(&own.crl_valid_seconds) {
        return Err(wrong(format!(
            "`crl_valid_seconds` is {least} (twice `servers_poll_seconds` and two minutes) to 604800"
        )));
    }
    let file =
        |name: &str, path: PathBuf| read_file(&deps.folder.join(path)).map_err(|why| wrong(format!("`{name}`: {why}")));
    let server_ca = own.server_ca.map(|path| {
        let text = String::from_utf8(file("server_ca", path)?).unwrap_or_default();
        match certificates(text.as_bytes()) {
            Ok(found) if !found.is_empty() => Ok(found.iter().map(|one| pem("CERTIFICATE", one).to_string()).collect()),
            Ok(_) => Err(wrong("`server_ca` has no certificate in PEM".to_owned())),
            Err(why) => Err(wrong(format!("`server_ca`: {why}"))),
        }
    });
    let chain = file("ca_certificate", own.ca_certificate)?;
    let key = own.ca_key.below(&deps.folder).read().map_err(|why| wrong(format!("`ca_key`: {why}")))?;
    Ok(Arc::new(X509Minter {
        backend: settings.name.clone(),
        authority: Authority::read(&chain, &key).map_err(wrong)?,
        crl_form: own.crl_form,
        crl_valid_seconds: own.crl_valid_seconds,
        servers_poll_seconds: own.servers_poll_seconds,
        server_ca: server_ca.transpose()?,
        list_url: format!("{}/v1/backends/{}/revocation-list", deps.issuer_url, settings.name),
        listing: Listing::new("servers", own.servers_poll_seconds, own.crl_file.map(|file| deps.folder.join(file))),
        deployment: deps.deployment.clone(),
        clock: Arc::clone(&deps.clock),
    }))
}

/// The serial number of a lease's certificates: 126 bits of the digest of its id. The list is public, and says no lease's id so.
/// It is positive, and has the same number of digits always.
fn serial_of(lease: LeaseId) -> [u8; SERIAL_BYTES] {
    let digest = sha256(lease.to_string());
    let mut serial = [0; SERIAL_BYTES];
    serial.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    serial
}

fn summary(order: &MintOrder<'_>, profile: &Profile, key: Option<&str>) -> Vec<String> {
    let subject = profile.subject().collect::<Vec<_>>().join(", ");
    let names = profile.names();
    let subject = (!subject.is_empty()).then_some(subject);
    let be = |name: String| format!("be {name} to every server that trusts the authority");
    let mut lines: Vec<String> = subject.into_iter().chain(names).map(be).collect();
    lines.push(match key {
        None => "anybody who holds the private key that is delivered with it can use it".to_owned(),
        Some(key) => format!("only the holder of the agent's key {key} can use it"),
    });
    for (scope, _) in &order.scopes {
        lines.push(format!("certificate for {scope} for {}", order.ttl));
    }
    lines
}

impl X509Minter {
    /// The name of a lease's certificates: their serial number, as servers log it, and whose it is. What another authority signed is
    /// on no list of ours.
    fn handle_of(&self, lease: LeaseId) -> Handle {
        Handle::new(format!("{}.{}", data_encoding::HEXUPPER.encode(&serial_of(lease)), self.authority.tag))
    }

    /// The serial number of a credential, if the authority is still the one that signed it.
    fn ours(&self, handle: &Handle) -> Option<[u8; SERIAL_BYTES]> {
        let (serial, tag) = handle.as_str().split_once('.')?;
        let serial = data_encoding::HEXUPPER.decode(serial.as_bytes()).ok().filter(|_| tag == self.authority.tag)?;
        serial.try_into().ok()
    }

    fn sign(&self, native: &Native) -> Result<Minted, MintError> {
        let failed = |error: rcgen::Error| MintError::Unavailable(format!("no certificate could be made: {error}"));
        let (certificate, private) = if let Some(jwk) = &native.public_key {
            (self.certify(native, &keys::of_agent(jwk, &self.authority)?.0), None)
        } else {
            let (key, private) = keys::make().map_err(failed)?;
            (self.certify(native, &key), Some(private))
        };
        let own = pem("CERTIFICATE", certificate.map_err(failed)?.der());
        let text = [own.as_str(), &self.authority.chain].concat();
        let fingerprint = fingerprint(&text);
        let mut values = BTreeMap::from([("certificate", SecretString::from(text))]);
        values.extend(private.map(|private| ("private_key", private)));
        values.extend(self.server_ca.as_ref().map(|text| ("server_ca", SecretString::from(text.as_str()))));
        Ok(Minted { kind: "x509", values, fingerprint, kept: None })
    }

    fn certify(&self, native: &Native, key: &impl PublicKeyData) -> Result<rcgen::Certificate, rcgen::Error> {
        let facts = Facts {
            serial: serial_of(native.lease),
            profile: Some(&native.profile),
            reason: &native.reason,
            not_before: native.not_before,
            not_after: native.not_after,
            list_url: &self.list_url,
        };
        issue(&facts, key, &self.authority)
    }

    /// The last second of a certificate that ends then. Servers differ in whether they take it for valid in that second, so it
    /// is the last one that begins before the end.
    fn last_second(&self, order: &MintOrder<'_>) -> Result<i64, MintError> {
        let last = order.ends_at.plus_millis(-1).as_secs();
        if last <= order.now.as_secs() {
            return Err(MintError::Unsupported("less than a second is left for it to live".to_owned()));
        }
        if last > self.authority.not_after {
            let until = Timestamp::from_secs(self.authority.not_after);
            let why = format!("the authority's certificate is valid until {until} only; ask for less time");
            return Err(MintError::Unsupported(why));
        }
        Ok(last)
    }
}

#[async_trait]
impl Minter for X509Minter {
    fn kind(&self) -> &'static str {
        "x509"
    }

    fn is_offline(&self) -> bool {
        true
    }

    fn revocability(&self) -> Revocability {
        Revocability {
            how: "servers refuse new connections once they have loaded the revocation list; an open connection goes on",
            strength: self.listing.strength(),
        }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Effect::read(entry)?.bucket()
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        let profile = Profile::of(order)?;
        let not_after = self.last_second(order)?;
        let key = order.confirmation_key.map(|jwk| keys::of_agent(jwk, &self.authority)).transpose()?;
        let named = key.as_ref().map(|(_, thumbprint)| thumbprint.as_str());
        let effect = canonical(&Shown {
            agent: order.agent,
            authority: format!("{} ({})", self.authority.subject, self.authority.tag),
            backend: &self.backend,
            key: named.unwrap_or("made by the broker and delivered"),
            kind: self.kind(),
            profile: &profile,
            scopes: order.scopes.iter().map(|(scope, _)| *scope).collect(),
            servers_poll_seconds: self.servers_poll_seconds,
            ttl_seconds: order.ttl.as_secs(),
        })?;
        let summary = summary(order, &profile, named);
        let native = Native {
            lease: order.lease,
            profile,
            reason: format!("{} {} {} {}", order.lease, order.task, order.agent, self.deployment),
            not_before: order.now.as_secs().saturating_sub(BACKDATED_SECS).max(self.authority.not_before),
            not_after,
            public_key: order.confirmation_key.map(str::to_owned),
        };
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary,
            handle: self.handle_of(order.lease),
            ends_at: order.ends_at,
            // The end of its last second, for servers that take it for valid in it.
            native_end: Timestamp::from_secs(not_after.saturating_add(1)),
            native: json!(native),
        })
    }

    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let native = Native::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of an x509 backend: {error}")))?;
        self.sign(&native)
    }

    /// Gone when every server that loads the list as often as it should has one that lists it. What another authority signed
    /// ends by itself.
    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        Ok(match self.ours(credential.handle) {
            Some(_) => self.listing.told(credential, self.clock.now()),
            None => Revoked::EndsBy(credential.native_end),
        })
    }

    fn revocation_list(&self, over: &[Over<'_>], now: Timestamp) -> Option<RevocationList> {
        let over = over.iter().filter_map(|over| Some((*over, self.ours(over.credential.handle)?)));
        let over: Vec<_> = over.collect();
        match list(&over, now, self.crl_valid_seconds, &self.authority) {
            Ok(bytes) => Some(RevocationList { media_type: "application/pkix-crl", bytes }),
            Err(error) => {
                tracing::error!(backend = %self.backend, %error, "a revocation list could not be signed");
                None
            }
        }
    }

    async fn publish(&self, over: &[Over<'_>], list: &RevocationList, now: Timestamp) -> Result<(), MintError> {
        match self.crl_form {
            Form::Pem => self.listing.publish(over, pem("X509 CRL", &list.bytes).as_bytes(), now).await,
            Form::Der => self.listing.publish(over, &list.bytes, now).await,
        }
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        let life = self.authority.check(self.clock.now(), i64::from(Ttl::MAX_SECS));
        Ok(life.into_iter().chain(self.listing.check("crl_file")).collect())
    }

    /// Servers honour a certificate without asking anybody, and none of them can be asked.
    async fn probe(&self, _credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        Ok(Probe::Unknown)
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        Ok(Inventory::Unlistable)
    }
}

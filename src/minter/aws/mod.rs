//! Kind `aws`: sessions of IAM roles by STS `AssumeRole`, each under a session policy that allows what the scopes say until the end of
//! the lease and nothing afterwards, however long AWS keeps the session. Before that one session alone can be ended by a denial
//! in its role, which takes IAM minutes to pass on; so the end is said to be by then, and gone only afterwards.

mod connector;
mod deny;
mod doctor;
mod effect;
mod handle;
mod iam;
mod own;
mod pattern;
mod plan;
mod policy;
mod settings;
mod sts;
mod template;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use serde::Deserialize as _;

use self::connector::Connector;
use self::deny::Denials;
use self::effect::Effect;
use self::handle::SessionHandle;
use self::iam::Iam;
use self::own::Own;
use self::plan::Native;
use self::policy::session_policy;
use self::settings::{ExternalId, Role, SESSION_SECONDS, Settings, iam_of, partition};
use self::sts::{Ask, Session};
use super::{
    BackendSettings, CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Over, Probe,
    Revocability, RevocationList, Revoked, mark,
};
use crate::domain::{CatalogueEntry, MintPlan, Name, Timestamp};
use crate::minter::settings::without_form;
use crate::sys::{Clock, HttpClient, SecretString, canonical_json, fingerprint, read_ca_file, sha256};

/// By how much the hard stop may be late by our clock, in milliseconds: an answer says the time in whole seconds.
const MAX_LATE_MILLIS: i64 = 2_000;

struct AwsMinter {
    backend: Name,
    settings: Settings,
    roles: BTreeMap<Name, Vec<Role>>,
    external_id: Option<ExternalId>,
    sts: aws_sdk_sts::Client,
    connector: Connector,
    denials: Denials,
    deployment: String,
    clock: Arc<dyn Clock>,
    /// By how many milliseconds AWS's clock is ahead of ours, where that is worth a thought.
    ahead_millis: AtomicI64,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let wrong = |why: String| MintError::Misconfigured(format!("backend `{}`: {why}", settings.name));
    let read: Settings = settings.read()?;
    read.check().map_err(wrong)?;
    let roles = read.roles().map_err(wrong)?;
    let external_id = read.external_id.clone().map(|id| id.below(&deps.folder));
    if let Some(id) = &external_id {
        id.read().map_err(wrong)?;
    }
    let authorities =
        read.ca_file.as_ref().map(|file| read_ca_file(&deps.folder.join(file))).transpose().map_err(wrong)?;
    let http = HttpClient::new(authorities.as_deref()).map_err(|error| wrong(error.to_string()))?;
    let connector =
        Connector { http, allow_private: read.allow_private, clock: Arc::clone(&deps.clock), seen: Arc::default() };
    let own = Own::of(&read, &connector, deps).map_err(wrong)?;
    let (iam_url, iam_region) = iam_of(partition(&read.region));
    let iam_url = read.iam_endpoint.clone().map_or_else(|| iam_url.parse(), Ok);
    let denials = Denials {
        iam: Iam {
            endpoint: iam_url.map_err(|error| wrong(format!("`iam_endpoint`: {error}")))?,
            region: iam_region.to_owned(),
            connector: connector.clone(),
            own: own.clone(),
        },
        policy: format!("hallpass-{}-{}", mark(&deps.issuer_url), settings.name),
        room: read.deny_policy_chars,
        settle_millis: i64::from(read.settle_seconds).saturating_mul(1000),
        clock: Arc::clone(&deps.clock),
        roles: roles.values().flatten().map(|role| role.arn.clone()).collect(),
        known: std::sync::Mutex::default(),
    };
    Ok(Arc::new(AwsMinter {
        backend: settings.name.clone(),
        sts: sts::client(&connector, &read.region, read.sts_endpoint.as_ref(), Some(own)),
        settings: read,
        roles,
        external_id,
        connector,
        denials,
        deployment: deps.deployment.clone(),
        clock: Arc::clone(&deps.clock),
        ahead_millis: AtomicI64::new(0),
    }))
}

/// A moment as policies have it; cut to the second, so never later than it is.
fn in_policy(at: Timestamp) -> String {
    Timestamp::from_secs(at.as_secs()).to_string()
}

impl AwsMinter {
    /// A session whose hard stop is right by our clock. AWS goes by its own, so when that turns out to differ another session is
    /// asked for, with a hard stop that makes up for it; the first one's credentials are held by nobody.
    async fn session(&self, plan: &MintPlan, native: &Native, seconds: i32) -> Result<Session, MintError> {
        let handle = SessionHandle::read(&plan.handle)?;
        let external_id = self.external_id.as_ref().map(ExternalId::read).transpose();
        let external_id = external_id.map_err(MintError::Misconfigured)?;
        let source_identity = native.lease.to_string();
        for _ in 0..2 {
            let ahead = self.ahead_millis.load(Ordering::Relaxed);
            let policy = session_policy(&native.allows, &in_policy(plan.ends_at.plus_millis(ahead)));
            let policy = policy.map_err(without_form)?;
            let ask = Ask {
                role_arn: &handle.role_arn,
                session: &handle.name,
                source_identity: &source_identity,
                policy: &policy,
                seconds,
                tags: &native.tags,
                external_id: external_id.as_deref(),
            };
            let session = sts::assume_role(&self.sts, &ask).await?;
            self.denials.note_role_id(&handle.role_arn, &session.role_id);
            let their_now = session.expiration.plus_millis(i64::from(seconds).saturating_mul(-1000));
            let measured = their_now.millis_since(self.clock.now());
            let late = ahead.saturating_sub(measured);
            if late.abs() > MAX_LATE_MILLIS {
                tracing::warn!(backend = %self.backend, ahead_millis = measured, "AWS's clock differs from ours");
                self.ahead_millis.store(measured, Ordering::Relaxed);
            }
            if late <= MAX_LATE_MILLIS {
                return Ok(session);
            }
        }
        Err(MintError::Refused("AWS's clock and ours go apart: have both follow the same time (NTP)".to_owned()))
    }
}

#[async_trait]
impl Minter for AwsMinter {
    fn kind(&self) -> &'static str {
        "aws"
    }

    fn revocability(&self) -> Revocability {
        if self.settings.deny_role_policy {
            Revocability {
                how: "a policy of its role denies it everything, which AWS takes minutes to pass on; at the end of the lease its \
                      own policy does",
                strength: "within_minutes",
            }
        } else {
            Revocability {
                how: "at the end of the lease its own policy denies it everything; nothing ends it earlier",
                strength: "at_native_end",
            }
        }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Ok(Effect::read(entry, &self.roles)?.bucket())
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        self.planned(order)
    }

    /// Minted again, the new session has the same name, and ends with it as the old one does.
    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let native = Native::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of an aws backend: {error}")))?;
        let left_millis = plan.ends_at.millis_since(self.clock.now());
        if left_millis <= 0 {
            return Err(MintError::Refused("the plan is too old: its end has passed".to_owned()));
        }
        let seconds = i32::try_from(left_millis.saturating_add(999) / 1000).unwrap_or(i32::MAX);
        let seconds = seconds.max(i32::try_from(*SESSION_SECONDS.start()).unwrap_or(900));
        let session = self.session(plan, &native, seconds).await?;
        let fingerprint = fingerprint(crate::sys::ExposeSecret::expose_secret(&session.token));
        let values = BTreeMap::from([
            ("access_key_id", SecretString::from(session.access_key_id)),
            ("secret_access_key", session.secret_access_key),
            ("session_token", session.token),
            ("expiration", SecretString::from(in_policy(session.expiration.min(plan.ends_at)))),
            ("region", SecretString::from(self.settings.region.as_str())),
        ]);
        Ok(Minted { kind: "aws", values, fingerprint, kept: None })
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        if self.settings.deny_role_policy {
            return self.denials.ends(credential.handle, credential.native_end);
        }
        Ok(Revoked::EndsBy(credential.native_end))
    }

    /// No verifier fetches it: it is the chore that publishes lists which puts the denials. So it names nobody.
    fn revocation_list(&self, over: &[Over<'_>], _now: Timestamp) -> Option<RevocationList> {
        let name = |over: &Over<'_>| sha256(over.credential.handle.as_str()).to_string();
        let names: Vec<String> = over.iter().map(name).collect();
        let bytes = canonical_json(&names).unwrap_or_default().into_bytes();
        self.settings.deny_role_policy.then_some(RevocationList { media_type: "application/json", bytes })
    }

    async fn publish(&self, over: &[Over<'_>], _: &RevocationList, now: Timestamp) -> Result<(), MintError> {
        self.denials.put(over, now).await
    }

    /// Only its holder could use it to find out; the broker does not keep it for that.
    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        if credential.native_end <= self.clock.now() {
            return Ok(Probe::Refused);
        }
        if self.settings.deny_role_policy {
            return self.denials.probe(credential.handle).await;
        }
        Ok(Probe::Unknown)
    }

    /// STS lists no sessions.
    async fn inventory(&self) -> Result<Inventory, MintError> {
        Ok(Inventory::Unlistable)
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        doctor::check(self).await
    }
}

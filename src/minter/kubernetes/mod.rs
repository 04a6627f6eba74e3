//! Kind `kubernetes`: tokens of service accounts by `TokenRequest`, each bound to a Secret that exists for its lease alone. Deleting
//! that Secret ends the token, which an API server may yet accept for the ten seconds that it remembers having done so; so the
//! end is said to be by then, and gone only afterwards.

mod api;
mod doctor;
mod effect;
mod names;
mod objects;
mod settings;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::http::Method;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::api::{Api, Ask, Part, Reply};
use self::effect::{Account, Rule, Target};
use self::objects::{Kind, Marks, Ours, Place, Reason, Removal};
use self::settings::Settings;
use self::settling::Settling;
use super::{
    BackendSettings, CredentialRef, Found, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe,
    Revocability, Revoked, mark,
};
use crate::domain::{CatalogueEntry, Handle, LeaseId, MintPlan, Name, TaskId, Timestamp};
use crate::minter::settings::{sorted, without_form};
use crate::sys::{Clock, HttpClient, SecretString, fingerprint, read_ca_file, sha256};

/// The shortest life that an API server gives a token.
const MIN_EXPIRATION_SECONDS: u32 = 600;
/// For how long a token is honoured after its expiry, and a Secret that is marked as deleted counts as there: the leeway of an
/// API server's JWT library.
const LEEWAY_MILLIS: i64 = 60_000;
/// How much later than planned a mint may be, with what the clocks differ by.
const ROOM_MILLIS: i64 = 30_000;

/// What would be minted, as approvers are shown it; its members stand in canonical order.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_of_its_own: Option<&'a BTreeSet<Rule>>,
    agent: &'a str,
    audiences: &'a BTreeSet<String>,
    backend: &'a Name,
    expiration_seconds: u32,
    kind: &'a str,
    namespace: &'a str,
    scopes: Vec<String>,
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<&'a str>,
    ttl_seconds: u32,
}

/// What the plan keeps for the mint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    agent: String,
    lease: LeaseId,
    target: Target,
    task: TaskId,
}

/// What of a `TokenRequest` comes back.
#[derive(Deserialize)]
struct TokenRequest {
    status: TokenStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenStatus {
    #[serde(deserialize_with = "secret")]
    token: SecretString,
    expiration_timestamp: String,
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    String::deserialize(from).map(SecretString::from)
}

struct KubernetesMinter {
    backend: Name,
    settings: Settings,
    api: Api,
    marks: Marks,
    settling: Settling,
    clock: Arc<dyn Clock>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let wrong = |why: String| MintError::Misconfigured(format!("backend `{}`: {why}", settings.name));
    let read: Settings = settings.read()?;
    read.check(settings.name.as_str()).map_err(wrong)?;
    let ca = read.ca_file.as_ref().map(|file| read_ca_file(&deps.folder.join(file))).transpose().map_err(wrong)?;
    let http = HttpClient::new(ca.as_deref()).map_err(|error| wrong(format!("`ca_file`: {error}")))?;
    let token = read.token.clone().below(&deps.folder);
    token.read().map_err(|why| wrong(format!("`token`: {why}")))?;
    Ok(Arc::new(KubernetesMinter {
        backend: settings.name.clone(),
        api: Api { base: read.url.clone(), http, token, ca: ca.and_then(|pem| String::from_utf8(pem).ok()) },
        marks: Marks {
            deployment: format!("{}.{}", mark(&deps.issuer_url), deps.deployment),
            backend: settings.name.to_string(),
        },
        settling: Settling::new(i64::from(read.cache_seconds).saturating_mul(1000)),
        settings: read,
        clock: Arc::clone(&deps.clock),
    }))
}

impl KubernetesMinter {
    fn cache_millis(&self) -> i64 {
        i64::from(self.settings.cache_seconds).saturating_mul(1000)
    }

    fn expiration_seconds(order: &MintOrder<'_>) -> u32 {
        order.ttl.as_secs().max(MIN_EXPIRATION_SECONDS)
    }

    /// When nothing honours a token any more that is asked for a little after `now`.
    fn native_end(&self, now: Timestamp, ends_at: Timestamp) -> Timestamp {
        let expiry = ends_at.max(now.plus_millis(i64::from(MIN_EXPIRATION_SECONDS).saturating_mul(1000)));
        expiry.plus_millis(LEEWAY_MILLIS.saturating_add(self.cache_millis()).saturating_add(ROOM_MILLIS))
    }

    /// From when on nothing honours what is bound to a Secret that is gone, or marked as deleted.
    fn settles_at(&self, handle: &Handle, left: Option<&Ours>) -> Timestamp {
        let now = self.clock.now();
        match left.map(|ours| ours.doomed_millis.unwrap_or(0)) {
            None => self.settling.settles_at(handle, now),
            Some(for_millis) => {
                now.plus_millis(LEEWAY_MILLIS.saturating_add(self.cache_millis()).saturating_sub(for_millis))
            }
        }
    }

    async fn create_account(
        &self,
        place: &Place,
        reason: Reason<'_>,
        rules: &BTreeSet<Rule>,
        secret: &str,
    ) -> Result<(), MintError> {
        let account = self.marks.object(
            Kind::ServiceAccount,
            place,
            reason,
            Some(secret),
            json!({ "automountServiceAccountToken": false }),
        );
        self.api.ensure(Kind::ServiceAccount, place, &self.marks, account).await?;
        let role = self.marks.object(Kind::Role, place, reason, Some(secret), json!({ "rules": rules }));
        self.api.ensure(Kind::Role, place, &self.marks, role).await?;
        Ok(())
    }

    async fn request_token(
        &self,
        place: &Place,
        target: &Target,
        secret: &Ours,
        seconds: i64,
    ) -> Result<(TokenStatus, Option<Timestamp>), MintError> {
        let own = place.name();
        let account = match &target.account {
            Account::Shared(account) => account,
            Account::Own(_) => &own,
        };
        let reply: Reply<TokenRequest> = self
            .api
            .ask(Ask {
                method: Method::POST,
                path: &["api", "v1", "namespaces", &place.namespace, "serviceaccounts", account, "token"],
                query: &[],
                body: Some(json!({
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {
                        "audiences": target.audiences,
                        "expirationSeconds": seconds,
                        "boundObjectRef": {
                            "apiVersion": "v1",
                            "kind": "Secret",
                            "name": own,
                            "uid": secret.uid,
                        },
                    },
                })),
                part: Part::Whole,
            })
            .await?;
        let date = reply.date;
        Ok((reply.yes()?.status, date))
    }
}

#[async_trait]
impl Minter for KubernetesMinter {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn revocability(&self) -> Revocability {
        Revocability {
            how: "its Secret is deleted; an API server forgets within 12 s that it accepted the token",
            strength: if self.settings.cache_seconds < 60 { "within_seconds" } else { "within_minutes" },
        }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        effect::bucket(entry, &self.settings)
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        if order.confirmation_key.is_some() {
            return Err(MintError::Unsupported("an API server cannot bind a token to a key".to_owned()));
        }
        let target = effect::target(order, &self.settings)?;
        let (expiration_seconds, native_end) =
            (Self::expiration_seconds(order), self.native_end(order.now, order.ends_at));
        let (rules, account) = match &target.account {
            Account::Own(rules) => (Some(rules), None),
            Account::Shared(account) => (None, Some(account.as_str())),
        };
        let effect = sorted(&Shown {
            account_of_its_own: rules,
            agent: order.agent.as_str(),
            audiences: &target.audiences,
            backend: &self.backend,
            expiration_seconds,
            kind: self.kind(),
            namespace: &target.namespace,
            scopes: order.scopes.iter().map(|(scope, _)| scope.to_string()).collect(),
            server: self.settings.url.as_str(),
            service_account: account,
            ttl_seconds: order.ttl.as_secs(),
        })?;
        let place = Place { namespace: target.namespace.clone(), lease: order.lease, own: rules.is_some() };
        let honoured = self.native_end(order.now, order.now).millis_since(order.now) / 1000;
        let summary = target.summary(order, expiration_seconds, honoured);
        let native = Native { agent: order.agent.to_string(), lease: order.lease, target, task: order.task };
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary,
            handle: place.handle(),
            ends_at: order.ends_at,
            native_end,
            native: serde_json::to_value(native).map_err(without_form)?,
        })
    }

    /// Minted again, the new token is bound to the same Secret, and ends with it as the old one does.
    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let native = Native::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of a kubernetes backend: {error}")))?;
        let place = Place::read(&plan.handle)?;
        let now = self.clock.now();
        let left_seconds = plan.ends_at.millis_since(now) / 1000;
        let seconds = left_seconds.max(i64::from(MIN_EXPIRATION_SECONDS));
        let outlives = |life_millis: i64| {
            now.plus_millis(life_millis.saturating_add(LEEWAY_MILLIS).saturating_add(self.cache_millis()))
                > plan.native_end
        };
        if left_seconds <= 0 || outlives(seconds.saturating_mul(1000)) {
            return Err(MintError::Refused("the plan is too old: its token would outlive it".to_owned()));
        }
        let task = native.task.to_string();
        let reason = Reason { task: &task, agent: &native.agent, native_end: plan.native_end };
        let secret =
            self.marks.object(Kind::Secret, &place, reason, None, json!({ "type": "Opaque", "immutable": true }));
        self.settling.is_there(&plan.handle);
        let secret = self.api.ensure(Kind::Secret, &place, &self.marks, secret).await?;
        if let Account::Own(rules) = &native.target.account {
            self.create_account(&place, reason, rules, &secret.uid).await?;
        }
        let (status, date) = self.request_token(&place, &native.target, &secret, seconds).await?;
        let expires_at = api::time(&status.expiration_timestamp)
            .ok_or_else(|| MintError::Refused("the API server does not say when the token expires".to_owned()))?;
        // How long it lives by the server's own clock; a server may give more than it was asked for.
        if outlives(expires_at.millis_since(date.unwrap_or(now))) {
            self.api.remove(Kind::Secret, &place, &self.marks).await?;
            return Err(MintError::Refused(format!(
                "the API server gave a token until {expires_at}, longer than the {seconds} s it was asked for"
            )));
        }
        let mut values = BTreeMap::from([
            ("namespace", SecretString::from(place.namespace)),
            ("expires_at", SecretString::from(expires_at.min(plan.ends_at).to_string())),
            ("token", status.token),
        ]);
        values.extend(self.api.reached_by());
        let fingerprint = values.get("token").map(|token| fingerprint(crate::sys::ExposeSecret::expose_secret(token)));
        Ok(Minted { kind: "kubernetes_token", values, fingerprint: fingerprint.unwrap_or_default(), kept: None })
    }

    /// An account of the lease's own can do nothing until it is bound to its Role.
    async fn activate(&self, handle: &Handle) -> Result<(), MintError> {
        let place = Place::read(handle)?;
        if !place.own {
            return Ok(());
        }
        let secret = self.api.find(Kind::Secret, &place, &self.marks).await?;
        let Some(secret) = secret.filter(|secret| secret.doomed_millis.is_none()) else {
            return Err(MintError::Refused(format!("`{handle}` is gone")));
        };
        let name = place.name();
        let binding = self.marks.object(
            Kind::RoleBinding,
            &place,
            secret.reason(self.clock.now()),
            Some(&secret.uid),
            json!({
                "roleRef": { "apiGroup": Kind::Role.group(), "kind": "Role", "name": name },
                "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": place.namespace }],
            }),
        );
        self.api.ensure(Kind::RoleBinding, &place, &self.marks, binding).await?;
        Ok(())
    }

    /// The rights go first, where they are the lease's own: that ends them at once, whatever is remembered of the token.
    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        let place = Place::read(credential.handle)?;
        if place.own {
            self.api.remove(Kind::RoleBinding, &place, &self.marks).await?;
        }
        let removal = self.api.remove(Kind::Secret, &place, &self.marks).await?;
        if place.own {
            self.api.remove(Kind::ServiceAccount, &place, &self.marks).await?;
            self.api.remove(Kind::Role, &place, &self.marks).await?;
        }
        let left = match removal {
            Removal::WasGone => None,
            Removal::Deleted => {
                // It was there until now, whatever was seen before: a mint may have landed late.
                self.settling.is_there(credential.handle);
                None
            }
            Removal::Doomed(secret) => Some(secret),
        };
        let settles_at = self.settles_at(credential.handle, left.as_ref());
        if settles_at > self.clock.now() {
            return Ok(Revoked::EndsBy(settles_at));
        }
        let (namespace, name) = (&place.namespace, place.name());
        Ok(Revoked::Gone(format!("the Secret {namespace}/{name} is gone, and with it since {settles_at} its token")))
    }

    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        let place = Place::read(credential.handle)?;
        let secret = self.api.find(Kind::Secret, &place, &self.marks).await?;
        let now = self.clock.now();
        let expired = secret.as_ref().and_then(|secret| secret.native_end).is_some_and(|end| end <= now);
        Ok(match &secret {
            Some(_) if expired => Probe::Refused,
            Some(Ours { doomed_millis: None, .. }) => {
                self.settling.is_there(credential.handle);
                Probe::Honoured
            }
            left => match (left, self.settles_at(credential.handle, left.as_ref()) <= now) {
                (_, true) => Probe::Refused,
                (Some(_), false) => Probe::Honoured,
                // Whether it is still remembered, only whoever has the token could find out.
                (None, false) => Probe::Unknown,
            },
        })
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for namespace in &self.settings.namespaces {
            for kind in Kind::ALL.into_iter().filter(|kind| self.settings.own_accounts || *kind == Kind::Secret) {
                for place in self.api.list(kind, namespace, &self.marks).await? {
                    let handle = place.handle();
                    found.insert(handle.to_string(), Found { handle, lease: Some(place.lease) });
                }
            }
        }
        Ok(Inventory::Complete(found.into_values().collect()))
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        let now = || self.clock.now();
        doctor::check(&self.api, &self.settings.namespaces, self.settings.own_accounts, now).await
    }
}

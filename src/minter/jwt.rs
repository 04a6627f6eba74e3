//! Kind `jwt`: access tokens that we sign ourselves (RFC 9068). The intent and the fact are one commit, since nothing
//! outside is asked. Ending one is honest about who listens: introspection answers at once, a verifier that only checks the
//! signature honours it until its `exp`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::{is_resource, read_effect, sorted};
use super::status_list::StatusLists;
use super::{
    BackendSettings, CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe, Revocability,
    RevocationList, Revoked, StatusPlace,
};
use crate::domain::{AgentId, CatalogueEntry, Handle, LeaseId, MintPlan, Name, Scope, TaskId, Timestamp};
use crate::sys::keys::{KeyAlgorithm, KeyRing};
use crate::sys::{Clock, ExposeSecret as _, PublicJwk, SecretString, fingerprint, sha256};

/// The `type` of an authorization detail whose catalogue entry names none (RFC 9396 §2).
const DETAIL_TYPE: &str = "urn:hallpass:scope";
/// For how long verifiers may be told to keep a status list.
const STATUS_LIST_SECONDS: std::ops::RangeInclusive<u32> = 5..=3_600;
/// The longest type, in bytes.
const MAX_TEXT: usize = 512;

/// Who checks the tokens of a backend, and so how they can be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verifiers {
    /// They ask our introspection endpoint for each token.
    #[default]
    Introspect,
    /// They check the signature and a Token Status List that they fetch from us.
    StatusList,
    /// They check the signature alone.
    Offline,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "es256")]
    algorithm: KeyAlgorithm,
    #[serde(default)]
    verifiers: Verifiers,
    /// For how long verifiers may keep a status list.
    #[serde(default = "half_a_minute")]
    status_list_seconds: u32,
}

const fn half_a_minute() -> u32 {
    30
}

const fn es256() -> KeyAlgorithm {
    KeyAlgorithm::Es256
}

/// The native effect of a catalogue entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    /// The resource server that accepts the token, an absolute URI.
    audience: String,
    /// The `type` of its authorization detail.
    #[serde(rename = "type", default = "detail_type")]
    detail_type: String,
}

fn detail_type() -> String {
    DETAIL_TYPE.to_owned()
}

impl Effect {
    fn read(entry: &CatalogueEntry) -> Result<Self, MintError> {
        let effect: Self = read_effect(entry)?;
        let refuse = |why: &str| Err(MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)));
        if !is_resource(&effect.audience) {
            return refuse("`audience` is an absolute URI without a fragment: https, urn, or http on this machine");
        }
        let visible =
            |text: &str| !text.is_empty() && text.len() <= MAX_TEXT && text.bytes().all(|b| b.is_ascii_graphic());
        if !visible(&effect.detail_type) {
            return refuse("`type` is 1 to 512 visible ASCII characters");
        }
        Ok(effect)
    }
}

/// One authorization detail (RFC 9396 §2): the common members say it roughly, `scope` exactly.
#[derive(Debug, Serialize)]
struct Detail<'a> {
    actions: [String; 1],
    identifier: String,
    locations: [String; 1],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: &'a BTreeMap<Name, String>,
    scope: &'a Scope,
    #[serde(rename = "type")]
    kind: String,
}

/// The confirmation of RFC 7800 §3 by a key's thumbprint (RFC 9449 §6.1).
#[derive(Clone, Copy, Serialize)]
struct Confirmation<'a> {
    jkt: &'a str,
}

/// What would be minted, as approvers are shown it; its members stand in canonical order.
#[derive(Serialize)]
struct Shown<'a> {
    agent: &'a AgentId,
    algorithm: KeyAlgorithm,
    audience: &'a str,
    authorization_details: &'a [Detail<'a>],
    backend: &'a Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
    issuer: &'a str,
    kind: &'a str,
    scopes: Vec<&'a Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_list_seconds: Option<u32>,
    ttl_seconds: u32,
    verifiers: Verifiers,
}

/// The claims of RFC 9068 §2.2, and `task`, in canonical order. The beneficiary is left out: the agent only asserts it, and a
/// claim in a token we signed would be taken for our word; who needs it finds it in the audit under the task.
#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    authorization_details: &'a [Detail<'a>],
    client_id: &'a AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
    exp: i64,
    iat: i64,
    iss: &'a str,
    jti: LeaseId,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    sub: String,
    task: TaskId,
}

/// What the plan keeps for the mint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    algorithm: KeyAlgorithm,
    token_type: String,
    /// The token's payload.
    claims: String,
}

struct JwtMinter {
    backend: Name,
    settings: Settings,
    issuer: String,
    keyring: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let own: Settings = settings.read()?;
    if !STATUS_LIST_SECONDS.contains(&own.status_list_seconds) {
        let why = format!("backend `{}`: `status_list_seconds` is 5 to 3600", settings.name);
        return Err(MintError::Misconfigured(why));
    }
    Ok(Arc::new(JwtMinter {
        backend: settings.name.clone(),
        settings: own,
        issuer: deps.issuer_url.clone(),
        keyring: Arc::clone(&deps.keyring),
        clock: Arc::clone(&deps.clock),
    }))
}

fn details<'a>(order: &MintOrder<'a>) -> Result<(String, Vec<Detail<'a>>), MintError> {
    let mut audience: Option<String> = None;
    let mut details = Vec::with_capacity(order.scopes.len());
    for (scope, entry) in &order.scopes {
        let effect = Effect::read(entry)?;
        if audience.as_ref().is_some_and(|first| *first != effect.audience) {
            return Err(MintError::Unsupported("one token has one audience".to_owned()));
        }
        details.push(Detail {
            actions: [scope.entry().action().to_string()],
            identifier: scope.entry().resource().to_string(),
            locations: [effect.audience.clone()],
            parameters: scope.params(),
            scope,
            kind: effect.detail_type,
        });
        audience = Some(effect.audience);
    }
    audience.map(|audience| (audience, details)).ok_or_else(|| MintError::Unsupported("no scopes".to_owned()))
}

fn summary(order: &MintOrder<'_>, audience: &str, bound: bool) -> Vec<String> {
    let mut lines = vec![if bound {
        "only the holder of the agent's key can use it".to_owned()
    } else {
        "anybody who holds the token can use it".to_owned()
    }];
    for (scope, entry) in &order.scopes {
        let params: Vec<String> = scope.params().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let with = if params.is_empty() { String::new() } else { format!(" with {}", params.join(", ")) };
        let (resource, action) = (entry.name.resource(), entry.name.action());
        lines.push(format!("signed token for {audience} permits {resource}:{action}{with} for {}", order.ttl));
    }
    lines
}

impl JwtMinter {
    fn lists(&self) -> StatusLists<'_> {
        let seconds = self.settings.status_list_seconds;
        StatusLists { issuer: &self.issuer, backend: &self.backend, seconds }
    }

    fn claims<'a>(
        &'a self,
        order: &MintOrder<'a>,
        audience: &'a str,
        details: &'a [Detail<'a>],
        cnf: Option<Confirmation<'a>>,
        status: Option<&StatusPlace>,
    ) -> Claims<'a> {
        let scope: Vec<String> = order.scopes.iter().map(|(scope, _)| scope.to_token()).collect();
        Claims {
            aud: audience,
            authorization_details: details,
            client_id: order.agent,
            cnf,
            exp: order.ends_at.as_secs(),
            iat: order.now.as_secs(),
            iss: &self.issuer,
            jti: order.lease,
            scope: scope.join(" "),
            status: status
                .map(|place| json!({ "status_list": { "idx": place.index, "uri": self.lists().uri(&place.list) } })),
            sub: format!("agent:{}", order.agent),
            task: order.task,
        }
    }
}

#[async_trait]
impl Minter for JwtMinter {
    fn kind(&self) -> &'static str {
        "jwt"
    }

    fn is_offline(&self) -> bool {
        true
    }

    fn signs_with(&self) -> Option<KeyAlgorithm> {
        Some(self.settings.algorithm)
    }

    fn revocability(&self) -> Revocability {
        match self.settings.verifiers {
            Verifiers::Introspect => {
                Revocability { how: "introspection answers inactive at once", strength: "immediate" }
            }
            Verifiers::StatusList => Revocability {
                how: "verifiers fetch a status list and refuse it once they have the next one",
                strength: "within_seconds",
            },
            Verifiers::Offline => Revocability {
                how: "verifiers check the signature alone and honour it until its exp",
                strength: "at_native_end",
            },
        }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Effect::read(entry).map(|effect| effect.audience)
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        let (audience, details) = details(order)?;
        if order.ends_at.as_secs() <= order.now.as_secs() {
            return Err(MintError::Unsupported("less than one second is left for it to live".to_owned()));
        }
        let key = order.confirmation_key.map(PublicJwk::parse).transpose();
        let key = key.map_err(|error| MintError::Unsupported(format!("the key to bind it to: {error}")))?;
        let thumbprint = key.as_ref().map(PublicJwk::thumbprint);
        let cnf = thumbprint.as_deref().map(|jkt| Confirmation { jkt });
        let effect = sorted(&Shown {
            agent: order.agent,
            algorithm: self.settings.algorithm,
            audience: &audience,
            authorization_details: &details,
            backend: &self.backend,
            cnf,
            issuer: &self.issuer,
            kind: self.kind(),
            scopes: order.scopes.iter().map(|(scope, _)| *scope).collect(),
            status_list_seconds: self.has_status_lists().then_some(self.settings.status_list_seconds),
            ttl_seconds: order.ttl.as_secs(),
            verifiers: self.settings.verifiers,
        })?;
        // RFC 9449 §5: a token bound to a key of the holder's is of type DPoP.
        let token_type = if thumbprint.is_some() { "DPoP" } else { "Bearer" };
        let status = order.status.as_ref().filter(|_| self.has_status_lists());
        if self.has_status_lists() && status.is_none() {
            return Err(MintError::Unsupported("it was given no place in a status list".to_owned()));
        }
        let claims = sorted(&self.claims(order, &audience, &details, cnf, status))?;
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary: summary(order, &audience, thumbprint.is_some()),
            handle: status.map_or_else(|| Handle::new(order.lease.to_string()), |place| place.handle(order.lease)),
            ends_at: order.ends_at,
            native_end: order.ends_at,
            native: json!({ "algorithm": self.settings.algorithm, "token_type": token_type, "claims": claims }),
        })
    }

    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let native = Native::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of a jwt backend: {error}")))?;
        let key = self.keyring.signing_key(native.algorithm, self.clock.now()).ok_or_else(|| {
            MintError::Unavailable(format!("no {} key may sign now; keys are being rotated", native.algorithm))
        })?;
        // RFC 9068 §2.1: `typ` is at+jwt.
        let token =
            key.sign_compact("at+jwt", &native.claims).map_err(|error| MintError::Unavailable(error.to_string()))?;
        let fingerprint = fingerprint(token.expose_secret());
        let values = BTreeMap::from([("access_token", token), ("token_type", SecretString::from(native.token_type))]);
        Ok(Minted { kind: "jwt", values, fingerprint, kept: None })
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        // The settings may be others than when it was minted: what its handle says of how it is checked counts as well.
        let listed = StatusPlace::of(credential.handle).is_some();
        Ok(match (self.settings.verifiers, listed) {
            (Verifiers::Introspect, false) => {
                Revoked::Gone("introspection, which its verifiers ask, answers inactive".to_owned())
            }
            (Verifiers::Introspect | Verifiers::StatusList, true) => {
                self.lists().until_listed(&credential, self.clock.now())
            }
            (Verifiers::StatusList, false) | (Verifiers::Offline, _) => Revoked::EndsBy(credential.native_end),
        })
    }

    fn has_status_lists(&self) -> bool {
        self.settings.verifiers == Verifiers::StatusList
    }

    fn status_list(&self, list: &str, over: &[CredentialRef<'_>], now: Timestamp) -> Result<RevocationList, MintError> {
        let key = self.keyring.signing_key(self.settings.algorithm, now);
        let key = key.ok_or_else(|| MintError::Unavailable("no key may sign a status list now".to_owned()))?;
        self.lists().signed(list, over, now, &key)
    }

    /// There is nobody to ask: who honours the token is its verifiers' affair, and introspection answers from the lease
    /// itself, so asking it would only be asking ourselves.
    async fn probe(&self, _credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        Ok(Probe::Unknown)
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        Ok(Inventory::Unlistable)
    }
}

//! Kind `oauth`: access tokens of an upstream authorization server, exchanged (RFC 8693) for a token of ours that says which agent
//! and which task it is for. The server decides how long its tokens live, so each is ended by revocation; only the token ends the
//! token, so it is kept sealed until then.

mod check;
mod effect;
mod given;
mod server;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::settings::sorted;
use super::{
    BackendSettings, CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe, Revocability,
    Revoked,
};
use crate::domain::{
    AgentId, CatalogueEntry, Handle, LeaseId, MINT_TIMEOUT_MILLIS, MintPlan, Name, Scope, TaskId, Timestamp,
};
use crate::sys::keys::KeyAlgorithm;
use crate::sys::{Clock, ExposeSecret as _, HttpClient, SecretString, fingerprint, read_ca_file, sha256};
use effect::{Ask, Effect};
use given::{ACCESS_TOKEN, Given, state_differs};
use server::{ClientAuth, SIGNED_SECS, Server};
use settings::{Endpoints, NOT_ENDED, Settings, Verifiers};

/// How far clocks may be apart before an operator hears of it, in milliseconds.
const APART_MILLIS: i64 = 30_000;
/// How much later than the plan says a token may die: until a mint begins, while what we sign is valid, by how much clocks differ,
/// and a little for verifiers that give one.
const SLACK_MILLIS: i64 = MINT_TIMEOUT_MILLIS as i64 + SIGNED_SECS * 1000 + APART_MILLIS + 22_000;

/// What would be minted, as approvers are shown it; its members stand in canonical order.
#[derive(Serialize)]
struct Shown<'a> {
    agent: &'a AgentId,
    aud: &'a str,
    backend: &'a Name,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<&'a Endpoints>,
    issuer: &'a str,
    kind: &'a str,
    native_life_seconds: u32,
    scope: String,
    scopes: Vec<&'a Scope>,
    subject_token_type: &'a str,
    target: &'a effect::Target,
    ttl_seconds: u32,
    verifiers: Verifiers,
}

/// What the plan keeps for the mint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    agent: AgentId,
    ask: Ask,
    lease: LeaseId,
    task: TaskId,
}

struct OauthMinter {
    backend: Name,
    /// The `iss` of what we sign about agents.
    our_url: String,
    subject_token_type: String,
    lifetime: u32,
    verifiers: Verifiers,
    server: Server,
    clock: Arc<dyn Clock>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let wrong = |why: String| MintError::Misconfigured(format!("backend `{}`: {why}", settings.name));
    let read: Settings = settings.read()?;
    read.check().map_err(wrong)?;
    let secret = read.secret(&deps.folder).map_err(wrong)?;
    let authorities =
        read.ca_file.as_ref().map(|file| read_ca_file(&deps.folder.join(file))).transpose().map_err(wrong)?;
    let http = HttpClient::new(authorities.as_deref()).map_err(|error| wrong(format!("`ca_file`: {error}")))?;
    Ok(Arc::new(OauthMinter {
        backend: settings.name.clone(),
        our_url: deps.issuer_url.clone(),
        subject_token_type: read.subject_token_type,
        lifetime: read.token_lifetime_seconds,
        verifiers: read.verifiers,
        server: Server {
            issuer: read.issuer,
            client_id: read.client_id,
            auth: secret.map_or(ClientAuth::Signature, ClientAuth::Secret),
            algorithm: read.algorithm,
            keyring: Arc::clone(&deps.keyring),
            http,
            allow_private: read.allow_private,
            clock: Arc::clone(&deps.clock),
            entropy: Arc::clone(&deps.entropy),
            fixed: read.endpoints.map(Arc::new),
            found: ArcSwapOption::empty(),
        },
        clock: Arc::clone(&deps.clock),
    }))
}

impl OauthMinter {
    /// Where to ask what, with all there that it takes to end a token where one is ended early.
    async fn endpoints(&self) -> Result<Arc<Endpoints>, MintError> {
        let endpoints = self.server.endpoints().await?;
        let enough = endpoints.introspection.is_some() && endpoints.revocation.is_some();
        if self.verifiers == Verifiers::Introspect && !enough {
            return Err(MintError::Misconfigured(NOT_ENDED.to_owned()));
        }
        Ok(endpoints)
    }

    async fn exchange(&self, endpoints: &Endpoints, native: &Native) -> Result<Given, MintError> {
        let scope = native.ask.scope();
        // `lease` and `task` are ours; `scope` is RFC 8693 §4.2.
        let claims = json!({
            "iss": self.our_url,
            "lease": native.lease,
            "scope": scope,
            "sub": format!("agent:{}", native.agent),
            "task": native.task,
        });
        let subject = self.server.sign("JWT", claims)?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            (native.ask.target.parameter(), native.ask.target.name()),
            ("scope", &scope),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token", subject.expose_secret()),
            ("subject_token_type", &self.subject_token_type),
        ];
        Given::read(&self.server.post(&endpoints.token, &form).await?)
    }

    /// Why a token is not handed over, if it is not.
    async fn refusal(&self, at: &Endpoints, given: &Given, ask: &Ask, native_end: Timestamp) -> Option<MintError> {
        let other =
            |what| MintError::Refused(format!("the authorization server gave other than was asked for: {what}"));
        if let Some(what) = given.differs(ask, self.lifetime) {
            return Some(other(what));
        }
        match (self.verifiers, &at.introspection) {
            (Verifiers::Introspect, Some(introspection)) => {
                match self.server.introspect(introspection, &given.token).await {
                    Ok(state) => state_differs(state.as_ref(), ask, native_end).map(other),
                    Err(MintError::Unavailable(why)) => Some(MintError::Unreached(why)),
                    Err(error) => Some(error),
                }
            }
            (Verifiers::Introspect, None) | (Verifiers::Offline, _) => None,
        }
    }

    /// A token that is not to be delivered: nobody has it, and it is ended before anybody hears why.
    async fn discard(&self, at: &Endpoints, given: &Given, why: MintError) -> MintError {
        let ended = async {
            if let (Some(refresh), Some(revocation)) = (&given.refresh, &at.revocation) {
                self.server.revoke(revocation, refresh, "refresh_token").await?;
            }
            self.end(at, &given.token).await
        };
        // That it is called inactive afterwards tells nothing unless it was called active before.
        let seen_active = match (self.verifiers, &at.introspection) {
            (Verifiers::Introspect, Some(introspection)) => {
                matches!(self.server.introspect(introspection, &given.token).await, Ok(Some(_)))
            }
            (Verifiers::Introspect, None) | (Verifiers::Offline, _) => false,
        };
        let ended = ended.await;
        if !matches!(ended, Ok(Some(_))) && given.expires_in().is_none_or(|seconds| seconds > self.lifetime) {
            tracing::error!(
                backend = %self.backend, expires_in = given.expires_in(),
                "a token that nobody holds lives longer than `token_lifetime_seconds` and could not be ended"
            );
        }
        match ended {
            Ok(Some(_)) if seen_active => why,
            Ok(Some(_)) => MintError::Unavailable(format!("{why}; and the token was never called active")),
            Ok(None) => MintError::Unavailable(format!("{why}; and the token cannot be ended early")),
            Err(error) => MintError::Unavailable(format!("{why}; and the token could not be ended: {error}")),
        }
    }

    /// End a token; how we know that nobody honours it, if we do.
    async fn end(&self, at: &Endpoints, token: &SecretString) -> Result<Option<String>, MintError> {
        let Some(revocation) = &at.revocation else { return Ok(None) };
        self.server.revoke(revocation, token, "access_token").await?;
        let (Verifiers::Introspect, Some(introspection)) = (self.verifiers, &at.introspection) else { return Ok(None) };
        match self.server.introspect(introspection, token).await? {
            None => Ok(Some("the authorization server revoked the token and calls it inactive".to_owned())),
            Some(_) => Err(MintError::Unavailable(
                "the authorization server took the revocation and still calls the token active".to_owned(),
            )),
        }
    }

    fn summary(&self, order: &MintOrder<'_>, ask: &Ask, values: Vec<(u8, String)>) -> Vec<String> {
        let mut lines = Vec::new();
        if self.verifiers == Verifiers::Offline {
            lines.push(format!("it cannot be ended early: it may work for {} s whatever happens", self.lifetime));
        }
        let (target, issuer) = (ask.target.name(), &self.server.issuer);
        let line = |(risk, value)| format!("`{value}` at {target}, by a token of {issuer} (risk {risk})");
        lines.extend(values.into_iter().map(line));
        lines.push(format!(
            "anybody who holds the token can use it; it is ended after {}, and expires {} s after it was made at the latest",
            order.ttl, self.lifetime
        ));
        lines
    }
}

#[async_trait]
impl Minter for OauthMinter {
    fn kind(&self) -> &'static str {
        "oauth"
    }

    fn keeps(&self) -> bool {
        true
    }

    fn signs_with(&self) -> Option<KeyAlgorithm> {
        Some(self.server.algorithm)
    }

    fn revocability(&self) -> Revocability {
        match self.verifiers {
            Verifiers::Introspect => Revocability {
                how: "the authorization server revokes the token, and its introspection answers inactive at once",
                strength: "immediate",
            },
            Verifiers::Offline => Revocability {
                how: "the token is revoked at the authorization server, but verifiers check the signature alone and honour it \
                      until its exp",
                strength: "at_native_end",
            },
        }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Effect::read(entry).map(|effect| effect.bucket())
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        if order.confirmation_key.is_some() {
            return Err(MintError::Unsupported(
                "a server binds a token to a key only on proof by that key, which the broker does not have".to_owned(),
            ));
        }
        if order.ttl.as_secs() > self.lifetime {
            return Err(MintError::Unsupported(format!(
                "a token of this server lives {} s; ask for no more",
                self.lifetime
            )));
        }
        let (ask, values) = effect::ask(order)?;
        let effect = sorted(&Shown {
            agent: order.agent,
            aud: &ask.aud,
            backend: &self.backend,
            client_id: &self.server.client_id,
            endpoints: self.server.fixed.as_deref(),
            issuer: &self.server.issuer,
            kind: self.kind(),
            native_life_seconds: self.lifetime,
            scope: ask.scope(),
            scopes: order.scopes.iter().map(|(scope, _)| *scope).collect(),
            subject_token_type: &self.subject_token_type,
            target: &ask.target,
            ttl_seconds: order.ttl.as_secs(),
            verifiers: self.verifiers,
        })?;
        let life_millis = i64::from(self.lifetime).saturating_mul(1000).saturating_add(SLACK_MILLIS);
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary: self.summary(order, &ask, values),
            handle: Handle::new(order.lease.to_string()),
            ends_at: order.ends_at,
            native_end: order.now.plus_millis(life_millis).max(order.ends_at),
            native: json!(Native { agent: order.agent.clone(), ask, lease: order.lease, task: order.task }),
        })
    }

    /// Minted again there is a second token, of which the first holder knows nothing and nobody can end the first.
    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let native = Native::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of an oauth backend: {error}")))?;
        if native.ask.scope.is_empty() || native.ask.target.name().is_empty() {
            return Err(MintError::Unsupported("neither scope nor target may be empty".to_owned()));
        }
        let endpoints = self.endpoints().await?;
        let asked_at = self.clock.now();
        let given = self.exchange(&endpoints, &native).await?;
        if let Some(why) = self.refusal(&endpoints, &given, &native.ask, plan.native_end).await {
            return Err(self.discard(&endpoints, &given, why).await);
        }
        let life_millis = i64::from(given.expires_in().unwrap_or(0)).saturating_mul(1000);
        let expires_at = asked_at.plus_millis(life_millis).min(plan.ends_at);
        let fingerprint = fingerprint(given.token.expose_secret());
        let values = BTreeMap::from([
            ("access_token", given.token.clone()),
            ("token_type", "Bearer".into()),
            ("expires_at", expires_at.to_string().into()),
            ("scope", native.ask.scope().into()),
            (native.ask.target.parameter(), native.ask.target.name().into()),
        ]);
        Ok(Minted { kind: "oauth", values, fingerprint, kept: Some(given.token) })
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        // Whatever there may be that was not kept, nobody has it and nobody can name it.
        let Some(token) = credential.kept else { return Ok(Revoked::EndsBy(credential.native_end)) };
        let ended = match self.endpoints().await {
            Ok(endpoints) => self.end(&endpoints, token).await,
            Err(error) => Err(error),
        };
        let again = |error: &MintError| matches!(error, MintError::Unavailable(_) | MintError::Unreached(_));
        match ended {
            Ok(Some(how)) => Ok(Revoked::Gone(how)),
            Ok(None) => Ok(Revoked::EndsBy(credential.native_end)),
            // To be revoked is of no use to those who do not ask, though others may.
            Err(error) if self.verifiers == Verifiers::Offline && !again(&error) => {
                Ok(Revoked::EndsBy(credential.native_end))
            }
            Err(error) => Err(error),
        }
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        check::check(self).await
    }

    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        let (Verifiers::Introspect, Some(token)) = (self.verifiers, credential.kept) else { return Ok(Probe::Unknown) };
        let endpoints = self.endpoints().await?;
        let Some(introspection) = &endpoints.introspection else { return Ok(Probe::Unknown) };
        let state = self.server.introspect(introspection, token).await?;
        Ok(if state.is_some() { Probe::Honoured } else { Probe::Refused })
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        Ok(Inventory::Unlistable)
    }
}

//! Kind `github`: installation access tokens of a GitHub App, each for repositories pinned by id and for permissions by name. Only
//! the token itself ends a token, so it is kept sealed until it has ended; one that is lost before it is on record ends with its hour.

mod api;
mod effect;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::http::{Method, StatusCode};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    BackendSettings, CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe, Revocability,
    Revoked,
};
use crate::domain::{AgentId, CatalogueEntry, Handle, MintPlan, Name, Scope, Timestamp};
use crate::minter::settings::sorted;
use crate::sys::keys::RsaKey;
use crate::sys::{
    Clock, ExposeSecret as _, HttpClient, SecretRef, SecretString, fingerprint, is_loopback_url, read_ca_file, sha256,
};
use api::{Answer, Api, As};
use effect::{Ask, Effect, Level, Repository};

/// The life GitHub gives every installation token.
const LIFE_SECS: u32 = 3600;
/// By how much later than the plan says a token may come about, and by how much GitHub's clock may be ahead of ours.
const SLACK_SECS: u32 = 60;
/// How far clocks may be apart before an operator hears of it, in milliseconds: a JWT is dated back by a minute.
const APART_MILLIS: i64 = 30_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The App's client id.
    client_id: String,
    /// Its private key in PEM.
    private_key: SecretRef,
    /// The installation.
    installation_id: u64,
    /// The REST API.
    #[serde(default = "api_url")]
    api_url: Url,
    /// Whether the API may have a private address, as a GitHub Enterprise Server may; and plain HTTP on loopback.
    #[serde(default)]
    allow_private: bool,
    /// Certificate authorities to trust besides the web's.
    ca_file: Option<PathBuf>,
}

#[expect(clippy::expect_used, reason = "a literal")]
fn api_url() -> Url {
    Url::parse("https://api.github.com").expect("a URL")
}

/// What would be minted, as approvers are shown it; its members stand in canonical order.
#[derive(Serialize)]
struct Shown<'a> {
    agent: &'a AgentId,
    api_url: &'a str,
    app: &'a str,
    backend: &'a Name,
    installation_id: u64,
    kind: &'a str,
    native_life_seconds: u32,
    permissions: &'a BTreeMap<String, Level>,
    repositories: &'a [Repository],
    scopes: Vec<&'a Scope>,
    ttl_seconds: u32,
}

struct GithubMinter {
    backend: Name,
    installation: u64,
    api: Api,
    clock: Arc<dyn Clock>,
}

pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps) -> Result<Arc<dyn Minter>, MintError> {
    let refuse = |why: String| MintError::Misconfigured(format!("backend `{}`: {why}", settings.name));
    let Settings { client_id, private_key, installation_id, api_url, allow_private, ca_file } = settings.read()?;
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !(1..=128).contains(&client_id.len()) || !client_id.bytes().all(named) || installation_id == 0 {
        return Err(refuse("`client_id` and `installation_id` are those of the App's page on GitHub".to_owned()));
    }
    let loopback = is_loopback_url(&api_url);
    let scheme_fits = api_url.scheme() == "https" || (api_url.scheme() == "http" && allow_private && loopback);
    let plain = api_url.query().is_none() && api_url.fragment().is_none() && api_url.username().is_empty();
    if !scheme_fits || !plain || api_url.password().is_some() {
        return Err(refuse("`api_url` is an https URL (http only to loopback, with `allow_private`)".to_owned()));
    }
    let key = private_key.below(&deps.folder).read().map_err(|why| refuse(format!("`private_key`: {why}")))?;
    let key = RsaKey::from_pem(&key).map_err(|error| refuse(format!("`private_key`: {error}")))?;
    let authorities = ca_file.map(|file| read_ca_file(&deps.folder.join(file))).transpose().map_err(refuse)?;
    let http = HttpClient::new(authorities.as_deref()).map_err(|error| refuse(error.to_string()))?;
    let clock = Arc::clone(&deps.clock);
    let api = Api { base: api_url, allow_private, client_id, key, http, clock, rests: Default::default() };
    Ok(Arc::new(GithubMinter {
        backend: settings.name.clone(),
        installation: installation_id,
        api,
        clock: Arc::clone(&deps.clock),
    }))
}

/// The join key of GitHub's audit log: the same SHA-256 as our fingerprint, in base64.
fn hashed_token(token: &SecretString) -> String {
    data_encoding::BASE64.encode(sha256(token.expose_secret()).as_bytes())
}

/// What GitHub answered to a mint, besides the token.
#[derive(Deserialize)]
struct Given {
    expires_at: Timestamp,
    permissions: BTreeMap<String, Level>,
    repository_selection: String,
    repositories: Vec<GivenRepository>,
}

#[derive(Deserialize)]
struct GivenRepository {
    id: u64,
    full_name: String,
}

impl Given {
    /// Why this is not what was asked for, if it is not; what cannot be read might be wider.
    fn differs(given: Map<String, Value>, asked: &Ask, native_end: Timestamp) -> Option<MintError> {
        let wider = |what: String| Some(MintError::Refused(format!("GitHub gave more than was asked for: {what}")));
        let Ok(given) = Self::deserialize(Value::Object(given)) else {
            return wider("its answer does not say what the token permits".to_owned());
        };
        if given.repository_selection != "selected" {
            return wider("a token for all repositories".to_owned());
        }
        for (name, level) in &given.permissions {
            if asked.permissions.get(name).is_none_or(|most| level > most) {
                return wider(format!("the permission `{name}`"));
            }
        }
        for got in &given.repositories {
            let Some(meant) = asked.repositories.iter().find(|meant| meant.id == got.id) else {
                return wider(format!("the repository with the id {}", got.id));
            };
            if !meant.name.eq_ignore_ascii_case(&got.full_name) {
                let (id, was, is) = (got.id, &meant.name, printable(&got.full_name));
                return Some(MintError::TargetChanged(format!("repository {id} was `{was}` and is `{is}`")));
            }
        }
        let absent = |meant: &&Repository| !given.repositories.iter().any(|got| got.id == meant.id);
        if let Some(gone) = asked.repositories.iter().find(absent) {
            return Some(MintError::TargetChanged(format!("the App has no `{}` (id {})", gone.name, gone.id)));
        }
        if given.expires_at > native_end {
            return wider(format!("a token until {}", given.expires_at));
        }
        None
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(140).collect()
}

impl GithubMinter {
    /// End a token by itself; how we know that it is gone.
    async fn end(&self, token: &SecretString) -> Result<String, MintError> {
        let answer = self.api.ask(As::Holder(token), Method::DELETE, "installation/token", None).await?;
        let how = match answer.status {
            StatusCode::NO_CONTENT => "GitHub deleted the token",
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => "GitHub does not know the token any more",
            _ => return Err(MintError::Refused(format!("GitHub does not delete the token: {}", answer.said()))),
        };
        Ok(format!("{how} (hashed_token {})", hashed_token(token)))
    }

    /// A token that is not to be delivered: nobody has it, and it is ended before anybody hears why.
    async fn discard(&self, token: &SecretString, why: MintError) -> MintError {
        match self.end(token).await {
            Ok(_) => why,
            Err(error) => MintError::Unavailable(format!("{why}; and the token could not be ended: {error}")),
        }
    }

    /// Why there is no token.
    fn refused(&self, answer: &Answer) -> MintError {
        let said = answer.said();
        match answer.status {
            StatusCode::UNAUTHORIZED => MintError::Refused(format!(
                "GitHub does not accept the App's signature: check client_id, private_key and the clock ({said})"
            )),
            StatusCode::NOT_FOUND => {
                MintError::Refused(format!("GitHub knows no installation {} of this App ({said})", self.installation))
            }
            // The installation has lost a repository: it was moved, deleted or taken from the App.
            StatusCode::UNPROCESSABLE_ENTITY if said.contains("repositor") => MintError::TargetChanged(said),
            _ => MintError::Refused(said),
        }
    }

    /// Ask as the App, and have an object; or what to mend.
    async fn look(&self, path: &str, what: &str) -> Result<Result<(Map<String, Value>, Answer), String>, MintError> {
        let answer = self.api.ask(As::App, Method::GET, path, None).await?;
        let found = if answer.status == StatusCode::OK { answer.object() } else { None };
        Ok(match found {
            Some(object) => Ok((object, answer)),
            None => Err(format!("{what} (GitHub answers {})", answer.said())),
        })
    }
}

#[async_trait]
impl Minter for GithubMinter {
    fn kind(&self) -> &'static str {
        "github"
    }

    fn keeps(&self) -> bool {
        true
    }

    fn revocability(&self) -> Revocability {
        Revocability {
            how: "GitHub deletes the token at once, and ends it an hour after it was made",
            strength: "immediate",
        }
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        Effect::read(entry).map(|effect| effect.bucket())
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        if order.confirmation_key.is_some() {
            return Err(MintError::Unsupported("GitHub cannot bind a token to a key".to_owned()));
        }
        if order.ttl.as_secs() > LIFE_SECS {
            return Err(MintError::Unsupported(format!("a GitHub token lives {LIFE_SECS} s; ask for no more")));
        }
        let ask = Ask::of(order)?;
        let effect = sorted(&Shown {
            agent: order.agent,
            api_url: self.api.base.as_str(),
            app: &self.api.client_id,
            backend: &self.backend,
            installation_id: self.installation,
            kind: self.kind(),
            native_life_seconds: LIFE_SECS,
            permissions: &ask.permissions,
            repositories: &ask.repositories,
            scopes: order.scopes.iter().map(|(scope, _)| *scope).collect(),
            ttl_seconds: order.ttl.as_secs(),
        })?;
        let mut summary = ask.summary();
        summary.push(format!(
            "anybody who holds the token can use it; it is ended after {}, and GitHub ends it after {LIFE_SECS} s",
            order.ttl
        ));
        let native_end = order.now.plus_millis(i64::from(LIFE_SECS + SLACK_SECS).saturating_mul(1000));
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary,
            handle: Handle::new(order.lease.to_string()),
            ends_at: order.ends_at,
            native_end: native_end.max(order.ends_at),
            native: json!(ask),
        })
    }

    /// Minted again there is a second token, of which the first holder knows nothing and nobody can end the first.
    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let asked = Ask::deserialize(&plan.native)
            .map_err(|error| MintError::Unsupported(format!("the plan is not one of a github backend: {error}")))?;
        let ids: Vec<u64> = asked.repositories.iter().map(|one| one.id).collect();
        if ids.is_empty() || asked.permissions.is_empty() {
            return Err(MintError::Unsupported("neither repositories nor permissions may be empty".to_owned()));
        }
        let body = json!({ "permissions": asked.permissions, "repository_ids": ids });
        let path = format!("app/installations/{}/access_tokens", self.installation);
        let answer = self.api.ask(As::App, Method::POST, &path, Some(&body)).await?;
        if answer.status != StatusCode::CREATED {
            return Err(self.refused(&answer));
        }
        let mut given = answer.object().unwrap_or_default();
        let Some(Value::String(token)) = given.remove("token") else {
            return Err(MintError::Unavailable("GitHub says that it made a token, and not which".to_owned()));
        };
        let token = SecretString::from(token);
        if let Some(why) = Given::differs(given, &asked, plan.native_end) {
            return Err(self.discard(&token, why).await);
        }
        let fingerprint = fingerprint(token.expose_secret());
        let names: Vec<&str> = asked.repositories.iter().map(|one| one.name.as_str()).collect();
        // What Git asks for beside a password, and what tells its helper whom to answer.
        let values = BTreeMap::from([
            ("git_url", SecretString::from(api::git_url(&self.api.base))),
            ("repositories", SecretString::from(names.join(" "))),
            ("token", token.clone()),
            ("username", SecretString::from("x-access-token")),
        ]);
        Ok(Minted { kind: "github", values, fingerprint, kept: Some(token) })
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        match credential.kept {
            Some(token) => self.end(token).await.map(Revoked::Gone),
            // Whatever there may be, nobody has it and nobody can name it.
            None => Ok(Revoked::EndsBy(credential.native_end)),
        }
    }

    async fn check(&self) -> Result<Vec<String>, MintError> {
        let what = "GitHub does not accept the App: check `client_id`, `private_key` and this machine's clock";
        let (app, answer) = match self.look("app", what).await? {
            Ok(found) => found,
            Err(wrong) => return Ok(vec![wrong]),
        };
        let mut wrong = Vec::new();
        let apart = answer.date().map_or(0, |theirs| self.clock.now().millis_since(theirs));
        if apart.abs() > APART_MILLIS {
            wrong.push(format!("this machine's clock and GitHub's are {} s apart; set it right", apart / 1000));
        }
        if app.get("client_id").and_then(Value::as_str).is_some_and(|id| id != self.api.client_id) {
            wrong.push("`client_id` is not the one GitHub has for this key".to_owned());
        }
        let what = format!("the App has no installation {}: check `installation_id`", self.installation);
        let (installation, _) = match self.look(&format!("app/installations/{}", self.installation), &what).await? {
            Ok(found) => found,
            Err(gone) => {
                wrong.push(gone);
                return Ok(wrong);
            }
        };
        if installation.get("suspended_at").is_some_and(|at| !at.is_null()) {
            wrong.push("the installation is suspended: an owner of the organisation must unsuspend it".to_owned());
        }
        if installation.get("repository_selection").and_then(Value::as_str) == Some("all") {
            wrong.push(
                "the App is installed on all repositories: choose only those that the catalogue names".to_owned(),
            );
        }
        let held = installation.get("permissions").and_then(Value::as_object).cloned().unwrap_or_default();
        for name in ["administration", "organization_administration", "members"] {
            if held.get(name).and_then(Value::as_str).is_some_and(|level| level != "read") {
                wrong.push(format!("the App may write `{name}`: take that away unless a scope is meant to have it"));
            }
        }
        Ok(wrong)
    }

    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        let Some(token) = credential.kept else { return Ok(Probe::Unknown) };
        let path = "installation/repositories?per_page=1";
        let answer = self.api.ask(As::Holder(token), Method::GET, path, None).await?;
        match answer.status {
            StatusCode::OK => Ok(Probe::Honoured),
            StatusCode::UNAUTHORIZED => Ok(Probe::Refused),
            _ => {
                Err(MintError::Refused(format!("GitHub does not say whether it honours the token: {}", answer.said())))
            }
        }
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        Ok(Inventory::Unlistable)
    }
}

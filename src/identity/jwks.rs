//! An issuer's keys over time: fetched when they are first needed and when they age, by one caller at a time, kept when
//! fetching fails, and given up when they have been stale for too long. What a stranger sends can make us fetch at most once in
//! thirty seconds, and never from an address the stranger chose.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;
use url::Url;

use super::keys::{KeySet, KeySetError, KeyUse, MAX_SET_BYTES};
use super::settings::{KeySource, Rules};
use super::{IssuerSettings, Preset, SettingsError};
use crate::domain::{Digest, Timestamp};
use crate::sys::{FetchError, FetchLimits, HttpClient, Outgoing, parse_object, read_ca_file, sha256};

const MAX_DISCOVERY_BYTES: usize = 64 * 1024;
const MAX_BEARER_BYTES: usize = 16 * 1024;
const MAX_DEPTH: usize = 16;
/// All the fetching of one refresh, which may be discovery and keys.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(8);

/// Why keys could not be had. Nothing of what was fetched is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum KeysError {
    #[error("fetching {what}: {why}")]
    Fetch { what: &'static str, why: FetchError },
    #[error("reading {what}: {why}")]
    File { what: &'static str, why: std::io::ErrorKind },
    #[error("the discovery document is not a strict JSON object with `issuer` and `jwks_uri`")]
    Discovery,
    #[error("the discovery document names another issuer than the settings")]
    OtherIssuer,
    #[error("the discovery document names keys at another origin; list its host in `jwks_hosts` if that is right")]
    OtherOrigin,
    #[error("{0}")]
    Set(#[from] KeySetError),
    #[error("no answer in time")]
    TimedOut,
}

/// The keys in use, and a number that changes when they do.
pub(super) struct Held {
    pub(super) set: KeySet,
    pub(super) generation: u64,
    digest: Digest,
}

#[derive(Clone, Default)]
struct State {
    held: Option<Arc<Held>>,
    fetched_at: Option<Timestamp>,
    failed: Option<(Timestamp, KeysError)>,
    forced_at: Option<Timestamp>,
}

/// What is known about an issuer's keys.
pub(super) struct Health {
    pub(super) keys: Option<usize>,
    pub(super) age_secs: Option<i64>,
    pub(super) trouble: Option<String>,
}

/// One issuer's keys.
pub(super) struct Keys {
    name: String,
    source: KeySource,
    http: HttpClient,
    settings: IssuerSettings,
    key_use: KeyUse,
    algorithms: Vec<super::Algorithm>,
    state: ArcSwap<State>,
    fetching: Mutex<()>,
}

impl Keys {
    pub(super) fn new(settings: &IssuerSettings, rules: &Rules, http: &HttpClient) -> Result<Self, SettingsError> {
        let http = match &settings.ca_file {
            None => http.clone(),
            Some(file) => {
                let pem = read_ca_file(file).map_err(|error| settings.failed("authorities", &error))?;
                http.with_ca(&pem).map_err(|error| settings.failed("`ca_file`", &error))?
            }
        };
        Ok(Self {
            name: settings.name.clone(),
            source: settings.key_source(rules)?,
            http,
            settings: settings.clone(),
            key_use: if rules.preset == Preset::Spiffe { KeyUse::JwtSvid } else { KeyUse::Signature },
            algorithms: rules.algorithms.clone(),
            state: ArcSwap::default(),
            fetching: Mutex::default(),
        })
    }

    /// Keys that are fresh, or the last good ones while fetching fails and they are not too old; otherwise none.
    pub(super) async fn usable(&self, now: Timestamp) -> Option<Arc<Held>> {
        if self.is_due(now, self.settings.cache_seconds) {
            self.fetch_if_due(now, self.settings.cache_seconds).await;
        }
        let state = self.state.load();
        let age = state.age_millis(now)?;
        if age <= millis(self.settings.stale_seconds) { state.held.clone() } else { None }
    }

    /// Fetch again because a token names a key we do not have, unless that was done a moment ago.
    pub(super) async fn look_again(&self, now: Timestamp) {
        if self.paused(now) {
            return;
        }
        let _one_at_a_time = self.fetching.lock().await;
        if !self.paused(now) {
            self.update(|state| state.forced_at = Some(now));
            self.fetch(now).await;
        }
    }

    /// Fetch when half of the fresh time is over, so that no request has to wait for it.
    pub(super) async fn refresh(&self, now: Timestamp) {
        self.fetch_if_due(now, self.settings.cache_seconds / 2).await;
    }

    pub(super) fn health(&self, now: Timestamp) -> Health {
        let state = self.state.load();
        let age = state.age_millis(now);
        let trouble = match (&state.failed, age) {
            (Some((_, error)), _) => Some(error.to_string()),
            (None, Some(age)) if age > millis(self.settings.stale_seconds) => {
                Some("the keys are too old to be used".to_owned())
            }
            (None, _) => None,
        };
        Health { keys: state.held.as_ref().map(|held| held.set.len()), age_secs: age.map(|age| age / 1000), trouble }
    }

    fn is_due(&self, now: Timestamp, after_secs: u32) -> bool {
        let state = self.state.load();
        let old = state.age_millis(now).is_none_or(|age| age >= millis(after_secs));
        let failed_just_now = state.failed.as_ref().is_some_and(|(at, _)| self.within_pause(*at, now));
        old && !failed_just_now
    }

    /// Whether strangers' tokens may not make us fetch at present.
    fn paused(&self, now: Timestamp) -> bool {
        let state = self.state.load();
        let failed_at = state.failed.as_ref().map(|(at, _)| *at);
        [state.forced_at, failed_at].into_iter().flatten().any(|at| self.within_pause(at, now))
    }

    /// After a failure, and after a refetch for an unknown key, nothing is fetched for a while. Also true for a moment in the
    /// future, so that a clock that was set back does not open the gate for long.
    fn within_pause(&self, at: Timestamp, now: Timestamp) -> bool {
        now.millis_since(at).saturating_abs() < millis(self.settings.pause_seconds)
    }

    async fn fetch_if_due(&self, now: Timestamp, after_secs: u32) {
        let _one_at_a_time = self.fetching.lock().await;
        // Whoever waited finds the work done.
        if self.is_due(now, after_secs) {
            self.fetch(now).await;
        }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        // INVARIANT: only the holder of `fetching` writes.
        let mut state = State::clone(&self.state.load());
        change(&mut state);
        self.state.store(Arc::new(state));
    }

    async fn fetch(&self, now: Timestamp) {
        let answer = tokio::time::timeout(REFRESH_TIMEOUT, self.load()).await;
        match answer.unwrap_or(Err(KeysError::TimedOut)) {
            Ok((digest, set)) => self.update(|state| state.accept(digest, set, now)),
            Err(error) => {
                tracing::warn!(issuer.name = %self.name, error = %error, "an issuer's keys could not be fetched");
                self.update(|state| state.failed = Some((now, error)));
            }
        }
    }

    async fn load(&self) -> Result<(Digest, KeySet), KeysError> {
        let bytes = match &self.source {
            KeySource::File(path) => read_file(path, MAX_SET_BYTES, "the key set").await?,
            KeySource::Url(url) => self.get(url, MAX_SET_BYTES, "the key set").await?,
            KeySource::Discovery { document, issuer, hosts } => {
                let found = self.get(document, MAX_DISCOVERY_BYTES, "the discovery document").await?;
                let url = jwks_uri(&found, document, issuer, hosts)?;
                self.get(&url, MAX_SET_BYTES, "the key set").await?
            }
        };
        Ok((sha256(&bytes), KeySet::parse(&bytes, &self.algorithms, self.key_use)?))
    }

    async fn get(&self, url: &Url, max_bytes: usize, what: &'static str) -> Result<Vec<u8>, KeysError> {
        let mut request = Outgoing::get(url.clone());
        if let Some(file) = &self.settings.bearer_file {
            let token = read_file(file, MAX_BEARER_BYTES, "the bearer token").await?;
            let field = [b"Bearer ", token.trim_ascii()].concat();
            let invalid = |_| KeysError::File { what: "the bearer token", why: std::io::ErrorKind::InvalidData };
            let mut value = http::HeaderValue::from_bytes(&field).map_err(invalid)?;
            value.set_sensitive(true);
            request.headers.insert(http::header::AUTHORIZATION, value);
        }
        let limits = FetchLimits { max_bytes, allow_private: self.settings.allow_private };
        let answer = self.http.send(request, limits).await.map_err(|why| KeysError::Fetch { what, why })?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(KeysError::Fetch { what, why: FetchError::Status { status: answer.status.as_u16() } })
    }
}

impl State {
    /// Keys from the future are old too: a clock that was set back does not keep them for ever.
    fn age_millis(&self, now: Timestamp) -> Option<i64> {
        self.fetched_at.map(|at| now.millis_since(at).saturating_abs())
    }

    fn accept(&mut self, digest: Digest, set: KeySet, now: Timestamp) {
        let last = self.held.as_ref();
        if last.is_none_or(|held| held.digest != digest) {
            let generation = last.map_or(0, |held| held.generation).saturating_add(1);
            self.held = Some(Arc::new(Held { set, generation, digest }));
        }
        self.fetched_at = Some(now);
        self.failed = None;
    }
}

fn millis(secs: u32) -> i64 {
    i64::from(secs).saturating_mul(1000)
}

/// OpenID Connect Discovery 1.0 §4.3: the document must name the issuer we asked, byte for byte. That its keys lie at the
/// issuer's own origin, or at a host the settings name, is our rule: no document moves our trust elsewhere.
fn jwks_uri(bytes: &[u8], document: &Url, issuer: &str, hosts: &[String]) -> Result<Url, KeysError> {
    let found = parse_object(bytes, MAX_DEPTH).map_err(|_| KeysError::Discovery)?;
    let text = |name| found.get(name).and_then(Value::as_str).ok_or(KeysError::Discovery);
    if text("issuer")? != issuer {
        return Err(KeysError::OtherIssuer);
    }
    let url = Url::parse(text("jwks_uri")?).map_err(|_| KeysError::Discovery)?;
    let host = url.host_str().unwrap_or_default();
    let place = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let listed = url.scheme() == document.scheme() && hosts.contains(&place);
    if url.origin() == document.origin() || listed { Ok(url) } else { Err(KeysError::OtherOrigin) }
}

async fn read_file(path: &Path, max_bytes: usize, what: &'static str) -> Result<Vec<u8>, KeysError> {
    let failed = |error: std::io::Error| KeysError::File { what, why: error.kind() };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() > max_bytes {
        return Err(KeysError::File { what, why: std::io::ErrorKind::FileTooLarge });
    }
    Ok(bytes)
}

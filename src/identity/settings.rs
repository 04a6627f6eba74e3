//! The `[[issuer]]` sections of the configuration, and what becomes of them after defaults and checks: rules.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::Audience;
use super::algorithm::Algorithm;
use super::presets::Preset;
use super::spiffe::SpiffeId;

/// One issuer whose tokens are accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// A short name for logs, readiness and `hallpass doctor`.
    pub name: String,
    /// The kind of issuer: `oidc`, `kubernetes`, `github-actions` or `spiffe`.
    #[serde(default = "oidc")]
    pub preset: Preset,
    /// The issuer exactly as `iss` states it, byte for byte; for `spiffe` the trust domain as `spiffe://TRUST-DOMAIN`.
    /// `github-actions` has it built in.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Whom it vouches for: `agents` or `people`.
    #[serde(default = "agents", rename = "for")]
    pub whom: Audience,
    /// The audience its tokens must name; the deployment's own URL unless given.
    #[serde(default)]
    pub audience: Option<String>,
    /// The signature algorithms it may use: of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and `EdDSA`.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// The values of the header's `typ` that are accepted; `""` stands for a token without one. Default: `""` and `JWT`.
    #[serde(default)]
    pub typ: Option<Vec<String>>,
    /// A file with the key set, read again as it ages. At most one of `jwks_file` and `jwks_url`; with neither, the keys are
    /// found by OpenID Connect discovery at the issuer.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Where the key set (or SPIFFE bundle) is.
    #[serde(default)]
    pub jwks_url: Option<Url>,
    /// Hosts (`host` or `host:port`), other than the issuer's own, where discovery may find the keys.
    #[serde(default)]
    pub jwks_hosts: Vec<String>,
    /// Whether the issuer's hosts may have private addresses. Plain HTTP is possible only with this, and only to loopback.
    #[serde(default)]
    pub allow_private: bool,
    /// A PEM file of certificate authorities to trust for this issuer's hosts besides the web's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A file with a bearer token to send when fetching keys, such as a Kubernetes service account's. It is read each time,
    /// and sent to every host the keys may come from, `jwks_hosts` included.
    #[serde(default)]
    pub bearer_file: Option<PathBuf>,
    /// How long fetched keys count as fresh, 1 to 600 seconds. A withdrawn key is refused after that at the latest.
    #[serde(default = "ten_minutes")]
    pub cache_seconds: u32,
    /// How long the last good keys are used while fetching fails, `cache_seconds` to 86400 seconds; then nobody gets in.
    #[serde(default = "one_hour")]
    pub stale_seconds: u32,
    /// For how long nothing is fetched after fetching failed, or after a token named an unknown key, 1 to 300 seconds.
    #[serde(default = "half_a_minute")]
    pub pause_seconds: u32,
    /// The longest life of a token from `iat` to `exp`, 60 to 604800 seconds. Default: 86400; `github-actions`: 3600.
    #[serde(default)]
    pub max_lifetime_seconds: Option<u32>,
    /// Whether a token may be presented only once.
    #[serde(default)]
    pub single_use: bool,
    /// The claim with a person's groups; `a.b` reaches into an object.
    #[serde(default = "groups")]
    pub groups_claim: String,
}

const fn oidc() -> Preset {
    Preset::Oidc
}

const fn agents() -> Audience {
    Audience::Agents
}

const fn ten_minutes() -> u32 {
    600
}

const fn half_a_minute() -> u32 {
    30
}

const fn one_hour() -> u32 {
    3600
}

fn groups() -> String {
    "groups".to_owned()
}

/// Settings that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("issuer `{name}`: {why}")]
pub struct SettingsError {
    /// The issuer's name in the settings.
    pub name: String,
    /// What is wrong and what to do about it.
    pub why: String,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource {
    File(PathBuf),
    Url(Url),
    Discovery { document: Url, issuer: String, hosts: Vec<String> },
}

/// What a token of one issuer must be like.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) name: String,
    pub(super) issuer: Arc<str>,
    pub(super) preset: Preset,
    pub(super) whom: Audience,
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) typ: Vec<String>,
    pub(super) max_lifetime_secs: i64,
    pub(super) single_use: bool,
    pub(super) groups_claim: String,
}

impl IssuerSettings {
    fn error(&self, why: impl Into<String>) -> SettingsError {
        SettingsError { name: self.name.clone(), why: why.into() }
    }

    pub(super) fn failed(&self, what: &str, why: &impl std::fmt::Display) -> SettingsError {
        self.error(format!("{what}: {why}"))
    }

    /// Check the settings and fill in the preset's defaults.
    pub(super) fn rules(&self, default_audience: &str) -> Result<Rules, SettingsError> {
        let issuer = self.issuer.as_deref().or(self.preset.issuer()).unwrap_or_default();
        let audience = self.audience.as_deref().unwrap_or(default_audience);
        let algorithms = self.algorithms.clone().unwrap_or_else(|| self.preset.algorithms().to_vec());
        let typ = self.typ.clone().unwrap_or_else(|| self.preset.typ().iter().map(|typ| (*typ).to_owned()).collect());
        let max_lifetime = self.max_lifetime_seconds.unwrap_or(self.preset.max_lifetime_seconds());
        let spiffe = self.preset == Preset::Spiffe;
        let trust_domain = SpiffeId::parse(issuer).is_some_and(|id| id.path().is_empty());
        let checks = [
            (self.name.is_empty(), "`name` is empty; give it a short name"),
            (
                issuer.is_empty() || issuer.len() > 2048,
                "`issuer` is missing or too long; write it as the tokens' `iss` does",
            ),
            (spiffe != trust_domain, "`issuer` must be `spiffe://TRUST-DOMAIN` with preset `spiffe`, and only there"),
            (audience.is_empty(), "`audience` is empty; it is what the issuer's tokens must name"),
            (algorithms.is_empty(), "`algorithms` is empty; leave it out for the preset's"),
            (typ.is_empty(), "`typ` is empty; leave it out for the preset's"),
            (self.jwks_file.is_some() && self.jwks_url.is_some(), "give `jwks_file` or `jwks_url`, not both"),
            (
                spiffe && self.jwks_file.is_none() && self.jwks_url.is_none(),
                "preset `spiffe` needs `jwks_file` or `jwks_url`",
            ),
            (!(1..=600).contains(&self.cache_seconds), "`cache_seconds` must be within 1 and 600"),
            (!(1..=300).contains(&self.pause_seconds), "`pause_seconds` must be within 1 and 300"),
            (
                !(self.cache_seconds..=86_400).contains(&self.stale_seconds),
                "`stale_seconds` must be within `cache_seconds` and 86400",
            ),
            (!(60..=604_800).contains(&max_lifetime), "`max_lifetime_seconds` must be within 60 and 604800"),
            (self.whom == Audience::People && self.preset != Preset::Oidc, "only preset `oidc` can vouch for people"),
        ];
        if let Some((_, why)) = checks.into_iter().find(|(wrong, _)| *wrong) {
            return Err(self.error(why));
        }
        Ok(Rules {
            name: self.name.clone(),
            issuer: issuer.into(),
            preset: self.preset,
            whom: self.whom,
            audience: audience.to_owned(),
            algorithms,
            typ,
            max_lifetime_secs: i64::from(max_lifetime),
            single_use: self.single_use,
            groups_claim: self.groups_claim.clone(),
        })
    }

    pub(super) fn key_source(&self, rules: &Rules) -> Result<KeySource, SettingsError> {
        if let Some(file) = &self.jwks_file {
            return Ok(KeySource::File(file.clone()));
        }
        if let Some(url) = &self.jwks_url {
            self.check_scheme("jwks_url", url)?;
            return Ok(KeySource::Url(url.clone()));
        }
        let document = self.discovery_document(&rules.issuer)?;
        Ok(KeySource::Discovery { document, issuer: rules.issuer.to_string(), hosts: self.jwks_hosts.clone() })
    }

    /// Where the issuer says what it is (OpenID Connect Discovery 1.0 §4): the path is appended, after any final slash is taken
    /// off.
    pub(super) fn discovery_document(&self, issuer: &str) -> Result<Url, SettingsError> {
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        let document = Url::parse(&format!("{base}/.well-known/openid-configuration"))
            .map_err(|error| self.failed("`issuer` is no URL, so it needs `jwks_file` or `jwks_url`", &error))?;
        self.check_scheme("issuer", &document)?;
        Ok(document)
    }

    fn check_scheme(&self, key: &str, url: &Url) -> Result<(), SettingsError> {
        if url.scheme() == "https" || (url.scheme() == "http" && self.allow_private) {
            return Ok(());
        }
        Err(self.error(format!("`{key}` must be an https URL (http only with `allow_private`, and only to loopback)")))
    }
}

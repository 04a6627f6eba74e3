//! The keys of `hallpass.toml`. Each room owns the settings of its own things; here they are only put together.
//! `docs/configuration.md` describes the same keys, and a test compares the two.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::SecretRef;
use crate::identity::webauthn::PasskeySettings;
use crate::identity::{IssuerSettings, SignInSettings};
use crate::minter::BackendSettings;
use crate::notify::ChannelSettings;
use crate::sys::keys::KeyAlgorithm;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the API is served.
    #[serde(default)]
    pub server: ServerSettings,
    /// Where records are kept.
    #[serde(default)]
    pub store: StoreSection,
    /// The keys that sign credentials.
    pub keys: KeySettings,
    /// The policy bundle.
    #[serde(default)]
    pub policy: PolicySettings,
    /// How often it looks, and how long it waits.
    #[serde(default)]
    pub intervals: IntervalSettings,
    /// Who vouches for workloads and people.
    #[serde(default)]
    pub issuers: Vec<IssuerSettings>,
    /// Where people sign in to the console and the command line; nowhere when absent.
    #[serde(default)]
    pub sign_in: Option<SignInSettings>,
    /// What accepts credentials.
    #[serde(default)]
    pub backends: Vec<BackendSettings>,
    /// Who may introspect credentials.
    #[serde(default)]
    pub resource_servers: Vec<ResourceServerSettings>,
    /// Ways to tell people.
    #[serde(default)]
    pub notify: Vec<ChannelSettings>,
    /// How access requests of AuthZEN clients are told of.
    #[serde(default)]
    pub access_requests: AccessRequestSettings,
    /// How much at once.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Whom passkeys are for.
    #[serde(default)]
    pub passkeys: PasskeySettings,
    /// Made by `hallpass dev`: throw-away keys and an issuer on this machine that vouches for anybody who can read its
    /// secret. Only `hallpass dev` starts with it.
    #[serde(default)]
    pub dev: bool,
    /// The file it was read from.
    #[serde(skip)]
    pub path: PathBuf,
}

/// `[server]`: how the API is served.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The URL by which others reach the API; it is the `iss` of our tokens and the audience of identity tokens. Without
    /// it, the listening address.
    pub public_url: Option<String>,
    /// Certificate and key for HTTPS.
    pub tls: Option<TlsSettings>,
    /// Serve plain HTTP, which is possible on a loopback address only.
    pub insecure_loopback: bool,
    /// Where to serve metrics; nowhere when absent.
    pub metrics_listen: Option<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` is believed, as networks, e.g. `10.0.0.0/8`.
    pub trusted_proxies: Vec<IpNet>,
    /// For how many seconds it still serves after it was told to stop, so that whoever sends it requests notices: 0 to 60.
    pub drain_seconds: u32,
    /// The folder for everything the server writes, relative to the configuration's folder.
    pub data_dir: PathBuf,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8600),
            public_url: None,
            tls: None,
            insecure_loopback: false,
            metrics_listen: None,
            trusted_proxies: Vec::new(),
            drain_seconds: 5,
            data_dir: PathBuf::from("data"),
        }
    }
}

/// `[server.tls]`: certificate and key for HTTPS, in PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate, then those that signed it.
    pub cert_file: PathBuf,
    /// Its private key; a file that only its owner may read.
    pub key_file: PathBuf,
}

/// `[store]`: where records are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// `sqlite:PATH`, relative to the data folder; or `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full`, without a
    /// password.
    pub url: String,
    /// Where PostgreSQL's password is, if it wants one.
    pub password: Option<SecretRef>,
    /// Connections for reading; one more writes, and one more reads for what ends authority.
    pub read_connections: u32,
    /// Whether the server brings the schema up to date when it starts. When absent: yes for a file, no for PostgreSQL, where
    /// `hallpass migrate` does it once before the replicas start.
    pub migrate: Option<bool>,
    /// Whether replicas on PostgreSQL tell each other at once what has changed (`LISTEN`/`NOTIFY`). They look for themselves
    /// every two seconds all the same; switch it off for a connection pooler that does not pass it on.
    pub listen: bool,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { url: "sqlite:hallpass.db".to_owned(), password: None, read_connections: 4, migrate: None, listen: true }
    }
}

impl StoreSection {
    /// Whether it is a server that several replicas may share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.url.starts_with("postgres://")
    }
}

/// `[keys]`: the keys that sign credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// Where the key-encryption key is, under which the signing keys are kept: 32 bytes in base64, as
    /// `hallpass keys generate-kek` makes it.
    pub kek: SecretRef,
    /// `ES256` or `Ed25519`.
    #[serde(default = "es256")]
    pub algorithm: KeyAlgorithm,
    /// For how many seconds others may cache our public keys: 1 to 3600.
    #[serde(default = "five_minutes")]
    pub jwks_max_age_seconds: u32,
    /// After how many days another key signs: 1 to 365.
    #[serde(default = "thirty")]
    pub rotate_after_days: u32,
}

const fn es256() -> KeyAlgorithm {
    KeyAlgorithm::Es256
}

const fn five_minutes() -> u32 {
    300
}

const fn thirty() -> u32 {
    30
}

/// `[policy]`: the policy bundle.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// The bundle's folder, relative to the configuration's folder.
    pub folder: PathBuf,
    /// How often the folder is looked at for a change, in seconds; 0 means only at start.
    pub watch_seconds: u32,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { folder: PathBuf::from("policies"), watch_seconds: 5 }
    }
}

/// `[intervals]`: how often the broker looks, and how long it waits, each 1 to 3600 seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntervalSettings {
    /// Ending what is due.
    pub ending_seconds: u32,
    /// Looking through the backends for what nobody answers for.
    pub reconcile_seconds: u32,
    /// Rotating keys, refreshing issuers, forgetting.
    pub upkeep_seconds: u32,
    /// Finishing what is under way when the broker stops.
    pub finish_seconds: u32,
}

impl Default for IntervalSettings {
    fn default() -> Self {
        Self { ending_seconds: 1, reconcile_seconds: 60, upkeep_seconds: 30, finish_seconds: 15 }
    }
}

/// `[[resource_servers]]`: who may introspect credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceServerSettings {
    /// Its client id.
    pub id: String,
    /// Where its secret is: at least 32 characters.
    pub secret: SecretRef,
    /// The audiences it may ask about.
    pub audiences: Vec<String>,
}

/// `[access_requests]`: how access requests of AuthZEN clients are told of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessRequestSettings {
    /// Hosts that callbacks may go to, as `host` (port 443) or `host:port`; none by default. Their addresses must be public.
    pub callback_hosts: Vec<String>,
    /// The same for hosts of this network, which may have any address.
    pub private_callback_hosts: Vec<String>,
}

/// `[limits]`: how much at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Calls a minute of one address that are not authenticated, or whose token is refused.
    pub address_per_minute: u32,
    /// Calls a minute with tokens of one issuer.
    pub issuer_per_minute: u32,
    /// Calls a minute of one person.
    pub operator_per_minute: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { address_per_minute: 60, issuer_per_minute: 6_000, operator_per_minute: 300 }
    }
}

impl Config {
    /// The folder of the configuration's file, which paths in it are relative to.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.path.parent().map(PathBuf::from).unwrap_or_default()
    }

    /// The URL by which others reach the API, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> String {
        let url = self.server.public_url.clone().unwrap_or_else(|| {
            let scheme = if self.server.tls.is_some() { "https" } else { "http" };
            format!("{scheme}://{}", self.server.listen)
        });
        url.trim_end_matches('/').to_owned()
    }
}

//! What the configuration says of a PostgreSQL server, checked once: nothing is sent in the clear beyond this machine, every
//! name that will stand in a statement is one, and what a catalogue may hand out is on a list.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::quote::Ident;
use crate::minter::{BackendSettings, MintError, MinterDeps};
use crate::sys::{ExposeSecret as _, SecretRef, is_loopback};

/// What each connection of ours gets, in milliseconds. A statement that was sent ends or fails within two seconds, and a
/// transaction whose end never comes is undone two seconds later: nothing that we gave up on lands after that.
const LIMITS: [(&str, &str); 6] = [
    ("statement_timeout", "2000"),
    ("lock_timeout", "2000"),
    ("idle_in_transaction_session_timeout", "2000"),
    ("search_path", "pg_catalog"),
    ("client_min_messages", "warning"),
    ("jit", "off"),
];
/// PostgreSQL's port.
const PORT: u16 = 5432;
/// Most databases, or groups, of one backend.
const MAX_NAMES: usize = 100;

/// A backend of kind `postgres`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How the broker reaches the server, without a password: `postgres://user@host:port/database`.
    url: String,
    /// Where the broker's password is.
    password: Option<SecretRef>,
    /// The authority that signed the server's certificate, a PEM file; otherwise those the system trusts.
    ca_file: Option<PathBuf>,
    /// The databases that roles are for; by default that of `url`.
    #[serde(default)]
    databases: Vec<String>,
    /// The groups a role may be put into.
    groups: Vec<String>,
    /// How holders of a credential reach the server, where they do so by another way than the broker.
    advertise: Option<Advertise>,
    /// Most connections of one role at the same time.
    #[serde(default = "ten")]
    connection_limit: u16,
    /// Whether the broker's login may be a superuser.
    #[serde(default)]
    allow_superuser: bool,
    /// Whether a group may be allowed to create objects.
    #[serde(default)]
    allow_create: bool,
}

/// Another way to the server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advertise {
    /// The host's name or address.
    host: String,
    /// Its port.
    port: Option<u16>,
}

const fn ten() -> u16 {
    10
}

/// A server, and what roles there may be.
pub(super) struct Target {
    /// How to connect to the database of the URL.
    pub(super) options: PgConnectOptions,
    /// The database of the URL, where roles are made.
    pub(super) home: Ident,
    /// The databases that roles are for, the first one where an entry names none.
    pub(super) databases: Vec<Ident>,
    /// The groups a role may be put into.
    pub(super) groups: BTreeSet<Ident>,
    /// Where holders of a credential find the server: a host's name, its address, or the folder of a socket.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// Most connections of one role.
    pub(super) connection_limit: u16,
    /// Whether our login may be a superuser.
    pub(super) allow_superuser: bool,
    /// Whether a group may be allowed to create objects.
    pub(super) allow_create: bool,
}

impl Target {
    /// Read a backend's settings, and its password.
    pub(super) fn new(settings: &BackendSettings, deps: &MinterDeps) -> Result<Self, MintError> {
        let read: Settings = settings.read()?;
        Self::checked(read, &deps.folder)
            .map_err(|why| MintError::Misconfigured(format!("backend `{}` of kind `postgres`: {why}", settings.name)))
    }

    fn checked(settings: Settings, folder: &Path) -> Result<Self, String> {
        let Route { options, home, host, port } = route(&settings, folder)?;
        let mut databases = names("databases", &settings.databases)?;
        if databases.is_empty() {
            databases.push(home.clone());
        }
        let groups: BTreeSet<Ident> = names("groups", &settings.groups)?.into_iter().collect();
        if groups.is_empty() {
            return Err("`groups` is empty: name the groups that the catalogue may put a role into".to_owned());
        }
        if !(1..=100).contains(&settings.connection_limit) {
            return Err("`connection_limit` is 1 to 100".to_owned());
        }
        let (host, port) = match settings.advertise {
            None => (host, port),
            Some(Advertise { host, port: other }) if is_host(&host) => (host, other.unwrap_or(port)),
            Some(_) => {
                return Err("`advertise.host` is a name, an address without brackets, or a socket's folder".to_owned());
            }
        };
        Ok(Self {
            options,
            home,
            databases,
            groups,
            host,
            port,
            connection_limit: settings.connection_limit,
            allow_superuser: settings.allow_superuser,
            allow_create: settings.allow_create,
        })
    }

    /// Every database in which a role may have left something.
    pub(super) fn all_databases(&self) -> BTreeSet<&Ident> {
        self.databases.iter().chain([&self.home]).collect()
    }
}

struct Route {
    options: PgConnectOptions,
    home: Ident,
    host: String,
    port: u16,
}

fn route(settings: &Settings, folder: &Path) -> Result<Route, String> {
    let refuse = |why: &str| Err(format!("`url` {why}"));
    let url = match Url::parse(&settings.url) {
        Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => url,
        Ok(_) | Err(_) => return refuse("is `postgres://user@host:port/database`"),
    };
    if url.password().is_some() || url.query_pairs().any(|(name, _)| !matches!(&*name, "sslmode" | "host")) {
        return refuse(
            "has `sslmode` and `host` at most after its `?`, and no password: say in `password` where it is",
        );
    }
    let given = |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
    if url.username().is_empty() || url.path().len() < 2 || (url.host_str().is_none() && given("host").is_none()) {
        return refuse("names a user, a host and a database: `postgres://user@host:port/database`");
    }
    let options = PgConnectOptions::from_url(&url).map_err(|error| format!("`url`: {error}"))?;
    let socket = options.get_socket().map(|folder| folder.display().to_string());
    let host = socket.clone().unwrap_or_else(|| options.get_host().trim_matches(['[', ']']).to_owned());
    let near = socket.is_some() || is_loopback(&host);
    let mode = match given("sslmode").as_deref() {
        Some("verify-full") => PgSslMode::VerifyFull,
        None if !near => PgSslMode::VerifyFull,
        None | Some("disable") if near => PgSslMode::Disable,
        None | Some(_) => {
            return refuse(
                "leaves this machine, so the server's certificate must be verified: leave out `sslmode`, and name the \
                authority in `ca_file`",
            );
        }
    };
    let home = options.get_database().unwrap_or_default();
    let home = Ident::new(home).map_err(|why| format!("the database of `url`: {why}"))?;
    let password = settings.password.clone().map(|secret| secret.below(folder).read()).transpose()?;
    let port = url.port().unwrap_or(PORT);
    let mut options = options
        .host(&host)
        .port(port)
        .ssl_mode(mode)
        // Without one, the driver would take one from its surroundings.
        .password(password.as_ref().map_or("", |password| password.expose_secret()))
        .application_name("hallpass")
        .options(LIMITS)
        .disable_statement_logging();
    if let Some(file) = &settings.ca_file {
        options = options.ssl_root_cert(folder.join(file));
    }
    Ok(Route { options, home, host, port })
}

fn names(key: &str, written: &[String]) -> Result<Vec<Ident>, String> {
    if written.len() > MAX_NAMES {
        return Err(format!("`{key}` has at most {MAX_NAMES} names"));
    }
    written.iter().map(|name| Ident::new(name).map_err(|why| format!("`{key}`, `{name}`: {why}"))).collect()
}

fn is_host(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/');
    (1..=255).contains(&host.len()) && host.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, more: &str) -> Result<Target, String> {
        let settings = toml::from_str(&format!("url = '{url}'\ngroups = ['readers']\n{more}")).unwrap();
        Target::checked(settings, Path::new("/nowhere"))
    }

    #[test]
    fn pg_14_nothing_goes_in_the_clear_beyond_this_machine() {
        let mode = |url: &str| target(url, "").map(|target| target.options.get_ssl_mode());
        for url in ["postgres://b@db.acme.example/app", "postgres://b@10.0.0.7/app", "postgresql://b@[fd00::7]/app"] {
            assert!(matches!(mode(url), Ok(PgSslMode::VerifyFull)), "{url}");
            assert!(matches!(mode(&format!("{url}?sslmode=verify-full")), Ok(PgSslMode::VerifyFull)), "{url}");
            for weak in ["disable", "allow", "prefer", "require", "verify-ca"] {
                let error = mode(&format!("{url}?sslmode={weak}")).unwrap_err();
                assert!(error.contains("ca_file"), "{url} {weak}: {error}");
            }
        }
        for url in ["postgres://b@127.0.0.1:6543/app", "postgres://b@[::1]/app", "postgres://b@%2Frun%2Fpg/app"] {
            assert!(matches!(mode(url), Ok(PgSslMode::Disable)), "{url}");
        }
        assert!(matches!(mode("postgres://b@localhost/app?sslmode=verify-full"), Ok(PgSslMode::VerifyFull)));
        // A query that names another host decides whether it is near.
        assert!(matches!(mode("postgres://b@localhost/app?host=db.acme.example"), Ok(PgSslMode::VerifyFull)));
        assert!(mode("postgres://b@localhost/app?host=db.acme.example&sslmode=disable").is_err());
    }

    #[test]
    fn what_is_missing_or_out_of_place_is_named() {
        for (url, more, why) in [
            ("postgres://b:secret@localhost/app", "", "no password"),
            ("postgres://b@localhost/app?options=-c%20x", "", "at most"),
            ("postgres://localhost/app", "", "names a user"),
            ("postgres://b@localhost", "", "a database"),
            ("mysql://b@localhost/app", "", "postgres://"),
            ("postgres://b@localhost/app", "databases = ['']", "`databases`"),
            ("postgres://b@localhost/app", "connection_limit = 0", "`connection_limit`"),
            ("postgres://b@localhost/app", "advertise = { host = 'a b' }", "`advertise.host`"),
            ("postgres://b@localhost/app", "password = { file = 'gone' }", "/nowhere/gone"),
        ] {
            let error = target(url, more).err().unwrap_or_default();
            assert!(error.contains(why) && !error.contains("secret"), "{url} {more}: {error}");
        }
    }
}

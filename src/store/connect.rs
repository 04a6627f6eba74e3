//! From a URL to connections that keep their promises: full durability is set and read back, because neither database has to
//! have it and a driver that drops a setting says nothing.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use url::Url;

use super::codec::Database;
use super::lock::{FileLock, refuse_readable_by_others};
use super::{StoreError, unavailable};
use crate::sys::{ExposeSecret as _, SecretString};

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Where: `sqlite:` and a path, absolute or relative to the working directory; or `postgres://user@host:port/database`.
    pub url: String,
    /// PostgreSQL's password, if it wants one; never part of the URL, which is shown in errors.
    pub password: Option<SecretString>,
    /// Connections for reading; as many as there are for it, one more is kept for what ends authority.
    pub read_connections: u32,
    /// Whether to migrate a database that is behind; otherwise it is refused.
    pub migrate: bool,
    /// Whether to listen to other replicas, where the database can tell them; otherwise what they do is only looked up.
    pub listen: bool,
    /// Whether a file is to be this process's alone while it is open; a server is shared.
    pub exclusive: bool,
    /// Where to note which event was seen last, so that a database that was put back is noticed after a restart. A file's
    /// mark is next to it unless told; without a place for it, a server's mark is kept in memory only.
    pub mark: Option<PathBuf>,
}

impl StoreSettings {
    /// The settings for a URL: four connections for reading, and the schema is brought up to date.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let (exclusive, mark) = (false, None);
        Self { url: url.into(), password: None, read_connections: 4, migrate: true, listen: true, exclusive, mark }
    }
}

/// What every connection to SQLite gets before anything else; two seconds of patience with another process that holds it.
const SQLITE: &str = "-- connect.sqlite
    PRAGMA busy_timeout = 2000; PRAGMA page_size = 8192; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF";
/// What the one writing connection to SQLite gets.
const SQLITE_WRITER: &str = "-- connect.sqlite_writer
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -24000";
/// What every reading connection to SQLite gets.
const SQLITE_READER: &str = "-- connect.sqlite_reader
    PRAGMA query_only = ON; PRAGMA cache_size = -4000";
/// What every connection to PostgreSQL gets: nothing of ours runs long, and nobody else's settings decide what our text means.
const POSTGRES: &str = "-- connect.postgres
    SET statement_timeout = '5s'; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '2s';
    SET client_min_messages = 'warning'; SET standard_conforming_strings = on; SET jit = off";
/// What the one writing connection to PostgreSQL gets. Statements take turns, so that one replica's group is written after
/// another's; a replica that is stopped in the middle of its turn loses it. Every grouped statement finds its rows by an index:
/// planned once, on tables that were small then, it would read them from end to end for as long as the connection lives.
const POSTGRES_WRITER: &str = "-- connect.postgres_writer
    SET synchronous_commit = on; SET default_transaction_isolation = 'read committed';
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";
/// What every reading connection to PostgreSQL gets.
const POSTGRES_READER: &str = "-- connect.postgres_reader
    SET default_transaction_read_only = on";
/// The oldest PostgreSQL that is tested, as it numbers itself.
const OLDEST_POSTGRES: i64 = 150_000;
/// How long connecting may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and how to connect, checked.
#[derive(Clone)]
pub(super) struct Target {
    options: AnyConnectOptions,
    /// The same for listening to other replicas, unless that is switched off.
    pub(super) listen: Option<PgConnectOptions>,
    /// The file, where it is one.
    path: Option<PathBuf>,
    read_connections: u32,
    exclusive: bool,
    mark: Option<PathBuf>,
}

impl Target {
    /// Check the settings.
    pub(super) fn new(settings: &StoreSettings) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let read_connections = settings.read_connections.max(1);
        if settings.url.starts_with("postgres://") {
            let url = postgres_url(settings)?;
            let options = <AnyConnectOptions as sqlx::ConnectOptions>::from_url(&url).map_err(unavailable)?;
            let listen = <PgConnectOptions as sqlx::ConnectOptions>::from_url(&url).map_err(unavailable)?;
            let listen = settings.listen.then(|| listen.disable_statement_logging());
            let options = options.disable_statement_logging();
            let mark = settings.mark.clone();
            return Ok(Self { options, listen, path: None, read_connections, exclusive: false, mark });
        }
        let refuse = |why: &str| StoreError::Unavailable(format!("`{}`: {why}", settings.url));
        let path = settings
            .url
            .strip_prefix("sqlite:")
            .map(|path| path.strip_prefix("//").unwrap_or(path))
            // The URL is not repeated: one for another database would hold a password.
            .ok_or_else(|| {
                StoreError::Unavailable(
                    "write `sqlite:` and the path of a file, or `postgres://user@host/database`".to_owned(),
                )
            })?;
        if path.is_empty() || path.contains(['?', '#', '%']) || path.starts_with(":memory:") {
            return Err(refuse("write `sqlite:` and the path of a file, without `?`, `#` or `%`"));
        }
        let options: AnyConnectOptions = settings.url.parse().map_err(unavailable)?;
        let options = options.disable_statement_logging();
        let mark = settings.mark.clone().unwrap_or_else(|| format!("{path}-mark").into());
        let (path, mark) = (Some(path.into()), Some(mark));
        Ok(Self { options, listen: None, path, read_connections, exclusive: settings.exclusive, mark })
    }

    /// Which database it is.
    pub(super) const fn database(&self) -> Database {
        if self.path.is_some() { Database::Sqlite } else { Database::Postgres }
    }

    /// Make the file if there is none, readable and writable by its owner alone; the write-ahead log inherits that.
    pub(super) fn create_file(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let Some(path) = &self.path else { return Ok(()) };
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(file) => {
                // The file's name must survive a power loss as its contents do.
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = std::fs::File::open(folder.unwrap_or_else(|| ".".as_ref()));
                file.sync_all().and(folder).and_then(|folder| folder.sync_all())
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return refuse_readable_by_others(path),
            Err(error) => Err(error),
        }
        .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
    }

    /// Take the file for this process alone, if it is to be so.
    pub(super) fn lock(&self) -> Result<Option<FileLock>, StoreError> {
        let path = self.path.as_ref().filter(|_| self.exclusive);
        path.map(|path| FileLock::take(path)).transpose()
    }

    /// The file, where it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Where the last event that was seen is noted.
    pub(super) fn mark(&self) -> Option<&Path> {
        self.mark.as_deref()
    }

    /// The connection that writes.
    pub(super) async fn writer(&self) -> Result<AnyConnection, StoreError> {
        let late = |_| StoreError::Unavailable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
        tokio::time::timeout(CONNECT_TIMEOUT, self.connect_writer()).await.map_err(late)?
    }

    async fn connect_writer(&self) -> Result<AnyConnection, StoreError> {
        let mut connection = AnyConnection::connect_with(&self.options).await.map_err(unavailable)?;
        match self.database() {
            Database::Sqlite => {
                prepare(&mut connection, SQLITE, SQLITE_WRITER).await.map_err(unavailable)?;
                check_sqlite(&mut connection).await?;
            }
            Database::Postgres => {
                prepare(&mut connection, POSTGRES, POSTGRES_WRITER).await.map_err(unavailable)?;
                check_postgres(&mut connection).await?;
            }
        }
        Ok(connection)
    }

    /// The connections that read: those for everybody, and one that is kept for what ends authority.
    pub(super) async fn readers(&self) -> Result<(AnyPool, AnyPool), StoreError> {
        Ok((self.pool(self.read_connections).await?, self.pool(1).await?))
    }

    async fn pool(&self, connections: u32) -> Result<AnyPool, StoreError> {
        let (common, role) = match self.database() {
            Database::Sqlite => (SQLITE, SQLITE_READER),
            Database::Postgres => (POSTGRES, POSTGRES_READER),
        };
        AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| Box::pin(prepare(connection, common, role)))
            .connect_with(self.options.clone())
            .await
            .map_err(|error| {
                if !matches!(error, sqlx::Error::PoolTimedOut) {
                    return unavailable(error);
                }
                StoreError::Unavailable(format!(
                    "no further connection within {} s; each replica needs {} of them",
                    CONNECT_TIMEOUT.as_secs(),
                    self.read_connections.saturating_add(3)
                ))
            })
    }
}

/// A URL for PostgreSQL, with the password in it, which only the driver sees.
fn postgres_url(settings: &StoreSettings) -> Result<Url, StoreError> {
    let refuse = |why: &str| StoreError::Unavailable(why.to_owned());
    let mut url = Url::parse(&settings.url).map_err(|_| refuse("store.url is not a URL"))?;
    if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
        return Err(refuse("store.url must not hold a password; name where it is in store.password"));
    }
    if let Some(password) = &settings.password {
        url.set_password(Some(password.expose_secret())).map_err(|()| refuse("store.url cannot take a password"))?;
    }
    Ok(url)
}

async fn prepare(connection: &mut AnyConnection, common: &'static str, role: &'static str) -> Result<(), sqlx::Error> {
    connection.execute(common).await?;
    connection.execute(role).await.map(drop)
}

async fn check_sqlite(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let journal: String = ask(connection, "PRAGMA journal_mode").await?;
    let synchronous: i64 = ask(connection, "PRAGMA synchronous").await?;
    if journal == "wal" && synchronous == 2 {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "the database did not accept full durability (journal_mode={journal}, synchronous={synchronous})"
    )))
}

/// What PostgreSQL must have switched on, so that what it committed is not lost with its machine.
const DURABLE: [(&str, &str); 3] = [
    ("fsync", "SHOW fsync"),
    ("full_page_writes", "SHOW full_page_writes"),
    ("synchronous_commit", "SHOW synchronous_commit"),
];

async fn check_postgres(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let version: String = ask(connection, "SHOW server_version_num").await?;
    if version.parse().is_ok_and(|version: i64| version < OLDEST_POSTGRES) {
        return Err(StoreError::Unavailable(format!("PostgreSQL {version} is too old; 15 or later is needed")));
    }
    let encoding: String = ask(connection, "SHOW server_encoding").await?;
    if encoding != "UTF8" {
        return Err(StoreError::Unavailable(format!("the database's encoding is {encoding}; make one with UTF8")));
    }
    let read_only: String = ask(connection, "SHOW transaction_read_only").await?;
    if read_only != "off" {
        return Err(StoreError::Unavailable(
            "PostgreSQL is read-only: a standby, or set so; connect to the primary".to_owned(),
        ));
    }
    for (name, show) in DURABLE {
        let set: String = ask(connection, show).await?;
        if set != "on" {
            return Err(StoreError::Unavailable(format!(
                "PostgreSQL has {name} = {set}; without it what it committed can be lost: set it to on"
            )));
        }
    }
    Ok(())
}

/// One value of one row.
async fn ask<T>(connection: &mut AnyConnection, sql: &'static str) -> Result<T, StoreError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    connection.fetch_one(sql).await.and_then(|row| row.try_get(0)).map_err(unavailable)
}

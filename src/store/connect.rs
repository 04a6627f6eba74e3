//! From a URL to connections that keep their promises: write-ahead log and full durability are set and read back, because
//! neither is the default and a driver that drops a setting says nothing.

use std::path::PathBuf;
use std::sync::Once;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::{StoreError, unavailable};

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Where: `sqlite:` and a path, absolute or relative to the working directory.
    pub url: String,
    /// Connections for reading.
    pub read_connections: u32,
}

impl StoreSettings {
    /// The settings for a URL: four connections for reading.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), read_connections: 4 }
    }
}

/// What every connection gets before anything else; two seconds of patience with another process that holds the database.
const COMMON: &str = "-- connect.common
    PRAGMA busy_timeout = 2000; PRAGMA page_size = 8192; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF";
/// What the one writing connection gets.
const WRITER: &str = "-- connect.writer
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -24000";
/// What every reading connection gets.
const READER: &str = "-- connect.reader
    PRAGMA query_only = ON; PRAGMA cache_size = -4000";

/// Where and how to connect, checked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    options: AnyConnectOptions,
    path: PathBuf,
    read_connections: u32,
}

impl Target {
    /// Check the settings.
    pub(super) fn new(settings: &StoreSettings) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let refuse = |why: &str| StoreError::Unavailable(format!("`{}`: {why}", settings.url));
        let path = settings
            .url
            .strip_prefix("sqlite:")
            .map(|path| path.strip_prefix("//").unwrap_or(path))
            .ok_or_else(|| refuse("write `sqlite:` and the path of a file"))?;
        if path.is_empty() || path.contains(['?', '#', '%']) || path.starts_with(":memory:") {
            return Err(refuse("write `sqlite:` and the path of a file, without `?`, `#` or `%`"));
        }
        let options: AnyConnectOptions = settings.url.parse().map_err(unavailable)?;
        let options = options.disable_statement_logging();
        Ok(Self { options, path: path.into(), read_connections: settings.read_connections })
    }

    /// Make the file if there is none, readable and writable by its owner alone; the write-ahead log inherits that.
    pub(super) fn create_file(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
        match made {
            Ok(file) => {
                // The file's name must survive a power loss as its contents do.
                let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = std::fs::File::open(folder.unwrap_or_else(|| ".".as_ref()));
                file.sync_all().and(folder).and_then(|folder| folder.sync_all())
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.path.display())))
    }

    /// The connection that writes.
    pub(super) async fn writer(&self) -> Result<AnyConnection, StoreError> {
        let mut connection = AnyConnection::connect_with(&self.options).await.map_err(unavailable)?;
        prepare(&mut connection, WRITER).await.map_err(unavailable)?;
        let journal: String = ask(&mut connection, "PRAGMA journal_mode").await?;
        let synchronous: i64 = ask(&mut connection, "PRAGMA synchronous").await?;
        if journal != "wal" || synchronous != 2 {
            return Err(StoreError::Unavailable(format!(
                "the database did not accept full durability (journal_mode={journal}, synchronous={synchronous})"
            )));
        }
        Ok(connection)
    }

    /// The connections that read.
    pub(super) async fn readers(&self) -> Result<AnyPool, StoreError> {
        AnyPoolOptions::new()
            .max_connections(self.read_connections.max(1))
            .acquire_timeout(std::time::Duration::from_secs(5))
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(|connection, _| Box::pin(prepare(connection, READER)))
            .connect_with(self.options.clone())
            .await
            .map_err(unavailable)
    }
}

async fn prepare(connection: &mut AnyConnection, role: &'static str) -> Result<(), sqlx::Error> {
    connection.execute(COMMON).await?;
    connection.execute(role).await.map(drop)
}

/// One value of one row.
async fn ask<T>(connection: &mut AnyConnection, sql: &'static str) -> Result<T, StoreError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    connection.fetch_one(sql).await.and_then(|row| row.try_get(0)).map_err(unavailable)
}

//! Connections to a target's server, kept open, one set for each database; and what its errors mean to whoever called.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgDatabaseError, PgPoolOptions};
use sqlx::{PgConnection, PgPool, Postgres};

use super::quote::{Ident, Script};
use super::settings::Target;
use crate::minter::MintError;

/// Most connections to one database; a call holds one while it ends sessions.
const CONNECTIONS: u32 = 16;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A server.
pub(super) struct Server {
    pools: BTreeMap<Ident, PgPool>,
}

impl Server {
    /// One that nobody has connected to yet.
    pub(super) fn new(target: &Target) -> Self {
        let pool = |database: &Ident| {
            PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(CONNECT_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(target.options.clone().database(database.as_str()))
        };
        Self { pools: target.all_databases().into_iter().map(|name| (name.clone(), pool(name))).collect() }
    }

    /// The databases.
    pub(super) fn databases(&self) -> impl Iterator<Item = &Ident> {
        self.pools.keys()
    }

    /// A connection to one of them.
    pub(super) async fn connect(&self, database: &Ident) -> Result<PoolConnection<Postgres>, MintError> {
        let Some(pool) = self.pools.get(database) else {
            return Err(MintError::Misconfigured(format!(
                "the database {database} is not one of the backend's any more"
            )));
        };
        pool.acquire().await.map_err(|error| {
            if let sqlx::Error::Tls(why) = &error {
                return MintError::Misconfigured(format!("no verified TLS to the server: {why}"));
            }
            failed(error)
        })
    }
}

/// Run statements in one transaction of their own.
pub(super) async fn run(connection: &mut PgConnection, script: Script) -> Result<(), sqlx::Error> {
    use sqlx::Executor as _;
    connection.execute(script.into_sql()).await.map(drop)
}

/// What an error means. Neither a statement nor a value is in its text.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn failed(error: sqlx::Error) -> MintError {
    let Some(told) = error.as_database_error().and_then(|told| told.try_downcast_ref::<PgDatabaseError>()) else {
        return MintError::Unavailable(error.to_string());
    };
    let detail = told.detail().map(|detail| format!(" ({})", detail.replace('\n', "; "))).unwrap_or_default();
    let text = format!("{}{detail} [SQLSTATE {}]", told.message(), told.code());
    match told.code() {
        // Duplicate object, tuple updated at the same time: somebody else works on the role, e.g. a repeated mint.
        "42710" | "23505" | "XX000" => MintError::Unavailable(text),
        "3D000" | "28000" | "28P01" | "42501" => {
            MintError::Misconfigured(format!("{text}; `hallpass doctor` says which rights the broker's login lacks"))
        }
        // Connection, resources, limits reached and locks, operator's intervention, the server's own trouble.
        code if ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            MintError::Unavailable(text)
        }
        _ => MintError::Refused(text),
    }
}

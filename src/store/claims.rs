//! What the sweeps ask of the leases: which are due, whose work each one is, and how badly ending them goes. A claim is
//! committed before anybody is told anything, and whoever comes later with the fence of before changes nothing.

use sqlx::AnyConnection;

use super::codec::{Database, Reader};
use super::leases::{self, columns};
use super::{Store, StoreError, unavailable};
use crate::domain::{Lease, LeaseId, Name, Timestamp};

const TABLE: &str = "lease";

/// Rows that another replica is at work on are left to it where several write at a time (PostgreSQL); to SQLite one writes.
macro_rules! unlocked {
    ($before:expr, $after:expr) => {
        ByDatabase { sqlite: concat!($before, $after), postgres: concat!($before, " FOR UPDATE SKIP LOCKED", $after) }
    };
}

struct ByDatabase {
    sqlite: &'static str,
    postgres: &'static str,
}

impl ByDatabase {
    const fn text(&self, database: Database) -> &'static str {
        match database {
            Database::Sqlite => self.sqlite,
            Database::Postgres => self.postgres,
        }
    }
}

/// Take the longest due of a backend: raise their fence, and keep them from others until the claim runs out.
const CLAIM: ByDatabase = unlocked!(
    "-- claims.claim
    WITH due AS MATERIALIZED (SELECT id FROM lease WHERE backend = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3",
    concat!(
        ") UPDATE lease SET fence = fence + 1, due_at = $4, claimed_by = $5 WHERE id IN (SELECT id FROM due) RETURNING ",
        columns!()
    )
);

/// Have what could not be ended yet tried again now.
const HASTEN: ByDatabase = unlocked!(
    "-- claims.hasten
    WITH failed AS MATERIALIZED (SELECT id FROM lease WHERE backend = $1 AND attempts >= 1 AND state = 'ending'
        AND due_at > $2 AND ends_by IS NULL AND disabled_at IS NULL AND claimed_by IS NULL",
    ") UPDATE lease SET due_at = $2 WHERE id IN (SELECT id FROM failed)"
);

const NEXT_BACKEND: &str = "-- claims.next_backend
    SELECT backend FROM lease WHERE due_at IS NOT NULL AND backend > $1 ORDER BY backend LIMIT 1";

const IS_DUE: &str = "-- claims.is_due
    SELECT id FROM lease WHERE backend = $1 AND due_at <= $2 LIMIT 1";

/// From the third failure on it counts as overdue, from the tenth as irrevocable (`Lease::is_irrevocable`).
const OVERDUE: &str = "-- claims.overdue
    SELECT COUNT(*) AS overdue, COUNT(*) FILTER (WHERE attempts >= 10) AS irrevocable, MIN(since) AS oldest
    FROM lease WHERE attempts >= 3 AND ends_by IS NULL AND disabled_at IS NULL";

/// As many ids as one statement takes.
const FIND_MANY: usize = 16;
const FIND: &str = concat!(
    "-- claims.find_many
    SELECT ",
    columns!(),
    " FROM lease WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
);

/// A worker's short exclusive hold on a row.
///
/// Here: whose work the due leases of a backend become, and for how long.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Of which backend.
    pub backend: Name,
    /// What was due by then.
    pub now: Timestamp,
    /// Who works on them.
    pub owner: String,
    /// Until when nobody else takes them up.
    pub until: Timestamp,
    /// At most so many.
    pub limit: u32,
}

/// How badly ending goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overdue {
    /// Leases whose end failed three times or more.
    pub overdue: u64,
    /// Those of them whose end failed ten times or more.
    pub irrevocable: u64,
    /// Since when the oldest of them should have ended.
    pub oldest: Option<Timestamp>,
}

/// Take due leases, in a transaction of its own.
pub(super) async fn claim(
    connection: &mut AnyConnection,
    database: Database,
    claim: &Claim,
) -> Result<Vec<Lease>, StoreError> {
    let query = sqlx::query(CLAIM.text(database))
        .bind(claim.backend.to_string())
        .bind(claim.now.as_millis())
        .bind(i64::from(claim.limit))
        .bind(claim.until.as_millis())
        .bind(claim.owner.clone());
    let rows = query.fetch_all(connection).await.map_err(unavailable)?;
    rows.iter().map(leases::read).collect()
}

/// Let those whose end failed be due now; how many.
pub(super) async fn hasten(
    connection: &mut AnyConnection,
    database: Database,
    backend: &Name,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(HASTEN.text(database)).bind(backend.to_string()).bind(now.as_millis());
    Ok(query.execute(connection).await.map_err(unavailable)?.rows_affected())
}

impl Store {
    /// Take the longest due leases of a backend, each with its fence raised: from the answer on they are the caller's until
    /// the claim runs out, and every later write of somebody else's changes nothing. Nothing is loaded that is not due.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Unknown`] or [`StoreError::Corrupt`].
    pub async fn claim_due_leases(&self, claim: Claim) -> Result<Vec<Lease>, StoreError> {
        self.inner.queue.claim(claim)?.wait().await
    }

    /// Let those leases of a backend be due now whose end failed before: it is well again. How many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn hasten_endings(&self, backend: &Name, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.queue.hasten(backend.clone(), now)?.wait().await
    }

    /// The backends of which a lease is due.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_due_backends(&self, now: Timestamp) -> Result<Vec<Name>, StoreError> {
        let mut due = Vec::new();
        let mut after = String::new();
        loop {
            let next = self.find(sqlx::query(NEXT_BACKEND).bind(after), backend).await?;
            let Some(name) = next else { return Ok(due) };
            after = name.to_string();
            let query = sqlx::query(IS_DUE).bind(after.clone()).bind(now.as_millis());
            if self.find(query, |_| Ok(())).await?.is_some() {
                due.push(name);
            }
        }
    }

    /// How many leases should have ended and have not, though it was tried again and again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn overdue_endings(&self) -> Result<Overdue, StoreError> {
        let found = self.find(sqlx::query(OVERDUE), |row| {
            let row = Reader::new(TABLE, row);
            let count = |column| Ok::<_, StoreError>(u64::try_from(row.int(column)?).unwrap_or(0));
            Ok(Overdue {
                overdue: count("overdue")?,
                irrevocable: count("irrevocable")?,
                oldest: row.maybe_time("oldest")?,
            })
        });
        Ok(found.await?.unwrap_or_default())
    }

    /// The leases of these ids, as far as there are any.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_leases(&self, ids: &[LeaseId]) -> Result<Vec<Lease>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(FIND_MANY) {
            let mut query = sqlx::query(FIND);
            for at in 0..FIND_MANY {
                query = query.bind(some.get(at).map_or_else(String::new, ToString::to_string));
            }
            found.extend(self.list(query, leases::read).await?);
        }
        Ok(found)
    }
}

fn backend(row: &sqlx::any::AnyRow) -> Result<Name, StoreError> {
    Reader::new(TABLE, row).parse("backend")
}

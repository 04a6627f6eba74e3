//! What it takes to end a credential that cannot be ended by name, sealed by the broker's key-encryption key: nobody here can
//! read it. A row is written in the commit that records its lease as minted, and goes in the one that records its end.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx};
use crate::domain::{LeaseId, Timestamp};

const TABLE: &str = "kept_secret";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    // Few groups have any, so these rows are no part of the statement that most groups are.
    expect: Expect::Each,
    sql: grouped!(
        "-- kept_secrets.insert
        INSERT INTO kept_secret (lease_id, sealed, keep_until)
        SELECT v.value->>0, v.value->>1, CAST(v.value->>2 AS BIGINT) FROM "
    ),
};

pub(super) const DELETE: Statement = Statement {
    table: TABLE,
    expect: Expect::Any,
    sql: grouped!(
        "-- kept_secrets.delete
        DELETE FROM kept_secret WHERE lease_id IN (SELECT v.value->>0 FROM ",
        ")"
    ),
};

/// Forget some of what was kept until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- kept_secrets.forget
    DELETE FROM kept_secret WHERE keep_until <= $1 AND lease_id IN
        (SELECT lease_id FROM kept_secret WHERE keep_until <= $1 LIMIT $2)";

/// What ends one credential, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSecret {
    /// The lease it lives under.
    pub lease: LeaseId,
    /// The sealed bytes in base64.
    pub sealed: String,
    /// When it is of no use any more: the credential's native end.
    pub keep_until: Timestamp,
}

impl Tx {
    /// Keep what ends a credential, once for each lease.
    pub fn insert_kept_secret(&mut self, kept: &KeptSecret) {
        self.list.push(Change::KeptInsert, |row| {
            row.show(kept.lease).text(&kept.sealed).time(kept.keep_until);
        });
    }

    /// Keep it no longer, if anything is kept.
    pub fn delete_kept_secret(&mut self, lease: LeaseId) {
        self.list.push(Change::KeptDelete, |row| {
            row.show(lease);
        });
    }
}

impl Store {
    /// What is kept of this lease's credential.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_kept_secret(&self, lease: LeaseId) -> Result<Option<KeptSecret>, StoreError> {
        let query = sqlx::query(
            "-- kept_secrets.find
            SELECT lease_id, sealed, keep_until FROM kept_secret WHERE lease_id = $1",
        )
        .bind(lease.to_string());
        self.find(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<KeptSecret, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(KeptSecret {
        lease: row.parse("lease_id")?,
        sealed: row.text("sealed")?.to_owned(),
        keep_until: row.time("keep_until")?,
    })
}

//! Policy bundles as they were activated, by digest, so that old decisions can be replayed.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, page};
use crate::domain::{Digest, Timestamp};

const TABLE: &str = "bundle";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Any,
    sql: grouped!(
        "-- bundles.insert
        INSERT INTO bundle (digest, files, at) SELECT v.value->>0, v.value->>1, CAST(v.value->>2 AS BIGINT) FROM ",
        " WHERE 1 = 1 ON CONFLICT (digest) DO NOTHING"
    ),
};

/// A policy bundle as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBundle {
    /// Its digest.
    pub digest: Digest,
    /// Its files by path, as JSON.
    pub files_json: String,
    /// When it was first stored.
    pub at: Timestamp,
}

impl Tx {
    /// Keep a policy bundle; one that is there already stays as it is.
    pub fn insert_bundle(&mut self, digest: Digest, files_json: &str, at: Timestamp) {
        self.list.push(Change::BundleInsert, |row| {
            row.show(digest).text(files_json).time(at);
        });
    }
}

impl Store {
    /// The policy bundle of that digest.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_bundle(&self, digest: Digest) -> Result<Option<StoredBundle>, StoreError> {
        let query = sqlx::query(
            "-- bundles.find
            SELECT digest, files, at FROM bundle WHERE digest = $1",
        )
        .bind(digest.to_string());
        self.find(query, read).await
    }

    /// The policy bundles, newest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_bundles(&self, limit: u32) -> Result<Vec<StoredBundle>, StoreError> {
        let query = sqlx::query(
            "-- bundles.list
            SELECT digest, files, at FROM bundle ORDER BY at DESC, digest LIMIT $1",
        )
        .bind(page(limit));
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<StoredBundle, StoreError> {
    let row = Reader::new(TABLE, row);
    let files_json = row.text("files")?.to_owned();
    Ok(StoredBundle { digest: row.parse("digest")?, files_json, at: row.time("at")? })
}

//! Idempotency keys: which request a key was used for, and what came of it.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{IdempotencyRecord, Store, StoreError, Tx};

const TABLE: &str = "idempotency";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
        "-- idempotency.insert
        INSERT INTO idempotency (owner, used_key, request, subject, at, keep_until)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, CAST(v.value->>4 AS BIGINT),
            CAST(v.value->>5 AS BIGINT)
        FROM "
    ),
};

/// Forget some of what was kept until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- idempotency.forget
    DELETE FROM idempotency WHERE keep_until <= $1 AND (owner, used_key) IN
        (SELECT owner, used_key FROM idempotency WHERE keep_until <= $1 LIMIT $2)";

impl Tx {
    /// Note what a key was used for; commits once for each owner and key until it is forgotten after `keep_until`.
    pub fn insert_idempotency(&mut self, record: &IdempotencyRecord) {
        self.list.push(Change::Idempotency, |row| {
            row.text(&record.owner).text(&record.key).show(record.request).text(&record.subject);
            row.time(record.at).time(record.keep_until);
        });
    }
}

impl Store {
    /// Note what a key was used for, by itself: for an act that is safe to repeat, after it. Never authority, so it needs no
    /// events.
    ///
    /// # Errors
    /// Every [`StoreError`]; `Conflict` when the key was used before.
    pub async fn remember_idempotency(&self, record: &IdempotencyRecord) -> Result<(), StoreError> {
        let mut tx = self.begin("idempotency.remember");
        tx.insert_idempotency(record);
        tx.commit_without_facts().await
    }

    /// What an owner used a key for, if it is still remembered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_idempotency(&self, owner: &str, key: &str) -> Result<Option<IdempotencyRecord>, StoreError> {
        let query = sqlx::query(
            "-- idempotency.find
            SELECT owner, used_key, request, subject, at, keep_until FROM idempotency WHERE owner = $1 AND used_key = $2",
        )
        .bind(owner.to_owned())
        .bind(key.to_owned());
        self.find(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<IdempotencyRecord, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(IdempotencyRecord {
        owner: row.text("owner")?.to_owned(),
        key: row.text("used_key")?.to_owned(),
        request: row.parse("request")?,
        subject: row.text("subject")?.to_owned(),
        at: row.time("at")?,
        keep_until: row.time("keep_until")?,
    })
}

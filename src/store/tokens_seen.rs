//! Used tokens: a token's key is written once, so that nobody uses it twice.

use super::codec::grouped;
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx};
use crate::domain::{Digest, Timestamp};

pub(super) const INSERT: Statement = Statement {
    table: "token_seen",
    expect: Expect::New,
    sql: grouped!(
        "-- tokens_seen.insert
        INSERT INTO token_seen (token_key, at, keep_until)
        SELECT v.value->>0, CAST(v.value->>1 AS BIGINT), CAST(v.value->>2 AS BIGINT) FROM "
    ),
};

/// Forget some of what was kept until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- tokens_seen.forget
    DELETE FROM token_seen WHERE keep_until <= $1 AND token_key IN
        (SELECT token_key FROM token_seen WHERE keep_until <= $1 LIMIT $2)";

impl Tx {
    /// Note that a token was used; commits once for each key until it is forgotten after `keep_until`.
    pub fn insert_token_seen(&mut self, key: Digest, at: Timestamp, keep_until: Timestamp) {
        self.list.push(Change::TokenSeen, |row| {
            row.show(key).time(at).time(keep_until);
        });
    }
}

impl Store {
    /// Take what may be taken once, by its key: whether it was the first time. Not about authority, so it needs no event; what is
    /// then done has its own.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn take_once(&self, key: Digest, at: Timestamp, keep_until: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin("tokens_seen.take_once");
        tx.insert_token_seen(key, at, keep_until);
        match tx.commit_without_facts().await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

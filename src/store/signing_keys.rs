//! Signing keys, sealed: the store never sees one in clear.

use data_encoding::BASE64;
use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx};
use crate::domain::Timestamp;

const TABLE: &str = "signing_key";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- signing_keys.insert
        INSERT INTO signing_key (kid, state, algorithm, sealed, public_jwk, created_at, activates_at, retires_at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, CAST(v.value->>5 AS BIGINT),
            CAST(v.value->>6 AS BIGINT), CAST(v.value->>7 AS BIGINT)
        FROM "
    ),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- signing_keys.update
        UPDATE signing_key SET state = v.value->>2, sealed = v.value->>3, activates_at = CAST(v.value->>4 AS BIGINT),
            retires_at = CAST(v.value->>5 AS BIGINT)
        FROM ",
        " WHERE signing_key.kid = v.value->>0 AND signing_key.state = v.value->>1"
    ),
};

/// A signing key as it is stored: its secret half is sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// Its name.
    pub kid: String,
    /// What it signs with, as a JOSE word.
    pub algorithm: String,
    /// Where it is in its life.
    pub state: String,
    /// The sealed secret half; emptied when it is retired.
    pub sealed: Vec<u8>,
    /// The public half as a JWK.
    pub public_jwk: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it may sign.
    pub activates_at: Timestamp,
    /// When it stopped being published.
    pub retires_at: Option<Timestamp>,
}

impl std::fmt::Debug for SealedKey {
    /// Without the sealed secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedKey").field("kid", &self.kid).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Tx {
    /// Add a signing key.
    pub fn insert_signing_key(&mut self, key: &SealedKey) {
        self.list.push(Change::KeyInsert, |row| {
            row.text(&key.kid).text(&key.state).text(&key.algorithm).text(&BASE64.encode(&key.sealed));
            row.text(&key.public_jwk).time(key.created_at).time(key.activates_at).maybe_time(key.retires_at);
        });
    }

    /// Change state, sealed half and times of a signing key that is still in this state.
    pub fn update_signing_key(&mut self, kid: &str, before_state: &str, after: &SealedKey) {
        self.list.push(Change::KeyUpdate, |row| {
            row.text(kid).text(before_state).text(&after.state).text(&BASE64.encode(&after.sealed));
            row.time(after.activates_at).maybe_time(after.retires_at);
        });
    }
}

impl Store {
    /// The signing keys, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_signing_keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        let query = sqlx::query(
            "-- signing_keys.list
            SELECT kid, algorithm, state, sealed, public_jwk, created_at, activates_at, retires_at
            FROM signing_key ORDER BY created_at, kid LIMIT $1",
        )
        .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<SealedKey, StoreError> {
    let row = Reader::new(TABLE, row);
    let sealed = BASE64.decode(row.text("sealed")?.as_bytes()).map_err(|error| row.corrupt("sealed", error))?;
    Ok(SealedKey {
        kid: row.text("kid")?.to_owned(),
        algorithm: row.text("algorithm")?.to_owned(),
        state: row.text("state")?.to_owned(),
        sealed,
        public_jwk: row.text("public_jwk")?.to_owned(),
        created_at: row.time("created_at")?,
        activates_at: row.time("activates_at")?,
        retires_at: row.maybe_time("retires_at")?,
    })
}

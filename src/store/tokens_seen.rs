//! Used tokens: a token's key is written once, so that nobody uses it twice.

use super::Tx;
use super::codec::grouped;
use super::tx::{Change, Expect, Statement};
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

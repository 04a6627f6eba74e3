//! Callbacks: who wants to be told of a filing's outcome. A row is written with its filing, taken by whoever tries it, and goes
//! when it was heard or given up. Being told is a courtesy and no authority, so that taking and forgetting need no events.

use sqlx::any::AnyRow;

use super::codec::{Columns, Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, page};
use crate::domain::{Callback, FilingId, Timestamp};

const TABLE: &str = "callback";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- callbacks.insert
        INSERT INTO callback (filing_id, tries, request_id, due_at, endpoint, state, events, keep_until)
        SELECT v.value->>0, CAST(v.value->>1 AS BIGINT), v.value->>2, CAST(v.value->>3 AS BIGINT), v.value->>4,
            v.value->>5, v.value->>6, CAST(v.value->>7 AS BIGINT)
        FROM "
    ),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- callbacks.update
        UPDATE callback SET tries = CAST(v.value->>2 AS BIGINT), request_id = v.value->>3,
            due_at = CAST(v.value->>4 AS BIGINT)
        FROM ",
        " WHERE callback.filing_id = v.value->>0 AND callback.tries = CAST(v.value->>1 AS BIGINT)"
    ),
};

pub(super) const DELETE: Statement = Statement {
    table: TABLE,
    expect: Expect::Any,
    sql: grouped!(
        "-- callbacks.delete
        DELETE FROM callback WHERE filing_id IN (SELECT v.value->>0 FROM ",
        ")"
    ),
};

/// Forget some of what was kept until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- callbacks.forget
    DELETE FROM callback WHERE keep_until <= $1 AND filing_id IN
        (SELECT filing_id FROM callback WHERE keep_until <= $1 LIMIT $2)";

fn moving(row: &mut Columns<'_>, callback: &Callback) {
    row.int(i64::from(callback.tries)).show(callback.request).time(callback.due_at);
}

impl Tx {
    /// Add a callback, once for each filing.
    pub fn insert_callback(&mut self, callback: &Callback) {
        self.list.push(Change::CallbackInsert, |row| {
            row.show(callback.filing);
            moving(row, callback);
            row.text(&callback.endpoint).maybe_text(callback.state.as_deref()).json(&callback.events);
            row.time(callback.keep_until);
        });
    }
}

impl Store {
    /// The callbacks that may be tried at `now` and whose request waits no more, longest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_due_callbacks(&self, now: Timestamp, limit: u32) -> Result<Vec<Callback>, StoreError> {
        let query = sqlx::query(
            "-- callbacks.list_due
            SELECT c.filing_id, c.request_id, c.endpoint, c.state, c.events, c.due_at, c.tries, c.keep_until
            FROM callback AS c JOIN access_request AS r ON r.id = c.request_id
            WHERE c.due_at <= $1 AND r.due_at IS NULL ORDER BY c.due_at LIMIT $2",
        )
        .bind(now.as_millis())
        .bind(page(limit));
        self.list(query, read).await
    }

    /// Take a callback that is still as `before` says: who takes it tries it, and nobody else does meanwhile. Never authority, so it
    /// needs no events.
    ///
    /// # Errors
    /// Every [`StoreError`]; `Conflict` when another replica took it.
    pub async fn take_callback(&self, before: &Callback, after: &Callback) -> Result<(), StoreError> {
        let mut tx = self.begin("callback.take");
        tx.list.push(Change::CallbackUpdate, |row| {
            row.show(before.filing).int(i64::from(before.tries));
            moving(row, after);
        });
        tx.commit_without_facts().await
    }

    /// Forget a callback that was heard or given up, if it is there.
    ///
    /// # Errors
    /// Every [`StoreError`].
    pub async fn forget_callback(&self, filing: FilingId) -> Result<(), StoreError> {
        let mut tx = self.begin("callback.forget");
        tx.list.push(Change::CallbackDelete, |row| {
            row.show(filing);
        });
        tx.commit_without_facts().await
    }
}

fn read(row: &AnyRow) -> Result<Callback, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Callback {
        filing: row.parse("filing_id")?,
        request: row.parse("request_id")?,
        endpoint: row.text("endpoint")?.to_owned(),
        state: row.maybe_text("state")?.map(str::to_owned),
        events: row.json("events")?,
        due_at: row.time("due_at")?,
        tries: u32::try_from(row.int("tries")?).map_err(|error| row.corrupt("tries", error))?,
        keep_until: row.time("keep_until")?,
    })
}

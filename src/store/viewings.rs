//! Viewings: when a person was first shown a request, so that how long somebody thought can be told. Nobody's authority hangs on
//! them, so they are written without events, and forgotten after a while.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError};
use crate::domain::{Person, RequestId, Timestamp};

const TABLE: &str = "viewing";
/// The most viewings that are read at once.
const MAX_VIEWINGS: i64 = 50_000;

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Any,
    sql: grouped!(
        "-- viewings.insert
        INSERT INTO viewing (request_id, person, at)
        SELECT v.value->>0, v.value->>1, CAST(v.value->>2 AS BIGINT) FROM ",
        " WHERE true ON CONFLICT (request_id, person) DO NOTHING"
    ),
};

/// Forget some of what is older than 90 days at `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- viewings.forget
    DELETE FROM viewing WHERE at <= $1 - 7776000000 AND (request_id, person) IN
        (SELECT request_id, person FROM viewing WHERE at <= $1 - 7776000000 LIMIT $2)";

/// When a person was first shown a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewing {
    /// The request.
    pub request: RequestId,
    /// The person.
    pub person: Person,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Note that a person is shown a request, unless that is noted already. Not about authority, so it needs no event.
    ///
    /// # Errors
    /// Those of a commit.
    pub async fn note_viewing(&self, viewing: &Viewing) -> Result<(), StoreError> {
        let mut tx = self.begin("viewing.note");
        tx.list.push(Change::ViewingInsert, |row| {
            row.show(viewing.request).text(viewing.person.as_str()).time(viewing.at);
        });
        tx.commit_without_facts().await
    }

    /// When a person was first shown a request.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_viewing(&self, request: RequestId, person: &Person) -> Result<Option<Viewing>, StoreError> {
        let query = sqlx::query(
            "-- viewings.find
            SELECT request_id, person, at FROM viewing WHERE request_id = $1 AND person = $2",
        )
        .bind(request.to_string())
        .bind(person.to_string());
        self.find(query, read).await
    }

    /// The viewings since a time, oldest first, at most 50,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_viewings(&self, since: Timestamp) -> Result<Vec<Viewing>, StoreError> {
        let query = sqlx::query(
            "-- viewings.list
            SELECT request_id, person, at FROM viewing WHERE at >= $1 ORDER BY at LIMIT $2",
        )
        .bind(since.as_millis())
        .bind(MAX_VIEWINGS);
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Viewing, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Viewing { request: row.parse("request_id")?, person: Person::new(row.text("person")?), at: row.time("at")? })
}

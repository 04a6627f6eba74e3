//! Reviews of what one person let pass alone: written with the grant, settled once, and noted once when they are overdue.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, page};
use crate::domain::{Person, RequestId, Review, Timestamp};

const TABLE: &str = "review";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- reviews.insert
        INSERT INTO review (request_id, task_id, agent_id, rule, breaker, broken_at, due_at, state)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, CAST(v.value->>5 AS BIGINT),
            CAST(v.value->>6 AS BIGINT), 'due'
        FROM "
    ),
};

pub(super) const SETTLE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- reviews.settle
        UPDATE review SET state = v.value->>1, reviewer = v.value->>2, note = v.value->>3,
            reviewed_at = CAST(v.value->>4 AS BIGINT)
        FROM ",
        " WHERE review.request_id = v.value->>0 AND review.reviewed_at IS NULL"
    ),
};

pub(super) const OVERDUE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- reviews.overdue
        UPDATE review SET overdue_at = CAST(v.value->>1 AS BIGINT)
        FROM ",
        " WHERE review.request_id = v.value->>0 AND review.reviewed_at IS NULL AND review.overdue_at IS NULL"
    ),
};

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT request_id, task_id, agent_id, rule, breaker, broken_at, due_at, state, reviewer, note, reviewed_at,
                overdue_at
            FROM review ",
            $rest
        )
    };
}

impl Tx {
    /// Add a review that is due.
    pub fn insert_review(&mut self, review: &Review) {
        self.list.push(Change::ReviewInsert, |row| {
            row.show(review.request).show(review.task).text(review.agent.as_str()).show(&review.rule);
            row.text(review.breaker.as_str()).time(review.broken_at).time(review.due_at);
        });
    }

    /// Settle a review that is due still.
    pub fn settle_review(&mut self, settled: &Review) {
        let Some((finding, person, note, at)) = &settled.found else { return };
        self.list.push(Change::ReviewSettle, |row| {
            row.show(settled.request).text(finding.as_str()).text(person.as_str()).text(note).time(*at);
        });
    }

    /// Note that a review is overdue, if it is due still and that is not noted yet.
    pub fn note_overdue_review(&mut self, review: &Review, now: Timestamp) {
        self.list.push(Change::ReviewOverdue, |row| {
            row.show(review.request).time(now);
        });
    }
}

impl Store {
    /// The review of a request.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_review(&self, request: RequestId) -> Result<Option<Review>, StoreError> {
        let query = sqlx::query(select!("reviews.find", "WHERE request_id = $1")).bind(request.to_string());
        self.find(query, read).await
    }

    /// Reviews that are due, those that have waited longest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_due_reviews(&self, limit: u32) -> Result<Vec<Review>, StoreError> {
        let sql = select!("reviews.list_due", "WHERE reviewed_at IS NULL ORDER BY due_at, request_id LIMIT $1");
        self.list(sqlx::query(sql).bind(page(limit)), read).await
    }

    /// All reviews, the newest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_reviews(&self, limit: u32) -> Result<Vec<Review>, StoreError> {
        let sql = select!("reviews.list", "ORDER BY request_id DESC LIMIT $1");
        self.list(sqlx::query(sql).bind(page(limit)), read).await
    }
}

fn read(row: &AnyRow) -> Result<Review, StoreError> {
    let row = Reader::new(TABLE, row);
    let found = match row.maybe_time("reviewed_at")? {
        Some(at) => Some((row.parse("state")?, Person::new(row.text("reviewer")?), row.text("note")?.to_owned(), at)),
        None => None,
    };
    Ok(Review {
        request: row.parse("request_id")?,
        task: row.parse("task_id")?,
        agent: row.parse("agent_id")?,
        rule: row.parse("rule")?,
        breaker: Person::new(row.text("breaker")?),
        broken_at: row.time("broken_at")?,
        due_at: row.time("due_at")?,
        found,
        overdue_at: row.maybe_time("overdue_at")?,
    })
}

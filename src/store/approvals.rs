//! Approvals: one verdict of one person on one access request, written once.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx, page};
use crate::domain::{Approval, Person, RequestId};

const TABLE: &str = "approval";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
        "-- approvals.insert
        INSERT INTO approval (request_id, person, id, person_groups, verdict, request_digest, reason, at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6,
            CAST(v.value->>7 AS BIGINT)
        FROM "
    ),
};

impl Tx {
    /// Add a verdict; a second one of the same person on the same request conflicts.
    pub fn insert_approval(&mut self, approval: &Approval) {
        self.list.push(Change::ApprovalInsert, |row| {
            row.show(approval.request).text(approval.person.as_str()).show(approval.id).json(&approval.groups);
            row.text(approval.verdict.as_str()).show(approval.request_digest).maybe_text(approval.reason.as_deref());
            row.time(approval.at);
        });
    }
}

impl Store {
    /// The verdicts on an access request, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_approvals(&self, request: RequestId) -> Result<Vec<Approval>, StoreError> {
        let query = sqlx::query(
            "-- approvals.list
            SELECT request_id, person, id, person_groups, verdict, request_digest, reason, at
            FROM approval WHERE request_id = $1 ORDER BY id LIMIT $2",
        )
        .bind(request.to_string())
        .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }
}

impl Store {
    /// The verdicts on the access requests that wait for people and lapse first, of at most `limit` (and 1,000) requests, oldest
    /// first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_approvals_of_waiting(&self, limit: u32) -> Result<Vec<Approval>, StoreError> {
        let query = sqlx::query(
            "-- approvals.list_of_waiting
            SELECT request_id, person, id, person_groups, verdict, request_digest, reason, at
            FROM approval WHERE request_id IN
                (SELECT r.id FROM access_request AS r WHERE r.due_at IS NOT NULL AND r.state = 'pending'
                ORDER BY r.due_at, r.id LIMIT $1)
            ORDER BY id LIMIT 50000",
        )
        .bind(page(limit));
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Approval, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Approval {
        id: row.parse("id")?,
        request: row.parse("request_id")?,
        person: Person::new(row.text("person")?),
        groups: row.json("person_groups")?,
        verdict: row.parse("verdict")?,
        request_digest: row.parse("request_digest")?,
        reason: row.maybe_text("reason")?.map(str::to_owned),
        at: row.time("at")?,
    })
}

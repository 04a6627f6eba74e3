//! Credentials sealed to a key of their agent's, kept so that a lost answer can be fetched again. Nobody here can read them; a
//! row is written in the commit that records its lease as minted, and forgotten once that lease has ended.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx, page};
use crate::domain::{LeaseId, TaskId, Timestamp};

const TABLE: &str = "sealed_delivery";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
        "-- sealed_deliveries.insert
        INSERT INTO sealed_delivery (lease_id, task_id, sealed, keep_until)
        SELECT v.value->>0, v.value->>1, v.value->>2, CAST(v.value->>3 AS BIGINT) FROM "
    ),
};

pub(super) const DELETE: Statement = Statement {
    table: TABLE,
    expect: Expect::Any,
    sql: grouped!(
        "-- sealed_deliveries.delete
        DELETE FROM sealed_delivery WHERE lease_id IN (SELECT v.value->>0 FROM ",
        ")"
    ),
};

/// Forget some of what was kept until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- sealed_deliveries.forget
    DELETE FROM sealed_delivery WHERE keep_until <= $1 AND lease_id IN
        (SELECT lease_id FROM sealed_delivery WHERE keep_until <= $1 LIMIT $2)";

/// A credential as its agent is answered it, sealed: only the holder of the agent's private key can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDelivery {
    /// The lease it lives under.
    pub lease: LeaseId,
    /// The task.
    pub task: TaskId,
    /// The credential as it goes over the wire, its values sealed.
    pub sealed: String,
    /// When it may be forgotten: the end of its lease.
    pub keep_until: Timestamp,
}

impl Tx {
    /// Keep a sealed credential, once for each lease.
    pub fn insert_sealed_delivery(&mut self, delivery: &SealedDelivery) {
        self.list.push(Change::SealedInsert, |row| {
            row.show(delivery.lease).show(delivery.task).text(&delivery.sealed).time(delivery.keep_until);
        });
    }
}

impl Store {
    /// The sealed credentials of a task in order of their leases, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_sealed_deliveries(&self, task: TaskId) -> Result<Vec<SealedDelivery>, StoreError> {
        let query = sqlx::query(
            "-- sealed_deliveries.list_of_task
            SELECT lease_id, task_id, sealed, keep_until FROM sealed_delivery WHERE task_id = $1
            ORDER BY lease_id LIMIT $2",
        )
        .bind(task.to_string())
        .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }

    /// Forget sealed credentials whose leases neither are being minted nor live, at most `limit` (and 1,000); how many. Never
    /// authority, so it needs no events.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn forget_sealed_deliveries(&self, limit: u32) -> Result<usize, StoreError> {
        let query = sqlx::query(
            "-- sealed_deliveries.list_over
            SELECT s.lease_id, s.task_id, s.sealed, s.keep_until FROM sealed_delivery AS s
            JOIN lease AS l ON l.id = s.lease_id AND l.state IN ('ending', 'ended') LIMIT $1",
        )
        .bind(page(limit));
        let over = self.list(query, read).await?;
        if over.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin("sealed_deliveries.forget");
        for delivery in &over {
            tx.list.push(Change::SealedDelete, |row| {
                row.show(delivery.lease);
            });
        }
        tx.commit_without_facts().await.map(|()| over.len())
    }
}

fn read(row: &AnyRow) -> Result<SealedDelivery, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(SealedDelivery {
        lease: row.parse("lease_id")?,
        task: row.parse("task_id")?,
        sealed: row.text("sealed")?.to_owned(),
        keep_until: row.time("keep_until")?,
    })
}

//! Filings: inserted with the requests that came of them, never changed, found by id and by task.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx};
use crate::domain::{Filing, FilingId, TaskId};

const TABLE: &str = "filing";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    // Few groups have any, so these rows are no part of the statement that most groups are.
    expect: Expect::Each,
    sql: grouped!(
        "-- filings.insert
        INSERT INTO filing (id, agent_id, task_id, filed, filed_at, readable_until)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, CAST(v.value->>4 AS BIGINT),
            CAST(v.value->>5 AS BIGINT)
        FROM "
    ),
};

impl Tx {
    /// Add a filing.
    pub fn insert_filing(&mut self, filing: &Filing) {
        self.list.push(Change::FilingInsert, |row| {
            row.show(filing.id).text(filing.agent.as_str()).show(filing.task).json(&filing.text);
            row.time(filing.filed_at).time(filing.readable_until);
        });
    }
}

impl Store {
    /// The filing of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_filing(&self, id: FilingId) -> Result<Option<Filing>, StoreError> {
        let query = sqlx::query(
            "-- filings.find
            SELECT id, agent_id, task_id, filed, filed_at, readable_until FROM filing WHERE id = $1",
        )
        .bind(id.to_string());
        self.find(query, read).await
    }

    /// The filings whose requests belong to a task, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_filings_of_task(&self, task: TaskId) -> Result<Vec<Filing>, StoreError> {
        let query = sqlx::query(
            "-- filings.list_of_task
            SELECT id, agent_id, task_id, filed, filed_at, readable_until FROM filing WHERE task_id = $1
            ORDER BY id LIMIT $2",
        )
        .bind(task.to_string())
        .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Filing, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Filing {
        id: row.parse("id")?,
        agent: row.parse("agent_id")?,
        task: row.parse("task_id")?,
        text: row.json("filed")?,
        filed_at: row.time("filed_at")?,
        readable_until: row.time("readable_until")?,
    })
}

//! Decisions: written once, with the complete input from which they can be replayed.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx};
use crate::domain::{AgentId, Decision, DecisionId, RequestId, TaskId};

const TABLE: &str = "decision";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
        "-- decisions.insert
        INSERT INTO decision (id, request_id, task_id, agent_id, outcome, determining, bundle, input, at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6, v.value->>7,
            CAST(v.value->>8 AS BIGINT)
        FROM "
    ),
};

impl Tx {
    /// Add a decision and what it is about.
    pub fn insert_decision(
        &mut self,
        decision: &Decision,
        request: Option<RequestId>,
        task: Option<TaskId>,
        agent: &AgentId,
    ) {
        self.list.push(Change::DecisionInsert, |row| {
            row.show(decision.id).maybe_show(request).maybe_show(task).text(agent.as_str());
            row.json(&decision.outcome).json(&decision.determining).show(decision.bundle).text(&decision.input);
            row.time(decision.at);
        });
    }
}

impl Store {
    /// The decision of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_decision(&self, id: DecisionId) -> Result<Option<Decision>, StoreError> {
        let query = sqlx::query(
            "-- decisions.find
            SELECT id, outcome, determining, bundle, input, at FROM decision WHERE id = $1",
        )
        .bind(id.to_string());
        self.find(query, read).await
    }

    /// Which agent a decision is about.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_decision_agent(&self, id: DecisionId) -> Result<Option<AgentId>, StoreError> {
        let query = sqlx::query(
            "-- decisions.find_agent
            SELECT agent_id FROM decision WHERE id = $1",
        )
        .bind(id.to_string());
        self.find(query, |row| Reader::new(TABLE, row).parse("agent_id")).await
    }

    /// The decisions of a task, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_decisions_of_task(&self, task: TaskId) -> Result<Vec<Decision>, StoreError> {
        let query = sqlx::query(
            "-- decisions.list_of_task
            SELECT id, outcome, determining, bundle, input, at FROM decision WHERE task_id = $1 ORDER BY id LIMIT $2",
        )
        .bind(task.to_string())
        .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }
}

pub(super) fn read(row: &AnyRow) -> Result<Decision, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Decision {
        id: row.parse("id")?,
        outcome: row.json("outcome")?,
        determining: row.json("determining")?,
        bundle: row.parse("bundle")?,
        input: row.text("input")?.to_owned(),
        at: row.time("at")?,
    })
}

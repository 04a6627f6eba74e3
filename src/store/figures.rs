//! Figures for people who look: how many wait, what decided how often, what an agent was given and what it used. Counted from the
//! rows themselves when somebody asks; each query reads a bounded number of rows and needs no index of its own.

use sqlx::any::AnyRow;

use super::codec::Reader;
use super::{Store, StoreError, page};
use crate::domain::{
    AgentId, Decision, DecisionId, LeaseId, Outcome, PolicyRef, RequestId, ScopeSet, Task, TaskId, Timestamp,
};

/// Decisions that are looked at, the newest first.
const MAX_DECISIONS: i64 = 100_000;
/// Requests or leases of one agent that are looked at, the newest first.
const MAX_OF_AGENT: i64 = 20_000;

/// How many decisions had one outcome for the same policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionCount {
    /// The policies that determined them.
    pub determining: Vec<PolicyRef>,
    /// The answer.
    pub outcome: Outcome,
    /// How many.
    pub count: i64,
}

/// How many requests or leases of an agent were for the same scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopesCount {
    /// The scopes.
    pub scopes: ScopeSet,
    /// How many.
    pub count: i64,
    /// When the last one began.
    pub last_at: Timestamp,
}

/// How many requests wait for people, and how many of them are newer than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// All of them.
    pub all: i64,
    /// Those that were asked after it.
    pub newer: i64,
}

impl Store {
    /// How many requests wait for people, and how many of them were asked after one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn count_waiting(&self, after: Option<RequestId>) -> Result<Waiting, StoreError> {
        let query = sqlx::query(
            "-- figures.count_waiting
            SELECT COUNT(*) AS waiting, COUNT(CASE WHEN id > $1 THEN 1 END) AS newer FROM access_request
            WHERE due_at IS NOT NULL AND state = 'pending'",
        )
        .bind(after.map_or_else(String::new, |id| id.to_string()));
        let read = |row: &AnyRow| {
            let row = Reader::new("access_request", row);
            Ok(Waiting { all: row.int("waiting")?, newer: row.int("newer")? })
        };
        Ok(self.find(query, read).await?.unwrap_or(Waiting { all: 0, newer: 0 }))
    }

    /// How often each set of policies determined a decision since then, of the newest 100,000, with each outcome apart.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn count_decisions(&self, since: Timestamp) -> Result<Vec<DecisionCount>, StoreError> {
        let query = sqlx::query(
            "-- figures.count_decisions
            SELECT d.determining, d.outcome, COUNT(*) AS n FROM
                (SELECT determining, outcome FROM decision WHERE id >= $1 ORDER BY id DESC LIMIT $2) AS d
            GROUP BY d.determining, d.outcome",
        )
        .bind(DecisionId::new(since, [0; 10]).to_string())
        .bind(MAX_DECISIONS);
        let read = |row: &AnyRow| {
            let row = Reader::new("decision", row);
            let (determining, outcome) = (row.json("determining")?, row.json("outcome")?);
            Ok(DecisionCount { determining, outcome, count: row.int("n")? })
        };
        self.list(query, read).await
    }

    /// The newest decisions since then that a policy determined, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_decisions_by_policy(
        &self,
        policy: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let query = sqlx::query(
            "-- figures.list_decisions_by_policy
            SELECT d.id, d.outcome, d.determining, d.bundle, d.input, d.at FROM
                (SELECT id, outcome, determining, bundle, input, at FROM decision WHERE id >= $1 ORDER BY id DESC LIMIT $2) AS d
            WHERE d.determining LIKE '%\"id\":\"' || $3 || '\"%' ESCAPE '\\' ORDER BY d.id DESC LIMIT $4",
        )
        .bind(DecisionId::new(since, [0; 10]).to_string())
        .bind(MAX_DECISIONS)
        .bind(policy.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"))
        .bind(page(limit));
        self.list(query, super::decisions::read).await
    }

    /// For which scopes an agent was granted requests since then.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn count_granted(&self, agent: &AgentId, since: Timestamp) -> Result<Vec<ScopesCount>, StoreError> {
        let query = sqlx::query(
            "-- figures.count_granted
            SELECT r.scopes, COUNT(*) AS n, MAX(r.began_at) AS last_at FROM
                (SELECT scopes, asked_at AS began_at FROM access_request
                WHERE task_id IN (SELECT task.id FROM task WHERE task.agent_id = $1 AND task.id >= $2)
                    AND state = 'granted' ORDER BY id DESC LIMIT $3) AS r
            GROUP BY r.scopes",
        )
        .bind(agent.to_string())
        .bind(TaskId::new(since, [0; 10]).to_string())
        .bind(MAX_OF_AGENT);
        self.list(query, read_scopes_count).await
    }

    /// For which scopes an agent collected credentials since then.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn count_minted(&self, agent: &AgentId, since: Timestamp) -> Result<Vec<ScopesCount>, StoreError> {
        let query = sqlx::query(
            "-- figures.count_minted
            SELECT l.scopes, COUNT(*) AS n, MAX(l.began_at) AS last_at FROM
                (SELECT scopes, intent_at AS began_at FROM lease
                WHERE task_id IN (SELECT task.id FROM task WHERE task.agent_id = $1) AND id >= $2
                ORDER BY id DESC LIMIT $3) AS l
            GROUP BY l.scopes",
        )
        .bind(agent.to_string())
        .bind(LeaseId::new(since, [0; 10]).to_string())
        .bind(MAX_OF_AGENT);
        self.list(query, read_scopes_count).await
    }

    /// Tasks, the newest first, before one, of an agent and in a state if named, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_newest_tasks(
        &self,
        filter: &super::TaskFilter,
        before: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError> {
        let query = sqlx::query(
            "-- figures.list_newest_tasks
            SELECT id, agent_id, identity, purpose, kind, beneficiary, refs, message, ceiling, opened_at, ends_at,
                heartbeat, heard_at, state, cause, ended_at
            FROM task WHERE (CAST($1 AS TEXT) IS NULL OR agent_id = $1) AND id < $2
                AND (CAST($3 AS TEXT) IS NULL OR state = $3) ORDER BY id DESC LIMIT $4",
        )
        .bind(filter.agent.as_ref().map(AgentId::to_string))
        // `~` sorts after every id.
        .bind(before.map_or_else(|| "~".to_owned(), |id| id.to_string()))
        .bind(filter.open.map(|open| if open { "open" } else { "closed" }))
        .bind(page(limit));
        self.list(query, super::tasks::read).await
    }
}

fn read_scopes_count(row: &AnyRow) -> Result<ScopesCount, StoreError> {
    let row = Reader::new("access_request", row);
    Ok(ScopesCount { scopes: row.json("scopes")?, count: row.int("n")?, last_at: row.time("last_at")? })
}

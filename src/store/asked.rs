//! What one agent asked for before, in few columns, for people who look at what it asks for now. It costs no index of its own: an
//! agent's requests are found by its tasks.

use sqlx::any::AnyRow;

use super::codec::Reader;
use super::{Store, StoreError, page};
use crate::domain::{AgentId, RequestId, ScopeSet, TaskId, Timestamp, Ttl};

const TABLE: &str = "access_request";

/// What an agent asked for once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRequest {
    /// Its id.
    pub id: RequestId,
    /// What was asked for.
    pub scopes: ScopeSet,
    /// How long one credential was to live.
    pub ttl: Ttl,
    /// What became of it, as its wire word.
    pub state: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// The identity that was verified, as `issuer#subject`.
    pub identity: String,
}

impl Store {
    /// What an agent asked for since a time and before a request, the newest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_past_requests(
        &self,
        agent: &AgentId,
        since: Timestamp,
        before: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<PastRequest>, StoreError> {
        // A task lives for a day at most, so whatever was asked since is of a task that was opened a day earlier or later.
        let opened = TaskId::new(since.plus_millis(-i64::from(Ttl::MAX_SECS).saturating_mul(1000)), [0; 10]);
        let query = sqlx::query(
            "-- asked.list_past
            SELECT r.id, r.scopes, r.ttl, r.state, r.asked_at, r.settled_at, t.identity
            FROM task AS t CROSS JOIN access_request AS r
            WHERE t.agent_id = $1 AND t.id >= $2 AND r.task_id = t.id AND r.asked_at >= $3
                AND (CAST($4 AS TEXT) IS NULL OR r.id < $4)
            ORDER BY t.id DESC, r.id DESC LIMIT $5",
        )
        .bind(agent.to_string())
        .bind(opened.to_string())
        .bind(since.as_millis())
        .bind(before.map(|id| id.to_string()))
        .bind(page(limit));
        self.list(query, read_past).await
    }
}

fn read_past(row: &AnyRow) -> Result<PastRequest, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(PastRequest {
        id: row.parse("id")?,
        scopes: row.json("scopes")?,
        ttl: Ttl::from_secs(row.int("ttl")?).map_err(|error| row.corrupt("ttl", error))?,
        state: row.text("state")?.to_owned(),
        asked_at: row.time("asked_at")?,
        settled_at: row.maybe_time("settled_at")?,
        identity: row.text("identity")?.to_owned(),
    })
}

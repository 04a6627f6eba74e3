//! What people decided lately, read in bulk for those who look after the queue: who said what to which request, and how long they had
//! it before them.

use sqlx::any::AnyRow;

use super::codec::Reader;
use super::{Store, StoreError};
use crate::domain::{AgentId, Person, RequestId, ScopeSet, TaskId, Timestamp, Ttl, Verdict};

const TABLE: &str = "approval";
/// The most verdicts that are read at once.
const MAX_VERDICTS: i64 = 50_000;

/// A verdict with what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Who said it.
    pub person: Person,
    /// What was said.
    pub verdict: Verdict,
    /// How long the person had it before them, in milliseconds, if they were shown it by us.
    pub thought_millis: Option<i64>,
    /// When.
    pub at: Timestamp,
    /// The request.
    pub request: RequestId,
    /// Its task.
    pub task: TaskId,
    /// Whose it is.
    pub agent: AgentId,
    /// What it asks for.
    pub scopes: ScopeSet,
    /// How long one credential shall live.
    pub ttl: Ttl,
    /// Where the request is in its life, as its wire word.
    pub state: String,
}

impl Store {
    /// What was decided since a time, oldest first, at most 50,000 verdicts.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_decided(&self, since: Timestamp) -> Result<Vec<Decided>, StoreError> {
        let query = sqlx::query(
            "-- decided.list
            SELECT a.person, a.verdict, a.thought_millis, a.at, a.request_id, r.task_id, r.agent_id, r.scopes, r.ttl, r.state
            FROM approval AS a CROSS JOIN access_request AS r
            WHERE a.at >= $1 AND r.id = a.request_id ORDER BY a.at LIMIT $2",
        )
        .bind(since.as_millis())
        .bind(MAX_VERDICTS);
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Decided, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Decided {
        person: Person::new(row.text("person")?),
        verdict: row.parse("verdict")?,
        thought_millis: row.maybe_int("thought_millis")?,
        at: row.time("at")?,
        request: row.parse("request_id")?,
        task: row.parse("task_id")?,
        agent: row.parse("agent_id")?,
        scopes: row.json("scopes")?,
        ttl: Ttl::from_secs(row.int("ttl")?).map_err(|error| row.corrupt("ttl", error))?,
        state: row.text("state")?.to_owned(),
    })
}

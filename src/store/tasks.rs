//! Tasks: inserted, updated by compare-and-swap on their state, found by id, agent and due time.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, page};
use crate::domain::{AgentId, Message, Task, TaskId, TaskRecord, TaskState, Timestamp, Ttl};

const TABLE: &str = "task";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
"-- tasks.insert
        INSERT INTO task (id, agent_id, identity, purpose, kind, beneficiary, refs, message, ceiling, opened_at, ends_at,
            heartbeat, heard_at, state, cause, ended_at, due_at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6, v.value->>7,
            v.value->>8, CAST(v.value->>9 AS BIGINT), CAST(v.value->>10 AS BIGINT), CAST(v.value->>11 AS BIGINT),
            CAST(v.value->>12 AS BIGINT), v.value->>13, v.value->>14, CAST(v.value->>15 AS BIGINT),
            CAST(v.value->>16 AS BIGINT)
        FROM "
),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- tasks.update
        UPDATE task SET state = v.value->>2, cause = v.value->>3, ended_at = CAST(v.value->>4 AS BIGINT),
            heard_at = CAST(v.value->>5 AS BIGINT), due_at = CAST(v.value->>6 AS BIGINT)
        FROM ",
        " WHERE task.id = v.value->>0 AND task.state = v.value->>1"
    ),
};

pub(super) const CHECK: Statement = Statement {
    table: TABLE,
    expect: Expect::Seen,
    sql: grouped!(
        "-- tasks.check
        SELECT v.value->>0 AS id FROM ",
        " WHERE EXISTS (SELECT 1 FROM task WHERE task.id = v.value->>0 AND task.state = v.value->>1)"
    ),
};

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT id, agent_id, identity, purpose, kind, beneficiary, refs, message, ceiling, opened_at, ends_at,
                heartbeat, heard_at, state, cause, ended_at
            FROM task ",
            $rest
        )
    };
}

/// Which tasks to list; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Whose.
    pub agent: Option<AgentId>,
    /// Open ones, or closed ones.
    pub open: Option<bool>,
}

/// The end of a closed task, and when it is due while it is open.
fn ending(task: &Task) -> (Option<&'static str>, Option<Timestamp>, Option<Timestamp>) {
    match task.state {
        TaskState::Open => (None, None, Some(task.due_at())),
        TaskState::Closed { cause, at } => (Some(cause.as_str()), Some(at), None),
    }
}

impl Tx {
    /// Add a task.
    pub fn insert_task(&mut self, task: &Task) {
        let (cause, ended_at, due_at) = ending(task);
        self.list.push(Change::TaskInsert, |row| {
            row.show(task.id).text(task.agent.as_str()).text(&task.identity).text(task.purpose.as_str());
            row.maybe_show(task.kind.as_ref()).maybe_text(task.beneficiary.as_deref()).json(&task.references);
            row.maybe_text(task.message.as_ref().map(Message::as_str)).json(&task.ceiling);
            row.time(task.opened_at).time(task.ends_at);
            row.maybe_int(task.heartbeat.map(|every| i64::from(every.as_secs()))).maybe_time(task.heard_at);
            row.text(task.state.as_str()).maybe_text(cause).maybe_time(ended_at).maybe_time(due_at);
        });
    }

    /// Change a task that is still in the state `before` is in. A closed one needs no further look then.
    pub fn update_task(&mut self, before: &Task, after: &Task) {
        let due_at = ending(after).2;
        self.move_task(before, after, due_at);
    }

    /// Close a task that holds more than one change can end: a sweep must look at it, from `look_at` on.
    pub fn close_task_in_part(&mut self, before: &Task, closed: &Task, look_at: Timestamp) {
        self.move_task(before, closed, Some(look_at));
    }

    fn move_task(&mut self, before: &Task, after: &Task, due_at: Option<Timestamp>) {
        let (cause, ended_at, _) = ending(after);
        self.list.push(Change::TaskUpdate, |row| {
            row.show(before.id).text(before.state.as_str()).text(after.state.as_str()).maybe_text(cause);
            row.maybe_time(ended_at).maybe_time(after.heard_at).maybe_time(due_at);
        });
    }

    /// Commit only if the task is still in this state.
    pub fn check_task(&mut self, task: &Task) {
        self.list.push(Change::TaskCheck, |row| {
            row.show(task.id).text(task.state.as_str());
        });
    }
}

impl Store {
    /// The task of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let query = sqlx::query(select!("tasks.find", "WHERE id = $1")).bind(id.to_string());
        self.find(query, read).await
    }

    /// Tasks in order of id, after one, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_tasks(
        &self,
        filter: &TaskFilter,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError> {
        let sql = if filter.agent.is_some() {
            select!(
                "tasks.list_of_agent",
                "WHERE agent_id = $1 AND id > $2 AND (CAST($3 AS TEXT) IS NULL OR state = $3) ORDER BY id LIMIT $4"
            )
        } else {
            select!(
                "tasks.list",
                "WHERE CAST($1 AS TEXT) IS NULL AND id > $2 AND (CAST($3 AS TEXT) IS NULL OR state = $3)
                ORDER BY id LIMIT $4"
            )
        };
        let query = sqlx::query(sql)
            .bind(filter.agent.as_ref().map(AgentId::to_string))
            .bind(after.map_or_else(String::new, |id| id.to_string()))
            .bind(filter.open.map(|open| if open { "open" } else { "closed" }))
            .bind(page(limit));
        self.list(query, read).await
    }

    /// The tasks of the access requests that wait for people and lapse first, of at most `limit` (and 1,000) requests.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_tasks_of_waiting(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        let sql = select!(
            "tasks.list_of_waiting",
            "WHERE id IN (SELECT task_id FROM access_request WHERE due_at IS NOT NULL AND state = 'pending'
                ORDER BY due_at, id LIMIT $1)"
        );
        self.list(sqlx::query(sql).bind(page(limit)), read).await
    }

    /// Note that a closed task holds nothing any more, so that no sweep looks at it again. Not about authority, so it needs no
    /// event.
    ///
    /// # Errors
    /// Those of a commit.
    pub async fn forget_closed_task(&self, closed: &Task) -> Result<(), StoreError> {
        let mut tx = self.begin("task.forget");
        tx.update_task(closed, closed);
        tx.commit_without_facts().await
    }

    /// Open tasks whose time is up at `now`, and closed ones that still hold something, longest due first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_due_tasks(&self, now: Timestamp, limit: u32) -> Result<Vec<Task>, StoreError> {
        let query = sqlx::query(select!("tasks.list_due", "WHERE due_at <= $1 ORDER BY due_at LIMIT $2"))
            .bind(now.as_millis())
            .bind(page(limit));
        self.list(query, read).await
    }
}

pub(super) fn read(row: &AnyRow) -> Result<Task, StoreError> {
    let row = Reader::new(TABLE, row);
    let state = match row.text("state")? {
        "open" => TaskState::Open,
        "closed" => {
            TaskState::Closed { cause: row.parse("cause")?, at: row.needed("ended_at", row.maybe_time("ended_at")?)? }
        }
        other => return Err(row.unknown_state(other)),
    };
    let heartbeat = row.maybe_int("heartbeat")?.map(Ttl::from_secs).transpose();
    row.record(Task::new(TaskRecord {
        id: row.parse("id")?,
        agent: row.parse("agent_id")?,
        identity: row.text("identity")?.to_owned(),
        purpose: row.parse("purpose")?,
        kind: row.maybe_parse("kind")?,
        beneficiary: row.maybe_text("beneficiary")?.map(str::to_owned),
        references: row.json("refs")?,
        message: row.maybe_parse("message")?,
        ceiling: row.json("ceiling")?,
        opened_at: row.time("opened_at")?,
        ends_at: row.time("ends_at")?,
        heartbeat: heartbeat.map_err(|error| row.corrupt("heartbeat", error))?,
        heard_at: row.maybe_time("heard_at")?,
        state,
    }))
}

//! Access requests: inserted, settled by compare-and-swap on their state, found by id, task, and while they wait.

use sqlx::any::AnyRow;

use super::codec::{Columns, Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx, page};
use crate::domain::{AccessRequest, AccessRequestRecord, AgentId, RequestId, RequestState, TaskId, Timestamp, Ttl};

const TABLE: &str = "access_request";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
"-- access_requests.insert
        INSERT INTO access_request (id, task_id, agent_id, backend, scopes, ttl, confirmation_key, digest, plan, effect,
            asked_at, decision_id, settled_at, state, rule, grant_id, reason, due_at, terms)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, CAST(v.value->>5 AS BIGINT), v.value->>6,
            v.value->>7, v.value->>8, v.value->>9, CAST(v.value->>10 AS BIGINT), v.value->>11,
            CAST(v.value->>12 AS BIGINT), v.value->>13, v.value->>14, v.value->>15, v.value->>16,
            CAST(v.value->>17 AS BIGINT), v.value->>18
        FROM "
),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- access_requests.update
        UPDATE access_request SET decision_id = v.value->>2, settled_at = CAST(v.value->>3 AS BIGINT),
            state = v.value->>4, rule = v.value->>5, grant_id = v.value->>6, reason = v.value->>7,
            due_at = CAST(v.value->>8 AS BIGINT), terms = v.value->>9
        FROM ",
        " WHERE access_request.id = v.value->>0 AND access_request.state = v.value->>1"
    ),
};

pub(super) const CHECK: Statement = Statement {
    table: TABLE,
    expect: Expect::Seen,
    sql: grouped!(
        "-- access_requests.check
        SELECT v.value->>0 AS id FROM ",
        " WHERE EXISTS (SELECT 1 FROM access_request AS r WHERE r.id = v.value->>0 AND r.state = v.value->>1)"
    ),
};

/// After the inserts: no other request of the task waits for the same thing. Groups take turns, so of two that ask for it at
/// the same moment one finds the other.
pub(super) const CHECK_ALONE: Statement = Statement {
    table: TABLE,
    expect: Expect::Seen,
    sql: grouped!(
        "-- access_requests.check_alone
        SELECT v.value->>0 AS id FROM ",
        " WHERE NOT EXISTS (SELECT 1 FROM access_request AS r WHERE r.task_id = v.value->>1 AND r.digest = v.value->>2
            AND r.id <> v.value->>0 AND r.state = 'pending')"
    ),
};

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT id, task_id, agent_id, backend, scopes, ttl, confirmation_key, digest, plan, effect, decision_id,
                asked_at, settled_at, state, rule, grant_id, reason, due_at, terms
            FROM access_request ",
            $rest
        )
    };
}

/// What changes when a request moves on: latest decision, settling, state and what belongs to it.
fn moving(row: &mut Columns<'_>, request: &AccessRequest) {
    row.show(request.decision).maybe_time(request.settled_at).text(request.state.as_str());
    match &request.state {
        RequestState::Pending { rule, terms, lapses_at } => row.show(rule).null().null().time(*lapses_at).json(terms),
        RequestState::Granted { grant } => row.null().show(grant).null().null().null(),
        RequestState::Denied { reason } => row.null().null().text(reason).null().null(),
        RequestState::Withdrawn | RequestState::Lapsed => row.null().null().null().null().null(),
    };
}

fn waits(request: &AccessRequest) -> i64 {
    i64::from(request.pending().is_some())
}

impl Tx {
    /// Add an access request.
    pub fn insert_request(&mut self, request: &AccessRequest) {
        self.list.count(&request.agent, 0, waits(request));
        self.list.push(Change::RequestInsert, |row| {
            row.show(request.id).show(request.task).text(request.agent.as_str()).text(request.backend.as_str());
            row.json(&request.scopes).int(i64::from(request.ttl.as_secs()));
            row.maybe_text(request.confirmation_key.as_deref()).show(request.digest).show(request.plan);
            row.text(&request.effect).time(request.asked_at);
            moving(row, request);
        });
    }

    /// Change an access request that is still in the state `before` is in.
    pub fn update_request(&mut self, before: &AccessRequest, after: &AccessRequest) {
        // Also when its task is closed, for then it is withdrawn.
        self.list.touched.tasks.push(after.task);
        self.list.count(&after.agent, 0, waits(after).saturating_sub(waits(before)));
        self.list.push(Change::RequestUpdate, |row| {
            row.show(before.id).text(before.state.as_str());
            moving(row, after);
        });
    }

    /// Commit only if no other request of its task waits with the same digest.
    pub fn check_alone_waiting(&mut self, request: &AccessRequest) {
        self.list.push(Change::RequestAlone, |row| {
            row.show(request.id).show(request.task).show(request.digest);
        });
    }

    /// Commit only if the access request is still in this state.
    pub fn check_request(&mut self, request: &AccessRequest) {
        self.list.push(Change::RequestCheck, |row| {
            row.show(request.id).text(request.state.as_str());
        });
    }
}

impl Store {
    /// The access request of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_request(&self, id: RequestId) -> Result<Option<AccessRequest>, StoreError> {
        let query = sqlx::query(select!("access_requests.find", "WHERE id = $1")).bind(id.to_string());
        self.find(query, read).await
    }

    /// The access requests of a task, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_requests_of_task(&self, task: TaskId) -> Result<Vec<AccessRequest>, StoreError> {
        let query = sqlx::query(select!("access_requests.list_of_task", "WHERE task_id = $1 ORDER BY id LIMIT $2"))
            .bind(task.to_string())
            .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }

    /// The access requests of a task that wait for people, oldest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_pending_requests_of_task(
        &self,
        task: TaskId,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let sql = select!(
            "access_requests.list_pending_of_task",
            "WHERE task_id = $1 AND state = 'pending' ORDER BY id LIMIT $2"
        );
        self.list(sqlx::query(sql).bind(task.to_string()).bind(page(limit)), read).await
    }

    /// Access requests that wait for people, in order of id, after one, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_pending_requests(
        &self,
        after: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let query = sqlx::query(select!(
            "access_requests.list_pending",
            "WHERE due_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"
        ))
        .bind(after.map_or_else(String::new, |id| id.to_string()))
        .bind(page(limit));
        self.list(query, read).await
    }

    /// Access requests that wait for people, those that lapse first first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_waiting_requests(&self, limit: u32) -> Result<Vec<AccessRequest>, StoreError> {
        let query = sqlx::query(select!(
            "access_requests.list_waiting",
            "WHERE due_at IS NOT NULL AND state = 'pending' ORDER BY due_at, id LIMIT $1"
        ))
        .bind(page(limit));
        self.list(query, read).await
    }

    /// Access requests in order of id, of a state (its wire word) or an agent if named, after one, at most `limit` (and
    /// 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_requests(
        &self,
        state: Option<&str>,
        agent: Option<&AgentId>,
        after: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let sql = if state == Some("pending") {
            select!(
                "access_requests.list_pending_of",
                "WHERE due_at IS NOT NULL AND state = $1 AND (CAST($2 AS TEXT) IS NULL OR agent_id = $2) AND id > $3
                ORDER BY id LIMIT $4"
            )
        } else {
            select!(
                "access_requests.list",
                "WHERE (CAST($1 AS TEXT) IS NULL OR state = $1) AND (CAST($2 AS TEXT) IS NULL OR agent_id = $2)
                AND id > $3 ORDER BY id LIMIT $4"
            )
        };
        let query = sqlx::query(sql)
            .bind(state.map(str::to_owned))
            .bind(agent.map(AgentId::to_string))
            .bind(after.map_or_else(String::new, |id| id.to_string()))
            .bind(page(limit));
        self.list(query, read).await
    }

    /// Access requests that waited too long at `now`, longest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_due_requests(&self, now: Timestamp, limit: u32) -> Result<Vec<AccessRequest>, StoreError> {
        let query = sqlx::query(select!("access_requests.list_due", "WHERE due_at <= $1 ORDER BY due_at LIMIT $2"))
            .bind(now.as_millis())
            .bind(page(limit));
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<AccessRequest, StoreError> {
    let row = Reader::new(TABLE, row);
    let state = match row.text("state")? {
        "pending" => RequestState::Pending {
            rule: row.parse("rule")?,
            terms: row.maybe_json("terms")?.unwrap_or_default(),
            lapses_at: row.needed("due_at", row.maybe_time("due_at")?)?,
        },
        "granted" => RequestState::Granted { grant: row.parse("grant_id")? },
        "denied" => RequestState::Denied { reason: row.text("reason")?.to_owned() },
        "withdrawn" => RequestState::Withdrawn,
        "lapsed" => RequestState::Lapsed,
        other => return Err(row.unknown_state(other)),
    };
    row.record(AccessRequest::new(AccessRequestRecord {
        id: row.parse("id")?,
        task: row.parse("task_id")?,
        agent: row.parse("agent_id")?,
        backend: row.parse("backend")?,
        scopes: row.json("scopes")?,
        ttl: Ttl::from_secs(row.int("ttl")?).map_err(|error| row.corrupt("ttl", error))?,
        confirmation_key: row.maybe_text("confirmation_key")?.map(str::to_owned),
        digest: row.parse("digest")?,
        plan: row.parse("plan")?,
        effect: row.text("effect")?.to_owned(),
        decision: row.parse("decision_id")?,
        asked_at: row.time("asked_at")?,
        settled_at: row.maybe_time("settled_at")?,
        state,
    }))
}

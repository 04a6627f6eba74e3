//! Leases: inserted, moved on by compare-and-swap on their fence, found by id, by what they hang on, and when they are due.

use sqlx::any::AnyRow;

use super::codec::{Columns, Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx, page};
use crate::domain::{
    AgentId, EntryName, GrantId, Handle, Lease, LeaseId, LeaseRecord, LeaseState, Name, RequestId, TaskId, Timestamp,
};

const TABLE: &str = "lease";
/// What a conflict is about when the approvals of a grant are used up.
pub(super) const USES: &str = "approval_uses";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
"-- leases.insert
        INSERT INTO lease (id, grant_id, request_id, task_id, agent_id, backend, scopes, plan, intent_at, ends_at, handle,
            native_end, fence, state, minted_at, fingerprint, cause, since, attempts, ends_by, proof, due_at,
            delivered_at, settles_at, disabled_at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6, v.value->>7,
            CAST(v.value->>8 AS BIGINT), CAST(v.value->>9 AS BIGINT), v.value->>10, CAST(v.value->>11 AS BIGINT),
            CAST(v.value->>12 AS BIGINT), v.value->>13, CAST(v.value->>14 AS BIGINT), v.value->>15, v.value->>16,
            CAST(v.value->>17 AS BIGINT), CAST(v.value->>18 AS BIGINT), CAST(v.value->>19 AS BIGINT), v.value->>20,
            CAST(v.value->>21 AS BIGINT), CAST(v.value->>22 AS BIGINT), CAST(v.value->>23 AS BIGINT),
            CAST(v.value->>24 AS BIGINT)
        FROM "
),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- leases.update
        UPDATE lease SET handle = v.value->>2, native_end = CAST(v.value->>3 AS BIGINT),
            fence = CAST(v.value->>4 AS BIGINT), state = v.value->>5, minted_at = CAST(v.value->>6 AS BIGINT),
            fingerprint = v.value->>7, cause = v.value->>8, since = CAST(v.value->>9 AS BIGINT),
            attempts = CAST(v.value->>10 AS BIGINT), ends_by = CAST(v.value->>11 AS BIGINT), proof = v.value->>12,
            due_at = CAST(v.value->>13 AS BIGINT), delivered_at = CAST(v.value->>14 AS BIGINT),
            settles_at = CAST(v.value->>15 AS BIGINT), disabled_at = CAST(v.value->>16 AS BIGINT), claimed_by = NULL
        FROM ",
        " WHERE lease.id = v.value->>0 AND lease.fence = CAST(v.value->>1 AS BIGINT)"
    ),
};

/// That its agent has it: after the updates, so that of a delivery and an end in one group the end wins. The fence stays.
pub(super) const DELIVER: Statement = Statement {
    table: TABLE,
    expect: Expect::Any,
    sql: grouped!(
        "-- leases.deliver
        UPDATE lease SET delivered_at = COALESCE(lease.delivered_at, CAST(v.value->>2 AS BIGINT)), due_at = lease.ends_at
        FROM ",
        " WHERE lease.id = v.value->>0 AND lease.fence = CAST(v.value->>1 AS BIGINT) AND lease.state = v.value->>3"
    ),
};

/// After the inserts: no other lease of the grant is minting or works at that moment.
pub(super) const CHECK_ALONE: Statement = Statement {
    table: TABLE,
    expect: Expect::Seen,
    sql: grouped!(
        "-- leases.check_alone
        SELECT v.value->>0 AS id FROM ",
        " WHERE NOT EXISTS (SELECT 1 FROM lease AS l WHERE l.task_id = v.value->>1 AND l.grant_id = v.value->>2
            AND l.id <> v.value->>0 AND l.state IN ('minting', 'live') AND l.ends_at > CAST(v.value->>3 AS BIGINT))"
    ),
};

/// After the inserts: fewer other leases of the grant than its approvals are good for. One that nobody ever had does not count:
/// its mint failed, or its agent went away first.
pub(super) const CHECK_USES: Statement = Statement {
    table: USES,
    expect: Expect::Seen,
    sql: grouped!(
        "-- leases.check_uses
        SELECT v.value->>0 AS id FROM ",
        " WHERE (SELECT COUNT(*) FROM lease AS l WHERE l.task_id = v.value->>1 AND l.grant_id = v.value->>2
            AND l.id <> v.value->>0 AND NOT (l.state IN ('ending', 'ended') AND l.cause IN ('aborted', 'undelivered')))
            < CAST(v.value->>3 AS BIGINT)"
    ),
};

/// After all changes: no lease of a task, or of one of its grants, is minting or works.
pub(super) const CHECK_NONE: Statement = Statement {
    table: TABLE,
    expect: Expect::Seen,
    sql: grouped!(
        "-- leases.check_none
        SELECT v.value->>0 AS id FROM ",
        " WHERE NOT EXISTS (SELECT 1 FROM lease AS l WHERE l.task_id = v.value->>0
            AND (v.value->>1 IS NULL OR l.grant_id = v.value->>1) AND l.state IN ('minting', 'live'))"
    ),
};

/// The columns that [`read`] reads.
macro_rules! columns {
    () => {
        "id, grant_id, request_id, task_id, agent_id, backend, scopes, plan, handle, intent_at, ends_at, native_end, fence,
            state, minted_at, fingerprint, cause, since, attempts, ends_by, proof, due_at, delivered_at, settles_at,
            disabled_at"
    };
}
pub(super) use columns;

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT ",
            columns!(),
            " FROM lease ",
            $rest
        )
    };
}

/// The statement that lists by one leading condition and the rest of a [`LeaseFilter`].
macro_rules! select_by {
    ($name:literal, $lead:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT ",
            columns!(),
            " FROM lease WHERE ",
            $lead,
            " AND (CAST($1 AS TEXT) IS NULL OR task_id = $1) AND (CAST($2 AS TEXT) IS NULL OR agent_id = $2)
            AND (CAST($3 AS TEXT) IS NULL OR grant_id = $3) AND (CAST($4 AS TEXT) IS NULL OR request_id = $4)
            AND (CAST($5 AS TEXT) IS NULL OR backend = $5)
            AND (CAST($6 AS TEXT) IS NULL OR ($6 = 'live' AND state IN ('minting', 'live'))
                OR ($6 = 'over' AND state IN ('ending', 'ended')))
            AND (CAST($7 AS TEXT) IS NULL OR scopes LIKE '%\"' || $7 || '\"%' ESCAPE '\\'
                OR scopes LIKE '%\"' || $7 || '(%' ESCAPE '\\')
            AND id > $8 ORDER BY id LIMIT $9"
        )
    };
}

/// Which leases to list; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    /// Who holds them.
    pub agent: Option<AgentId>,
    /// Of which task.
    pub task: Option<TaskId>,
    /// On which grant.
    pub grant: Option<GrantId>,
    /// For which access request.
    pub request: Option<RequestId>,
    /// In which backend.
    pub backend: Option<Name>,
    /// With a scope of which catalogue entry.
    pub scope_entry: Option<EntryName>,
    /// Those that are minting or live, or those that are ending or ended.
    pub live: Option<bool>,
    /// Only those whose end failed so often that somebody must look.
    pub irrevocable: bool,
}

/// What changes when a lease moves on.
fn moving(row: &mut Columns<'_>, lease: &Lease) {
    row.text(lease.handle.as_str()).time(lease.native_end).int(lease.fence).text(lease.state.as_str());
    match &lease.state {
        LeaseState::Minting => row.null().null().null().null().null().null().null(),
        LeaseState::Live { minted_at, fingerprint, .. } => {
            row.time(*minted_at).text(fingerprint).null().null().null().null().null()
        }
        LeaseState::Ending { cause, since, attempts, ends_by, .. } => {
            row.null().null().text(cause.as_str()).time(*since).int(i64::from(*attempts)).maybe_time(*ends_by).null()
        }
        LeaseState::Ended { cause, at, proof } => {
            row.null().null().text(cause.as_str()).time(*at).null().null().text(proof)
        }
    };
    row.maybe_time(lease.due_at());
    match &lease.state {
        LeaseState::Live { delivered_at, .. } => row.maybe_time(*delivered_at).null().null(),
        LeaseState::Ending { settles_at, disabled_at, .. } => {
            row.null().maybe_time(*settles_at).maybe_time(*disabled_at)
        }
        LeaseState::Minting | LeaseState::Ended { .. } => row.null().null().null(),
    };
}

/// Whether it counts against its agent's limit.
fn counts(lease: &Lease) -> i64 {
    i64::from(matches!(lease.state, LeaseState::Minting | LeaseState::Live { .. }))
}

impl Tx {
    /// Add a lease.
    pub fn insert_lease(&mut self, lease: &Lease) {
        self.list.count(&lease.agent, counts(lease), 0);
        self.list.push(Change::LeaseInsert, |row| {
            row.show(lease.id).show(lease.grant).show(lease.request).show(lease.task).text(lease.agent.as_str());
            row.text(lease.backend.as_str()).json(&lease.scopes).show(lease.plan).time(lease.intent_at);
            row.time(lease.ends_at);
            moving(row, lease);
        });
    }

    /// Commit only if this new lease is the only one of its grant that is minting or works when its intent is recorded, so
    /// that two who collect at once do not both get a credential.
    pub fn check_alone(&mut self, lease: &Lease) {
        self.list.push(Change::LeaseCheck, |row| {
            row.show(lease.id).show(lease.task).show(lease.grant).time(lease.intent_at);
        });
    }

    /// Commit only if this new lease is not one more than the approvals of its grant are good for; the conflict is about
    /// `approval_uses`.
    pub fn check_uses(&mut self, lease: &Lease, uses: u32) {
        self.list.push(Change::LeaseUses, |row| {
            row.show(lease.id).show(lease.task).show(lease.grant).int(i64::from(uses));
        });
    }

    /// Commit only if no lease of this task, or of this grant of it, is minting or works once all is written: one that came to
    /// be after its leases were read would go on living.
    pub fn check_none_lives(&mut self, task: TaskId, grant: Option<GrantId>) {
        self.list.push(Change::LeaseNone, |row| {
            row.show(task).maybe_show(grant);
        });
    }

    /// Change a lease whose fence is still that of `before`. What was fixed at intent stays: only state, fence, handle and
    /// native end are written.
    pub fn update_lease(&mut self, before: &Lease, after: &Lease) {
        self.list.count(&after.agent, counts(after).saturating_sub(counts(before)), 0);
        self.list.push(Change::LeaseUpdate, |row| {
            row.show(before.id).int(before.fence);
            moving(row, after);
        });
    }

    /// Note that the agent has the secret of a live lease of this fence; any other stays as it is.
    pub fn deliver_lease(&mut self, lease: LeaseId, fence: i64, at: Timestamp) {
        self.list.push(Change::LeaseDeliver, |row| {
            // The state is a column of the row and not part of the text: a planner that knows nothing of the table yet would
            // believe that few leases live, and look through all of them for each row.
            row.show(lease).int(fence).time(at).text("live");
        });
    }
}

impl Store {
    /// The lease of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_lease(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        let query = sqlx::query(select!("leases.find", "WHERE id = $1")).bind(id.to_string());
        self.find(query, read).await
    }

    /// The leases of a task, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_leases_of_task(&self, task: TaskId) -> Result<Vec<Lease>, StoreError> {
        let query = sqlx::query(select!("leases.list_of_task", "WHERE task_id = $1 ORDER BY id LIMIT $2"))
            .bind(task.to_string())
            .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }

    /// Leases in order of id, after one, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_leases(
        &self,
        filter: &LeaseFilter,
        after: Option<LeaseId>,
        limit: u32,
    ) -> Result<Vec<Lease>, StoreError> {
        let sql = match filter {
            // `Lease::is_irrevocable` in SQL.
            LeaseFilter { irrevocable: true, .. } => select_by!(
                "leases.list_irrevocable",
                "attempts >= 10 AND state = 'ending' AND ends_by IS NULL AND disabled_at IS NULL"
            ),
            LeaseFilter { task: Some(_), .. } => select_by!("leases.list_by_task", "task_id = $1"),
            LeaseFilter { grant: Some(_), .. } => select_by!(
                "leases.list_by_grant",
                "task_id = (SELECT g.task_id FROM access_grant AS g WHERE g.id = $3)"
            ),
            LeaseFilter { request: Some(_), .. } => select_by!(
                "leases.list_by_request",
                "task_id = (SELECT r.task_id FROM access_request AS r WHERE r.id = $4)"
            ),
            LeaseFilter { live: Some(true), .. } => select_by!("leases.list_live", "due_at IS NOT NULL"),
            // No index by agent, grant or request: it would be paid for with each lease, and their tasks are known.
            LeaseFilter { agent: Some(_), .. } => {
                select_by!("leases.list_by_agent", "task_id IN (SELECT task.id FROM task WHERE task.agent_id = $2)")
            }
            LeaseFilter { .. } => select_by!("leases.list", "1 = 1"),
        };
        let query = sqlx::query(sql)
            .bind(filter.task.map(|id| id.to_string()))
            .bind(filter.agent.as_ref().map(AgentId::to_string))
            .bind(filter.grant.map(|id| id.to_string()))
            .bind(filter.request.map(|id| id.to_string()))
            .bind(filter.backend.as_ref().map(Name::to_string))
            .bind(filter.live.map(|live| if live { "live" } else { "over" }))
            .bind(filter.scope_entry.as_ref().map(|entry| entry.to_string().replace('_', "\\_")))
            .bind(after.map_or_else(String::new, |id| id.to_string()))
            .bind(page(limit));
        self.list(query, read).await
    }

    /// Leases that have not ended, in order of id, after one, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_unended_leases(&self, after: Option<LeaseId>, limit: u32) -> Result<Vec<Lease>, StoreError> {
        let sql = select!("leases.list_unended", "WHERE due_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2");
        let query = sqlx::query(sql).bind(after.map_or_else(String::new, |id| id.to_string())).bind(page(limit));
        self.list(query, read).await
    }
}

fn read_state(row: Reader<'_>) -> Result<LeaseState, StoreError> {
    Ok(match row.text("state")? {
        "minting" => LeaseState::Minting,
        "live" => LeaseState::Live {
            minted_at: row.needed("minted_at", row.maybe_time("minted_at")?)?,
            fingerprint: row.text("fingerprint")?.to_owned(),
            delivered_at: row.maybe_time("delivered_at")?,
        },
        "ending" => LeaseState::Ending {
            cause: row.parse("cause")?,
            since: row.needed("since", row.maybe_time("since")?)?,
            attempts: u32::try_from(row.int("attempts")?).map_err(|error| row.corrupt("attempts", error))?,
            next_try: row.needed("due_at", row.maybe_time("due_at")?)?,
            ends_by: row.maybe_time("ends_by")?,
            settles_at: row.maybe_time("settles_at")?,
            disabled_at: row.maybe_time("disabled_at")?,
        },
        "ended" => LeaseState::Ended {
            cause: row.parse("cause")?,
            at: row.needed("since", row.maybe_time("since")?)?,
            proof: row.text("proof")?.to_owned(),
        },
        other => return Err(row.unknown_state(other)),
    })
}

pub(super) fn read(row: &AnyRow) -> Result<Lease, StoreError> {
    let row = Reader::new(TABLE, row);
    row.record(Lease::new(LeaseRecord {
        id: row.parse("id")?,
        grant: row.parse("grant_id")?,
        request: row.parse("request_id")?,
        task: row.parse("task_id")?,
        agent: row.parse("agent_id")?,
        backend: row.parse("backend")?,
        scopes: row.json("scopes")?,
        plan: row.parse("plan")?,
        handle: Handle::new(row.text("handle")?),
        intent_at: row.time("intent_at")?,
        ends_at: row.time("ends_at")?,
        native_end: row.time("native_end")?,
        fence: row.int("fence")?,
        state: read_state(row)?,
    }))
}

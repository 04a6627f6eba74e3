//! Grants: inserted, ended by compare-and-swap on their state, found by id and task.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx, page};
use crate::domain::{Approved, Grant, GrantId, GrantRecord, GrantState, Person, TaskId, Ttl};

const TABLE: &str = "access_grant";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
"-- grants.insert
        INSERT INTO access_grant (id, request_id, task_id, agent_id, backend, scopes, plan, ttl, given_at, until_at, state,
            cause, ended_at, uses, mint_until, seal)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6,
            CAST(v.value->>7 AS BIGINT), CAST(v.value->>8 AS BIGINT), CAST(v.value->>9 AS BIGINT), v.value->>10,
            v.value->>11, CAST(v.value->>12 AS BIGINT), CAST(v.value->>13 AS BIGINT), CAST(v.value->>14 AS BIGINT),
            v.value->>15
        FROM "
),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- grants.update
        UPDATE access_grant SET state = v.value->>2, cause = v.value->>3, ended_at = CAST(v.value->>4 AS BIGINT)
        FROM ",
        " WHERE access_grant.id = v.value->>0 AND access_grant.state = v.value->>1"
    ),
};

pub(super) const CHECK: Statement = Statement {
    table: TABLE,
    expect: Expect::Seen,
    sql: grouped!(
        "-- grants.check
        SELECT v.value->>0 AS id FROM ",
        " WHERE EXISTS (SELECT 1 FROM access_grant AS g WHERE g.id = v.value->>0 AND g.state = v.value->>1)"
    ),
};

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT id, request_id, task_id, agent_id, backend, scopes, plan, ttl, given_at, until_at, state, cause, ended_at,
                uses, mint_until, seal
            FROM access_grant ",
            $rest
        )
    };
}

impl Tx {
    /// Add a grant.
    pub fn insert_grant(&mut self, grant: &Grant) {
        self.list.push(Change::GrantInsert, |row| {
            row.show(grant.id).show(grant.request).show(grant.task).text(grant.agent.as_str());
            row.text(grant.backend.as_str()).json(&grant.scopes).show(grant.plan).int(i64::from(grant.ttl.as_secs()));
            row.time(grant.given_at).time(grant.until).text(grant.state.as_str());
            match grant.state {
                GrantState::Live => row.null().null(),
                GrantState::Ended { cause, at } => row.text(cause.as_str()).time(at),
            };
            match &grant.approved {
                None => row.null().null().null(),
                Some(approved) => {
                    row.int(i64::from(approved.uses)).maybe_time(approved.mint_until).text(&approved.seal)
                }
            };
        });
    }

    /// Change a grant that is still in the state `before` is in.
    pub fn update_grant(&mut self, before: &Grant, after: &Grant) {
        self.list.push(Change::GrantUpdate, |row| {
            row.show(before.id).text(before.state.as_str()).text(after.state.as_str());
            match after.state {
                GrantState::Live => row.null().null(),
                GrantState::Ended { cause, at } => row.text(cause.as_str()).time(at),
            };
        });
    }

    /// Commit only if the grant is still in this state.
    pub fn check_grant(&mut self, grant: &Grant) {
        self.list.push(Change::GrantCheck, |row| {
            row.show(grant.id).text(grant.state.as_str());
        });
    }
}

impl Store {
    /// The grant of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        let query = sqlx::query(select!("grants.find", "WHERE id = $1")).bind(id.to_string());
        self.find(query, read).await
    }

    /// The live grants that rest on a verdict of this person, or on one in this person's place, oldest first, at most `limit`
    /// (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_live_grants_approved_by(&self, person: &Person, limit: u32) -> Result<Vec<Grant>, StoreError> {
        let sql = select!(
            "grants.list_live_approved_by",
            "WHERE state = 'live' AND uses IS NOT NULL AND id IN (SELECT r.grant_id FROM access_request AS r
                WHERE r.id IN (SELECT a.request_id FROM approval AS a WHERE a.person = $1 OR a.in_place_of = $1))
            ORDER BY id LIMIT $2"
        );
        self.list(sqlx::query(sql).bind(person.as_str().to_owned()).bind(page(limit)), read).await
    }

    /// The live grants of a task, oldest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_live_grants_of_task(&self, task: TaskId, limit: u32) -> Result<Vec<Grant>, StoreError> {
        let sql = select!("grants.list_live_of_task", "WHERE task_id = $1 AND state = 'live' ORDER BY id LIMIT $2");
        self.list(sqlx::query(sql).bind(task.to_string()).bind(page(limit)), read).await
    }

    /// The grants of a task, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_grants_of_task(&self, task: TaskId) -> Result<Vec<Grant>, StoreError> {
        let query = sqlx::query(select!("grants.list_of_task", "WHERE task_id = $1 ORDER BY id LIMIT $2"))
            .bind(task.to_string())
            .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }
}

/// What its approvals bound it to; a row with half of it was changed behind our back.
fn read_approved(row: Reader<'_>) -> Result<Option<Approved>, StoreError> {
    let (uses, seal) = (row.maybe_int("uses")?, row.maybe_text("seal")?);
    let mint_until = row.maybe_time("mint_until")?;
    if uses.is_none() && seal.is_none() && mint_until.is_none() {
        return Ok(None);
    }
    let uses = u32::try_from(row.needed("uses", uses)?).map_err(|error| row.corrupt("uses", error))?;
    // A seal that is gone is as good as a wrong one: whoever checks it finds that it does not fit.
    Ok(Some(Approved { uses, mint_until, seal: seal.unwrap_or_default().to_owned() }))
}

fn read(row: &AnyRow) -> Result<Grant, StoreError> {
    let row = Reader::new(TABLE, row);
    let state = match row.text("state")? {
        "live" => GrantState::Live,
        "ended" => {
            GrantState::Ended { cause: row.parse("cause")?, at: row.needed("ended_at", row.maybe_time("ended_at")?)? }
        }
        other => return Err(row.unknown_state(other)),
    };
    row.record(Grant::new(GrantRecord {
        id: row.parse("id")?,
        request: row.parse("request_id")?,
        task: row.parse("task_id")?,
        agent: row.parse("agent_id")?,
        backend: row.parse("backend")?,
        scopes: row.json("scopes")?,
        plan: row.parse("plan")?,
        ttl: Ttl::from_secs(row.int("ttl")?).map_err(|error| row.corrupt("ttl", error))?,
        given_at: row.time("given_at")?,
        until: row.time("until_at")?,
        approved: read_approved(row)?,
        state,
    }))
}

//! The control row and suspended agents. Lists that change them are groups of their own, so that what a group read first
//! holds for all of it.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Control, MAX_SUSPENDED, Store, StoreError, Tx, unavailable};
use crate::domain::{AgentId, Timestamp};

const TABLE: &str = "control";
const FIND: &str = "-- control.find
    SELECT kill_epoch, kill_switch, bundle, agents_epoch, restore_epoch, quarantine, tokens_from FROM control WHERE id = $1";

pub(super) const SET: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- control.set
        UPDATE control SET kill_epoch = CAST(v.value->>0 AS BIGINT), kill_switch = v.value->>1, bundle = v.value->>2,
            agents_epoch = CAST(v.value->>3 AS BIGINT), restore_epoch = CAST(v.value->>4 AS BIGINT),
            quarantine = v.value->>5, tokens_from = CAST(v.value->>6 AS BIGINT)
        FROM ",
        " WHERE control.id = 1 AND control.kill_epoch = CAST(v.value->>7 AS BIGINT)
            AND control.kill_switch = v.value->>8 AND COALESCE(control.bundle, '') = COALESCE(v.value->>9, '')
            AND control.agents_epoch = CAST(v.value->>10 AS BIGINT)
            AND control.restore_epoch = CAST(v.value->>11 AS BIGINT)
            AND COALESCE(control.quarantine, '') = COALESCE(v.value->>12, '')
            AND control.tokens_from = CAST(v.value->>13 AS BIGINT)"
    ),
};

pub(super) const SUSPEND: Statement = Statement {
    table: "suspension",
    expect: Expect::Each,
    sql: grouped!(
        "-- control.suspend
        INSERT INTO suspension (agent_id, suspended_by, reason, at)
        SELECT v.value->>0, v.value->>1, v.value->>2, CAST(v.value->>3 AS BIGINT) FROM "
    ),
};

pub(super) const RESUME: Statement = Statement {
    table: "suspension",
    expect: Expect::Each,
    sql: grouped!(
        "-- control.resume
        DELETE FROM suspension WHERE agent_id IN (SELECT v.value->>0 FROM ",
        ")"
    ),
};

pub(super) const BUMP_AGENTS_EPOCH: Statement = Statement {
    table: TABLE,
    expect: Expect::Any,
    sql: grouped!(
        "-- control.bump_agents_epoch
        UPDATE control SET agents_epoch = control.agents_epoch + 1 FROM ",
        " WHERE control.id = CAST(v.value->>0 AS BIGINT)"
    ),
};

/// An agent that may do nothing until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Which agent.
    pub agent: AgentId,
    /// Who suspended it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

const fn word(killed: bool) -> &'static str {
    if killed { "engaged" } else { "released" }
}

impl Tx {
    /// Commit only if the control row is as it was seen.
    pub fn expect_control(&mut self, seen: &Control) {
        self.list.control = Some(Box::new(seen.clone()));
    }

    /// Change the control row if it is still as `before` says.
    pub fn set_control(&mut self, before: &Control, after: &Control) {
        self.list.alone = true;
        self.list.touched.control = true;
        self.list.push(Change::ControlSet, |row| {
            for side in [after, before] {
                row.int(side.kill_epoch).text(word(side.killed)).maybe_show(side.bundle).int(side.agents_epoch);
                row.int(side.restore_epoch).maybe_text(side.quarantine.as_deref()).int(side.tokens_from_millis);
            }
        });
    }

    /// Suspend an agent; one that is suspended already conflicts.
    pub fn suspend_agent(&mut self, agent: &AgentId, by: &str, reason: &str, at: Timestamp) {
        self.list.push(Change::AgentSuspend, |row| {
            row.text(agent.as_str()).text(by).text(reason).time(at);
        });
        self.bump_agents_epoch();
    }

    /// Resume an agent; one that is not suspended conflicts.
    pub fn resume_agent(&mut self, agent: &AgentId) {
        self.list.push(Change::AgentResume, |row| {
            row.text(agent.as_str());
        });
        self.bump_agents_epoch();
    }

    fn bump_agents_epoch(&mut self) {
        self.list.alone = true;
        self.list.touched.control = true;
        if self.list.rows(Change::AgentsEpoch).is_none() {
            self.list.push(Change::AgentsEpoch, |row| {
                row.int(1);
            });
        }
    }
}

impl Store {
    /// The control row.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn control(&self) -> Result<Control, StoreError> {
        self.find(sqlx::query(FIND).bind(1_i64), read).await?.ok_or_else(missing)
    }

    /// The suspended agents in order of name, at most 10,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_suspended(&self) -> Result<Vec<Suspension>, StoreError> {
        let query = sqlx::query(
            "-- control.list_suspended
            SELECT agent_id, suspended_by, reason, at FROM suspension ORDER BY agent_id LIMIT $1",
        )
        .bind(MAX_SUSPENDED);
        self.list(query, read_suspension).await
    }
}

/// Read the control row on the writing connection, inside its transaction.
pub(super) async fn read_for_group(connection: &mut AnyConnection) -> Result<Control, StoreError> {
    // A bound parameter keeps the statement prepared.
    let row = sqlx::query(FIND).bind(1_i64).fetch_optional(connection).await.map_err(unavailable)?;
    read(&row.ok_or_else(missing)?)
}

fn missing() -> StoreError {
    StoreError::Corrupt("control.id: the one row is gone".to_owned())
}

fn read(row: &AnyRow) -> Result<Control, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Control {
        kill_epoch: row.int("kill_epoch")?,
        killed: match row.text("kill_switch")? {
            "engaged" => true,
            "released" => false,
            other => return Err(row.corrupt("kill_switch", format_args!("`{other}` is not a state"))),
        },
        bundle: row.maybe_parse("bundle")?,
        agents_epoch: row.int("agents_epoch")?,
        restore_epoch: row.int("restore_epoch")?,
        quarantine: row.maybe_text("quarantine")?.map(str::to_owned),
        tokens_from_millis: row.int("tokens_from")?,
    })
}

fn read_suspension(row: &AnyRow) -> Result<Suspension, StoreError> {
    let row = Reader::new("suspension", row);
    Ok(Suspension {
        agent: row.parse("agent_id")?,
        by: row.text("suspended_by")?.to_owned(),
        reason: row.text("reason")?.to_owned(),
        at: row.time("at")?,
    })
}

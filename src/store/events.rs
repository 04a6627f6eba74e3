//! Audit events: appended with the changes they explain, in the order of commits; the database refuses to change or
//! remove one.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, List, Statement};
use super::{Store, StoreError, page};
use crate::domain::{AgentId, AuditEvent, LeaseId, RequestId, TaskId, Timestamp};

const TABLE: &str = "event";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
        "-- events.insert
        INSERT INTO event (id, at, kind, actor, agent_id, task_id, request_id, lease_id, body)
        SELECT v.value->>0, CAST(v.value->>1 AS BIGINT), v.value->>2, v.value->>3, v.value->>4, v.value->>5,
            v.value->>6, v.value->>7, v.value->>8
        FROM "
    ),
};

macro_rules! select_by {
    ($name:expr, $lead:literal, $order:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT seq, id, at, kind, body FROM event WHERE ",
            $lead,
            " AND (CAST($1 AS TEXT) IS NULL OR agent_id = $1) AND (CAST($2 AS TEXT) IS NULL OR task_id = $2)
            AND (CAST($3 AS TEXT) IS NULL OR request_id = $3) AND (CAST($4 AS TEXT) IS NULL OR lease_id = $4)
            AND (CAST($5 AS TEXT) IS NULL OR (kind >= $5 AND kind <= $6)) AND (CAST($7 AS TEXT) IS NULL OR actor = $7)
            AND (CAST($8 AS BIGINT) IS NULL OR at >= $8) AND (CAST($9 AS BIGINT) IS NULL OR at < $9) ",
            $order
        )
    };
}

/// The ways to find events, in one order. There is one index, by task, because each would be paid for with every event: what
/// is asked about a request or a lease is found by its task, and anything else by reading in order.
macro_rules! select {
    ($filter:expr, $suffix:literal, $order:literal) => {
        match $filter {
            EventFilter { task: Some(_), .. } => {
                select_by!(concat!("events.list_of_task", $suffix), "task_id = $2", $order)
            }
            EventFilter { lease: Some(_), .. } => select_by!(
                concat!("events.list_of_lease", $suffix),
                "task_id = (SELECT lease.task_id FROM lease WHERE lease.id = $4)",
                $order
            ),
            EventFilter { request: Some(_), .. } => select_by!(
                concat!("events.list_of_request", $suffix),
                "task_id = (SELECT r.task_id FROM access_request AS r WHERE r.id = $3)",
                $order
            ),
            EventFilter { .. } => select_by!(concat!("events.list", $suffix), "1 = 1", $order),
        }
    };
}

/// Which events to list; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// About which agent.
    pub agent: Option<AgentId>,
    /// About which task.
    pub task: Option<TaskId>,
    /// About which access request; its events name its task too.
    pub request: Option<RequestId>,
    /// About which lease; its events name its task too.
    pub lease: Option<LeaseId>,
    /// Of which kind, e.g. `lease.ended`, or all that begin so if it ends in a dot, e.g. `lease.`.
    pub kind: Option<String>,
    /// By whom, as [`crate::domain::Actor`] is written, e.g. `operator:ann`.
    pub actor: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// The newest first; then `after_seq` means before it, and 0 means from the end.
    pub newest_first: bool,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the order of commits; grows, with gaps.
    pub seq: i64,
    /// Its id.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, as its wire word.
    pub kind: String,
    /// The canonical form, byte for byte.
    pub body: String,
}

/// Add an event to a list.
pub(super) fn push(list: &mut List, event: &AuditEvent) {
    list.push(Change::Event, |row| {
        row.show(event.id).time(event.at).text(event.kind.as_str()).show(&event.actor);
        row.maybe_text(event.subjects.agent.as_ref().map(AgentId::as_str)).maybe_show(event.subjects.task);
        row.maybe_show(event.subjects.request).maybe_show(event.subjects.lease).text(&event.canonical());
    });
}

impl Store {
    /// Events in the order of commits, after a place in it, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let (sql, from_seq) = if filter.newest_first {
            let before = if after_seq > 0 { after_seq } else { i64::MAX };
            (select!(filter, "_newest", "AND seq < $10 ORDER BY seq DESC LIMIT $11"), before)
        } else {
            (select!(filter, "", "AND seq > $10 ORDER BY seq LIMIT $11"), after_seq)
        };
        // `~` sorts after every character of a kind.
        let last_kind =
            filter.kind.as_ref().map(|kind| if kind.ends_with('.') { format!("{kind}~") } else { kind.clone() });
        let query = sqlx::query(sql)
            .bind(filter.agent.as_ref().map(AgentId::to_string))
            .bind(filter.task.map(|id| id.to_string()))
            .bind(filter.request.map(|id| id.to_string()))
            .bind(filter.lease.map(|id| id.to_string()))
            .bind(filter.kind.clone())
            .bind(last_kind)
            .bind(filter.actor.clone())
            .bind(filter.from.map(Timestamp::as_millis))
            .bind(filter.to.map(Timestamp::as_millis))
            .bind(from_seq)
            .bind(page(limit));
        self.list(query, read).await
    }
}

pub(super) fn read(row: &AnyRow) -> Result<StoredEvent, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(StoredEvent {
        seq: row.int("seq")?,
        id: row.text("id")?.to_owned(),
        at: row.time("at")?,
        kind: row.text("kind")?.to_owned(),
        body: row.text("body")?.to_owned(),
    })
}

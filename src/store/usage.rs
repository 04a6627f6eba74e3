//! How much each agent holds and asks, counted in the same transaction that changes it, so that no limit can be passed by
//! asking twice at once.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::StoreError;
use super::codec::{Database, Grouped, Reader, Rows, grouped};
use super::group::{Failure, failure};
use super::tx::List;

const TABLE: &str = "agent_usage";

pub(super) const UPDATE: Grouped = grouped!(
    "-- usage.update
    UPDATE agent_usage SET
        live_leases = CASE WHEN agent_usage.live_leases + CAST(v.value->>1 AS BIGINT) < 0 THEN 0
            ELSE agent_usage.live_leases + CAST(v.value->>1 AS BIGINT) END,
        pending_requests = CASE WHEN agent_usage.pending_requests + CAST(v.value->>2 AS BIGINT) < 0 THEN 0
            ELSE agent_usage.pending_requests + CAST(v.value->>2 AS BIGINT) END
    FROM ",
    " WHERE agent_usage.agent_id = v.value->>0 RETURNING agent_usage.agent_id, agent_usage.live_leases, agent_usage.pending_requests"
);

const INSERT: Grouped = grouped!(
    "-- usage.insert
    INSERT INTO agent_usage (agent_id, live_leases, pending_requests)
    SELECT v.value->>0, CAST(v.value->>1 AS BIGINT), CAST(v.value->>2 AS BIGINT) FROM "
);

/// Live leases and pending requests.
type Counts = (i64, i64);

/// What the lists of a group change together.
pub(super) struct Used<'a> {
    database: Database,
    changes: BTreeMap<&'a str, Counts>,
    rows: Rows,
}

impl<'a> Used<'a> {
    /// Add up what these lists change.
    pub(super) fn by(database: Database, lists: &[&'a List]) -> Self {
        let mut changes: BTreeMap<&str, Counts> = BTreeMap::new();
        for change in lists.iter().flat_map(|list| &list.usage) {
            let sum = changes.entry(change.agent.as_str()).or_default();
            *sum = (sum.0.saturating_add(change.live_leases), sum.1.saturating_add(change.pending_requests));
        }
        let mut rows = Rows::with_room(database, if changes.is_empty() { 0 } else { 1024 });
        for (agent, change) in &changes {
            rows.row(|row| {
                row.text(agent).int(change.0).int(change.1);
            });
        }
        Self { database, changes, rows }
    }

    /// The parameter of [`UPDATE`].
    pub(super) const fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Write it; what those agents hold then who were counted before.
    pub(super) async fn write(&self, connection: &mut AnyConnection) -> Result<Vec<AnyRow>, Failure> {
        if self.changes.is_empty() {
            return Ok(Vec::new());
        }
        let query = Rows::query(&UPDATE, self.database, std::iter::once(&self.rows));
        query.fetch_all(connection).await.map_err(|error| failure(TABLE, &error))
    }

    /// Begin to count those who were not counted before, and hold all against the limits of the lists.
    pub(super) async fn settle(
        &self,
        connection: &mut AnyConnection,
        lists: &[&List],
        counted: &[AnyRow],
    ) -> Result<(), Failure> {
        let mut totals = BTreeMap::new();
        for row in counted {
            let row = Reader::new(TABLE, row);
            totals.insert(row.text("agent_id")?, (row.int("live_leases")?, row.int("pending_requests")?));
        }
        let mut missing = Rows::with_room(self.database, 0);
        for (agent, change) in &self.changes {
            totals.entry(agent).or_insert_with(|| {
                let first = (change.0.max(0), change.1.max(0));
                missing.row(|row| {
                    row.text(agent).int(first.0).int(first.1);
                });
                first
            });
        }
        if missing.count() > 0 {
            let query = Rows::query(&INSERT, self.database, std::iter::once(&missing));
            query.execute(connection).await.map_err(|error| failure(TABLE, &error))?;
        }
        lists.iter().try_for_each(|list| check(list, &totals))
    }
}

/// Only a list that adds can be stopped by a limit: giving up is always possible.
fn check(list: &List, totals: &BTreeMap<&str, Counts>) -> Result<(), Failure> {
    for limit in &list.limits {
        let Some(added) = list.usage.iter().find(|change| change.agent == limit.agent) else { continue };
        let Some(total) = totals.get(limit.agent.as_str()) else { continue };
        if added.live_leases > 0 && total.0 > limit.live_leases {
            return Err(Failure::OfList(StoreError::LimitReached("live_leases")));
        }
        if added.pending_requests > 0 && total.1 > limit.pending_requests {
            return Err(Failure::OfList(StoreError::LimitReached("pending_requests")));
        }
    }
    Ok(())
}

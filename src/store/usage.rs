//! How much each agent holds and asks, counted in the same transaction that changes it, so that no limit can be passed by
//! asking twice at once.

use std::collections::BTreeMap;

use sqlx::AnyConnection;

use super::StoreError;
use super::codec::{Database, Grouped, Reader, Rows, grouped};
use super::group::{Failure, failure};
use super::tx::List;

const TABLE: &str = "agent_usage";

const UPDATE: Grouped = grouped!(
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

/// Add up what the lists of a group change, write it, and hold it against their limits.
pub(super) async fn apply(connection: &mut AnyConnection, database: Database, lists: &[&List]) -> Result<(), Failure> {
    let mut changes: BTreeMap<&str, Counts> = BTreeMap::new();
    for change in lists.iter().flat_map(|list| &list.usage) {
        let sum = changes.entry(change.agent.as_str()).or_default();
        *sum = (sum.0.saturating_add(change.live_leases), sum.1.saturating_add(change.pending_requests));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let totals = write(connection, database, &changes).await?;
    for list in lists {
        check(list, &totals)?;
    }
    Ok(())
}

async fn write(
    connection: &mut AnyConnection,
    database: Database,
    changes: &BTreeMap<&str, Counts>,
) -> Result<BTreeMap<String, Counts>, Failure> {
    let mut rows = Rows::with_room(database, 1024);
    for (agent, change) in changes {
        rows.row(|row| {
            row.text(agent).int(change.0).int(change.1);
        });
    }
    let query = Rows::query(&UPDATE, database, std::iter::once(&rows));
    let answer = query.fetch_all(&mut *connection).await.map_err(|error| failure(TABLE, &error))?;
    let mut totals = BTreeMap::new();
    for row in &answer {
        let row = Reader::new(TABLE, row);
        totals.insert(row.text("agent_id")?.to_owned(), (row.int("live_leases")?, row.int("pending_requests")?));
    }
    let mut missing = Rows::with_room(database, 64);
    for (agent, change) in changes {
        if !totals.contains_key(*agent) {
            let first = (change.0.max(0), change.1.max(0));
            missing.row(|row| {
                row.text(agent).int(first.0).int(first.1);
            });
            totals.insert((*agent).to_owned(), first);
        }
    }
    if missing.count() > 0 {
        let query = Rows::query(&INSERT, database, std::iter::once(&missing));
        query.execute(connection).await.map_err(|error| failure(TABLE, &error))?;
    }
    Ok(totals)
}

/// Only a list that adds can be stopped by a limit: giving up is always possible.
fn check(list: &List, totals: &BTreeMap<String, Counts>) -> Result<(), Failure> {
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

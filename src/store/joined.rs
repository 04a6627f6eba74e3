//! What most groups write, as one statement for PostgreSQL: new rows of every kind, deliveries, and what agents hold. Each
//! statement of its own would cost a round trip, and while one is under way everybody whose changes are in the group waits.
//! The parts are the statements that are otherwise executed one by one; only their parameters get other numbers.

use std::fmt::Write as _;
use std::sync::LazyLock;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::StoreError;
use super::codec::Rows;
use super::group::{Failure, failure};
use super::tx::{Change, Expect, List, Statement};
use super::usage;

/// The statement: every part reads the same state and none sees another's rows, which is right for those that do not look at what
/// another changes.
static SQL: LazyLock<String> = LazyLock::new(|| {
    let mut sql = "-- group.write\nWITH ".to_owned();
    let mut number = 0_u32;
    for (change, statement) in parts() {
        number = number.saturating_add(1);
        let part = statement.sql.postgres.replace("$1", &format!("${number}"));
        let comma = if number > 1 { ", " } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(sql, "{comma}part_{change:?} AS (\n{part}\n)");
    }
    let _ = write!(sql, "\n{}", usage::UPDATE.postgres.replace("$1", &format!("${}", number.saturating_add(1))));
    sql
});

/// What it can do besides counting what agents hold.
fn parts() -> impl Iterator<Item = (Change, &'static Statement)> {
    let all = Change::ALL.iter().map(|(change, statement)| (*change, *statement));
    all.filter(|(change, statement)| statement.expect == Expect::New || *change == Change::LeaseDeliver)
}

/// Whether it does this change for these lists. A lease that is delivered and ended in one group is changed twice, which one
/// statement cannot do.
pub(super) fn covers(lists: &[&List], change: Change, statement: &Statement) -> bool {
    if change == Change::LeaseDeliver {
        return !lists.iter().any(|list| list.rows(Change::LeaseUpdate).is_some());
    }
    statement.expect == Expect::New
}

/// Whether it does what would else take several statements.
pub(super) fn is_worth_it(lists: &[&List], usage: &Rows) -> bool {
    let kinds = parts().filter(|(change, statement)| {
        covers(lists, *change, statement) && lists.iter().any(|list| list.rows(*change).is_some())
    });
    kinds.count().saturating_add(usize::from(usage.count() > 0)) > 1
}

/// Write all that it covers; what agents hold afterwards, for those who are counted already.
pub(super) async fn write(
    connection: &mut AnyConnection,
    lists: &[&List],
    usage: &Rows,
) -> Result<Vec<AnyRow>, Failure> {
    let mut query = sqlx::query(SQL.as_str());
    for (change, statement) in parts() {
        let covered = covers(lists, change, statement);
        let rows = lists.iter().filter_map(|list| list.rows(change).filter(|_| covered));
        query = query.bind(Rows::separated(rows));
    }
    query = query.bind(Rows::separated(std::iter::once(usage)));
    query.fetch_all(connection).await.map_err(|error| {
        let table = error.as_database_error().and_then(sqlx::error::DatabaseError::table).unwrap_or_default();
        let known = Change::ALL.iter().map(|(_, statement)| statement.table).find(|known| *known == table);
        match failure(known.unwrap_or("group"), &error) {
            // Only inserts conflict here, and a conflict names its table.
            Failure::OfList(StoreError::Conflict { table: "group" }) => {
                Failure::OfList(StoreError::Corrupt(format!("{table}: {error}")))
            }
            other @ (Failure::OfList(_) | Failure::OfDatabase(_)) => other,
        }
    })
}

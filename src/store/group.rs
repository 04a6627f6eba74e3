//! One group of lists, written as one database transaction with one statement for each kind of change. If a list conflicts,
//! the group is rolled back and its lists are replayed one by one, so that only the conflicting one fails.

use sqlx::{AnyConnection, Executor as _};

use super::codec::Rows;
use super::tx::{Change, Expect, List, Statement};
use super::{StoreError, control, usage};

/// Why a group was not written.
#[derive(Debug)]
pub(super) enum Failure {
    /// One of its lists cannot be: a conflict, a limit, a changed control row.
    OfList(StoreError),
    /// The database cannot: nothing was changed, and the connection is not to be trusted.
    OfDatabase(StoreError),
}

impl From<StoreError> for Failure {
    /// What a row that cannot be read means: stop and look.
    fn from(error: StoreError) -> Self {
        Self::OfList(error)
    }
}

/// SQLite's result codes for a write that did not happen: busy, read-only, full, cannot open, and a failed write. A commit
/// that ends so left no commit frame behind; after any other failure (above all of a sync) nobody knows.
const NOT_WRITTEN: [&str; 5] = ["5", "8", "13", "14", "778"];

/// What an error inside a group means.
pub(super) fn failure(table: &'static str, error: &sqlx::Error) -> Failure {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => Failure::OfList(StoreError::Conflict { table }),
        // 19 is SQLITE_CONSTRAINT; its extended codes carry it in the low byte.
        Some(database)
            if database.code().and_then(|code| code.parse().ok()).is_some_and(|code: u32| code & 0xff == 19) =>
        {
            Failure::OfList(StoreError::Corrupt(format!("{table}: {database}")))
        }
        Some(_) | None => Failure::OfDatabase(StoreError::Unavailable(error.to_string())),
    }
}

/// Write a group; an answer for each list, and whether the connection is still good.
pub(super) async fn write(connection: &mut AnyConnection, lists: &[&List]) -> (Vec<Result<(), StoreError>>, bool) {
    match write_at_once(connection, lists).await {
        Ok(()) => (lists.iter().map(|_| Ok(())).collect(), true),
        Err(Failure::OfDatabase(error)) => (same_for_all(lists, &error), false),
        Err(Failure::OfList(error)) if lists.len() == 1 => (vec![Err(error)], true),
        Err(Failure::OfList(_)) => match replay(connection, lists).await {
            Ok(answers) => (answers, true),
            Err(error) => (same_for_all(lists, &error), false),
        },
    }
}

async fn write_at_once(connection: &mut AnyConnection, lists: &[&List]) -> Result<(), Failure> {
    begin(connection).await?;
    if let Err(failed) = apply(connection, lists).await {
        rollback(connection).await?;
        return Err(failed);
    }
    commit(connection).await.map_err(Failure::OfDatabase)
}

/// Each list behind a savepoint of its own, all in one transaction.
async fn replay(connection: &mut AnyConnection, lists: &[&List]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let mut answers = Vec::with_capacity(lists.len());
    begin(connection).await.map_err(Failure::into_error)?;
    for list in lists {
        run(connection, "SAVEPOINT list").await?;
        match apply(connection, &[*list]).await {
            Ok(()) => answers.push(Ok(())),
            Err(Failure::OfList(error)) => {
                run(connection, "ROLLBACK TO SAVEPOINT list").await?;
                answers.push(Err(error));
            }
            Err(Failure::OfDatabase(error)) => return Err(error),
        }
        run(connection, "RELEASE SAVEPOINT list").await?;
    }
    commit(connection).await?;
    Ok(answers)
}

impl Failure {
    fn into_error(self) -> StoreError {
        match self {
            Self::OfList(error) | Self::OfDatabase(error) => error,
        }
    }
}

async fn run(connection: &mut AnyConnection, sql: &'static str) -> Result<(), StoreError> {
    connection.execute(sql).await.map(drop).map_err(super::unavailable)
}

async fn begin(connection: &mut AnyConnection) -> Result<(), Failure> {
    run(connection, "BEGIN IMMEDIATE").await.map_err(Failure::OfDatabase)
}

/// After a rollback that fails the connection is closed, which rolls back as well.
async fn rollback(connection: &mut AnyConnection) -> Result<(), Failure> {
    run(connection, "ROLLBACK").await.map_err(Failure::OfDatabase)
}

async fn commit(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let Err(error) = connection.execute("COMMIT").await else { return Ok(()) };
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|code| NOT_WRITTEN.contains(&&*code)) && run(connection, "ROLLBACK").await.is_ok() {
        return Err(StoreError::Unavailable(error.to_string()));
    }
    Err(StoreError::Unknown(error.to_string()))
}

fn same_for_all(lists: &[&List], error: &StoreError) -> Vec<Result<(), StoreError>> {
    lists.iter().map(|_| Err(again(error))).collect()
}

/// The same answer for another list of the group.
pub(super) fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unknown(why) => StoreError::Unknown(why.clone()),
        StoreError::Unavailable(why) => StoreError::Unavailable(why.clone()),
        StoreError::Corrupt(why) => StoreError::Corrupt(why.clone()),
        StoreError::Conflict { table } => StoreError::Conflict { table },
        StoreError::ControlChanged(control) => StoreError::ControlChanged(control.clone()),
        StoreError::LimitReached(limit) => StoreError::LimitReached(limit),
    }
}

/// Do everything these lists want, inside the open transaction: the control row first, then one statement for each kind of
/// change, then the limits.
async fn apply(connection: &mut AnyConnection, lists: &[&List]) -> Result<(), Failure> {
    if lists.iter().any(|list| list.control.is_some()) {
        let present = control::read_for_group(connection).await?;
        if lists.iter().filter_map(|list| list.control.as_ref()).any(|expected| *expected != present) {
            return Err(Failure::OfList(StoreError::ControlChanged(present)));
        }
    }
    for (change, statement) in Change::ALL {
        let parts = || lists.iter().filter_map(|list| list.rows(*change));
        let wanted: usize = parts().map(Rows::count).sum();
        if wanted > 0 {
            execute(connection, statement, Rows::parameter(parts()), wanted).await?;
        }
    }
    usage::apply(connection, lists).await
}

async fn execute(
    connection: &mut AnyConnection,
    statement: &Statement,
    rows: Vec<u8>,
    wanted: usize,
) -> Result<(), Failure> {
    let query = sqlx::query(statement.sql).bind(rows);
    let failed = |error| failure(statement.table, &error);
    let found = match statement.expect {
        Expect::Seen => query.fetch_all(connection).await.map_err(failed)?.len(),
        Expect::Each => usize::try_from(query.execute(connection).await.map_err(failed)?.rows_affected()).unwrap_or(0),
        Expect::Any => query.execute(connection).await.map(|_| wanted).map_err(failed)?,
    };
    if found == wanted { Ok(()) } else { Err(Failure::OfList(StoreError::Conflict { table: statement.table })) }
}

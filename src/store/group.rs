//! One group of lists, written as one database transaction with one statement for each kind of change. If a list conflicts,
//! the group is rolled back and its lists are replayed one by one, so that only the conflicting one fails.
//!
//! Groups take turns, on both databases: SQLite has one writer, and on PostgreSQL each begins by taking a lock. So what a
//! group reads first holds for all of it, checks need no locks of their own, nothing can deadlock, and the order of audit
//! events is the order of commits.

use sqlx::{AnyConnection, Executor as _, Row as _};

use super::codec::{Database, Rows};
use super::tx::{Change, Expect, List, Statement};
use super::{StoreError, control, joined, listen, unavailable, usage};
use crate::domain::{EventId, TaskId};

/// Why a group was not written.
#[derive(Debug)]
pub(super) enum Failure {
    /// One of its lists cannot be: a conflict, a limit, a changed control row.
    OfList(StoreError),
    /// The database cannot: nothing was changed, and the connection is not to be trusted.
    OfDatabase(StoreError),
}

impl From<StoreError> for Failure {
    /// A row that cannot be read is one list's trouble; a database that does not answer is everybody's.
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Unavailable(_)) { Self::OfDatabase(error) } else { Self::OfList(error) }
    }
}

/// SQLite's result codes for a write that did not happen: busy, read-only, full, cannot open, and a failed write. A commit
/// that ends so left no commit frame behind; after any other failure (above all of a sync) nobody knows.
const NOT_WRITTEN: [&str; 5] = ["5", "8", "13", "14", "778"];

/// What an error inside a group means.
pub(super) fn failure(table: &'static str, error: &sqlx::Error) -> Failure {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => Failure::OfList(StoreError::Conflict { table }),
        Some(database) if database.code().is_some_and(|code| is_about_rows(&code)) => {
            Failure::OfList(StoreError::Corrupt(format!("{table}: {database}")))
        }
        Some(_) | None => Failure::OfDatabase(StoreError::Unavailable(error.to_string())),
    }
}

/// Whether an error code says that the rows are wrong, and not the database.
fn is_about_rows(code: &str) -> bool {
    // PostgreSQL's codes have five characters: class 22 is a value it cannot have, 23 a constraint, P0001 a trigger's refusal.
    if code.len() == 5 {
        return code.starts_with("22") || code.starts_with("23") || code == "P0001";
    }
    // 19 is SQLITE_CONSTRAINT, also of a trigger; its extended codes carry it in the low byte.
    code.parse().is_ok_and(|code: u32| code & 0xff == 19)
}

/// An answer for each list of a group.
pub(super) type Answers = Vec<Result<(), StoreError>>;

/// What is known of a transaction while it is written, for whoever must find out what became of it.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// The event by which a database server can be asked about it; a file cannot be asked.
    pub(super) mark: Option<Mark>,
    /// The answers if its commit takes place: there from when on the commit is asked for.
    pub(super) answers: Option<Answers>,
}

/// One audit event of a list: it is in the database if and only if the transaction of its group took place. A transaction's
/// number would not do: after a crash the server gives those that were never written down to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) event: EventId,
    pub(super) task: Option<TaskId>,
}

/// The mark of those lists that are to be committed; one with a task is found at once.
fn mark(database: Database, lists: &[&List], answers: &Answers) -> Option<Mark> {
    let committed = lists.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
    let marks = || committed.clone().filter_map(|(list, _)| list.mark.as_ref());
    match database {
        Database::Sqlite => None,
        Database::Postgres => marks().find(|mark| mark.task.is_some()).or_else(|| marks().next()).cloned(),
    }
}

/// Write a group: an answer for each list.
///
/// # Errors
/// Why the connection is not good any more: `Unavailable` when nothing was written, `Unknown` when the commit's outcome is open.
pub(super) async fn write(
    connection: &mut AnyConnection,
    database: Database,
    lists: &[&List],
    attempt: &mut Attempt,
) -> Result<Answers, StoreError> {
    match write_at_once(connection, database, lists, attempt).await {
        Ok(answers) => Ok(answers),
        Err(Failure::OfList(error)) if lists.len() == 1 => Ok(vec![Err(error)]),
        Err(Failure::OfList(_)) => replay(connection, database, lists, attempt).await,
        Err(Failure::OfDatabase(error)) => Err(error),
    }
}

async fn write_at_once(
    connection: &mut AnyConnection,
    database: Database,
    lists: &[&List],
    attempt: &mut Attempt,
) -> Result<Answers, Failure> {
    begin(connection, database).await.map_err(Failure::OfDatabase)?;
    if let Err(failed) = apply_and_tell(connection, database, lists).await {
        run(connection, "ROLLBACK").await.map_err(Failure::OfDatabase)?;
        return Err(failed);
    }
    let answers = lists.iter().map(|_| Ok(())).collect();
    attempt.mark = mark(database, lists, &answers);
    commit(connection, answers, attempt).await.map_err(Failure::OfDatabase)
}

/// Each list behind a savepoint of its own, all in one transaction.
async fn replay(
    connection: &mut AnyConnection,
    database: Database,
    lists: &[&List],
    attempt: &mut Attempt,
) -> Result<Answers, StoreError> {
    let mut answers = Vec::with_capacity(lists.len());
    begin(connection, database).await?;
    for list in lists {
        run(connection, "SAVEPOINT list").await?;
        match apply_and_tell(connection, database, &[*list]).await {
            Ok(()) => answers.push(Ok(())),
            Err(Failure::OfList(error)) => {
                run(connection, "ROLLBACK TO SAVEPOINT list").await?;
                answers.push(Err(error));
            }
            Err(Failure::OfDatabase(error)) => return Err(error),
        }
        run(connection, "RELEASE SAVEPOINT list").await?;
    }
    attempt.mark = mark(database, lists, &answers);
    commit(connection, answers, attempt).await
}

async fn run(connection: &mut AnyConnection, sql: &'static str) -> Result<(), StoreError> {
    connection.execute(sql).await.map(drop).map_err(unavailable)
}

/// Begin, and take a turn at writing. The number is an arbitrary one that nobody else takes locks by.
const TAKE_TURN: &str = "-- group.take_turn
    BEGIN; SELECT CAST(pg_advisory_xact_lock(7311204658) AS TEXT) AS turn";
/// Whether an event is there. One without a task is looked for among the newest, which are more than can have been written
/// since by far.
const FIND_MARK: &str = "-- group.find_mark
    SELECT COUNT(*) AS found FROM event WHERE task_id = $1 AND id = $2";
const FIND_MARK_WITHOUT_TASK: &str = "-- group.find_mark_without_task
    SELECT COUNT(*) AS found FROM event WHERE id = $1 AND seq > (SELECT MAX(newest.seq) FROM event AS newest) - 2000000";

/// Begin a transaction that has its turn.
pub(super) async fn begin(connection: &mut AnyConnection, database: Database) -> Result<(), StoreError> {
    match database {
        Database::Sqlite => run(connection, "BEGIN IMMEDIATE").await,
        Database::Postgres => {
            // In one round trip; what follows sees what was committed before the turn was taken.
            run(connection, TAKE_TURN).await
        }
    }
}

async fn commit(
    connection: &mut AnyConnection,
    answers: Answers,
    attempt: &mut Attempt,
) -> Result<Answers, StoreError> {
    attempt.answers = Some(answers);
    crate::sys::killpoint!(StoreBeforeCommit, Err(StoreError::Unavailable("kill point".to_owned())));
    let done = connection.execute("COMMIT").await;
    crate::sys::killpoint!(StoreAfterCommit, Err(StoreError::Unknown("kill point".to_owned())));
    let Err(error) = done else {
        return Ok(attempt.answers.take().unwrap_or_default());
    };
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // Either way the caller closes the connection, which rolls back what the database itself has not.
    if code.is_some_and(|code| NOT_WRITTEN.contains(&&*code)) {
        Err(StoreError::Unavailable(error.to_string()))
    } else {
        Err(StoreError::Unknown(error.to_string()))
    }
}

/// Ask, on another connection, whether a transaction whose commit was not answered took place. Taking a turn first waits for
/// one that is still under way.
///
/// # Errors
/// `Unavailable` when the database does not say.
pub(super) async fn took_place(connection: &mut AnyConnection, mark: &Mark) -> Result<bool, StoreError> {
    begin(connection, Database::Postgres).await?;
    let event = mark.event.to_string();
    let query = match mark.task {
        Some(task) => sqlx::query(FIND_MARK).bind(task.to_string()).bind(event),
        None => sqlx::query(FIND_MARK_WITHOUT_TASK).bind(event),
    };
    let found = query.fetch_one(&mut *connection).await.and_then(|row| row.try_get::<i64, _>("found"));
    let found = found.map_err(unavailable)?;
    run(connection, "ROLLBACK").await?;
    Ok(found > 0)
}

async fn apply_and_tell(connection: &mut AnyConnection, database: Database, lists: &[&List]) -> Result<(), Failure> {
    apply(connection, database, lists).await?;
    listen::tell(connection, database, lists).await
}

/// Do everything these lists want, inside the open transaction: the control row first, then one statement for each kind of
/// change (on PostgreSQL one for most kinds together), then the limits.
async fn apply(connection: &mut AnyConnection, database: Database, lists: &[&List]) -> Result<(), Failure> {
    if lists.iter().any(|list| list.control.is_some()) {
        let present = control::read_for_group(connection).await?;
        if lists.iter().filter_map(|list| list.control.as_ref()).any(|expected| **expected != present) {
            return Err(Failure::OfList(StoreError::ControlChanged(present)));
        }
    }
    let used = usage::Used::by(database, lists);
    let totals = match database {
        Database::Postgres if joined::is_worth_it(lists, used.rows()) => {
            Some(joined::write(connection, lists, used.rows()).await?)
        }
        Database::Postgres | Database::Sqlite => None,
    };
    for (change, statement) in Change::ALL {
        if totals.is_some() && joined::covers(lists, *change, statement) {
            continue;
        }
        let parts = || lists.iter().filter_map(|list| list.rows(*change));
        let wanted: usize = parts().map(Rows::count).sum();
        if wanted > 0 {
            execute(connection, database, statement, parts(), wanted).await?;
        }
    }
    let totals = match totals {
        Some(totals) => totals,
        None => used.write(connection).await?,
    };
    used.settle(connection, lists, &totals).await
}

async fn execute<'a>(
    connection: &mut AnyConnection,
    database: Database,
    statement: &Statement,
    parts: impl Iterator<Item = &'a Rows> + Clone,
    wanted: usize,
) -> Result<(), Failure> {
    let query = Rows::query(&statement.sql, database, parts);
    let failed = |error| failure(statement.table, &error);
    let found = match statement.expect {
        Expect::Seen => query.fetch_all(connection).await.map_err(failed)?.len(),
        Expect::New | Expect::Each => {
            usize::try_from(query.execute(connection).await.map_err(failed)?.rows_affected()).unwrap_or(0)
        }
        Expect::Any => query.execute(connection).await.map(|_| wanted).map_err(failed)?,
    };
    if found == wanted { Ok(()) } else { Err(Failure::OfList(StoreError::Conflict { table: statement.table })) }
}

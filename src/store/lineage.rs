//! Whose history this is. A database that was restored, copied or put back looks sound from inside: what was revoked since is
//! live in it again. So its place is on record in it, and the last event that was seen is noted outside of it; where either
//! does not fit, nothing is written until an epoch has begun that says so.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::codec::{Database, Reader, grouped};
use super::connect::Target;
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, in_time, unavailable};
use crate::domain::EventId;
use crate::sys::sha256;

const TABLE: &str = "lineage";
const FIND: &str = "-- lineage.find
    SELECT place, deployment, reconciled_epoch FROM lineage WHERE id = $1";
const ADOPT: &str = "-- lineage.adopt
    INSERT INTO lineage (id, place, deployment, reconciled_epoch) VALUES ($1, $2, $3, 0) ON CONFLICT (id) DO NOTHING";
/// The cluster and the database in it, which a dump does not carry along; and the timeline, which a promotion and a recovery
/// to a point in time change.
const POSTGRES_PLACE: &str = "-- lineage.place
    SELECT CAST(s.system_identifier AS TEXT) || '-' || CAST(CAST(d.oid AS BIGINT) AS TEXT) AS home,
        substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS line
    FROM pg_control_system() AS s, pg_database AS d WHERE d.datname = current_database()";
const LAST: &str = "-- lineage.last
    SELECT seq, id FROM event ORDER BY seq DESC LIMIT $1";
const EVENT_AT: &str = "-- lineage.event_at
    SELECT id FROM event WHERE seq = $1";
const EVENT_SINCE: &str = "-- lineage.event_since
    SELECT seq FROM event WHERE seq >= $1 AND id = $2";

pub(super) const SET: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- lineage.set
        UPDATE lineage SET place = v.value->>1, deployment = v.value->>2,
            reconciled_epoch = CAST(v.value->>3 AS BIGINT)
        FROM ",
        " WHERE lineage.id = 1 AND lineage.place = v.value->>0"
    ),
};

/// What the database says of itself: where it was when it was last relied on, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// Where it was: cluster, database and timeline of a server; number and birth of a file.
    pub place: String,
    /// The deployment whose mark its credentials carry in the backends.
    pub deployment: String,
    /// The epoch that an operator's reconciliation opened last; 0 if none.
    pub reconciled_epoch: i64,
}

/// Whether the database still has the history that was relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// It is where it was, and holds what was seen of it.
    Whole,
    /// A standby took the place of the server while this process ran, and holds all that this process was answered.
    Promoted {
        /// Where it is now.
        place: String,
    },
    /// It was restored, copied, moved or put back.
    Broken {
        /// Where it is now.
        place: String,
        /// How that shows.
        why: String,
    },
}

/// Where a database is: its home, and the line of history there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    home: String,
    line: String,
}

impl Place {
    fn shown(&self) -> String {
        format!("{}@{}", self.home, self.line)
    }

    fn is_later_line_of(&self, shown: &str) -> bool {
        shown.split_once('@').is_some_and(|(home, line)| home == self.home && *line < *self.line)
    }
}

/// The last event that was seen, in the epoch in which it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    epoch: i64,
    seq: i64,
    event: String,
}

/// What this process has seen of the history, and a file in which it is noted for the next one.
#[derive(Debug)]
pub(super) struct Seen {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mark: Option<Mark>,
    /// Where the database was when this process last saw that it is whole.
    place: Option<Place>,
    /// The last event this process wrote, and a place in the order of events before it.
    wrote: Option<(EventId, i64)>,
}

impl Seen {
    /// What was noted by the process before, if anything.
    pub(super) fn load(file: Option<&Path>) -> Result<Self, StoreError> {
        let mark = match file.map(std::fs::read_to_string) {
            None => None,
            Some(Ok(text)) => Some(serde_json::from_str(&text).map_err(|error| unreadable(file, &error))?),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
            Some(Err(error)) => return Err(unreadable(file, &error)),
        };
        let state = Mutex::new(State { mark, ..State::default() });
        Ok(Self { file: file.map(Path::to_owned), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Note what this process has just written.
    pub(super) fn wrote(&self, event: EventId) {
        let mut state = self.state();
        let floor = state.mark.as_ref().map_or(0, |mark| mark.seq);
        state.wrote = Some((event, floor));
    }

    /// Note what was seen last, in memory and in the file. A file that is lost, or older than it could be, only notices less.
    fn note(&self, mark: Mark, place: Place) {
        let mut state = self.state();
        state.place = Some(place);
        if state.mark.as_ref() == Some(&mark) {
            return;
        }
        if let Some(file) = &self.file
            && let Err(error) = write_mark(file, &mark)
        {
            tracing::warn!(%error, file = %file.display(), "the last event that was seen could not be noted");
        }
        state.mark = Some(mark);
    }
}

fn unreadable(file: Option<&Path>, error: &dyn std::fmt::Display) -> StoreError {
    let file = file.unwrap_or(Path::new("")).display();
    StoreError::Corrupt(format!("{file}: {error}; it notes the last event: remove it, then run `hallpass reconcile`"))
}

fn write_mark(file: &Path, mark: &Mark) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut next = file.as_os_str().to_owned();
    next.push(format!(".{}", std::process::id()));
    let options = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next);
    std::io::Write::write_all(&mut options?, serde_json::to_string(mark)?.as_bytes())?;
    std::fs::rename(&next, file)
}

/// Where a file is: its number on its disk, and its birth, because numbers are given again.
fn file_place(path: &Path) -> Result<Place, StoreError> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path);
    let found = found.map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?;
    let birth = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let birth = birth.map_or(0, |since| since.as_nanos());
    Ok(Place { home: format!("{}-{birth}", found.ino()), line: String::new() })
}

fn read_place(row: &AnyRow) -> Result<Place, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Place { home: row.text("home")?.to_owned(), line: row.text("line")?.to_owned() })
}

async fn place_by(connection: &mut AnyConnection, target: &Target) -> Result<Place, StoreError> {
    match target.path() {
        Some(path) => file_place(path),
        None => read_place(&sqlx::query(POSTGRES_PLACE).fetch_one(connection).await.map_err(unavailable)?),
    }
}

/// Put a database that nobody has relied on yet on record as it is; whether it is where its record says.
pub(super) async fn adopt(connection: &mut AnyConnection, target: &Target) -> Result<bool, StoreError> {
    let place = place_by(connection, target).await?.shown();
    let deployment: String = sha256(&place).to_string().chars().skip_while(|c| *c != ':').skip(1).take(16).collect();
    let adopted = sqlx::query(ADOPT).bind(1_i64).bind(place).bind(deployment);
    adopted.execute(&mut *connection).await.map_err(unavailable)?;
    is_accepted(connection, target).await
}

/// Whether a database is where its record says.
pub(super) async fn is_accepted(connection: &mut AnyConnection, target: &Target) -> Result<bool, StoreError> {
    let place = place_by(connection, target).await?;
    let row = sqlx::query(FIND).bind(1_i64).fetch_optional(connection).await.map_err(unavailable)?;
    let lineage = row.as_ref().map(read).transpose()?.ok_or_else(missing)?;
    Ok(lineage.place == place.shown())
}

impl Tx {
    /// Say what the database is from now on, if its record is still as `before` says. A list with this is written even where
    /// no other is, because the database is not where its record says.
    pub fn set_lineage(&mut self, before: &Lineage, after: &Lineage) {
        self.list.alone = true;
        self.list.push(Change::LineageSet, |row| {
            row.text(&before.place).text(&after.place).text(&after.deployment).int(after.reconciled_epoch);
        });
    }
}

impl Store {
    /// What the database says of itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn lineage(&self) -> Result<Lineage, StoreError> {
        self.find(sqlx::query(FIND).bind(1_i64), read).await?.ok_or_else(missing)
    }

    /// Look whether the database has the history that was relied on. If so, what it ends with is noted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn look_at_history(&self) -> Result<(Lineage, History), StoreError> {
        let place = self.place().await?;
        let lineage = self.lineage().await?;
        let history = self.compare(&lineage, place).await?;
        Ok((lineage, history))
    }

    async fn compare(&self, lineage: &Lineage, place: Place) -> Result<History, StoreError> {
        let (known, wrote, mark) = {
            let seen = self.inner.history.state();
            (seen.place.clone(), seen.wrote, seen.mark.clone())
        };
        // What was seen in an epoch before the last reconciliation has been dealt with.
        let mark = mark.filter(|mark| mark.epoch >= lineage.reconciled_epoch);
        let shown = place.shown();
        if let Some(mark) = &mark
            && !self.holds(mark).await?
        {
            let why = format!("the event seen last, {} at {}, is not in it: it was put back", mark.event, mark.seq);
            return Ok(History::Broken { place: shown, why });
        }
        if shown == lineage.place {
            self.note_last(place).await?;
            return Ok(History::Whole);
        }
        let lived_through = known.is_some_and(|known| known.home == place.home);
        if lived_through && place.is_later_line_of(&lineage.place) && self.has(wrote).await? {
            return Ok(History::Promoted { place: shown });
        }
        let why = format!("it is at {shown} and was relied on at {}: it was restored, copied or moved", lineage.place);
        Ok(History::Broken { place: shown, why })
    }

    /// Rely on the history as it is now: what was seen of another is forgotten.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn accept_history(&self) -> Result<(), StoreError> {
        let place = self.place().await?;
        self.inner.history.state().wrote = None;
        self.note_last(place).await
    }

    async fn place(&self) -> Result<Place, StoreError> {
        match self.inner.target.database() {
            Database::Sqlite => file_place(self.inner.target.path().unwrap_or(Path::new(""))),
            Database::Postgres => self.find(sqlx::query(POSTGRES_PLACE), read_place).await?.ok_or_else(missing),
        }
    }

    async fn note_last(&self, place: Place) -> Result<(), StoreError> {
        let epoch = self.control().await?.restore_epoch;
        let row = in_time(sqlx::query(LAST).bind(1_i64).fetch_optional(self.readers())).await?;
        let Some(row) = row else { return Ok(()) };
        let row = Reader::new("event", &row);
        self.inner.history.note(Mark { epoch, seq: row.int("seq")?, event: row.text("id")?.to_owned() }, place);
        Ok(())
    }

    /// Whether the event is where it was seen.
    async fn holds(&self, mark: &Mark) -> Result<bool, StoreError> {
        let row = in_time(sqlx::query(EVENT_AT).bind(mark.seq).fetch_optional(self.readers())).await?;
        Ok(row.and_then(|row| row.try_get::<String, _>("id").ok()).is_some_and(|id| id == mark.event))
    }

    /// Whether the last event that this process wrote is there.
    async fn has(&self, wrote: Option<(EventId, i64)>) -> Result<bool, StoreError> {
        let Some((event, floor)) = wrote else { return Ok(true) };
        let query = sqlx::query(EVENT_SINCE).bind(floor).bind(event.to_string());
        Ok(in_time(query.fetch_optional(self.readers())).await?.is_some())
    }
}

fn missing() -> StoreError {
    StoreError::Corrupt("lineage.id: the one row is gone".to_owned())
}

fn read(row: &AnyRow) -> Result<Lineage, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Lineage {
        place: row.text("place")?.to_owned(),
        deployment: row.text("deployment")?.to_owned(),
        reconciled_epoch: row.int("reconciled_epoch")?,
    })
}

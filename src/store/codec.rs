//! How values travel between the domain and the database: rows of a group as one parameter, and columns back into types.
//! A column that cannot be read names its table and itself, because somebody changed it behind our back.

use std::fmt::Display;
use std::io::Write as _;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;

use super::StoreError;
use crate::domain::Timestamp;

/// The two databases a store can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Database {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// One statement for a group, as each database wants it: the same text, but for where it reads its rows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grouped {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Grouped {
    /// The text for a database.
    pub(super) const fn text(&self, database: Database) -> &'static str {
        match database {
            Database::Sqlite => self.sqlite,
            Database::Postgres => self.postgres,
        }
    }
}

/// A [`Grouped`] statement from what stands before and after its rows, which it reads as `v.value`: one parameter, each row an
/// array. SQLite reads its own binary JSON (sqlite.org/jsonb.html), which needs neither escaping nor parsing; PostgreSQL splits a
/// text at separators, which costs it a tenth of parsing JSON, and takes elements out of the array by an operator that migration
/// 0010 makes (`OFFSET 0`: each row is split once, not once for each column). This macro and [`Rows`] are the only places that know.
macro_rules! grouped {
    ($before:literal) => {
        $crate::store::codec::grouped!($before, "")
    };
    ($before:literal, $after:literal) => {
        $crate::store::codec::Grouped {
            sqlite: concat!($before, "jsonb_each($1) AS v", $after),
            postgres: concat!(
                $before,
                "(SELECT string_to_array(r.line, E'\\x1f', E'\\x1d') AS value
                    FROM unnest(string_to_array($1, E'\\x1e')) AS r(line) OFFSET 0) AS v",
                $after
            ),
        }
    };
}
pub(super) use grouped;

/// What separates rows and columns for PostgreSQL, and what stands for NULL.
const NEXT_ROW: u8 = 0x1e;
const NEXT_COLUMN: u8 = 0x1f;
const NO_VALUE: u8 = 0x1d;

/// JSONB element types.
const NULL: u8 = 0;
const INT: u8 = 3;
const TEXT: u8 = 10;
const ARRAY: u8 = 11;

/// Rows for one grouped statement, in the database's own form.
#[derive(Debug)]
pub(super) struct Rows {
    database: Database,
    bytes: Vec<u8>,
    count: usize,
    /// Whether a text has a character that not every database can be handed.
    unfit: bool,
}

impl Rows {
    /// No rows yet, with room for some.
    pub(super) fn with_room(database: Database, bytes: usize) -> Self {
        Self { database, bytes: Vec::with_capacity(bytes), count: 0, unfit: false }
    }

    /// Add a row, column by column.
    pub(super) fn row(&mut self, fill: impl FnOnce(&mut Columns<'_>)) {
        let Self { bytes, unfit, .. } = self;
        match self.database {
            Database::Sqlite => framed(bytes, ARRAY, |bytes| fill(&mut Columns::Binary { bytes, unfit })),
            Database::Postgres => {
                if self.count > 0 {
                    bytes.push(NEXT_ROW);
                }
                fill(&mut Columns::Separated { bytes, first: true, unfit });
            }
        }
        self.count = self.count.saturating_add(1);
    }

    /// How many rows.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Whether a text among them has a control character that PostgreSQL cannot be handed, so that neither database is. The
    /// domain lets none in; who sends one all the same must not change where a column ends.
    pub(super) const fn is_unfit(&self) -> bool {
        self.unfit
    }

    /// How many bytes.
    pub(super) const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The statement with the rows of several lists as its one parameter.
    pub(super) fn query<'a>(
        statement: &Grouped,
        database: Database,
        parts: impl Iterator<Item = &'a Rows> + Clone,
    ) -> Query<'static, sqlx::Any, AnyArguments> {
        let query = sqlx::query(statement.text(database));
        match database {
            Database::Sqlite => {
                let mut out = Vec::with_capacity(size_of(parts.clone()));
                framed(&mut out, ARRAY, |out| parts.for_each(|part| out.extend_from_slice(&part.bytes)));
                query.bind(out)
            }
            Database::Postgres => query.bind(Self::separated(parts)),
        }
    }

    /// The rows of several lists as PostgreSQL takes them.
    pub(super) fn separated<'a>(parts: impl Iterator<Item = &'a Rows> + Clone) -> String {
        let mut out = Vec::with_capacity(size_of(parts.clone()));
        for part in parts.filter(|part| part.count > 0) {
            if !out.is_empty() {
                out.push(NEXT_ROW);
            }
            out.extend_from_slice(&part.bytes);
        }
        // It is made of texts and of ASCII only; no row may be lost whatever happens.
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// How much room these rows need at most.
fn size_of<'a>(parts: impl Iterator<Item = &'a Rows>) -> usize {
    parts.map(|part| part.size().saturating_add(1)).sum::<usize>().saturating_add(5)
}

/// Whether a byte of a text would be taken for something else on the way, or is not kept.
const fn is_odd(byte: u8) -> bool {
    matches!(byte, 0 | NO_VALUE | NEXT_ROW | NEXT_COLUMN)
}

/// Write an element whose size is known only afterwards: a header with four bytes of size, which JSONB allows for any size.
fn framed(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[0xE0 | kind, 0, 0, 0, 0]);
    let start = out.len();
    fill(out);
    // Rows are bounded far below 4 GiB (`queue::MAX_LIST_BYTES`), so the size always fits.
    let size = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(slot) = start.checked_sub(4).and_then(|from| out.get_mut(from..start)) {
        slot.copy_from_slice(&size);
    }
}

/// The columns of a row being written, in the order its statement reads them.
pub(super) enum Columns<'a> {
    /// As JSONB.
    Binary {
        /// What is written.
        bytes: &'a mut Vec<u8>,
        /// Whether a text had an odd byte.
        unfit: &'a mut bool,
    },
    /// As text with separators.
    Separated {
        /// What is written.
        bytes: &'a mut Vec<u8>,
        /// Whether no column is written yet.
        first: bool,
        /// Whether a text had an odd byte.
        unfit: &'a mut bool,
    },
}

impl Columns<'_> {
    /// Where the next column of separated ones goes.
    fn next(bytes: &mut Vec<u8>, first: &mut bool) {
        if !std::mem::take(first) {
            bytes.push(NEXT_COLUMN);
        }
    }

    /// A text that `write` writes; writing to a vector cannot fail.
    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut unfit = false;
        let write = |out: &mut Vec<u8>| {
            let start = out.len();
            write(out);
            unfit = out.iter().skip(start).copied().any(is_odd);
        };
        match self {
            Self::Binary { bytes, .. } => framed(bytes, TEXT, write),
            Self::Separated { bytes, first, .. } => {
                Self::next(bytes, first);
                write(bytes);
            }
        }
        let (Self::Binary { unfit: seen, .. } | Self::Separated { unfit: seen, .. }) = self;
        **seen |= unfit;
        self
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        if let Self::Binary { bytes, unfit } = self
            && let Ok(size) = u8::try_from(text.len())
        {
            match size {
                0..=11 => bytes.push((size << 4) | TEXT),
                _ => bytes.extend_from_slice(&[0xC0 | TEXT, size]),
            }
            bytes.extend_from_slice(text.as_bytes());
            **unfit |= text.bytes().any(is_odd);
            return self;
        }
        self.written(|out| out.extend_from_slice(text.as_bytes()))
    }

    /// A text, or NULL.
    pub(super) fn maybe_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// Anything by its written form.
    pub(super) fn show(&mut self, value: impl Display) -> &mut Self {
        self.written(|out| drop(write!(out, "{value}")))
    }

    /// Anything by its written form, or NULL.
    pub(super) fn maybe_show(&mut self, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.show(value),
            None => self.null(),
        }
    }

    /// Anything as JSON text.
    pub(super) fn json(&mut self, value: &impl Serialize) -> &mut Self {
        // INVARIANT: what is stored as JSON has string keys only, so it serialises; a row cut short would be corrupt and
        // is refused when it is read. JSON escapes control characters.
        self.written(|out| drop(serde_json::to_writer(out, value)))
    }

    /// A whole number.
    pub(super) fn int(&mut self, number: i64) -> &mut Self {
        match self {
            Self::Binary { bytes, .. } => framed(bytes, INT, |out| drop(write!(out, "{number}"))),
            Self::Separated { bytes, first, .. } => {
                Self::next(bytes, first);
                drop(write!(bytes, "{number}"));
            }
        }
        self
    }

    /// A whole number, or NULL.
    pub(super) fn maybe_int(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.int(number),
            None => self.null(),
        }
    }

    /// A time, in milliseconds.
    pub(super) fn time(&mut self, at: Timestamp) -> &mut Self {
        self.int(at.as_millis())
    }

    /// A time, or NULL.
    pub(super) fn maybe_time(&mut self, at: Option<Timestamp>) -> &mut Self {
        self.maybe_int(at.map(Timestamp::as_millis))
    }

    /// NULL.
    pub(super) fn null(&mut self) -> &mut Self {
        match self {
            Self::Binary { bytes, .. } => bytes.push(NULL),
            Self::Separated { bytes, first, .. } => {
                Self::next(bytes, first);
                bytes.push(NO_VALUE);
            }
        }
        self
    }
}

/// A row read back, with the name of its table for complaints.
#[derive(Clone, Copy)]
pub(super) struct Reader<'r> {
    table: &'static str,
    row: &'r AnyRow,
}

impl<'r> Reader<'r> {
    /// Read this row of that table.
    pub(super) const fn new(table: &'static str, row: &'r AnyRow) -> Self {
        Self { table, row }
    }

    /// A complaint about a column.
    pub(super) fn corrupt(&self, column: &str, why: impl Display) -> StoreError {
        StoreError::Corrupt(format!("{}.{column}: {why}", self.table))
    }

    /// A text.
    pub(super) fn text(&self, column: &'static str) -> Result<&'r str, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, error))
    }

    /// A text, or none.
    pub(super) fn maybe_text(&self, column: &'static str) -> Result<Option<&'r str>, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, error))
    }

    /// A text as a type.
    pub(super) fn parse<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(column)?.parse().map_err(|error| self.corrupt(column, error))
    }

    /// A text as a type, or none.
    pub(super) fn maybe_parse<T>(&self, column: &'static str) -> Result<Option<T>, StoreError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.maybe_text(column)?.map(|text| text.parse().map_err(|error| self.corrupt(column, error))).transpose()
    }

    /// A text as JSON of a type.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(self.text(column)?).map_err(|error| self.corrupt(column, error))
    }

    /// The same, or none.
    pub(super) fn maybe_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        self.maybe_text(column)?.map(|_| self.json(column)).transpose()
    }
    /// A whole number.
    pub(super) fn int(&self, column: &'static str) -> Result<i64, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, error))
    }

    /// A whole number, or none.
    pub(super) fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, error))
    }

    /// A time.
    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp::from_millis)
    }

    /// A time, or none.
    pub(super) fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_int(column)?.map(Timestamp::from_millis))
    }

    /// A value that must be there in this state.
    pub(super) fn needed<T>(&self, column: &'static str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.corrupt(column, "absent, though the state of the row needs it"))
    }

    /// The word of a state nobody knows.
    pub(super) fn unknown_state(&self, state: &str) -> StoreError {
        self.corrupt("state", format_args!("`{state}` is not a state"))
    }

    /// A record its constructor refuses.
    pub(super) fn record<T>(&self, made: Result<T, crate::domain::CorruptRecord>) -> Result<T, StoreError> {
        made.map_err(|error| StoreError::Corrupt(format!("{}: {error}", self.table)))
    }
}

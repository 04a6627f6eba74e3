//! Data goes to standard output in the shape that was asked for; everything for people goes to standard error. Whatever came
//! from outside is escaped before a terminal sees it.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::failure::{Exit, Failure};
use crate::app::telemetry::escape;

/// The shape of data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// Names or ids only, one a line.
    Name,
}

/// A row of a list: its name, its columns.
pub(crate) trait Row: Serialize {
    /// The columns' heads.
    const HEADS: &'static [&'static str];
    /// What it is called.
    fn name(&self) -> String;
    /// Its columns.
    fn cells(&self) -> Vec<String>;
}

/// Print a list.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn list<R: Row>(rows: &[R], format: Format) -> Result<(), Failure> {
    match format {
        Format::Table => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(R::HEADS);
            for row in rows {
                table.add_row(row.cells().iter().map(|cell| escape(cell)));
            }
            print(&trim(&table.to_string()))
        }
        Format::Json => print(&json(&rows, true)?),
        Format::Jsonl => rows.iter().try_for_each(|row| print(&json(row, false)?)),
        Format::Name => rows.iter().try_for_each(|row| print(&escape(&row.name()))),
    }
}

/// Print one thing: lines of `label value` for people.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn one<T: Serialize>(
    value: &T,
    name: &str,
    format: Format,
    lines: &[(&str, String)],
) -> Result<(), Failure> {
    match format {
        Format::Table => {
            let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
            lines.iter().try_for_each(|(label, text)| print(&format!("{label:<width$}  {}", escape(text))))
        }
        Format::Json => print(&json(value, true)?),
        Format::Jsonl => print(&json(value, false)?),
        Format::Name => print(&escape(name)),
    }
}

/// Print a line of data.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn print(line: &str) -> Result<(), Failure> {
    let written = writeln!(anstream::stdout().lock(), "{line}");
    written.map_err(|error| Failure::new(Exit::Failure, format!("standard output cannot be written: {error}")))
}

/// Say something to the person, on standard error; that nobody listens is no error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

fn json(value: &impl Serialize, pretty: bool) -> Result<String, Failure> {
    let written = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    written.map_err(|error| Failure::new(Exit::Failure, format!("the answer cannot be written as JSON: {error}")))
}

fn trim(table: &str) -> String {
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect::<Vec<_>>().join("\n")
}

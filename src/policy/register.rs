//! Registers: the bundle's TOML files of scopes, agents and people. Each row is read by itself, so that one bad row hides
//! no other, and each value keeps its place for the message.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::Problems;
use crate::domain::forbidden_characters;

/// Most rows of one register.
const MAX_ROWS: usize = 10_000;
/// Longest sentence for people, in characters.
const MAX_SENTENCE: usize = 300;

/// One row as written, and where.
pub(super) struct Row<'a, T> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) offset: usize,
    pub(super) value: T,
}

impl<T> Row<'_, T> {
    /// A problem with the row as a whole.
    pub(super) fn refuse(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.at(self.file, self.text, self.offset, message);
    }

    /// A problem with one of its values.
    pub(super) fn refuse_value<V>(&self, problems: &mut Problems, value: &Spanned<V>, message: impl Into<String>) {
        problems.at(self.file, self.text, value.span().start, message);
    }

    /// Parse one of its values, or note why not.
    pub(super) fn parse<V>(&self, problems: &mut Problems, value: &Spanned<String>) -> Option<V>
    where
        V: std::str::FromStr<Err: std::fmt::Display>,
    {
        value.get_ref().parse().map_err(|error: V::Err| self.refuse_value(problems, value, error.to_string())).ok()
    }

    /// Check a sentence that people will read.
    pub(super) fn check_sentence(&self, problems: &mut Problems, value: &Spanned<String>) {
        if let Some(why) = unfit_sentence(value.get_ref()) {
            self.refuse_value(problems, value, why);
        }
    }
}

/// Why a text is no sentence for people, if it is not: empty, more than one line, too long, or with invisible characters.
pub(super) fn unfit_sentence(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("empty; write one sentence for people")
    } else if text.chars().count() > MAX_SENTENCE {
        Some("longer than 300 characters")
    } else if text.contains(['\n', '\t']) || !forbidden_characters(text).is_empty() {
        Some("has line breaks, control, bidirectional or invisible characters")
    } else {
        None
    }
}

/// The rows of `[[key]]` in `stem.toml` and in the files of the folder `stem`.
pub(super) fn rows<'a, T: DeserializeOwned>(
    files: &'a BTreeMap<String, String>,
    stem: &str,
    key: &str,
    problems: &mut Problems,
) -> Vec<Row<'a, T>> {
    let mut rows = Vec::new();
    let (single, folder) = (format!("{stem}.toml"), format!("{stem}/"));
    for (file, text) in files.iter().filter(|(path, _)| **path == single || path.starts_with(&folder)) {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            problems.within(file, text, error.span(), error.message());
        }
        if !errors.is_empty() {
            continue;
        }
        for (name, value) in document.into_inner() {
            if name.get_ref().as_ref() != key {
                let message = format!("`{}` is not expected here; write `[[{key}]]`", name.get_ref());
                problems.at(file, text, name.span().start, message);
                continue;
            }
            let DeValue::Array(items) = value.into_inner() else {
                problems.at(file, text, name.span().start, format!("write `[[{key}]]` for each"));
                continue;
            };
            for item in items {
                let offset = item.span().start;
                match T::deserialize(ValueDeserializer::from(item)) {
                    Ok(value) => rows.push(Row { file, text, offset, value }),
                    Err(error) => {
                        problems.within(file, text, error.span().or(Some(offset..offset)), error.message());
                    }
                }
            }
        }
    }
    if rows.len() > MAX_ROWS {
        problems.add(&single, format!("more than {MAX_ROWS} rows"));
        rows.truncate(MAX_ROWS);
    }
    rows
}

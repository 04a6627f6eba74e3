//! What is wrong with a bundle, all of it at once and each with its place, so that its author mends it in one go. A bundle
//! with a problem never loads, not even in part.

use std::fmt;
use std::ops::Range;

/// Most problems that are listed; whoever has more begins with these.
const MAX_LISTED: usize = 200;

/// One thing that is wrong with a bundle, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Problem {
    /// The file, relative to the bundle's folder; empty when it is the folder itself.
    pub file: String,
    /// The line, counted from one, where known.
    pub line: Option<usize>,
    /// The column in characters, counted from one, where known.
    pub column: Option<usize>,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.file.is_empty() { "bundle" } else { &self.file })?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A bundle that does not load, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BundleError {
    /// Each problem, in order of file and place; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, noun) = (self.problems.len(), if self.problems.len() == 1 { "problem" } else { "problems" });
        write!(f, "the policy bundle has {count} {noun}")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// Line and column, from one, of a byte offset.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.get(line_start..).unwrap_or_default().chars().count().saturating_add(1);
    (line, column)
}

/// Collects problems.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// One that concerns a file as a whole, or the folder when `file` is empty.
    pub(super) fn add(&mut self, file: &str, message: impl Into<String>) {
        self.0.push(Problem { file: file.to_owned(), line: None, column: None, message: message.into() });
    }

    /// One at a byte offset of a file's text.
    pub(super) fn at(&mut self, file: &str, text: &str, offset: usize, message: impl Into<String>) {
        let (line, column) = line_and_column(text, offset);
        let (line, column) = (Some(line), Some(column));
        self.0.push(Problem { file: file.to_owned(), line, column, message: message.into() });
    }

    /// One at a span, where there is one.
    pub(super) fn within(&mut self, file: &str, text: &str, span: Option<Range<usize>>, message: impl Into<String>) {
        match span {
            Some(span) => self.at(file, text, span.start, message),
            None => self.add(file, message),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was collected, in order of file and place.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort();
        self.0.dedup();
        self.0
    }

    /// The error these make.
    pub(super) fn into_error(self) -> BundleError {
        let mut problems = self.into_sorted();
        let more = problems.len().saturating_sub(MAX_LISTED);
        problems.truncate(MAX_LISTED);
        if more > 0 {
            let message = format!("and {more} more");
            problems.push(Problem { file: String::new(), line: None, column: None, message });
        }
        BundleError { problems }
    }
}

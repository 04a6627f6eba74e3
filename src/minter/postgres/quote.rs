//! The one place where a statement for the target's server is put together: DDL takes no bind parameters, so names and texts
//! are quoted here. A template is literal, and only what was quoted can fill it, so nothing from outside ever is SQL.

use std::fmt;

#[expect(clippy::disallowed_types, reason = "the one place that quotes what stands in a statement")]
use sqlx::AssertSqlSafe;
use sqlx::{SqlSafeStr as _, SqlStr};

/// The longest identifier, in bytes (`NAMEDATALEN - 1`); PostgreSQL cuts a longer one off and would mean another.
const MAX_NAME_BYTES: usize = 63;

/// An identifier, quoted when displayed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ident(String);

impl Ident {
    /// A name as its owner writes it, without quotes.
    pub(super) fn new(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err("a name in PostgreSQL has 1 to 63 bytes");
        }
        if name.chars().any(char::is_control) {
            return Err("a name must not have control characters");
        }
        Ok(Self(name.to_owned()))
    }

    /// The name without quotes.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// What fills a place in a template.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    /// An identifier.
    Name(&'a Ident),
    /// A text. PostgreSQL has none with NUL in it: the text ends there.
    Text(&'a str),
    /// A number.
    Number(u16),
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Text(text) => {
                let text = text.split('\0').next().unwrap_or_default().replace('\'', "''");
                // As `quote_literal`: right whatever `standard_conforming_strings` says.
                if text.contains('\\') {
                    write!(f, " E'{}'", text.replace('\\', "\\\\"))
                } else {
                    write!(f, "'{text}'")
                }
            }
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Statements to be run together, which is in one transaction.
#[derive(Debug, Clone, Default)]
pub(super) struct Script(String);

impl Script {
    /// A further statement: a literal with `{}` where the parts go.
    pub(super) fn then(mut self, template: &'static str, parts: &[Part<'_>]) -> Self {
        let mut parts = parts.iter();
        for (index, piece) in template.split("{}").enumerate() {
            if index > 0 {
                // A part too few leaves `{}`, which is no SQL and is refused.
                self.0.push_str(&parts.next().map_or_else(|| "{}".to_owned(), ToString::to_string));
            }
            self.0.push_str(piece);
        }
        self.0.push_str(";\n");
        self
    }

    /// As the driver takes it.
    pub(super) fn into_sql(self) -> SqlStr {
        AssertSqlSafe(self.0).into_sql_str()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What PostgreSQL's lexer (`scan.l`) makes of a quoted identifier or a literal: its value and what stands behind it.
    fn lexed(sql: &str) -> Option<(String, String)> {
        let escapes = sql.starts_with(" E'");
        let sql = sql.strip_prefix(" E").unwrap_or(sql);
        let mut rest = sql.chars().peekable();
        let quote = rest.next().filter(|quote| matches!(quote, '"' | '\''))?;
        let mut value = String::new();
        loop {
            match rest.next()? {
                '\\' if escapes => value.push(rest.next()?),
                c if c == quote && rest.peek() == Some(&quote) => value.extend(rest.next()),
                c if c == quote => return Some((value, rest.collect())),
                c => value.push(c),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn pg_03_a_name_stays_one_name(name in "([\"'; \\\\$-]|drop|[^\\p{Cc}]){1,20}") {
            let quoted = match Ident::new(&name) {
                Ok(ident) => ident.to_string(),
                Err(_) => return Ok(()),
            };
            prop_assert_eq!(lexed(&quoted), Some((name, String::new())));
        }

        #[test]
        fn pg_03_a_text_stays_one_text(text in "([\"'; \\\\$-]|drop|[^\\x00]){0,40}") {
            let quoted = Part::Text(&text).to_string();
            prop_assert_eq!(lexed(&quoted), Some((text, String::new())));
        }

        #[test]
        fn pg_03_what_fills_a_template_changes_nothing_around_it(name in "[^\\p{Cc}]{1,20}", text in "[^\\x00]{0,20}") {
            let Ok(ident) = Ident::new(&name) else { return Ok(()) };
            let script = Script::default().then("{}={}", &[Part::Name(&ident), Part::Text(&text)]);
            let (first, rest) = lexed(&script.0).unwrap();
            prop_assert_eq!(&first, &name);
            let (second, rest) = lexed(rest.strip_prefix('=').unwrap()).unwrap();
            prop_assert_eq!((second, rest), (text, ";\n".to_owned()));
        }
    }

    #[test]
    fn a_name_that_postgresql_would_cut_or_refuse_is_refused() {
        assert!(Ident::new(&"x".repeat(63)).is_ok());
        for name in ["", "a\0b", "a\nb", &"x".repeat(64), &"é".repeat(32)] {
            assert!(Ident::new(name).is_err(), "{name:?}");
        }
        assert_eq!(Part::Text("a\0'; drop role x; --").to_string(), "'a'");
    }
}

//! Text that agents send and people read: the purpose and the message. Characters that can deceive a reader (controls,
//! bidirectional overrides, invisible and tag characters) are refused at the door, by code point.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Text that cannot be shown to a person as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing a person could read.
    #[error("{what} is empty")]
    Empty {
        /// Which text.
        what: &'static str,
    },
    /// Longer than its limit.
    #[error("{what} has {found} {unit}, more than the {limit} allowed")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// `characters` or `lines`.
        unit: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It has characters that deceive or that nobody can see.
    #[error("{what} has characters that a reader cannot see or that change how text is shown: {}", code_points(found))]
    Forbidden {
        /// Which text.
        what: &'static str,
        /// The characters, each once, in order of appearance.
        found: Vec<char>,
    },
}

fn code_points(found: &[char]) -> String {
    found.iter().map(|c| format!("U+{:04X}", u32::from(*c))).collect::<Vec<_>>().join(", ")
}

/// Whether a character is refused in text that people read: C0 and C1 controls but newline and tab, line and paragraph
/// separators, bidirectional controls, zero-width and other format characters, variation selectors of the supplement, tags,
/// non-characters and private use.
fn is_forbidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{00AD}'
        | '\u{034F}'
        | '\u{061C}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{3164}'
        | '\u{FFA0}'
        | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0E}'
        | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}'
        | '\u{E000}'..='\u{F8FF}'
        | '\u{F0000}'..='\u{10FFFF}'
        | '\u{FEFF}' => true,
        other => other.is_control() || (u32::from(other) & 0xFFFE) == 0xFFFE,
    }
}

/// The characters of a text that are refused, each once, in order of appearance.
#[must_use]
pub fn forbidden_characters(text: &str) -> Vec<char> {
    let mut found = Vec::new();
    for c in text.chars().filter(|c| is_forbidden(*c)) {
        if !found.contains(&c) {
            found.push(c);
        }
    }
    found
}

fn check(what: &'static str, text: &str, limit: usize, max_lines: usize) -> Result<(), TextError> {
    let visible = text.chars().any(|c| !c.is_whitespace() && !is_forbidden(c));
    if !visible {
        return Err(TextError::Empty { what });
    }
    let chars = text.chars().count();
    if chars > limit {
        return Err(TextError::TooLong { what, unit: "characters", found: chars, limit });
    }
    let lines = text.lines().count();
    if lines > max_lines {
        return Err(TextError::TooLong { what, unit: "lines", found: lines, limit: max_lines });
    }
    let found = forbidden_characters(text);
    if found.is_empty() { Ok(()) } else { Err(TextError::Forbidden { what, found }) }
}

macro_rules! readable {
    ($(#[$meta:meta])* $name:ident, $what:literal, $limit:literal, $lines:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                check($what, text, $limit, $lines)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

readable! {
    /// What a task is for, in the agent's own words: 1 to 2,000 characters, at most 20 lines, nothing invisible.
    Purpose, "purpose", 2000, 20
}
readable! {
    /// What an agent says to an approver: 1 to 500 characters, at most 20 lines, nothing invisible.
    Message, "message", 500, 20
}
readable! {
    /// What a person calls a passkey: 1 to 64 characters in one line, nothing invisible.
    PasskeyName, "name", 64, 1
}

#[cfg(test)]
mod tests {
    use super::{Message, Purpose, TextError, forbidden_characters};

    #[test]
    fn what_a_reader_cannot_see_or_is_deceived_by_is_refused_by_code_point() {
        for hidden in [
            '\u{0}',
            '\u{1b}',
            '\r',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{200b}',
            '\u{202e}',
            '\u{2066}',
            '\u{2028}',
            '\u{feff}',
            '\u{e0041}',
            '\u{fe0e}',
            '\u{e000}',
            '\u{ffff}',
        ] {
            let error = format!("publish{hidden} it").parse::<Purpose>().unwrap_err();
            let TextError::Forbidden { found, .. } = &error else { panic!("{error:?}") };
            assert_eq!(found, &[hidden]);
            assert!(error.to_string().contains(&format!("U+{:04X}", u32::from(hidden))), "{error}");
        }
    }

    #[test]
    fn text_in_any_script_with_line_breaks_is_fine() {
        for text in ["Publish v1.4.2", "Fix über-Straße\n\tзадача 修復 ファイル", "emoji 🎉 is fine"] {
            assert_eq!(text.parse::<Purpose>().unwrap().as_str(), text);
            assert!(forbidden_characters(text).is_empty());
        }
    }

    #[test]
    fn empty_long_and_many_lined_texts_are_refused() {
        for text in ["", "   ", "\n\t", "\u{200b}"] {
            assert!(matches!(text.parse::<Purpose>(), Err(TextError::Empty { .. })), "{text:?}");
        }
        assert!("é".repeat(2_000).parse::<Purpose>().is_ok() && "é".repeat(500).parse::<Message>().is_ok());
        for (result, unit) in [
            ("é".repeat(2_001).parse::<Purpose>().map(drop), "characters"),
            ("é".repeat(501).parse::<Message>().map(drop), "characters"),
            ("a\n".repeat(21).parse::<Purpose>().map(drop), "lines"),
        ] {
            assert!(matches!(&result, Err(TextError::TooLong { unit: found, .. }) if *found == unit), "{result:?}");
        }
    }
}

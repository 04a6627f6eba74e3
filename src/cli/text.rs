//! What people type: lengths of life, scopes, references.

use crate::api::AskScope;

/// Parse a length of life, e.g. `90`, `90s`, `10m`, `2h` or `1h30m`, into seconds.
///
/// # Errors
/// In words, when it is none.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{}` is no length of life; write it like 90s, 10m, 2h or 1h30m", text.escape_debug());
    if let Ok(secs) = text.parse::<u32>() {
        return positive(i64::from(secs)).ok_or_else(wrong);
    }
    let (mut total, mut digits, mut finest) = (0_i64, String::new(), i64::MAX);
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let count = digits.parse::<u32>().map_err(|_| wrong())?;
        if unit >= finest {
            return Err(wrong());
        }
        finest = unit;
        total = total.saturating_add(i64::from(count).saturating_mul(unit));
        digits.clear();
    }
    if digits.is_empty() { positive(total).ok_or_else(wrong) } else { Err(wrong()) }
}

fn positive(secs: i64) -> Option<i64> {
    (secs > 0).then_some(secs)
}

/// Scopes as they were typed; the server reads them.
#[must_use]
pub(crate) fn scopes(written: &[String]) -> Vec<AskScope> {
    written.iter().cloned().map(AskScope::Written).collect()
}

/// Parse a reference, `name=value`.
///
/// # Errors
/// In words, when it is none.
pub(crate) fn parse_reference(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write it like ticket=REL-482".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_life_are_read_as_people_write_them() {
        for (text, secs) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1m1s", 61)] {
            assert_eq!(parse_duration(text), Ok(secs), "{text}");
        }
        for text in ["", "0", "0s", "-1", "1x", "m", "10m5", "5s10m", "1m1m", "1.5h", "9999999999s", "٣m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reference_has_a_name_and_a_value() {
        assert_eq!(parse_reference("ticket=A=B"), Ok(("ticket".to_owned(), "A=B".to_owned())));
        assert!(parse_reference("ticket").is_err() && parse_reference("=x").is_err());
    }
}

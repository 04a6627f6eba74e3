//! CBOR as authenticators must write it (CTAP 2 §8): definite lengths, shortest forms, no name twice. What decodes to a value that
//! would be written otherwise is refused, so that two readers cannot differ about it.

use ciborium::Value;

use crate::domain::PasskeyFault;

/// Deepest nesting (CTAP 2 §8 allows four levels).
const MAX_DEPTH: usize = 5;

/// The first value of some bytes, and how many bytes it takes.
pub(super) fn first(bytes: &[u8]) -> Result<(Value, usize), PasskeyFault> {
    let mut rest = bytes;
    let value: Value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).map_err(|_| PasskeyFault::Malformed)?;
    let taken = bytes.len().saturating_sub(rest.len());
    let mut again = Vec::with_capacity(taken);
    ciborium::into_writer(&value, &mut again).map_err(|_| PasskeyFault::Malformed)?;
    if bytes.get(..taken) != Some(&*again) || !is_plain(&value) {
        return Err(PasskeyFault::Malformed);
    }
    Ok((value, taken))
}

/// The one map that some bytes are.
pub(super) fn only_map(bytes: &[u8]) -> Result<Vec<(Value, Value)>, PasskeyFault> {
    match first(bytes)? {
        (Value::Map(members), taken) if taken == bytes.len() => Ok(members),
        _ => Err(PasskeyFault::Malformed),
    }
}

/// Whether it has neither tags nor a member twice, at any level.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Tag(..) => false,
        Value::Array(items) => items.iter().all(is_plain),
        Value::Map(members) => members.iter().enumerate().all(|(place, (name, value))| {
            let earlier = members.iter().take(place);
            is_plain(name) && is_plain(value) && earlier.clone().all(|(other, _)| other != name)
        }),
        _ => true,
    }
}

/// A member of a map by its text.
pub(super) fn named<'a>(members: &'a [(Value, Value)], name: &str) -> Option<&'a Value> {
    members.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
}

/// A member of a map by its number.
pub(super) fn numbered(members: &[(Value, Value)], number: i64) -> Option<&Value> {
    members.iter().find(|(key, _)| whole(key) == Some(number)).map(|(_, value)| value)
}

/// A whole number.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_integer().and_then(|number| i64::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_form() {
        assert_eq!(first(&[0x18, 24, 0xff]).unwrap().1, 2);
        for other in [
            &[0x18, 23][..],        // 23 in two bytes
            &[0x9f, 0x01, 0xff],    // an array without a length
            &[0x5f, 0x41, 1, 0xff], // bytes in pieces
            &[0xbf, 0xff],          // a map without a length
            &[0xa2, 1, 1, 1, 2],    // a member twice
            &[0xa1, 1, 0xa2, 1, 1, 1, 2],
            &[0xc2, 0x41, 1],          // a tag
            &[0xfa, 0x3f, 0x80, 0, 0], // 1.0 in four bytes
            &[0x81; 9],                // too deep, and cut short
            &[0x42, 1],                // cut short
            &[],
        ] {
            assert_eq!(first(other), Err(PasskeyFault::Malformed), "{other:02x?}");
        }
        assert_eq!(first(&[0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x00]), Err(PasskeyFault::Malformed), "too deep");
    }

    #[test]
    fn a_length_nobody_sent_costs_nothing() {
        for huge in [&[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x9b, 0, 0, 0xff, 0, 0, 0, 0, 0]] {
            assert_eq!(first(huge), Err(PasskeyFault::Malformed));
        }
    }
}

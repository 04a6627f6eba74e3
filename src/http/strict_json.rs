//! Strict JSON: what a signature or an issuer's document may be made of. A member that comes twice, or text that two parsers
//! read differently, is refused before anything is decided on it.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Why some bytes are not strict JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonError {
    /// Not RFC 8259 JSON in UTF-8 without a byte order mark, or something follows it.
    #[error("not JSON")]
    Syntax,
    /// An object has a member twice.
    #[error("a member comes twice")]
    DuplicateMember,
    /// Nested more deeply than allowed.
    #[error("nested too deeply")]
    TooDeep,
}

/// Check that some bytes are one strict JSON text (RFC 8259): UTF-8 without a byte order mark, no duplicate members at any
/// level, nothing after it, and at most `max_depth` arrays and objects inside each other (never more than 127).
///
/// # Errors
/// [`JsonError`].
pub(super) fn check_strict(bytes: &[u8], max_depth: usize) -> Result<(), JsonError> {
    let fault = Cell::new(JsonError::Syntax);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk { depth_left: max_depth, fault: &fault }.deserialize(&mut deserializer).map_err(|_| fault.get())?;
    deserializer.end().map_err(|_| JsonError::Syntax)
}

/// Visits every value and builds nothing.
#[derive(Clone, Copy)]
struct Walk<'a> {
    depth_left: usize,
    fault: &'a Cell<JsonError>,
}

impl Walk<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(self.fail(JsonError::TooDeep)),
        }
    }

    fn fail<E: serde::de::Error>(self, fault: JsonError) -> E {
        self.fault.set(fault);
        E::custom(fault)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        let mut names: Vec<Cow<'de, str>> = Vec::new();
        while let Some(name) = members.next_key_seed(MemberName)? {
            // serde_json gives members of this name a meaning of their own; nobody else's JSON has them.
            if name.starts_with("$serde_json::") {
                return Err(A::Error::custom("reserved member name"));
            }
            names.push(name);
            members.next_value_seed(inside)?;
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(self.fail(JsonError::DuplicateMember));
        }
        Ok(())
    }
}

/// Reads a member's name, borrowed where it has no escapes.
struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_compared_as_the_characters_they_mean() {
        assert_eq!(check_strict(br#"{"a":1,"\u0061":2}"#, 4), Err(JsonError::DuplicateMember));
        assert_eq!(check_strict(br#"{"a":{"b":1,"c":[{"d":1,"d":1}]}}"#, 9), Err(JsonError::DuplicateMember));
        assert_eq!(check_strict(br#"{"a":{"b":1},"b":{"b":1}}"#, 4), Ok(()));
    }

    #[test]
    fn depth_counts_arrays_and_objects_inside_each_other() {
        assert_eq!(check_strict(br#"{"a":[{}]}"#, 3), Ok(()));
        assert_eq!(check_strict(br#"{"a":[{}]}"#, 2), Err(JsonError::TooDeep));
        assert_eq!(check_strict(b"7", 0), Ok(()));
    }
}

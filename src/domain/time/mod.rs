//! Points in time and lengths of life. Arithmetic saturates, so that no input can wrap a deadline into the past or the
//! far future; what is out of bounds is refused where it is parsed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The native end of what its backend never stops honouring by itself: 9999-12-30T00:00:00Z, as late as can be written.
    pub const NEVER: Self = Self::from_secs(253_402_128_000);

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch (the unit of JWT's `NumericDate`).
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down, so that a JWT never lives longer than its lease.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This point plus a life.
    #[must_use]
    pub const fn plus(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add((ttl.0 as i64).saturating_mul(1000)))
    }

    /// This point plus some milliseconds (negative goes back).
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this point; negative when it lies after.
    #[must_use]
    pub const fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(stamp) => stamp.fmt(f),
            // Outside the years jiff can write (−9999 to 9999): the number is still the truth.
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;
    /// Parse RFC 3339.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|stamp| Self(stamp.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A length of life in whole seconds, at least one and at most 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Ttl(u32);

/// A length of life that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a life of {0} s is out of bounds (1 to 86400 s)")]
pub struct TtlError(pub i64);

impl Ttl {
    /// The longest life anything may have: 24 hours.
    pub const MAX_SECS: u32 = 86_400;
    /// Eight hours: a working day.
    pub const EIGHT_HOURS: Self = Self(8 * 3600);
    /// Ten minutes: what a credential lives when nobody says otherwise.
    pub const TEN_MINUTES: Self = Self(600);

    /// From seconds.
    ///
    /// # Errors
    /// [`TtlError`] when `secs` is not within 1..=86400.
    pub fn from_secs(secs: i64) -> Result<Self, TtlError> {
        match u32::try_from(secs) {
            Ok(within) if (1..=Self::MAX_SECS).contains(&within) => Ok(Self(within)),
            Ok(_) | Err(_) => Err(TtlError(secs)),
        }
    }

    /// In seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_secs(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;

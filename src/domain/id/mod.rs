//! Typed, sortable ids: a prefix that says what it names, then 48 bits of milliseconds and 80 random bits in lower-case
//! Crockford base32. They sort by creation, cannot be guessed, and a task id never passes for a lease id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters after the prefix: 128 bits, five a character, rounded up.
const DIGITS: usize = 26;

/// A text that is not the id it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {what} id (expected `{prefix}_` and 26 characters)")]
pub struct IdError {
    /// Which noun was expected.
    pub what: &'static str,
    /// Its prefix.
    pub prefix: &'static str,
    /// The text that was found, cut to 64 characters.
    pub found: String,
}

fn encode(value: u128, out: &mut [u8; DIGITS]) {
    let mut rest = value;
    for slot in out.iter_mut().rev() {
        let index = usize::try_from(rest & 31).unwrap_or(0);
        *slot = ALPHABET.get(index).copied().unwrap_or(b'0');
        rest >>= 5;
    }
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != DIGITS {
        return None;
    }
    let mut value: u128 = 0;
    for (place, byte) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        // 26 × 5 = 130 bits: the first digit may only carry three.
        if place == 0 && digit > 7 {
            return None;
        }
        value = (value << 5) | u128::try_from(digit).ok()?;
    }
    Some(value)
}

macro_rules! typed_id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The prefix before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Make an id from the present and ten random bytes.
            #[must_use]
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                let millis = u128::from(now.as_millis().unsigned_abs() & 0xffff_ffff_ffff);
                let noise = random.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
                Self((millis << 80) | noise)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [b'0'; DIGITS];
                encode(self.0, &mut digits);
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_")).and_then(decode).map(Self).ok_or_else(|| IdError {
                    what: $what,
                    prefix: $prefix,
                    found: text.chars().take(64).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

typed_id! {
    /// Names one task.
    TaskId, "tsk", "task"
}
typed_id! {
    /// Names one access request.
    RequestId, "req", "request"
}
typed_id! {
    /// Names one decision.
    DecisionId, "dec", "decision"
}
typed_id! {
    /// Names one approval.
    ApprovalId, "apr", "approval"
}
typed_id! {
    /// Names one grant.
    GrantId, "grt", "grant"
}
typed_id! {
    /// Names one lease; also the external name of its credential.
    LeaseId, "lse", "lease"
}
typed_id! {
    /// Names one audit event.
    EventId, "evt", "event"
}

typed_id! {
    /// Names one session.
    SessionId, "ses", "session"
}
typed_id! {
    /// Names one passkey.
    PasskeyId, "pky", "passkey"
}
typed_id! {
    /// Names one challenge to a passkey.
    ChallengeId, "pkc", "challenge"
}
typed_id! {
    /// Names one question of a person to an agent.
    QuestionId, "qst", "question"
}
typed_id! {
    /// Names one delegation.
    DelegationId, "dlg", "delegation"
}
typed_id! {
    /// Names one notice.
    NoticeId, "ntc", "notice"
}
typed_id! {
    /// Names one filing.
    FilingId, "fil", "filing"
}
typed_id! {
    /// Names one evaluation, which is answered and not kept.
    EvaluationId, "evl", "evaluation"
}

/// Names one agent: chosen by people in the policy bundle, so it is a name and not a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(std::sync::Arc<str>);

impl AgentId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentId {
    type Err = super::ScopeError;
    /// An agent's name obeys the grammar of a [`super::Name`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name: super::Name = text.parse()?;
        Ok(Self(name.as_str().into()))
    }
}

impl Serialize for AgentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;

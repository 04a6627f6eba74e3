//! When signing keys are made, sign and go: a pure function of the keys and the time. A key is published long enough before
//! its first use that every cached JWK set has it, and stays published until everything it signed has expired.

use super::{KeyAlgorithm, KeyError, KeyLife, KeyTimes};
use crate::domain::{Timestamp, Ttl};

/// How long a key may go on signing after its successor was due, should none have been made, in seconds.
const STAND_IN_SECS: i64 = 86_400;
/// What clocks may differ by and caches may be late by, in seconds.
const MARGIN_SECS: i64 = 60;

/// How signing keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit is in the name")]
pub struct RotationSettings {
    rotate_after_secs: i64,
    publish_ahead_secs: i64,
    overlap_secs: i64,
}

impl RotationSettings {
    /// The usual time after which a key gives way to the next: 30 days.
    pub const ROTATE_AFTER_SECS: u32 = 30 * 86_400;

    /// From how long a key signs, how long a JWK set may be cached, and how long the longest credential lives. A key is
    /// published for more than one cache's life before it signs, and for more than the longest credential's life and one
    /// cache's after.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when keys would be replaced before they can be known.
    pub fn new(rotate_after_secs: u32, jwks_max_age_secs: u32, longest_ttl: Ttl) -> Result<Self, KeyError> {
        let publish_ahead_secs = i64::from(jwks_max_age_secs).saturating_add(MARGIN_SECS);
        let rotate_after_secs = i64::from(rotate_after_secs);
        if rotate_after_secs < publish_ahead_secs.saturating_mul(4) {
            return Err(KeyError::Refused(format!(
                "keys cannot be rotated every {rotate_after_secs} s when a JWK set may be cached for \
                 {jwks_max_age_secs} s: rotate after at least {} s",
                publish_ahead_secs.saturating_mul(4)
            )));
        }
        let overlap_secs = i64::from(longest_ttl.as_secs()).saturating_add(publish_ahead_secs);
        Ok(Self { rotate_after_secs, publish_ahead_secs, overlap_secs })
    }

    fn times(&self, created_at: Timestamp, activates_at: Timestamp) -> KeyTimes {
        let signs_until = after(after(activates_at, self.rotate_after_secs), STAND_IN_SECS);
        KeyTimes { created_at, activates_at, signs_until, retires_at: after(signs_until, self.overlap_secs) }
    }
}

const fn after(point: Timestamp, secs: i64) -> Timestamp {
    point.plus_millis(secs.saturating_mul(1000))
}

/// What is to be done about the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rotation {
    /// Keys to be made, stored and published now.
    pub create: Vec<(KeyAlgorithm, KeyTimes)>,
    /// Names of the keys that sign now, one for each algorithm that has one; those that did not sign when last looked at
    /// have been activated.
    pub active: Vec<String>,
    /// Names of the keys to be deleted.
    pub retire: Vec<String>,
}

/// What is to be done at `now` so that each algorithm has a key that signs and, in time, a successor that everybody knows.
///
/// Where an algorithm has no key that may sign, one is made that signs at once: at the first start nobody has cached a JWK
/// set, and after a standstill longer than a day a token that some caches cannot verify yet is better than none.
#[must_use]
pub fn rotation(
    keys: &[KeyLife],
    algorithms: &[KeyAlgorithm],
    now: Timestamp,
    settings: &RotationSettings,
) -> Rotation {
    let mut todo = Rotation {
        retire: keys.iter().filter(|key| now >= key.times.retires_at).map(|key| key.kid.clone()).collect(),
        ..Rotation::default()
    };
    for algorithm in algorithms {
        let own = || keys.iter().filter(|key| key.algorithm == *algorithm);
        let by_activation = |key: &&KeyLife| (key.times.activates_at, key.kid.clone());
        let Some(active) = own().filter(|key| key.may_sign(now)).max_by_key(by_activation) else {
            todo.create.push((*algorithm, settings.times(now, now)));
            continue;
        };
        todo.active.push(active.kid.clone());
        let youngest = own().max_by_key(by_activation).unwrap_or(active);
        let due = after(youngest.times.activates_at, settings.rotate_after_secs);
        // Twice the head start, so that one late sweep does not move the date.
        if after(now, settings.publish_ahead_secs.saturating_mul(2)) >= due {
            let activates_at = due.max(after(now, settings.publish_ahead_secs));
            todo.create.push((*algorithm, settings.times(now, activates_at)));
        }
    }
    todo
}

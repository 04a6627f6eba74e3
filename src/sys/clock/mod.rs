//! The clock. Nothing else in the house asks the machine for the time.

mod offset;
#[cfg(test)]
mod tests;

pub use offset::{OffsetClock, Reading};

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;

    /// Why nothing new may rest on this time, for people; `None` while it can be trusted. Ending goes on either way.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// The machine's clock, so much ahead: a broker that is started with it believes to have been down for so long.
#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy)]
pub struct ShiftedClock(i64);

#[cfg(debug_assertions)]
impl ShiftedClock {
    /// By whole seconds; negative is behind.
    #[must_use]
    pub const fn ahead(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }
}

#[cfg(debug_assertions)]
impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0)
    }
}

/// A clock that nobody can set: milliseconds since it was made.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock(std::time::Instant);

impl Default for SteadyClock {
    fn default() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine how much time has passed")]
        Self(std::time::Instant::now())
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub const fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.as_millis()))
    }

    /// Move it by whole seconds; negative moves it back.
    pub fn advance_secs(&self, secs: i64) {
        self.0.fetch_add(secs.saturating_mul(1000), Ordering::SeqCst);
    }

    /// Put it somewhere else.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

//! The broker's clock: the time that passes is counted by a clock that nobody can set, and where it stands is taken from a
//! reference, which is the database's clock where replicas must agree, and the machine's own otherwise. So time never runs
//! backwards while a process lives, and no credential outlives its time because somebody set a clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Clock;
use crate::domain::Timestamp;

/// How far the machine's clock may be off before nothing new may rest on the time.
const TOLERANCE_MILLIS: i64 = 5_000;
/// How far behind a reference may be for the clock to wait for it. It never goes back: it stands still for as long. A reference
/// that went back further is not followed, or the life of what is out there would grow by as much.
const MOST_WAIT_MILLIS: i64 = 1_000;
/// How many readings of the database's clock are compared; the one that took the shortest time is the best.
pub(super) const READINGS: usize = 8;

/// One reading of the database's clock, which took some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What it said.
    pub told: Timestamp,
    /// Steady milliseconds when it was asked.
    pub asked: Timestamp,
    /// Steady milliseconds when the answer was there.
    pub heard: Timestamp,
}

impl Reading {
    const fn took(&self) -> i64 {
        self.heard.as_millis().saturating_sub(self.asked.as_millis())
    }

    /// From steady milliseconds to the time: it was told half-way between asking and hearing.
    const fn offset(&self) -> i64 {
        let middle = self.asked.as_millis().saturating_add(self.took() / 2);
        self.told.as_millis().saturating_sub(middle)
    }
}

/// A clock that follows a reference and never goes back.
pub struct OffsetClock {
    machine: Arc<dyn Clock>,
    steady: Arc<dyn Clock>,
    /// From steady milliseconds to the time.
    offset: AtomicI64,
    /// The latest time that was told.
    latest: AtomicI64,
    /// The last readings, when a database is followed.
    readings: Option<Mutex<Vec<Reading>>>,
}

impl OffsetClock {
    /// A clock that follows the machine's.
    #[must_use]
    pub fn of_machine(machine: Arc<dyn Clock>, steady: Arc<dyn Clock>) -> Self {
        let offset = machine.now().as_millis().saturating_sub(steady.now().as_millis());
        Self { machine, steady, offset: AtomicI64::new(offset), latest: AtomicI64::new(i64::MIN), readings: None }
    }

    /// A clock that follows a database's, as it was first read.
    #[must_use]
    pub fn of_database(machine: Arc<dyn Clock>, steady: Arc<dyn Clock>, first: Reading) -> Self {
        let readings = Some(Mutex::new(vec![first]));
        Self { offset: AtomicI64::new(first.offset()), readings, ..Self::of_machine(machine, steady) }
    }

    /// The clock by which a [`Reading`] is timed.
    #[must_use]
    pub fn steady(&self) -> &dyn Clock {
        &*self.steady
    }

    /// Take a reading into account.
    pub fn follow(&self, reading: Reading) {
        let Some(readings) = &self.readings else { return };
        let mut readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set makes all that it said before worthless.
        let jumped = |before: &Reading| {
            let doubt = MOST_WAIT_MILLIS.saturating_add(before.took()).saturating_add(reading.took());
            before.offset().abs_diff(reading.offset()) > doubt.unsigned_abs()
        };
        if readings.last().is_some_and(jumped) {
            readings.clear();
        }
        if readings.len() >= READINGS {
            readings.remove(0);
        }
        readings.push(reading);
        if let Some(best) = readings.iter().min_by_key(|reading| reading.took()) {
            self.adopt(best.offset());
        }
    }

    /// Follow a reference that is ahead at once, and one that is a little behind by waiting for it.
    fn adopt(&self, offset: i64) {
        let behind = self.offset.load(Ordering::Relaxed).saturating_sub(offset);
        if behind <= MOST_WAIT_MILLIS {
            self.offset.store(offset, Ordering::Relaxed);
        }
    }

    /// How far the reference is behind the time as it is told, in milliseconds; ahead is negative.
    fn reference_behind(&self) -> i64 {
        let offset = self.offset.load(Ordering::Relaxed);
        match &self.readings {
            Some(readings) => {
                let readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
                readings.last().map_or(0, |last| offset.saturating_sub(last.offset()).saturating_sub(last.took() / 2))
            }
            None => self.steady.now().as_millis().saturating_add(offset).saturating_sub(self.machine.now().as_millis()),
        }
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let steady = self.steady.now().as_millis();
        if self.readings.is_none() {
            self.adopt(self.machine.now().as_millis().saturating_sub(steady));
        }
        let now = steady.saturating_add(self.offset.load(Ordering::Relaxed));
        let latest = self.latest.fetch_max(now, Ordering::Relaxed).max(now);
        Timestamp::from_millis(latest)
    }

    fn trouble(&self) -> Option<String> {
        let behind = self.reference_behind();
        if behind > TOLERANCE_MILLIS {
            let whose = if self.readings.is_some() { "the database's" } else { "the machine's" };
            return Some(format!(
                "{whose} clock went back by {} s, and time does not: check it, then start the broker again",
                (behind + 500) / 1000
            ));
        }
        let ahead = self.machine.now().as_millis().saturating_sub(self.now().as_millis());
        (self.readings.is_some() && ahead.abs() > TOLERANCE_MILLIS).then(|| {
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            format!("the machine's clock is {} s {direction} the database's: set it right", (ahead.abs() + 500) / 1000)
        })
    }
}

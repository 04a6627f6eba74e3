//! The database's clock: it is read every few seconds, so that the replicas agree on the time whatever their machines say.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};
use crate::sys::{Clock, OffsetClock, Reading};

/// How often it is read.
const EVERY: Duration = Duration::from_secs(3);

/// Reads the database's clock.
pub struct ClockWatch {
    store: Store,
    clock: Arc<OffsetClock>,
}

impl ClockWatch {
    /// Of that store, for this clock.
    #[must_use]
    pub const fn new(store: Store, clock: Arc<OffsetClock>) -> Self {
        Self { store, clock }
    }

    /// Read the database's clock, timed by a steady one; nothing where the store is a file.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read(store: &Store, steady: &dyn Clock) -> Result<Option<Reading>, StoreError> {
        let asked = steady.now();
        let told = store.database_time().await?;
        Ok(told.map(|told| Reading { told, asked, heard: steady.now() }))
    }

    /// Read it every few seconds until it is time to stop.
    pub async fn watch(&self, stopping: CancellationToken) {
        let mut timer = tokio::time::interval(EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                () = stopping.cancelled() => return,
            }
            match Self::read(&self.store, self.clock.steady()).await {
                Ok(Some(reading)) => self.clock.follow(reading),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the database's clock could not be read; it is tried again"),
            }
            if let Some(trouble) = self.clock.trouble() {
                tracing::error!(trouble, "the time cannot be trusted, so nothing is minted");
            }
        }
    }
}

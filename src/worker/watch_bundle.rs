//! The policy folder: when its files change, or a signal asks for it, the bundle is loaded, checked and put into force as a
//! whole. A bundle that does not load changes nothing and says so.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::domain::{Actor, Digest};
use crate::policy::{Bundle, BundleError};
use crate::sys::sha256;

/// Watches the bundle's folder.
pub struct BundleWatch {
    broker: Broker,
    folder: PathBuf,
    /// What was last refused, so that one broken state of the folder is reported once.
    refused: Mutex<Option<Digest>>,
}

impl BundleWatch {
    /// Over a folder.
    #[must_use]
    pub const fn new(broker: Broker, folder: PathBuf) -> Self {
        Self { broker, folder, refused: Mutex::new(None) }
    }

    /// Load the folder as it is now and put it into force if it differs and is valid.
    ///
    /// # Errors
    /// What is wrong with the bundle, or what kept it from coming into force, for people; the old bundle stays in force.
    pub async fn reload(&self) -> Result<Digest, String> {
        let folder = self.folder.clone();
        let loaded =
            tokio::task::spawn_blocking(move || Bundle::load(&folder)).await.map_err(|error| error.to_string())?;
        match loaded {
            Ok(bundle) => {
                *self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
                self.broker.activate_bundle(bundle, Actor::Broker).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(self.refuse(&error).await),
        }
    }

    async fn refuse(&self, error: &BundleError) -> String {
        let why = error.to_string();
        let state = Some(sha256(&why));
        let known = {
            let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::replace(&mut *refused, state) == state
        };
        if !known && let Err(error) = self.broker.reject_bundle(&why, Actor::Broker).await {
            tracing::error!(%error, "the refusal of a policy bundle could not be recorded");
        }
        why
    }

    /// Look at the folder every so often until it is time to stop.
    pub async fn watch(&self, every: Duration, stopping: CancellationToken) {
        let mut timer = tokio::time::interval(every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                () = stopping.cancelled() => return,
            }
            // A failure is on record and in the log already; the next look tries again.
            let _ = self.reload().await;
        }
    }
}

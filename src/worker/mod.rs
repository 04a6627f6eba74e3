//! The chores: each runs by a timer and by a signal, does a bounded amount of idempotent work, and takes no hint, so that there
//! is one code path and it is used all the time, also after a restart.

mod chores;
mod heed;
mod watch_bundle;
mod watch_clock;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::{Broker, BrokerError, SweepReport};

pub use heed::heed;
pub use watch_bundle::BundleWatch;
pub use watch_clock::ClockWatch;

/// One run of a worker: idempotent, takes no hint, does bounded work.
#[async_trait]
pub trait Sweep: Send + Sync {
    /// Its name, for the log and the metrics.
    fn name(&self) -> &'static str;

    /// Look at the rows, do a bounded amount of what they call for. No input, by design.
    async fn run_once(&self) -> Result<SweepReport, BrokerError>;
}

/// How often the chores run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Ending what is due.
    pub ending: Duration,
    /// Rotating keys, refreshing issuers, forgetting.
    pub upkeep: Duration,
}

impl Default for Intervals {
    /// Endings every second, upkeep every 30 s.
    fn default() -> Self {
        Self { ending: Duration::from_secs(1), upkeep: Duration::from_secs(30) }
    }
}

/// Start every chore; they stop when `stopping` is cancelled.
pub fn start(broker: &Broker, intervals: Intervals, stopping: &CancellationToken, tasks: &TaskTracker) {
    let urgent: Vec<Arc<dyn Sweep>> = chores::urgent(broker);
    tasks.spawn(drive(broker.clone(), urgent, intervals.ending, true, stopping.clone()));
    let upkeep: Vec<Arc<dyn Sweep>> = chores::upkeep(broker);
    tasks.spawn(drive(broker.clone(), upkeep, intervals.upkeep, false, stopping.clone()));
    let recorder = broker.clone();
    let stop = stopping.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = recorder.record_deliveries_forever() => {}
            () = stop.cancelled() => {}
        }
    });
}

/// Run some chores by timer, and by signal when they are urgent, until it is time to stop.
async fn drive(
    broker: Broker,
    sweeps: Vec<Arc<dyn Sweep>>,
    every: Duration,
    urgent: bool,
    stopping: CancellationToken,
) {
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = broker.sweep_called(), if urgent => {}
            () = stopping.cancelled() => return,
        }
        for sweep in &sweeps {
            run_until_done(&**sweep, &stopping).await;
        }
    }
}

/// Run one chore until nothing is left of it, or it fails; then the next tick tries again.
async fn run_until_done(sweep: &dyn Sweep, stopping: &CancellationToken) {
    loop {
        match sweep.run_once().await {
            Ok(report) => {
                metrics::counter!("hallpass_sweep_rows_total", "sweep" => sweep.name())
                    .increment(u64::try_from(report.done).unwrap_or(u64::MAX));
                if !report.more || stopping.is_cancelled() {
                    return;
                }
            }
            Err(error) => {
                metrics::counter!("hallpass_sweep_failed_total", "sweep" => sweep.name()).increment(1);
                tracing::error!(sweep = sweep.name(), %error, "a sweep failed; it is tried again");
                return;
            }
        }
    }
}

//! The chores: each runs by a timer and by a signal, does a bounded amount of idempotent work, and takes no hint, so that there
//! is one code path and it is used all the time, also after a restart.

mod chores;
mod heed;
mod lanes;
mod watch_bundle;
mod watch_clock;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
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
    /// Looking through the backends for what nobody answers for.
    pub reconcile: Duration,
    /// Rotating keys, refreshing issuers, forgetting.
    pub upkeep: Duration,
}

impl Default for Intervals {
    /// Endings every second, upkeep every 30 s, looking through the backends every minute.
    fn default() -> Self {
        Self { ending: Duration::from_secs(1), reconcile: Duration::from_mins(1), upkeep: Duration::from_secs(30) }
    }
}

/// Start every chore; they stop when `stopping` is cancelled. The broker is not ready before what fell due while nothing ran
/// has been ended.
pub fn start(broker: &Broker, intervals: Intervals, stopping: &CancellationToken, tasks: &TaskTracker) {
    broker.begin_catch_up();
    let (recorder, stop) = (broker.clone(), stopping.clone());
    tasks.spawn(async move { recorder.record_deliveries_until(stop.cancelled()).await });
    let (broker, stop, inner) = (broker.clone(), stopping.clone(), tasks.clone());
    tasks.spawn(async move {
        if stop.run_until_cancelled(broker.catch_up()).await.is_none() {
            return;
        }
        // Each on its own: one that waits for a backend holds up no other.
        let mut urgent: Vec<Arc<dyn Sweep>> = chores::urgent(&broker);
        urgent.push(Arc::new(lanes::Lanes::new(&broker, &stop, &inner)));
        urgent.extend(chores::notices(&broker));
        for chore in urgent {
            let calls = broker.sweep_calls();
            inner.spawn(drive(chore, intervals.ending, Some(calls), stop.clone()));
        }
        for chore in chores::upkeep(&broker) {
            inner.spawn(drive(chore, intervals.upkeep, None, stop.clone()));
        }
        for chore in chores::reconciliation(&broker) {
            inner.spawn(drive(chore, intervals.reconcile, None, stop.clone()));
        }
    });
}

/// Run a chore by timer, and by call when it is urgent, until it is time to stop.
async fn drive(
    sweep: Arc<dyn Sweep>,
    every: Duration,
    mut calls: Option<watch::Receiver<u64>>,
    stopping: CancellationToken,
) {
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let called = async {
            let heard = match &mut calls {
                Some(calls) => calls.changed().await.is_ok(),
                None => false,
            };
            if !heard {
                // Nobody calls; the timer goes on.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = timer.tick() => {}
            () = called => {}
            () = stopping.cancelled() => return,
        }
        run_until_done(&*sweep, &stopping).await;
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

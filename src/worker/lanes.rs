//! Ending what is due, each backend in a lane of its own: a lane that waits for its backend holds up no other.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Sweep, run_until_done};
use crate::broker::{Broker, BrokerError, SweepReport};
use crate::domain::Name;

/// Starts a lane for each backend of which something is due, unless it is at work already.
pub(super) struct Lanes {
    broker: Broker,
    at_work: Mutex<BTreeMap<Name, JoinHandle<()>>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Lanes {
    pub(super) fn new(broker: &Broker, stopping: &CancellationToken, tasks: &TaskTracker) -> Self {
        Self { broker: broker.clone(), at_work: Mutex::default(), stopping: stopping.clone(), tasks: tasks.clone() }
    }
}

#[async_trait]
impl Sweep for Lanes {
    fn name(&self) -> &'static str {
        "due_backends"
    }

    async fn run_once(&self) -> Result<SweepReport, BrokerError> {
        let due = self.broker.due_backends().await?;
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        at_work.retain(|_, lane| !lane.is_finished());
        for backend in due {
            at_work.entry(backend.clone()).or_insert_with(|| {
                let (lane, stopping) = (Lane { broker: self.broker.clone(), backend }, self.stopping.clone());
                self.tasks.spawn(async move { run_until_done(&lane, &stopping).await })
            });
        }
        Ok(SweepReport::default())
    }
}

/// Ends what is due of one backend.
struct Lane {
    broker: Broker,
    backend: Name,
}

#[async_trait]
impl Sweep for Lane {
    fn name(&self) -> &'static str {
        "end_leases"
    }

    async fn run_once(&self) -> Result<SweepReport, BrokerError> {
        self.broker.sweep_backend(&self.backend).await
    }
}

//! The way to the committer: two lanes of bounded length, and answers that are waited for with a bound, so that nobody hangs
//! and no flood of requests delays what ends authority.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::codec::Database;
use super::tx::List;
use super::{Claim, StoreError};
use crate::domain::{Lease, Name, Timestamp};

/// The most bytes of lists that wait.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// The most bytes one list has.
const MAX_LIST_BYTES: usize = 16 << 20;
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the committer is asked for.
pub(super) enum Job {
    Write(Write),
    Forget(Timestamp, oneshot::Sender<Result<u64, StoreError>>),
    Claim(Claim, oneshot::Sender<Result<Vec<Lease>, StoreError>>),
    Hasten(Name, Timestamp, oneshot::Sender<Result<u64, StoreError>>),
}

/// A list, and who waits for it.
pub(super) struct Write {
    pub(super) list: List,
    pub(super) size: usize,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Which way a list takes to the committer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What everybody wants.
    Common,
    /// What ends authority: it has a queue of its own that is emptied first, so that no flood of requests delays it.
    Ending,
}

/// The senders of both lanes.
pub(super) struct Lanes {
    pub(super) common: mpsc::Sender<Job>,
    pub(super) ending: mpsc::Sender<Job>,
}

/// The way to the committer.
pub(super) struct Queue {
    /// Which database it writes to.
    pub(super) database: Database,
    /// `None` once the store is closed.
    pub(super) jobs: Mutex<Option<Lanes>>,
    pub(super) waiting_bytes: Arc<AtomicUsize>,
    /// Told when the committer has ended.
    pub(super) end: Mutex<Option<oneshot::Receiver<()>>>,
}

/// An answer that is on its way.
pub(super) struct Answer<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Answer<T> {
    /// Wait for it, with a bound.
    pub(super) async fn wait(self) -> Result<T, StoreError> {
        match tokio::time::timeout(PATIENCE, self.0).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unknown("the committer ended before it answered".to_owned())),
            Err(_) => Err(StoreError::Unknown(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}

impl Queue {
    /// Hand over a list.
    pub(super) fn send(&self, lane: Lane, list: List) -> Result<Answer<()>, StoreError> {
        let size = list.size();
        if size > MAX_LIST_BYTES {
            return Err(StoreError::Unavailable(format!("`{}` writes {size} bytes at once, too many", list.name)));
        }
        if list.is_unfit() {
            return Err(StoreError::Corrupt(format!(
                "`{}` writes a text with a control character that not every database can be handed",
                list.name
            )));
        }
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let sent = if waiting > MAX_WAITING_BYTES && lane == Lane::Common {
            Err(StoreError::Unavailable("too many changes wait to be written".to_owned()))
        } else {
            self.push(lane, Job::Write(Write { list, size, answer }))
        };
        if sent.is_err() {
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        sent.map(|()| Answer(receiver))
    }

    /// Ask to forget what is past its time.
    pub(super) fn forget(&self, now: Timestamp) -> Result<Answer<u64>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.push(Lane::Common, Job::Forget(now, answer)).map(|()| Answer(receiver))
    }

    /// Ask for leases that are due.
    pub(super) fn claim(&self, claim: Claim) -> Result<Answer<Vec<Lease>>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.push(Lane::Ending, Job::Claim(claim, answer)).map(|()| Answer(receiver))
    }

    /// Ask that what could not be ended is due now.
    pub(super) fn hasten(&self, backend: Name, now: Timestamp) -> Result<Answer<u64>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.push(Lane::Ending, Job::Hasten(backend, now, answer)).map(|()| Answer(receiver))
    }

    fn push(&self, lane: Lane, job: Job) -> Result<(), StoreError> {
        let lanes = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = lanes.as_ref().ok_or_else(|| StoreError::Unavailable("the store is closed".to_owned()))?;
        let jobs = match lane {
            Lane::Common => &lanes.common,
            Lane::Ending => &lanes.ending,
        };
        jobs.try_send(job).map_err(|error| {
            StoreError::Unavailable(match error {
                mpsc::error::TrySendError::Full(_) => "too many changes wait to be written".to_owned(),
                mpsc::error::TrySendError::Closed(_) => "the committer has ended".to_owned(),
            })
        })
    }

    /// Take no more, and wait until what was taken is written and the connection is closed.
    pub(super) async fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(end) = end
            && let Err(error) = end.await
        {
            tracing::error!(%error, "the committer did not end well");
        }
    }
}

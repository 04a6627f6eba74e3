//! The committer: one task that owns the one connection that writes. It takes whatever lists are waiting and writes them as
//! one group, so that the number of statements and syncs does not grow with the number of requests. It never hangs: what it
//! cannot write it answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot};

use super::connect::Target;
use super::tx::List;
use super::{StoreError, group, idempotency, tokens_seen, unavailable};
use crate::domain::Timestamp;

/// The most lists that wait.
const MAX_WAITING_LISTS: usize = 4096;
/// The most bytes of lists that wait.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// The most bytes one list has.
const MAX_LIST_BYTES: usize = 16 << 20;
/// The most lists of a group.
const MAX_GROUP_LISTS: usize = 256;
/// The most bytes of a group, unless one list has more.
const MAX_GROUP_BYTES: usize = 4 << 20;
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many rows are forgotten at once, and how often in one go.
const FORGET_ROWS: i64 = 5_000;
const FORGET_ROUNDS: usize = 20;

/// What the committer is asked for.
enum Job {
    Write(Write),
    Forget(Timestamp, oneshot::Sender<Result<u64, StoreError>>),
}

struct Write {
    list: List,
    size: usize,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

/// The way to the committer.
pub(super) struct Queue {
    /// `None` once the store is closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    waiting_bytes: Arc<AtomicUsize>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
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
    pub(super) fn send(&self, list: List) -> Result<Answer<()>, StoreError> {
        let size = list.size();
        if size > MAX_LIST_BYTES {
            return Err(StoreError::Unavailable(format!("`{}` writes {size} bytes at once, too many", list.name)));
        }
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let sent = if waiting > MAX_WAITING_BYTES {
            Err(StoreError::Unavailable("too many changes wait to be written".to_owned()))
        } else {
            self.push(Job::Write(Write { list, size, answer }))
        };
        if sent.is_err() {
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        sent.map(|()| Answer(receiver))
    }

    /// Ask to forget what is past its time.
    pub(super) fn forget(&self, now: Timestamp) -> Result<Answer<u64>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.push(Job::Forget(now, answer)).map(|()| Answer(receiver))
    }

    fn push(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or_else(|| StoreError::Unavailable("the store is closed".to_owned()))?;
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
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the committer did not end well");
        }
    }
}

/// Start the committer on the present runtime.
pub(super) fn start(target: Target, connection: AnyConnection) -> Arc<Queue> {
    let (sender, jobs) = mpsc::channel(MAX_WAITING_LISTS);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let committer = Committer { target, connection: Some(connection), jobs, waiting_bytes: Arc::clone(&waiting_bytes) };
    let task = Mutex::new(Some(tokio::spawn(committer.run())));
    Arc::new(Queue { jobs: Mutex::new(Some(sender)), waiting_bytes, task })
}

struct Committer {
    target: Target,
    /// `None` after a failure, until it is opened again.
    connection: Option<AnyConnection>,
    jobs: mpsc::Receiver<Job>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Committer {
    async fn run(mut self) {
        let mut taken = Vec::with_capacity(MAX_GROUP_LISTS);
        while self.jobs.recv_many(&mut taken, MAX_GROUP_LISTS).await > 0 {
            if let Err(error) = self.handle(&mut taken).await {
                self.refuse(&mut taken, &error);
            }
        }
        self.end().await;
    }

    /// Do some jobs in order, in groups. Jobs are left over when the database cannot.
    async fn handle(&mut self, jobs: &mut Vec<Job>) -> Result<(), StoreError> {
        let mut group = Vec::with_capacity(jobs.len());
        let mut size = 0_usize;
        let mut rest = std::mem::take(jobs).into_iter();
        let mut done = Ok(());
        while done.is_ok()
            && let Some(job) = rest.next()
        {
            done = match job {
                Job::Write(write) if write.list.alone || size.saturating_add(write.size) > MAX_GROUP_BYTES => {
                    let before = self.write(&mut group).await;
                    size = write.size;
                    let alone = write.list.alone;
                    group.push(write);
                    if before.is_ok() && alone { self.write(&mut group).await } else { before }
                }
                Job::Write(write) => {
                    size = size.saturating_add(write.size);
                    group.push(write);
                    Ok(())
                }
                Job::Forget(now, answer) => {
                    let before = self.write(&mut group).await;
                    // Whoever asked may be gone.
                    drop(answer.send(self.forget(now).await));
                    before
                }
            };
        }
        if done.is_ok() {
            done = self.write(&mut group).await;
        }
        jobs.extend(group.into_iter().map(Job::Write).chain(rest));
        done
    }

    /// Write a group and answer everybody who waits for it; an error when the database cannot.
    async fn write(&mut self, group: &mut Vec<Write>) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let lists: Vec<&List> = group.iter().map(|write| &write.list).collect();
        let (answers, failed) = match self.connection().await {
            Ok(connection) => group::write(connection, &lists).await,
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut waiting = Vec::new();
        if failed.is_some() {
            self.drop_connection().await;
            // Whoever waits hears so now, and not after as many patient tries.
            waiting.extend(std::iter::from_fn(|| self.jobs.try_recv().ok()));
        }
        let answered = answers.len();
        for (write, answer) in group.drain(..answered).zip(answers) {
            self.answer(write, answer);
        }
        let Some(error) = failed else { return Ok(()) };
        self.refuse(&mut waiting, &error);
        Err(error)
    }

    fn answer(&self, write: Write, answer: Result<(), StoreError>) {
        self.waiting_bytes.fetch_sub(write.size, Ordering::Relaxed);
        if let Err(error) = &answer {
            tracing::debug!(list = write.list.name, %error, "changes were not written");
        }
        // Whoever asked may be gone; the list is written all the same.
        drop(write.answer.send(answer));
    }

    /// Tell whoever waits that nothing of theirs was written.
    fn refuse(&self, jobs: &mut Vec<Job>, error: &StoreError) {
        tracing::warn!(%error, waiting = jobs.len(), "the database cannot write");
        for job in jobs.drain(..) {
            let refused = StoreError::Unavailable(error.to_string());
            match job {
                Job::Write(write) => self.answer(write, Err(refused)),
                Job::Forget(_, answer) => drop(answer.send(Err(refused))),
            }
        }
    }

    async fn connection(&mut self) -> Result<&mut AnyConnection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(self.target.writer().await?);
        }
        self.connection.as_mut().ok_or_else(|| StoreError::Unavailable("no connection".to_owned()))
    }

    /// Close the connection after a failure, which rolls back whatever it had open.
    async fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close_hard().await
        {
            tracing::warn!(%error, "a failed connection did not close well");
        }
    }

    async fn forget(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let connection = self.connection().await?;
        let mut forgotten = 0_u64;
        for sql in [tokens_seen::FORGET, idempotency::FORGET] {
            for _ in 0..FORGET_ROUNDS {
                let query = sqlx::query(sql).bind(now.as_millis()).bind(FORGET_ROWS);
                let rows = query.execute(&mut *connection).await.map_err(unavailable)?.rows_affected();
                forgotten = forgotten.saturating_add(rows);
                if i64::try_from(rows).is_ok_and(|rows| rows < FORGET_ROWS) {
                    break;
                }
            }
        }
        Ok(forgotten)
    }

    async fn end(mut self) {
        if let Some(mut connection) = self.connection.take() {
            let folded = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.map(drop);
            if let Err(error) = folded.and(connection.close().await) {
                tracing::warn!(%error, "the database did not close well");
            }
        }
    }
}

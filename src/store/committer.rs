//! The committer: one task that owns the one connection that writes. It takes whatever lists are waiting, those that end
//! authority first, and writes them as one group, so that the number of statements and syncs does not grow with the number of
//! requests. It never hangs: what it cannot write it answers, and a commit whose outcome is unknown it asks about.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot};

use super::codec::Database;
use super::connect::Target;
use super::group::{self, Answers, Attempt, Mark};
use super::tx::List;
use super::{Claim, StoreError};
use crate::domain::{Lease, Name, Timestamp};

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
/// How long a server may take for one group; a file takes as long as its disk does.
pub(super) const GROUP_PATIENCE: Duration = Duration::from_secs(8);
/// How often, and at which distance, a server is asked what became of a commit that it did not answer.
const OUTCOME_TRIES: u32 = 20;
const OUTCOME_EVERY: Duration = Duration::from_millis(500);

/// What the committer is asked for.
enum Job {
    Write(Write),
    Forget(Timestamp, oneshot::Sender<Result<u64, StoreError>>),
    Claim(Claim, oneshot::Sender<Result<Vec<Lease>, StoreError>>),
    Hasten(Name, Timestamp, oneshot::Sender<Result<u64, StoreError>>),
}

struct Write {
    list: List,
    size: usize,
    answer: oneshot::Sender<Result<(), StoreError>>,
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
struct Lanes {
    common: mpsc::Sender<Job>,
    ending: mpsc::Sender<Job>,
}

/// The way to the committer.
pub(super) struct Queue {
    /// Which database it writes to.
    pub(super) database: Database,
    /// `None` once the store is closed.
    jobs: Mutex<Option<Lanes>>,
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
    pub(super) fn send(&self, lane: Lane, list: List) -> Result<Answer<()>, StoreError> {
        let size = list.size();
        if size > MAX_LIST_BYTES {
            return Err(StoreError::Unavailable(format!("`{}` writes {size} bytes at once, too many", list.name)));
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
    let (common, common_jobs) = mpsc::channel(MAX_WAITING_LISTS);
    let (ending, ending_jobs) = mpsc::channel(MAX_WAITING_LISTS);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let database = target.database();
    let committer = Committer {
        target,
        connection: Some(connection),
        common: common_jobs,
        ending: ending_jobs,
        waiting_bytes: Arc::clone(&waiting_bytes),
    };
    let task = Mutex::new(Some(tokio::spawn(committer.run())));
    Arc::new(Queue { database, jobs: Mutex::new(Some(Lanes { common, ending })), waiting_bytes, task })
}

/// The committer itself, on its task.
pub(super) struct Committer {
    pub(super) target: Target,
    /// `None` after a failure, until it is opened again.
    connection: Option<AnyConnection>,
    common: mpsc::Receiver<Job>,
    ending: mpsc::Receiver<Job>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Committer {
    async fn run(mut self) {
        let mut taken = Vec::with_capacity(MAX_GROUP_LISTS);
        while self.take(&mut taken).await {
            if let Err(error) = self.handle(&mut taken).await {
                self.refuse(&mut taken, &error);
            }
        }
        self.end().await;
    }

    /// Wait for jobs and take some, those that end authority before all others; `false` when no more will come.
    async fn take(&mut self, taken: &mut Vec<Job>) -> bool {
        let first = tokio::select! {
            biased;
            Some(job) = self.ending.recv() => job,
            Some(job) = self.common.recv() => job,
            else => return false,
        };
        taken.push(first);
        while taken.len() < MAX_GROUP_LISTS
            && let Some(job) = self.try_take()
        {
            taken.push(job);
        }
        true
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
                Job::Claim(claim, answer) => {
                    let before = self.write(&mut group).await;
                    // Whoever asked may be gone; the claim runs out.
                    drop(answer.send(self.claim(&claim).await));
                    before
                }
                Job::Hasten(backend, now, answer) => {
                    let before = self.write(&mut group).await;
                    drop(answer.send(self.hasten(&backend, now).await));
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
        let mut attempt = Attempt::default();
        let error = match self.try_write(&lists, &mut attempt).await {
            Ok(answers) => {
                self.answer_all(group, answers);
                return Ok(());
            }
            Err(error) => error,
        };
        self.drop_connection().await;
        // Whoever waits hears so now, and not after as many patient tries.
        let mut waiting: Vec<Job> = std::iter::from_fn(|| self.try_take()).collect();
        let refused = StoreError::Unavailable(error.to_string());
        self.refuse(&mut waiting, &refused);
        let answers = match attempt {
            Attempt { mark: Some(mark), answers: Some(answers) } if matches!(error, StoreError::Unknown(_)) => {
                match self.outcome(&mark).await {
                    Some(true) => answers,
                    Some(false) => group.iter().map(|_| Err(refused.again())).collect(),
                    None => group.iter().map(|_| Err(error.again())).collect(),
                }
            }
            Attempt { .. } => group.iter().map(|_| Err(error.again())).collect(),
        };
        self.answer_all(group, answers);
        Err(refused)
    }

    async fn try_write(&mut self, lists: &[&List], attempt: &mut Attempt) -> Result<Answers, StoreError> {
        let database = self.target.database();
        let connection = self.connection().await?;
        match database {
            Database::Sqlite => group::write(connection, database, lists, attempt).await,
            Database::Postgres => {
                let written = tokio::time::timeout(GROUP_PATIENCE, group::write(connection, database, lists, attempt));
                written.await.unwrap_or_else(|_| {
                    let why = format!("the database did not answer within {} s", GROUP_PATIENCE.as_secs());
                    Err(if attempt.answers.is_some() { StoreError::Unknown(why) } else { StoreError::Unavailable(why) })
                })
            }
        }
    }

    /// The commit of a group was not answered: ask the database whether it took place.
    async fn outcome(&mut self, mark: &Mark) -> Option<bool> {
        let mut tries = tokio::time::interval(OUTCOME_EVERY);
        for _ in 0..OUTCOME_TRIES {
            tries.tick().await;
            let Ok(connection) = self.connection().await else { continue };
            let asked = tokio::time::timeout(GROUP_PATIENCE, group::took_place(connection, mark)).await;
            match asked {
                Ok(Ok(took_place)) => {
                    tracing::warn!(took_place, "a commit was not answered; the database was asked about it");
                    return Some(took_place);
                }
                Ok(Err(_)) | Err(_) => self.drop_connection().await,
            }
        }
        self.drop_connection().await;
        None
    }

    fn try_take(&mut self) -> Option<Job> {
        self.ending.try_recv().ok().or_else(|| self.common.try_recv().ok())
    }

    fn answer_all(&self, group: &mut Vec<Write>, answers: Answers) {
        for (write, answer) in group.drain(..).zip(answers) {
            self.answer(write, answer);
        }
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
                Job::Forget(_, answer) | Job::Hasten(_, _, answer) => drop(answer.send(Err(refused))),
                Job::Claim(_, answer) => drop(answer.send(Err(refused))),
            }
        }
    }

    pub(super) async fn connection(&mut self) -> Result<&mut AnyConnection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(self.target.writer().await?);
        }
        self.connection.as_mut().ok_or_else(|| StoreError::Unavailable("no connection".to_owned()))
    }

    /// Close the connection after a failure, which rolls back whatever it had open.
    pub(super) async fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close_hard().await
        {
            tracing::warn!(%error, "a failed connection did not close well");
        }
    }

    async fn end(mut self) {
        if let Some(mut connection) = self.connection.take() {
            let folded = match self.target.database() {
                Database::Sqlite => connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.map(drop),
                Database::Postgres => Ok(()),
            };
            if let Err(error) = folded.and(connection.close().await) {
                tracing::warn!(%error, "the database did not close well");
            }
        }
    }
}

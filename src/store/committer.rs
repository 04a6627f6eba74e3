//! The committer: one thread that owns the one connection that writes. It takes whatever lists are waiting, those that end
//! authority first, and writes them as one group, so that the number of statements and syncs does not grow with the number of
//! requests. It never hangs: what it cannot write it answers, and a commit whose outcome is unknown it asks about.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::codec::Database;
use super::connect::Target;
use super::group::{self, Answers, Attempt, Mark};
use super::lineage::{self, Seen};
use super::queue::{Job, Lanes, Queue, Write};
use super::tx::{Change, List};

/// The most lists that wait.
const MAX_WAITING_LISTS: usize = 4096;
/// The most lists of a group.
const MAX_GROUP_LISTS: usize = 256;
/// The most bytes of a group, unless one list has more.
const MAX_GROUP_BYTES: usize = 4 << 20;
/// How long a server may take for one group; a file takes as long as its disk does.
pub(super) const GROUP_PATIENCE: Duration = Duration::from_secs(8);
/// How often, and at which distance, a server is asked what became of a commit that it did not answer.
const OUTCOME_TRIES: u32 = 20;
const OUTCOME_EVERY: Duration = Duration::from_millis(500);

/// Start the committer, on a thread with a small runtime of its own: among hundreds of requests each of its round trips to a
/// server would wait for its turn to be polled, and with it everybody whose changes are in the group.
pub(super) fn start(target: Target, accepted: bool, history: Arc<Seen>) -> Result<Arc<Queue>, StoreError> {
    let (common, common_jobs) = mpsc::channel(MAX_WAITING_LISTS);
    let (ending, ending_jobs) = mpsc::channel(MAX_WAITING_LISTS);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let database = target.database();
    let committer = Committer {
        target,
        connection: None,
        accepted,
        history,
        common: common_jobs,
        ending: ending_jobs,
        waiting_bytes: Arc::clone(&waiting_bytes),
    };
    let no_thread = |error: std::io::Error| StoreError::Unavailable(format!("no thread for the committer: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let (ended, end) = oneshot::channel();
    let work = move || {
        runtime.block_on(committer.run());
        // Whoever waited for the end may be gone.
        let _ = ended.send(());
    };
    std::thread::Builder::new().name("committer".to_owned()).spawn(work).map_err(no_thread)?;
    let end = Mutex::new(Some(end));
    Ok(Arc::new(Queue { database, jobs: Mutex::new(Some(Lanes { common, ending })), waiting_bytes, end }))
}

fn not_accepted() -> StoreError {
    let why = "the database was restored, copied or replaced; nothing is written until that is on record";
    StoreError::Unavailable(why.to_owned())
}

/// The committer itself, on its thread.
pub(super) struct Committer {
    pub(super) target: Target,
    /// `None` after a failure, until it is opened again.
    connection: Option<AnyConnection>,
    /// Whether the database at the other end is the one that was relied on; otherwise only a list that says what it is may be
    /// written.
    accepted: bool,
    history: Arc<Seen>,
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
        let begins_epoch = group.iter().all(|write| write.list.rows(Change::LineageSet).is_some());
        if !begins_epoch && !self.is_accepted().await? {
            let answers = group.iter().map(|_| Err(not_accepted())).collect();
            self.answer_all(group, answers);
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
            let Ok(_) = self.connection().await else { continue };
            if !self.accepted {
                // Another server gives the same name to another transaction.
                break;
            }
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
        let written = group.iter().zip(&answers).rev().find(|(_, answer)| answer.is_ok());
        if let Some(event) = written.and_then(|(write, _)| write.list.last_event) {
            self.history.wrote(event);
        }
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

    async fn connection(&mut self) -> Result<&mut AnyConnection, StoreError> {
        if self.connection.is_none() {
            let mut connection = self.target.writer().await?;
            self.accepted = lineage::is_accepted(&mut connection, &self.target).await?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| StoreError::Unavailable("no connection".to_owned()))
    }

    /// Whether the database is the one that was relied on, or is known to be another by now.
    async fn is_accepted(&mut self) -> Result<bool, StoreError> {
        self.connection().await?;
        if !self.accepted
            && let Some(connection) = &mut self.connection
        {
            self.accepted = lineage::is_accepted(connection, &self.target).await?;
        }
        Ok(self.accepted)
    }

    /// The connection, if the database at the other end is the one that was relied on.
    pub(super) async fn accepted_connection(&mut self) -> Result<&mut AnyConnection, StoreError> {
        if self.is_accepted().await? { self.connection().await } else { Err(not_accepted()) }
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

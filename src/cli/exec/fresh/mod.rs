//! Keys of AWS that are kept fresh while a command runs. When a third of their life is left, or five minutes if that is less, the
//! broker is asked for the same scopes in the same task, so that policy decides each time anew. Whoever wants keys meanwhile gets
//! the ones there are: they are good until their lease ends, whatever is said of the next.

#[cfg(test)]
pub(super) mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::mask::Secrets;
use crate::api::{Credential, MoreAccessAsk, ProblemKind, TaskAnswer};
use crate::app::telemetry::escape;
use crate::cli::creds::AwsKeys;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::say;
use crate::cli::text;
use crate::client::{Client, ClientError};
use crate::domain::Timestamp;
use crate::sys::Clock;

/// Keys are asked for anew when so much of their life is left at most.
const LAST_MILLIS: i64 = 5 * 60_000;
/// It is asked for only if it lasts so much longer: nothing outlives its task.
const MIN_GAIN_MILLIS: i64 = 30_000;
/// How long somebody is kept waiting for new keys; an AWS SDK waits for two seconds.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long the broker is left alone after it could not answer, or while a person has to.
const PAUSE_MILLIS: i64 = 5_000;
/// How long it is left alone after it said no.
const LONG_PAUSE_MILLIS: i64 = 30_000;

/// Why there are no keys.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// How it would end a command.
    pub(super) exit: Exit,
    /// A stable name for it.
    pub(super) code: String,
    /// What happened, in one sentence.
    pub(super) message: String,
}

impl Trouble {
    fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into() }
    }

    fn of(error: ClientError) -> Self {
        let failure = Failure::from(error);
        Self {
            exit: failure.exit,
            code: failure.code.unwrap_or_else(|| "failure".to_owned()),
            message: failure.message,
        }
    }

    /// How long to wait before the broker is asked again.
    const fn pause_millis(&self) -> i64 {
        match self.exit {
            Exit::Denied | Exit::Usage | Exit::Ended => LONG_PAUSE_MILLIS,
            Exit::Failure | Exit::Unreachable | Exit::Unauthenticated | Exit::Backend | Exit::Pending => PAUSE_MILLIS,
        }
    }
}

/// Where new credentials come from.
pub(super) trait Source: Send + Sync {
    /// One credential for these scopes.
    fn ask<'s>(&'s self, scopes: &'s [String]) -> BoxFuture<'s, Result<Credential, Trouble>>;
}

/// A task, which asks for more.
pub(super) struct TaskSource {
    client: Client,
    task: String,
    ttl_seconds: Option<i64>,
    /// The request that waits for a person, with its scopes.
    pending: Mutex<Vec<(Vec<String>, String)>>,
}

impl TaskSource {
    /// One that asks within this task for credentials of this life.
    pub(super) fn new(client: &Client, task: &str, ttl_seconds: Option<i64>) -> Self {
        Self { client: client.clone(), task: task.to_owned(), ttl_seconds, pending: Mutex::default() }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<(Vec<String>, String)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of a request that was left waiting: its credential once people agreed.
    async fn look_after(&self, request: &str) -> Result<TaskAnswer, ClientError> {
        let answer = self.client.read_task(&self.task, None).await?;
        let state = answer.requests.iter().find(|one| one.id == request).map(|one| one.state.as_str());
        if state == Some("granted") { self.client.collect(&self.task).await } else { Ok(answer) }
    }

    async fn ask_for(&self, scopes: &[String]) -> Result<Credential, Trouble> {
        let waiting = self.pending().iter().find(|(asked, _)| asked == scopes).map(|(_, request)| request.clone());
        let answer = if let Some(request) = &waiting {
            self.look_after(request).await
        } else {
            let ask = MoreAccessAsk {
                scopes: text::scopes(scopes),
                ttl_seconds: self.ttl_seconds,
                confirmation_key: None,
                delivery_key: None,
            };
            self.client.request_access(&self.task, &ask).await
        };
        let answer = answer.map_err(Trouble::of)?;
        let ours = |id: &str| waiting.as_deref().is_none_or(|request| request == id);
        let request = answer.requests.iter().find(|request| ours(&request.id));
        self.pending().retain(|(asked, _)| asked != scopes);
        if waiting.is_none() && answer.requests.len() != 1 {
            let message = "policy tells these scopes apart now; they are to be had in a new task";
            return Err(Trouble::new(Exit::Denied, "policy-changed", message));
        }
        match request {
            Some(request) if request.state == "pending" => {
                self.pending().push((scopes.to_vec(), request.id.clone()));
                let place = request.approval.as_ref().map(|approval| format!(": {}", approval.url)).unwrap_or_default();
                Err(Trouble::new(
                    Exit::Pending,
                    "pending",
                    format!("somebody must decide on request {} first{place}", request.id),
                ))
            }
            Some(request) if request.state == "granted" => {
                let id = request.id.clone();
                let found = answer.credentials.into_iter().find(|credential| credential.request == id);
                found.ok_or_else(|| Trouble::new(Exit::Backend, "no-credential", answer.message))
            }
            Some(request) => {
                let because = request.denied.as_ref().map(|denied| denied.because.join("; ")).unwrap_or_default();
                let said = format!("{} was {}: {because}", scopes.join(", "), request.state);
                Err(Trouble::new(Exit::Denied, &request.state, said.trim_end_matches(": ")))
            }
            None => Err(Trouble::new(Exit::Failure, "no-credential", answer.message)),
        }
    }
}

impl Source for TaskSource {
    fn ask<'s>(&'s self, scopes: &'s [String]) -> BoxFuture<'s, Result<Credential, Trouble>> {
        Box::pin(self.ask_for(scopes))
    }
}

/// Keys, and what is known of the next.
struct Held {
    keys: AwsKeys,
    since: Timestamp,
    trouble: Option<Trouble>,
    /// Not before this.
    next_try: Timestamp,
}

/// One credential that is kept fresh.
pub(super) struct Fresh {
    keeping: Keeping,
    scopes: Vec<String>,
    held: Mutex<Held>,
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
}

/// What everything that is kept fresh for one command shares.
#[derive(Clone)]
pub(super) struct Keeping {
    /// Where new credentials come from.
    pub(super) source: Arc<dyn Source>,
    /// The clock.
    pub(super) clock: Arc<dyn Clock>,
    /// When the task ends, and everything with it.
    pub(super) task_ends_at: Timestamp,
    /// What the command's output must not show.
    pub(super) secrets: Secrets,
    /// Cancelled when the task is seen to have ended before its time.
    pub(super) ended: CancellationToken,
}

impl Fresh {
    /// Keep this credential fresh.
    ///
    /// # Errors
    /// When it is none of AWS.
    pub(super) fn new(credential: &Credential, keeping: &Keeping) -> Result<Self, Failure> {
        let since = keeping.clock.now();
        let held = Held { keys: AwsKeys::read(credential)?, since, trouble: None, next_try: since };
        let (keeping, scopes) = (keeping.clone(), credential.scopes.clone());
        Ok(Self { keeping, scopes, held: Mutex::new(held), asking: tokio::sync::Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        now >= self.keeping.task_ends_at || self.keeping.ended.is_cancelled()
    }

    /// Whether it is time to ask for others.
    fn is_due(&self) -> bool {
        let now = self.keeping.clock.now();
        let held = self.held();
        let ends_at = held.keys.ends_at;
        let last = (ends_at.millis_since(held.since) / 3).min(LAST_MILLIS);
        let gains = self.keeping.task_ends_at.millis_since(ends_at) >= MIN_GAIN_MILLIS;
        gains && ends_at.millis_since(now) <= last && now >= held.next_try && !self.has_ended(now)
    }

    /// Keys that are good now.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn keys(self: &Arc<Self>) -> Result<AwsKeys, Trouble> {
        if self.is_due() {
            // It goes on when nobody waits for it any more: whoever asks again finds what came of it.
            let asking = tokio::spawn(Arc::clone(self).renew());
            let _ = tokio::time::timeout(PATIENCE, asking).await;
        }
        let (now, held) = (self.keeping.clock.now(), self.held());
        if self.keeping.ended.is_cancelled() {
            let message =
                "access for this task has ended; stop work that needs it, and do not use any other credential";
            return Err(Trouble::new(Exit::Ended, ProblemKind::TaskClosed.slug(), message));
        }
        if now < held.keys.ends_at {
            return Ok(held.keys.clone());
        }
        if now >= self.keeping.task_ends_at {
            let message = "the task has come to its end; one that lasts longer is asked for with --task-ttl";
            return Err(Trouble::new(Exit::Ended, ProblemKind::TaskClosed.slug(), message));
        }
        Err(held.trouble.clone().unwrap_or_else(|| {
            Trouble::new(Exit::Unreachable, "retry-later", "new credentials are being asked for; try again")
        }))
    }

    async fn renew(self: Arc<Self>) {
        let _alone = self.asking.lock().await;
        if !self.is_due() {
            return;
        }
        let answer = self.keeping.source.ask(&self.scopes).await.and_then(|credential| {
            // Known as a secret before anybody can print it.
            self.keeping.secrets.add(super::environment::secrets(std::slice::from_ref(&credential)));
            AwsKeys::read(&credential).map_err(|failure| Trouble::new(Exit::Failure, "not-aws", failure.message))
        });
        let now = self.keeping.clock.now();
        let mut held = self.held();
        match answer {
            Ok(keys) => *held = Held { keys, since: now, trouble: None, next_try: now },
            Err(trouble) => {
                if held.trouble.as_ref().is_none_or(|last| last.message != trouble.message) {
                    say(&format!("warning: no new AWS credentials: {}", escape(&trouble.message)));
                }
                if trouble.exit == Exit::Ended {
                    self.keeping.ended.cancel();
                }
                held.next_try = now.plus_millis(trouble.pause_millis());
                held.trouble = Some(trouble);
            }
        }
    }
}

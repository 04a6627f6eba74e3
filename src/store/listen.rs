//! Wake-up calls between replicas: a group that changed what others wait for says so with its commit (`NOTIFY`), and each
//! replica listens. A call is a hint, never the truth: whoever waits looks at the rows by itself, so that a lost listener
//! costs nothing but a little time. Only PostgreSQL runs this; a file has no other replicas.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AnyConnection, Executor as _};

use super::StoreError;
use super::codec::Database;
use super::connect::CONNECT_TIMEOUT;
use super::group::{Failure, failure};
use super::tx::List;
use crate::domain::TaskId;

/// Where the calls go.
const CHANNEL: &str = "hallpass";
/// The longest payload; PostgreSQL takes 7,999 bytes.
const MAX_PAYLOAD_BYTES: usize = 7_800;
/// What a payload says of the control row, and when it would be too long.
const CONTROL: &str = "control";
const MANY: &str = "many";
/// How long nothing may be heard before the connection is tried.
const QUIET: Duration = Duration::from_secs(30);
/// How long to wait before connecting again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

const NOTIFY: &str = "-- listen.notify
    SELECT CAST(pg_notify($1, $2) AS TEXT) AS notified";
const PING: &str = "-- listen.ping
    SELECT 1";

/// What a list changes that others may wait for.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Tasks of which a request is not pending any more.
    pub(super) tasks: Vec<TaskId>,
    /// The control row, or which agents are suspended.
    pub(super) control: bool,
}

/// What a group has to say, unless it is nothing.
fn payload(lists: &[&List]) -> Option<String> {
    let mut words = Vec::new();
    if lists.iter().any(|list| list.touched.control) {
        words.push(CONTROL.to_owned());
    }
    words.extend(lists.iter().flat_map(|list| &list.touched.tasks).map(ToString::to_string));
    let payload = words.join(" ");
    match payload.len() {
        0 => None,
        1..=MAX_PAYLOAD_BYTES => Some(payload),
        _ => Some(MANY.to_owned()),
    }
}

/// Within a group's transaction: tell the other replicas when it commits.
pub(super) async fn tell(connection: &mut AnyConnection, database: Database, lists: &[&List]) -> Result<(), Failure> {
    if database != Database::Postgres {
        return Ok(());
    }
    let Some(payload) = payload(lists) else { return Ok(()) };
    let told = sqlx::query(NOTIFY).bind(CHANNEL).bind(payload).execute(connection).await;
    told.map(drop).map_err(|error| failure("notify", &error))
}

/// What another replica said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// Something about these tasks has changed.
    pub tasks: Vec<TaskId>,
    /// The control row has changed, or which agents are suspended.
    pub control: bool,
    /// Anything may have changed: there was too much to say, or nobody was listening for a while.
    pub anything: bool,
}

impl Hint {
    fn anything() -> Self {
        Self { anything: true, ..Self::default() }
    }

    /// A word that is not understood, e.g. of a newer version, means that anything may have changed.
    fn read(payload: &str) -> Self {
        let mut hint = Self::default();
        for word in payload.split(' ') {
            match (word, word.parse()) {
                (CONTROL, _) => hint.control = true,
                (_, Ok(task)) => hint.tasks.push(task),
                (_, Err(_)) => hint.anything = true,
            }
        }
        hint
    }
}

/// What other replicas say, as long as somebody asks for it.
pub struct Hints {
    options: PgConnectOptions,
    listener: Option<PgListener>,
    pause: Duration,
}

impl Hints {
    pub(super) const fn new(options: PgConnectOptions) -> Self {
        Self { options, listener: None, pause: FIRST_PAUSE }
    }

    /// Wait for the next hint. Connects when that is needed, as often as it takes, and says after it that anything may have
    /// changed.
    pub async fn next_hint(&mut self) -> Hint {
        loop {
            let Some(listener) = &mut self.listener else {
                match self.connect().await {
                    Ok(listener) => {
                        self.listener = Some(listener);
                        self.pause = FIRST_PAUSE;
                        return Hint::anything();
                    }
                    Err(error) => self.wait_after(&error).await,
                }
                continue;
            };
            match hear(listener).await {
                Ok(Some(hint)) => return hint,
                Ok(None) => {}
                Err(error) => {
                    self.listener = None;
                    self.wait_after(&error).await;
                }
            }
        }
    }

    async fn wait_after(&mut self, error: &StoreError) {
        tracing::warn!(%error, "what other replicas do is not heard at the moment; it is looked up every few seconds");
        metrics::counter!("hallpass_listener_lost_total").increment(1);
        let _ = tokio::time::timeout(self.pause, std::future::pending::<()>()).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }

    async fn connect(&self) -> Result<PgListener, StoreError> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT).test_before_acquire(false);
        let pool = pool.connect_lazy_with(self.options.clone());
        let connecting = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.ignore_pool_close_event(true);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        in_time(connecting).await
    }
}

/// Listen for a while; nothing when nothing was said.
async fn hear(listener: &mut PgListener) -> Result<Option<Hint>, StoreError> {
    match tokio::time::timeout(QUIET, listener.try_recv()).await {
        Ok(Ok(Some(said))) => Ok(Some(Hint::read(said.payload()))),
        Ok(Ok(None)) => Err(StoreError::Unavailable("the connection was lost".to_owned())),
        Ok(Err(error)) => Err(super::unavailable(error)),
        // A connection whose other end is gone says nothing either.
        Err(_) => in_time(async { listener.execute(PING).await }).await.map(|_| None),
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
    tokio::time::timeout(CONNECT_TIMEOUT, asked).await.map_err(late)?.map_err(super::unavailable)
}

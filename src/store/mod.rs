//! All SQL, nothing but SQL. A transaction is a list of changes that becomes durable together with the audit events that
//! explain it, or not at all; there is no other way to change anything.

mod access_requests;
mod approvals;
mod asked;
mod between;
mod bundles;
mod callbacks;
mod claims;
mod codec;
mod committer;
mod connect;
mod control;
mod decided;
mod decisions;
mod delegations;
mod device_sign_ins;
mod events;
mod figures;
mod filings;
mod grants;
mod group;
mod idempotency;
mod joined;
mod kept_secrets;
mod leases;
mod lineage;
mod listen;
mod lock;
mod migrate;
mod notices;
mod over;
mod passkeys;
mod people_known;
mod people_told;
mod probe;
mod questions;
mod queue;
mod reviews;
mod sealed_deliveries;
mod sessions;
mod signing_keys;
mod tasks;
#[cfg(test)]
mod tests;
mod tokens_seen;
mod tx;
mod usage;
mod viewings;

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::postgres::PgConnectOptions;
use sqlx::query::Query;
use sqlx::{AnyPool, Connection as _};

pub use asked::PastRequest;
pub use bundles::StoredBundle;
pub use claims::{Claim, Overdue};
pub use connect::StoreSettings;
pub use control::Suspension;
pub use decided::Decided;
pub use events::{EventFilter, StoredEvent};
pub use figures::{DecisionCount, ScopesCount, Waiting};
pub use kept_secrets::KeptSecret;
pub use leases::LeaseFilter;
pub use lineage::{History, Lineage};
pub use listen::{Hint, Hints};
pub use notices::NoticeChanges;
pub use over::OverRow;
pub use people_known::KnownPerson;
pub use sealed_deliveries::SealedDelivery;
pub use signing_keys::SealedKey;
pub use tasks::TaskFilter;
pub use tx::Tx;
pub use viewings::Viewing;

use queue::Lane;

use crate::domain::{Digest, Timestamp};
/// The control row: read with each group of changes that mints, changed by the kill switch and by policy activation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// Grows with each throw of the kill switch, and with each release.
    pub kill_epoch: i64,
    /// Whether the kill switch is thrown: nothing is minted until it is released.
    pub killed: bool,
    /// The policy bundle in force.
    pub bundle: Option<Digest>,
    /// Grows whenever an agent is suspended or resumed.
    pub agents_epoch: i64,
    /// Grows whenever the database was found to be restored, copied or moved, and with each reconciliation.
    pub restore_epoch: i64,
    /// Why nothing is issued and nothing is ended, if so: the database was restored or copied and is not reconciled yet.
    pub quarantine: Option<String>,
    /// Identity tokens of before this moment may have been used, though their marks are lost, in milliseconds since 1970.
    pub tokens_from_millis: i64,
}

/// What went wrong, named for what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer or cannot write; nothing was changed. Try again later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The outcome of a commit is not known; read back before acting on it.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// Somebody changed a row first, or it is there already; nothing was changed. Read again.
    #[error("conflict on {table}")]
    Conflict {
        /// Which table.
        table: &'static str,
    },
    /// The control row is not as expected: a kill switch or another policy bundle came in between. Nothing was changed.
    #[error("the control row has changed")]
    ControlChanged(Control),
    /// An agent's limit of live leases or pending requests is reached; nothing was changed.
    #[error("limit reached: {0}")]
    LimitReached(&'static str),
    /// A row breaks a rule; somebody changed it behind our back. Stop and look.
    #[error("corrupt row: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// The same for another list of a group.
    fn again(&self) -> Self {
        match self {
            Self::Unknown(why) => Self::Unknown(why.clone()),
            Self::Unavailable(why) => Self::Unavailable(why.clone()),
            Self::Corrupt(why) => Self::Corrupt(why.clone()),
            Self::Conflict { table } => Self::Conflict { table },
            Self::ControlChanged(control) => Self::ControlChanged(control.clone()),
            Self::LimitReached(limit) => Self::LimitReached(limit),
        }
    }
}

/// An idempotency key's record: which request it was used for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Who used it: `agent:<id>` or `operator:<person>`.
    pub owner: String,
    /// The key as sent.
    pub key: String,
    /// SHA-256 of method, path and canonical body.
    pub request: Digest,
    /// The id of what was made, e.g. a task's.
    pub subject: String,
    /// When it was used.
    pub at: Timestamp,
    /// When it may be forgotten.
    pub keep_until: Timestamp,
}

/// The most rows a page has.
const MAX_PAGE: u32 = 1000;
/// The most rows of one task, request or key ring that are read at once.
const MAX_PAGE_OF_TASK: i64 = 500;
/// The most suspended agents that are read at once.
const MAX_SUSPENDED: i64 = 10_000;

/// A page's size, bounded.
fn page(limit: u32) -> i64 {
    i64::from(limit.min(MAX_PAGE))
}

/// An error of the driver, seen from outside a group.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// The door to the database: reads go to a pool of connections, changes to the one committer.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    lane: Lane,
}

struct Inner {
    readers: AnyPool,
    /// Kept for what ends authority.
    reserved: AnyPool,
    queue: Arc<queue::Queue>,
    /// How to listen to other replicas, where there can be some.
    listen: Option<PgConnectOptions>,
    target: connect::Target,
    history: Arc<lineage::Seen>,
    /// Held while the store is open, where the file is one process's alone.
    _lock: Option<lock::FileLock>,
}

impl Store {
    /// Open the database, make and migrate it as needed, and start the committer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be opened or does not promise full durability; [`StoreError::Corrupt`]
    /// when its schema is not known, or is behind and may not be migrated.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let target = connect::Target::new(settings)?;
        let lock = target.lock()?;
        target.create_file()?;
        let mut writer = target.writer().await?;
        let mode = if settings.migrate { migrate::Mode::Apply } else { migrate::Mode::Check };
        migrate::migrate(&mut writer, target.database(), mode).await?;
        let accepted = lineage::adopt(&mut writer, &target).await?;
        let (readers, reserved) = target.readers().await?;
        let listen = target.listen.clone();
        let history = Arc::new(lineage::Seen::load(target.mark())?);
        // The committer has a connection of its own: one belongs to the runtime it was opened on.
        writer.close().await.map_err(unavailable)?;
        let queue = committer::start(target.clone(), accepted, Arc::clone(&history))?;
        let inner = Inner { readers, reserved, queue, listen, target, history, _lock: lock };
        Ok(Self { inner: Arc::new(inner), lane: Lane::Common })
    }

    /// Bring the schema up to date and leave; the names of the migrations that were applied.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn migrate(settings: &StoreSettings) -> Result<Vec<&'static str>, StoreError> {
        let target = connect::Target::new(settings)?;
        let _lock = target.lock()?;
        target.create_file()?;
        let mut writer = target.writer().await?;
        migrate::migrate(&mut writer, target.database(), migrate::Mode::Apply).await
    }

    /// The same store by the way that is kept for what ends authority: a connection and a queue that no flood of other work
    /// can fill.
    #[must_use]
    pub fn ending(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), lane: Lane::Ending }
    }

    /// What other replicas do, said by them: for listening to, where the database has such a thing.
    #[must_use]
    pub fn hints(&self) -> Option<Hints> {
        self.inner.listen.clone().map(Hints::new)
    }

    /// Begin a list of changes; the name is for logs.
    pub fn begin(&self, name: &'static str) -> Tx {
        Tx::new(name, Arc::clone(&self.inner.queue), self.lane)
    }

    /// Forget used tokens, idempotency keys, sealed credentials, callbacks, notices, what is kept to end a credential, sessions, device
    /// sign-ins and what a passkey was to sign, each past its time; how many. Never authority, so it needs no events.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn forget(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.queue.forget(now)?.wait().await
    }

    /// Write what waits, fold the write-ahead log into the database and close every connection. Later changes and reads are
    /// refused as unavailable.
    pub async fn close(&self) {
        self.inner.queue.close().await;
        self.inner.readers.close().await;
        self.inner.reserved.close().await;
    }

    async fn find<T>(
        &self,
        query: Question,
        read: fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let row = in_time(query.fetch_optional(self.readers())).await?;
        row.as_ref().map(read).transpose()
    }

    async fn list<T>(&self, query: Question, read: fn(&AnyRow) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
        let rows = in_time(query.fetch_all(self.readers())).await?;
        rows.iter().map(read).collect()
    }

    fn readers(&self) -> &AnyPool {
        match self.lane {
            Lane::Common => &self.inner.readers,
            Lane::Ending => &self.inner.reserved,
        }
    }
}

/// How long a read may take; the database itself gives up a little earlier, if it can be reached.
const READ_PATIENCE: Duration = Duration::from_secs(6);

async fn in_time<T>(read: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable(format!("no answer within {} s", READ_PATIENCE.as_secs()));
    tokio::time::timeout(READ_PATIENCE, read).await.map_err(late)?.map_err(unavailable)
}

/// A statement that reads, with its parameters.
type Question = Query<'static, sqlx::Any, AnyArguments>;

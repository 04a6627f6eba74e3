//! A transaction as a list of changes: it reads nothing and holds nothing open. Every row is encoded here, by its caller,
//! so that the one writer only has to join the lists of a group.

use std::sync::Arc;

use super::codec::{Columns, Database, Grouped, Rows};
use super::group::Mark;
use super::listen::Touched;
use super::queue::{Lane, Queue};
use super::{
    Control, StoreError, access_requests, approvals, bundles, callbacks, control, decisions, delegations,
    device_sign_ins, events, filings, grants, idempotency, kept_secrets, leases, lineage, notices, passkeys,
    people_known, probe, questions, reviews, sealed_deliveries, sessions, signing_keys, tasks, tokens_seen, viewings,
};
use crate::domain::{AgentId, EventId, Facts};

/// How many of the rows handed to a grouped statement must be found by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Each one: it is inserted, still as its caller saw it, or there is a conflict.
    Each,
    /// The same, for new rows of the kinds that most groups have.
    New,
    /// Any number.
    Any,
    /// Each one, counted by the rows that come back: nothing is written.
    Seen,
}

/// One multi-row statement of a group.
pub(super) struct Statement {
    /// The table it is about, for conflicts.
    pub(super) table: &'static str,
    /// Its text; the rows are its one parameter.
    pub(super) sql: Grouped,
    /// What its answer means.
    pub(super) expect: Expect,
}

/// Declare the changes in the order a group executes them: what must be unique first, because it most often conflicts; then
/// rows, then compare-and-swaps, then checks, so that of two changes of one group the ending one wins; events last.
macro_rules! changes {
    ($($name:ident => $statement:path),+ $(,)?) => {
        /// The kinds of change a list may have, each one grouped statement.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Change { $($name),+ }

        impl Change {
            /// In order of execution.
            pub(super) const ALL: &'static [(Change, &'static Statement)] = &[$((Change::$name, &$statement)),+];
        }
    };
}

changes! {
    TokenSeen => tokens_seen::INSERT,
    Idempotency => idempotency::INSERT,
    TaskInsert => tasks::INSERT,
    RequestInsert => access_requests::INSERT,
    DecisionInsert => decisions::INSERT,
    ApprovalInsert => approvals::INSERT,
    PersonInsert => people_known::INSERT,
    GrantInsert => grants::INSERT,
    LeaseInsert => leases::INSERT,
    SealedInsert => sealed_deliveries::INSERT,
    KeptInsert => kept_secrets::INSERT,
    SessionInsert => sessions::INSERT,
    DeviceInsert => device_sign_ins::INSERT,
    DelegationInsert => delegations::INSERT,
    DelegationEnd => delegations::END,
    ReviewInsert => reviews::INSERT,
    ReviewSettle => reviews::SETTLE,
    ReviewOverdue => reviews::OVERDUE,
    QuestionInsert => questions::INSERT,
    QuestionAnswer => questions::ANSWER,
    ChallengeInsert => passkeys::INSERT_CHALLENGE,
    ChallengeDelete => passkeys::DELETE_CHALLENGE,
    PasskeyInsert => passkeys::INSERT,
    PasskeyUse => passkeys::USE,
    PasskeyUpdate => passkeys::UPDATE,
    NoticeInsert => notices::INSERT,
    NoticeCursorBegin => notices::BEGIN_CURSOR,
    FilingInsert => filings::INSERT,
    CallbackInsert => callbacks::INSERT,
    TaskUpdate => tasks::UPDATE,
    ApprovalReplace => approvals::REPLACE,
    RequestUpdate => access_requests::UPDATE,
    GrantUpdate => grants::UPDATE,
    PersonUpdate => people_known::UPDATE,
    LeaseUpdate => leases::UPDATE,
    LeaseDeliver => leases::DELIVER,
    SealedDelete => sealed_deliveries::DELETE,
    KeptDelete => kept_secrets::DELETE,
    SessionSeen => sessions::SEEN,
    SessionDelete => sessions::DELETE,
    DeviceUpdate => device_sign_ins::UPDATE,
    DeviceDelete => device_sign_ins::DELETE,
    NoticeUpdate => notices::UPDATE,
    NoticeCursorMove => notices::MOVE_CURSOR,
    CallbackUpdate => callbacks::UPDATE,
    CallbackDelete => callbacks::DELETE,
    TaskCheck => tasks::CHECK,
    RequestCheck => access_requests::CHECK,
    QuestionCheck => questions::CHECK,
    RequestAlone => access_requests::CHECK_ALONE,
    GrantCheck => grants::CHECK,
    LeaseCheck => leases::CHECK_ALONE,
    LeaseUses => leases::CHECK_USES,
    LeaseNone => leases::CHECK_NONE,
    LineageSet => lineage::SET,
    ControlSet => control::SET,
    AgentSuspend => control::SUSPEND,
    AgentResume => control::RESUME,
    AgentsEpoch => control::BUMP_AGENTS_EPOCH,
    BundleInsert => bundles::INSERT,
    KeyInsert => signing_keys::INSERT,
    KeyUpdate => signing_keys::UPDATE,
    ViewingInsert => viewings::INSERT,
    Probe => probe::WRITE,
    Event => events::INSERT,
}

/// How a list changes what one agent holds and asks.
#[derive(Debug, Clone)]
pub(super) struct UsageChange {
    pub(super) agent: AgentId,
    pub(super) live_leases: i64,
    pub(super) pending_requests: i64,
}

/// How much one agent may hold and ask.
#[derive(Debug, Clone)]
pub(super) struct UsageLimit {
    pub(super) agent: AgentId,
    pub(super) live_leases: i64,
    pub(super) pending_requests: i64,
}

/// What a transaction wants: rows by statement, and what must be true when they are written.
#[derive(Debug)]
pub(super) struct List {
    pub(super) name: &'static str,
    database: Database,
    changes: Vec<(Change, Rows)>,
    pub(super) control: Option<Box<Control>>,
    pub(super) usage: Vec<UsageChange>,
    pub(super) limits: Vec<UsageLimit>,
    pub(super) touched: Touched,
    /// By which to find out whether it was committed.
    pub(super) mark: Option<Mark>,
    /// Whether it must be a group of its own, because it changes what others of its group expect.
    pub(super) alone: bool,
    /// The last of its events, by which it can be found again.
    pub(super) last_event: Option<EventId>,
}

impl List {
    const fn new(name: &'static str, database: Database) -> Self {
        Self {
            name,
            database,
            changes: Vec::new(),
            control: None,
            usage: Vec::new(),
            limits: Vec::new(),
            touched: Touched { tasks: Vec::new(), control: false },
            mark: None,
            alone: false,
            last_event: None,
        }
    }

    /// The rows of one kind of change.
    pub(super) fn rows(&self, change: Change) -> Option<&Rows> {
        self.changes.iter().find(|(kind, _)| *kind == change).map(|(_, rows)| rows)
    }

    /// Whether a text in it cannot be handed to every database.
    pub(super) fn is_unfit(&self) -> bool {
        self.changes.iter().any(|(_, rows)| rows.is_unfit())
    }

    /// How many bytes its rows have.
    pub(super) fn size(&self) -> usize {
        self.changes.iter().map(|(_, rows)| rows.size()).sum()
    }

    /// Add a row.
    pub(super) fn push(&mut self, change: Change, fill: impl FnOnce(&mut Columns<'_>)) {
        if let Some((_, rows)) = self.changes.iter_mut().find(|(kind, _)| *kind == change) {
            rows.row(fill);
            return;
        }
        // Room for what is usual: a row of some 600 bytes, and half a dozen events.
        let mut rows = Rows::with_room(self.database, if change == Change::Event { 6144 } else { 896 });
        rows.row(fill);
        self.changes.push((change, rows));
    }

    /// Note that an agent holds or asks more, or less.
    pub(super) fn count(&mut self, agent: &AgentId, live_leases: i64, pending_requests: i64) {
        if live_leases == 0 && pending_requests == 0 {
            return;
        }
        match self.usage.iter_mut().find(|change| change.agent == *agent) {
            Some(change) => {
                change.live_leases = change.live_leases.saturating_add(live_leases);
                change.pending_requests = change.pending_requests.saturating_add(pending_requests);
            }
            None => self.usage.push(UsageChange { agent: agent.clone(), live_leases, pending_requests }),
        }
    }
}

/// A transaction: a list of changes that becomes durable together with the audit events that explain it, or not at all.
///
/// It is not an open transaction: it reads nothing, and every update is a compare-and-swap. A row may be updated once in a
/// list.
#[must_use = "nothing is written until it is committed"]
pub struct Tx {
    pub(super) list: List,
    queue: Arc<Queue>,
    lane: Lane,
}

impl Tx {
    pub(super) fn new(name: &'static str, queue: Arc<Queue>, lane: Lane) -> Self {
        Self { list: List::new(name, queue.database), queue, lane }
    }

    /// Commit only if the agent then has at most so many live leases (minting or live) and pending access requests. A list
    /// that adds none of a kind is not held to its limit.
    pub fn limit_usage(&mut self, agent: &AgentId, live_leases: u32, pending_requests: u32) {
        let (live_leases, pending_requests) = (i64::from(live_leases), i64::from(pending_requests));
        self.list.limits.push(UsageLimit { agent: agent.clone(), live_leases, pending_requests });
    }

    /// Make the changes durable together with the events that explain them. There is no other commit.
    ///
    /// The list is handed over before this returns: dropping the future only means not to hear the answer.
    ///
    /// # Errors
    /// Every [`StoreError`]. [`StoreError::Unknown`] alone leaves open whether the changes were made.
    pub fn commit(mut self, facts: impl Into<Facts>) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        for event in facts.into().iter() {
            events::push(&mut self.list, event);
            if self.list.mark.as_ref().is_none_or(|mark| mark.task.is_none()) {
                self.list.mark = Some(Mark { event: event.id, task: event.subjects.task });
            }
            self.list.last_event = Some(event.id);
        }
        self.commit_without_facts()
    }

    /// Make changes durable that are not about authority: the probe, and what is forgotten.
    pub(super) fn commit_without_facts(self) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let answer = self.queue.send(self.lane, self.list);
        async move { answer?.wait().await }
    }
}

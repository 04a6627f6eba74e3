//! What is known of authority that should have ended, signed: never "closed" for something that may still work.

use serde::Serialize;

use super::facts::{Record, about_lease};
use super::{Broker, BrokerError, Caller};
use crate::api::{Closure, ClosureWord, LeaseClosure, LeaseView};
use crate::domain::{EndCause, EventKind, Lease, LeaseState, Refusal, TaskState, Timestamp};
use crate::store::LeaseFilter;
use crate::sys::ExposeSecret as _;

/// Leases shown in a closure.
const SHOWN: usize = 500;
/// Leases read in one step.
const PAGE: u32 = 1000;
/// The `typ` of a signed statement (RFC 7515 §4.1.9).
const STATEMENT_TYPE: &str = "hallpass-closure+jwt";
/// The most steps: what is left after these is counted as unknown.
const PAGES: usize = 20;

/// What a statement says, in canonical order.
#[derive(Serialize)]
struct Statement<'a> {
    cause: &'a str,
    closure: ClosureWord,
    iat: i64,
    iss: &'a str,
    leases: Vec<Told<'a>>,
    sub: &'a str,
    total: u64,
}

/// What a statement says of a lease.
#[derive(Serialize)]
struct Told<'a> {
    backend: &'a str,
    closure: LeaseClosure,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_by: Option<Timestamp>,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a str>,
}

impl<'a> From<&'a LeaseView> for Told<'a> {
    fn from(lease: &'a LeaseView) -> Self {
        Self {
            backend: &lease.backend,
            closure: lease.closure.unwrap_or(LeaseClosure::Unknown),
            ends_by: lease.ends_by,
            id: &lease.id,
            proof: lease.proof.as_deref(),
        }
    }
}

impl Broker {
    /// What is known now of a task that has ended.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] for another agent's task, or a person whom policy does not let read, and
    /// while there is no end to know of.
    pub async fn closure_of_task(&self, caller: &Caller, task: &str) -> Result<Closure, BrokerError> {
        let id = task.parse().map_err(|_| BrokerError::NotFound("task"))?;
        let task = self.readable_task(caller, id).await?;
        let TaskState::Closed { cause, .. } = task.state else { return Err(BrokerError::NotFound("closure")) };
        let filter = LeaseFilter { task: Some(task.id), ..LeaseFilter::default() };
        self.closure(task.id.to_string(), cause, &filter).await
    }

    /// What is known now of the leases that a filter names.
    pub(super) async fn closure(
        &self,
        id: String,
        cause: EndCause,
        filter: &LeaseFilter,
    ) -> Result<Closure, BrokerError> {
        self.closure_within(PAGES, id, cause, filter).await
    }

    /// The same, looking at so many pages of leases at most.
    pub(super) async fn closure_within(
        &self,
        pages: usize,
        id: String,
        cause: EndCause,
        filter: &LeaseFilter,
    ) -> Result<Closure, BrokerError> {
        let now = self.clock.now();
        let (mut worst, mut total, mut after) = (Vec::new(), 0_u64, None);
        for _ in 0..pages {
            let page = self.endings.list_leases(filter, after, PAGE).await?;
            total = total.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
            after = page.last().map(|lease| lease.id);
            let full = u32::try_from(page.len()).is_ok_and(|count| count >= PAGE);
            worst.extend(page);
            worst.sort_by_key(|lease| std::cmp::Reverse(doubt(lease, now)));
            worst.truncate(SHOWN);
            if !full {
                return Ok(self.closure_of(id, cause, worst, total));
            }
        }
        // There are more than were looked at.
        Ok(self.closure_at_best(ClosureWord::Unknown, id, cause, worst, total))
    }

    pub(super) fn closure_of(&self, id: String, cause: EndCause, leases: Vec<Lease>, total: u64) -> Closure {
        self.closure_at_best(ClosureWord::Closed, id, cause, leases, total)
    }

    /// What is known of these leases, where nothing better than `best` is known of those that were not looked at.
    fn closure_at_best(
        &self,
        best: ClosureWord,
        id: String,
        cause: EndCause,
        mut leases: Vec<Lease>,
        total: u64,
    ) -> Closure {
        let now = self.clock.now();
        leases.sort_by_key(|lease| std::cmp::Reverse(doubt(lease, now)));
        let worst = leases.first().map_or(ClosureWord::Closed, |worst| match doubt(worst, now) {
            LeaseClosure::Closed => ClosureWord::Closed,
            LeaseClosure::EndsBy => ClosureWord::Partial,
            LeaseClosure::Unknown => ClosureWord::Unknown,
        });
        let view = |lease: &Lease| LeaseView { closure: Some(doubt(lease, now)), ..LeaseView::from(lease) };
        let mut closure = Closure {
            id,
            state: "closed".to_owned(),
            cause: cause.to_string(),
            closure: worst.max(best),
            leases: leases.iter().map(view).collect(),
            total,
            statement: None,
        };
        closure.statement = self.sign_closure(&closure, now);
        closure
    }

    /// The closure as a signed statement; without one while no key may sign, which is no reason not to tell.
    fn sign_closure(&self, closure: &Closure, now: Timestamp) -> Option<String> {
        let statement = serde_json::to_string(&Statement {
            cause: &closure.cause,
            closure: closure.closure,
            iat: now.as_secs(),
            iss: &self.public_url,
            leases: closure.leases.iter().map(Told::from).collect(),
            sub: &closure.id,
            total: closure.total,
        })
        .ok()?;
        // Ours are in the order of how many verifiers know them.
        let key = self.key_algorithms.iter().find_map(|algorithm| self.keyring.signing_key(*algorithm, now))?;
        match key.sign_compact(STATEMENT_TYPE, &statement) {
            Ok(signed) => Some(signed.expose_secret().to_owned()),
            Err(error) => {
                tracing::error!(%error, "a closure could not be signed");
                None
            }
        }
    }
}

/// How little is known about the end of a lease.
pub(super) fn doubt(lease: &Lease, now: Timestamp) -> LeaseClosure {
    match &lease.state {
        LeaseState::Ended { .. } | LeaseState::Ending { disabled_at: Some(_), .. } => LeaseClosure::Closed,
        LeaseState::Ending { ends_by: Some(by), .. } if *by > now => LeaseClosure::EndsBy,
        LeaseState::Ending { .. } | LeaseState::Minting | LeaseState::Live { .. } => LeaseClosure::Unknown,
    }
}

/// Put into a record and a lease that it has ended.
pub(super) fn note_ended(
    lease: Lease,
    proof: String,
    now: Timestamp,
    record: &mut Record<'_>,
) -> Result<Lease, Refusal> {
    let known = [("closure", LeaseClosure::Closed.as_str().into()), ("proof", proof.as_str().into())];
    record.note(EventKind::LeaseEnded, about_lease(&lease), known);
    if !lease.is_disabled() {
        count_closure(&lease, LeaseClosure::Closed, now);
    }
    lease.ended(proof, now)
}

/// Count what is known of an end, when it is first known or tried again; of one that is closed also how long that took.
pub(super) fn count_closure(lease: &Lease, closure: LeaseClosure, now: Timestamp) {
    let backend = lease.backend.to_string();
    if let (LeaseClosure::Closed, LeaseState::Ending { since, .. }) = (closure, &lease.state) {
        #[expect(clippy::cast_precision_loss, reason = "a histogram for people; exact below 2^52")]
        let seconds = now.millis_since(*since).max(0) as f64 / 1000.0;
        metrics::histogram!("hallpass_lease_closed_seconds", "backend" => backend.clone()).record(seconds);
    }
    metrics::counter!("hallpass_lease_closure_total", "backend" => backend, "closure" => closure.as_str()).increment(1);
}

/// The same of one whose backend ends it by a stated time.
pub(super) fn note_ends_by(
    lease: Lease,
    by: Timestamp,
    now: Timestamp,
    record: &mut Record<'_>,
) -> Result<Lease, Refusal> {
    let known = [("closure", LeaseClosure::EndsBy.as_str().into()), ("ends_by", by.to_string().into())];
    record.note(EventKind::LeaseDelayed, about_lease(&lease), known);
    count_closure(&lease, LeaseClosure::EndsBy, now);
    lease.try_again(Some(by), 1000, now)
}

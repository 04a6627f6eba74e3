//! What is known of authority that should have ended: never "closed" for something that may still work.

use super::{Broker, BrokerError};
use crate::api::{Closure, ClosureWord, LeaseView};
use crate::domain::{EndCause, Lease, LeaseState, Timestamp};
use crate::store::LeaseFilter;

/// Leases shown in a closure.
const SHOWN: usize = 500;
/// Leases read in one step.
const PAGE: u32 = 1000;
/// The most steps: what is left after these is counted as unknown.
const PAGES: usize = 20;

impl Broker {
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
        let mut closure = self.closure_of(id, cause, worst, total);
        // There are more than were looked at.
        closure.closure = ClosureWord::Unknown;
        Ok(closure)
    }

    pub(super) fn closure_of(&self, id: String, cause: EndCause, mut leases: Vec<Lease>, total: u64) -> Closure {
        let now = self.clock.now();
        leases.sort_by_key(|lease| std::cmp::Reverse(doubt(lease, now)));
        let closure = leases.first().map_or(ClosureWord::Closed, |worst| doubt(worst, now));
        let leases: Vec<LeaseView> = leases.iter().map(LeaseView::from).collect();
        Closure { id, state: "closed".to_owned(), cause: cause.to_string(), closure, leases, total }
    }
}

/// How little is known about the end of a lease.
fn doubt(lease: &Lease, now: Timestamp) -> ClosureWord {
    match &lease.state {
        LeaseState::Ended { .. } | LeaseState::Ending { disabled_at: Some(_), .. } => ClosureWord::Closed,
        LeaseState::Ending { ends_by: Some(by), .. } if *by > now => ClosureWord::Partial,
        LeaseState::Ending { .. } | LeaseState::Minting | LeaseState::Live { .. } => ClosureWord::Unknown,
    }
}

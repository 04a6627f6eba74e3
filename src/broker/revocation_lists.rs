//! Revocation lists: what verifiers that ask us for no single credential must know has ended. Made from the rows, so that a
//! restart forgets nothing and every replica has the same; looked up again after a second, however many ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::bulkhead::in_time;
use super::end_lease::REVOKE_TIMEOUT;
use super::{Broker, BrokerError, SweepReport};
use crate::domain::{Name, Timestamp};
use crate::minter::{CredentialRef, Minter, Minters, Over, RevocationList};
use crate::store::OverRow;
use crate::sys::sha256;

/// For how long a list is answered without another look at the rows.
const LOOK_AGAIN_MILLIS: i64 = 1_000;
/// For how long its bytes stay the same when nothing else changes; then it is made anew, to show that somebody makes it.
const MAKE_ANEW_MILLIS: i64 = 60_000;
/// For how long a credential stays on it after its native end, for verifiers whose clocks are behind.
const SLOW_CLOCKS_MILLIS: i64 = 300_000;
/// Rows read at once.
const PAGE: u32 = 1_000;

/// A revocation list as it is published.
#[derive(Debug)]
pub struct PublishedList {
    /// The list.
    pub list: RevocationList,
    /// Names its bytes: their SHA-256.
    pub tag: String,
    over: Vec<OverRow>,
    made_at: Timestamp,
}

impl PublishedList {
    /// A list that is made anew for each look at the rows.
    pub(super) fn new(list: RevocationList, now: Timestamp) -> Self {
        Self { tag: sha256(&list.bytes).to_string(), list, over: Vec::new(), made_at: now }
    }

    fn over(&self) -> Vec<Over<'_>> {
        as_over(&self.over)
    }
}

fn as_ref(row: &OverRow) -> CredentialRef<'_> {
    CredentialRef { handle: &row.handle, native_end: row.native_end, kept: None, ending_since: None }
}

pub(super) fn refs(over: &[OverRow]) -> Vec<CredentialRef<'_>> {
    over.iter().map(as_ref).collect()
}

fn as_over(over: &[OverRow]) -> Vec<Over<'_>> {
    over.iter().map(|row| Over { credential: as_ref(row), since: row.since, cause: row.cause }).collect()
}

/// A list, and when the rows were looked at.
type Kept = Option<(Timestamp, Arc<PublishedList>)>;

/// The lists of the backends that have one. Each has a lock of its own, held over a look at the rows, so that many who ask at
/// once cause one.
pub(super) struct Lists(BTreeMap<Name, Mutex<Kept>>);

impl Lists {
    pub(super) fn new(minters: &Minters, now: Timestamp) -> Self {
        let have = minters.iter().filter(|(_, minter)| minter.revocation_list(&[], now).is_some());
        Self(have.map(|(name, _)| (name.clone(), Mutex::default())).collect())
    }
}

impl Broker {
    /// The revocation list of a backend, at most a second old.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] where there is no such backend or it has none; [`BrokerError::Restored`] while rows that were
    /// lost may miss in it; or what the store says.
    pub async fn revocation_list(&self, backend: &str) -> Result<Arc<PublishedList>, BrokerError> {
        let missing = || BrokerError::NotFound("revocation list");
        let name: Name = backend.parse().map_err(|_| missing())?;
        let kept = self.lists.0.get(&name).ok_or_else(missing)?;
        let minter = self.minters.find(&name).ok_or_else(missing)?;
        self.out_of_quarantine()?;
        let mut kept = kept.lock().await;
        let now = self.clock.now();
        let younger = |since: Timestamp, millis| (0..millis).contains(&now.millis_since(since));
        if let Some((looked_at, list)) = &*kept
            && younger(*looked_at, LOOK_AGAIN_MILLIS)
        {
            return Ok(Arc::clone(list));
        }
        let over = self.rows_over(&name, now).await?;
        let list = match &*kept {
            Some((_, list)) if list.over == over && younger(list.made_at, MAKE_ANEW_MILLIS) => Arc::clone(list),
            Some(_) | None => {
                let list = minter.revocation_list(&as_over(&over), now).ok_or_else(missing)?;
                Arc::new(PublishedList { over, ..PublishedList::new(list, now) })
            }
        };
        *kept = Some((now, Arc::clone(&list)));
        Ok(list)
    }

    pub(super) async fn rows_over(&self, backend: &Name, now: Timestamp) -> Result<Vec<OverRow>, BrokerError> {
        let mut over = Vec::new();
        let mut after = (now.plus_millis(-SLOW_CLOCKS_MILLIS), None);
        loop {
            let page = self.endings.list_ended_before_native_end(backend, after, PAGE).await?;
            let more = u32::try_from(page.len()).is_ok_and(|rows| rows >= PAGE);
            if let Some(last) = page.last() {
                after = (last.native_end, Some(last.lease));
            }
            over.extend(page);
            if !more {
                return Ok(over);
            }
        }
    }

    /// Have every list put where verifiers find it; one that cannot be holds up no other.
    ///
    /// # Errors
    /// The first that could not be.
    pub async fn publish_revocation_lists(&self) -> Result<SweepReport, BrokerError> {
        // What was lost with a database would be missing; the lists that are out stay as they are.
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let mut done = Ok(SweepReport::default());
        for name in self.lists.0.keys() {
            if let (Some(minter), Err(error)) = (self.minters.find(name), self.publish(name).await) {
                metrics::counter!("hallpass_revocation_list_failed_total", "backend" => name.to_string()).increment(1);
                tracing::error!(backend = %name, kind = minter.kind(), %error, "a revocation list could not be published");
                done = done.and(Err(error));
            }
        }
        done
    }

    async fn publish(&self, backend: &Name) -> Result<(), BrokerError> {
        let published = self.revocation_list(backend.as_str()).await?;
        let minter: &Arc<dyn Minter> = self.minters.find(backend).ok_or(BrokerError::NotFound("backend"))?;
        let now = self.clock.now();
        Ok(in_time(REVOKE_TIMEOUT, minter.publish(&published.over(), &published.list, now)).await?)
    }
}

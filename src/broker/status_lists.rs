//! Token Status Lists: what those who check our tokens' signatures alone fetch to learn which have ended. Made from the rows, as
//! revocation lists are, each when it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Broker, BrokerError, PublishedList};
use crate::domain::{Name, Timestamp};
use crate::minter::{Minters, StatusPlace};
use crate::store::OverRow;

/// For how long the rows are not looked at again, however many ask.
const LOOK_AGAIN_MILLIS: i64 = 1_000;

/// What was read of a backend's rows, and the lists that were made of it.
#[derive(Default)]
struct Kept {
    looked_at: Option<Timestamp>,
    over: Vec<OverRow>,
    made: BTreeMap<String, Arc<PublishedList>>,
}

/// The lists of the backends that have some. Each backend has a lock of its own, held over a look at the rows, so that many who
/// ask at once cause one.
pub(super) struct StatusLists(BTreeMap<Name, Mutex<Kept>>);

impl StatusLists {
    pub(super) fn new(minters: &Minters) -> Self {
        let have = minters.iter().filter(|(_, minter)| minter.has_status_lists());
        Self(have.map(|(name, _)| (name.clone(), Mutex::default())).collect())
    }
}

impl Broker {
    /// A Token Status List of a backend, made from rows that were looked at a second ago at most.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] where there is no such backend or it has none; [`BrokerError::Restored`] while rows that were
    /// lost may miss in it; or what the minter or the store says.
    pub async fn status_list(&self, backend: &str, list: &str) -> Result<Arc<PublishedList>, BrokerError> {
        let missing = || BrokerError::NotFound("status list");
        let name: Name = backend.parse().map_err(|_| missing())?;
        let kept = self.status_lists.0.get(&name).ok_or_else(missing)?;
        let minter = self.minters.find(&name).ok_or_else(missing)?;
        if !StatusPlace::is_list(list) {
            return Err(missing());
        }
        self.out_of_quarantine()?;
        let mut kept = kept.lock().await;
        let now = self.clock.now();
        let fresh = |at: Timestamp| (0..LOOK_AGAIN_MILLIS).contains(&now.millis_since(at));
        if !kept.looked_at.is_some_and(fresh) {
            *kept = Kept { looked_at: Some(now), over: self.rows_over(&name, now).await?, made: BTreeMap::new() };
        }
        if let Some(made) = kept.made.get(list) {
            return Ok(Arc::clone(made));
        }
        // It says what the rows said then, and expires by that.
        let now = kept.looked_at.unwrap_or(now);
        let made = Arc::new(PublishedList::new(
            minter.status_list(list, &super::revocation_lists::refs(&kept.over), now)?,
            now,
        ));
        kept.made.insert(list.to_owned(), Arc::clone(&made));
        Ok(made)
    }
}

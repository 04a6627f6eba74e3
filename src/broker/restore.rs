//! The quarantine. A database that was restored, copied or put back names as live what may have been revoked since, and what
//! may be another deployment's to end; so an epoch begins in which nothing is issued and nothing is ended, on any replica.

use super::facts::Record;
use super::{Broker, BrokerError};
use crate::domain::{Actor, EventKind, Subjects, Timestamp};
use crate::identity::VerifiedIdentity;
use crate::store::{Control, History, Lineage, StoreError};

/// The longest that a token without `iat` is taken to live, in milliseconds.
const LONGEST_TOKEN_MILLIS: i64 = 86_400_000;

impl Broker {
    /// Why nothing may be issued and nothing ended, if so.
    pub(super) fn quarantine(&self) -> Option<String> {
        let standing = self.standing.load();
        let moved = |deployment: &String| {
            format!(
                "the database is of deployment {deployment} by now, and this process of {}: restart it",
                self.deployment
            )
        };
        standing.control.quarantine.clone().or_else(|| standing.deployment.as_ref().map(moved))
    }

    /// Go on only if the store is not in quarantine.
    ///
    /// # Errors
    /// [`BrokerError::Restored`].
    pub(super) fn out_of_quarantine(&self) -> Result<(), BrokerError> {
        self.quarantine().map_or(Ok(()), |_| Err(BrokerError::Restored))
    }

    /// Whether a single-use token may have been used before, though its mark was lost with what came after the backup.
    pub(super) fn may_have_been_used(&self, identity: &VerifiedIdentity, now: Timestamp) -> bool {
        let from = self.standing.load().control.tokens_from_millis;
        match identity.issued_at() {
            Some(issued) => issued.as_millis() < from,
            None => from > 0 && now.as_millis() < from.saturating_add(LONGEST_TOKEN_MILLIS),
        }
    }

    /// Look whether the database still has the history that was relied on, and begin an epoch when it has not. The
    /// deployment it is of.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn look_at_history(&self) -> Result<String, BrokerError> {
        for _ in 0..super::open_task::MAX_TRIES {
            let (lineage, history) = self.store.look_at_history().await?;
            let (place, why) = match history {
                History::Whole => return Ok(lineage.deployment),
                History::Promoted { place } => (place, None),
                History::Broken { place, why } => (place, Some(why)),
            };
            match self.begin_epoch(&lineage, place, why).await {
                Ok(_) => return Ok(lineage.deployment),
                // Another replica was faster.
                Err(BrokerError::Store(StoreError::Conflict { .. } | StoreError::ControlChanged(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Err(BrokerError::Changed)
    }

    /// Begin an epoch: in quarantine with a reason, without one when nothing is missing. What it begins with.
    pub(super) async fn begin_epoch(
        &self,
        lineage: &Lineage,
        place: String,
        why: Option<String>,
    ) -> Result<Control, BrokerError> {
        let before = self.store.control().await?;
        let restore_epoch = before.restore_epoch.saturating_add(1);
        let quarantine = why.clone().or_else(|| before.quarantine.clone());
        let after = Control { restore_epoch, quarantine, ..before.clone() };
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Broker);
        let outcome = if after.quarantine.is_some() { "quarantine" } else { "goes on: all that was answered is there" };
        record.note(
            EventKind::StoreRestored,
            Subjects::default(),
            [
                ("epoch", restore_epoch.into()),
                ("outcome", outcome.into()),
                ("place", place.as_str().into()),
                ("previous", lineage.place.as_str().into()),
                ("why", why.clone().unwrap_or_else(|| "a standby was promoted".to_owned()).into()),
            ],
        );
        let mut tx = self.store.begin("store.restored");
        tx.set_lineage(lineage, &Lineage { place, ..lineage.clone() });
        tx.set_control(&before, &after);
        record.commit(tx).await?;
        self.store.accept_history().await?;
        if let Some(why) = why {
            let what = "nothing is issued and nothing is ended until `hallpass reconcile`";
            tracing::error!(epoch = restore_epoch, why, "the database was restored or copied: {what}");
        } else {
            tracing::warn!(epoch = restore_epoch, "a standby was promoted; nothing is missing");
        }
        Ok(after)
    }
}

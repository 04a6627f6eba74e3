//! What the committer does between two groups, on the same connection: statements that are transactions of their own.

use tokio::time::error::Elapsed;

use super::committer::{Committer, GROUP_PATIENCE};
use super::{
    Claim, StoreError, callbacks, claims, device_sign_ins, idempotency, kept_secrets, notices, passkeys,
    sealed_deliveries, sessions, tokens_seen, unavailable, viewings,
};
use crate::domain::{Lease, Name, Timestamp};

/// How many rows are forgotten at once, and how often in one go.
const FORGET_ROWS: i64 = 5_000;
const FORGET_ROUNDS: usize = 20;

impl Committer {
    /// Take due leases.
    pub(super) async fn claim(&mut self, claim: &Claim) -> Result<Vec<Lease>, StoreError> {
        let database = self.target.database();
        let connection = self.accepted_connection().await?;
        let claimed = tokio::time::timeout(GROUP_PATIENCE, claims::claim(connection, database, claim)).await;
        self.settle(claimed).await
    }

    /// Let what could not be ended be due now.
    pub(super) async fn hasten(&mut self, backend: &Name, now: Timestamp) -> Result<u64, StoreError> {
        let database = self.target.database();
        let connection = self.accepted_connection().await?;
        let hastened = tokio::time::timeout(GROUP_PATIENCE, claims::hasten(connection, database, backend, now)).await;
        self.settle(hastened).await
    }

    /// A statement between groups that fails or is not answered costs its connection, as a group does.
    async fn settle<T>(&mut self, outcome: Result<Result<T, StoreError>, Elapsed>) -> Result<T, StoreError> {
        let outcome = outcome.unwrap_or_else(|_| {
            Err(StoreError::Unknown(format!("the database did not answer within {} s", GROUP_PATIENCE.as_secs())))
        });
        if outcome.is_err() {
            self.drop_connection().await;
        }
        outcome
    }

    /// Forget what is past its time, a bounded number of rows.
    pub(super) async fn forget(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let connection = self.accepted_connection().await?;
        let mut forgotten = 0_u64;
        let forgetful = [
            tokens_seen::FORGET,
            idempotency::FORGET,
            sealed_deliveries::FORGET,
            kept_secrets::FORGET,
            sessions::FORGET,
            device_sign_ins::FORGET,
            viewings::FORGET,
            passkeys::FORGET,
            notices::FORGET,
            callbacks::FORGET,
        ];
        for sql in forgetful {
            for _ in 0..FORGET_ROUNDS {
                let query = sqlx::query(sql).bind(now.as_millis()).bind(FORGET_ROWS);
                let rows = query.execute(&mut *connection).await.map_err(unavailable)?.rows_affected();
                forgotten = forgotten.saturating_add(rows);
                if i64::try_from(rows).is_ok_and(|rows| rows < FORGET_ROWS) {
                    break;
                }
            }
        }
        Ok(forgotten)
    }
}

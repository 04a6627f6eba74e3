//! What other replicas say: each hint wakes whoever waits for it here. Whoever waits looks by itself too, so a hint that never
//! comes costs a second or two.

use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::store::Hints;

/// Heed hints until it is time to stop.
pub async fn heed(broker: Broker, mut hints: Hints, stopping: CancellationToken) {
    while let Some(hint) = stopping.run_until_cancelled(Box::pin(hints.next_hint())).await {
        if let Err(error) = broker.heed(&hint).await {
            tracing::warn!(%error, "what another replica said could not be looked up; the next sweep does it");
        }
    }
}

//! The list of chores. Each is one use case of the broker under a name.

use std::sync::Arc;

use async_trait::async_trait;

use super::Sweep;
use crate::broker::{Broker, BrokerError, SweepReport};
use crate::domain::Name;

macro_rules! chores {
    ($($(#[$meta:meta])* $name:ident, $word:literal, $broker:ident => $work:expr;)+) => { $(
        $(#[$meta])*
        struct $name(Broker);

        #[async_trait]
        impl Sweep for $name {
            fn name(&self) -> &'static str {
                $word
            }

            async fn run_once(&self) -> Result<SweepReport, BrokerError> {
                let $broker = &self.0;
                $work
            }
        }
    )+ };
}

chores! {
    /// Closes tasks whose time is up or whose heartbeat stopped.
    EndTasks, "end_tasks", broker => broker.sweep_tasks().await;
    /// Shows how badly ending goes.
    Measure, "measure_endings", broker => broker.measure_endings().await;
    /// Looks through the backends for what nobody answers for.
    EndOrphans, "end_orphans", broker => broker.sweep_orphans().await;
    /// Lets requests lapse.
    Lapse, "lapse", broker => broker.sweep_requests().await;
    /// Tells those whose filings are settled.
    CallBack, "call_back", broker => broker.sweep_callbacks().await;
    /// Ends everything while the kill switch is thrown.
    EndKilled, "end_killed", broker => broker.sweep_killed().await;
    /// Ends what suspended agents still hold.
    EndSuspended, "end_suspended", broker => broker.sweep_suspended().await;
    /// Ends what a new policy bundle does not permit.
    RecheckPolicy, "recheck_policy", broker => broker.sweep_policy().await;
    /// Ends what lived on the yes of people who have left their groups.
    RecheckPeople, "recheck_people", broker => broker.sweep_people().await;
    /// Publishes what has ended before its time, for verifiers that ask us for no single credential.
    PublishLists, "publish_lists", broker => broker.publish_revocation_lists().await;
    /// Looks at the control row, which another process may have changed.
    LookAgain, "look_again", broker => broker.look_again().await.map(|()| SweepReport::default());
    /// Makes, publishes and retires signing keys.
    RotateKeys, "rotate_keys", broker => broker.rotate_keys().await.map(|()| SweepReport::default());
    /// Refreshes the keys of issuers before they are too old.
    RefreshIssuers, "refresh_issuers", broker => {
        broker.verifiers().refresh(broker.now()).await;
        Ok(SweepReport::default())
    };
    /// Says of reviews that are overdue that they are.
    LookBack, "overdue_reviews", broker => broker.sweep_reviews().await;
    /// Works out who is to be told of what has happened.
    NoteNotices, "note_notices", broker => broker.sweep_notices().await;
    /// Forgets what nobody can use any more.
    Forget, "forget", broker => broker.sweep_memory().await;
}

/// Sends what is due of one channel.
struct SendNotices(Broker, Name);

#[async_trait]
impl Sweep for SendNotices {
    fn name(&self) -> &'static str {
        "send_notices"
    }

    async fn run_once(&self) -> Result<SweepReport, BrokerError> {
        self.0.send_notices(&self.1).await
    }
}

/// What tells people: none where nobody is to be told. Each channel is sent to on its own, so that one that hangs holds up no other.
pub(super) fn notices(broker: &Broker) -> Vec<Arc<dyn Sweep>> {
    let channels = broker.channels();
    if channels.is_empty() {
        return Vec::new();
    }
    let mut chores: Vec<Arc<dyn Sweep>> = vec![Arc::new(NoteNotices(broker.clone()))];
    chores.extend(channels.into_iter().map(|name| Arc::new(SendNotices(broker.clone(), name)) as Arc<dyn Sweep>));
    chores
}

/// What looks from the backends to the rows.
pub(super) fn reconciliation(broker: &Broker) -> Vec<Arc<dyn Sweep>> {
    vec![Arc::new(EndOrphans(broker.clone()))]
}

/// What must happen soon after it is due; leases are ended in their [lanes](super::lanes).
pub(super) fn urgent(broker: &Broker) -> Vec<Arc<dyn Sweep>> {
    vec![
        Arc::new(LookAgain(broker.clone())),
        Arc::new(EndKilled(broker.clone())),
        Arc::new(EndTasks(broker.clone())),
        Arc::new(Lapse(broker.clone())),
        Arc::new(CallBack(broker.clone())),
        Arc::new(RecheckPolicy(broker.clone())),
        Arc::new(RecheckPeople(broker.clone())),
        Arc::new(EndSuspended(broker.clone())),
        Arc::new(PublishLists(broker.clone())),
    ]
}

/// What has time.
pub(super) fn upkeep(broker: &Broker) -> Vec<Arc<dyn Sweep>> {
    vec![
        Arc::new(Measure(broker.clone())),
        Arc::new(RotateKeys(broker.clone())),
        Arc::new(RefreshIssuers(broker.clone())),
        Arc::new(LookBack(broker.clone())),
        Arc::new(Forget(broker.clone())),
    ]
}

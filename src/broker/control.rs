//! What stands at this moment: the control row as last seen, the policy bundle that goes with it, and the agents that are
//! suspended. A commit that mints names what it saw; the store refuses it if anything has changed, and we look again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::facts::Record;
use super::idempotency::Once;
use super::{Broker, BrokerError, OperatorCaller};
use crate::domain::{Actor, Agent, AgentId, Digest, EventKind, Subjects};
use crate::policy::Bundle;
use crate::store::{Control, Store, StoreError};

/// Who looks at the control row.
#[derive(Debug, Default)]
pub(super) struct Looks {
    turn: tokio::sync::Mutex<()>,
    /// How many looks have begun, and which was the last that saw everything.
    begun: AtomicU64,
    last_good: AtomicU64,
}

/// What stands, as this process last saw it.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub control: Control,
    /// Suspended agents, with the reason.
    pub suspended: BTreeMap<AgentId, String>,
    /// The deployment the store is of by now, if it is not the one this broker was built for.
    pub deployment: Option<String>,
}

impl Broker {
    /// The bundle in force and the control row that names it.
    ///
    /// # Errors
    /// [`BrokerError::KillSwitch`] while the kill switch is thrown, [`BrokerError::ClockUnsure`] while the time is in doubt,
    /// [`BrokerError::Restored`] while the store is in quarantine: everybody who mints asks here first.
    pub(super) fn standing(&self) -> Result<(Arc<Bundle>, Control), BrokerError> {
        let standing = self.standing.load();
        if standing.control.killed {
            return Err(BrokerError::KillSwitch);
        }
        if let Some(trouble) = self.clock.trouble() {
            return Err(BrokerError::ClockUnsure(trouble));
        }
        self.out_of_quarantine()?;
        Ok((self.policy.current(), standing.control.clone()))
    }

    /// The agent as the bundle has it.
    ///
    /// # Errors
    /// [`BrokerError::AgentSuspended`], or [`BrokerError::IdentityRefused`] when the bundle has it no more.
    pub(super) fn standing_agent<'b>(&self, bundle: &'b Bundle, agent: &AgentId) -> Result<&'b Agent, BrokerError> {
        if self.standing.load().suspended.contains_key(agent) {
            return Err(BrokerError::AgentSuspended { agent: agent.to_string() });
        }
        bundle.agent(agent).ok_or(BrokerError::IdentityRefused)
    }

    /// Whether an agent is suspended.
    pub(super) fn is_suspended(&self, agent: &AgentId) -> bool {
        self.standing.load().suspended.contains_key(agent)
    }

    /// Read the control row and what hangs on it again: suspended agents, and the bundle if another replica changed it. When
    /// many want to know at once, because the row changed under all of them, one looks for all.
    ///
    /// # Errors
    /// When the store does not answer, or the bundle it names is not in it.
    pub async fn look_again(&self) -> Result<(), BrokerError> {
        let asked = self.looks.begun.load(Ordering::Acquire);
        let _turn = self.looks.turn.lock().await;
        // Somebody looked from beginning to end since we asked, and saw what we would see.
        if self.looks.last_good.load(Ordering::Acquire) > asked {
            return Ok(());
        }
        let look = self.looks.begun.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        self.look().await?;
        self.looks.last_good.store(look, Ordering::Release);
        Ok(())
    }

    async fn look(&self) -> Result<(), BrokerError> {
        let deployment = self.look_at_history().await?;
        let deployment = Some(deployment).filter(|deployment| *deployment != self.deployment);
        let control = self.endings.control().await?;
        if let Some(digest) = control.bundle.filter(|digest| *digest != self.policy.current().digest()) {
            let stored = self.endings.find_bundle(digest).await?;
            let stored = stored.ok_or_else(|| BrokerError::Internal(format!("bundle {digest} is not in the store")))?;
            let files = serde_json::from_str(&stored.files_json)
                .map_err(|error| BrokerError::Internal(format!("bundle {digest}: {error}")))?;
            let bundle = Bundle::from_files(files).map_err(|error| BrokerError::Internal(error.to_string()))?;
            self.policy.swap(bundle);
        }
        let suspended = self.endings.list_suspended().await?;
        let suspended = suspended.into_iter().map(|row| (row.agent, row.reason)).collect();
        self.standing.store(Arc::new(Standing { control, suspended, deployment }));
        Ok(())
    }

    /// A commit has shown that the kill switch is thrown: nobody need look to refuse. Nothing is minted on a control row with
    /// the switch thrown, so what else has changed in it may wait for a look.
    fn note_killed(&self, control: &Control) {
        self.standing.rcu(|known| {
            if known.control.kill_epoch < control.kill_epoch {
                Arc::new(Standing { control: control.clone(), ..Standing::clone(known) })
            } else {
                Arc::clone(known)
            }
        });
    }

    /// The outcome of a commit, read back if nobody knows it: by a row that it inserts under an id nobody else can use. A row
    /// that is there proves that all of it was written. One that is not there proves nothing, for the commit may land yet; so
    /// the outcome stays unknown, nothing is done that rests on it, and nothing has left this process. Should it land, its rows
    /// are found like those of any process that died: an intent past its deadline and a lease that was never delivered are the
    /// sweep's, and a repeated question finds its idempotency key. (`mint_outside.rs` must know more, and asks more.)
    pub(super) async fn read_back(
        &self,
        committed: Result<(), StoreError>,
        is_there: impl AsyncFnOnce(&Store) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let Err(StoreError::Unknown(why)) = committed else { return committed };
        tracing::warn!(why, "the outcome of a commit is unknown; reading it back");
        match is_there(&self.store).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(StoreError::Unknown(why)),
        }
    }

    /// Translate a refused commit; when the control row has changed, look again first, so that the caller can start over.
    pub(super) async fn settle_store_error(&self, error: StoreError) -> BrokerError {
        match error {
            StoreError::ControlChanged(control) if control.killed => {
                self.note_killed(&control);
                BrokerError::KillSwitch
            }
            StoreError::ControlChanged(control) => match self.look_again().await {
                Ok(()) if control.quarantine.is_some() => BrokerError::Restored,
                Ok(()) => BrokerError::Changed,
                Err(error) => error,
            },
            StoreError::Conflict { table: table @ ("idempotency" | "token_seen") } => {
                BrokerError::Store(StoreError::Conflict { table })
            }
            StoreError::Conflict { .. } => BrokerError::Changed,
            other @ (StoreError::Unavailable(_)
            | StoreError::Unknown(_)
            | StoreError::LimitReached(_)
            | StoreError::Corrupt(_)) => BrokerError::Store(other),
        }
    }

    /// The same for a commit that counts against an agent's limits.
    pub(super) async fn settle_store_error_for(&self, error: StoreError, agent: &Agent) -> BrokerError {
        match error {
            StoreError::LimitReached("pending_requests") => BrokerError::TooManyPending(agent.limits.pending_requests),
            StoreError::LimitReached(_) => BrokerError::TooManyLeases(agent.limits.live_leases),
            other @ (StoreError::Unavailable(_)
            | StoreError::Unknown(_)
            | StoreError::Conflict { .. }
            | StoreError::ControlChanged(_)
            | StoreError::Corrupt(_)) => self.settle_store_error(other).await,
        }
    }

    /// Put a bundle into force: keep its text, name it in the control row, then swap it in. The same bundle again is no change.
    ///
    /// # Errors
    /// When the store does not take it; the old bundle stays in force.
    pub async fn activate_bundle(&self, bundle: Bundle, actor: Actor) -> Result<Digest, BrokerError> {
        let digest = bundle.digest();
        if !self.record_bundle(&bundle, actor).await? && self.policy.current().digest() == digest {
            return Ok(digest);
        }
        self.policy.swap(bundle);
        self.look_again().await?;
        tracing::info!(policy.bundle = %digest, "policy bundle in force");
        self.wake_sweeps();
        Ok(digest)
    }

    /// At start: the bundle the engine was built with is the one in force.
    pub(super) async fn put_first_bundle_into_force(&self, bundle: &Bundle) -> Result<(), BrokerError> {
        for _ in 1..super::open_task::MAX_TRIES {
            match self.record_bundle(bundle, Actor::Broker).await {
                // Another replica starts at the same moment.
                Err(BrokerError::Changed) => {}
                done => return done.map(|_| ()),
            }
        }
        self.record_bundle(bundle, Actor::Broker).await.map(|_| ())
    }

    /// Keep a bundle's text and name it in the control row; `false` when it is named there already.
    async fn record_bundle(&self, bundle: &Bundle, actor: Actor) -> Result<bool, BrokerError> {
        let digest = bundle.digest();
        let before = self.store.control().await?;
        if before.bundle == Some(digest) {
            return Ok(false);
        }
        let files = serde_json::to_string(bundle.files()).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let now = self.clock.now();
        let mut tx = self.store.begin("policy.activate");
        tx.insert_bundle(digest, &files, now);
        tx.set_control(&before, &Control { bundle: Some(digest), ..before.clone() });
        let mut record = Record::new(&self.ids, now, actor);
        let previous = before.bundle.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
        record.note(
            EventKind::PolicyChanged,
            Subjects::default(),
            [("bundle", digest.to_string().into()), ("previous", previous.into())],
        );
        match record.commit(tx).await {
            Ok(()) => Ok(true),
            Err(error) => Err(self.settle_store_error(error).await),
        }
    }

    /// Record that a bundle was refused; the old one stays in force.
    ///
    /// # Errors
    /// What the store says.
    pub async fn reject_bundle(&self, why: &str, actor: Actor) -> Result<(), BrokerError> {
        let mut record = Record::new(&self.ids, self.clock.now(), actor);
        let in_force = self.policy.current().digest();
        record.note(
            EventKind::PolicyChangeRejected,
            Subjects::default(),
            [("in_force", in_force.to_string().into()), ("why", why.chars().take(2000).collect::<String>().into())],
        );
        metrics::counter!("hallpass_policy_rejected_total").increment(1);
        tracing::error!(policy.bundle = %in_force, why, "a policy bundle was refused; the one in force stays");
        Ok(record.commit(self.store.begin("policy.reject")).await?)
    }

    /// Throw or release the kill switch. From the commit on nothing is minted, on any replica, until it is released.
    pub(super) async fn set_kill_switch(
        &self,
        caller: &OperatorCaller,
        killed: bool,
        reason: &str,
        once: &Once,
    ) -> Result<(), BrokerError> {
        for _ in 0..super::open_task::MAX_TRIES {
            let before = self.endings.control().await?;
            let after = Control { killed, kill_epoch: before.kill_epoch.saturating_add(1), ..before.clone() };
            let kind = if killed { EventKind::KillSwitchEngaged } else { EventKind::KillSwitchReleased };
            let mut record = Record::new(&self.ids, self.clock.now(), Actor::Operator(caller.operator.person.clone()));
            record.note(kind, Subjects::default(), [("reason", reason.into()), ("epoch", after.kill_epoch.into())]);
            let mut tx = self.endings.begin("kill_switch");
            tx.set_control(&before, &after);
            once.record(&mut tx, || "kill_switch".to_owned(), self.clock.now());
            crate::sys::killpoint!(KillSwitchBeforeCommit);
            match record.commit(tx).await {
                Ok(()) => {
                    crate::sys::killpoint!(KillSwitchAfterCommit);
                    if killed {
                        self.note_killed(&after);
                    } else {
                        self.look_again().await?;
                    }
                    self.wake_sweeps();
                    return Ok(());
                }
                Err(StoreError::Conflict { table: "control" } | StoreError::ControlChanged(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Changed)
    }
}

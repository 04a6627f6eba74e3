//! The mint that needs an outside call: act, then the fact, then let it work, look again, and only then hand it over. It runs in
//! a task of its own that owns everything it does; whoever asked only waits, and may go away.

use std::sync::Arc;
use std::time::Duration;

use super::bulkhead::{MintPermit, in_time};
use super::closure::note_ended;
use super::end_lease::{Revocation, Telling};
use super::facts::{Record, about_lease};
use super::kept::nothing_made;
use super::mint::{Begun, Ready, note_minted};
use super::open_task::{MAX_TRIES, note_decision};
use super::permit_again::{Again, Permitted};
use super::sealed::Sealed;
use super::{Broker, BrokerError};
use crate::domain::{
    Actor, EndCause, EventKind, Grant, Lease, MAX_IN_FLIGHT_MILLIS, MintPlan, Task, Timestamp, Unpermitted,
};
use crate::minter::{CredentialRef, Minted, Minter};
use crate::store::{Control, StoreError, Tx};
use crate::sys::{DeliveryKey, SecretString};

/// How long letting it work, or ending it again, may take: what is given up then lands before a second look, or never.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(MAX_IN_FLIGHT_MILLIS as u64);

/// What a mint rests on, as it stood when its intent was committed.
#[derive(Clone)]
pub(super) struct Ground {
    pub task: Task,
    /// The control row that the intent was committed under.
    pub seen: Control,
    /// When the presented identity token stops being accepted.
    pub fresh_until: Timestamp,
    /// The key to seal the credential to.
    pub seal_to: Option<DeliveryKey>,
}

/// One mint under way.
struct Minting {
    lease: Lease,
    plan: MintPlan,
    minter: Arc<dyn Minter>,
    permit: MintPermit,
    grant: Grant,
    ground: Ground,
}

impl Broker {
    /// After the intents are durable: mint what is not minted yet, all at once, and return what may be handed over. Of those
    /// that failed the last error says why.
    pub(super) async fn finish_mints(
        &self,
        begun: Vec<(Grant, Begun)>,
        ground: &Ground,
    ) -> (Vec<Ready>, Option<BrokerError>) {
        crate::sys::killpoint!(MintAfterIntent);
        let mints = begun.into_iter().map(|(grant, begun)| self.finish_mint(begun, grant, ground));
        let (mut ready, mut failed) = (Vec::new(), None);
        for minted in futures_util::future::join_all(mints).await {
            match minted {
                Ok(one) => ready.push(one),
                Err(error) => failed = Some(error),
            }
        }
        (ready, failed)
    }

    async fn finish_mint(&self, begun: Begun, grant: Grant, ground: &Ground) -> Result<Ready, BrokerError> {
        let (lease, plan, minter, permit) = match begun {
            Begun::Done(ready) => return Ok(*ready),
            Begun::Intended { lease, plan, minter, permit } => (*lease, *plan, minter, permit),
        };
        let intent = lease.clone();
        let (broker, ground) = (self.clone(), ground.clone());
        let work =
            tokio::spawn(
                async move { broker.mint_outside(Minting { lease, plan, minter, permit, grant, ground }).await },
            );
        match work.await {
            Ok(done) => done,
            // How far it came is not known, so nothing is delivered, and whatever there is is ended through its row.
            Err(panicked) => {
                self.mint_failed(&intent, "the mint broke off", None).await;
                Err(BrokerError::Internal(panicked.to_string()))
            }
        }
    }

    async fn mint_outside(&self, minting: Minting) -> Result<Ready, BrokerError> {
        crate::sys::killpoint!(MintBeforeExternal);
        let asked = minting.permit.run(minting.minter.mint(&minting.plan)).await;
        crate::sys::killpoint!(MintAfterExternal);
        let minted = match asked {
            Ok(minted) => minted,
            Err(error) => {
                let nothing = nothing_made(&*minting.minter, &error);
                self.mint_failed(&minting.lease, &error.to_string(), nothing).await;
                return Err(error.into());
            }
        };
        let (live, sealed) = match self.record_fact(&minting, &minted).await {
            Ok(recorded) => recorded,
            Err(error) => {
                let gone = self.undo(&minting.lease, minted, &*minting.minter).await;
                self.mint_failed(&minting.lease, "the fact could not be recorded", gone).await;
                return Err(error);
            }
        };
        crate::sys::killpoint!(MintAfterFact);
        self.let_work(&live, minted.kept.as_ref(), &*minting.minter).await?;
        Ok(Ready { lease: live, minted, minter: minting.minter, sealed })
    }

    /// The fact holds only if what the intent rested on still holds, compared and committed in one: kill switch, policy, agent,
    /// approvals, identity, time, task, grant, and that the lease is still ours to mint.
    async fn record_fact(&self, minting: &Minting, minted: &Minted) -> Result<(Lease, Option<Sealed>), BrokerError> {
        let Minting { lease, minter, grant, ground, .. } = minting;
        let mut seen = ground.seen.clone();
        for _ in 0..MAX_TRIES {
            let now = self.clock.now();
            if now >= ground.fresh_until {
                return Err(BrokerError::IdentityRefused);
            }
            if now >= lease.ends_at {
                return Err(BrokerError::TaskClosed("the credential's time was up before it was minted".to_owned()));
            }
            if grant.is_past_its_window(now) {
                return Err(BrokerError::Unpermitted(Unpermitted::Expired));
            }
            let mut record = Record::new(&self.ids, now, Actor::Agent(ground.task.agent.clone()));
            let mut tx = self.store.begin("mint.fact");
            if seen != ground.seen {
                self.check_again(minting, &seen, now, &mut tx, &mut record).await?;
            }
            let live = note_minted(lease.clone(), minted, now, &mut record)?;
            let sealed = ground.seal_to.as_ref().map(|key| Sealed::new(key, &live, minted, &**minter)).transpose()?;
            if let Some(sealed) = &sealed {
                tx.insert_sealed_delivery(&sealed.to_row(&live)?);
            }
            if let Some(kept) = self.seal_kept(&live, minted, &**minter)? {
                tx.insert_kept_secret(&kept);
            }
            tx.expect_control(&seen);
            tx.check_task(&ground.task);
            tx.check_grant(grant);
            tx.update_lease(lease, &live);
            match record.commit(tx).await {
                Ok(()) => return Ok((live, sealed)),
                Err(StoreError::ControlChanged(_)) => {
                    self.look_again().await?;
                    seen = self.standing.load().control.clone();
                }
                Err(StoreError::Conflict { table: "task" | "grant" | "lease" }) => return Err(ended_meanwhile()),
                Err(StoreError::Unknown(why)) => {
                    return self.settle_fact(lease, &live, why).await.map(|()| (live, sealed));
                }
                Err(error) => return Err(self.settle_store_error(error).await),
            }
        }
        Err(BrokerError::Changed)
    }

    /// The control row is not what the intent was committed under: whether what changed lets the mint go on. A kill switch
    /// never does, not even one that was released since, nor does a quarantine.
    async fn check_again(
        &self,
        minting: &Minting,
        seen: &Control,
        now: Timestamp,
        tx: &mut Tx,
        record: &mut Record<'_>,
    ) -> Result<(), BrokerError> {
        let Minting { grant, ground: Ground { task, seen: before, .. }, .. } = minting;
        if seen.killed || seen.kill_epoch != before.kill_epoch {
            return Err(BrokerError::KillSwitch);
        }
        self.out_of_quarantine()?;
        let bundle = self.policy.current();
        let agent = self.standing_agent(&bundle, &task.agent)?;
        if seen.bundle == before.bundle {
            return Ok(());
        }
        if seen.bundle != Some(bundle.digest()) {
            return Err(BrokerError::Changed);
        }
        // Another bundle: it must permit the same, by the same plan, with the verdicts that still count under it.
        match self.permit_again(&bundle, agent, task, grant, now).await {
            Ok(Again::Permitted(permitted)) => {
                let Permitted { request, decision } = *permitted;
                tx.insert_decision(&decision, Some(grant.request), Some(task.id), &agent.id);
                note_decision(&request, &decision, record);
                Ok(())
            }
            Ok(Again::Refused(_)) => Err(BrokerError::Changed),
            Err(error) => Err(error),
        }
    }

    /// Nobody knows whether the fact was committed. A row that shows it proves that it was. A row that does not proves nothing:
    /// the commit may be on its way still, in our queue or in a database that lost only our connection. So we try to commit its
    /// opposite, the end of the same intent, which compares the same fence: exactly one of the two can ever be written. If ours
    /// is, the fact never lands and the secret is dropped. If ours conflicts, something landed, and the row says what. If we do
    /// not even hear of ours, nothing is delivered, and the row is the sweep's: it is minting past its deadline, or live and
    /// never delivered, and ends either way.
    async fn settle_fact(&self, intent: &Lease, live: &Lease, why: String) -> Result<(), BrokerError> {
        let unknown = || BrokerError::Store(StoreError::Unknown(why.clone()));
        if self.is_on_record(live).await? {
            return Ok(());
        }
        match self.commit_failed(intent, "the outcome of its fact was unknown", None).await {
            Err(StoreError::Conflict { .. }) if self.is_on_record(live).await? => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(ended_meanwhile()),
            Ok(()) | Err(_) => Err(unknown()),
        }
    }

    async fn is_on_record(&self, live: &Lease) -> Result<bool, BrokerError> {
        let row = self.store.find_lease(live.id).await?;
        Ok(row.is_some_and(|row| row.fence == live.fence && row.state.as_str() == live.state.as_str()))
    }

    /// Let it work, and look again before anything leaves: a revocation may have run between the fact and this, and it wins.
    async fn let_work(
        &self,
        live: &Lease,
        kept: Option<&SecretString>,
        minter: &dyn Minter,
    ) -> Result<(), BrokerError> {
        if let Err(error) = in_time(CALL_TIMEOUT, minter.activate(&live.handle)).await {
            let why = Revocation::by_broker(EndCause::Aborted, Telling::BySweeps);
            if let Err(unended) = self.end_leases_of(vec![live.clone()], &why).await {
                tracing::error!(lease.id = %live.id, error = %unended, "a lease that does not work could not be ended yet; the sweep does it");
            }
            return Err(error.into());
        }
        crate::sys::killpoint!(MintAfterActivate);
        // A row that cannot be read now is live and undelivered, and the sweep's.
        if self.store.find_lease(live.id).await?.is_some_and(|row| row.fence == live.fence) {
            return Ok(());
        }
        // Whoever ended it may have told the backend before we let it work: tell it once more. Should that fail as well, the
        // end is repeated once no call of this mint can be under way any more (`settles_at`).
        for _ in 0..MAX_TRIES {
            if in_time(CALL_TIMEOUT, minter.revoke(CredentialRef::of_lease(live).with(kept))).await.is_ok() {
                break;
            }
        }
        Err(ended_meanwhile())
    }

    /// Record that a mint failed, and have the sweep make sure that nothing is left of it, unless that is known. If even this cannot
    /// be written, the sweep finds a lease that is still `minting` past its deadline, so nothing is lost.
    async fn mint_failed(&self, lease: &Lease, why: &str, gone: Option<String>) {
        match self.commit_failed(lease, why, gone).await {
            // Somebody was first, and the row is theirs.
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => {
                tracing::error!(lease.id = %lease.id, %error, "a failed mint could not be recorded; the sweep will find it");
            }
        }
    }

    async fn commit_failed(&self, lease: &Lease, why: &str, gone: Option<String>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let Ok(ending) = lease.clone().end(EndCause::Aborted, now) else { return Ok(()) };
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        record.note(EventKind::CredentialFailed, about_lease(lease), [("why", why.into())]);
        let after = match gone {
            Some(proof) => note_ended(ending.clone(), proof, now, &mut record).unwrap_or(ending),
            None => ending,
        };
        let mut tx = self.store.begin("mint.failed");
        tx.update_lease(lease, &after);
        let committed = record.commit(tx).await;
        self.wake_sweeps();
        committed
    }
}

fn ended_meanwhile() -> BrokerError {
    BrokerError::TaskClosed("it was ended while the credential was being minted".to_owned())
}

//! The one path by which a credential ends. It is entered by a completed task, a revocation, a clock or a crash, always through
//! the row: `ending` is on record before a backend is told, and `ended` only when the backend was seen to obey.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::bulkhead::{Call, in_time};
use super::closure::{count_closure, doubt, note_ended, note_ends_by};
use super::facts::{Record, about_lease};
use super::{Broker, BrokerError};
use crate::api::LeaseClosure;
use crate::domain::{Actor, EndCause, EventKind, Lease, LeaseState, Refusal, Timestamp};
use crate::minter::{CredentialRef, MintError, Minter, Probe, Revoked};
use crate::store::{StoreError, Tx};
use crate::sys::SecretString;

/// How long one attempt to end a credential, or to tidy up after it, may take.
pub(super) const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer waits for credentials to end before it says how far they are.
const CLOSURE_WAIT: Duration = Duration::from_secs(3);
/// For how long sweeps leave a lease alone whose backend is being told by whoever put it to its end, in milliseconds.
const HOLD_MILLIS: i64 = 5_000;
/// Credentials whose end is waited for at the same time; how many a backend is told at once is its bulkhead's to say.
const PARALLEL: usize = 256;
/// How often a lease is looked at again when somebody else changed it first.
const MAX_TRIES: usize = 3;

/// Who tells the backends that credentials must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// Whoever puts them to their end, right away, because somebody waits for the answer.
    AtOnce,
    /// The sweeps, each backend in its turn.
    BySweeps,
    /// A sweep that has claimed them until then.
    Claimed(Timestamp),
}

/// The decision that authority ends now; it falls downward, from agent to task to grant to lease.
pub(super) struct Revocation<'a> {
    pub cause: EndCause,
    pub actor: Actor,
    /// What the actor gave as a reason, if it was to give one.
    pub reason: Option<&'a str>,
    pub telling: Telling,
}

impl Revocation<'_> {
    /// Of the broker itself.
    pub(super) const fn by_broker(cause: EndCause, telling: Telling) -> Self {
        Self { cause, actor: Actor::Broker, reason: None, telling }
    }
}

impl Broker {
    /// Record that these leases must end, then have their credentials ended.
    pub(super) async fn end_leases_of(&self, leases: Vec<Lease>, why: &Revocation<'_>) -> Result<(), BrokerError> {
        let ending = match self.record_ends(&leases, why).await {
            Ok(ending) => ending,
            // Somebody else changed one of them first: each on its own, as it is now.
            Err(StoreError::Conflict { .. }) => {
                let ending = futures_util::stream::iter(leases)
                    .map(|lease| self.record_end(lease, why))
                    .buffer_unordered(PARALLEL)
                    .collect::<Vec<_>>()
                    .await;
                ending.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
            }
            Err(error) => return Err(error.into()),
        };
        self.finish_leases(ending, why.telling).await;
        Ok(())
    }

    async fn record_ends(&self, leases: &[Lease], why: &Revocation<'_>) -> Result<Vec<Lease>, StoreError> {
        let mut record = Record::new(&self.ids, self.clock.now(), why.actor.clone());
        let mut tx = self.endings.begin("lease.end");
        let ending = self.put_to_end(leases, why.cause, why.telling, &mut tx, &mut record).await;
        if record.is_empty() {
            return Ok(Vec::new());
        }
        record.commit(tx).await?;
        for lease in leases {
            self.signals.changed(lease.task);
        }
        Ok(ending)
    }

    /// The same for one lease that somebody else may be changing.
    async fn record_end(&self, lease: Lease, why: &Revocation<'_>) -> Result<Vec<Lease>, StoreError> {
        let id = lease.id;
        let mut current = Some(lease);
        for _ in 0..MAX_TRIES {
            let Some(lease) = current else { return Ok(Vec::new()) };
            match self.record_ends(&[lease], why).await {
                Err(StoreError::Conflict { .. }) => current = self.endings.find_lease(id).await?,
                done => return done,
            }
        }
        // Not ended, so nobody may take it for ended: whoever asked tries again.
        Err(StoreError::Conflict { table: "lease" })
    }

    /// Put into a change that these leases must end, but for those that are ending or have ended; returns those whose backend
    /// must be told. A credential whose verifiers ask us, or whose time is up, needs no telling: its end is part of the change.
    pub(super) async fn put_to_end(
        &self,
        leases: &[Lease],
        cause: EndCause,
        telling: Telling,
        tx: &mut Tx,
        record: &mut Record<'_>,
    ) -> Vec<Lease> {
        if !leases.is_empty() {
            crate::sys::killpoint!(EndBeforeIntent);
        }
        let now = record.now();
        let mut ending = Vec::new();
        for lease in &self.deliveries.as_delivered(leases.to_vec()) {
            let Ok(after) = lease.clone().end(cause, now) else { continue };
            record.note(EventKind::LeaseEnding, about_lease(lease), [("cause", cause.as_str().into())]);
            if let Some(minter) = self.offline_minter(lease) {
                tx.update_lease(lease, &end_offline(&**minter, after, now, record).await);
                continue;
            }
            let after = match telling {
                Telling::AtOnce => after.held(now.plus_millis(HOLD_MILLIS)),
                Telling::BySweeps => after,
                Telling::Claimed(until) => after.held(until),
            };
            tx.update_lease(lease, &after);
            ending.push(after);
        }
        ending
    }

    /// The minter of a lease's backend, if it needs no outside call.
    pub(super) fn offline_minter(&self, lease: &Lease) -> Option<&Arc<dyn Minter>> {
        self.minters.find(&lease.backend).filter(|minter| minter.is_offline())
    }

    /// Have the credentials ended of leases that are on record as `ending`. Bounded in time: what is not begun then, the sweeps
    /// do.
    pub(super) async fn finish_leases(&self, ending: Vec<Lease>, telling: Telling) {
        // In quarantine it is for the reconciliation to tell the backends, and in a copy for nobody.
        if ending.is_empty() || self.quarantine().is_some() {
            return;
        }
        crate::sys::killpoint!(EndAfterIntent);
        if telling == Telling::BySweeps {
            self.wake_sweeps();
            return;
        }
        let (broker, late) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let given_up = Arc::clone(&late);
        // Detached: whoever waits for the answer may go away, the credentials end all the same.
        let work = tokio::spawn(async move {
            futures_util::stream::iter(ending)
                .for_each_concurrent(PARALLEL, |lease| {
                    let (broker, given_up) = (broker.clone(), Arc::clone(&given_up));
                    async move {
                        let room = broker.bulkheads.of(&lease.backend);
                        if room.answers()
                            && let Some(_turn) = room.ending().await
                            && !given_up.load(Ordering::Relaxed)
                        {
                            broker.end_lease(lease).await;
                        }
                    }
                })
                .await;
        });
        if tokio::time::timeout(CLOSURE_WAIT, work).await.is_err() {
            late.store(true, Ordering::Relaxed);
            self.wake_sweeps();
        }
    }

    /// End one credential as far as it can be ended now: tell the backend, look whether it obeyed, record what is known, and
    /// tidy up. Its row must be `ending` and the caller's.
    pub(super) async fn end_lease(&self, lease: Lease) {
        let mut current = lease;
        // Disabled, then tidied up after: never more than that without a wait.
        for _ in 0..2 {
            let known = current.is_disabled();
            match self.attempt_end(current).await {
                Some(next) if next.is_disabled() && !known && is_settled(&next, self.clock.now()) => current = next,
                Some(_) | None => return,
            }
        }
    }

    /// One attempt; the lease as it is on record afterwards, if this attempt wrote it.
    async fn attempt_end(&self, lease: Lease) -> Option<Lease> {
        let (outcome, kept) = self.tell_backend(&lease).await;
        crate::sys::killpoint!(EndAfterDisable);
        let now = self.clock.now();
        self.note_call(&lease.backend, Call::End, &outcome).await;
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        let after = match outcome {
            Ok(Revoked::Gone(proof)) => self.seen_gone(&lease, kept.as_ref(), proof, now, &mut record).await,
            Ok(Revoked::EndsBy(by)) if by <= now => {
                note_ended(lease.clone(), format!("its backend stopped honouring it at {by}"), now, &mut record)
            }
            Ok(Revoked::EndsBy(by)) => note_ends_by(lease.clone(), by, now, &mut record),
            // What was seen not to work may have been let work since by a call that landed late: back to quick attempts.
            Err(error) => self.note_failed(lease.clone().doubted(), &error, now, &mut record),
        };
        let after = after.ok()?;
        let mut tx = self.endings.begin("lease.ended");
        tx.update_lease(&lease, &after);
        self.forget_kept(&after, &mut tx);
        let recorded = record.commit(tx).await;
        crate::sys::killpoint!(EndAfterFact);
        match recorded {
            Ok(()) => {
                self.signals.changed(lease.task);
                Some(after)
            }
            Err(StoreError::Conflict { .. }) => None,
            Err(error) => {
                tracing::error!(lease.id = %lease.id, %error, "the end of a lease could not be recorded; the sweep repeats it");
                None
            }
        }
    }

    /// The backend does not honour it: it has ended, unless a call of its mint may still land or something is left behind.
    async fn seen_gone(
        &self,
        lease: &Lease,
        kept: Option<&SecretString>,
        proof: String,
        now: Timestamp,
        record: &mut Record<'_>,
    ) -> Result<Lease, Refusal> {
        let (settled, known) = (is_settled(lease, now), lease.is_disabled());
        let cleanup = self.minters.find(&lease.backend).filter(|minter| minter.needs_cleanup());
        if !settled || (!known && cleanup.is_some()) {
            // Seen again before it is settled: on record is what was seen first.
            let known_as = [("closure", LeaseClosure::Closed.as_str().into()), ("proof", proof.into())];
            record.note(EventKind::LeaseDisabled, about_lease(lease), known_as);
            if !known {
                count_closure(lease, LeaseClosure::Closed, now);
            }
            let disabled = lease.clone().disabled(now)?;
            return Ok(if settled { disabled.held(now.plus_millis(HOLD_MILLIS)) } else { disabled });
        }
        if let Some(minter) = cleanup {
            crate::sys::killpoint!(EndBeforeCleanup);
            let tidied = in_time(REVOKE_TIMEOUT, minter.cleanup(CredentialRef::of_lease(lease).with(kept))).await;
            crate::sys::killpoint!(EndAfterCleanup);
            if let Err(error) = tidied {
                return self.note_failed(lease.clone(), &error, now, record);
            }
        }
        note_ended(lease.clone(), proof, now, record)
    }

    fn note_failed(
        &self,
        lease: Lease,
        error: &MintError,
        now: Timestamp,
        record: &mut Record<'_>,
    ) -> Result<Lease, Refusal> {
        let what = if lease.is_disabled() { "cleanup" } else { "revoke" };
        metrics::counter!("hallpass_lease_end_failed_total", "backend" => lease.backend.to_string(), "what" => what)
            .increment(1);
        tracing::warn!(lease.id = %lease.id, backend = %lease.backend, what, %error, "a credential could not be ended yet");
        record.note(
            EventKind::LeaseDelayed,
            about_lease(&lease),
            [("closure", doubt(&lease, now).as_str().into()), ("what", what.into()), ("why", error.to_string().into())],
        );
        if !lease.is_disabled() {
            count_closure(&lease, LeaseClosure::Unknown, now);
        }
        let known = lease.is_irrevocable();
        let after = lease.try_again(None, self.spread(), now)?;
        if after.is_irrevocable() && !known {
            record.note(EventKind::LeaseIrrevocable, about_lease(&after), [("backend", after.backend.as_str().into())]);
            tracing::error!(
                lease.id = %after.id, backend = %after.backend, native_end = %after.native_end,
                "a credential cannot be ended and may still work; end it at its backend by hand"
            );
        }
        Ok(after)
    }

    /// In thousandths, 500 to 1500.
    fn spread(&self) -> u16 {
        let mut random = [0_u8; 2];
        self.entropy.fill(&mut random);
        500_u16.saturating_add(u16::from_le_bytes(random) % 1001)
    }

    /// Tell its backend to end it; with what was kept of it for that.
    async fn tell_backend(&self, lease: &Lease) -> (Result<Revoked, MintError>, Option<SecretString>) {
        let Some(minter) = self.minters.find(&lease.backend) else {
            let why = format!("backend `{}` is not configured any more", lease.backend);
            return (Err(MintError::Misconfigured(why)), None);
        };
        match self.open_kept(lease, self.clock.now()).await {
            Ok(kept) => {
                let credential = CredentialRef::of_lease(lease).with(kept.as_ref());
                (self.make_gone(&**minter, credential).await, kept)
            }
            Err(error) => (Err(error), None),
        }
    }

    /// Whatever was kept to end a lease goes in the change that says that it has ended.
    pub(super) fn forget_kept(&self, after: &Lease, tx: &mut Tx) {
        let keeps = self.minters.find(&after.backend).is_none_or(|minter| minter.keeps());
        if keeps && matches!(after.state, LeaseState::Ended { .. }) {
            tx.delete_kept_secret(after.id);
        }
    }

    /// Tell a backend to end something, and look whether it obeyed.
    pub(super) async fn make_gone(
        &self,
        minter: &dyn Minter,
        credential: CredentialRef<'_>,
    ) -> Result<Revoked, MintError> {
        let told = async {
            let proof = match minter.revoke(credential).await? {
                Revoked::Gone(proof) => proof,
                later @ Revoked::EndsBy(_) => return Ok(later),
            };
            // Never say ended for something that still works: ask the backend, where it can be asked.
            match minter.probe(credential).await? {
                Probe::Refused => Ok(Revoked::Gone(format!("{proof}; a probe was refused at {}", self.clock.now()))),
                Probe::Unknown => Ok(Revoked::Gone(proof)),
                Probe::Honoured => {
                    Err(MintError::Refused("the backend says it is gone and still honours it".to_owned()))
                }
            }
        };
        in_time(REVOKE_TIMEOUT, told).await
    }
}

/// Whether no call of its mint can be under way any more.
fn is_settled(lease: &Lease, now: Timestamp) -> bool {
    match &lease.state {
        LeaseState::Ending { settles_at, .. } => settles_at.is_none_or(|at| at <= now),
        LeaseState::Minting | LeaseState::Live { .. } | LeaseState::Ended { .. } => true,
    }
}

/// End what no backend has to be told of: what its verifiers ask us about, or what has come to its own end.
pub(super) async fn end_offline(minter: &dyn Minter, ending: Lease, now: Timestamp, record: &mut Record<'_>) -> Lease {
    let before = ending.clone();
    let after = if now >= ending.native_end {
        let proof = format!("its own end passed at {}", ending.native_end);
        note_ended(ending, proof, now, record)
    } else {
        match minter.revoke(CredentialRef::of_lease(&ending)).await {
            Ok(Revoked::Gone(proof)) => note_ended(ending, proof, now, record),
            Ok(Revoked::EndsBy(by)) => note_ends_by(ending, by, now, record),
            Err(_) => return before,
        }
    };
    after.unwrap_or(before)
}

//! Out of the quarantine: what the rows say is compared with what the backends honour, as the operator says what happened to the
//! database, and then a new epoch is opened. Killed in the middle it is simply done again, for the quarantine ends last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::bulkhead::in_time;
use super::end_lease::{Revocation, Telling};
use super::facts::{Record, about_lease};
use super::{Broker, BrokerError};
use crate::domain::{Actor, EndCause, EventKind, Handle, Lease, LeaseId, LeaseState, Name, Subjects};
use crate::minter::{CredentialRef, Inventory, Minter, Probe};
use crate::store::{Control, Lineage};

/// Rows looked at in one go.
const PAGE: u32 = 500;
/// Backends asked at the same time.
const PARALLEL: usize = 16;
/// How long a backend may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Objects without a row that are named in the event; all are counted.
const NAMED: usize = 100;

/// What the operator says happened to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was put back from a backup, and the one it replaces is gone: whatever came after the backup is lost. All authority
    /// ends, because any of it may have been revoked since.
    Restored,
    /// It was moved, or a standby with everything in it was promoted: nothing is lost. What the backends honour stays.
    Complete,
    /// It is a copy, and the original goes on elsewhere: what it names belongs to the original and is not touched.
    Fork,
}

/// What to do.
#[derive(Debug, Clone)]
pub struct ReconcileAsk {
    /// What happened.
    pub told: Told,
    /// Why the operator thinks so; goes to the audit.
    pub reason: String,
    /// Look only: end nothing, and leave the quarantine as it is.
    pub dry_run: bool,
}

/// What was found in one backend, and done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReconcileReport {
    /// Leases that had not ended.
    pub leases: u64,
    /// Of these: the backend honours them.
    pub honoured: u64,
    /// Of these: the backend does not honour them.
    pub refused: u64,
    /// Of these: the backend cannot be asked, or did not answer.
    pub unknown: u64,
    /// Leases that have ended now, or would without a dry run.
    pub ended: u64,
    /// Leases whose backend must be told again, which the sweep does.
    pub ending: u64,
    /// Objects with our mark in the backend and no lease, ended now; what could not be is counted as `orphans_left`.
    pub orphans: u64,
    /// Objects with our mark and no lease that could not be ended.
    pub orphans_left: u64,
    /// Whether the backend cannot list what it holds, or did not answer.
    pub unlistable: bool,
}

/// By backend.
type Reports = BTreeMap<Name, ReconcileReport>;

impl Broker {
    /// Compare what the rows say with what the backends honour, end what must end, and open a new epoch. If the store is not in
    /// quarantine, it goes into it first, because the operator knows better.
    ///
    /// # Errors
    /// What the store says; the quarantine stays then, and it may be tried again.
    pub async fn reconcile_restored(&self, ask: &ReconcileAsk) -> Result<Reports, BrokerError> {
        let mut control = self.store.control().await?;
        if control.quarantine.is_none() && !ask.dry_run {
            let lineage = self.store.lineage().await?;
            let why = format!("an operator says so: {}", ask.reason);
            control = self.begin_epoch(&lineage, lineage.place.clone(), Some(why)).await?;
        }
        self.look_again().await?;
        let mut reports = Reports::new();
        if !ask.dry_run && ask.told != Told::Complete {
            // With all that rests on them: any of them may have been ended after the backup.
            self.close_tasks(None, &Revocation::by_broker(EndCause::Restored, Telling::BySweeps)).await?;
        }
        let kept = self.compare_leases(ask, &control, &mut reports).await?;
        let mut orphans = Vec::new();
        if ask.told != Told::Fork {
            for (name, minter) in self.minters.iter() {
                let report = reports.entry(name.clone()).or_default();
                orphans.extend(self.end_orphans_of(name, &**minter, kept.get(name), ask.dry_run, report).await?);
            }
        }
        if ask.dry_run {
            return Ok(reports);
        }
        if ask.told == Told::Fork {
            self.retire_all_keys().await?;
        }
        self.open_epoch(ask, &control, &reports, orphans).await?;
        Ok(reports)
    }

    /// Go through all leases that have not ended; the handles of those that live on, by backend.
    async fn compare_leases(
        &self,
        ask: &ReconcileAsk,
        control: &Control,
        reports: &mut Reports,
    ) -> Result<BTreeMap<Name, BTreeSet<String>>, BrokerError> {
        let mut kept: BTreeMap<Name, BTreeSet<String>> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.list_unended_leases(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(kept) };
            after = Some(last.id);
            let probes = futures_util::stream::iter(page)
                .map(|lease| async {
                    let probe = if ask.told == Told::Fork { Probe::Unknown } else { self.probe_of(&lease).await };
                    (lease, probe)
                })
                .buffered(PARALLEL)
                .collect::<Vec<_>>()
                .await;
            let mut over = Vec::new();
            for (lease, probe) in probes {
                let report = reports.entry(lease.backend.clone()).or_default();
                report.leases = report.leases.saturating_add(1);
                let found = match probe {
                    Probe::Honoured => &mut report.honoured,
                    Probe::Refused => &mut report.refused,
                    Probe::Unknown => &mut report.unknown,
                };
                *found = found.saturating_add(1);
                if ask.told == Told::Complete && lives_on(&lease, probe) {
                    kept.entry(lease.backend.clone()).or_default().insert(lease.handle.as_str().to_owned());
                } else {
                    over.push(lease);
                }
            }
            self.end_all(ask, control, over, reports).await?;
        }
    }

    async fn probe_of(&self, lease: &Lease) -> Probe {
        let Some(minter) = self.minters.find(&lease.backend) else { return Probe::Unknown };
        let asked = async {
            let kept = self.open_kept(lease, self.clock.now()).await?;
            minter.probe(CredentialRef::of_lease(lease).with(kept.as_ref())).await
        };
        in_time(PATIENCE, asked).await.unwrap_or(Probe::Unknown)
    }

    /// End these: record that they must end, tell their backends, and count what has ended.
    async fn end_all(
        &self,
        ask: &ReconcileAsk,
        control: &Control,
        over: Vec<Lease>,
        reports: &mut Reports,
    ) -> Result<(), BrokerError> {
        let ids: Vec<LeaseId> = over.iter().map(|lease| lease.id).collect();
        let count = |reports: &mut Reports, backend: &Name, ended: bool| {
            let report = reports.entry(backend.clone()).or_default();
            let counted = if ended { &mut report.ended } else { &mut report.ending };
            *counted = counted.saturating_add(1);
        };
        if ask.dry_run {
            for lease in &over {
                count(reports, &lease.backend, true);
            }
            return Ok(());
        }
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        let mut tx = self.store.begin("store.reconcile");
        tx.expect_control(control);
        let (mut ending, fresh): (Vec<Lease>, Vec<Lease>) =
            over.into_iter().partition(|lease| matches!(lease.state, LeaseState::Ending { .. }));
        let fresh = self.put_to_end(&fresh, EndCause::Restored, Telling::BySweeps, &mut tx, &mut record).await;
        if !record.is_empty() {
            record.commit(tx).await?;
        }
        ending.extend(fresh);
        if ask.told == Told::Fork {
            self.leave_to_the_original(&ending, control).await?;
        } else {
            futures_util::stream::iter(ending).for_each_concurrent(PARALLEL, |lease| self.end_lease(lease)).await;
        }
        for lease in self.store.find_leases(&ids).await? {
            count(reports, &lease.backend, matches!(lease.state, LeaseState::Ended { .. }));
        }
        Ok(())
    }

    /// In a copy: these are over here, and no backend is told.
    async fn leave_to_the_original(&self, ending: &[Lease], control: &Control) -> Result<(), BrokerError> {
        if ending.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let proof = "this database is a copy: the credential is the original's, which goes on with it";
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        let mut tx = self.store.begin("store.fork");
        tx.expect_control(control);
        for lease in ending {
            let Ok(ended) = lease.clone().ended(proof.to_owned(), now) else { continue };
            tx.update_lease(lease, &ended);
            self.forget_kept(&ended, &mut tx);
            record.note(EventKind::LeaseEnded, about_lease(lease), [("proof", proof.into())]);
        }
        Ok(record.commit(tx).await?)
    }

    /// In a copy: the original signs with these keys, and what this deployment signs must not pass for its.
    async fn retire_all_keys(&self) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let kids: Vec<String> = self.keyring.keys().iter().map(|key| key.kid.clone()).collect();
        for kid in kids {
            self.retire_key(&kid, now).await?;
        }
        self.rotate_keys().await
    }

    /// End what a backend holds under our mark and no lease lives on for; their handles.
    async fn end_orphans_of(
        &self,
        backend: &Name,
        minter: &dyn Minter,
        kept: Option<&BTreeSet<String>>,
        dry_run: bool,
        report: &mut ReconcileReport,
    ) -> Result<Vec<Handle>, BrokerError> {
        let Ok(Inventory::Complete(found)) = in_time(PATIENCE, minter.inventory()).await else {
            report.unlistable = true;
            return Ok(Vec::new());
        };
        let mut orphans = Vec::new();
        for object in found {
            if kept.is_some_and(|kept| kept.contains(object.handle.as_str())) {
                continue;
            }
            let ended = dry_run || self.end_orphan(backend, minter, &object).await?;
            let counted = if ended { &mut report.orphans } else { &mut report.orphans_left };
            *counted = counted.saturating_add(1);
            orphans.push(object.handle);
        }
        Ok(orphans)
    }

    async fn open_epoch(
        &self,
        ask: &ReconcileAsk,
        control: &Control,
        reports: &Reports,
        orphans: Vec<Handle>,
    ) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let lineage = self.store.lineage().await?;
        let epoch = control.restore_epoch.saturating_add(1);
        let tokens_from_millis = if ask.told == Told::Complete { control.tokens_from_millis } else { now.as_millis() };
        let after = Control { restore_epoch: epoch, quarantine: None, tokens_from_millis, ..control.clone() };
        let deployment = if ask.told == Told::Fork {
            let mut random = [0_u8; 8];
            self.entropy.fill(&mut random);
            data_encoding::HEXLOWER.encode(&random)
        } else {
            lineage.deployment.clone()
        };
        let sum = |of: fn(&ReconcileReport) -> u64| -> i64 {
            reports.values().map(|report| i64::try_from(of(report)).unwrap_or(i64::MAX)).fold(0, i64::saturating_add)
        };
        let mut record = Record::new(&self.ids, now, Actor::Broker);
        record.note(
            EventKind::StoreReconciled,
            Subjects::default(),
            [
                ("deployment", deployment.as_str().into()),
                ("ended", sum(|report| report.ended).into()),
                ("ending", sum(|report| report.ending).into()),
                ("epoch", epoch.into()),
                ("leases", sum(|report| report.leases).into()),
                ("orphans", orphans.iter().take(NAMED).map(Handle::to_string).collect::<Vec<_>>().into()),
                ("orphans_ended", sum(|report| report.orphans).into()),
                ("orphans_left", sum(|report| report.orphans_left).into()),
                ("reason", ask.reason.as_str().into()),
                ("told", ask.told.as_str().into()),
            ],
        );
        let mut tx = self.store.begin("store.reconciled");
        tx.set_lineage(&lineage, &Lineage { deployment, reconciled_epoch: epoch, ..lineage.clone() });
        tx.set_control(control, &after);
        record.commit(tx).await?;
        self.store.accept_history().await?;
        self.look_again().await?;
        self.wake_sweeps();
        Ok(())
    }
}

impl Told {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Complete => "complete",
            Self::Fork => "fork",
        }
    }
}

/// Whether a lease of a database that lost nothing stays as it is: its credential is honoured, or nobody can say; or the sweep
/// has it already.
fn lives_on(lease: &Lease, probe: Probe) -> bool {
    match &lease.state {
        LeaseState::Live { .. } => !matches!(probe, Probe::Refused),
        LeaseState::Minting | LeaseState::Ending { .. } | LeaseState::Ended { .. } => true,
    }
}

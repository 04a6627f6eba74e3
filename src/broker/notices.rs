//! Who is to be told: the audit events are read in the order of commits, channel by channel, and what follows from them is written in
//! the commit that moves the channel's cursor past them. No use case knows of it, nothing waits for it, and of several replicas one
//! writes.

use std::collections::BTreeMap;

use super::notice_content::About;
use super::sweep::SweepReport;
use super::{Broker, BrokerError};
use crate::domain::{Name, Notice, NoticeKind, NoticeState, Timestamp};
use crate::notify::{Channel, FollowUp, Readers};
use crate::store::{NoticeChanges, StoreError, StoredEvent};

/// Events read at once: those that may concern people, and the range in which they are looked for.
const EVENTS: u32 = 50;
const RANGE: i64 = 20_000;
/// A cursor is moved past events that concern nobody once there are so many of them; until then each replica remembers.
const UNMOVED: i64 = 5_000;

/// What this process knows of the channels; lost without harm.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Where a channel's cursor was, and up to where nothing after it concerns anybody.
    looked: BTreeMap<Name, (i64, i64)>,
    /// How sending goes.
    pub(super) going: BTreeMap<Name, Going>,
}

/// How sending goes with one channel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Going {
    /// Attempts in a row that failed.
    pub(super) failures: u32,
    /// Until when it is left alone.
    pub(super) rests_until: Option<Timestamp>,
}

/// How a request that waited has ended, by the event that says so.
fn outcome(kind: &str) -> Option<&'static str> {
    match kind {
        "access.granted" => Some("granted"),
        "access.denied" => Some("denied"),
        "access.withdrawn" => Some("withdrawn"),
        "access.lapsed" => Some("lapsed"),
        _ => None,
    }
}

impl Broker {
    pub(super) fn known_of_channels(&self) -> std::sync::MutexGuard<'_, Known> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The names of the channels by which people are told.
    #[must_use]
    pub fn channels(&self) -> Vec<Name> {
        self.channels.iter().map(|channel| channel.name.clone()).collect()
    }

    /// Let channels that are new begin with what happens from now on: nobody is told of what is long past. What fails here is made
    /// good by the first sweep.
    pub(super) async fn begin_channels(&self) {
        for channel in self.channels.iter() {
            let begun = async {
                let newest = self.store.find_newest_event().await?;
                self.store.begin_notices(&channel.name, newest).await
            };
            if let Err(error) = begun.await {
                tracing::warn!(channel = %channel.name, %error, "a channel could not begin yet; the next sweep begins it");
            }
        }
    }

    /// Work out who is to be told of what has happened since, for each channel.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_notices(&self) -> Result<SweepReport, BrokerError> {
        if self.channels.is_empty() || self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let newest = self.store.find_newest_event().await?;
        let mut report = SweepReport::default();
        for channel in self.channels.iter() {
            let (done, more) = self.follow(channel, newest).await?;
            report.done = report.done.saturating_add(done);
            report.more |= more;
        }
        Ok(report)
    }

    /// Read on for one channel: how many notices were written, and whether there is more to read.
    async fn follow(&self, channel: &Channel, newest: i64) -> Result<(usize, bool), BrokerError> {
        let looked = self.known_of_channels().looked.get(&channel.name).copied();
        if looked.is_some_and(|(_, upto)| upto >= newest) {
            return Ok((0, false));
        }
        let Some(cursor) = self.store.find_notice_cursor(&channel.name).await? else {
            self.store.begin_notices(&channel.name, newest).await?;
            return Ok((0, false));
        };
        let from = looked.filter(|(at, _)| *at == cursor).map_or(cursor, |(_, upto)| upto.max(cursor));
        let upto = newest.min(from.saturating_add(RANGE));
        let events = self.store.list_notable_events(from, upto, EVENTS).await?;
        let full = u32::try_from(events.len()).is_ok_and(|count| count >= EVENTS);
        let end = events.last().filter(|_| full).map_or(upto, |last| last.seq);
        let mut changes = NoticeChanges::default();
        for event in &events {
            match self.note_event(channel, event, &mut changes).await {
                Ok(()) => {}
                // What can never be told must not keep everything after it from being told.
                Err(BrokerError::Store(StoreError::Corrupt(why)) | BrokerError::Internal(why)) => {
                    tracing::error!(channel = %channel.name, event = event.id, why, "nobody can be told of an event");
                }
                Err(error) => return Err(error),
            }
        }
        let done = changes.insert.len();
        if !changes.say_nothing() || end.saturating_sub(cursor) >= UNMOVED {
            changes.cursor = Some((channel.name.clone(), cursor, end));
            match self.store.record_notices(&changes).await {
                Ok(()) => self.wake_sweeps(),
                // Another replica was first, or something was sent meanwhile: look again.
                Err(StoreError::Conflict { .. }) => return Ok((0, true)),
                Err(error) => return Err(error.into()),
            }
        } else {
            self.known_of_channels().looked.insert(channel.name.clone(), (cursor, end));
        }
        Ok((done, end < newest))
    }

    /// What follows from one event for one channel.
    async fn note_event(
        &self,
        channel: &Channel,
        event: &StoredEvent,
        changes: &mut NoticeChanges,
    ) -> Result<(), BrokerError> {
        let Some(about) = self.about(event).await? else { return Ok(()) };
        let groups = channel.groups_of(&about.groups);
        if groups.is_empty() {
            return Ok(());
        }
        match (outcome(&event.kind), event.kind.as_str()) {
            (Some(outcome), _) => self.note_outcome(channel, &about, outcome, changes).await,
            // Somebody decided before anybody was asked.
            (None, "approval.awaited") if about.request.pending().is_none() => Ok(()),
            (None, "approval.awaited") => self.note_all(channel, &about, NoticeKind::Awaited, &groups, changes).await,
            (None, "glass.broken") => self.note_all(channel, &about, NoticeKind::BreakGlass, &groups, changes).await,
            (None, "review.due") => self.note_all(channel, &about, NoticeKind::ReviewDue, &groups, changes).await,
            (None, _) => Ok(()),
        }
    }

    /// Tell everybody whom the channel reaches.
    async fn note_all(
        &self,
        channel: &Channel,
        about: &About,
        kind: NoticeKind,
        groups: &[&str],
        changes: &mut NoticeChanges,
    ) -> Result<(), BrokerError> {
        if !channel.wants(kind) {
            return Ok(());
        }
        let notice = self.notice(channel, about, kind, None)?;
        match channel.sender.readers() {
            Readers::Channel => changes.insert.push(notice),
            Readers::People(addresses) => {
                let people = self.addresses(about, groups, addresses).await?;
                let one = |recipient| Notice { id: self.ids.notice(), ..notice.clone() }.to(recipient);
                changes.insert.extend(people.into_iter().map(one));
            }
        }
        Ok(())
    }

    /// A request is settled: what nobody has begun to send is not sent, whoever has a copy is told, and so is the agent's owner.
    async fn note_outcome(
        &self,
        channel: &Channel,
        about: &About,
        outcome: &'static str,
        changes: &mut NoticeChanges,
    ) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let before = self.store.list_notices_about(about.request.id, &channel.name).await?;
        if before.iter().any(|notice| notice.kind == NoticeKind::Resolved) {
            return Ok(());
        }
        let asks: Vec<Notice> = before.into_iter().filter(|notice| notice.kind == NoticeKind::Awaited).collect();
        for ask in asks.iter().filter(|ask| ask.is_untouched()) {
            changes.update.push((ask.clone(), ask.clone().supersede(now)));
        }
        let follow_up = channel.sender.follow_up();
        if follow_up != FollowUp::Change && !channel.wants(NoticeKind::Resolved) {
            return Ok(());
        }
        let notice = self.notice(channel, about, NoticeKind::Resolved, Some(outcome))?;
        let mut told = Vec::new();
        for ask in asks.iter().filter(|ask| !ask.is_untouched() && ask.state != NoticeState::Superseded) {
            told.push(Notice { id: self.ids.notice(), ..notice.clone() }.to(ask.recipient.clone()).after(ask.id));
        }
        if told.is_empty() && follow_up == FollowUp::Always {
            told.push(notice.clone());
        }
        if let (Readers::People(_), Some(owner)) = (channel.sender.readers(), self.owner_address(about).await?)
            && !told.iter().any(|one| one.recipient.eq_ignore_ascii_case(&owner))
        {
            told.push(notice.to(owner));
        }
        changes.insert.extend(told);
        Ok(())
    }
}

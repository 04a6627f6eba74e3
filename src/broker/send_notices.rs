//! Sending what is due, channel by channel, so that one that hangs holds up no other. A notice is claimed in a commit before it is sent
//! and settled in one after: of several replicas one sends, and one that dies in between leaves it due. What follows something up
//! is sent after it, or not at all.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::facts::Record;
use super::sweep::SweepReport;
use super::{Broker, BrokerError};
use crate::domain::{Actor, EventKind, Name, Notice, NoticeKind, NoticeState, Subjects, Timestamp};
use crate::notify::{Channel, Content, FollowUp, Letter, SendError};
use crate::store::{NoticeChanges, StoreError};

/// Notices of a channel that are looked at in one run, and that are on their way at the same time.
const BATCH: u32 = 40;
const PARALLEL: usize = 4;
/// How long one attempt may take in all; shorter than a claim.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Failed attempts in a row after which a channel is left alone for a while, and for how long at first and at most, in milliseconds.
const RESTS_AFTER: u32 = 5;
const FIRST_REST_MILLIS: i64 = 5_000;
const LONGEST_REST_MILLIS: i64 = 60_000;
/// How soon a follow-up looks again at what it follows, in milliseconds.
const LOOK_AGAIN_MILLIS: i64 = 1_000;

/// What to do with a notice once it is claimed.
enum Fit {
    /// Send it, after this one.
    Send(Option<Box<Notice>>),
    /// There is nothing to say any more.
    Superseded,
    /// What it follows is not settled yet.
    Later(Timestamp),
}

/// One change of one notice.
fn change(before: &Notice, after: &Notice) -> NoticeChanges {
    NoticeChanges { update: vec![(before.clone(), after.clone())], ..NoticeChanges::default() }
}

impl Broker {
    /// Send what is due of one channel.
    ///
    /// # Errors
    /// What the store says; that a channel takes nothing is none.
    pub async fn send_notices(&self, channel: &Name) -> Result<SweepReport, BrokerError> {
        let Some(channel) = self.channels.find(channel) else { return Ok(SweepReport::default()) };
        let room = self.room_of(channel);
        if room == 0 || self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let due = self.store.list_due_notices(&channel.name, self.clock.now(), room).await?;
        let more = u32::try_from(due.len()).is_ok_and(|count| count >= BATCH);
        let sent: Vec<Result<bool, BrokerError>> = futures_util::stream::iter(due)
            .map(|notice| self.send_notice(channel, notice))
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let mut done = 0_usize;
        for one in sent {
            done = done.saturating_add(usize::from(one?));
        }
        Ok(SweepReport { done, more: more && done > 0 })
    }

    /// How many may be tried now: none while the channel rests, and one when it is time to try whether it is well again.
    fn room_of(&self, channel: &Channel) -> u32 {
        let going = self.known_of_channels().going.get(&channel.name).copied().unwrap_or_default();
        match going.rests_until {
            Some(until) if self.clock.now() < until => 0,
            Some(_) if going.failures >= RESTS_AFTER => 1,
            Some(_) | None => BATCH,
        }
    }

    /// Note how an attempt went.
    fn note_attempt(&self, channel: &Channel, outcome: &Result<Option<String>, SendError>) {
        let now = self.clock.now();
        let mut known = self.known_of_channels();
        let going = known.going.entry(channel.name.clone()).or_default();
        let Err(error) = outcome else {
            *going = super::notices::Going::default();
            return;
        };
        going.failures = going.failures.saturating_add(1);
        let asked = error.rest_secs.map_or(0, |secs| i64::from(secs).saturating_mul(1000));
        let over = going
            .failures
            .checked_sub(RESTS_AFTER)
            .map_or(0, |over| FIRST_REST_MILLIS.saturating_mul(1_i64 << over.min(8)).min(LONGEST_REST_MILLIS));
        if asked.max(over) > 0 {
            going.rests_until = Some(now.plus_millis(asked.max(over)));
        }
    }

    /// Send one, if it is still to be sent and nobody else does: whether anything was done about it.
    async fn send_notice(&self, channel: &Channel, due: Notice) -> Result<bool, BrokerError> {
        let now = self.clock.now();
        let claimed = due.clone().claim(&self.replica, now);
        match self.store.record_notices(&change(&due, &claimed)).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let before = match self.fitness(channel, &claimed).await? {
            Fit::Send(before) => before,
            Fit::Superseded => {
                return self.settle_notice(&claimed, &claimed.clone().supersede(now), "superseded").await;
            }
            Fit::Later(until) => {
                return self.settle_notice(&claimed, &claimed.clone().postpone(until), "postponed").await;
            }
        };
        let Ok(content) = serde_json::from_str::<Content>(&claimed.payload) else {
            return self
                .fail_notice(&claimed, claimed.clone().give_up(claimed.attempts, now), "its text is corrupt")
                .await;
        };
        let letter = Letter {
            id: claimed.id,
            recipient: &claimed.recipient,
            content: &content,
            created_at: claimed.created_at,
            now,
            before: before.as_ref().map(|before| (before.id, before.reference.as_deref())),
        };
        let sending = tokio::time::timeout(ATTEMPT_TIMEOUT, channel.sender.send(&letter));
        let late = |_| Err(SendError { why: "no answer in time".to_owned(), rest_secs: None });
        let outcome = sending.await.unwrap_or_else(late);
        crate::sys::killpoint!(NoticeAfterSend);
        self.note_attempt(channel, &outcome);
        let now = self.clock.now();
        match outcome {
            Ok(reference) => self.settle_notice(&claimed, &claimed.clone().sent(reference, now), "sent").await,
            Err(error) => {
                let after = claimed.clone().missed(error.rest_secs, now);
                tracing::warn!(channel = %channel.name, notice.id = %claimed.id, attempts = after.attempts, %error,
                    "a notice was not taken");
                match after.state {
                    NoticeState::Failed => self.fail_notice(&claimed, after, &error.why).await,
                    NoticeState::Due | NoticeState::Sent | NoticeState::Superseded => {
                        self.settle_notice(&claimed, &after, "missed").await
                    }
                }
            }
        }
    }

    /// Whether a notice is still to be sent.
    async fn fitness(&self, channel: &Channel, notice: &Notice) -> Result<Fit, BrokerError> {
        let now = self.clock.now();
        if notice.kind == NoticeKind::Awaited {
            let request = self.store.find_request(notice.request).await?;
            let waits = request.is_some_and(|request| request.pending().is_some() && !request.is_due(now));
            return Ok(if waits { Fit::Send(None) } else { Fit::Superseded });
        }
        let Some(follows) = notice.follows else { return Ok(Fit::Send(None)) };
        let Some(before) = self.store.find_notice(follows).await? else { return Ok(Fit::Superseded) };
        if before.state == NoticeState::Due {
            if before.is_claimed(now) {
                let until = before.due_at.unwrap_or(now);
                return Ok(Fit::Later(until.min(now.plus_millis(LOOK_AGAIN_MILLIS)).max(now.plus_millis(1))));
            }
            // It waits for another attempt and is out of date: nobody is asked any more.
            match self.store.record_notices(&change(&before, &before.clone().supersede(now))).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            return Ok(Fit::Later(now));
        }
        let sent = before.state == NoticeState::Sent;
        // Claimed more often than tried: whoever died over it may have sent it.
        let maybe_sent = sent || before.fence > i64::from(before.attempts);
        let has_copy = match channel.sender.follow_up() {
            FollowUp::Change => sent && before.reference.is_some(),
            FollowUp::Reply => maybe_sent,
            FollowUp::Always => true,
        };
        Ok(if has_copy { Fit::Send(Some(Box::new(before))) } else { Fit::Superseded })
    }

    async fn settle_notice(&self, before: &Notice, after: &Notice, how: &'static str) -> Result<bool, BrokerError> {
        count(before, how);
        match self.store.record_notices(&change(before, after)).await {
            // Whoever took it over after the claim ran out has the say.
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Give it up, which is on record: somebody was not told.
    async fn fail_notice(&self, before: &Notice, after: Notice, why: &str) -> Result<bool, BrokerError> {
        count(before, "failed");
        tracing::error!(channel = %before.channel, notice.id = %before.id, why, "a notice was given up");
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Broker);
        let request = self.store.find_request(before.request).await?;
        let subjects = request.as_ref().map(super::facts::about_request);
        record.note(
            EventKind::NoticeFailed,
            subjects.unwrap_or_else(|| Subjects { request: Some(before.request), ..Subjects::default() }),
            [
                ("attempts", i64::from(after.attempts).into()),
                ("channel", before.channel.as_str().into()),
                ("kind", before.kind.as_str().into()),
                ("notice", before.id.to_string().into()),
            ],
        );
        let mut tx = self.store.begin("notice.fail");
        tx.update_notice(before, &after);
        match record.commit(tx).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn count(notice: &Notice, how: &'static str) {
    let (channel, kind) = (notice.channel.to_string(), notice.kind.as_str());
    metrics::counter!("hallpass_notices_total", "channel" => channel, "kind" => kind, "outcome" => how).increment(1);
}

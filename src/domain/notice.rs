//! A message to people: asked for by an audit event, sent by a worker, followed up when its request is settled. Its life is here,
//! so that who may send it and when it is given up are rules and not habits.

use super::word::words;
use super::{Name, NoticeId, RequestId, Timestamp};

words! {
    /// What a notice is about.
    NoticeKind as "kind of notice" {
        /// A request waits for people.
        Awaited = "awaited",
        /// A request that waited is settled.
        Resolved = "resolved",
        /// Somebody let a request pass alone in an emergency.
        BreakGlass = "break_glass",
        /// What was let pass alone is to be reviewed.
        ReviewDue = "review_due",
    }
}

words! {
    /// How far a notice is.
    NoticeState as "state of a notice" {
        /// It is to be sent.
        Due = "due",
        /// The channel has taken it.
        Sent = "sent",
        /// It was tried often and long enough, and given up.
        Failed = "failed",
        /// There is nothing to say any more.
        Superseded = "superseded",
    }
}

/// The most attempts to send one.
const MAX_ATTEMPTS: u32 = 10;
/// How long it is tried, in milliseconds.
const MAX_AGE_MILLIS: i64 = 24 * 3600 * 1000;
/// How long a failed one waits at first, and at most, in milliseconds.
const FIRST_WAIT_MILLIS: i64 = 5_000;
const LONGEST_WAIT_MILLIS: i64 = 3_600_000;
/// By how much each wait is longer than the one before: ten attempts take some three and a half hours.
const WAIT_FACTOR: i64 = 3;
/// How long a claim keeps others away, in milliseconds; longer than any attempt takes.
const CLAIM_MILLIS: i64 = 60_000;
/// For how long it is kept, in milliseconds.
const KEEP_MILLIS: i64 = 30 * 24 * 3600 * 1000;

/// One message to one recipient of one channel about one access request, kept until it is sent or given up, and followed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its id, the same at each attempt, so that whoever gets it twice can tell.
    pub id: NoticeId,
    /// By which channel.
    pub channel: Name,
    /// About which request.
    pub request: RequestId,
    /// What about it.
    pub kind: NoticeKind,
    /// To whom: an e-mail address, or nothing where the channel itself says who reads it.
    pub recipient: String,
    /// The notice it follows up, which is sent before it or not at all.
    pub follows: Option<NoticeId>,
    /// What it says, as canonical JSON without secrets.
    pub payload: String,
    /// How far it is.
    pub state: NoticeState,
    /// How often it was tried.
    pub attempts: u32,
    /// Grows with each claim, so that a write of somebody who lost it changes nothing.
    pub fence: i64,
    /// Whoever is sending it.
    pub claimed_by: Option<String>,
    /// When it may be tried; while it is claimed, when the claim runs out.
    pub due_at: Option<Timestamp>,
    /// The channel's own name for it, e.g. a chat's message, by which it is changed later.
    pub reference: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was sent, given up or superseded.
    pub settled_at: Option<Timestamp>,
    /// When it may be forgotten.
    pub keep_until: Timestamp,
}

impl Notice {
    /// One that is due at once.
    #[must_use]
    pub fn new(
        id: NoticeId,
        channel: Name,
        request: RequestId,
        kind: NoticeKind,
        payload: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            channel,
            request,
            kind,
            recipient: String::new(),
            follows: None,
            payload,
            state: NoticeState::Due,
            attempts: 0,
            fence: 0,
            claimed_by: None,
            due_at: Some(now),
            reference: None,
            created_at: now,
            settled_at: None,
            keep_until: now.plus_millis(KEEP_MILLIS),
        }
    }

    /// The same to a person.
    #[must_use]
    pub fn to(self, recipient: impl Into<String>) -> Self {
        Self { recipient: recipient.into(), ..self }
    }

    /// The same as a follow-up.
    #[must_use]
    pub fn after(self, before: NoticeId) -> Self {
        Self { follows: Some(before), ..self }
    }

    /// Whether nobody has ever begun to send it.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.state == NoticeState::Due && self.fence == 0
    }

    /// Whether somebody is sending it at `now`.
    #[must_use]
    pub fn is_claimed(&self, now: Timestamp) -> bool {
        self.state == NoticeState::Due && self.claimed_by.is_some() && self.due_at.is_some_and(|until| now < until)
    }

    /// Taken by a sender: nobody else tries until the claim runs out.
    #[must_use]
    pub fn claim(self, by: &str, now: Timestamp) -> Self {
        Self {
            fence: self.fence.saturating_add(1),
            claimed_by: Some(by.to_owned()),
            due_at: Some(now.plus_millis(CLAIM_MILLIS)),
            ..self
        }
    }

    /// Given back, not tried: it waits for something else until then.
    #[must_use]
    pub fn postpone(self, until: Timestamp) -> Self {
        Self { claimed_by: None, due_at: Some(until), ..self }
    }

    /// The channel has taken it.
    #[must_use]
    pub fn sent(self, reference: Option<String>, now: Timestamp) -> Self {
        let reference = reference.or(self.reference);
        let attempts = self.attempts.saturating_add(1);
        Self {
            state: NoticeState::Sent,
            reference,
            attempts,
            claimed_by: None,
            due_at: None,
            settled_at: Some(now),
            ..self
        }
    }

    /// There is nothing to say any more.
    #[must_use]
    pub fn supersede(self, now: Timestamp) -> Self {
        Self { state: NoticeState::Superseded, claimed_by: None, due_at: None, settled_at: Some(now), ..self }
    }

    /// An attempt failed: try again after a while, at the earliest in `at_least_secs`, or give it up.
    #[must_use]
    pub fn missed(self, at_least_secs: Option<u32>, now: Timestamp) -> Self {
        let attempts = self.attempts.saturating_add(1);
        let mut wait = FIRST_WAIT_MILLIS;
        for _ in 1..attempts {
            wait = wait.saturating_mul(WAIT_FACTOR).min(LONGEST_WAIT_MILLIS);
        }
        let asked = i64::from(at_least_secs.unwrap_or(0)).saturating_mul(1000).min(LONGEST_WAIT_MILLIS);
        let next = now.plus_millis(wait.max(asked));
        let given_up = attempts >= MAX_ATTEMPTS || next.millis_since(self.created_at) > MAX_AGE_MILLIS;
        if given_up {
            self.give_up(attempts, now)
        } else {
            Self { attempts, claimed_by: None, due_at: Some(next), ..self }
        }
    }

    /// It cannot be sent at all.
    #[must_use]
    pub fn give_up(self, attempts: u32, now: Timestamp) -> Self {
        Self { state: NoticeState::Failed, attempts, claimed_by: None, due_at: None, settled_at: Some(now), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn notice() -> Notice {
        let id = NoticeId::new(T0, [1; 10]);
        let request = RequestId::new(T0, [2; 10]);
        Notice::new(id, "chat".parse().unwrap(), request, NoticeKind::Awaited, "{}".to_owned(), T0)
    }

    #[test]
    fn a_missed_notice_waits_longer_each_time_and_is_given_up_after_ten_attempts() {
        let (mut notice, mut now, mut waits) = (notice(), T0, Vec::new());
        while let Some(due) = notice.due_at.filter(|_| notice.state == NoticeState::Due) {
            now = now.max(due);
            notice = notice.claim("me", now).missed(None, now);
            waits.extend(notice.due_at.map(|due| due.millis_since(now) / 1000));
        }
        assert_eq!(waits, [5, 15, 45, 135, 405, 1215, 3600, 3600, 3600]);
        assert_eq!((notice.state, notice.attempts, notice.due_at), (NoticeState::Failed, 10, None));
    }

    #[test]
    fn what_a_channel_asks_for_is_kept_to_but_not_for_ever() {
        let asked = notice().claim("me", T0).missed(Some(90), T0);
        assert_eq!(asked.due_at, Some(T0.plus_millis(90_000)));
        let forever = notice().claim("me", T0).missed(Some(u32::MAX), T0);
        assert_eq!(forever.due_at, Some(T0.plus_millis(LONGEST_WAIT_MILLIS)));
        let old = T0.plus_millis(MAX_AGE_MILLIS);
        assert_eq!(notice().claim("me", old).missed(None, old).state, NoticeState::Failed);
    }

    #[test]
    fn a_claim_keeps_others_away_until_it_runs_out() {
        let claimed = notice().claim("me", T0);
        assert!(notice().is_untouched() && !claimed.is_untouched());
        assert!(claimed.is_claimed(T0) && !claimed.is_claimed(T0.plus_millis(CLAIM_MILLIS)));
        assert!(!claimed.clone().postpone(T0).is_claimed(T0));
        let sent = claimed.sent(Some("C1/17".to_owned()), T0);
        assert_eq!((sent.state, sent.attempts, sent.due_at), (NoticeState::Sent, 1, None));
        assert_eq!(sent.reference.as_deref(), Some("C1/17"));
    }
}

//! Deciding in somebody's place while they are away: given by that person, for a time, to one other person, and never passed on.

use super::{DelegationId, Message, Person, Timestamp};

/// One person's leave for another to decide in their place while they are away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Its id.
    pub id: DelegationId,
    /// Who is away.
    pub giver: Person,
    /// Who decides instead.
    pub receiver: Person,
    /// Why.
    pub reason: Message,
    /// When it was given.
    pub given_at: Timestamp,
    /// From when on it holds.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// When it was ended early, and by whom.
    pub ended: Option<(Timestamp, Person)>,
}

impl Delegation {
    /// The longest one, in milliseconds: 30 days.
    pub const MAX_MILLIS: i64 = 30 * 86_400_000;

    /// Whether the receiver may decide in the giver's place now.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.from <= now && now < self.until
    }

    /// `given`, `held`, `ended` or `over`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> &'static str {
        match &self.ended {
            Some(_) => "ended",
            None if now < self.from => "given",
            None if now < self.until => "held",
            None => "over",
        }
    }
}

//! What deviates from what an agent usually asks for, and what became of what it asked before. Pure: rows in, words out; only what
//! deviates is said.

use std::collections::BTreeSet;

use super::sentence::life;
use crate::api::HistoryView;
use crate::domain::{AccessRequest, EntryName, ScopeSet, Task, Timestamp, Ttl};
use crate::store::PastRequest;

/// How far back is looked, in milliseconds.
pub(super) const BACK_MILLIS: i64 = 30 * DAY_MILLIS;
/// A day.
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;
const HOUR_MILLIS: i64 = 3_600_000;
/// Requests before anything is said of an agent's hours.
const ENOUGH_FOR_HOURS: usize = 20;
/// Like requests before anything is said of their lives.
const ENOUGH_FOR_LIVES: usize = 3;
/// Requests of a day that are never too many.
const NEVER_MANY: usize = 5;

fn entries(scopes: &ScopeSet) -> BTreeSet<&EntryName> {
    scopes.iter().map(crate::domain::Scope::entry).collect()
}

/// Whether a past request asked for one of these entries.
fn is_like(past: &PastRequest, entries: &BTreeSet<&EntryName>) -> bool {
    past.scopes.iter().any(|scope| entries.contains(scope.entry()))
}

/// What the agent asked for before with scopes of the same entries, by outcome.
pub(super) fn history(request: &AccessRequest, past: &[PastRequest]) -> HistoryView {
    let own = entries(&request.scopes);
    let like: Vec<&PastRequest> = past.iter().filter(|one| is_like(one, &own)).collect();
    let in_state = |state: &str| like.iter().filter(|one| one.state == state).count();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    HistoryView {
        asked: count(like.len()),
        granted: count(in_state("granted")),
        denied: count(in_state("denied")),
        last_granted_at: like.iter().filter(|one| one.state == "granted").filter_map(|one| one.settled_at).max(),
    }
}

/// Each deviation as one sentence.
pub(super) fn unusual(request: &AccessRequest, task: &Task, past: &[PastRequest]) -> Vec<String> {
    let mut said = Vec::new();
    for entry in entries(&request.scopes) {
        if !past.iter().any(|one| one.scopes.iter().any(|scope| scope.entry() == entry)) {
            said.push(format!("{} has not asked for {entry} in the last 30 days.", request.agent));
        }
    }
    said.extend(longer(request, past));
    said.extend(other_hour(request, past));
    if !past.is_empty() && past.iter().all(|one| one.identity != task.identity) {
        said.push(format!("{} comes with an identity that it has not come with in the last 30 days.", request.agent));
    }
    said.extend(more_often(request, past));
    said
}

fn longer(request: &AccessRequest, past: &[PastRequest]) -> Option<String> {
    let own = entries(&request.scopes);
    let mut lives: Vec<Ttl> = past.iter().filter(|one| is_like(one, &own)).map(|one| one.ttl).collect();
    if lives.len() < ENOUGH_FOR_LIVES {
        return None;
    }
    lives.sort_unstable();
    let median = *lives.get(lives.len() / 2)?;
    (request.ttl > median)
        .then(|| format!("It asks for {}; half of the time it asks for {} or less.", life(request.ttl), life(median)))
}

/// The hour of the day, in UTC.
const fn hour(at: Timestamp) -> i64 {
    at.as_millis().rem_euclid(DAY_MILLIS).div_euclid(HOUR_MILLIS)
}

fn other_hour(request: &AccessRequest, past: &[PastRequest]) -> Option<String> {
    if past.len() < ENOUGH_FOR_HOURS {
        return None;
    }
    let now = hour(request.asked_at);
    let is_near = |other: i64| {
        let apart = (now - other).rem_euclid(24);
        apart.min(24 - apart) <= 1
    };
    (!past.iter().any(|one| is_near(hour(one.asked_at))))
        .then(|| format!("It asks at {now:02} o'clock UTC, when it did not ask in the last 30 days."))
}

fn more_often(request: &AccessRequest, past: &[PastRequest]) -> Option<String> {
    let since = request.asked_at.plus_millis(-DAY_MILLIS);
    // This one among them.
    let today = past.iter().filter(|one| one.asked_at > since).count().saturating_add(1);
    let before = past.iter().filter(|one| one.asked_at <= since);
    let days: BTreeSet<i64> =
        before.clone().map(|one| since.millis_since(one.asked_at).div_euclid(DAY_MILLIS)).collect();
    let a_day = before.count().checked_div(days.len())?;
    (today > NEVER_MANY && today > a_day.saturating_mul(3))
        .then(|| format!("{today} requests within 24 hours, this one among them; {a_day} on a usual day."))
}

#[cfg(test)]
mod tests;

//! The early end of one session: an inline policy of its role that denies everything to it by its `aws:userid`. The policy follows
//! from what the broker has on record, so every replica makes the same and none loses what another put; nothing that is in it leaves
//! it before its session has come to its own end, and what does not fit is said to end by its hard stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use serde_json::Value;

use super::handle::SessionHandle;
use super::iam::{Iam, Put};
use super::policy::deny_policy;
use crate::domain::{Handle, Timestamp};
use crate::minter::{MintError, Over, Probe, Revoked};
use crate::sys::Clock;

/// AWS's limit on all inline policies of a role together, in characters that are no white space (IAM User Guide, "IAM and STS quotas").
pub(super) const MAX_INLINE_CHARS: usize = 10_240;
/// How often a policy is read back.
const LOOK_AGAIN_MILLIS: i64 = 30_000;
/// For how long what was read holds.
const FRESH_MILLIS: i64 = 90_000;
/// For how long a session stays in the policy that is not on our list: another replica may know of it already.
const STRANGER_MILLIS: i64 = 60_000;
/// From the end of a lease until its denial is put, in milliseconds: the commit, and the chore that puts it.
const UNTIL_PUT_MILLIS: i64 = 5_000;
/// Roles tended at the same time.
const PARALLEL: usize = 8;
/// How often less is tried when a policy does not fit.
const MAX_SHRINKS: usize = 4;

/// The denials of one backend.
pub(super) struct Denials {
    pub(super) iam: Iam,
    /// What our policy is called in each role.
    pub(super) policy: String,
    /// How long it may be, in characters.
    pub(super) room: usize,
    pub(super) settle_millis: i64,
    pub(super) clock: Arc<dyn Clock>,
    /// The ARNs of the roles that may be assumed.
    pub(super) roles: BTreeSet<String>,
    pub(super) known: Mutex<BTreeMap<String, Known>>,
}

/// What is known of a role's policy.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The role's id, once IAM said that it has this role.
    role_id: Option<String>,
    looked_at: Option<Timestamp>,
    look_again_at: Option<Timestamp>,
    /// The `aws:userid`s it denies.
    present: BTreeSet<String>,
    /// Since when each session on our list is denied.
    since: BTreeMap<String, Timestamp>,
    /// Since when it denies somebody who is not on our list.
    strangers: BTreeMap<String, Timestamp>,
    /// Those on our list that do not fit.
    left_out: BTreeSet<String>,
    failed: bool,
}

/// Sessions that must not work, with their own ends.
type Wanted = BTreeMap<String, Timestamp>;

impl Denials {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of this role was given under this id; another one than we know means that the role was made anew.
    pub(super) fn note_role_id(&self, role_arn: &str, role_id: &str) {
        let mut known = self.known();
        if let Some(state) = known.get_mut(role_arn)
            && state.role_id.as_deref().is_some_and(|id| id != role_id)
        {
            *state = Known::default();
        }
    }

    /// Have every role deny what must not work.
    ///
    /// # Errors
    /// [`MintError`] of the first role that could not be made to; it is tried again.
    pub(super) async fn put(&self, over: &[Over<'_>], now: Timestamp) -> Result<(), MintError> {
        let mut roles: BTreeMap<String, Wanted> = self.roles.iter().map(|arn| (arn.clone(), Wanted::new())).collect();
        for credential in over.iter().map(|over| over.credential).filter(|credential| credential.native_end > now) {
            if let Ok(session) = SessionHandle::read(credential.handle) {
                roles.entry(session.role_arn).or_default().insert(session.name, credential.native_end);
            }
        }
        let tended = futures_util::stream::iter(roles).map(|(arn, wanted)| async move {
            let mut state = self.known().get(&arn).cloned().unwrap_or_default();
            let before = state.role_id.clone();
            let (done, looked) = match self.tend(&arn, &wanted, &mut state).await {
                Ok(looked) => (Ok(()), looked),
                Err(error) => (Err(error), false),
            };
            state.failed = done.is_err() || (state.failed && !looked);
            let left_out = state.left_out.len();
            let mut known = self.known();
            // Unless a session of another role by this name was given meanwhile: then nothing that was found counts.
            if known.get(&arn).and_then(|current| current.role_id.clone()) == before {
                known.insert(arn.clone(), state);
            }
            drop(known);
            match left_out {
                _ if !looked => done,
                0 => Ok(()),
                left => Err(self.full(&arn, left)),
            }
        });
        let done: Vec<Result<(), MintError>> = tended.buffer_unordered(PARALLEL).collect().await;
        done.into_iter().collect()
    }

    /// Whether the policy was read.
    async fn tend(&self, arn: &str, wanted: &Wanted, state: &mut Known) -> Result<bool, MintError> {
        let now = self.clock.now();
        let looked_lately = state.look_again_at.is_some_and(|at| now < at);
        let idle = wanted.is_empty() && state.present.is_empty();
        let all_there = wanted.keys().all(|name| state.since.contains_key(name) || state.left_out.contains(name));
        if looked_lately && (idle || (all_there && !state.failed))
            || (idle && state.looked_at.is_some() && !state.failed)
        {
            return Ok(false);
        }
        state.look_again_at = Some(now.plus_millis(LOOK_AGAIN_MILLIS));
        let role = arn.rsplit('/').next().unwrap_or_default();
        let role_id = self.role_id(arn, role, state).await?;
        let text = self.iam.get_role_policy(role, &self.policy).await?;
        let present = text.as_deref().map(user_ids).unwrap_or_default();
        let ids: BTreeMap<String, (&String, Timestamp)> =
            wanted.iter().map(|(name, end)| (format!("{role_id}:{name}"), (name, *end))).collect();
        let (missing, strangers) = compare(&present, &ids, state, now);
        if let Some(gone) = state.since.keys().find(|name| missing.iter().any(|(_, id)| id.ends_with(name.as_str()))) {
            tracing::error!(role = arn, session = %gone, "somebody took a denial out of the role's policy; it is put again");
        }
        let stays: BTreeSet<&str> = present
            .iter()
            .filter(|id| ids.contains_key(*id) || strangers.get(*id).is_some_and(|since| is_young(*since, now)))
            .map(String::as_str)
            .collect();
        let (target, put) = self.put_what_fits(role, &present, stays, &missing, text.is_some()).await?;
        let after = self.clock.now();
        state.since = target.iter().filter_map(|id| ids.get(id)).fold(BTreeMap::new(), |mut since, (name, _)| {
            let was = state.since.get(*name).copied().filter(|_| present.contains(&format!("{role_id}:{name}")));
            since.insert((*name).clone(), was.unwrap_or(after));
            since
        });
        state.left_out = wanted.keys().filter(|name| !state.since.contains_key(*name)).cloned().collect();
        state.strangers = strangers;
        state.present = target;
        state.looked_at = Some(now);
        let soon = (self.settle_millis / 2).clamp(500, LOOK_AGAIN_MILLIS);
        state.look_again_at = Some(after.plus_millis(if put { soon } else { LOOK_AGAIN_MILLIS }));
        Ok(true)
    }

    fn full(&self, arn: &str, left_out: usize) -> MintError {
        MintError::Refused(format!(
            "{left_out} ended sessions of {arn} do not fit into its inline policies ({} characters): they work until their hard \
             stop. Spread the sessions over several ARNs in `roles`",
            self.room
        ))
    }

    /// The id of a role, once IAM says that it is this one: by its name alone it could be that of another account. One that was made
    /// anew has another id, and what was known of the old one says nothing of it.
    async fn role_id(&self, arn: &str, role: &str, state: &mut Known) -> Result<String, MintError> {
        let described = self.iam.get_role(role).await?;
        if described.arn != arn {
            return Err(MintError::Misconfigured(format!(
                "`deny_role_policy`: the account of the broker's own credentials has {} and not {arn}, so its sessions cannot be \
                 denied",
                described.arn
            )));
        }
        if state.role_id.as_ref().is_some_and(|id| *id != described.id) {
            *state = Known::default();
        }
        state.role_id = Some(described.id.clone());
        Ok(described.id)
    }

    /// What stays and as many of the missing as fit, those first that would live longest; whether anything was changed.
    async fn put_what_fits(
        &self,
        role: &str,
        present: &BTreeSet<String>,
        stays: BTreeSet<&str>,
        missing: &[(Timestamp, String)],
        there: bool,
    ) -> Result<(BTreeSet<String>, bool), MintError> {
        let mut room = self.room;
        for _ in 0..MAX_SHRINKS {
            let mut target = stays.clone();
            let mut length = document(&target)?.len();
            for (_, id) in missing {
                // Its quotes and its comma.
                if length.saturating_add(id.len()).saturating_add(3) <= room {
                    length = length.saturating_add(id.len()).saturating_add(3);
                    target.insert(id);
                }
            }
            if target.len() == present.len()
                && target.iter().all(|id| present.contains(*id))
                && !(target.is_empty() && there)
            {
                return Ok((owned(&target), false));
            }
            if target.is_empty() {
                if there {
                    self.iam.delete_role_policy(role, &self.policy).await?;
                }
                return Ok((BTreeSet::new(), there));
            }
            match self.iam.put_role_policy(role, &self.policy, &document(&target)?).await? {
                Put::Done => return Ok((owned(&target), true)),
                Put::Full => room = room.saturating_sub(room / 4),
            }
        }
        Ok((present.clone(), false))
    }

    /// How a session that must end ends.
    pub(super) fn ends(&self, handle: &Handle, native_end: Timestamp) -> Result<Revoked, MintError> {
        let session = SessionHandle::read(handle)?;
        let now = self.clock.now();
        let known = self.known();
        let state = known.get(&session.role_arn);
        if native_end <= now || state.is_some_and(|state| state.left_out.contains(&session.name)) {
            return Ok(Revoked::EndsBy(native_end));
        }
        let (policy, arn) = (&self.policy, &session.role_arn);
        // Where IAM fails it is tried on: nobody can say by when.
        let unknown = || MintError::Unavailable(format!("the policy `{policy}` of {arn} is not known to deny it yet"));
        let since = state.and_then(|state| state.since.get(&session.name)).copied();
        if let Some(since) = since.filter(|since| self.is_settled(state, *since, now)) {
            let seconds = self.settle_millis / 1000;
            return Ok(Revoked::Gone(format!(
                "the policy `{policy}` of {arn} denies it everything since {since}, and IAM has had {seconds} s to pass that on"
            )));
        }
        // What is not put yet is put within moments, or else found out to be impossible.
        let from = since.unwrap_or(now);
        let by = from.plus_millis(self.settle_millis.saturating_add(UNTIL_PUT_MILLIS)).min(native_end);
        if by < native_end && (by <= now || state.is_some_and(|state| state.failed)) {
            return Err(unknown());
        }
        Ok(Revoked::EndsBy(by))
    }

    /// Whether a denial was there, was seen there, and has had the time to be everywhere.
    fn is_settled(&self, state: Option<&Known>, since: Timestamp, now: Timestamp) -> bool {
        let seen = state.and_then(|state| state.looked_at);
        seen.is_some_and(|at| at > since && now.millis_since(at) < FRESH_MILLIS)
            && now.millis_since(since) >= self.settle_millis
    }

    /// Read the role's policy once more.
    ///
    /// # Errors
    /// [`MintError`].
    pub(super) async fn probe(&self, handle: &Handle) -> Result<Probe, MintError> {
        let session = SessionHandle::read(handle)?;
        let (id, settled) = {
            let known = self.known();
            let state = known.get(&session.role_arn);
            let since = state.and_then(|state| state.since.get(&session.name)).copied();
            let settled = since.is_some_and(|since| self.is_settled(state, since, self.clock.now()));
            (state.and_then(|state| state.role_id.clone()), settled)
        };
        let Some(id) = id.filter(|_| settled) else { return Ok(Probe::Unknown) };
        let text = self.iam.get_role_policy(session.role_name(), &self.policy).await?;
        let denied = text.as_deref().map(user_ids).unwrap_or_default();
        if denied.contains(&format!("{id}:{}", session.name)) {
            return Ok(Probe::Refused);
        }
        let (policy, arn) = (&self.policy, &session.role_arn);
        Err(MintError::Unavailable(format!(
            "the policy `{policy}` of {arn} does not deny it any more; it is put again"
        )))
    }
}

/// What is not denied yet, those first that would live longest, and who is denied without being on our list, since when.
fn compare(
    present: &BTreeSet<String>,
    ids: &BTreeMap<String, (&String, Timestamp)>,
    state: &Known,
    now: Timestamp,
) -> (Vec<(Timestamp, String)>, BTreeMap<String, Timestamp>) {
    let mut missing: Vec<(Timestamp, String)> =
        ids.iter().filter(|(id, _)| !present.contains(*id)).map(|(id, (_, end))| (*end, id.clone())).collect();
    missing.sort_by(|one, other| other.cmp(one));
    let strangers = present.iter().filter(|id| !ids.contains_key(*id));
    let since = |id: &String| (id.clone(), state.strangers.get(id).copied().unwrap_or(now));
    (missing, strangers.map(since).collect())
}

fn is_young(since: Timestamp, now: Timestamp) -> bool {
    now.millis_since(since) < STRANGER_MILLIS
}

fn owned(ids: &BTreeSet<&str>) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn document(ids: &BTreeSet<&str>) -> Result<String, MintError> {
    deny_policy(ids.iter().copied()).map_err(crate::minter::settings::without_form)
}

/// Whom a policy of ours denies everything; nobody, when it is not as we write it.
fn user_ids(text: &str) -> BTreeSet<String> {
    let Ok(policy) = serde_json::from_str::<Value>(text) else { return BTreeSet::new() };
    let listed = policy.pointer("/Statement/0/Condition/StringEquals/aws:userid");
    let ids: BTreeSet<&str> = match listed {
        Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => BTreeSet::new(),
    };
    let ours = document(&ids).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    if ours.as_ref() == Some(&policy) { owned(&ids) } else { BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_ours_is_read_back_and_a_changed_one_counts_for_nothing() {
        let ids = BTreeSet::from(["AROAX:jit-1", "AROAX:jit-2"]);
        assert_eq!(user_ids(&document(&ids).unwrap()), owned(&ids));
        let one = BTreeSet::from(["AROAX:jit-1"]);
        assert_eq!(user_ids(&document(&one).unwrap()), owned(&one));
        let weaker = document(&ids).unwrap().replace(r#""Action":"*""#, r#""Action":"s3:*""#);
        for changed in [weaker.as_str(), "{}", "", "null"] {
            assert!(user_ids(changed).is_empty(), "{changed}");
        }
    }

    #[test]
    fn so_many_fit_into_one_role() {
        let id = "AROAABCDEFGHIJKLMNOPQ:jit-lse_01m3250vz7040g2081040g2";
        let ids: Vec<String> = (100..1_000).map(|n| format!("{id}{n}")).collect();
        let fits = |count: usize| {
            document(&ids[..count].iter().map(String::as_str).collect()).unwrap().len() <= MAX_INLINE_CHARS
        };
        assert!(fits(171) && !fits(172));
    }
}

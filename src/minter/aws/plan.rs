//! What an order would come to: a pure reckoning, from which the effect that people approve, the session policy and the name of the
//! session follow. What does not fit into one session is refused here, before anything is asked of AWS.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::effect::{lines, target};
use super::handle::SessionHandle;
use super::policy::{Allow, MAX_POLICY_CHARS, minimise, session_policy};
use super::settings::{Role, SESSION_SECONDS};
use super::{AwsMinter, in_policy};
use crate::domain::{LeaseId, MintPlan, Name};
use crate::minter::settings::{canonical, without_form};
use crate::minter::{MintError, MintOrder, Minter as _};
use crate::sys::sha256;

/// Where the end stands in the policy that approvers see: the plan's effect has no time of day.
const STOP_SHOWN: &str = "the end of the lease";
/// What would be minted, as approvers are shown it.
#[derive(Serialize)]
struct Shown<'a> {
    agent: &'a str,
    backend: &'a Name,
    denied_early_by_role_policy: bool,
    kind: &'a str,
    region: &'a str,
    role_arns: Vec<&'a str>,
    scopes: Vec<String>,
    session_policy: Value,
    session_seconds: u32,
    ttl_seconds: u32,
}

/// What the plan keeps for the mint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Native {
    pub(super) allows: Vec<Allow>,
    pub(super) lease: LeaseId,
    pub(super) tags: Vec<(String, String)>,
}

impl AwsMinter {
    /// The role of a lease, of several that may share the sessions.
    fn role_of(&self, key: &Name, lease: LeaseId) -> Result<&Role, MintError> {
        let roles = self.roles.get(key).map(Vec::as_slice).unwrap_or_default();
        let digest = sha256(lease.to_string());
        let first = digest.as_bytes().iter().take(4).fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        let chosen = first.checked_rem(roles.len()).and_then(|index| roles.get(index));
        chosen.ok_or_else(|| MintError::Misconfigured(format!("the backend has no role `{key}`")))
    }

    /// Who uses it and why, as `CloudTrail` and conditions on `aws:PrincipalTag` see it.
    fn tags(&self, order: &MintOrder<'_>) -> Vec<(String, String)> {
        let tag = |key: &str, value: String| (format!("hallpass:{key}"), value);
        vec![
            tag("agent", order.agent.to_string()),
            tag("deployment", self.deployment.clone()),
            tag("lease", order.lease.to_string()),
            tag("task", order.task.to_string()),
        ]
    }

    fn summary(&self, order: &MintOrder<'_>, role: &Name, allows: &[Allow], session_seconds: u32) -> Vec<String> {
        let mut lines = lines(allows);
        let arns: Vec<&str> = self.roles.get(role).into_iter().flatten().map(|role| role.arn.as_str()).collect();
        lines.push(format!("session of {} for {}, and never more than that role may", arns.join(" or "), order.ttl));
        lines.push("anybody who holds the credentials can use them".to_owned());
        lines.push(if self.settings.deny_role_policy {
            format!(
                "can be ended early: a denial in the role, which AWS passes on within {} s",
                self.settings.settle_seconds
            )
        } else {
            "cannot be ended early: it works until the end of the lease".to_owned()
        });
        if order.ttl.as_secs() < session_seconds {
            lines.push(format!(
                "AWS keeps the session for {session_seconds} s, but its policy denies it everything after {}",
                order.ttl
            ));
        }
        lines
    }

    pub(super) fn planned(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        if order.confirmation_key.is_some() {
            return Err(MintError::Unsupported("AWS cannot bind a session to a key".to_owned()));
        }
        let ttl_seconds = order.ttl.as_secs();
        if ttl_seconds > self.settings.max_session_seconds {
            return Err(MintError::Unsupported(format!(
                "sessions of this backend last {} s at most (`max_session_seconds`): ask for less time",
                self.settings.max_session_seconds
            )));
        }
        if order.ends_at.as_secs() <= order.now.as_secs() {
            return Err(MintError::Unsupported("less than one second is left for it to live".to_owned()));
        }
        let wanted = target(order, &self.roles)?;
        let allows = minimise(wanted.allows);
        let tags = self.tags(order);
        let length = session_policy(&allows, &in_policy(order.ends_at)).map_err(without_form)?.len();
        let packed =
            tags.iter().map(|(key, value)| key.len().saturating_add(value.len())).fold(length, usize::saturating_add);
        if packed > MAX_POLICY_CHARS {
            return Err(MintError::Unsupported(format!(
                "what is asked is too large for one session: its policy and tags take {packed} characters and AWS allows \
                 {MAX_POLICY_CHARS}; ask for parts of it in requests of their own"
            )));
        }
        let session_seconds = ttl_seconds.max(*SESSION_SECONDS.start());
        let shown = session_policy(&allows, STOP_SHOWN).map_err(without_form)?;
        let effect = canonical(&Shown {
            agent: order.agent.as_str(),
            backend: &self.backend,
            denied_early_by_role_policy: self.settings.deny_role_policy,
            kind: self.kind(),
            region: &self.settings.region,
            role_arns: self.roles.get(&wanted.role).into_iter().flatten().map(|role| role.arn.as_str()).collect(),
            scopes: order.scopes.iter().map(|(scope, _)| scope.to_string()).collect(),
            session_policy: serde_json::from_str(&shown).map_err(without_form)?,
            session_seconds,
            ttl_seconds,
        })?;
        let role = self.role_of(&wanted.role, order.lease)?;
        let summary = self.summary(order, &wanted.role, &allows, session_seconds);
        let native = Native { allows, lease: order.lease, tags };
        Ok(MintPlan {
            backend: self.backend.clone(),
            digest: sha256(&effect),
            effect,
            summary,
            handle: SessionHandle::of(&role.arn, order.lease).handle(),
            ends_at: order.ends_at,
            // From its hard stop on AWS honours it for nothing, however long it keeps the session.
            native_end: order.ends_at,
            native: serde_json::to_value(native).map_err(without_form)?,
        })
    }
}

//! Session policies: what a session may do, written as short as can be without changing what it means. Each statement that allows
//! carries the hard stop, which fails closed; a statement that denies everything from then on holds against resource policies too,
//! which may name a session and so pass by what its own policy allows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use super::pattern::{covers, covers_resource};

/// AWS's limit on a session policy, in characters (API reference, `AssumeRole`).
pub(super) const MAX_POLICY_CHARS: usize = 2_048;
/// What no session may do, whatever its role may: reach for other credentials, or change who may do what. They cover `sts:AssumeRole*`,
/// `sts:GetFederationToken` and `sts:GetSessionToken`; `sts:GetCallerIdentity` is the one call that AWS lets nobody deny.
pub(super) const DENIED: [&str; 2] = ["iam:*", "sts:*"];
/// The condition key of the hard stop.
pub(super) const CURRENT_TIME: &str = "aws:CurrentTime";
const BEFORE: &str = "DateLessThan";
const FROM: &str = "DateGreaterThanEquals";

/// Operator, key, values.
pub(super) type Conditions = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a session may do, on what, when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allow {
    pub(super) actions: BTreeSet<String>,
    pub(super) resources: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub(super) conditions: Conditions,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    version: &'static str,
    statement: Vec<Statement<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    effect: &'static str,
    action: Short<'a>,
    resource: Short<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'a str, BTreeMap<&'a str, Short<'a>>>,
}

/// A list that is written without its brackets where it has one member.
struct Short<'a>(Vec<&'a str>);

impl Serialize for Short<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            many => serializer.collect_seq(many),
        }
    }
}

fn short(set: &BTreeSet<String>) -> Short<'_> {
    Short(set.iter().map(String::as_str).collect())
}

/// The session policy of these statements, which stop at `stop` (RFC 3339, whole seconds, UTC).
pub(super) fn session_policy(allows: &[Allow], stop: &str) -> Result<String, serde_json::Error> {
    let at = |operator| BTreeMap::from([(operator, BTreeMap::from([(CURRENT_TIME, Short(vec![stop]))]))]);
    let mut statement: Vec<Statement<'_>> = allows
        .iter()
        .map(|allow| {
            let mut condition = at(BEFORE);
            for (operator, keys) in &allow.conditions {
                let keys = keys.iter().map(|(key, values)| (key.as_str(), short(values)));
                condition.entry(operator.as_str()).or_default().extend(keys);
            }
            Statement { effect: "Allow", action: short(&allow.actions), resource: short(&allow.resources), condition }
        })
        .collect();
    let deny = |action: &[&'static str], condition| Statement {
        effect: "Deny",
        action: Short(action.to_vec()),
        resource: Short(vec!["*"]),
        condition,
    };
    statement.push(deny(&DENIED, BTreeMap::new()));
    statement.push(deny(&["*"], at(FROM)));
    serde_json::to_string(&Document { version: "2012-10-17", statement })
}

/// The policy of a role that denies everything to these sessions of it, each named by its `aws:userid`.
pub(super) fn deny_policy<'a>(user_ids: impl IntoIterator<Item = &'a str>) -> Result<String, serde_json::Error> {
    let equals = BTreeMap::from([("aws:userid", Short(user_ids.into_iter().collect()))]);
    let statement = Statement {
        effect: "Deny",
        action: Short(vec!["*"]),
        resource: Short(vec!["*"]),
        condition: BTreeMap::from([("StringEquals", equals)]),
    };
    serde_json::to_string(&Document { version: "2012-10-17", statement: vec![statement] })
}

/// The same in fewer statements: what another pattern covers goes, and statements that differ in their actions only, or in their
/// resources only, become one. Nothing is ever generalised.
pub(super) fn minimise(mut allows: Vec<Allow>) -> Vec<Allow> {
    loop {
        for allow in &mut allows {
            reduce(&mut allow.actions, covers_action);
            reduce(&mut allow.resources, covers_resource);
        }
        allows.sort();
        allows.dedup();
        let before = allows.len();
        drop_covered(&mut allows);
        merge(&mut allows);
        if allows.len() == before {
            return allows;
        }
    }
}

/// Actions are compared without regard to case.
fn covers_action(wide: &str, narrow: &str) -> bool {
    covers(&wide.to_ascii_lowercase(), &narrow.to_ascii_lowercase())
}

/// Keep what no other member covers.
fn reduce(set: &mut BTreeSet<String>, covers: impl Fn(&str, &str) -> bool) {
    let mut kept: Vec<String> = Vec::new();
    for next in std::mem::take(set) {
        if !kept.iter().any(|wide| covers(wide, &next)) {
            kept.retain(|narrow| !covers(&next, narrow));
            kept.push(next);
        }
    }
    set.extend(kept);
}

fn is_covered(narrow: &Allow, wide: &Allow) -> bool {
    let all = |narrow: &BTreeSet<String>, wide: &BTreeSet<String>, covers: fn(&str, &str) -> bool| {
        narrow.iter().all(|one| wide.iter().any(|other| covers(other, one)))
    };
    // What has no condition applies wherever one that has some does.
    (wide.conditions.is_empty() || wide.conditions == narrow.conditions)
        && all(&narrow.actions, &wide.actions, covers_action)
        && all(&narrow.resources, &wide.resources, covers_resource)
}

fn drop_covered(allows: &mut Vec<Allow>) {
    let mut kept: Vec<Allow> = Vec::new();
    for next in std::mem::take(allows) {
        if !kept.iter().any(|wide| is_covered(&next, wide)) {
            kept.retain(|narrow| !is_covered(narrow, &next));
            kept.push(next);
        }
    }
    *allows = kept;
}

fn merge(allows: &mut Vec<Allow>) {
    let mut merged: Vec<Allow> = Vec::new();
    for next in std::mem::take(allows) {
        let like = |one: &&mut Allow| {
            one.conditions == next.conditions && (one.actions == next.actions || one.resources == next.resources)
        };
        match merged.iter_mut().find(like) {
            Some(one) => {
                one.actions.extend(next.actions);
                one.resources.extend(next.resources);
            }
            None => merged.push(next),
        }
    }
    *allows = merged;
}

#[cfg(test)]
pub(super) mod tests;

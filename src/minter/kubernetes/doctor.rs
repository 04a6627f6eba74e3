//! What an operator must mend: rights that are missing, rights that are too many, clocks that differ. The API server is asked what
//! it would allow; nothing is changed there.

use ::http::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::MintError;
use super::api::{Api, Ask, Part, Reply};
use super::objects::Kind;
use crate::domain::Timestamp;

/// How far the clocks may differ: a life of a token is reckoned by both.
const MAX_SKEW_MILLIS: i64 = 10_000;
/// A date header is cut to the second.
const DATE_MILLIS: i64 = 1_000;

/// A right, as RBAC names it.
#[derive(Debug, Clone, Copy)]
struct Right<'a> {
    verb: &'a str,
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
}

#[derive(Deserialize)]
struct Review {
    status: Allowed,
}

#[derive(Deserialize)]
struct Allowed {
    allowed: bool,
}

impl Right<'_> {
    fn shown(self) -> String {
        let below = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        format!("{} {}{below}", self.verb, self.resource)
    }
}

/// What the broker needs in each namespace.
fn needed(own_accounts: bool) -> Vec<Right<'static>> {
    let kinds = Kind::ALL.into_iter().filter(|kind| own_accounts || *kind == Kind::Secret);
    let mut rights: Vec<Right<'_>> = kinds
        .flat_map(|kind| {
            ["create", "get", "list", "delete"].map(|verb| Right {
                verb,
                group: kind.group(),
                resource: kind.resource(),
                subresource: "",
            })
        })
        .collect();
    rights.push(Right { verb: "create", group: "", resource: "serviceaccounts", subresource: "token" });
    rights
}

/// Ask what is missing in each namespace.
///
/// # Errors
/// [`MintError`] when it does not answer.
pub(super) async fn check(
    api: &Api,
    namespaces: &[String],
    own_accounts: bool,
    now: impl Fn() -> Timestamp,
) -> Result<Vec<String>, MintError> {
    let mut wrong = Vec::new();
    let everything = Right { verb: "*", group: "*", resource: "*", subresource: "" };
    let asked_at = now();
    let (all, date) = may(api, "", everything).await?;
    let answered_at = now();
    if let Some(ahead) =
        date.map(|date| skew(date, asked_at, answered_at)).filter(|ahead| ahead.abs() > MAX_SKEW_MILLIS)
    {
        let (seconds, way) = (ahead.abs() / 1000, if ahead > 0 { "ahead of" } else { "behind" });
        wrong.push(format!("the API server's clock is {seconds} s {way} ours: have both follow the same time (NTP)"));
    }
    if all {
        wrong.push(
            "the broker may do everything in the cluster: bind it to a Role in each of its `namespaces` instead of a \
             ClusterRole such as cluster-admin"
                .to_owned(),
        );
        return Ok(wrong);
    }
    let read_all = Right { verb: "get", group: "", resource: "secrets", subresource: "" };
    if may(api, "", read_all).await?.0 {
        wrong.push(
            "the broker may read the Secrets of every namespace: give it `get secrets` by a RoleBinding in each of its \
             `namespaces`, not by a ClusterRoleBinding"
                .to_owned(),
        );
    }
    for namespace in namespaces {
        let mut missing = Vec::new();
        for right in needed(own_accounts) {
            if !may(api, namespace, right).await?.0 {
                missing.push(right.shown());
            }
        }
        if !missing.is_empty() {
            wrong.push(format!(
                "in namespace {namespace} the broker's account may not {}: add it to the Role it is bound to there",
                missing.join(", ")
            ));
        }
    }
    Ok(wrong)
}

/// By how much a clock that said `date` between two moments of ours is ahead; nothing while it may be the same.
fn skew(date: Timestamp, asked_at: Timestamp, answered_at: Timestamp) -> i64 {
    let (most, least) = (date.plus_millis(DATE_MILLIS).millis_since(asked_at), date.millis_since(answered_at));
    if most < 0 { most } else { least.max(0) }
}

/// Whether the broker may do something in a namespace; in all of them when it is empty.
async fn may(api: &Api, namespace: &str, right: Right<'_>) -> Result<(bool, Option<Timestamp>), MintError> {
    let reply: Reply<Review> = api
        .ask(Ask {
            method: Method::POST,
            path: &["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"],
            query: &[],
            body: Some(json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": { "resourceAttributes": {
                    "namespace": namespace,
                    "verb": right.verb,
                    "group": right.group,
                    "resource": right.resource,
                    "subresource": right.subresource,
                } },
            })),
            part: Part::Whole,
        })
        .await?;
    let date = reply.date;
    Ok((reply.yes()?.status.allowed, date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_differs_only_by_what_neither_the_way_nor_the_second_explains() {
        let at = Timestamp::from_millis;
        assert_eq!(skew(at(5_000), at(5_900), at(6_100)), 0);
        assert_eq!(skew(at(5_000), at(4_000), at(9_000)), 0);
        assert_eq!(skew(at(25_000), at(5_000), at(5_100)), 19_900);
        assert_eq!(skew(at(5_000), at(26_000), at(26_100)), -20_000);
    }
}

//! The complete input of a decision, as it is written into the decision's record and read back to replay it. Members are
//! declared in the order canonical JSON (RFC 8785) wants, so that writing it needs no sorting.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Question;
use crate::domain::{Agent, CatalogueEntry, Scope, Timestamp, Ttl, Voter};

/// The only action an agent asks for.
pub(super) const GRANT: &str = "grant";

/// One question with everything an answer may depend on. `P` and `R` are principal and resource: prepared text when it is
/// written, facts when it is read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input<'a, P, R> {
    #[serde(borrow)]
    pub(super) action: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) context: ContextFacts<'a>,
    pub(super) principal: P,
    pub(super) resource: R,
    #[serde(borrow)]
    pub(super) voters: Vec<VoterFacts<'a>>,
}

/// The agent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrincipalFacts {
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) risk_tier: String,
    pub(super) teams: Vec<String>,
}

impl PrincipalFacts {
    pub(super) fn of(agent: &Agent) -> Self {
        Self {
            id: agent.id.to_string(),
            owner: agent.owner.to_string(),
            risk_tier: agent.risk_tier.to_string(),
            teams: agent.teams.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The scope's catalogue entry.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceFacts {
    pub(super) action: String,
    pub(super) backend: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) max_ttl_seconds: Ttl,
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) resource: String,
    pub(super) risk: u8,
}

impl ResourceFacts {
    pub(super) fn of(entry: &CatalogueEntry) -> Self {
        Self {
            action: entry.name.action().to_string(),
            backend: entry.name.backend().to_string(),
            labels: entry.labels.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
            max_ttl_seconds: entry.max_ttl,
            name: entry.name.to_string(),
            owner: entry.owner.clone(),
            resource: entry.name.resource().to_string(),
            risk: entry.risk,
        }
    }
}

/// The context. What the agent merely asserts is under `request` and nowhere else.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextFacts<'a> {
    #[serde(borrow)]
    pub(super) approvals: ApprovalFacts<'a>,
    #[serde(borrow)]
    pub(super) identity: IdentityFacts<'a>,
    pub(super) key_bound: bool,
    pub(super) now: Timestamp,
    #[serde(borrow)]
    pub(super) request: RequestFacts<'a>,
    #[serde(borrow)]
    pub(super) task: TaskFacts<'a>,
    pub(super) ttl_seconds: Ttl,
}

/// Which policies that wait for people are satisfied.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalFacts<'a> {
    #[serde(borrow)]
    pub(super) satisfied: Vec<Cow<'a, str>>,
}

/// Who vouched for the workload.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityFacts<'a> {
    #[serde(borrow)]
    pub(super) issuer: Cow<'a, str>,
}

/// What the agent says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestFacts<'a> {
    #[serde(borrow)]
    pub(super) beneficiary: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) params: Pairs<'a>,
    #[serde(borrow)]
    pub(super) purpose: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) references: Pairs<'a>,
}

/// The task as the broker opened it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskFacts<'a> {
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) ttl_seconds: i64,
}

/// Somebody who said yes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoterFacts<'a> {
    /// Only written where it is so, as records of before it was known have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) break_glass: bool,
    #[serde(borrow)]
    pub(super) groups: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) person: Cow<'a, str>,
}

/// Names with values, in the order of RFC 8785 §3.2.3: by UTF-16 code units.
#[derive(Default)]
pub(super) struct Pairs<'a>(pub(super) Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Pairs<'a> {
    fn new(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut pairs: Vec<_> = pairs.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))).collect();
        if pairs.iter().any(|(name, _)| !name.is_ascii()) {
            pairs.sort_by(|one, two| one.0.encode_utf16().cmp(two.0.encode_utf16()));
        }
        Self(pairs)
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self(pairs.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value))).collect()))
    }
}

impl<'a> ContextFacts<'a> {
    /// What the broker knows and what the agent says, before anybody's approval is counted.
    pub(super) fn of(question: &Question<'a>, scope: &'a Scope) -> Self {
        let task = question.task;
        let text = |text: Option<&'a str>| Cow::Borrowed(text.unwrap_or_default());
        Self {
            approvals: ApprovalFacts::default(),
            identity: IdentityFacts { issuer: Cow::Borrowed(question.issuer) },
            key_bound: question.key_bound,
            now: question.now,
            request: RequestFacts {
                beneficiary: text(task.beneficiary.as_deref()),
                message: text(task.message.as_ref().map(crate::domain::Message::as_str)),
                params: Pairs::new(scope.params().iter().map(|(name, value)| (name.as_str(), value.as_str()))),
                purpose: Cow::Borrowed(task.purpose.as_str()),
                references: Pairs::new(task.references.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            },
            task: TaskFacts {
                kind: text(task.kind.as_ref().map(crate::domain::Name::as_str)),
                ttl_seconds: task.ends_at.millis_since(task.opened_at).div_euclid(1000),
            },
            ttl_seconds: question.ttl,
        }
    }
}

impl PrincipalFacts {
    /// An agent with everything an agent can have, to try a schema with.
    pub(super) fn sample() -> Self {
        let text = || "sample".to_owned();
        Self { id: text(), owner: text(), risk_tier: text(), teams: vec![text()] }
    }
}

impl ResourceFacts {
    /// A scope with everything a scope can have, to try a schema with.
    pub(super) fn sample() -> Self {
        let text = || "sample".to_owned();
        let (labels, max_ttl_seconds) = ([(text(), text())].into(), Ttl::TEN_MINUTES);
        let (name, owner, resource) = ("sample:sample:sample".to_owned(), text(), text());
        Self { action: text(), backend: text(), labels, max_ttl_seconds, name, owner, resource, risk: 0 }
    }
}

impl ContextFacts<'_> {
    /// A context with everything a context can have, to try a schema with.
    pub(super) fn sample() -> Self {
        let text = || Cow::Borrowed("sample");
        let pairs = || Pairs(vec![(text(), text())]);
        let (beneficiary, message, purpose) = (text(), text(), text());
        Self {
            approvals: ApprovalFacts::default(),
            identity: IdentityFacts { issuer: text() },
            key_bound: false,
            now: Timestamp::from_millis(0),
            request: RequestFacts { beneficiary, message, params: pairs(), purpose, references: pairs() },
            task: TaskFacts { kind: text(), ttl_seconds: 1 },
            ttl_seconds: Ttl::TEN_MINUTES,
        }
    }
}

impl<'a> From<&'a Voter> for VoterFacts<'a> {
    fn from(voter: &'a Voter) -> Self {
        Self {
            break_glass: voter.break_glass,
            groups: voter.groups.iter().map(|group| Cow::Borrowed(group.as_str())).collect(),
            person: Cow::Borrowed(voter.person.as_str()),
        }
    }
}

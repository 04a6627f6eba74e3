//! Agents and the bindings by which a verified identity is recognised as one. Bindings compare by equality or by whole path
//! segments; there is no regular expression to escape from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::word::words;
use super::{AgentId, Ceiling, Name, Person, Ttl};

words! {
    /// How much harm an agent could do, as its owner judged it.
    RiskTier as "risk tier" {
        /// Little.
        Low = "low",
        /// Some.
        Medium = "medium",
        /// Much.
        High = "high",
    }
}

/// The person who answers for an agent.
pub type Owner = Person;

/// How a binding compares the subject of a token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectRule {
    /// Byte for byte.
    Equal(String),
    /// Equal to, or below by whole `/`-separated segments.
    Under(String),
    /// Any subject; allowed only where claims pin the owner.
    Any,
}

/// What comparing a binding with an identity says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingMatch {
    /// Issuer, subject and every pinned claim match.
    Matches,
    /// Issuer and subject match, but this pinned claim is absent or different.
    ClaimDiffers(String),
    /// Another issuer or subject.
    No,
}

/// The rule by which a verified identity is recognised as an agent: issuer and subject by equality or whole path segments,
/// never by regular expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// The issuer as configured, byte for byte.
    pub issuer: String,
    /// How the subject is compared.
    pub subject: SubjectRule,
    /// Claims that must be there with exactly this value (numbers as their decimal text).
    pub claims: BTreeMap<String, String>,
}

impl Binding {
    /// Compare with an identity: its issuer, its subject, and a look-up of claims as text.
    pub fn compare<'a>(&self, issuer: &str, subject: &str, claim: impl Fn(&str) -> Option<&'a str>) -> BindingMatch {
        let subject_matches = match &self.subject {
            SubjectRule::Equal(expected) => subject == expected,
            SubjectRule::Under(root) => {
                let root = root.strip_suffix('/').unwrap_or(root);
                subject.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            SubjectRule::Any => true,
        };
        if issuer != self.issuer || !subject_matches {
            return BindingMatch::No;
        }
        match self.claims.iter().find(|(name, expected)| claim(name) != Some(expected.as_str())) {
            Some((name, _)) => BindingMatch::ClaimDiffers(name.clone()),
            None => BindingMatch::Matches,
        }
    }
}

/// How much an agent may hold and ask at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Live leases at a time.
    pub live_leases: u32,
    /// Pending access requests at a time.
    pub pending_requests: u32,
    /// The longest a task may stay open.
    pub task_ttl: Ttl,
    /// Requests a minute to the API.
    pub requests_per_minute: u32,
}

impl Default for AgentLimits {
    /// 50 live leases, 5 pending requests, tasks of 8 hours, 600 requests a minute.
    fn default() -> Self {
        let task_ttl = Ttl::EIGHT_HOURS;
        Self { live_leases: 50, pending_requests: 5, task_ttl, requests_per_minute: 600 }
    }
}

/// A registered non-human principal with one accountable owner; every task, grant and lease belongs to exactly one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// What it is for, in one sentence.
    pub description: String,
    /// The person who answers for it.
    pub owner: Owner,
    /// How much harm it could do.
    pub risk_tier: RiskTier,
    /// The teams policy knows it by.
    pub teams: BTreeSet<Name>,
    /// The kinds of task it is approved for; empty means that it may not name a kind.
    pub kinds: BTreeSet<Name>,
    /// How its workloads are recognised.
    pub bindings: Vec<Binding>,
    /// What it may ever be granted.
    pub ceiling: Ceiling,
    /// How much at once.
    pub limits: AgentLimits,
}

#[cfg(test)]
mod tests {
    use super::{Binding, BindingMatch, SubjectRule};

    fn compare(subject: SubjectRule, presented: &str) -> BindingMatch {
        let issuer = "https://id".to_owned();
        Binding { issuer, subject, claims: [("owner".to_owned(), "1".to_owned())].into() }.compare(
            "https://id",
            presented,
            |name| (name == "owner").then_some("1"),
        )
    }

    #[test]
    fn under_means_by_whole_segments() {
        for root in ["spiffe://acme/ns", "spiffe://acme/ns/"] {
            let under = |subject| compare(SubjectRule::Under(root.to_owned()), subject) == BindingMatch::Matches;
            assert!(under("spiffe://acme/ns") && under("spiffe://acme/ns/a/b"));
            assert!(!under("spiffe://acme/nsx") && !under("spiffe://acme") && !under("x/spiffe://acme/ns"));
        }
    }

    #[test]
    fn equal_means_byte_for_byte() {
        let equal = |subject| compare(SubjectRule::Equal("Bot".to_owned()), subject) == BindingMatch::Matches;
        assert!(equal("Bot") && !equal("bot") && !equal("Bot ") && !equal("Bot/a"));
    }

    #[test]
    fn a_claim_that_is_absent_or_different_is_named() {
        let claims = [("owner".to_owned(), "1".to_owned())].into();
        let binding = Binding { issuer: "https://id".to_owned(), subject: SubjectRule::Any, claims };
        let differs = BindingMatch::ClaimDiffers("owner".to_owned());
        assert_eq!(binding.compare("https://id", "x", |_| Some("1")), BindingMatch::Matches);
        assert_eq!(binding.compare("https://id", "x", |_| Some("2")), differs);
        assert_eq!(binding.compare("https://id", "x", |_| None), differs);
        assert_eq!(binding.compare("https://id/", "x", |_| Some("1")), BindingMatch::No);
    }
}

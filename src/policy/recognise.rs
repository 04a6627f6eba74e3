//! From a verified identity to an agent, by index: the cost does not grow with the number of agents. Bindings that overlap
//! are found when the bundle loads, and what overlaps all the same is recognised as nobody.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{Agent, AgentId, Binding, BindingMatch, SubjectRule};

/// What the bindings say about an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognition {
    /// It is this agent.
    Agent(AgentId),
    /// Issuer and subject are this agent's, but this pinned claim is absent or different.
    ClaimDiffers {
        /// The agent it would have been.
        agent: AgentId,
        /// The claim.
        claim: String,
    },
    /// More than one agent's bindings match, so it is neither.
    Ambiguous,
    /// No binding matches.
    Nobody,
}

type Entries = Vec<(AgentId, Binding)>;

#[derive(Debug, Default)]
struct Issuer {
    equal: HashMap<String, Entries>,
    under: HashMap<String, Entries>,
    any: Entries,
}

/// Every binding, by issuer and by how it compares the subject.
#[derive(Debug, Default)]
pub(super) struct Recogniser(HashMap<String, Issuer>);

/// The subject and each of its ancestors by whole segments.
fn ancestors(subject: &str) -> impl Iterator<Item = &str> {
    let cuts = subject.match_indices('/').filter_map(|(at, _)| subject.get(..at));
    cuts.chain([subject])
}

impl Recogniser {
    pub(super) fn new<'a>(agents: impl Iterator<Item = &'a Agent>) -> Self {
        let mut recogniser = Self::default();
        for agent in agents {
            for binding in &agent.bindings {
                let issuer = recogniser.0.entry(binding.issuer.clone()).or_default();
                let entries = match &binding.subject {
                    SubjectRule::Equal(subject) => issuer.equal.entry(subject.clone()).or_default(),
                    SubjectRule::Under(root) => issuer.under.entry(root.clone()).or_default(),
                    SubjectRule::Any => &mut issuer.any,
                };
                entries.push((agent.id.clone(), binding.clone()));
            }
        }
        recogniser
    }

    /// The bindings whose issuer and subject rule admit everything that `subject` stands for.
    fn candidates<'a>(&'a self, issuer: &str, subject: &'a str) -> impl Iterator<Item = &'a (AgentId, Binding)> {
        self.0.get(issuer).into_iter().flat_map(move |issuer| {
            let equal = issuer.equal.get(subject).into_iter().flatten();
            equal.chain(issuer.above(subject)).chain(&issuer.any)
        })
    }

    pub(super) fn recognise<'a>(
        &self,
        issuer: &str,
        subject: &str,
        claim: impl Fn(&str) -> Option<&'a str>,
    ) -> Recognition {
        let mut answer = Recognition::Nobody;
        for (agent, binding) in self.candidates(issuer, subject) {
            match binding.compare(issuer, subject, &claim) {
                BindingMatch::Matches => match &answer {
                    Recognition::Agent(other) if other != agent => return Recognition::Ambiguous,
                    Recognition::Agent(_)
                    | Recognition::ClaimDiffers { .. }
                    | Recognition::Ambiguous
                    | Recognition::Nobody => answer = Recognition::Agent(agent.clone()),
                },
                BindingMatch::ClaimDiffers(claim) if answer == Recognition::Nobody => {
                    answer = Recognition::ClaimDiffers { agent: agent.clone(), claim };
                }
                BindingMatch::ClaimDiffers(_) | BindingMatch::No => {}
            }
        }
        answer
    }

    /// Each pair of agents of which the first has a binding whose every identity the second's bindings match too, so that
    /// the first could never be recognised by it.
    pub(super) fn overlaps(&self, agents: &BTreeMap<AgentId, (Agent, usize)>) -> Vec<(AgentId, AgentId)> {
        let mut overlaps = Vec::new();
        for (agent, _) in agents.values() {
            for binding in &agent.bindings {
                let Some(issuer) = self.0.get(&binding.issuer) else { continue };
                let wider: Vec<&(AgentId, Binding)> = match &binding.subject {
                    SubjectRule::Equal(subject) => self.candidates(&binding.issuer, subject).collect(),
                    SubjectRule::Under(root) => issuer.above(root).chain(&issuer.any).collect(),
                    SubjectRule::Any => issuer.any.iter().collect(),
                };
                let covers = |other: &Binding| other.claims.iter().all(|pin| binding.claims.get(pin.0) == Some(pin.1));
                let other = wider.into_iter().find(|(id, other)| *id != agent.id && covers(other));
                overlaps.extend(other.map(|(other, _)| (agent.id.clone(), other.clone())));
            }
        }
        overlaps
    }
}

impl Issuer {
    fn above<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a (AgentId, Binding)> {
        ancestors(subject).filter_map(|root| self.under.get(root)).flatten()
    }
}

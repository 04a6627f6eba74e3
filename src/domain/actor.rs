//! Who did it. People are compared as people: an operator is known by issuer and subject, and the bundle's registry says
//! which of these are one person.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AgentId;

/// A human being as the broker tells people apart: the registered name, or `issuer#subject` where none is registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Person(String);

impl Person {
    /// From a registered name, or from an identity that no registered person claims.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person signed in to the broker; **approver** is what policy lets an operator be for a given request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The person, after aliases are collapsed.
    pub person: Person,
    /// The issuer that signed the person in.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// E-mail address as the issuer states it, for display and to recognise a beneficiary.
    pub email: Option<String>,
    /// Groups as the issuer states them.
    pub groups: Vec<String>,
}

/// Whoever caused an event: an agent, an operator, or the broker itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A registered agent.
    Agent(AgentId),
    /// A person.
    Operator(Person),
    /// The broker: a clock ran out, or a sweep found something due.
    Broker,
    /// Somebody whose identity was not established.
    Unknown,
}

impl Actor {
    /// The kind of actor, as its wire word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Operator(_) => "operator",
            Self::Broker => "broker",
            Self::Unknown => "unknown",
        }
    }

    /// The actor's name within its kind; empty where there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(id) => id.as_str(),
            Self::Operator(person) => person.as_str(),
            Self::Broker | Self::Unknown => "",
        }
    }
}

impl fmt::Display for Actor {
    /// `kind:name`, or the kind alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "" => f.write_str(self.kind()),
            name => write!(f, "{}:{name}", self.kind()),
        }
    }
}

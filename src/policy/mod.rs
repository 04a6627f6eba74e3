//! May they: the policy engine. One question for each scope goes in, one of three answers comes out, together with the
//! policies that determined it and the complete input it was given.

mod agents;
mod approval_form;
mod approval_notes;
mod bundle;
mod cedar;
mod engine;
mod exempt;
mod files;
mod golden;
mod input;
mod people;
mod policies;
mod problem;
mod recognise;
mod register;
mod replay;
mod scopes;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::{Agent, Operator, Outcome, PolicyRef, Task, Timestamp, Ttl, Voter};

pub use bundle::Bundle;
pub use exempt::{Exempted, Exemption};
pub use golden::{FileReport, StoryReport, TestReport, run_tests};
pub use policies::PolicyText;
pub use problem::{BundleError, Problem};
pub use recognise::Recognition;
pub use replay::{ReplayError, Replayed};

/// May this agent hold these scopes, for this long, for this task?
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Who asks.
    pub agent: &'a Agent,
    /// For what; carries purpose, kind, beneficiary, references and message, which the agent only asserts.
    pub task: &'a Task,
    /// The issuer that vouched for the workload.
    pub issuer: &'a str,
    /// How long one credential shall live.
    pub ttl: Ttl,
    /// The present.
    pub now: Timestamp,
    /// Who has said yes so far to this very request; people who may not decide it are left out by the caller.
    pub voters: &'a [Voter],
    /// Whether the credential will be bound to a key of the agent's.
    pub key_bound: bool,
}

/// The answer for one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// One of three.
    pub outcome: Outcome,
    /// The policies that determined it, in order of id.
    pub determining: Vec<PolicyRef>,
    /// The complete input as canonical JSON: principal, action, resource, entities and context, enough to replay it.
    pub input: String,
}

crate::domain::words! {
    /// What an operator may want to do.
    OperatorAction as "operator action" {
        /// Decide a pending request.
        Decide = "decide",
        /// End an agent's, a task's, a grant's or a lease's authority.
        Revoke = "revoke",
        /// Throw or release the kill switch.
        KillSwitch = "kill_switch",
        /// Suspend or resume an agent.
        ManageAgents = "manage_agents",
        /// Read the requests that wait for people, in order to decide them.
        Review = "review",
        /// Read leases, tasks, scopes and agents.
        Read = "read",
        /// Read the audit.
        Audit = "audit",
        /// Ask what policy would say.
        Simulate = "simulate",
    }
}

/// An operator's question about one thing.
#[derive(Debug, Clone)]
pub struct OperatorQuestion<'a> {
    /// Who asks.
    pub operator: &'a Operator,
    /// To do what.
    pub action: OperatorAction,
    /// To which agent's authority, where there is one.
    pub agent: Option<&'a Agent>,
    /// The present.
    pub now: Timestamp,
}

/// Whether an operator may do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorAnswer {
    /// Yes.
    Allowed {
        /// The policies that permit it.
        determining: Vec<PolicyRef>,
    },
    /// No.
    Refused {
        /// The policies that forbid it; empty when none permits it.
        determining: Vec<PolicyRef>,
        /// The policies that failed to evaluate, with what went wrong.
        errors: Vec<String>,
    },
}

impl OperatorAnswer {
    /// Whether it is a yes.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Holds the bundle in force. Whoever takes it keeps it for one whole decision, while another may already be in force.
#[derive(Debug)]
pub struct PolicyEngine(ArcSwap<Bundle>);

impl PolicyEngine {
    /// With its first bundle.
    #[must_use]
    pub fn new(bundle: Bundle) -> Self {
        Self(ArcSwap::from_pointee(bundle))
    }

    /// The bundle in force.
    #[must_use]
    pub fn current(&self) -> Arc<Bundle> {
        self.0.load_full()
    }

    /// Put another bundle in force; the one before is returned.
    pub fn swap(&self, bundle: Bundle) -> Arc<Bundle> {
        self.0.swap(Arc::new(bundle))
    }
}

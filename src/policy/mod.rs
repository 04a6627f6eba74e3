//! May they: the policy engine. One question for each scope goes in, one of three answers comes out, together with the
//! policies that determined it and the complete input it was given.

use crate::domain::{Agent, Operator, Outcome, PolicyRef, Task, Timestamp, Ttl, Voter};

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
        /// Read requests, leases, tasks, decisions and agents.
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

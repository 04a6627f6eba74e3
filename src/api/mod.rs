//! The wire contract: what requests and answers look like and everything that can go wrong, with no behaviour. The server
//! and the client share it, and the OpenAPI document is made from it.

pub mod operator;
pub mod problem;
pub mod task;

pub use operator::{
    AgentView, AgentsPage, Closure, ClosureWord, DecisionView, EventView, EventsPage, Introspection, LeaseView,
    LeasesPage, RequestView, RequestsPage, RevocationTarget, RevokeAsk, ScopeView, ScopesAnswer, SimulateAnswer,
    SimulateAsk, SimulatedScope, SuspendAsk, VerdictAnswer, VerdictAsk, Whoami,
};
pub use problem::{Problem, ProblemKind};
pub use task::{
    AgentAction, ApprovalView, AskScope, Credential, MoreAccessAsk, RequestSummary, RevocationView, TaskAnswer, TaskAsk,
};

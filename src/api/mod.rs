//! The wire contract: what requests and answers look like and everything that can go wrong, with no behaviour. The server
//! and the client share it, and the OpenAPI document is made from it.

pub mod approval;
pub mod authzen;
pub mod lease;
pub mod openapi;
pub mod operator;
pub mod problem;
pub mod task;

pub use approval::{
    AssertionAsk, HistoryView, Narrow, QuestionView, RequestView, ReviewView, ScopeDetail, SiblingView, TermsView,
    VerdictAnswer, VerdictAsk, VerdictView,
};
pub use lease::{Closure, ClosureWord, LeaseClosure, LeaseView, RevocationTarget, RevokeAsk};
pub use operator::{
    AgentView, AgentsPage, DecisionView, EventView, EventsPage, Introspection, LeasesPage, RequestsPage, ScopeView,
    ScopesAnswer, SimulateAnswer, SimulateAsk, SimulatedScope, SuspendAsk, Whoami,
};
pub use problem::{Problem, ProblemKind};
pub use task::{
    AgentAction, ApprovalView, AskScope, CollectAsk, Credential, MoreAccessAsk, RequestSummary, RevocationView,
    TaskAnswer, TaskAsk,
};

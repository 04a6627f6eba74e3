//! The wire contract: what requests and answers look like and everything that can go wrong, with no behaviour. The server
//! and the client share it, and the OpenAPI document is made from it.

pub mod approval;
pub mod authzen;
pub mod evidence;
pub mod lease;
pub mod openapi;
pub mod operator;
pub mod passkey;
pub mod people;
pub mod problem;
pub mod session;
pub mod task;

pub use approval::{
    AssertionAsk, HistoryView, Narrow, QuestionView, RequestView, ReviewView, ScopeDetail, SiblingView, TermsView,
    VerdictAnswer, VerdictAsk, VerdictView,
};
pub use evidence::{Evidence, EvidenceVerdict, Proof};
pub use lease::{Closure, ClosureWord, LeaseClosure, LeaseView, RevocationTarget, RevokeAsk};
pub use operator::{
    AgentView, AgentsPage, DecisionView, EventView, EventsPage, Introspection, LeasesPage, RequestsPage, ScopeView,
    ScopesAnswer, SimulateAnswer, SimulateAsk, SimulatedScope, SuspendAsk, Whoami,
};
pub use passkey::{ChallengeView, PasskeyNameAsk, PasskeyView, PasskeysPage, RegistrationAsk};
pub use people::{
    AnswerAsk, ApprovalInsights, ApproverDay, DelegationAsk, DelegationView, Delegations, InboxCard, QuestionAsk,
    ReviewAsk, ReviewItem, Reviews, Suggestion, Suggestions,
};
pub use problem::{Problem, ProblemKind};
pub use session::{DeviceAnswer, EndSessionsAnswer, EndSessionsAsk, SessionView, SessionsPage, TokenAnswer};
pub use task::{
    AgentAction, ApprovalView, AskScope, CollectAsk, Credential, MoreAccessAsk, RequestSummary, RevocationView,
    TaskAnswer, TaskAsk,
};

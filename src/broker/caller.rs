//! Whoever calls, once it is known who: an agent, a person, or a resource server. Nothing here can be made from what was merely
//! presented; doors get it from authentication and hand it on.

use std::sync::Arc;

use crate::domain::{AgentId, Operator, SessionId, Timestamp};

/// An authenticated workload that was recognised as an agent.
#[derive(Debug, Clone)]
pub struct AgentCaller {
    /// The agent.
    pub agent: AgentId,
    /// The issuer that vouched.
    pub issuer: Arc<str>,
    /// The issuer's name for the workload.
    pub subject: String,
    /// When the presented token stops being accepted.
    pub expires_at: Timestamp,
}

/// An authenticated person.
#[derive(Debug, Clone)]
pub struct OperatorCaller {
    /// The person.
    pub operator: Operator,
    /// When the presented token stops being accepted.
    pub expires_at: Timestamp,
    /// How and when the person signed in.
    pub sign_in: SignIn,
}

/// How and when a person signed in, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignIn {
    /// When the person last proved to the issuer who they are (OpenID Connect Core §2, `auth_time`); unknown when the issuer
    /// does not say.
    pub at: Option<Timestamp>,
    /// The authentication context class the issuer states (`acr`).
    pub acr: Option<String>,
    /// The session of ours, for whoever did not come with a token of an issuer.
    pub session: Option<SessionId>,
}

/// Whoever calls with an accepted token.
#[derive(Debug, Clone)]
pub enum Caller {
    /// An agent.
    Agent(AgentCaller),
    /// A person.
    Operator(OperatorCaller),
}

/// A resource server that may introspect credentials minted for its audiences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceServer {
    /// Its client id.
    pub id: String,
    /// The audiences it may ask about.
    pub audiences: Vec<String>,
}

//! The use cases, one file each: they decide the order of things. Doors translate to and from them; they ask the
//! capabilities below and decide nothing about the wire.

mod error;
mod stubs;

use std::time::Duration;

use crate::domain::{AgentId, Operator, Timestamp};

pub use error::BrokerError;
pub use stubs::{Broker, Readiness};

/// An authenticated workload that was recognised as an agent.
#[derive(Debug, Clone)]
pub struct AgentCaller {
    /// The agent.
    pub agent: AgentId,
    /// The issuer that vouched.
    pub issuer: std::sync::Arc<str>,
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

/// A page of something: how many at most (1 to 200), and after which cursor.
#[derive(Debug, Clone, Default)]
pub struct PageAsk {
    /// At most so many; 50 when absent.
    pub limit: Option<u32>,
    /// After this cursor.
    pub cursor: Option<String>,
}

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct RequestsAsk {
    /// In this state.
    pub state: Option<String>,
    /// Of this agent.
    pub agent: Option<String>,
    /// The page.
    pub page: PageAsk,
}

/// Which leases to list.
#[derive(Debug, Clone, Default)]
pub struct LeasesAsk {
    /// Live ones, or the others.
    pub live: Option<bool>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this task.
    pub task: Option<String>,
    /// Of this backend.
    pub backend: Option<String>,
    /// The page.
    pub page: PageAsk,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventsAsk {
    /// About this agent.
    pub agent: Option<String>,
    /// About this task.
    pub task: Option<String>,
    /// About this request.
    pub request: Option<String>,
    /// About this lease.
    pub lease: Option<String>,
    /// Of this kind, or of every kind below a prefix that ends in `.`.
    pub kind: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// The newest first instead of the oldest.
    pub newest_first: bool,
    /// The page; its cursor is a `seq`.
    pub page: PageAsk,
}

/// The longest a long poll is held.
pub const MAX_WAIT: Duration = Duration::from_secs(25);

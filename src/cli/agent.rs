//! `hallpass agent …`: the inventory.

use clap::Subcommand;

use super::failure::Outcome;
use super::output::{self, Row};
use super::session::Session;
use crate::api::AgentView;

/// `hallpass agent …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List the agents of the policy bundle
    List,
    /// Suspend an agent: everything it holds ends, and it gets nothing more
    Suspend {
        /// Its name
        agent: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Let a suspended agent ask again
    Resume {
        /// Its name
        agent: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

impl Row for AgentView {
    const HEADS: &'static [&'static str] = &["AGENT", "OWNER", "RISK", "KINDS", "STATE", "DESCRIPTION"];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.owner.clone(),
            self.risk_tier.clone(),
            self.kinds.join(", "),
            self.suspended.as_ref().map_or("active".to_owned(), |why| format!("suspended: {why}")),
            self.description.clone(),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(command: AgentCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    let agents = match command {
        AgentCommand::List => client.list_agents().await?.items,
        AgentCommand::Suspend { agent, reason } => vec![client.suspend_agent(&agent, &reason).await?],
        AgentCommand::Resume { agent, reason } => vec![client.resume_agent(&agent, &reason).await?],
    };
    output::list(&agents, session.output)?;
    Ok(0)
}

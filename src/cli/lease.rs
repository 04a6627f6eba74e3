//! `hallpass lease …`: what is live.

use clap::Subcommand;

use super::failure::Outcome;
use super::output::{self, Row, say};
use super::session::Session;
use crate::api::LeaseView;
use crate::client::LeasesFilter;

/// `hallpass lease …`.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// List leases
    List {
        /// Those that ended, too
        #[arg(long)]
        all: bool,
        /// Of this agent
        #[arg(long)]
        agent: Option<String>,
        /// Of this task
        #[arg(long)]
        task: Option<String>,
        /// Of this backend
        #[arg(long)]
        backend: Option<String>,
        /// At most so many, 1 to 200
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

impl Row for LeaseView {
    const HEADS: &'static [&'static str] = &["LEASE", "STATE", "AGENT", "TASK", "BACKEND", "SCOPES", "USABLE UNTIL"];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        let state = self.cause.as_ref().map_or(self.state.clone(), |cause| format!("{} ({cause})", self.state));
        vec![
            self.id.clone(),
            state,
            self.agent.clone(),
            self.task.clone(),
            self.backend.clone(),
            self.scopes.join(", "),
            self.usable_until.to_string(),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(command: LeaseCommand, session: &Session) -> Outcome {
    match command {
        LeaseCommand::List { all, agent, task, backend, limit } => {
            let live = (!all).then_some(true);
            let filter = LeasesFilter { live, agent, task, backend, limit: Some(limit), cursor: None };
            let page = session.client()?.list_leases(filter).await?;
            output::list(&page.items, session.output)?;
            if page.next_cursor.is_some() {
                say("note: there are more than these; raise --limit");
            }
            Ok(0)
        }
    }
}

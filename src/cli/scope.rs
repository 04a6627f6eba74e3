//! `hallpass scope …`: what this caller may ask for.

use clap::Subcommand;

use super::failure::Outcome;
use super::output::{self, Row, say};
use super::session::Session;
use crate::api::ScopeView;

/// `hallpass scope …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ScopeCommand {
    /// List what you may ask for, how risky it is, and what policy would say
    List,
}

impl Row for ScopeView {
    const HEADS: &'static [&'static str] = &["SCOPE", "RISK", "MAX TTL", "OUTLOOK", "DESCRIPTION"];

    fn name(&self) -> String {
        self.scope.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.scope.clone(),
            self.risk.to_string(),
            format!("{} s", self.max_ttl_seconds),
            self.outlook.clone().unwrap_or_default(),
            self.description.clone(),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(command: &ScopeCommand, session: &Session) -> Outcome {
    match command {
        ScopeCommand::List => {
            let answer = session.client()?.scopes().await?;
            output::list(&answer.items, session.output)?;
            say(&format!("policy bundle {}", answer.bundle));
            Ok(0)
        }
    }
}

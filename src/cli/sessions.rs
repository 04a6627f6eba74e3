//! `hallpass session …`: who is signed in where, and how to end it.

use clap::Subcommand;

use super::failure::Outcome;
use super::output::{self, Row};
use super::session::Session;
use crate::api::SessionView;

/// `hallpass session …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List your sessions, in browsers and on command lines
    List {
        /// Of this person, if you may revoke
        #[arg(long, value_name = "NAME", conflicts_with = "everybody")]
        person: Option<String>,
        /// Of everybody, if you may revoke
        #[arg(long)]
        everybody: bool,
    },
    /// End a session now, or all of a person
    End {
        /// The session's id
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        session: Option<String>,
        /// Every session of yours, or of the person
        #[arg(long)]
        all: bool,
        /// Whose, with --all; if you may revoke
        #[arg(long, value_name = "NAME", requires = "all")]
        person: Option<String>,
    },
}

impl Row for SessionView {
    const HEADS: &'static [&'static str] = &["SESSION", "PERSON", "KIND", "FROM", "SEEN", "ENDS", "WHAT"];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            format!("{}{}", self.id, if self.current { " (this)" } else { "" }),
            self.person.clone(),
            self.kind.clone(),
            self.address.clone(),
            self.seen_at.to_string(),
            self.lapses_at.to_string(),
            self.user_agent.clone(),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(command: SessionCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    match command {
        SessionCommand::List { person, everybody } => {
            output::list(&client.list_sessions(person.as_deref(), everybody).await?, session.output)?;
        }
        SessionCommand::End { session: Some(id), .. } => {
            output::list(&[client.end_session(&id).await?], session.output)?;
        }
        SessionCommand::End { session: None, person, .. } => {
            let answer = client.end_sessions_of(person.as_deref()).await?;
            output::one(&answer, &answer.ended.to_string(), session.output, &[("ended", answer.ended.to_string())])?;
        }
    }
    Ok(0)
}

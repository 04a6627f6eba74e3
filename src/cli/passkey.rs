//! `hallpass passkey …`: what you sign with. A passkey is registered in a browser, because only one can talk to an authenticator.

use clap::Subcommand;

use super::failure::Outcome;
use super::output::{self, Row};
use super::session::Session;
use crate::api::PasskeyView;

/// `hallpass passkey …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PasskeyCommand {
    /// List your passkeys
    List,
    /// Remove a passkey of yours; needs a sign-in of the last ten minutes
    End {
        /// The passkey's id
        passkey: String,
    },
}

impl Row for PasskeyView {
    const HEADS: &'static [&'static str] = &["PASSKEY", "NAME", "BACKUP", "REGISTERED", "LAST USED"];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.backup.clone(),
            self.created_at.to_string(),
            self.last_used_at.map(|at| at.to_string()).unwrap_or_default(),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(command: PasskeyCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    match command {
        PasskeyCommand::List => output::list(&client.list_passkeys().await?.items, session.output)?,
        PasskeyCommand::End { passkey } => {
            let ended = client.end_passkey(&passkey).await?;
            let at = ended.ended_at.map(|at| at.to_string()).unwrap_or_default();
            let lines = [("passkey", ended.id.clone()), ("name", ended.name.clone()), ("ended", at)];
            output::one(&ended, &ended.id, session.output, &lines)?;
        }
    }
    Ok(0)
}

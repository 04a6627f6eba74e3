//! `hallpass config …`: is the configuration one to start with? Everything it leads to is looked at, and every problem is
//! printed, not only the first.

use std::path::Path;

use clap::Subcommand;

use super::failure::{Exit, Failure, Outcome};
use super::output::say;
use crate::app::config::{Config, Overrides};

/// `hallpass config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration, the policy bundle and the issuers
    Check,
}

/// Run it.
///
/// # Errors
/// [`Failure`] with the number of problems, each printed before.
pub fn run(command: &ConfigCommand, told: Option<&Path>) -> Outcome {
    let ConfigCommand::Check = command;
    let path = Config::locate(told);
    let config = Config::load(&path, &Overrides::from_environment()?)?;
    let problems = config.secret_problems();
    for problem in &problems {
        say(&format!("✗ error: {problem}"));
    }
    if problems.is_empty() {
        say(&format!("✓ ok: {} can be started with", path.display()));
        return Ok(0);
    }
    Err(Failure::new(Exit::Failure, format!("{} has {} problems", path.display(), problems.len())))
}

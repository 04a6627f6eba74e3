//! `hallpass config …`: is the configuration one to start with? Everything it leads to is looked at, and every problem is
//! printed, not only the first.

use std::path::Path;

use clap::Subcommand;

use super::failure::{Exit, Failure, Outcome};
use super::inspect;
use super::output::say;
use crate::app::config::{Config, Overrides};

/// `hallpass config …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration, the policy bundle, the issuers and the backends, without starting anything
    Check,
}

/// Run it.
///
/// # Errors
/// [`Failure`] with the number of problems, each printed before.
pub(crate) fn run(command: &ConfigCommand, told: Option<&Path>) -> Outcome {
    let ConfigCommand::Check = command;
    let path = Config::locate(told);
    let config = Config::load(&path, &Overrides::from_environment()?)?;
    let problems = inspect::problems(&config);
    for problem in &problems {
        say(&format!("✗ problem: {}", crate::app::telemetry::escape(problem)));
    }
    if problems.is_empty() {
        say(&format!("✓ ok: {} can be started with", path.display()));
        return Ok(0);
    }
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    Err(Failure::new(Exit::Failure, format!("{} has {} {noun}", path.display(), problems.len())))
}

//! `hallpass keys …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::failure::Outcome;

/// `hallpass keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key-encryption key in a new file that only you can read
    GenerateKek {
        /// The file; it must not exist yet
        file: PathBuf,
    },
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub fn run(command: &KeysCommand) -> Outcome {
    let KeysCommand::GenerateKek { file: _ } = command;
    Ok(0)
}

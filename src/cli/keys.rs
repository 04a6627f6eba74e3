//! `hallpass keys …`: the key-encryption key, the one secret an operator keeps.

use std::path::PathBuf;

use clap::Subcommand;

use super::failure::{Exit, Failure, Outcome};
use super::output::say;
use crate::sys::SystemEntropy;
use crate::sys::keys::Kek;

/// `hallpass keys …`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key-encryption key in a new file that only you can read
    GenerateKek {
        /// The file; it must not exist yet
        file: PathBuf,
    },
}

/// Run it.
///
/// # Errors
/// [`Failure`] when the file exists or cannot be written.
pub(crate) fn run(command: &KeysCommand) -> Outcome {
    let KeysCommand::GenerateKek { file } = command;
    let kek = Kek::generate_file(file, &SystemEntropy::default()).map_err(|error| {
        Failure::new(Exit::Failure, error.to_string())
            .fix("name a file that does not exist yet; an existing key is never overwritten")
    })?;
    say(&format!(
        "made {} (check value {}); keep a copy where the database's backups are not: without it they cannot be read",
        file.display(),
        kek.check_value()
    ));
    Ok(0)
}

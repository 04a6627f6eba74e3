//! `hallpass policy …`: is the bundle valid, and does it say what its tests expect?

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::failure::{Exit, Failure, Outcome};
use super::output::{Format, print, say};
use super::session::Session;
use crate::policy::{Bundle, run_tests};

/// `hallpass policy …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy bundle
    Check {
        /// Its folder
        #[arg(default_value = "policies")]
        folder: PathBuf,
    },
    /// Run the golden tests of a policy bundle
    Test {
        /// Its folder
        #[arg(default_value = "policies")]
        folder: PathBuf,
    },
}

/// Run it.
///
/// # Errors
/// [`Failure`] with every problem, or when a test fails.
pub(crate) fn run(command: &PolicyCommand, session: &Session) -> Outcome {
    match command {
        PolicyCommand::Check { folder } => {
            let bundle = load(folder)?;
            let (policy, agents) = (bundle.catalogue().entries().count(), bundle.agents().count());
            say(&format!("✓ ok: {} is valid: {policy} scopes, {agents} agents", folder.display()));
            print(&bundle.digest().to_string())?;
            Ok(0)
        }
        PolicyCommand::Test { folder } => {
            let report = run_tests(&load(folder)?);
            match session.output {
                Format::Json | Format::Jsonl => {
                    print(&serde_json::to_string(&report).map_err(anyhow::Error::from)?)?;
                }
                Format::Table | Format::Name => print(&report.to_string())?,
            }
            if report.files.iter().all(|file| file.stories.is_empty()) {
                return Err(Failure::new(Exit::Failure, format!("{} has no tests", folder.display()))
                    .fix("write some in tests/*.json; a policy nobody tests says what it says by chance"));
            }
            if report.is_success() { Ok(0) } else { Err(Failure::new(Exit::Failure, "a policy test failed")) }
        }
    }
}

fn load(folder: &Path) -> Result<Bundle, Failure> {
    let bundle =
        Bundle::load(folder).map_err(|error| Failure::new(Exit::Failure, format!("{}: {error}", folder.display())))?;
    for warning in bundle.warnings() {
        say(&format!("! warning: {warning}"));
    }
    Ok(bundle)
}

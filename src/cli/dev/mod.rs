//! `hallpass dev`.

mod state;

use clap::Args;

use super::failure::Outcome;
use super::session::Session;

pub use state::DevState;

/// `hallpass dev`.
#[derive(Debug, Args)]
pub struct DevArgs {}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub async fn run(_args: DevArgs, _session: &Session) -> Outcome {
    Ok(0)
}

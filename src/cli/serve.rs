//! `hallpass serve`: start the broker.

use std::path::Path;

use super::failure::{Exit, Failure, Outcome};
use crate::app::config::{Config, Overrides};

/// Run it.
///
/// # Errors
/// [`Failure`] when it cannot start, or stops by itself.
pub async fn run(told: Option<&Path>) -> Outcome {
    let config = Config::load(&Config::locate(told), &Overrides::from_environment()?)?;
    if config.dev {
        return Err(Failure::new(
            Exit::Failure,
            "this configuration was made by `hallpass dev`: its keys are throw-away keys",
        )
        .fix("start it with `hallpass dev`, or write a configuration of your own (examples/hallpass.toml)"));
    }
    Ok(0)
}

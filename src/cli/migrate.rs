//! `hallpass migrate`: bring the database's schema to where this version wants it, once, before its replicas start.

use std::path::Path;

use super::failure::{Exit, Failure, Outcome};
use super::output::say;
use crate::app::config::{Config, Overrides};
use crate::app::wiring;
use crate::store::{Store, StoreError};

/// Run it.
///
/// # Errors
/// [`Failure`] when the database does not answer, or has a schema this version does not know.
pub(crate) async fn run(told: Option<&Path>) -> Outcome {
    let config = Config::load(&Config::locate(told), &Overrides::from_environment()?)?;
    let settings = wiring::store_settings(&config)?;
    if !config.store.is_shared() {
        super::serve::make_data_folder(&config.server.data_dir)?;
    }
    let applied = Store::migrate(&settings).await.map_err(|error| {
        let fix = match &error {
            StoreError::Corrupt(_) => {
                "run the version of hallpass that this database was last migrated by, or a newer one"
            }
            StoreError::Unavailable(_)
            | StoreError::Unknown(_)
            | StoreError::Conflict { .. }
            | StoreError::ControlChanged(_)
            | StoreError::LimitReached(_) => "check [store] url and password, and that its user may create tables",
        };
        Failure::new(Exit::Failure, error.to_string()).fix(fix)
    })?;
    for name in &applied {
        say(&format!("applied {name}"));
    }
    say(if applied.is_empty() { "the schema is up to date; nothing to do" } else { "the schema is up to date" });
    Ok(0)
}

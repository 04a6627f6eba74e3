//! `hallpass serve`: start the broker.

use std::path::Path;

use super::failure::{Exit, Failure, Outcome};
use crate::app::config::{Config, Overrides};
use crate::app::run::{Server, StopSignals};
use crate::app::telemetry::LogStyle;
use crate::app::wiring::World;
use crate::app::{hardening, telemetry};

/// Run it.
///
/// # Errors
/// [`Failure`] when it cannot start, or stops by itself.
pub(crate) async fn run(told: Option<&Path>) -> Outcome {
    let config = Config::load(&Config::locate(told), &Overrides::from_environment()?)?;
    if config.dev {
        let why = "this configuration was made by `hallpass dev`: its keys are throw-away keys";
        return Err(Failure::new(Exit::Failure, why)
            .fix("start it with `hallpass dev`, or write a configuration of your own (examples/hallpass.toml)"));
    }
    telemetry::start_logging(LogStyle::detect(), "info")?;
    #[cfg(debug_assertions)]
    arm_killpoint()?;
    start(&config, World::default(), || {
        tracing::info!(listen = %config.server.listen, url = config.public_url(), "ready");
        Ok(())
    })
    .await
}

/// From a configuration to a broker that serves until a signal, the same for `serve` and `dev`. `ready` is called when the
/// listener is there, so that whoever is told may connect at once.
///
/// # Errors
/// [`Failure`] when it cannot start, or stops by itself.
pub(crate) async fn start(config: &Config, world: World, ready: impl FnOnce() -> Result<(), Failure>) -> Outcome {
    let problems = config.secret_problems();
    if !problems.is_empty() {
        return Err(Failure::new(Exit::Failure, format!("it cannot start:\n  - {}", problems.join("\n  - ")))
            .fix("`hallpass config check` shows everything that must be mended"));
    }
    // From here on: whoever sees that we are ready may tell us to stop.
    let mut signals = StopSignals::listen()?;
    for trouble in hardening::harden() {
        tracing::warn!("{trouble}");
    }
    make_data_folder(&config.server.data_dir)?;
    let server = Server::start(config, world, Some(telemetry::start_metrics()?)).await?;
    ready()?;
    server
        .serve(async {
            signals.received().await;
            tokio::spawn(end_on_next(signals));
        })
        .await?;
    Ok(0)
}

/// Everything the server writes is in here, for its user only.
pub(super) fn make_data_folder(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        Failure::new(Exit::Failure, format!("the data folder {} cannot be made: {error}", folder.display()))
            .fix("set server.data_dir to a folder the server may write")
    })
}

/// The first signal asks to finish, the second ends at once, which is safe by design: whatever was under way is on record.
async fn end_on_next(mut signals: StopSignals) {
    signals.received().await;
    std::process::exit(i32::from(Exit::Failure.code()));
}

/// In debug builds the environment may name a kill point.
#[cfg(debug_assertions)]
fn arm_killpoint() -> Result<(), Failure> {
    use crate::app::env;
    if let Some(order) = env::read(env::KILLPOINT) {
        let order: crate::sys::killpoint::KillOrder =
            order.parse().map_err(|why: String| Failure::usage(format!("{}: {why}", env::KILLPOINT)))?;
        tracing::warn!(?order, "a kill point is armed");
        order.arm();
    }
    Ok(())
}

//! `hallpass reconcile`: an operator says what happened to a database that the broker does not trust; the rows are compared with
//! the backends, what must end is ended, and the broker may rely on it again.

use std::path::Path;

use clap::{ArgGroup, Args};
use serde::Serialize;

use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Format, Row, say};
use crate::app::config::{Config, Overrides};
use crate::app::telemetry::{self, LogStyle};
use crate::app::wiring::{self, World};
use crate::broker::{ReconcileAsk, ReconcileReport, Told};

/// The longest reason, in characters.
const MAX_REASON: usize = 500;

/// What happened.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("told").required(true).args(["restored", "complete", "fork"])))]
pub(crate) struct ReconcileArgs {
    /// It was put back from a backup: whatever came after that is lost. Every task, grant and credential ends
    #[arg(long)]
    restored: bool,
    /// It was moved, or a standby with everything in it was promoted: nothing is lost. What the backends honour stays
    #[arg(long)]
    complete: bool,
    /// It is a copy, and the original goes on elsewhere. Every task and grant ends here, and nothing of the original's is touched
    #[arg(long)]
    fork: bool,
    /// Why you think so; goes to the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What was found in one backend.
#[derive(Debug, Serialize)]
struct Line {
    backend: String,
    #[serde(flatten)]
    found: ReconcileReport,
}

impl Row for Line {
    const HEADS: &'static [&'static str] =
        &["BACKEND", "LEASES", "HONOURED", "REFUSED", "UNKNOWN", "ENDED", "ENDING", "ORPHANS", "ORPHANS LEFT"];

    fn name(&self) -> String {
        self.backend.clone()
    }

    fn cells(&self) -> Vec<String> {
        let found = &self.found;
        let counts = [found.leases, found.honoured, found.refused, found.unknown, found.ended, found.ending]
            .map(|n| n.to_string());
        let orphans = if found.unlistable {
            ["cannot list".to_owned(), "?".to_owned()]
        } else {
            [found.orphans.to_string(), found.orphans_left.to_string()]
        };
        std::iter::once(self.backend.clone()).chain(counts).chain(orphans).collect()
    }
}

impl ReconcileArgs {
    const fn told(&self) -> Told {
        match (self.restored, self.complete) {
            (true, _) => Told::Restored,
            (false, true) => Told::Complete,
            (false, false) => Told::Fork,
        }
    }
}

/// Run it.
///
/// # Errors
/// [`Failure`] when the broker cannot be built from the configuration, or the reconciliation does not come to its end.
pub(crate) async fn run(args: ReconcileArgs, told: Option<&Path>, format: Format) -> Outcome {
    let reason = args.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(Failure::usage(format!("--reason is a text of 1 to {MAX_REASON} characters in one line")));
    }
    let config = Config::load(&Config::locate(told), &Overrides::from_environment()?)?;
    telemetry::start_logging(LogStyle::detect(), "warn")?;
    let broker = wiring::build(&config, World::default()).await?.broker;
    let ask = ReconcileAsk { told: args.told(), reason: reason.to_owned(), dry_run: args.dry_run };
    let done = broker.reconcile_restored(&ask).await;
    broker.stop().await;
    let reports = done.map_err(|error| {
        Failure::new(Exit::Failure, format!("the database stays in quarantine: {error}"))
            .fix("mend that, then run the same command again; what it has done already is not done twice")
    })?;
    let lines: Vec<Line> =
        reports.into_iter().map(|(backend, found)| Line { backend: backend.to_string(), found }).collect();
    output::list(&lines, format)?;
    if args.dry_run {
        say("nothing was changed; run it without --dry-run");
        return Ok(0);
    }
    say("reconciled: a new epoch is open, and the broker relies on the database again");
    if args.fork {
        say("this is another deployment now: restart its brokers, and give it a server.public_url of its own");
    }
    if args.restored {
        say("note: suspensions, releases and throws of the kill switch since the backup are lost; repeat them");
    }
    Ok(0)
}

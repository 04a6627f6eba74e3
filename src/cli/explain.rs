//! `hallpass help …` and `--print-routes`: what the broker can say about itself.

use super::failure::{Failure, Outcome};
use super::output::print;
use crate::api::ProblemKind;

/// Help about the commands, every error, or one.
///
/// # Errors
/// [`Failure`] for an unknown topic or code.
pub(crate) fn help(topic: Option<&str>, code: Option<&str>, mut command: clap::Command) -> Outcome {
    match (topic, code) {
        (None, _) => print(&command.render_long_help().to_string())?,
        (Some("errors"), None) => {
            for kind in ProblemKind::ALL {
                print(&format!("{:<30} {}", kind.slug(), kind.title()))?;
            }
        }
        (Some("errors"), Some(code)) => {
            let Some(kind) = ProblemKind::ALL.iter().find(|kind| kind.slug() == code) else {
                return Err(Failure::usage(format!("there is no error `{code}`")).fix("run `hallpass help errors`"));
            };
            print(&format!("{}\n\n  {}.", kind.slug(), kind.title()))?;
            print(&format!("  HTTP status   {}", kind.status()))?;
            print(&format!("  agent_action  {}", kind.agent_action()))?;
            print(&format!("  page          docs/problems/{}.md", kind.slug()))?;
        }
        (Some(topic), _) => {
            let Some(found) = command.find_subcommand_mut(topic) else {
                return Err(Failure::usage(format!("there is no help about `{topic}`")).fix("run `hallpass help`"));
            };
            print(&found.render_long_help().to_string())?;
        }
    }
    Ok(0)
}

/// Every route and who may call it.
///
/// # Errors
/// [`Failure`] when standard output cannot be written.
pub(crate) fn routes() -> Outcome {
    for route in crate::http::route_list() {
        print(&format!("{:<6} {:<40} {}", route.method, route.path, route.callers.join(" ")))?;
    }
    Ok(0)
}

/// Every kill point, and what is done and not done there.
///
/// # Errors
/// [`Failure`] when standard output cannot be written.
#[cfg(debug_assertions)]
pub(crate) fn killpoints() -> Outcome {
    for point in crate::sys::killpoint::KillPoint::ALL {
        print(&format!("{:<28}{}", point.as_str(), point.what()))?;
    }
    Ok(0)
}

/// A release build has none.
///
/// # Errors
/// [`Failure`], always.
#[cfg(not(debug_assertions))]
pub(crate) fn killpoints() -> Outcome {
    Err(Failure::usage("a release build has no kill points").fix("use a debug build: `cargo run -- --list-killpoints`"))
}

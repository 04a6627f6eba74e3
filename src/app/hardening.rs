//! What the process gives up at start, so that its secrets stay in it: core dumps, and being read by other processes of the
//! same user. A machine that does not allow it is worth a warning, not a refusal to start.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Give up core dumps and being traced. Answers what could not be done, in words.
#[must_use]
pub fn harden() -> Vec<String> {
    let mut failed = Vec::new();
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        failed.push(format!("core dumps could not be switched off: {error}"));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        failed.push(format!("the process could not be made undumpable: {error}"));
    }
    failed
}

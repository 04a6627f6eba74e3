//! `hallpass revoke`: end authority now, of one thing or of everything.

use clap::Args;

use super::failure::Outcome;
use super::session::Session;
use crate::api::{RevocationTarget, RevokeAsk};

/// `hallpass revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    target: Target,
    /// Why; it goes into the audit
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// A task and everything it holds
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Everything an agent holds, and its tasks
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// One lease
    #[arg(long, value_name = "ID")]
    lease: Option<String>,
    /// A grant and its leases
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// Every lease of a backend
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Everything; nothing more is minted until `revoke --release`
    #[arg(long)]
    all: bool,
    /// Let minting go on after `revoke --all`
    #[arg(long)]
    release: bool,
}

impl Target {
    fn read(self) -> RevocationTarget {
        use RevocationTarget as T;
        let named = [
            self.task.map(T::Task),
            self.agent.map(T::Agent),
            self.lease.map(T::Lease),
            self.grant.map(T::Grant),
            self.backend.map(T::Backend),
        ];
        let switch = T::KillSwitch(if self.release { "release" } else { "engage" }.to_owned());
        named.into_iter().flatten().next().unwrap_or(switch)
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(args: RevokeArgs, session: &Session) -> Outcome {
    let ask = RevokeAsk { target: args.target.read(), reason: args.reason };
    let closure = session.client()?.revoke(&ask).await?;
    super::task::closure(&closure, session.output)
}

//! `hallpass creds …`: a credential in the format of the tool that asks for it, so that the tool itself can run Hallpass when it
//! needs one. Nothing but that goes to standard output; a failure says why on standard error and in the exit code. Nothing is kept
//! between two runs: each run asks the broker, so that policy is asked each time, and mints anew.

mod aws;
mod git;
mod hold;
mod kube;

use clap::{Args, Subcommand};

use super::failure::{Exit, Failure, Outcome};
use super::output;
use super::session::Session;
use super::task::AboutArgs;
use super::text;
use crate::api::Credential;
use crate::app::env;
use crate::client::Client;
use crate::domain::Timestamp;
pub(crate) use aws::AwsKeys;
use hold::Held;

/// What a credential is asked for with.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// What it is for, in your own words; opens a task for this credential alone, which ends at its time and not earlier
    #[arg(long, required_unless_present = "task")]
    purpose: Option<String>,
    /// The open task that it belongs to, e.g. that of `hallpass exec`, with whose end it ends
    #[arg(long, env = env::TASK, value_name = "ID")]
    task: Option<String>,
    #[command(flatten)]
    about: AboutArgs,
    /// Do not wait for a person: exit with 4 when somebody must decide first
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for a person; the tool that waits for us may be less patient
    #[arg(long, value_parser = text::parse_duration, value_name = "TIME", default_value = "50s")]
    wait: i64,
}

impl HoldArgs {
    /// The scopes, for people.
    fn scopes(&self) -> String {
        self.about.scopes.join(", ")
    }
}

/// `hallpass creds …`.
#[derive(Debug, Subcommand)]
pub(crate) enum CredsCommand {
    /// For `credential_process` of the AWS command line and SDKs
    Aws(HoldArgs),
    /// For `users[].user.exec` of a kubeconfig
    Kube(HoldArgs),
    /// For `credential.helper` of Git
    Git(git::GitArgs),
}

/// Run it.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: CredsCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    match command {
        CredsCommand::Aws(args) => {
            let held = hold::obtain(&client, &args).await?;
            let text = AwsKeys::read(&held.credential).and_then(|keys| keys.for_process());
            hand_over(&client, &held, text).await
        }
        CredsCommand::Kube(args) => {
            let asked = kube::Asked::read(env::read(env::KUBERNETES_EXEC_INFO).as_deref())?;
            let held = hold::obtain(&client, &args).await?;
            hand_over(&client, &held, asked.answer(&held.credential)).await
        }
        CredsCommand::Git(args) => git::run(args, &client).await,
    }
}

/// Print it; what cannot be handed over is ended.
async fn hand_over(client: &Client, held: &Held, text: Result<String, Failure>) -> Outcome {
    match text.and_then(|text| output::print(&text)) {
        Ok(()) => Ok(0),
        Err(failure) => {
            held.give_back(client).await;
            Err(failure)
        }
    }
}

/// A value that must be there.
fn value<'c>(credential: &'c Credential, member: &str) -> Result<&'c str, Failure> {
    credential.values.get(member).map(String::as_str).ok_or_else(|| {
        Failure::new(Exit::Failure, format!("the {} credential has no `{member}`", credential.kind))
            .fix("check that client and server are of one version")
    })
}

/// That it is of one of the kinds that a tool can use.
fn expect_kind(credential: &Credential, tool: &str, kinds: &[&str]) -> Result<(), Failure> {
    if kinds.contains(&credential.kind.as_str()) {
        return Ok(());
    }
    let (scopes, kind) = (credential.scopes.join(", "), &credential.kind);
    Err(Failure::usage(format!("{scopes} comes as a credential of type {kind}, with which {tool} can do nothing"))
        .fix(format!("ask for a scope of type {}", kinds.join(" or "))))
}

/// When a tool should stop using it: the end of its lease, or what the backend says if that is earlier. In whole seconds, since
/// some tools read no fractions.
fn end(credential: &Credential, member: &str) -> Timestamp {
    let said = credential.values.get(member).and_then(|text| text.parse::<Timestamp>().ok());
    let end = said.map_or(credential.usable_until, |said| said.min(credential.usable_until));
    Timestamp::from_secs(end.as_secs())
}

#[cfg(test)]
mod samples {
    use super::*;
    use crate::api::RevocationView;

    /// A credential as a broker delivers it.
    pub(super) fn credential(kind: &str, scope: &str, values: &[(&str, &str)]) -> Credential {
        let values = values.iter().map(|(member, value)| ((*member).to_owned(), (*value).to_owned()));
        Credential {
            id: "lse_1".to_owned(),
            request: "req_1".to_owned(),
            kind: kind.to_owned(),
            scopes: vec![scope.to_owned()],
            values: values.collect(),
            sealed: None,
            usable_until: Timestamp::from_millis(1_800_000_000_999),
            native_end: Timestamp::from_secs(1_800_003_600),
            revocation: RevocationView { how: String::new(), strength: String::new() },
        }
    }
}

//! `hallpass exec`: prefix a command and the credential appears; everything dies with the child. The task has a heartbeat, so
//! that it ends even when this process is killed; it is completed when the child exits, however that comes about.

mod child;
mod container;
mod environment;
mod fresh;
mod mask;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::failure::{Exit, Failure, Outcome};
use super::output::say;
use super::session::Session;
use super::task::{AskArgs, is_pending, refuse_denied, wait};
use crate::api::{Credential, ProblemKind, TaskAnswer};
use crate::app::telemetry::escape;
use crate::client::{Client, ClientError};
use crate::domain::Timestamp;
use crate::sys::{SecretString, SystemClock};
use container::Endpoint;
use environment::{Handed, Served};
use fresh::{Fresh, Keeping, TaskSource};
use mask::Secrets;

/// The task ends when it is not heard from for so long.
const HEARTBEAT_SECS: i64 = 60;
/// How often it is heard from.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(20);

/// `hallpass exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Do not wait for a person: exit with 4 when somebody must decide first; the task stays open
    #[arg(long)]
    no_wait: bool,
    /// Let the child's output through as it is, e.g. for a program that needs the terminal
    #[arg(long)]
    no_masking: bool,
    /// The command to run with the credentials in its environment
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Run it.
///
/// # Errors
/// [`Failure`]; what was opened is given up.
pub(crate) async fn run(args: ExecArgs, session: &Session) -> Outcome {
    let client = session.client()?;
    // A task that nobody waits beside must not end for want of a heartbeat.
    let heartbeat = (!args.no_wait).then_some(HEARTBEAT_SECS);
    let opened = client.open_task(&args.ask.ask(heartbeat)).await?;
    let task = opened.id.clone();
    if args.no_wait && is_pending(&opened) {
        return Err(pending(&opened));
    }
    let ended = CancellationToken::new();
    let work = hold(&client, opened, &args, ended.clone());
    let done = beside_heartbeat(&client, (&task, &ended), heartbeat.is_some(), work).await;
    let ended = if done.is_ok() { client.complete(&task).await } else { client.cancel(&task).await };
    match ended {
        Ok(closure) => {
            if closure.closure != crate::api::ClosureWord::Closed {
                say(&format!("note: task {task} is closed, but not everything has ended: {}", closure.closure));
            }
        }
        Err(error) if error.kind() == Some(ProblemKind::TaskClosed) => {}
        Err(error) => say(&format!(
            "warning: task {task} could not be ended ({}); it ends by itself when it is not heard from",
            escape(&error.to_string())
        )),
    }
    done
}

/// A task that is open as long as the child runs.
struct Held<'t> {
    task: &'t str,
    task_ends_at: Timestamp,
    /// Cancelled when it is seen to have ended before its time.
    ended: CancellationToken,
}

/// From an open task to the child's exit code.
async fn hold(client: &Client, opened: TaskAnswer, args: &ExecArgs, ended: CancellationToken) -> Outcome {
    let (task, task_ends_at) = (opened.id.clone(), opened.expires_at);
    let mut credentials = opened.credentials.clone();
    if is_pending(&opened) {
        let decided = wait_or_interrupt(client, opened).await?;
        refuse_denied(&task, &decided.requests)?;
        credentials.extend(client.collect(&task).await?.credentials);
    } else {
        refuse_denied(&task, &opened.requests)?;
    }
    if credentials.is_empty() {
        return Err(Failure::new(Exit::Failure, "nothing was denied, but no credential came")
            .line("more", format!("task {task}")));
    }
    run_child(client, &Held { task: &task, task_ends_at, ended }, &credentials, args).await
}

async fn run_child(client: &Client, held: &Held<'_>, credentials: &[Credential], args: &ExecArgs) -> Outcome {
    let secrets = Secrets::new(environment::secrets(credentials));
    let keeping = Keeping {
        source: Arc::new(TaskSource::new(client, held.task, args.ask.about.ttl)),
        clock: Arc::new(SystemClock),
        task_ends_at: held.task_ends_at,
        secrets: secrets.clone(),
        ended: held.ended.clone(),
    };
    // Both are gone when the child is.
    let (_endpoint, served) = serve(client, credentials, &keeping).await?;
    let handed = Handed::write(&client.fresh_id(), held.task, credentials, &served)?;
    match child::spawn(&args.command, &handed, !args.no_masking) {
        Ok(mut child) => child::watch(&mut child, &secrets).await,
        Err((code, failure)) => {
            say(&failure.to_string());
            Ok(code)
        }
    }
}

/// What of the credentials is served rather than written down, and its endpoint.
async fn serve(
    client: &Client,
    credentials: &[Credential],
    keeping: &Keeping,
) -> Result<(Option<Endpoint>, Vec<Served>), Failure> {
    let leases: Vec<&Credential> = credentials.iter().filter(|credential| credential.kind == "aws").collect();
    if leases.is_empty() {
        return Ok((None, Vec::new()));
    }
    let fresh = leases.iter().map(|credential| Fresh::new(credential, keeping).map(Arc::new));
    let token = client.fresh_id();
    keeping.secrets.add([token.as_str()]);
    let endpoint = Endpoint::open(fresh.collect::<Result<_, _>>()?, SecretString::from(token.as_str())).await?;
    let served = leases.iter().enumerate().flat_map(|(number, credential)| {
        let of = |member, value| (credential.id.clone(), member, value);
        [of("endpoint", endpoint.url(number)), of("endpoint_token", token.clone())]
    });
    let served = served.collect();
    Ok((Some(endpoint), served))
}

/// Wait for people; a signal gives up.
async fn wait_or_interrupt(client: &Client, opened: TaskAnswer) -> Result<TaskAnswer, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        decided = wait(client, opened) => decided,
        _ = interrupt.recv() => Err(Failure::new(Exit::Failure, "interrupted while waiting; the task is given up")),
        _ = terminate.recv() => Err(Failure::new(Exit::Failure, "terminated while waiting; the task is given up")),
    }
}

/// Do something while the task is heard from.
async fn beside_heartbeat<T>(
    client: &Client,
    (task, ended): (&str, &CancellationToken),
    beats: bool,
    work: impl Future<Output = T>,
) -> T {
    let heart = async {
        if !beats {
            return std::future::pending::<()>().await;
        }
        let mut every = tokio::time::interval(HEARTBEAT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every.tick().await;
        loop {
            every.tick().await;
            if let Err(error) = client.heartbeat(task).await {
                say(&format!("warning: {}", escape(&heartbeat_trouble(&error))));
                if error.kind() == Some(ProblemKind::TaskClosed) {
                    ended.cancel();
                    return std::future::pending().await;
                }
            }
        }
    };
    tokio::select! {
        done = work => done,
        () = heart => std::future::pending().await,
    }
}

fn heartbeat_trouble(error: &ClientError) -> String {
    if error.kind() == Some(ProblemKind::TaskClosed) {
        "access for this task has ended; stop work that needs it, and do not use any other credential".to_owned()
    } else {
        format!("the server was not told that the task goes on: {error}")
    }
}

fn pending(answer: &TaskAnswer) -> Failure {
    let mut failure = Failure::new(Exit::Pending, "somebody must decide first; nothing was run");
    failure.code = Some("pending".to_owned());
    for approval in answer.requests.iter().filter_map(|request| request.approval.as_ref()) {
        failure =
            failure.line("why", approval.reason.clone()).line("who", format!("{} · {}", approval.rule, approval.url));
    }
    failure.fix(format!("run it without --no-wait, or collect later with `hallpass task wait {}`", answer.id))
}

//! `hallpass task …`: open a task, watch it, collect what was granted, end it.

use clap::{Args, Subcommand};
use futures_util::future::BoxFuture;

use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Format, say};
use super::session::Session;
use super::text;
use crate::api::{AnswerAsk, Closure, RequestSummary, TaskAnswer, TaskAsk};
use crate::client::{Client, LONGEST_POLL};

/// What a task is asked for with.
#[derive(Debug, Clone, Args)]
pub(crate) struct AskArgs {
    /// What the task is for, in your own words
    #[arg(long)]
    purpose: String,
    #[command(flatten)]
    pub(crate) about: AboutArgs,
}

/// What a task is asked for with, besides its purpose.
#[derive(Debug, Clone, Args)]
pub(crate) struct AboutArgs {
    /// A scope, e.g. `sandbox:releases:read` or `api:releases:write(prefix=v1/)`; repeat for several
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// The kind of task, one you are approved for
    #[arg(long)]
    kind: Option<String>,
    /// How long a credential shall live, e.g. 90s, 10m or 1h
    #[arg(long, value_parser = text::parse_duration, value_name = "TIME")]
    pub(crate) ttl: Option<i64>,
    /// How long the task stays open; as long as a credential lives when absent
    #[arg(long, value_parser = text::parse_duration, value_name = "TIME")]
    task_ttl: Option<i64>,
    /// The person or service on whose behalf it runs
    #[arg(long, value_name = "NAME")]
    on_behalf_of: Option<String>,
    /// A reference, e.g. ticket=REL-482; repeat for several
    #[arg(long = "reference", value_parser = text::parse_reference, value_name = "NAME=VALUE")]
    references: Vec<(String, String)>,
    /// What to tell whoever approves
    #[arg(long)]
    message: Option<String>,
}

impl AskArgs {
    /// As the API takes it.
    #[must_use]
    pub(crate) fn ask(&self, heartbeat_seconds: Option<i64>) -> TaskAsk {
        TaskAsk { heartbeat_seconds, ..self.about.ask(&self.purpose) }
    }
}

impl AboutArgs {
    /// As the API takes it.
    #[must_use]
    pub(crate) fn ask(&self, purpose: &str) -> TaskAsk {
        TaskAsk {
            purpose: purpose.to_owned(),
            kind: self.kind.clone(),
            scopes: text::scopes(&self.scopes),
            ttl_seconds: self.ttl,
            task_ttl_seconds: self.task_ttl,
            heartbeat_seconds: None,
            on_behalf_of: self.on_behalf_of.clone(),
            references: self.references.iter().cloned().collect(),
            message: self.message.clone(),
            ceiling: None,
            confirmation_key: None,
            delivery_key: None,
        }
    }
}

/// `hallpass task …`.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Open a task; credentials that are granted at once are printed with the answer
    Open(AskArgs),
    /// Show a task
    Status {
        /// The task's id
        task: String,
    },
    /// Wait until nobody has to decide any more, then collect the credentials
    Wait {
        /// The task's id
        task: String,
    },
    /// Answer what a person asks about a request of the task
    Answer {
        /// The task's id
        task: String,
        /// The request's id
        request: String,
        /// The question's id
        question: String,
        /// What you say to it, at most 500 characters
        text: String,
    },
    /// Take back a request of a task that waits for people
    Withdraw {
        /// The task's id
        task: String,
        /// The request's id
        request: String,
    },
    /// End a task because its work is done
    Complete {
        /// The task's id
        task: String,
    },
    /// Give a task up
    Cancel {
        /// The task's id
        task: String,
    },
    /// Show what is known by now of the end of what a task held
    Closure {
        /// The task's id
        task: String,
    },
}

/// Run it.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: TaskCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    match command {
        TaskCommand::Open(args) => show(&client.open_task(&args.ask(None)).await?, session.output),
        TaskCommand::Status { task } => show(&client.read_task(&task, None).await?, session.output),
        TaskCommand::Wait { task } => {
            let answer = wait(&client, client.read_task(&task, None).await?).await?;
            let answer = if answer.state == "open" { client.collect(&task).await? } else { answer };
            show(&answer, session.output)
        }
        TaskCommand::Answer { task, request, question, text } => {
            let answered = client.answer_question(&task, &request, &AnswerAsk { question, text }).await?;
            let lines =
                [("question", answered.text.clone()), ("answer", answered.asserted_answer.clone().unwrap_or_default())];
            output::one(&answered, &answered.id, session.output, &lines)?;
            Ok(0)
        }
        TaskCommand::Withdraw { task, request } => {
            let answer = client.withdraw(&task, &request).await?;
            show(&answer, session.output)?;
            Ok(0)
        }
        TaskCommand::Complete { task } => closure(&client.complete(&task).await?, session.output),
        TaskCommand::Cancel { task } => closure(&client.cancel(&task).await?, session.output),
        TaskCommand::Closure { task } => closure(&client.closure(&task).await?, session.output),
    }
}

/// Whether somebody still has to decide something.
pub(crate) fn is_pending(answer: &TaskAnswer) -> bool {
    answer.state == "open" && answer.requests.iter().any(|request| request.state == "pending")
}

/// Hold on by long polls until nothing of the task is pending.
///
/// # Errors
/// [`Failure`] of a call.
pub(crate) fn wait(client: &Client, answer: TaskAnswer) -> BoxFuture<'_, Result<TaskAnswer, Failure>> {
    wait_while(client, answer, |_| true)
}

/// Hold on by long polls while one of these requests of the task is pending.
///
/// # Errors
/// [`Failure`] of a call.
pub(crate) fn wait_while<'c>(
    client: &'c Client,
    mut answer: TaskAnswer,
    is_meant: impl Fn(&RequestSummary) -> bool + Send + 'c,
) -> BoxFuture<'c, Result<TaskAnswer, Failure>> {
    Box::pin(async move {
        let mut announced = Vec::new();
        while answer.state == "open"
            && answer.requests.iter().any(|request| request.state == "pending" && is_meant(request))
        {
            for request in answer.requests.iter().filter(|request| is_meant(request)) {
                if let Some(approval) = request.approval.as_ref().filter(|_| !announced.contains(&request.id)) {
                    say(&format!(
                        "waiting   {} needs {} ({})\n          {}\n          lapses at {}",
                        request.scopes.join(", "),
                        approval.rule,
                        crate::app::telemetry::escape(&approval.reason),
                        approval.url,
                        approval.lapses_at
                    ));
                    announced.push(request.id.clone());
                }
            }
            answer = client.read_task(&answer.id, Some(LONGEST_POLL)).await?;
        }
        Ok(answer)
    })
}

/// All or nothing: who got half of what they need fails half-way.
///
/// # Errors
/// Why one of the requests was not granted.
pub(crate) fn refuse_denied(task: &str, requests: &[RequestSummary]) -> Result<(), Failure> {
    let Some(request) = requests.iter().find(|request| request.state != "granted") else { return Ok(()) };
    let exit = if request.state == "denied" { Exit::Denied } else { Exit::Ended };
    let mut failure = Failure::new(exit, format!("{} was {}", request.scopes.join(", "), request.state));
    if let Some(denied) = &request.denied {
        failure.code = Some(denied.reason.clone());
        for because in &denied.because {
            failure = failure.line("why", because.clone());
        }
    }
    Err(failure
        .fix("ask for what is permitted (`hallpass scope list`); do not use any other credential")
        .line("more", format!("task {task} · decision {}", request.decision)))
}

/// The exit code that says how a task stands.
fn exit_of(answer: &TaskAnswer) -> u8 {
    let any = |state: &str| answer.requests.iter().any(|request| request.state == state);
    if any("pending") && answer.state == "open" {
        Exit::Pending.code()
    } else if any("denied") {
        Exit::Denied.code()
    } else if answer.state != "open" && answer.cause.as_deref() != Some("completed") {
        Exit::Ended.code()
    } else {
        0
    }
}

fn show(answer: &TaskAnswer, format: Format) -> Outcome {
    let mut lines = vec![
        ("task", answer.id.clone()),
        ("state", answer.cause.as_ref().map_or(answer.state.clone(), |cause| format!("{} ({cause})", answer.state))),
        ("agent", answer.agent.clone()),
        ("purpose", answer.purpose.clone()),
        ("expires", answer.expires_at.to_string()),
    ];
    for request in &answer.requests {
        lines.push(("request", format!("{} {} {}", request.id, request.state, request.scopes.join(", "))));
        if let Some(approval) = &request.approval {
            lines.push(("", format!("needs {}: {} — {}", approval.rule, approval.reason, approval.url)));
        }
        for asked in request.questions.iter().filter(|asked| asked.answered_at.is_none()) {
            lines.push(("", format!("{} asks: {} (question {})", asked.person, asked.text, asked.id)));
        }
        if let Some(denied) = &request.denied {
            lines.push(("", format!("{}: {}", denied.reason, denied.because.join("; "))));
        }
    }
    for credential in &answer.credentials {
        // A person at a terminal sees that it is there; a program asks for JSON.
        let what = format!("{} {} until {}", credential.id, credential.kind, credential.usable_until);
        lines.push(("credential", format!("{what} (its secret is in -o json)")));
    }
    lines.push(("next", format!("{}: {}", answer.agent_action, answer.message)));
    if format == Format::Table && !answer.credentials.is_empty() {
        say("note: a secret leaves once; use -o json to receive it, or `hallpass exec` to hand it to a command");
    }
    output::one(answer, &answer.id, format, &lines)?;
    Ok(exit_of(answer))
}

/// Print what is known of an end.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn closure(closure: &Closure, format: Format) -> Outcome {
    let mut lines = vec![
        ("id", closure.id.clone()),
        ("state", format!("{} ({})", closure.state, closure.cause)),
        ("closure", format!("{} of {} leases", closure.closure, closure.total)),
    ];
    for lease in &closure.leases {
        let known = match (&lease.proof, lease.ends_by) {
            (Some(proof), _) => proof.clone(),
            (None, Some(by)) => format!("ends by {by}"),
            (None, None) => "being ended".to_owned(),
        };
        let closure = lease.closure.map_or_else(|| lease.state.clone(), |known| known.to_string());
        lines.push(("lease", format!("{} {closure} {known}", lease.id)));
    }
    output::one(closure, &closure.id, format, &lines)?;
    Ok(0)
}

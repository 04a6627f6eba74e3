//! Coming to hold one credential, in a task that is open already or in one of its own. A secret is delivered once, so whoever
//! needs one again asks again; what was approved and not fetched yet is fetched rather than asked for a second time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::HoldArgs;
use crate::api::{Credential, MoreAccessAsk, RequestSummary, RevocationTarget, RevokeAsk, TaskAnswer};
use crate::app::telemetry::escape;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::say;
use crate::cli::task::{refuse_denied, wait_while};
use crate::client::{Client, LeasesFilter};
use crate::domain::Scope;

/// A credential, and what it hangs on.
pub(super) struct Held {
    pub(super) credential: Credential,
    task: String,
    /// Whether the task is there for this credential alone.
    own: bool,
}

impl Held {
    /// End it: nobody is going to use it.
    pub(super) async fn give_back(&self, client: &Client) {
        give_back(client, &self.task, self.own, std::slice::from_ref(&self.credential)).await;
    }
}

async fn give_back(client: &Client, task: &str, own: bool, credentials: &[Credential]) {
    let mut troubles = Vec::new();
    if own {
        troubles.extend(client.cancel(task).await.err());
    } else {
        let filter = LeasesFilter { task: Some(task.to_owned()), live: Some(true), ..LeasesFilter::default() };
        let leases = client.list_leases(filter).await.map(|page| page.items).unwrap_or_default();
        for credential in credentials {
            // With its grant, so that nobody who collects is given another of the kind.
            let lease = leases.iter().find(|lease| lease.id == credential.id);
            let target = lease.map_or_else(
                || RevocationTarget::Lease(credential.id.clone()),
                |lease| RevocationTarget::Grant(lease.grant.clone()),
            );
            let ask = RevokeAsk { target, reason: "it could not be handed over".to_owned() };
            troubles.extend(client.revoke(&ask).await.err());
        }
    }
    for trouble in troubles {
        say(&format!(
            "warning: what was minted could not be ended ({}); it ends by itself",
            escape(&trouble.to_string())
        ));
    }
}

/// What was asked, and what came of it so far.
struct Asked {
    task: String,
    own: bool,
    /// The requests, by id.
    requests: Vec<String>,
    answer: TaskAnswer,
}

/// Ask for a credential; one, since no tool's format has room for two.
///
/// # Errors
/// [`Failure`]: denied, pending, ended, or not to be had.
pub(super) async fn obtain(client: &Client, args: &HoldArgs) -> Result<Held, Failure> {
    let asked = match (&args.task, &args.purpose) {
        (Some(task), _) => in_task(client, task, args).await?,
        (None, Some(purpose)) => {
            let answer = client.open_task(&args.about.ask(purpose)).await?;
            Asked { task: answer.id.clone(), own: true, requests: ids(&answer), answer }
        }
        (None, None) => return Err(Failure::usage("say what it is for with --purpose, or name a --task")),
    };
    let (task, own) = (asked.task.clone(), asked.own);
    let outcome = settle(client, asked, args).await;
    // A request that waits stays where it is, for the one who decides. Nothing else of a task of its own is of use.
    if let Err(failure) = &outcome
        && own
        && failure.exit != Exit::Pending
    {
        give_back(client, &task, own, &[]).await;
    }
    outcome
}

fn ids(answer: &TaskAnswer) -> Vec<String> {
    answer.requests.iter().map(|request| request.id.clone()).collect()
}

/// Scopes as the server writes them.
fn written(scopes: &[String]) -> BTreeSet<String> {
    scopes.iter().map(|text| text.parse::<Scope>().map_or_else(|_| text.clone(), |scope| scope.to_string())).collect()
}

/// In a task that is there: what waits for a person or for being fetched, or else a new request.
async fn in_task(client: &Client, task: &str, args: &HoldArgs) -> Result<Asked, Failure> {
    let answer = client.read_task(task, None).await?;
    if answer.state != "open" {
        return Err(Failure::new(
            Exit::Ended,
            format!("task {task} has ended ({})", answer.cause.as_deref().unwrap_or("closed")),
        )
        .fix("stop the work that needs it; do not use any other credential"));
    }
    let scopes = written(&args.about.scopes);
    let same = |request: &&RequestSummary| written(&request.scopes) == scopes;
    let asked = |request: String, answer| Asked { task: task.to_owned(), own: false, requests: vec![request], answer };
    if let Some(pending) = answer.requests.iter().filter(same).rfind(|request| request.state == "pending") {
        return Ok(asked(pending.id.clone(), answer));
    }
    if let Some(granted) = answer.requests.iter().filter(same).rfind(|request| request.state == "granted") {
        let filter = LeasesFilter { task: Some(task.to_owned()), ..LeasesFilter::default() };
        let leases = client.list_leases(filter).await?;
        if leases.next_cursor.is_none() && !leases.items.iter().any(|lease| lease.request == granted.id) {
            let request = granted.id.clone();
            return Ok(asked(request, client.collect(task).await?));
        }
    }
    let ask = MoreAccessAsk {
        scopes: text_scopes(args),
        ttl_seconds: args.about.ttl,
        confirmation_key: None,
        delivery_key: None,
    };
    let answer = client.request_access(task, &ask).await?;
    Ok(Asked { task: task.to_owned(), own: false, requests: ids(&answer), answer })
}

fn text_scopes(args: &HoldArgs) -> Vec<crate::api::AskScope> {
    crate::cli::text::scopes(&args.about.scopes)
}

fn several(count: usize) -> Failure {
    Failure::usage(format!("these scopes come as {count} credentials, and a tool can be given one"))
        .fix("name scopes of one backend that share a credential, or use `hallpass exec`")
}

/// From the question to the credential.
async fn settle(client: &Client, asked: Asked, args: &HoldArgs) -> Result<Held, Failure> {
    let Asked { task, own, requests, mut answer } = asked;
    let ours = |request: &RequestSummary| requests.contains(&request.id);
    if requests.len() > 1 {
        // Each comes as a credential of its own; nobody waits for what cannot be handed over.
        give_back(client, &task, own, &answer.credentials).await;
        return Err(several(requests.len()));
    }
    if answer.requests.iter().any(|request| ours(request) && request.state == "pending") {
        let waiting: Vec<RequestSummary> = answer.requests.iter().filter(|one| ours(one)).cloned().collect();
        if args.no_wait {
            return Err(pending(&task, &waiting));
        }
        for request in &waiting {
            say(&format!("waiting   for request {} of task {task}, at most {} s", request.id, args.wait));
        }
        let limit = Duration::from_secs(u64::try_from(args.wait).unwrap_or_default());
        match tokio::time::timeout(limit, wait_while(client, answer, ours)).await {
            Ok(decided) => answer = decided?,
            Err(_) => return Err(pending(&task, &waiting)),
        }
        let mine: Vec<RequestSummary> = answer.requests.iter().filter(|one| ours(one)).cloned().collect();
        refuse_denied(&task, &mine)?;
        answer = client.collect(&task).await?;
    }
    let mine: Vec<RequestSummary> = answer.requests.iter().filter(|one| ours(one)).cloned().collect();
    refuse_denied(&task, &mine)?;
    let TaskAnswer { credentials, message, .. } = answer;
    let mut credentials: Vec<Credential> =
        credentials.into_iter().filter(|credential| requests.contains(&credential.request)).collect();
    match (credentials.pop(), credentials.is_empty()) {
        (Some(credential), true) => Ok(Held { credential, task, own }),
        (Some(last), false) => {
            credentials.push(last);
            give_back(client, &task, own, &credentials).await;
            Err(several(credentials.len()))
        }
        (None, _) => Err(Failure::new(Exit::Backend, format!("nothing was denied, but no credential came: {message}"))
            .line("more", format!("task {task}"))),
    }
}

fn pending(task: &str, requests: &[RequestSummary]) -> Failure {
    let mut failure = Failure::new(Exit::Pending, "somebody must decide first; there is no credential yet");
    failure.code = Some("pending".to_owned());
    for request in requests {
        if let Some(approval) = &request.approval {
            failure = failure
                .line("why", approval.reason.clone())
                .line("who", format!("{} · {}", approval.rule, approval.url));
        }
        failure = failure.line("more", format!("request {} · task {task}", request.id));
    }
    failure
        .fix(format!("once it is approved, run it again with HALLPASS_TASK={task}, and it fetches what was approved"))
}

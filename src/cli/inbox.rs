//! `hallpass inbox …`: the approval queue. What is approved is what was shown: the digest of the request goes with the verdict.

use clap::Subcommand;

use super::failure::Outcome;
use super::output::{self, Row, say};
use super::session::Session;
use crate::api::{Narrow, RequestView, ReviewAsk, ReviewItem, VerdictAsk};

/// `hallpass inbox …`.
#[derive(Debug, Subcommand)]
pub(crate) enum InboxCommand {
    /// List requests
    List {
        /// In this state: pending, granted, denied, withdrawn or lapsed
        #[arg(long, default_value = "pending")]
        state: String,
        /// Of this agent
        #[arg(long)]
        agent: Option<String>,
    },
    /// Show a request: who asks, why you are asked, and what exactly would be minted
    Show {
        /// The request's id
        request: String,
    },
    /// Approve a request
    Approve {
        /// The request's id
        request: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        /// The digest `inbox show` printed; a request that changed since is refused
        #[arg(long, value_name = "DIGEST")]
        digest: Option<String>,
        /// Allow a shorter life than was asked for, e.g. 5m
        #[arg(long, value_name = "TIME", value_parser = super::text::parse_duration)]
        ttl: Option<i64>,
        /// Leave a scope of the request out; may be given several times
        #[arg(long, value_name = "SCOPE")]
        drop: Vec<String>,
    },
    /// Deny a request
    Deny {
        /// The request's id
        request: String,
        /// Why; the agent is told
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a request pass alone, in an emergency; somebody else must review it within a day
    BreakGlass {
        /// The request's id
        request: String,
        /// Why it cannot wait
        #[arg(long)]
        reason: String,
        /// The digest `inbox show` printed; a request that changed since is refused
        #[arg(long, value_name = "DIGEST")]
        digest: Option<String>,
    },
    /// List the reviews of what was let pass in an emergency
    Reviews {
        /// Those that were made, too
        #[arg(long)]
        all: bool,
    },
    /// Say whether it was right to let a request pass alone
    Review {
        /// The request's id
        request: String,
        /// confirmed or objected; an objection ends what lives of the grant
        verdict: String,
        /// What you found
        note: String,
    },
    /// Ask the agent something before you decide; its answer is shown with the request
    Ask {
        /// The request's id
        request: String,
        /// What you want to know, at most 500 characters
        text: String,
    },
}

impl Row for RequestView {
    const HEADS: &'static [&'static str] =
        &["REQUEST", "STATE", "AGENT", "RISK", "TTL", "SCOPES", "PURPOSE (AS ASSERTED)"];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.state.clone(),
            self.agent.clone(),
            self.risk.to_string(),
            format!("{} s", self.ttl_seconds),
            self.scopes.join(", "),
            self.asserted_purpose.clone(),
        ]
    }
}

impl Row for ReviewItem {
    const HEADS: &'static [&'static str] = &["REQUEST", "STATE", "AGENT", "BROKEN BY", "AT", "DUE", "FOR"];

    fn name(&self) -> String {
        self.request.clone()
    }

    fn cells(&self) -> Vec<String> {
        let state = if self.overdue { "overdue" } else { &self.review.state };
        vec![
            self.request.clone(),
            state.to_owned(),
            self.agent.clone(),
            self.breaker.clone(),
            self.broken_at.to_string(),
            self.review.due_at.to_string(),
            self.rule.clone(),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(command: InboxCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    match command {
        InboxCommand::List { state, agent } => {
            let page = client.list_requests(Some(&state), agent.as_deref(), None).await?;
            output::list(&page.items, session.output)?;
            if page.next_cursor.is_some() {
                say("note: there are more than these");
            }
            Ok(0)
        }
        InboxCommand::Show { request } => {
            let view = client.read_request(&request).await?;
            output::one(&view, &view.id, session.output, &describe(&view))?;
            Ok(0)
        }
        InboxCommand::Approve { request, reason, digest, ttl, drop } => {
            let digest = match digest {
                Some(digest) => digest,
                None => shown(&client.read_request(&request).await?),
            };
            let ttl = ttl.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX));
            let narrow = (ttl.is_some() || !drop.is_empty()).then_some(Narrow { ttl_seconds: ttl, drop_scopes: drop });
            decide(session, &request, "approve", digest, reason, narrow).await
        }
        InboxCommand::BreakGlass { request, reason, digest } => {
            let digest = match digest {
                Some(digest) => digest,
                None => shown(&client.read_request(&request).await?),
            };
            decide(session, &request, "break_glass", digest, Some(reason), None).await
        }
        InboxCommand::Reviews { all } => {
            output::list(&client.list_reviews((!all).then_some("due")).await?.items, session.output)?;
            Ok(0)
        }
        InboxCommand::Review { request, verdict, note } => {
            let review = client.review_request(&request, &ReviewAsk { verdict, note }).await?;
            let lines = [("request", request.clone()), ("review", review.state.clone())];
            output::one(&review, &request, session.output, &lines)?;
            Ok(0)
        }
        InboxCommand::Deny { request, reason } => {
            let digest = client.read_request(&request).await?.request_digest;
            decide(session, &request, "deny", digest, reason, None).await
        }
        InboxCommand::Ask { request, text } => {
            let question = client.ask_question(&request, &text).await?;
            let lines = [("question", question.id.clone()), ("asks", question.text.clone())];
            output::one(&question, &question.id, session.output, &lines)?;
            Ok(0)
        }
    }
}

/// Show what is about to be approved, and answer its digest.
fn shown(view: &RequestView) -> String {
    for (label, text) in describe(view) {
        say(&format!("{label:<14} {}", crate::app::telemetry::escape(&text)));
    }
    view.request_digest.clone()
}

async fn decide(
    session: &Session,
    request: &str,
    verdict: &str,
    request_digest: String,
    reason: Option<String>,
    narrow: Option<Narrow>,
) -> Outcome {
    let ask = VerdictAsk { verdict: verdict.to_owned(), request_digest, narrow, reason, assertion: None };
    let answer = session.client()?.decide_request(request, &ask).await?;
    let lines = [("request", answer.id.clone()), ("state", answer.state.clone()), ("", answer.message.clone())];
    output::one(&answer, &answer.id, session.output, &lines)?;
    Ok(0)
}

/// What policy wants of a yes beyond the person.
fn takes(view: &RequestView) -> Vec<String> {
    let terms = &view.terms;
    let mut lines = Vec::new();
    match terms.step_up.as_str() {
        "sign_in" => lines.push("a sign-in of the last 10 minutes (`hallpass login`)".to_owned()),
        "passkey" => lines.push("a passkey, in the console".to_owned()),
        _ => {}
    }
    if terms.reason_required {
        lines.push("a reason (`--reason`)".to_owned());
    }
    if terms.uses > 1 {
        lines.push(format!("care: it is good for {} credentials", terms.uses));
    }
    lines
}

/// In the order a person should read it: our sentence first, the agent's own words last and marked as such.
fn describe(view: &RequestView) -> Vec<(&'static str, String)> {
    let mut lines = vec![("request", format!("{} ({})", view.id, view.state)), ("", view.sentence.clone())];
    lines.extend(view.reasons.iter().map(|reason| ("you are asked", reason.clone())));
    if let Some(rule) = &view.rule {
        lines.push(("rule", format!("{rule}, {} so far", view.given)));
        lines.extend(takes(view).into_iter().map(|text| ("a yes takes", text)));
    }
    lines.push(("who", format!("{} (owner {}), verified as {}", view.agent, view.owner, view.verified_identity)));
    lines.push(("scopes", view.scopes.join(", ")));
    lines.push(("life", format!("{} s", view.ttl_seconds)));
    lines.push(("risk", view.risk.to_string()));
    lines.push(("would mint", view.effect.to_string()));
    lines.extend(view.unusual.iter().map(|what| ("unusual", what.clone())));
    for question in &view.questions {
        lines.push(("question", format!("{}: {}", question.person, question.text)));
        let answer = question.asserted_answer.as_deref().unwrap_or("(no answer yet)");
        lines.push(("asserted", format!("answer: {answer}")));
    }
    lines.push(("asserted", format!("purpose: {}", view.asserted_purpose)));
    if let Some(message) = &view.asserted_message {
        lines.push(("asserted", format!("message: {message}")));
    }
    if let Some(beneficiary) = &view.asserted_beneficiary {
        lines.push(("asserted", format!("on behalf of: {beneficiary}")));
    }
    for (name, value) in &view.asserted_references {
        lines.push(("asserted", format!("{name}: {value}")));
    }
    lines.push(("digest", view.request_digest.clone()));
    if let Some(lapses) = view.lapses_at {
        lines.push(("lapses", lapses.to_string()));
    }
    if let Some(why) = &view.cannot_decide {
        lines.push(("you cannot", format!("decide this: {why}")));
    }
    lines
}

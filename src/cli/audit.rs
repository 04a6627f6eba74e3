//! `hallpass audit …`: what happened, to whom, and why.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::evidence;
use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Row, say};
use super::session::Session;
use crate::api::EventView;
use crate::app::telemetry::escape;
use crate::client::{Client, EventsFilter};

/// The most events a timeline shows.
const MAX_TIMELINE: usize = 5_000;

/// `hallpass audit …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Search the audit events
    Search(SearchArgs),
    /// Everything about one task, in order
    Timeline {
        /// The task's id
        task: String,
    },
    /// What was shown and what passkeys signed for a request, as a file to keep
    Evidence {
        /// The request's id
        request: String,
    },
    /// Check such a file, without a server
    VerifyApproval {
        /// The file
        file: PathBuf,
        /// The domain that the passkeys must have signed for, e.g. hallpass.acme.example
        #[arg(long, value_name = "DOMAIN")]
        rp_id: Option<String>,
    },
}

/// What to search for.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// About this agent
    #[arg(long)]
    agent: Option<String>,
    /// About this task
    #[arg(long)]
    task: Option<String>,
    /// About this request
    #[arg(long)]
    request: Option<String>,
    /// About this lease
    #[arg(long)]
    lease: Option<String>,
    /// Of this kind, e.g. credential.minted; `credential.` stands for all that begin so
    #[arg(long)]
    kind: Option<String>,
    /// Not before this time, e.g. 2026-11-21T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The newest first
    #[arg(long)]
    newest_first: bool,
    /// At most so many, 1 to 200
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// After this cursor, as a search before printed it
    #[arg(long)]
    cursor: Option<String>,
}

impl Row for EventView {
    const HEADS: &'static [&'static str] = &["SEQ", "TIME", "KIND", "ACTOR", "ABOUT", "DATA"];

    fn name(&self) -> String {
        text(&self.event, "id")
    }

    fn cells(&self) -> Vec<String> {
        let about: Vec<String> = ["agent", "task", "request", "decision", "grant", "lease"]
            .iter()
            .map(|name| text(&self.event, name))
            .filter(|text| !text.is_empty())
            .collect();
        vec![
            self.seq.to_string(),
            text(&self.event, "at"),
            text(&self.event, "kind"),
            text(&self.event, "actor"),
            about.join(" "),
            self.event.get("data").map(Value::to_string).unwrap_or_default(),
        ]
    }
}

fn text(event: &Value, member: &str) -> String {
    match event.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Run it.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: AuditCommand, session: &Session) -> Outcome {
    match command {
        AuditCommand::Search(args) => {
            let page = session.client()?.list_events(args.filter()).await?;
            output::list(&page.items, session.output)?;
            if let Some(cursor) = page.next_cursor {
                say(&format!("note: there are more; go on with --cursor {cursor}"));
            }
        }
        AuditCommand::Timeline { task } => {
            let events = timeline(&session.client()?, &task).await?;
            if events.is_empty() {
                return Err(Failure::new(Exit::Failure, format!("no event is about task {task}"))
                    .fix("check the id; `hallpass audit search` lists what there is"));
            }
            output::list(&events, session.output)?;
        }
        AuditCommand::Evidence { request } => {
            let evidence = session.client()?.read_evidence(&request).await?;
            let text = serde_json::to_string_pretty(&evidence)
                .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
            output::print(&text)?;
        }
        AuditCommand::VerifyApproval { file, rp_id } => return verify(&file, rp_id.as_deref()),
    }
    Ok(0)
}

/// Check evidence; nobody is called.
fn verify(file: &Path, rp_id: Option<&str>) -> Outcome {
    match evidence::verify_file(file, rp_id) {
        Ok(lines) => {
            lines.iter().try_for_each(|line| output::print(&escape(line)))?;
            output::print("verified")?;
            Ok(0)
        }
        Err(flaw) => Err(Failure::new(Exit::Failure, format!("not verified: {flaw}")).fix(
            "fetch the evidence again; if it stays so, somebody changed it, and what it says must not be relied on",
        )),
    }
}

impl SearchArgs {
    fn filter(self) -> EventsFilter {
        EventsFilter {
            agent: self.agent,
            task: self.task,
            request: self.request,
            lease: self.lease,
            kind: self.kind,
            from: self.from,
            to: self.to,
            newest_first: self.newest_first,
            limit: Some(self.limit),
            cursor: self.cursor,
        }
    }
}

/// Every event about a task, in the order of commits.
///
/// # Errors
/// [`Failure`] of a call.
pub(crate) async fn timeline(client: &Client, task: &str) -> Result<Vec<EventView>, Failure> {
    let (mut events, mut cursor) = (Vec::new(), None);
    while events.len() < MAX_TIMELINE {
        let filter = EventsFilter {
            task: Some(task.to_owned()),
            limit: Some(200),
            cursor: cursor.take(),
            ..EventsFilter::default()
        };
        let page = client.list_events(filter).await?;
        events.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    Ok(events)
}

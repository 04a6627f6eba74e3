//! `hallpass insights …`: how much approvers are asked, and what should be policy.

use clap::Subcommand;

use super::failure::Outcome;
use super::output::{self, Format, Row, say};
use super::session::Session;
use crate::api::{ApproverDay, Suggestion};
use crate::app::telemetry::escape;

/// `hallpass insights …`.
#[derive(Debug, Subcommand)]
pub(crate) enum InsightsCommand {
    /// Show how much each approver is asked, and how long they think
    Approvals {
        /// So many days back, 1 to 90
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Show what is approved so often that it could be policy, as a diff
    Suggestions,
}

impl Row for ApproverDay {
    const HEADS: &'static [&'static str] = &["DAY", "PERSON", "ASKED", "DECIDED", "APPROVED", "MEDIAN", "HASTY"];

    fn name(&self) -> String {
        format!("{} {}", self.day, self.person)
    }

    fn cells(&self) -> Vec<String> {
        let median = self.median_thought_millis.map_or("-".to_owned(), |millis| format!("{} s", millis / 1000));
        let counts = [self.asked, self.decided, self.approved].map(|count| count.to_string());
        let mut cells = vec![self.day.clone(), self.person.clone()];
        cells.extend(counts);
        cells.extend([median, self.hasty.to_string()]);
        cells
    }
}

impl Row for Suggestion {
    const HEADS: &'static [&'static str] = &["AGENT", "ENTRIES", "GRANTED", "BY", "POLICIES"];

    fn name(&self) -> String {
        format!("{} {}", self.agent, self.entries.join(" "))
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.agent.clone(),
            self.entries.join(", "),
            format!("{} times", self.granted),
            self.people.join(", "),
            self.policies.join(", "),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(command: InsightsCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    match command {
        InsightsCommand::Approvals { days } => {
            output::list(&client.approval_insights(days).await?.items, session.output)?;
        }
        InsightsCommand::Suggestions => {
            let suggestions = client.policy_suggestions().await?.items;
            output::list(&suggestions, session.output)?;
            if session.output == Format::Table {
                for line in suggestions.iter().flat_map(|suggestion| suggestion.diff.lines()) {
                    output::print(&escape(line))?;
                }
                if !suggestions.is_empty() {
                    say(
                        "note: nothing was changed; apply the diff in the bundle's folder, and run `hallpass policy test`",
                    );
                }
            }
        }
    }
    Ok(0)
}

//! `hallpass delegation …`: let somebody decide in your place while you are away.

use clap::Subcommand;

use super::failure::{Failure, Outcome};
use super::output::{self, Row};
use super::session::Session;
use super::text;
use crate::api::{DelegationAsk, DelegationView};
use crate::sys::{Clock as _, SystemClock};

/// `hallpass delegation …`.
#[derive(Debug, Subcommand)]
pub(crate) enum DelegationCommand {
    /// Let somebody decide in your place for a while
    Give {
        /// Who: a registered person's name or e-mail address, or somebody who has signed in
        person: String,
        /// For how long, e.g. 8h; at most 720h
        #[arg(long = "for", value_parser = text::parse_duration, value_name = "TIME", required_unless_present = "until")]
        time: Option<i64>,
        /// From when on, RFC 3339; at once when left out
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Until when, RFC 3339
        #[arg(long, value_name = "TIME", conflicts_with = "time")]
        until: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// List delegations, yours on either side
    List,
    /// End a delegation before its time
    End {
        /// The delegation's id
        delegation: String,
    },
}

impl Row for DelegationView {
    const HEADS: &'static [&'static str] = &["DELEGATION", "STATE", "OF", "TO", "FROM", "UNTIL", "REASON"];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.state.clone(),
            self.giver.clone(),
            self.receiver.clone(),
            self.from.to_string(),
            self.until.to_string(),
            self.reason.clone(),
        ]
    }
}

/// Run it.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: DelegationCommand, session: &Session) -> Outcome {
    let client = session.client()?;
    let shown = match command {
        DelegationCommand::List => {
            output::list(&client.list_delegations().await?.items, session.output)?;
            return Ok(0);
        }
        DelegationCommand::Give { person, time, from, until, reason } => {
            let at = |text: Option<String>| {
                text.map(|text| text.parse::<crate::domain::Timestamp>()).transpose().map_err(|error| {
                    Failure::usage(format!("not a time: {error}")).fix("write it like 2026-11-22T18:00:00Z")
                })
            };
            let (from, until) = (at(from)?, at(until)?);
            let until = match (until, time) {
                (Some(until), _) => until,
                // The clock of the server is what counts; ours is only used to say how long.
                (None, Some(secs)) => from.unwrap_or_else(|| SystemClock.now()).plus_millis(secs.saturating_mul(1000)),
                (None, None) => return Err(Failure::usage("say until when").fix("add --for or --until")),
            };
            client.give_delegation(&DelegationAsk { to: person, from, until, reason }).await?
        }
        DelegationCommand::End { delegation } => client.end_delegation(&delegation).await?,
    };
    let lines = [
        ("delegation", shown.id.clone()),
        ("state", shown.state.clone()),
        ("of", shown.giver.clone()),
        ("to", shown.receiver.clone()),
        ("from", shown.from.to_string()),
        ("until", shown.until.to_string()),
    ];
    output::one(&shown, &shown.id, session.output, &lines)?;
    Ok(0)
}

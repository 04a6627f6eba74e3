//! `hallpass whoami`: who the server thinks is calling.

use super::failure::Outcome;
use super::output;
use super::session::Session;

/// Run it.
///
/// # Errors
/// [`super::failure::Failure`].
pub(crate) async fn run(session: &Session) -> Outcome {
    let who = session.client()?.whoami().await?;
    let mut lines = vec![
        (who.kind.as_str(), who.name.clone()),
        ("identity", format!("{}#{}", who.issuer, who.subject)),
        ("token until", who.token_expires_at.to_string()),
    ];
    if let Some(owner) = &who.owner {
        lines.push(("owner", owner.clone()));
    }
    if !who.groups.is_empty() {
        lines.push(("groups", who.groups.join(", ")));
    }
    output::one(&who, &who.name, session.output, &lines)?;
    Ok(0)
}

//! A refused call, explained to the one who made it. Only the token's holder sees this much: the claims are read here, from
//! the caller's own token, and the server's answer says nothing of which check failed.

use super::failure::{Exit, Failure};
use crate::api::{AgentAction, ProblemKind};
use crate::client::{ClientError, Refusal, UnverifiedClaims};
use crate::domain::Timestamp;

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. } => Self::new(Exit::Unreachable, error.to_string())
                .fix("start the server (`hallpass serve`, or `hallpass dev` to try it), or name another with --server"),
            ClientError::NoToken(why) => Self::new(Exit::Unauthenticated, why)
                .fix("run `hallpass login`, set HALLPASS_TOKEN_FILE, or use --as NAME beside a running `hallpass dev`"),
            ClientError::Unreadable { .. } => Self::new(Exit::Failure, error.to_string())
                .fix("check --server, and that client and server are of one version"),
            ClientError::Invalid(why) => Self::usage(why),
            ClientError::Refused(refusal) => refused(&refusal),
        }
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let problem = &refusal.problem;
    let exit = refusal.kind().map_or(Exit::Failure, Exit::of);
    let mut failure = Failure::new(exit, problem.detail.clone());
    failure.code = Some(problem.code.clone());
    if refusal.kind() == Some(ProblemKind::InvalidToken) {
        failure = explain_token(failure, refusal);
    } else {
        for because in &problem.because {
            failure = failure.line("why", because.clone());
        }
        if let Some(secs) = refusal.retry_after_secs {
            failure = failure.fix(format!("try again in {secs} s"));
        } else {
            failure = failure.fix(advice(problem.agent_action));
        }
    }
    let about = [problem.task.as_deref(), problem.decision.as_deref()].into_iter().flatten();
    let mut more: Vec<&str> = about.collect();
    let (page, id) = (format!("hallpass help errors {}", problem.code), format!("request id {}", problem.request_id));
    more.extend([page.as_str(), id.as_str()]);
    failure.line("more", more.join(" · "))
}

const fn advice(action: AgentAction) -> &'static str {
    match action {
        AgentAction::Proceed => "go on",
        AgentAction::Wait => "wait for a person, then ask again",
        AgentAction::Answer => "answer what you are asked, then wait",
        AgentAction::Narrow => "ask for less: fewer scopes, or a shorter life",
        AgentAction::AskHuman => "ask the person you work for",
        AgentAction::RetryLater => "try the same again later",
        AgentAction::Stop => "stop the work that needs this, and report; do not use any other credential",
    }
}

fn explain_token(mut failure: Failure, refusal: &Refusal) -> Failure {
    let Some(claims) = &refusal.presented else {
        "you are not signed in: there is no identity token, it is not a signed JWT in compact form, or your session is over"
            .clone_into(&mut failure.message);
        return failure.fix("run `hallpass login`, or present the token exactly as your platform issued it");
    };
    let (why, fix) = likely_cause(claims, refusal.server_now);
    failure.message = format!("your identity token was rejected: {why}");
    failure = failure.line(
        "who",
        format!(
            "{} · {}",
            claims.issuer.as_deref().unwrap_or("(no issuer)"),
            claims.subject.as_deref().unwrap_or("(no subject)")
        ),
    );
    let stamp = |at: Option<Timestamp>| at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
    let (expires, now) = (stamp(claims.expires_at), stamp(refusal.server_now));
    failure.line("clock", format!("token exp {expires} · server now {now}")).fix(fix)
}

/// What is most likely wrong, from what the token says of itself and the server's clock.
fn likely_cause(claims: &UnverifiedClaims, server_now: Option<Timestamp>) -> (String, String) {
    let fresh = "request a fresh identity token right before calling";
    match (server_now, claims.expires_at, claims.not_before) {
        (_, None, _) => return ("it has no expiry (`exp`)".to_owned(), "use a token that expires".to_owned()),
        (Some(now), Some(expires), _) if now >= expires => {
            let ago = span(now.millis_since(expires));
            return (format!("it expired {ago} ago"), fresh.to_owned());
        }
        (Some(now), _, Some(begins)) if now < begins => {
            let ahead = span(begins.millis_since(now));
            return (format!("it is not valid for another {ahead}"), "check the clock of its issuer".to_owned());
        }
        (Some(_) | None, Some(_), _) => {}
    }
    if claims.audiences.is_empty() {
        return ("it names no audience (`aud`)".to_owned(), "request it for the server's public URL".to_owned());
    }
    let audiences = claims.audiences.join(", ");
    (
        "the server does not say which check failed, and its times are good".to_owned(),
        format!(
            "check that the server trusts its issuer, that its audience ({audiences}) is the server's public URL, and that \
             it was not presented before"
        ),
    )
}

/// A length of time in words.
pub(super) fn span(millis: i64) -> String {
    let secs = millis.max(0) / 1000;
    let (hours, minutes, seconds) = (secs / 3600, (secs / 60) % 60, secs % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds:02}s"),
        _ => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Problem;

    fn refusal(claims: Option<UnverifiedClaims>, now: i64) -> Refusal {
        let kind = ProblemKind::InvalidToken;
        Refusal {
            problem: Problem {
                kind: "https://h/problems/invalid-token".to_owned(),
                code: kind.slug().to_owned(),
                title: kind.title().to_owned(),
                status: kind.status(),
                detail: "The identity token was not accepted.".to_owned(),
                request_id: "abc".to_owned(),
                agent_action: kind.agent_action(),
                reason: None,
                because: Vec::new(),
                task: None,
                decision: None,
            },
            retry_after_secs: None,
            server_now: Some(Timestamp::from_secs(now)),
            presented: claims,
        }
    }

    #[test]
    fn an_expired_token_is_explained_with_both_clocks() {
        let claims = UnverifiedClaims {
            issuer: Some("https://i".to_owned()),
            subject: Some("s".to_owned()),
            audiences: vec!["https://h".to_owned()],
            expires_at: Some(Timestamp::from_secs(1000)),
            not_before: None,
        };
        let text = Failure::from(ClientError::Refused(Box::new(refusal(Some(claims), 1192)))).to_string();
        assert_eq!(
            text,
            "error: your identity token was rejected: it expired 3m 12s ago  [invalid-token]\n  who    https://i · s\n  \
             clock  token exp 1970-01-01T00:16:40Z · server now 1970-01-01T00:19:52Z\n  fix    request a fresh identity \
             token right before calling\n  more   hallpass help errors invalid-token · request id abc"
        );
    }

    #[test]
    fn a_token_that_looks_good_is_not_called_expired() {
        let claims = UnverifiedClaims {
            audiences: vec!["https://other".to_owned()],
            expires_at: Some(Timestamp::from_secs(2000)),
            ..UnverifiedClaims::default()
        };
        let text = Failure::from(ClientError::Refused(Box::new(refusal(Some(claims), 1192)))).to_string();
        assert!(text.contains("https://other") && !text.contains("expired"), "{text}");
    }

    #[test]
    fn a_refused_token_ends_with_exit_code_7() {
        assert_eq!(Failure::from(ClientError::Refused(Box::new(refusal(None, 0)))).exit, Exit::Unauthenticated);
    }
}

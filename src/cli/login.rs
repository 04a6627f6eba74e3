//! `hallpass login` and `hallpass logout`: a session of this command line, which a person gives it in a browser.

use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;

use super::failure::{Exit, Failure, Outcome};
use super::output::say;
use super::saved::{SavedSession, SavedSessions};
use super::session::Session;
use crate::api::{DeviceAnswer, ProblemKind, TokenAnswer};
use crate::app::telemetry::escape;
use crate::client::{Client, Polled, TokenSource};
use crate::sys::{Clock as _, SecretString, SystemClock};

/// The longest that a server may have it wait between polls, in seconds.
const LONGEST_PAUSE_SECS: u32 = 60;

/// `hallpass login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Only say where to go; open no browser
    #[arg(long)]
    no_browser: bool,
}

/// Sign in.
///
/// # Errors
/// [`Failure`] when nobody says yes, or the session cannot be kept.
pub(crate) async fn login(args: &LoginArgs, session: &Session) -> Outcome {
    let client = session.client_of(TokenSource::Nobody)?;
    let saved = saved()?;
    // Before a person is asked: what cannot be kept is not worth asking for.
    saved.find(client.server())?;
    let asked = client.ask_device_sign_in(&own_name()).await?;
    let opened = !args.no_browser && open_browser(&client, &asked);
    say(&format!(
        "Your code is {}\n\n  {} {}\n  and say yes if the code there is the same.\n",
        escape(&asked.user_code),
        if opened { "A browser opens at" } else { "Open" },
        escape(&asked.verification_uri_complete),
    ));
    let answer = wait(&client, &asked).await?;
    let ends_at = SystemClock.now().plus_millis(answer.expires_in.saturating_mul(1000));
    let token = SecretString::from(answer.access_token);
    saved.set(client.server(), Some(SavedSession::new(&token, ends_at)))?;
    let who = client.with_tokens(TokenSource::Fixed(token)).whoami().await?;
    say(&format!(
        "You are signed in at {} as {}, until {ends_at}. `hallpass logout` ends it.",
        client.server(),
        escape(&who.name)
    ));
    Ok(0)
}

async fn wait(client: &Client, asked: &DeviceAnswer) -> Result<TokenAnswer, Failure> {
    let begin_anew = |exit, why: &str| Failure::new(exit, why).fix("run `hallpass login` again");
    let mut pause = asked.interval.clamp(1, LONGEST_PAUSE_SECS);
    let until = SystemClock.now().plus_millis(i64::from(asked.expires_in).saturating_mul(1000));
    while SystemClock.now() < until {
        // A pause between two polls, as RFC 8628 §3.5 wants it.
        let _ = tokio::time::timeout(Duration::from_secs(u64::from(pause)), std::future::pending::<()>()).await;
        match client.poll_device_sign_in(&asked.device_code).await? {
            Polled::SignedIn(answer) => return Ok(answer),
            Polled::Pending => {}
            Polled::SlowDown => pause = pause.saturating_add(5).min(LONGEST_PAUSE_SECS),
            Polled::Denied => return Err(begin_anew(Exit::Denied, "it was refused in the browser")),
            Polled::Expired => break,
        }
    }
    Err(begin_anew(Exit::Ended, "nobody said yes in time"))
}

/// Sign out: the session ends at the server, and is kept no more.
///
/// # Errors
/// [`Failure`] when the server cannot be told; then it is still kept.
pub(crate) async fn logout(session: &Session) -> Outcome {
    let nobody = session.client_of(TokenSource::Nobody)?;
    let (server, saved) = (nobody.server().to_owned(), saved()?);
    let Some(kept) = saved.find(&server)? else {
        say(&format!("You are not signed in at {server}."));
        return Ok(0);
    };
    let client = nobody.with_tokens(TokenSource::Fixed(kept.token()));
    let over = async {
        let own = client.list_sessions(None, false).await?;
        match own.iter().find(|session| session.current) {
            Some(current) => client.end_session(&current.id).await.map(drop),
            None => Ok(()),
        }
    };
    match over.await {
        Ok(()) => {}
        // It is over already.
        Err(error) if matches!(error.kind(), Some(ProblemKind::InvalidToken | ProblemKind::NotFound)) => {}
        Err(error) => return Err(error.into()),
    }
    saved.set(&server, None)?;
    say(&format!("You are signed out at {server}."));
    Ok(0)
}

fn saved() -> Result<SavedSessions, Failure> {
    SavedSessions::of_this_person().ok_or_else(|| {
        Failure::new(Exit::Failure, "there is nowhere to keep a session: neither HOME nor XDG_CONFIG_HOME is set")
            .fix("set HOME, or use a token of your identity provider with HALLPASS_TOKEN_FILE")
    })
}

/// What the person who is asked sees of us; without a name of the machine where the system does not tell it.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    match host.trim() {
        "" => format!("hallpass {version}"),
        host => format!("hallpass {version} on {host}"),
    }
}

/// Have the desktop open the page; whether there is somebody who may. An address that is not below the server's is not opened.
fn open_browser(client: &Client, asked: &DeviceAnswer) -> bool {
    let url = &asked.verification_uri_complete;
    let ours = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
        && url.starts_with(client.server());
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = || Stdio::null();
    ours && Command::new(opener).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().is_ok()
}

//! The child process: its output masked, signals handed on, its exit code ours.

use std::io::{IsTerminal as _, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::environment::Handed;
use super::mask::{Masker, Secrets};
use crate::app::env;
use crate::cli::failure::{Exit, Failure};

/// Bytes read from the child at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// Start the command. With `masked`, its output comes to us through pipes.
///
/// # Errors
/// The exit code a shell would answer (127: not found, 126: cannot be run) and why.
pub(crate) fn spawn(command: &[String], handed: &Handed, masked: bool) -> Result<Child, (u8, Failure)> {
    let Some((program, arguments)) = command.split_first() else {
        return Err((Exit::Usage.code(), Failure::usage("there is no command to run").fix("write it after `--`")));
    };
    let mut prepared = Command::new(program);
    // The child gets what the task was granted, not who we are.
    prepared.args(arguments).env_remove(env::TOKEN).kill_on_drop(true);
    for hidden in handed.hidden {
        prepared.env_remove(hidden);
    }
    prepared.envs(&handed.variables);
    if masked {
        prepared.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    prepared.spawn().map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        (code, Failure::new(Exit::Failure, format!("{program} cannot be run: {error}")))
    })
}

/// Wait for the child, hand signals on to it, and pass its output on without the secrets.
///
/// # Errors
/// [`Failure`] when signals cannot be listened for or the child cannot be waited for.
pub(crate) async fn watch(child: &mut Child, secrets: &Secrets) -> Result<u8, Failure> {
    let out = child.stdout.take();
    let err = child.stderr.take();
    let streams = async {
        tokio::join!(pump(out, std::io::stdout(), secrets.clone()), pump(err, std::io::stderr(), secrets.clone()))
    };
    let status = async {
        // `wait` first: it listens for signals before any output of the child can make somebody send one.
        let waited = tokio::join!(biased; wait(child), streams);
        waited.0
    };
    Ok(code_of(status.await?))
}

async fn wait(child: &mut Child) -> Result<ExitStatus, Failure> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
    // A terminal sends its signals to the whole group, so the child has them already.
    let at_terminal = std::io::stdin().is_terminal();
    loop {
        let (which, from_terminal) = tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => (Signal::INT, true),
            _ = quit.recv() => (Signal::QUIT, true),
            _ = terminate.recv() => (Signal::TERM, false),
            _ = hangup.recv() => (Signal::HUP, false),
        };
        if let Some(pid) = pid.filter(|_| !(from_terminal && at_terminal)) {
            // The child may have just gone; then there is nobody to tell.
            let _ = kill_process(pid, which);
        }
    }
}

async fn pump(from: Option<impl AsyncRead + Unpin>, mut to: impl Write, secrets: Secrets) {
    let Some(mut from) = from else { return };
    let mut masker = Masker::new(secrets);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        let passed = match chunk.get(..read) {
            Some(read) if !read.is_empty() => masker.push(read),
            Some(_) | None => masker.finish(),
        };
        // When nobody reads us any more, the child must still not block on a full pipe.
        let _ = to.write_all(&passed).and_then(|()| to.flush());
        if read == 0 {
            return;
        }
    }
}

/// As a shell answers it: the child's own code, or 128 and the signal that ended it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failure.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_with_128_and_its_number() {
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code_of(ExitStatus::from_raw(0)), 0);
    }
}

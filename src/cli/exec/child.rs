//! The child process: its output masked, signals handed on, its exit code ours.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::environment::Handed;
use super::mask::{Masker, Secrets};
use crate::app::env;
use crate::cli::failure::{Exit, Failure};

/// For how long more is waited for of what a child wrote, once it is gone.
const LAST_WORDS: Duration = Duration::from_millis(500);
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
    for hidden in &handed.hidden {
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

/// Wait for the child, hand signals on to it, and pass its output on without the secrets. What it left running may hold its output
/// open for ever: once the child is gone that is not waited for when nothing comes.
///
/// # Errors
/// [`Failure`] when signals cannot be listened for or the child cannot be waited for.
pub(crate) async fn watch(child: &mut Child, secrets: &Secrets) -> Result<u8, Failure> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let gone = CancellationToken::new();
    // Before any output of the child can make somebody send one.
    let mut signals = Signals::listen()?;
    let out = pump(child.stdout.take(), to_out, secrets.clone(), &gone);
    let err = pump(child.stderr.take(), to_err, secrets.clone(), &gone);
    let streams = async { tokio::join!(out, err) };
    tokio::pin!(streams);
    let mut open = true;
    let status = loop {
        tokio::select! {
            biased;
            status = child.wait() => break status?,
            signal = signals.next() => hand_on(pid, signal),
            _ = &mut streams, if open => open = false,
        }
    };
    gone.cancel();
    if open {
        // Whoever reads us may take their time; a signal is for us now.
        tokio::select! {
            _ = &mut streams => {}
            _ = signals.next() => {}
        }
    }
    Ok(code_of(status))
}

/// The signals that a child is told of.
struct Signals([(Signal, tokio::signal::unix::Signal); 6]);

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self([
            (Signal::INT, signal(SignalKind::interrupt())?),
            (Signal::QUIT, signal(SignalKind::quit())?),
            (Signal::TERM, signal(SignalKind::terminate())?),
            (Signal::HUP, signal(SignalKind::hangup())?),
            (Signal::USR1, signal(SignalKind::user_defined1())?),
            (Signal::USR2, signal(SignalKind::user_defined2())?),
        ]))
    }

    async fn next(&mut self) -> Signal {
        let Self([interrupt, quit, terminate, hangup, user1, user2]) = self;
        tokio::select! {
            _ = interrupt.1.recv() => interrupt.0,
            _ = quit.1.recv() => quit.0,
            _ = terminate.1.recv() => terminate.0,
            _ = hangup.1.recv() => hangup.0,
            _ = user1.1.recv() => user1.0,
            _ = user2.1.recv() => user2.0,
        }
    }
}

fn hand_on(pid: Option<Pid>, signal: Signal) {
    // A terminal sends its signals to the whole group, so the child has them already.
    let from_terminal = matches!(signal, Signal::INT | Signal::QUIT) && std::io::stdin().is_terminal();
    if let Some(pid) = pid.filter(|_| !from_terminal) {
        // The child may have just gone; then there is nobody to tell.
        let _ = kill_process(pid, signal);
    }
}

fn to_out(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

fn to_err(bytes: &[u8]) -> std::io::Result<()> {
    std::io::stderr().lock().write_all(bytes)
}

async fn pump(
    from: Option<impl AsyncRead + Unpin>,
    to: fn(&[u8]) -> std::io::Result<()>,
    secrets: Secrets,
    gone: &CancellationToken,
) {
    let Some(mut from) = from else { return };
    let mut masker = Masker::new(secrets);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = tokio::select! {
            biased;
            read = from.read(&mut chunk) => read,
            () = gone.cancelled() => {
                tokio::time::timeout(LAST_WORDS, from.read(&mut chunk)).await.unwrap_or(Ok(0))
            }
        };
        let read = read.unwrap_or(0);
        let passed = match chunk.get(..read) {
            Some(read) if !read.is_empty() => masker.push(read),
            Some(_) | None => masker.finish(),
        };
        // Whoever reads us may stop reading for a while, and the task must be heard from meanwhile.
        let written = tokio::task::spawn_blocking(move || to(&passed)).await;
        // When nobody reads us any more, nobody reads the child: it is told so as it would be without us.
        if !matches!(written, Ok(Ok(()))) || read == 0 {
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

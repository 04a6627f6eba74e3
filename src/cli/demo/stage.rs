//! The stage of the demo: a `hallpass dev` of its own, in a temporary folder on free ports, and everybody who plays.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::cli::dev::DevState;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::system_ids;
use crate::client::{Client, ClientSettings, TokenSource};
use crate::sys::SecretString;

/// How often something is looked at while it is waited for.
const EVERY: Duration = Duration::from_millis(50);
/// How long `dev` may take to get ready.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Everybody who plays.
pub(super) struct Stage {
    folder: PathBuf,
    child: Child,
    /// What `dev` says of itself.
    pub(super) dev: DevState,
    /// release-bot.
    pub(super) agent: Client,
    /// triage-bot.
    pub(super) triage: Client,
    /// dev-approver.
    pub(super) approver: Client,
}

impl Stage {
    /// Start `dev` and wait until it is ready.
    pub(super) async fn set() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("hallpass-demo-{}", system_ids().opaque()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let program = std::env::current_exe()?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut child = Command::new(program)
            .args(["dev", "--listen", &format!("127.0.0.1:{}", free_ports()?), "--dir"])
            .arg(folder.join("dev"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let state = folder.join("dev");
        let ready = until(READY_WITHIN, async || DevState::load(&state).ok()).await;
        let Some(dev) = ready else {
            let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            let _ = child.kill().await;
            let _ = std::fs::remove_dir_all(&folder);
            return Err(Failure::new(Exit::Failure, format!("`hallpass dev` did not get ready:\n{said}")));
        };
        let called_by = |name: &str| client(&dev.server, dev.tokens(name)?);
        let (agent, triage, approver) =
            (called_by("release-bot")?, called_by("triage-bot")?, called_by("dev-approver")?);
        Ok(Self { folder, child, dev, agent, triage, approver })
    }

    /// Stop `dev` and leave nothing behind.
    pub(super) async fn strike(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// The broker, called with this identity token.
    pub(super) fn broker_with(&self, tokens: TokenSource) -> Result<Client, Failure> {
        client(&self.dev.server, tokens)
    }

    /// The resource servers, called with this credential.
    pub(super) fn releases_with(&self, credential: &str) -> Result<Client, Failure> {
        client(&self.dev.sandbox, TokenSource::Fixed(SecretString::from(credential)))
    }
}

fn client(server: &str, tokens: TokenSource) -> Result<Client, Failure> {
    Ok(Client::new(ClientSettings { server: server.to_owned(), tokens, ca_file: None, ids: system_ids() })?)
}

/// The first of three ports in a row that nobody listens on.
fn free_ports() -> std::io::Result<u16> {
    let mut last = None;
    for _ in 0..64 {
        let first = std::net::TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        let others: std::io::Result<Vec<_>> =
            (1..=2_u16).map(|n| std::net::TcpListener::bind(("127.0.0.1", port.saturating_add(n)))).collect();
        match others {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("there are no three free ports in a row")))
}

/// Ask again and again until there is an answer, at most so long.
pub(super) async fn until<T>(within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let mut every = tokio::time::interval(EVERY);
    let asking = async {
        loop {
            every.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(within, asking).await.ok()
}

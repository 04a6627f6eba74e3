//! The command line as its users meet it: the real executable, real processes, a real `hallpass dev` beside them.

mod config;
mod dev;
mod exec;
mod helm;
mod login;
mod reconcile;
mod secrets;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::ports::free_ports;

/// The executable, without what the environment of the test run might say.
pub(crate) fn hallpass() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallpass"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HALLPASS_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    said(command.output().unwrap())
}

pub(crate) fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A running `hallpass dev`.
pub(crate) struct Dev {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    _root: Option<tempfile::TempDir>,
}

impl Dev {
    pub(crate) fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("dev");
        Self::start_in(&folder, free_ports(3), &[], Some(root))
    }

    /// Start it and read its log until it greets.
    pub(crate) fn start_in(
        folder: &Path,
        port: u16,
        environment: &[(&str, &str)],
        root: Option<tempfile::TempDir>,
    ) -> Self {
        let mut child = hallpass()
            .args(["dev", "--listen", &format!("127.0.0.1:{port}"), "--dir"])
            .arg(folder)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        loop {
            let mut line = String::new();
            let read = stderr.read_line(&mut line).unwrap();
            log.lock().unwrap().push_str(&line);
            assert!(read > 0, "dev stopped before it was ready:\n{}", log.lock().unwrap());
            if line.contains("DEV MODE") {
                break;
            }
        }
        let to = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            let mut chunk = vec![0; 65536];
            while let Ok(read) = stderr.read(&mut chunk) {
                if read == 0 {
                    break;
                }
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
            }
        });
        Self { folder: folder.to_path_buf(), port, child, log, reader: Some(reader), _root: root }
    }

    /// A client command as one of the sample agents or people.
    pub(crate) fn by(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = hallpass();
        command.arg("--dev-dir").arg(&self.folder).args(["--as", name]).args(arguments);
        command
    }

    /// The first line it logged that has this word, once it is there.
    pub(crate) async fn line(&self, word: &str) -> String {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
        for _ in 0..2000 {
            looks.tick().await;
            let found = self.log.lock().unwrap().lines().find(|line| line.contains(word)).map(str::to_owned);
            if let Some(line) = found {
                return line;
            }
        }
        panic!("no `{word}`: {}", self.log.lock().unwrap());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stop it as an operator would, and answer its exit code and its whole log.
    pub(crate) fn stop(&mut self) -> (Option<i32>, String) {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.code(), self.log.lock().unwrap().clone())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

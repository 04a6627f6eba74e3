//! Other people's programs in tests/foreign. Where the tools are not installed the tests fail, as nothing would be known otherwise.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

pub(crate) const HINT: &str = "`make tools` installs what this test needs (Python and npm packages)";

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

/// The virtual environment's Python, in the target directory this test runs from.
pub(crate) fn python() -> PathBuf {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf();
    let python = target.join("venv/bin/python");
    assert!(python.exists(), "{} is missing; {HINT}", python.display());
    python
}

pub(crate) fn node() -> PathBuf {
    assert!(folder().join("node_modules/jose").exists(), "tests/foreign/node_modules is missing; {HINT}");
    PathBuf::from("node")
}

/// A server that runs until this is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Start a script; what it says on its first line, once it serves.
    pub(crate) fn start(program: &Path, script: &str, argument: Option<&str>) -> (Self, Value) {
        let child = Command::new(program)
            .arg(folder().join(script))
            .args(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(HINT);
        let mut server = Self(child);
        let mut line = String::new();
        let output = server.0.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{script} does not serve; {HINT}"));
        (server, said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

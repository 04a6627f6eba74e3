//! A Redis server of a test's own, in a folder that goes away, with the broker's user as docs/backends/redis-broker.acl has it; and
//! redis-cli. It ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hallpass::sys::{Clock as _, SteadyClock, sha256};

use super::openssh::write_private;
use super::ports::free_ports;

/// The broker's password there.
const BROKER_PASSWORD: &str = "the-brokers-own-password";
/// That of the operator, who may do everything.
const OPERATOR_PASSWORD: &str = "the-operators-own-password";
/// Longest that a server may take to start.
const PATIENCE_MILLIS: i64 = 30_000;

/// A server, running or stopped.
pub(crate) struct Redis {
    folder: tempfile::TempDir,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    options: Vec<String>,
    /// How it knows its users.
    users: Users,
    process: Option<Child>,
}

/// How a server knows its users when it starts.
enum Users {
    /// From a file that it also writes.
    InFile,
    /// From its configuration, which nobody writes.
    InConfiguration,
}

fn hash(password: &str) -> String {
    sha256(password).to_string().replace("sha256:", "")
}

impl Redis {
    /// Start one that keeps its users in a file.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more on its command line.
    pub(crate) fn start_with(options: &[String]) -> Self {
        Self::begin(options, Users::InFile)
    }

    /// One that keeps its users in memory alone.
    pub(crate) fn start_without_file() -> Self {
        Self::begin(&[], Users::InConfiguration)
    }

    fn begin(options: &[String], users: Users) -> Self {
        let folder = tempfile::Builder::new().prefix("hallpass-redis-").tempdir().unwrap();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/backends/redis-broker.acl");
        let broker = std::fs::read_to_string(page).unwrap();
        let broker = broker.replace("REPLACE-WITH-THE-SHA256-OF-ITS-PASSWORD", &hash(BROKER_PASSWORD));
        let operator = format!("user operator on #{} ~* &* +@all\n", hash(OPERATOR_PASSWORD));
        std::fs::create_dir(folder.path().join("acl")).unwrap();
        std::fs::write(folder.path().join("acl/users.acl"), format!("user default off\n{operator}{broker}")).unwrap();
        write_private(&folder.path().join("password"), BROKER_PASSWORD);
        let mut server = Self { folder, port: free_ports(1), options: options.to_vec(), users, process: None };
        server.resume();
        server
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Start it again after a stop, with what its file of users says.
    pub(crate) fn resume(&mut self) {
        let mut command = Command::new("redis-server");
        let users = self.path("acl/users.acl");
        match self.users {
            Users::InFile => command.arg("--aclfile").arg(users),
            // A configuration may have the same lines.
            Users::InConfiguration => command.arg(users),
        };
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.folder.path());
        command.args(&self.options);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let started = command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn();
        self.process = Some(started.unwrap_or_else(|error| panic!("redis-server: {error}; see scripts/install.sh")));
        let watch = SteadyClock::default();
        while self.operator(&["ping"]) != "PONG" {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(watch.now().as_millis() < PATIENCE_MILLIS, "redis-server does not start: {log}");
            std::thread::yield_now();
        }
    }

    /// End it as a crash would.
    pub(crate) fn crash(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Settings by which the broker reaches it, with more lines.
    pub(crate) fn settings(&self, more: &str) -> String {
        format!(
            "name = 'cache'\nkind = 'redis'\nurl = 'redis://hallpass@127.0.0.1:{}'\npassword = {{ file = '{}' }}\n{more}",
            self.port,
            self.path("password").display()
        )
    }

    /// What redis-cli prints for the operator.
    pub(crate) fn operator(&self, words: &[&str]) -> String {
        said(&self.cli("operator", OPERATOR_PASSWORD).args(words).output().unwrap())
    }

    /// redis-cli with a user and a password.
    pub(crate) fn cli(&self, user: &str, password: &str) -> Command {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string(), "--user", user]).env("REDISCLI_AUTH", password).stdin(Stdio::null());
        cli
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.crash();
    }
}

/// What redis-cli said, on one stream or the other.
pub(crate) fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

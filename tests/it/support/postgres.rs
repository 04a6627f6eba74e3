//! A PostgreSQL server of the tests' own: made in a folder that goes away, on a socket and a loopback port, with the durability
//! that the broker insists on. It ends with the process that started it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hallpass::sys::{Clock as _, SteadyClock};

use super::ports::free_ports;

/// Small, for a test.
const SMALL: &[&str] = &["shared_buffers=64MB", "max_wal_size=512MB"];
/// As docs/operating.md says for a server that is to do much.
#[allow(dead_code, reason = "only measuring programs use it")]
const LARGE: &[&str] = &["shared_buffers=1GB", "max_wal_size=8GB", "wal_buffers=64MB", "wal_compression=lz4"];

/// Longest that a server may take to start or stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server, running or stopped.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    settings: &'static [&'static str],
    environment: Vec<(&'static str, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Child>,
    /// The databases made so far, by what they are for.
    databases: BTreeMap<String, String>,
}

/// The one that most tests share.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

impl Server {
    /// Make one and start it.
    pub(crate) fn start() -> Self {
        Self::start_after(|_| {})
    }

    /// The same with the settings of a server that is to do much.
    #[allow(dead_code, reason = "only measuring programs use it")]
    pub(crate) fn start_for_load() -> Self {
        Self::start_with(LARGE, Vec::new(), |_| {})
    }

    /// Make one whose process has more in its environment, and more in its data folder.
    pub(crate) fn start_in(environment: Vec<(&'static str, String)>, change: impl FnOnce(&Path)) -> Self {
        Self::start_with(SMALL, environment, change)
    }

    /// The same, with more in its data folder first, e.g. other settings.
    pub(crate) fn start_after(change: impl FnOnce(&Path)) -> Self {
        Self::start_with(SMALL, Vec::new(), change)
    }

    fn start_with(
        settings: &'static [&'static str],
        environment: Vec<(&'static str, String)>,
        change: impl FnOnce(&Path),
    ) -> Self {
        remove_left_overs();
        let folder = new_folder();
        let data = folder.join("data");
        run(as_postgres(None, &program("initdb")).arg("-D").arg(&data).args([
            "--username=hallpass",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]));
        change(&data);
        let server = Self { folder, port: free_ports(1), settings, environment, state: Mutex::default() };
        server.resume();
        server
    }

    /// A server with a copy of everything in this one as it is now, which waits to take its place: on the same port, once this
    /// one has stopped.
    pub(crate) fn standby(&self) -> Self {
        let folder = new_folder();
        let data = folder.join("data");
        let mut copy = as_postgres(None, &program("pg_basebackup"));
        copy.arg("-D").arg(&data).args(["-X", "stream", "-c", "fast", "--no-sync", "-U", "hallpass"]);
        run(copy.arg("-h").arg(&self.folder).arg("-p").arg(self.port.to_string()));
        std::fs::write(data.join("standby.signal"), "").unwrap();
        give_away(&data.join("standby.signal"));
        let environment = self.environment.clone();
        Self { folder, port: self.port, settings: self.settings, environment, state: Mutex::default() }
    }

    /// Let a standby be the primary.
    pub(crate) fn promote(&self) {
        run(as_postgres(None, &program("pg_ctl")).args(["promote", "-w", "-D"]).arg(self.folder.join("data")));
    }

    /// Set something and let the server know.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.sql("postgres", &format!("alter system set {name} = {value}"));
        self.sql("postgres", "select pg_reload_conf()");
    }

    /// The name of the database of a purpose.
    pub(crate) fn name(&self, purpose: &str) -> String {
        self.database(purpose)
    }

    /// Start it again after a stop.
    pub(crate) fn resume(&self) {
        let data = self.folder.join("data");
        let log = self.folder.join("log");
        // Set only for the server: what changes who runs it, runs as it is.
        let mut command = as_postgres(Some("QUIT"), Path::new("env"));
        command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}"))).arg(program("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&self.folder).arg("-p").arg(self.port.to_string());
        let common = ["listen_addresses=127.0.0.1", "max_connections=400", "wal_level=replica"];
        for set in common.iter().chain(self.settings) {
            command.arg("-c").arg(set);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.state().process = Some(spawn_for_life(command));
        let watch = SteadyClock::default();
        let patience = i64::try_from(PATIENCE.as_millis()).unwrap();
        while !self.answers() {
            assert!(watch.now().as_millis() < patience, "PostgreSQL does not start: {}", self.log());
            std::thread::yield_now();
        }
    }

    /// Stop it as a crash would (`SIGQUIT`: immediate shutdown, recovery at the next start).
    pub(crate) fn crash(&self) {
        let Some(mut process) = self.state().process.take() else { return };
        run(Command::new("kill").arg("-QUIT").arg(process.id().to_string()));
        process.wait().unwrap();
    }

    fn answers(&self) -> bool {
        let mut ask = Command::new(program("pg_isready"));
        ask.arg("-q").arg("-h").arg(&self.folder).arg("-p").arg(self.port.to_string()).arg("-d").arg("postgres");
        ask.status().unwrap().success()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server has written into its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The port on 127.0.0.1, for whoever puts something between.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database of its own for a purpose, e.g. a test's folder; made when it is first asked for.
    pub(crate) fn url(&self, purpose: &str) -> String {
        self.url_by(purpose, self.port)
    }

    /// The same, reached through another port.
    pub(crate) fn url_by(&self, purpose: &str, port: u16) -> String {
        format!("postgres://hallpass@127.0.0.1:{port}/{}?sslmode=disable", self.database(purpose))
    }

    /// The URL of a database nobody has used. Two tests may be handed the same port one after the other: a name made of one is
    /// no name of its own.
    pub(crate) fn fresh_url(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.url(&format!("fresh {}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn database(&self, purpose: &str) -> String {
        let mut state = self.state();
        if let Some(name) = state.databases.get(purpose) {
            return name.clone();
        }
        let name = format!("test_{}", state.databases.len());
        state.databases.insert(purpose.to_owned(), name.clone());
        drop(state);
        self.sql("postgres", &format!("create database {name}"));
        name
    }

    /// Make the database of a purpose anew, as a copy of another's; whoever is connected to either is cut off.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.database(from), self.database(to));
        for name in [&from, &to] {
            let all = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
            self.sql("postgres", &all);
        }
        self.sql("postgres", &format!("drop database {to} with (force)"));
        self.sql("postgres", &format!("create database {to} template {from}"));
    }

    /// A dump of the database of a purpose, and the folders in which the server keeps it and its write-ahead log.
    pub(crate) fn everything_kept(&self, purpose: &str) -> (Vec<u8>, Vec<PathBuf>) {
        let name = self.database(purpose);
        self.sql("postgres", "checkpoint");
        let mut dump = Command::new(program("pg_dump"));
        dump.args(["-U", "hallpass", "-h"]).arg(&self.folder).arg("-p").arg(self.port.to_string()).arg(&name);
        let dump = run(&mut dump).into_bytes();
        let oid = self.sql("postgres", &format!("select oid from pg_database where datname = '{name}'"));
        let data = self.folder.join("data");
        (dump, vec![data.join("base").join(oid), data.join("pg_wal")])
    }

    /// Run statements in the database of a purpose, as somebody behind the broker's back would; what they answer, one row a
    /// line.
    pub(crate) fn query(&self, purpose: &str, statements: &str) -> String {
        let database = self.database(purpose);
        self.sql(&database, statements)
    }

    /// Run a file of statements in a database, as psql does.
    pub(crate) fn run_file(&self, database: &str, file: &Path) {
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "hallpass", "-d", database, "-f"]).arg(file);
        psql.arg("-h").arg(&self.folder).arg("-p").arg(self.port.to_string());
        run(&mut psql);
    }

    /// Run statements in a database by its own name, as the superuser.
    pub(crate) fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = Command::new(program("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "hallpass",
            "-d",
            database,
            "-c",
            statements,
        ]);
        psql.arg("-h").arg(&self.folder).arg("-p").arg(self.port.to_string());
        run(&mut psql)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn new_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("{PREFIX}{}-{}", std::process::id(), free_ports(1)));
    std::fs::create_dir(&folder).unwrap();
    give_away(&folder);
    folder
}

const PREFIX: &str = "hallpass-postgres-";

/// Remove the folders of servers whose process was killed before it could.
fn remove_left_overs() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// A command that does not run as root, which PostgreSQL refuses; it gets a signal when whoever started it is gone.
fn as_postgres(at_death: Option<&str>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    if let Some(signal) = at_death {
        command.arg("--pdeathsig").arg(signal);
    }
    command.arg(program);
    command
}

/// Start a process that lives as long as this one: the signal at death follows the thread, so the thread must stay.
fn spawn_for_life(mut command: Command) -> Child {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        sender.send(command.spawn().unwrap()).unwrap();
        loop {
            std::thread::park();
        }
    });
    receiver.recv().unwrap()
}

/// Make a file the server's own, private one.
pub(crate) fn give_away(path: &Path) {
    run(Command::new("chmod").arg("u=rwX,go=").arg(path));
    if is_root() {
        run(Command::new("chown").arg("postgres:postgres").arg(path));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of PostgreSQL; Debian keeps most of them off the path.
pub(crate) fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
        versions.retain(|folder| folder.join("initdb").exists());
        versions.sort();
        versions.pop().unwrap_or_default()
    });
    folder.join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

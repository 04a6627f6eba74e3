//! OpenSSH itself: keys and files for its programs, what `ssh-keygen` says of them, and an sshd of the test's own on loopback.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::ports::free_ports;

/// Debian keeps the server out of the search path.
const SSHD: &str = "/usr/sbin/sshd";

/// Write a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Write the private key of an authority, always the same.
pub(crate) fn write_authority(path: &Path) {
    let key = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]));
    write_private(path, &key.to_openssh(ssh_key::LineEnding::LF).unwrap());
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).env_clear().env("TZ", "UTC").stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; see scripts/install.sh"))
}

pub(crate) fn ssh_keygen(arguments: &[&str]) -> Output {
    run("ssh-keygen", arguments)
}

/// Make a key pair without a passphrase, `PATH` and `PATH.pub`.
pub(crate) fn make_key(path: &Path, kind: &[&str]) {
    let made = ssh_keygen(&[&["-q", "-N", "", "-C", "", "-f", path.to_str().unwrap(), "-t"], kind].concat());
    assert!(made.status.success(), "{made:?}");
}

/// What `ssh-keygen -L` says of a certificate, its lines without the space around them.
pub(crate) fn describe(certificate: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key-cert.pub");
    std::fs::write(&path, certificate).unwrap();
    let said = ssh_keygen(&["-L", "-f", path.to_str().unwrap()]);
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

/// Whether `ssh-keygen -Q` finds a certificate on a revocation list.
pub(crate) fn is_revoked(krl: &[u8], certificate: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (list, key) = (folder.path().join("krl"), folder.path().join("key-cert.pub"));
    std::fs::write(&list, krl).unwrap();
    std::fs::write(&key, certificate).unwrap();
    let said = ssh_keygen(&["-Q", "-f", list.to_str().unwrap(), key.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    match said.status.code() {
        Some(0) if text.contains(": ok") => false,
        Some(1) if text.contains(": REVOKED") => true,
        _ => panic!("{said:?}"),
    }
}

/// A server that trusts one authority and refuses what a list names. It ends with the test.
pub(crate) struct Sshd {
    folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Sshd {
    /// Start it.
    pub(crate) fn start(authority: &Path, krl: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("hallpass-sshd-").tempdir().unwrap();
        make_key(&folder.path().join("host"), &["ed25519"]);
        if rustix::process::geteuid().is_root() {
            // As its service would make it.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_ports(1);
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host\nPidFile none\nStrictModes no\nUsePAM no\n\
             LogLevel VERBOSE\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             AuthorizedKeysFile none\nTrustedUserCAKeys {1}\nRevokedKeys {2}\n",
            folder.path().display(),
            authority.display(),
            krl.display()
        );
        let configuration = folder.path().join("sshd_config");
        std::fs::write(&configuration, text).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(SSHD);
        command.arg("-D").arg("-e").arg("-f").arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null());
        let server =
            command.stderr(log).spawn().unwrap_or_else(|error| panic!("{SSHD}: {error}; see scripts/install.sh"));
        Self { folder, port, server }
    }

    /// Wait until it listens.
    pub(crate) async fn ready(&self) {
        let mut tries = tokio::time::interval(std::time::Duration::from_millis(20));
        for _ in 0..500 {
            tries.tick().await;
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
        }
        panic!("sshd does not listen: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Log in with a key and its certificate and ask for `id`; what comes back, or why not.
    pub(crate) fn log_in(&self, user: &str, key: &Key) -> Result<String, String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (port, certificate) = (self.port.to_string(), format!("CertificateFile={}", path(&key.certificate)));
        let mut arguments = vec!["-F", "none", "-p", &port, "-l", user];
        for option in [
            &certificate,
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
        ] {
            arguments.extend(["-o", option]);
        }
        let private = path(&key.private);
        arguments.extend(["-i", &private, "127.0.0.1", "id"]);
        let output = run("ssh", &arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A private key and its certificate in files, as a client has them.
pub(crate) struct Key {
    _folder: tempfile::TempDir,
    private: PathBuf,
    certificate: PathBuf,
}

impl Key {
    pub(crate) fn new(private_key: &str, certificate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (private, public) = (folder.path().join("key"), folder.path().join("key-cert.pub"));
        write_private(&private, private_key);
        std::fs::write(&public, certificate).unwrap();
        Self { private, certificate: public, _folder: folder }
    }
}

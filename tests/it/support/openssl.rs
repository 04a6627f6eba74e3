//! OpenSSL and servers that speak TLS through it: authorities as an operator makes them, what `openssl` says of what we make, and
//! an nginx and a curl of the test's own on loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::openssh::write_private;
use super::ports::free_ports;

/// Debian keeps the server out of the search path.
const NGINX: &str = "/usr/sbin/nginx";

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("TZ", "UTC").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{program}: {error}; see scripts/install.sh"))
}

/// What `openssl` prints, or why it fails.
pub(crate) fn openssl(arguments: &[&str]) -> Result<String, String> {
    let output = run("openssl", arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}\n{}", text(&output.stdout), text(&output.stderr)))
    }
}

/// What an authority's certificate must have.
pub(crate) const AUTHORITY: [&str; 6] = [
    "-addext",
    "basicConstraints=critical,CA:TRUE,pathlen:0",
    "-addext",
    "keyUsage=critical,keyCertSign,cRLSign",
    "-addext",
    "subjectKeyIdentifier=hash",
];
/// When authorities begin, some hours before the tests' clock stands.
const BEGIN: &str = "20260921000000Z";
/// When they end, unless a test says so.
const END: &str = "21260921000000Z";

/// Make an authority, `NAME.key` and `NAME.pem`: a key of this kind, and a certificate with these options of `openssl req`.
pub(crate) fn make_authority(folder: &Path, name: &str, key: &[&str], options: &[&str]) {
    make_authority_below(folder, name, None, END, key, options);
}

/// The same with an end, signed by another one.
pub(crate) fn make_authority_below(
    folder: &Path,
    name: &str,
    above: Option<&str>,
    end: &str,
    key: &[&str],
    options: &[&str],
) {
    let at = |name: &str, ending: &str| folder.join(format!("{name}.{ending}")).display().to_string();
    let (private, request, subject) = (at(name, "key"), at(name, "csr"), format!("/O=Acme/CN=Hallpass {name}"));
    openssl(&[&["genpkey", "-out", &private, "-algorithm"], key].concat()).unwrap();
    openssl(&[&["req", "-new", "-key", &private, "-subj", &subject, "-out", &request], options].concat()).unwrap();
    // `openssl req -x509` begins at the machine's present, which is not the tests'.
    let database = at(name, "database");
    let configuration = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {database}\nnew_certs_dir = {}\ndefault_md = default\nrand_serial = yes\n\
         copy_extensions = copyall\nx509_extensions = more\npolicy = any\n[any]\norganizationName = optional\n\
         commonName = optional\ndomainComponent = optional\norganizationalUnitName = optional\n\
         [more]\nauthorityKeyIdentifier = keyid\n",
        folder.display()
    );
    std::fs::write(&database, "").unwrap();
    std::fs::write(at(name, "conf"), configuration).unwrap();
    let (conf, certificate) = (at(name, "conf"), at(name, "pem"));
    let mut arguments =
        vec!["ca", "-batch", "-notext", "-preserveDN", "-config", &conf, "-in", &request, "-out", &certificate];
    arguments.extend(["-startdate", BEGIN, "-enddate", end]);
    let signer = above.map(|above| [at(above, "pem"), at(above, "key")]);
    match &signer {
        Some([certificate, key]) => arguments.extend(["-cert", certificate, "-keyfile", key]),
        None => arguments.extend(["-selfsign", "-keyfile", &private]),
    }
    openssl(&arguments).unwrap();
    std::fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// A certificate with its key in files, as a client has them.
pub(crate) struct Client {
    folder: tempfile::TempDir,
}

impl Client {
    pub(crate) fn new(certificate: &str, private_key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls.crt"), certificate).unwrap();
        write_private(&folder.path().join("tls.key"), private_key);
        Self { folder }
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }
}

/// An nginx that asks each client for a certificate, and says whom it sees. It ends with the test.
pub(crate) struct Nginx {
    folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Nginx {
    /// Start it with an authority's certificate and its revocation list in PEM.
    pub(crate) fn start(authority: &Path, crl: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("hallpass-nginx-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (key, certificate) = (at("server.key"), at("server.pem"));
        openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]).unwrap();
        let san = "subjectAltName=IP:127.0.0.1";
        openssl(&["req", "-new", "-x509", "-key", &key, "-subj", "/CN=server", "-addext", san, "-out", &certificate])
            .unwrap();
        let port = free_ports(1);
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {};", at(kind)));
        let text = format!(
            "daemon off; master_process on; worker_processes 1; pid {pid}; error_log {log} info;\n\
             events {{ worker_connections 64; }}\n\
             http {{ log_format seen '$ssl_client_verify serial=$ssl_client_serial subject=$ssl_client_s_dn';\n\
             access_log {access} seen; {temporary}\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             ssl_client_certificate {authority}; ssl_crl {crl}; ssl_verify_client on;\n\
             ssl_session_cache off; ssl_session_tickets off;\n\
             location / {{ return 200 '$ssl_client_s_dn\\n'; }} }} }}\n",
            pid = at("pid"),
            log = at("log"),
            access = at("access"),
            temporary = temporary.join(" "),
            authority = authority.display(),
            crl = crl.display(),
        );
        let configuration = at("nginx.conf");
        std::fs::write(&configuration, text).unwrap();
        let mut command = Command::new(NGINX);
        command.args(["-p", folder.path().to_str().unwrap(), "-e", &at("log"), "-c", &configuration]);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = server.unwrap_or_else(|error| panic!("{NGINX}: {error}; see scripts/install.sh"));
        Self { folder, port, server }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/", self.port)
    }

    /// The file of its own certificate, by which clients trust it.
    pub(crate) fn certificate(&self) -> String {
        self.folder.path().join("server.pem").display().to_string()
    }

    pub(crate) fn log(&self) -> String {
        self.read("log")
    }

    /// What it wrote of the requests it answered.
    pub(crate) fn seen(&self) -> String {
        self.read("access")
    }

    /// Wait until it listens.
    pub(crate) async fn ready(&self) {
        self.until("nginx does not listen", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()).await;
    }

    /// Have it load its files again, and wait until workers that know the new ones have taken over.
    pub(crate) async fn reload(&self) {
        let before = self.workers();
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.server.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        self.until("nginx does not reload", || {
            let now = self.workers();
            !now.is_empty() && now.iter().all(|worker| !before.contains(worker))
        })
        .await;
        self.ready().await;
    }

    fn workers(&self) -> Vec<String> {
        let id = self.server.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let mut tries = tokio::time::interval(std::time::Duration::from_millis(20));
        for _ in 0..1000 {
            tries.tick().await;
            if is_so() {
                return;
            }
        }
        panic!("{what}: {}", self.log());
    }

    /// Ask it with curl; whom it saw, or what it says instead.
    pub(crate) fn ask(&self, client: Option<&Client>) -> Result<String, String> {
        let (url, server) = (self.url(), self.certificate());
        let mut arguments =
            vec!["-q", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--cacert", &server];
        let files = client.map(|client| [client.certificate(), client.key()].map(|path| path.display().to_string()));
        if let Some([certificate, key]) = &files {
            arguments.extend(["--cert", certificate, "--key", key]);
        }
        arguments.extend(["--write-out", "%{http_code}", &url]);
        let output = run("curl", &arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match text.strip_suffix("200") {
            Some(seen) if output.status.success() => Ok(seen.trim().to_owned()),
            _ => Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It stops its workers then, which a kill would leave.
        if let Some(pid) = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.server.wait();
    }
}

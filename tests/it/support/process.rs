//! A broker as a process of its own: a folder with a configuration, keys and a bundle as an operator would write them, an
//! identity provider that is a key in a file, and the executable, started and killed. The load generator stages it too.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use hallpass::sys::{Clock as _, Entropy as _, SystemClock, SystemEntropy};
use josekit::jws::{self, JwsSigner};
use serde_json::{Value, json};

use super::loopback::{Wire, get, request};
use super::ports::free_ports;

/// The issuers of the shipped bundle.
const AGENTS: &str = "http://127.0.0.1:8601";
const PEOPLE: &str = "http://127.0.0.1:8601/people";
/// The audience of the shipped bundle's `api` scopes.
const AUDIENCE: &str = "https://releases.hallpass.example";
/// Longest that a broker may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Seconds for which an identity token is good.
const TOKEN_SECS: i64 = 3600;

/// The folder of a broker, and what its callers hold.
pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    /// Where the first replica listens, which is also what identity tokens are for.
    pub(crate) address: SocketAddr,
    store: Option<String>,
    more: String,
    signer: Box<dyn JwsSigner>,
    secret: String,
}

impl Stage {
    /// A folder ready to be served, whose bundle has the shipped policies and agents `bench-0` to `bench-N` with high limits.
    pub(crate) fn new(agents: usize) -> Self {
        Self::on(None, agents)
    }

    /// The same on a database server, which several replicas may share.
    pub(crate) fn on(store: Option<String>, agents: usize) -> Self {
        Self::with(store, agents, "", false)
    }

    /// The same with more in its configurations; with a sandbox, its scopes are in the catalogue and the agents are deploy
    /// agents, who may be permitted to write.
    pub(crate) fn with(store: Option<String>, agents: usize, more: &str, sandbox: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("hallpass-").tempdir().unwrap();
        let address = free_address();
        let pair = jws::ES256.generate_key_pair().unwrap();
        let signer = Box::new(jws::ES256.signer_from_der(pair.to_der_private_key()).unwrap());
        let mut public = Value::Object(pair.to_jwk_public_key().as_ref().clone());
        public["kid"] = json!("idp-1");
        let mut random = [0_u8; 64];
        SystemEntropy::default().fill(&mut random);
        let (kek, secret) = random.split_at(32);
        let secret = BASE64URL_NOPAD.encode(secret);
        write(folder.path(), "jwks.json", &json!({ "keys": [public] }).to_string());
        write(folder.path(), "kek", &BASE64.encode(kek));
        write(folder.path(), "rs-secret", &secret);
        write(folder.path(), "hallpass.toml", &(configuration(address, address, store.as_deref()) + more));
        write_bundle(folder.path(), agents, sandbox);
        Self { folder, address, store, more: more.to_owned(), signer, secret }
    }

    /// Write the configuration of one more replica, `NAME.toml`; where it will listen.
    pub(crate) fn add_replica(&self, name: &str) -> SocketAddr {
        let address = free_address();
        let text = configuration(address, self.address, self.store.as_deref()) + &self.more;
        write(self.folder.path(), &format!("{name}.toml"), &text);
        address
    }

    /// Change the configuration of that name; the text must be there.
    #[allow(dead_code, reason = "the load generator has no use for it")]
    pub(crate) fn configure(&self, name: &str, from: &str, to: &str) {
        let path = self.folder.path().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "`{from}` is not in {name}.toml");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Start `hallpass serve` on the folder. Its log is appended to `log` there.
    pub(crate) fn start(&self, executable: &Path) -> Child {
        self.start_with(executable, "hallpass", &[])
    }

    /// Start `hallpass serve` with the configuration of that name, and wait for nothing.
    pub(crate) fn start_replica(&self, executable: &Path, name: &str) -> Child {
        self.start_with(executable, name, &[])
    }

    /// The same with an environment that is made for the occasion.
    #[allow(dead_code, reason = "the load generator has no use for it")]
    pub(crate) fn start_replica_in(&self, executable: &Path, name: &str, environment: &[(&str, String)]) -> Child {
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.start_with(executable, name, &environment)
    }

    /// The same with an environment.
    pub(crate) fn start_with(&self, executable: &Path, name: &str, environment: &[(&str, &str)]) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(executable);
        command.arg("serve").arg("--config").arg(format!("{name}.toml"));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.env_clear().envs(environment.iter().copied()).spawn().unwrap()
    }

    /// Wait until it says that it is ready.
    ///
    /// # Panics
    /// With its log, when it does not become ready.
    pub(crate) async fn ready(&self) {
        self.ready_at(self.address).await;
    }

    /// Wait until it is ready, or has ended before it was; whether it is ready.
    #[allow(dead_code, reason = "the tests ask, the load generator does not")]
    pub(crate) async fn ready_or_dead(&self, broker: &mut Child) -> bool {
        let mut tries = tokio::time::interval(Duration::from_millis(20));
        let ended = async {
            while broker.try_wait().unwrap().is_none() {
                tries.tick().await;
            }
        };
        tokio::select! {
            () = ended => false,
            () = self.ready() => true,
        }
    }

    /// The same of the replica that listens there.
    pub(crate) async fn ready_at(&self, address: SocketAddr) {
        let mut tries = tokio::time::interval(Duration::from_millis(2));
        let becoming = async {
            loop {
                tries.tick().await;
                let Ok(mut wire) = Wire::connect(address).await else { continue };
                if wire.send(&get("/readyz", "")).await.is_ok_and(|answer| answer.status == 200) {
                    return;
                }
            }
        };
        let ready = tokio::time::timeout(READY_WITHIN, becoming).await;
        assert!(ready.is_ok(), "not ready: {}", self.log());
    }

    /// The last lines it logged.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The `Authorization` of an agent's workload; each is another token.
    pub(crate) fn agent(&self, name: &str) -> String {
        self.bearer(AGENTS, name, &[])
    }

    /// The `Authorization` of a person who may do everything.
    pub(crate) fn operator(&self) -> String {
        self.bearer(PEOPLE, "olga", &["hallpass-operators"])
    }

    /// The `Authorization` of a person in these groups.
    #[allow(dead_code, reason = "the load generator has no use for it")]
    pub(crate) fn person(&self, name: &str, groups: &[&str]) -> String {
        self.bearer(PEOPLE, name, groups)
    }

    fn bearer(&self, issuer: &str, subject: &str, groups: &[&str]) -> String {
        let mut random = [0_u8; 12];
        SystemEntropy::default().fill(&mut random);
        let now = SystemClock.now().as_secs();
        let claims = json!({
            "iss": issuer, "sub": subject, "aud": format!("http://{}", self.address), "iat": now,
            "exp": now + TOKEN_SECS, "jti": BASE64URL_NOPAD.encode(&random), "groups": groups,
        });
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"ES256","kid":"idp-1","typ":"JWT"}"#);
        let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
        let signature = self.signer.sign(signed.as_bytes()).unwrap();
        format!("Bearer {signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    /// A request by which the resource server asks about a credential.
    pub(crate) fn introspection(&self, token: &str) -> Vec<u8> {
        let basic = BASE64.encode(format!("bench-api:{}", self.secret).as_bytes());
        let kind = "application/x-www-form-urlencoded";
        request("POST", "/oauth/introspect", &format!("Basic {basic}"), kind, &format!("token={token}"))
    }
}

/// An address of this machine that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_ports(1)).into()
}

fn write(folder: &Path, name: &str, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(folder.join(name)).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

fn configuration(address: SocketAddr, public: SocketAddr, store: Option<&str>) -> String {
    let store = store.map_or_else(String::new, |url| format!("[store]\nurl = \"{url}\"\nmigrate = true\n"));
    format!(
        r#"
{store}
[server]
listen = "{address}"
public_url = "http://{public}"
insecure_loopback = true
drain_seconds = 0

[keys]
kek = {{ file = "kek" }}

[[issuers]]
name = "agents"
issuer = "{AGENTS}"
jwks_file = "jwks.json"
algorithms = ["ES256"]

[[issuers]]
name = "people"
for = "people"
issuer = "{PEOPLE}"
jwks_file = "jwks.json"
algorithms = ["ES256"]

[[backends]]
name = "api"
kind = "jwt"

[[resource_servers]]
id = "bench-api"
secret = {{ file = "rs-secret" }}
audiences = ["{AUDIENCE}"]

[limits]
address_per_minute = 1000000
issuer_per_minute = 1000000
operator_per_minute = 1000000
"#
    )
}

/// The shipped policies, schema and people; of the catalogue what needs no sandbox; and agents of our own.
fn write_bundle(folder: &Path, agents: usize, sandbox: bool) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let read = |name: &str| std::fs::read_to_string(shipped.join(name)).unwrap();
    let bundle = folder.join("policies");
    std::fs::create_dir(&bundle).unwrap();
    for name in ["agents.cedar", "operators.cedar", "schema.cedarschema", "people.toml"] {
        write(&bundle, name, &read(name));
    }
    let catalogue = read("catalogue.toml");
    let kept: Vec<&str> =
        catalogue.split("[[scope]]").skip(1).filter(|scope| sandbox || !scope.contains("sandbox:")).collect();
    write(&bundle, "catalogue.toml", &format!("[[scope]]{}", kept.join("[[scope]]")));
    let (teams, ceiling) = if sandbox {
        (
            "[\"deploy\"]",
            "[\"sandbox:releases:read\", \"sandbox:releases:write\", \"api:releases:read\", \"api:releases:write\"]",
        )
    } else {
        ("[]", "[\"api:releases:read\"]")
    };
    let entry = format!(
        r#"description = "Asks as fast as it can, to measure"
owner = "maya"
risk_tier = "low"
teams = {teams}
kinds = ["deploy"]
ceiling = {ceiling}
limits = {{ live_leases = 100000000, requests_per_minute = 100000000 }}"#
    );
    write_agents(folder, agents, &entry);
}

/// Put agents `bench-0` and so on into the bundle, alone in it, each with these members.
pub(crate) fn write_agents(folder: &Path, agents: usize, entry: &str) {
    let mut text = String::new();
    for number in 0..agents {
        write!(
            text,
            r#"
[[agent]]
id = "bench-{number}"
{entry}

[[agent.binding]]
issuer = "{AGENTS}"
subject = "bench-{number}"
"#
        )
        .unwrap();
    }
    std::fs::write(folder.join("policies/agents.toml"), text).unwrap();
}

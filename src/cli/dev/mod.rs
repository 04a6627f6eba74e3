//! `hallpass dev`: the broker to try on one machine, without an account, a container or a configuration. It writes a
//! configuration like anybody's, starts an identity issuer and a resource server beside it, and then does what `serve` does.

mod folder;
mod issuer;
mod people;
mod releases;
mod state;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::failure::{Exit, Failure, Outcome};
use super::output::say;
use super::serve;
use super::session::system_ids;
use crate::app::config::{Config, Overrides};
use crate::app::telemetry::{self, LogStyle};
use crate::app::wiring::World;
use crate::minter::SandboxBackend;
use crate::sys::{HttpClient, SecretString};
use issuer::Issuer;
use people::SignIns;
use releases::Releases;

pub(crate) use state::DevState;

/// `hallpass dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The folder for its configuration, policies and throw-away keys
    #[arg(long, default_value = "hallpass-dev", value_name = "FOLDER")]
    dir: PathBuf,
    /// The loopback address to listen on; the next two ports serve the dev issuer and the sandbox
    #[arg(long, default_value = "127.0.0.1:8600", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Where the three listeners of `dev` are.
pub(super) struct Ports {
    broker: SocketAddr,
    issuer: SocketAddr,
    sandbox: SocketAddr,
}

impl Ports {
    fn from(broker: SocketAddr) -> Result<Self, Failure> {
        if !broker.ip().is_loopback() {
            return Err(Failure::usage(format!(
                "{broker} can be reached from other machines, and `dev` has no real keys"
            ))
            .fix("listen on 127.0.0.1; for other machines, configure TLS and use `hallpass serve`"));
        }
        let next = |n: u16| {
            let port = broker.port().checked_add(n).filter(|_| broker.port() != 0);
            let port = port.ok_or_else(|| Failure::usage("`dev` needs a port and the two after it").fix("use 8600"))?;
            Ok::<_, Failure>(SocketAddr::new(broker.ip(), port))
        };
        Ok(Self { broker, issuer: next(1)?, sandbox: next(2)? })
    }

    fn issuer_url(&self) -> String {
        format!("http://{}", self.issuer)
    }
}

/// Run it.
///
/// # Errors
/// [`Failure`] when it cannot start, or stops by itself.
pub(crate) async fn run(args: DevArgs) -> Outcome {
    let ports = Ports::from(args.listen)?;
    telemetry::start_logging(LogStyle::detect(), "warn")?;
    let (at_issuer, at_sandbox) = (bind(ports.issuer).await?, bind(ports.sandbox).await?);
    let ids = system_ids();
    folder::prepare(&args.dir, &ports, &ids)?;
    let config = load(&args.dir, &ports)?;

    let secret = SecretString::from(ids.opaque());
    let stopping = CancellationToken::new();
    let sandbox = Arc::new(SandboxBackend::default());
    let callback = format!("{}{}", config.public_url(), crate::http::SIGN_IN_CALLBACK);
    let (sign_ins, link) = SignIns::new(callback);
    let link = config.sign_in.as_ref().map(|_| link);
    let issuer = Issuer::new(ports.issuer_url(), config.public_url(), secret.clone(), ids, sign_ins)?;
    let http = HttpClient::new(None).map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let releases = Releases::new(Arc::clone(&sandbox), http, config.public_url());
    tokio::spawn(listen(at_issuer, issuer.router(), stopping.clone()));
    tokio::spawn(listen(at_sandbox, releases.router(), stopping.clone()));

    let state = dev_state(&args.dir, &config, &ports, &secret)?;
    let world = World { sandbox: Some(sandbox), ..World::default() };
    let ended = serve::start(&config, world, || {
        state.save(&args.dir)?;
        greet(&args.dir, &config.public_url(), link.as_deref());
        Ok(())
    })
    .await;
    stopping.cancel();
    DevState::remove(&args.dir);
    ended
}

fn load(folder: &Path, ports: &Ports) -> Result<Config, Failure> {
    let path = folder.join(folder::CONFIG);
    let config = Config::load(&path, &Overrides::default())?;
    let issues = config.issuers.iter().any(|issuer| issuer.issuer.as_deref() == Some(&ports.issuer_url()));
    if !config.dev || config.server.listen != ports.broker || !issues {
        return Err(Failure::new(Exit::Failure, format!("{} was not made for {}", path.display(), ports.broker))
            .fix(format!("start it with --listen {}, or name another folder with --dir", config.server.listen)));
    }
    Ok(config)
}

fn dev_state(folder: &Path, config: &Config, ports: &Ports, secret: &SecretString) -> Result<DevState, Failure> {
    let found = config.resource_servers.iter().find(|server| server.id == folder::RESOURCE_SERVER);
    let rs_secret = match found {
        Some(server) => server.secret.read().map_err(|why| Failure::new(Exit::Failure, why))?,
        None => SecretString::from(String::new()),
    };
    let endpoint = url::Url::parse(&format!("{}/token", ports.issuer_url())).map_err(anyhow::Error::from)?;
    let (server, sandbox) = (config.public_url(), format!("http://{}", ports.sandbox));
    let state = DevState::new([&server, &sandbox], endpoint, folder::RESOURCE_SERVER, [secret, &rs_secret]);
    // Nobody may find the file of an earlier run while this one gets ready.
    DevState::remove(folder);
    Ok(state)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot listen on {address}: {error}"))
            .fix("stop what listens there, or choose three free ports with --listen 127.0.0.1:PORT and another --dir")
    })
}

async fn listen(listener: TcpListener, router: Router, stopping: CancellationToken) {
    let served = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "a listener of the dev mode stopped");
    }
}

/// What a person can try now.
fn greet(folder: &Path, url: &str, link: Option<&str>) {
    let agents: Vec<String> = issuer::AGENTS.iter().map(|(name, what)| format!("{name} ({what})")).collect();
    let version = env!("CARGO_PKG_VERSION");
    let dir = folder.display();
    // A folder or address of one's own has to be named again by whoever calls.
    let told = if folder == Path::new("hallpass-dev") { String::new() } else { format!(" --dev-dir {dir}") };
    let exec = |who: &str, what: &str, scope: &str| {
        format!("    hallpass exec{told} --as {who} --purpose \"{what}\" --scope sandbox:releases:{scope} -- env")
    };
    let approver = people::PEOPLE.first().map_or("", |person| person.name);
    let people: Vec<&str> = people::PEOPLE.iter().map(|person| person.name).collect();
    let console = match link {
        Some(code) => format!("  Console   {url}/?code={code}     (one-time link, signs you in as {approver})\n"),
        None => format!("  Console   {url}/     (hallpass.toml has no [sign_in]; begin in a new folder with --dir)\n"),
    };
    say(&format!(
        "Hallpass {version} — DEV MODE: throw-away keys, loopback only, sandbox backends. Not for real use.\n\n\
         {console}  API       {url}      reference  {url}/docs\n  \
         Agents    {}\n  \
         People    {} (hallpass inbox list{told} --as {approver})\n  \
         Policy    {dir}/policies/   edit and save: reloaded in place\n\n  \
         Try, in a second terminal:\n{}\n{}\n{}",
        agents.join(" · "),
        people.join(" · "),
        exec("release-bot", "read release list", "read "),
        exec("release-bot", "publish v1.4.2", "write"),
        exec("triage-bot", "publish v1.4.2", "write"),
    ));
}

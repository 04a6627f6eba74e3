//! The targets of the test of all kinds: each says how the broker is told of it, which scope its credentials are of, and, asked
//! itself and not through the broker, whether a credential works there.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;

use async_trait::async_trait;
use hallpass::sys::{Clock as _, SystemClock};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::super::fake_github::{self, FakeGithub, WIDGET};
use super::super::kube::{API, BROKER, Fault, Kube};
use super::super::postgres::Shop;
use super::Broker;
use crate::support::openssh::{is_revoked, write_authority, write_private};

/// A place where credentials of one kind are honoured.
#[async_trait]
pub(super) trait Target: Send + Sync {
    /// The name of its backend.
    fn backend(&self) -> &'static str;

    /// The resource and the action of its scope, e.g. `orders:read`.
    fn entry(&self) -> &'static str;

    /// The native effect of its scope, as TOML.
    fn effect(&self) -> String;

    /// Where it listens, if the broker calls it.
    fn address(&self) -> Option<SocketAddr> {
        None
    }

    /// The members of its backend, reached at an address, as TOML.
    fn settings(&self, at: Option<SocketAddr>) -> String;

    /// Whether a credential with these values works there now.
    async fn works(&self, broker: &Broker, values: &Value) -> bool;

    /// What it must know of the broker before it is asked anything.
    async fn meet(&self, _broker: &Broker) {}

    /// Whether ending a credential calls it, so that nothing is known while it does not answer.
    fn is_told_in_a_call(&self) -> bool {
        self.address().is_some()
    }

    /// Whether nothing outlasts its end by more than the moments that a call takes.
    fn ends_at_once(&self) -> bool {
        true
    }

    /// Refuse whatever the broker asks from now on, or no more.
    fn refuse(&self, _refuse: bool) {}

    /// The scope, as a task asks for it.
    fn scope(&self) -> String {
        format!("{}:{}", self.backend(), self.entry())
    }

    /// Its section of the configuration.
    fn section(&self, at: Option<SocketAddr>) -> String {
        format!("\n[[backends]]\nname = \"{}\"\n{}\n", self.backend(), self.settings(at))
    }

    /// Its entry of the catalogue.
    fn catalogue(&self) -> String {
        format!(
            "\n[[scope]]\nname = \"{}\"\ndescription = \"Something of {}\"\nrisk = 10\nowner = \"maya\"\nmax_ttl_seconds = \
             3600\neffect = {{ {} }}\n",
            self.scope(),
            self.backend(),
            self.effect()
        )
    }
}

pub(super) fn text<'v>(values: &'v Value, name: &str) -> &'v str {
    values[name].as_str().unwrap_or_else(|| panic!("no `{name}` in the credential"))
}

/// Settings of a group of targets that need files in the broker's folder, written before it starts.
pub(super) fn write_files(folder: &std::path::Path) {
    write_authority(&folder.join("ssh-ca"));
}

/// Resource servers that ask introspection.
pub(super) struct Asking;

#[async_trait]
impl Target for Asking {
    fn backend(&self) -> &'static str {
        "tokens"
    }

    fn entry(&self) -> &'static str {
        "drawings:read"
    }

    fn effect(&self) -> String {
        // The one that may ask introspection.
        "audience = \"https://releases.hallpass.example\"".to_owned()
    }

    fn settings(&self, _at: Option<SocketAddr>) -> String {
        "kind = \"jwt\"".to_owned()
    }

    async fn works(&self, broker: &Broker, values: &Value) -> bool {
        let (status, said) = broker.call(&broker.stage.introspection(text(values, "access_token"))).await;
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&said).unwrap()["active"] == true
    }
}

/// Resource servers that fetch a status list.
pub(super) struct Listing;

#[async_trait]
impl Target for Listing {
    fn backend(&self) -> &'static str {
        "listed"
    }

    fn entry(&self) -> &'static str {
        "drawings:read"
    }

    fn effect(&self) -> String {
        "audience = \"https://listed.acme.example\"".to_owned()
    }

    fn settings(&self, _at: Option<SocketAddr>) -> String {
        "kind = \"jwt\"\nverifiers = \"status_list\"\nstatus_list_seconds = 5".to_owned()
    }

    fn ends_at_once(&self) -> bool {
        false
    }

    async fn works(&self, broker: &Broker, values: &Value) -> bool {
        let claims = part(text(values, "access_token"), 1);
        let place = &claims["status"]["status_list"];
        let path = place["uri"].as_str().unwrap().split_once("/v1/").unwrap().1;
        let list = part(&broker.fetch(&format!("/v1/{path}")).await, 1);
        let packed = data_encoding::BASE64URL_NOPAD.decode(list["status_list"]["lst"].as_str().unwrap().as_bytes());
        let mut bits = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&*packed.unwrap()), &mut bits).unwrap();
        let index = usize::try_from(place["idx"].as_u64().unwrap()).unwrap();
        bits[index / 8] >> (index % 8) & 1 == 0
    }
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// Hosts that fetch the revocation list each second.
pub(super) struct Hosts;

#[async_trait]
impl Target for Hosts {
    fn backend(&self) -> &'static str {
        "hosts"
    }

    fn entry(&self) -> &'static str {
        "web:read"
    }

    fn effect(&self) -> String {
        "principals = [\"status\"], force_command = [\"/usr/bin/uptime\"]".to_owned()
    }

    fn settings(&self, _at: Option<SocketAddr>) -> String {
        "kind = \"ssh\"\nca_key = { file = \"ssh-ca\" }\nhosts_poll_seconds = 1".to_owned()
    }

    fn ends_at_once(&self) -> bool {
        false
    }

    async fn works(&self, broker: &Broker, values: &Value) -> bool {
        let (list, certificate) = (broker.list("/v1/backends/hosts/krl").await, text(values, "certificate").to_owned());
        !tokio::task::spawn_blocking(move || is_revoked(&list, &certificate)).await.unwrap()
    }
}

#[async_trait]
impl Target for FakeGithub {
    fn backend(&self) -> &'static str {
        "gh"
    }

    fn entry(&self) -> &'static str {
        "widget:read"
    }

    fn effect(&self) -> String {
        let (id, name) = WIDGET;
        format!("repositories = [{{ id = {id}, name = \"{name}\" }}], permissions = {{ contents = \"read\" }}")
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.address)
    }

    fn settings(&self, at: Option<SocketAddr>) -> String {
        let direct = FakeGithub::settings(self, "gh").replace("name = 'gh'\n", "");
        at.map_or(direct.clone(), |at| direct.replace(&self.address.to_string(), &at.to_string()))
    }

    async fn works(&self, _broker: &Broker, values: &Value) -> bool {
        self.accepts(text(values, "token"), SystemClock.now()).is_some()
    }

    fn refuse(&self, refuse: bool) {
        if refuse {
            self.fail_always(fake_github::Call::Delete, fake_github::Fault::Status(403));
        } else {
            self.mend();
        }
    }
}

/// An API server that remembers for ten seconds that it accepted a token, as they do.
pub(super) struct Cluster {
    kube: Kube,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let kube = Kube::start(Arc::new(SystemClock)).await;
        kube.world().remembers = true;
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("token"), BROKER);
        Self { kube, folder }
    }
}

#[async_trait]
impl Target for Cluster {
    fn backend(&self) -> &'static str {
        "k8s"
    }

    fn entry(&self) -> &'static str {
        "deploys:read"
    }

    fn effect(&self) -> String {
        format!("namespace = \"agents\", service_account = \"deployer\", audiences = [\"{API}\"]")
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.kube.address)
    }

    fn settings(&self, at: Option<SocketAddr>) -> String {
        let token = self.folder.path().join("token");
        let at = at.unwrap_or(self.kube.address);
        format!(
            "kind = \"kubernetes\"\nurl = \"http://{at}\"\nnamespaces = [\"agents\"]\ntoken = {{ file = \"{}\" }}",
            token.display()
        )
    }

    fn ends_at_once(&self) -> bool {
        false
    }

    async fn works(&self, _broker: &Broker, values: &Value) -> bool {
        self.kube.review(text(values, "token"), API)
    }

    fn refuse(&self, refuse: bool) {
        self.kube.world().broken = refuse.then_some(("DELETE", Fault::Says(403, "Forbidden")));
    }
}

/// A PostgreSQL server of its own.
pub(super) struct Database(Shop);

impl Database {
    pub(super) async fn start() -> Self {
        Self(tokio::task::spawn_blocking(Shop::open_for_load).await.unwrap())
    }
}

#[async_trait]
impl Target for Database {
    fn backend(&self) -> &'static str {
        "shop"
    }

    fn entry(&self) -> &'static str {
        "prices:read"
    }

    fn effect(&self) -> String {
        "database = \"orders\", groups = [\"orders_reader\"]".to_owned()
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], self.0.port()).into())
    }

    fn settings(&self, at: Option<SocketAddr>) -> String {
        let direct = self.0.settings("").replace("name = 'shop'\n", "");
        let own = format!(":{}/", self.0.port());
        at.map_or(direct.clone(), |at| direct.replace(&own, &format!(":{}/", at.port())))
    }

    async fn works(&self, _broker: &Broker, values: &Value) -> bool {
        let mut url = String::from("postgres://");
        write!(url, "{}@127.0.0.1:{}/orders?sslmode=disable", text(values, "username"), self.0.port()).unwrap();
        let options = PgConnectOptions::from_str(&url).unwrap().password(text(values, "password"));
        match options.connect().await {
            Ok(mut connection) => {
                let cents: i32 =
                    sqlx::query_scalar("select cents from prices").fetch_one(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                cents == 100
            }
            Err(sqlx::Error::Database(refused)) => {
                assert!(["28P01", "28000"].contains(&&*refused.code().unwrap()), "{refused}");
                false
            }
            Err(error) => panic!("the server does not answer: {error}"),
        }
    }

    fn refuse(&self, refuse: bool) {
        // It may not end anybody's sessions, nor change the roles that it made.
        let how = if refuse { "nologin" } else { "login" };
        self.0.sql(&format!(
            "alter role hallpass_broker {how};
             select pg_terminate_backend(pid) from pg_stat_activity where usename = 'hallpass_broker'"
        ));
    }
}

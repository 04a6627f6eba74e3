//! The other half of the targets of the test of all kinds: AWS, TLS servers, an authorization server, and Redis.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use hallpass::sys::keys::KeyRing;
use hallpass::sys::{Clock as _, SystemClock};
use serde_json::Value;

use super::super::fake_as::{self, FakeAs, RESOURCE};
use super::super::fake_aws::{self, FakeAws};
use super::Broker;
use super::targets::{Target, text};
use crate::support::openssl::{AUTHORITY, make_authority, openssl};
use crate::support::redis::{Redis, said};

/// An account with two roles, whose IAM policies work as soon as they are put.
pub(super) struct Cloud {
    aws: FakeAws,
    folder: tempfile::TempDir,
}

impl Cloud {
    pub(super) async fn start() -> Self {
        Self { aws: FakeAws::start(Arc::new(SystemClock)).await, folder: tempfile::tempdir().unwrap() }
    }
}

#[async_trait]
impl Target for Cloud {
    fn backend(&self) -> &'static str {
        "aws"
    }

    fn entry(&self) -> &'static str {
        "releases:read"
    }

    fn effect(&self) -> String {
        let statement = "{ actions = [\"s3:GetObject\"], resources = [\"arn:aws:s3:::releases/*\"] }";
        format!("role = \"releases\", statements = [{statement}]")
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.aws.address)
    }

    fn settings(&self, at: Option<SocketAddr>) -> String {
        let direct = self.aws.settings(self.folder.path(), "deny_role_policy = true\nsettle_seconds = 1");
        let direct = direct.replace("name = 'aws'\n", "").replace("[roles]", "[backends.roles]");
        at.map_or(direct.clone(), |at| direct.replace(&self.aws.address.to_string(), &at.to_string()))
    }

    async fn works(&self, _broker: &Broker, values: &Value) -> bool {
        let key = text(values, "access_key_id");
        self.aws.allows(key, "s3:GetObject", "arn:aws:s3:::releases/v1", SystemClock.now())
    }

    /// IAM is given time to pass a denial on, and a chore of the broker puts it.
    fn ends_at_once(&self) -> bool {
        false
    }

    fn is_told_in_a_call(&self) -> bool {
        false
    }

    fn refuse(&self, refuse: bool) {
        if refuse {
            self.aws.fail_always("PutRolePolicy", fake_aws::Fault::Says(403, "AccessDenied"));
        } else {
            self.aws.world().always.clear();
        }
    }
}

/// Servers that load the revocation list each second.
pub(super) struct Servers(tempfile::TempDir);

impl Servers {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let p256 = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        make_authority(folder.path(), "ca", &p256, &AUTHORITY);
        Self(folder)
    }
}

/// Whether OpenSSL takes a certificate for a TLS client's, by a list.
fn verifies(authority: &Path, certificate: &str, list: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (leaf, der, crl, authority) = (at("leaf.pem"), at("list.der"), at("list.pem"), authority.display().to_string());
    std::fs::write(&leaf, certificate).unwrap();
    std::fs::write(&der, list).unwrap();
    openssl(&["crl", "-inform", "DER", "-in", &der, "-out", &crl]).unwrap();
    let judged = openssl(&[
        "verify",
        "-purpose",
        "sslclient",
        "-CAfile",
        &authority,
        "-untrusted",
        &leaf,
        "-crl_check",
        "-CRLfile",
        &crl,
        &leaf,
    ]);
    match judged {
        Ok(_) => true,
        Err(why) => {
            assert!(why.contains("certificate revoked"), "{why}");
            false
        }
    }
}

#[async_trait]
impl Target for Servers {
    fn backend(&self) -> &'static str {
        "web"
    }

    fn entry(&self) -> &'static str {
        "orders:read"
    }

    fn effect(&self) -> String {
        "common_name = \"orders\"".to_owned()
    }

    fn settings(&self, _at: Option<SocketAddr>) -> String {
        let at = self.0.path().display();
        format!(
            "kind = \"x509\"\nca_certificate = \"{at}/ca.pem\"\nca_key = {{ file = \"{at}/ca.key\" }}\nservers_poll_seconds = 1"
        )
    }

    async fn works(&self, broker: &Broker, values: &Value) -> bool {
        let list = broker.list("/v1/backends/web/revocation-list").await;
        let (authority, certificate) = (self.0.path().join("ca.pem"), text(values, "certificate").to_owned());
        tokio::task::spawn_blocking(move || verifies(&authority, &certificate, &list)).await.unwrap()
    }

    fn ends_at_once(&self) -> bool {
        false
    }
}

/// An authorization server whose resource servers introspect.
pub(super) struct Upstream(FakeAs);

impl Upstream {
    pub(super) async fn start() -> Self {
        Self(FakeAs::start(Arc::new(SystemClock), Arc::new(KeyRing::default())).await)
    }
}

#[async_trait]
impl Target for Upstream {
    fn backend(&self) -> &'static str {
        "crm"
    }

    fn entry(&self) -> &'static str {
        "contacts:read"
    }

    fn effect(&self) -> String {
        format!("resource = \"{RESOURCE}\", scope = [\"contacts:read\"]")
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.0.address)
    }

    fn settings(&self, at: Option<SocketAddr>) -> String {
        if let Some(at) = at {
            self.0.world().issuer = format!("http://{at}/realms/acme");
        }
        self.0.settings().replace("name = 'crm'\n", "")
    }

    async fn meet(&self, broker: &Broker) {
        let keys: Value = serde_json::from_str(&broker.fetch("/.well-known/jwks.json").await).unwrap();
        self.0.trust(format!("http://{}", broker.stage.address), keys["keys"].as_array().unwrap().clone());
    }

    async fn works(&self, _broker: &Broker, values: &Value) -> bool {
        self.0.accepts(text(values, "access_token"), SystemClock.now()).is_some()
    }

    fn refuse(&self, refuse: bool) {
        if refuse {
            self.0.fail_always(fake_as::Call::Revoke, fake_as::Fault::Status(403));
        } else {
            self.0.mend();
        }
    }
}

/// A Redis server of its own.
pub(super) struct Cache(Redis);

impl Cache {
    pub(super) async fn start() -> Self {
        let redis = tokio::task::spawn_blocking(Redis::start).await.unwrap();
        redis.operator(&["set", "orders:1", "rope"]);
        Self(redis)
    }
}

#[async_trait]
impl Target for Cache {
    fn backend(&self) -> &'static str {
        "cache"
    }

    fn entry(&self) -> &'static str {
        "orders:read"
    }

    fn effect(&self) -> String {
        "commands = [\"get\"], keys = { \"orders:*\" = \"read\" }".to_owned()
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], self.0.port).into())
    }

    fn settings(&self, at: Option<SocketAddr>) -> String {
        let direct = self.0.settings("").replace("name = 'cache'\n", "");
        let own = format!("127.0.0.1:{}", self.0.port);
        at.map_or(direct.clone(), |at| direct.replace(&own, &at.to_string()))
    }

    async fn works(&self, _broker: &Broker, values: &Value) -> bool {
        let mut cli = self.0.cli(text(values, "username"), text(values, "password"));
        cli.args(["get", "orders:1"]);
        let output = tokio::task::spawn_blocking(move || cli.output()).await.unwrap().unwrap();
        match said(&output) {
            rope if rope == "rope" => true,
            refused => {
                assert!(refused.contains("WRONGPASS") || refused.contains("NOAUTH"), "{refused}");
                false
            }
        }
    }

    fn refuse(&self, refuse: bool) {
        // It may not change users, nor end connections.
        let how = if refuse { "-" } else { "+" };
        let changes = ["acl|setuser", "acl|deluser", "client|kill"].map(|command| format!("{how}{command}"));
        let [set, delete, kill] = changes.each_ref().map(String::as_str);
        assert_eq!(self.0.operator(&["acl", "setuser", "hallpass", set, delete, kill]), "OK");
    }
}

//! A broker of its own process, a real sshd and a real ssh: a certificate logs in for its command and its account only, and is
//! refused from soon after its end on, while its sibling goes on.

use std::process::Command;

use crate::support::openssh::{Key, Sshd, is_revoked, make_key};
use crate::support::served::Served;

const BACKEND: &str = r#"
[[backends]]
name = "hosts"
kind = "ssh"
ca_key = { file = "ssh-ca" }
krl_file = "hosts.krl"
hosts_poll_seconds = 1
"#;

struct Held {
    lease: String,
    certificate: String,
    key: Key,
}

async fn start(user: &str) -> Served {
    let effect = |principal: &str| {
        format!(
            "{{ principals = [\"{principal}\"], force_command = [\"/bin/echo\", \"it is well; $HOME; and that is all\"], \
             source_address = [\"127.0.0.0/8\"] }}"
        )
    };
    let scopes = [("hosts:web:read", effect(user)), ("hosts:other:read", effect("nobody-here"))];
    Served::start(BACKEND, &scopes, |folder| make_key(&folder.join("ssh-ca"), &["ed25519"])).await
}

async fn granted(broker: &Served, scope: &str) -> Held {
    let credential = broker.granted(scope).await;
    let value = |name: &str| credential["values"][name].as_str().unwrap();
    assert_eq!(credential["type"], "ssh", "{credential}");
    Held {
        lease: credential["id"].as_str().unwrap().to_owned(),
        certificate: value("certificate").to_owned(),
        key: Key::new(value("private_key"), value("certificate")),
    }
}

async fn krl(broker: &Served) -> Vec<u8> {
    broker.read("/v1/backends/hosts/krl").await
}

fn krl_file(broker: &Served) -> Vec<u8> {
    broker.file("hosts.krl")
}

fn user() -> String {
    let said = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn ssh_06_a_certificate_logs_in_until_it_is_revoked_and_its_sibling_goes_on() {
    let user = user();
    let broker = start(&user).await;
    broker.until("the list is in its file", async || !krl_file(&broker).is_empty()).await;
    let folder = broker.stage.folder.path();
    let sshd = Sshd::start(&folder.join("ssh-ca.pub"), &folder.join("hosts.krl"));
    sshd.ready().await;
    let (ended, sibling) = (granted(&broker, "hosts:web:read").await, granted(&broker, "hosts:web:read").await);
    let elsewhere = granted(&broker, "hosts:other:read").await;

    let well = Ok("it is well; $HOME; and that is all".to_owned());
    assert_eq!(sshd.log_in(&user, &ended.key), well, "its command runs, not what the client asked for: {}", sshd.log());
    assert_eq!(sshd.log_in(&user, &sibling.key), well);
    let refused = sshd.log_in(&user, &elsewhere.key).unwrap_err();
    assert!(refused.contains("Permission denied"), "of another account: {refused}");
    assert!(sshd.log().contains(&ended.lease), "the log of the host names the lease");

    let closure = broker.revoke(&ended.lease).await;
    assert_ne!(closure["closure"], "closed", "hosts do not know yet: {closure}");
    let lease = broker.lease(&ended.lease).await;
    assert!(lease["state"] == "ending" && lease["ends_by"].is_string(), "{lease}");
    let listed = async || is_revoked(&krl(&broker).await, &ended.certificate);
    let written = async || is_revoked(&krl_file(&broker), &ended.certificate);
    let took = broker.until("it is listed", listed).await + broker.until("it is in the file", written).await;
    assert!(took <= 5_000, "listed within 5 s: {took} ms");
    let refused = sshd.log_in(&user, &ended.key).unwrap_err();
    assert!(refused.contains("Permission denied"), "{refused}");
    assert!(sshd.log().contains("revoked by file"), "{}", sshd.log());
    assert_eq!(sshd.log_in(&user, &sibling.key), well);

    broker.until("it has ended", async || broker.lease(&ended.lease).await["state"] == "ended").await;
    let lease = broker.lease(&ended.lease).await;
    assert!(lease["proof"].as_str().unwrap().contains("on the revocation list since"), "{lease}");
    assert!(is_revoked(&krl(&broker).await, &ended.certificate), "it stays listed until its own end");
    assert!(!is_revoked(&krl_file(&broker), &sibling.certificate));
}

#[tokio::test]
async fn ssh_06_a_killed_broker_forgets_no_revocation() {
    let user = user();
    let mut broker = start(&user).await;
    let ended = granted(&broker, "hosts:web:read").await;
    broker.revoke(&ended.lease).await;
    broker.kill();
    // Whatever was written of it is lost with the file.
    let _ = std::fs::remove_file(broker.stage.folder.path().join("hosts.krl"));
    broker.start_again().await;
    assert!(is_revoked(&krl(&broker).await, &ended.certificate));
    let written = async || !krl_file(&broker).is_empty() && is_revoked(&krl_file(&broker), &ended.certificate);
    broker.until("it is in the file", written).await;
}

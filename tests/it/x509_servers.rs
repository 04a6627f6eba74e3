//! A broker of its own process, a real nginx that asks for client certificates, and a real curl: a certificate is taken until its end
//! was listed and nginx has loaded the list, its sibling goes on; the authority is made by the commands of the page.

use std::process::Command;

use serde_json::Value;

use crate::support::openssl::{Client, Nginx, openssl};
use crate::support::served::Served;

const BACKEND: &str = r#"
[[backends]]
name = "web"
kind = "x509"
ca_certificate = "x509-ca.pem"
ca_key = { file = "x509-ca.key" }
crl_file = "web.crl"
servers_poll_seconds = 1
"#;
const LIST: &str = "/v1/backends/web/revocation-list";

/// The shell commands of the page that have this text.
fn commands_of_the_page(with: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/backends/x509.md")).unwrap();
    let mut blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(with)).unwrap_or_else(|| panic!("the page does not say `{with}`")).to_owned()
}

async fn start() -> Served {
    let effect = r#"{ common_name = "orders", organization = "Acme", uris = ["spiffe://acme.example/orders"] }"#;
    Served::start(BACKEND, &[("web:orders:read", effect.to_owned())], |folder| {
        let mut command = Command::new("sh");
        command.arg("-euc").arg(commands_of_the_page("genpkey")).current_dir(folder);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{made:?}");
    })
    .await
}

struct Held {
    lease: String,
    client: Client,
}

async fn granted(broker: &Served) -> Held {
    let credential: Value = broker.granted("web:orders:read").await;
    assert_eq!(credential["type"], "x509", "{credential}");
    let value = |name: &str| credential["values"][name].as_str().unwrap();
    Held {
        lease: credential["id"].as_str().unwrap().to_owned(),
        client: Client::new(value("certificate"), value("private_key")),
    }
}

/// The serial numbers of a list in a form, in hexadecimal.
fn listed(list: &[u8], form: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    std::fs::write(&path, list).unwrap();
    let Ok(said) = openssl(&["crl", "-inform", form, "-in", path.to_str().unwrap(), "-noout", "-text"]) else {
        return Vec::new();
    };
    said.lines().filter_map(|line| line.trim().strip_prefix("Serial Number: ").map(str::to_owned)).collect()
}

fn serial(held: &Held) -> String {
    let path = held.client.certificate();
    let said = openssl(&["x509", "-in", path.to_str().unwrap(), "-noout", "-serial"]).unwrap();
    said.strip_prefix("serial=").unwrap().to_owned()
}

#[tokio::test]
async fn a_certificate_is_taken_until_nginx_has_the_list_and_its_sibling_goes_on() {
    let broker = start().await;
    broker.until("the list is in its file", async || !broker.file("web.crl").is_empty()).await;
    let folder = broker.stage.folder.path();
    let nginx = Nginx::start(&folder.join("x509-ca.pem"), &folder.join("web.crl"));
    nginx.ready().await;
    let (ended, sibling) = (granted(&broker).await, granted(&broker).await);
    let seen = nginx.ask(Some(&ended.client)).unwrap_or_else(|why| panic!("{why}: {}", nginx.log()));
    assert!(seen.contains(&ended.lease) && seen.ends_with(",CN=orders,O=Acme"), "{seen}");
    nginx.ask(Some(&sibling.client)).unwrap();
    assert!(nginx.ask(None).unwrap_err().contains("No required SSL certificate"));
    assert!(nginx.seen().contains(&format!("SUCCESS serial={}", serial(&ended))), "{}", nginx.seen());

    let closure = broker.revoke(&ended.lease).await;
    assert_ne!(closure["closure"], "closed", "servers do not know yet: {closure}");
    let lease = broker.lease(&ended.lease).await;
    assert!(lease["state"] == "ending" && lease["ends_by"].is_string(), "{lease}");
    let is_listed = async || listed(&broker.read(LIST).await, "DER") == [serial(&ended)];
    let is_written = async || listed(&broker.file("web.crl"), "PEM") == [serial(&ended)];
    let took = broker.until("it is listed", is_listed).await + broker.until("it is in the file", is_written).await;
    assert!(took <= 5_000, "listed within 5 s: {took} ms");
    nginx.ask(Some(&ended.client)).expect("nginx looks at its list when it is told to, and not before");
    nginx.reload().await;
    let refused = nginx.ask(Some(&ended.client)).unwrap_err();
    assert!(refused.contains("The SSL certificate error"), "{refused}");
    assert!(nginx.log().contains("certificate revoked"), "{}", nginx.log());
    nginx.ask(Some(&sibling.client)).unwrap();

    broker.until("it has ended", async || broker.lease(&ended.lease).await["state"] == "ended").await;
    let lease = broker.lease(&ended.lease).await;
    assert!(lease["proof"].as_str().unwrap().contains("on the revocation list since"), "{lease}");
    assert_eq!(listed(&broker.read(LIST).await, "DER"), [serial(&ended)], "it stays listed until its own end");
}

#[tokio::test]
async fn a_killed_broker_forgets_no_revoked_certificate() {
    let mut broker = start().await;
    let ended = granted(&broker).await;
    broker.revoke(&ended.lease).await;
    broker.kill();
    // Whatever was written of it is lost with the file.
    let _ = std::fs::remove_file(broker.stage.folder.path().join("web.crl"));
    broker.start_again().await;
    assert_eq!(listed(&broker.read(LIST).await, "DER"), [serial(&ended)]);
    let is_written = async || listed(&broker.file("web.crl"), "PEM") == [serial(&ended)];
    broker.until("it is in the file", is_written).await;
}

/// The page's program that fetches a list, with the places of this test for those of a server.
#[tokio::test]
async fn the_pages_program_takes_a_list_of_its_authority_and_no_other() {
    let broker = start().await;
    let folder = broker.stage.folder.path();
    let (list, authority) = (folder.join("fetched.crl"), folder.join("trusted.pem"));
    std::fs::copy(folder.join("x509-ca.pem"), &authority).unwrap();
    let url = format!("http://{}{LIST}", broker.stage.address);
    let program = commands_of_the_page("mktemp")
        .replace("https://hallpass.acme.example/v1/backends/web/revocation-list", &url)
        .replace("/etc/nginx/hallpass.crl", list.to_str().unwrap())
        .replace("/etc/nginx/hallpass-ca.pem", authority.to_str().unwrap())
        .replace("nginx -s reload", "true");
    let fetch = || Command::new("sh").arg("-c").arg(&program).output().unwrap();
    let ended = granted(&broker).await;
    broker.revoke(&ended.lease).await;
    broker.until("it is listed", async || listed(&broker.read(LIST).await, "DER") == [serial(&ended)]).await;
    let done = fetch();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(listed(&std::fs::read(&list).unwrap(), "PEM"), [serial(&ended)]);
    // An authority of the same name and another key.
    std::fs::remove_file(&list).unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.arg("-euc").arg(commands_of_the_page("genpkey")).current_dir(other.path());
    assert!(command.output().unwrap().status.success());
    std::fs::copy(other.path().join("x509-ca.pem"), &authority).unwrap();
    assert!(!fetch().status.success());
    assert!(!list.exists());
    let left = std::fs::read_dir(folder).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(left.filter(|name| name.starts_with("fetched.crl")).count(), 0, "it tidies up");
}

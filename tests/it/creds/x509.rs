//! kubectl with `hallpass creds kube` as its credential plugin for client certificates, before an nginx that asks for one, as an API
//! server would.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{HALLPASS, House, ran, tool};
use crate::support::openssl::{AUTHORITY, Nginx, make_authority, openssl};

const SCOPE: &str = "pki:orders:read";

#[tokio::test]
async fn kubectl_shows_the_certificate_of_an_x509_lease() {
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name).display().to_string();
    let p256 = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    make_authority(files.path(), "ca", &p256, &AUTHORITY);
    make_authority(files.path(), "servers", &p256, &AUTHORITY);
    let backend = format!(
        "name = 'pki'\nkind = 'x509'\nca_certificate = '{}'\nca_key = {{ file = '{}' }}\ncrl_file = '{}'\nserver_ca = '{}'",
        at("ca.pem"),
        at("ca.key"),
        at("list.crl"),
        at("servers.pem")
    );
    let effect = r#"{ common_name = "orders-reader", organization = "agents" }"#;
    let house = House::start(&backend, &[(SCOPE, effect)]).await;
    house.harness.broker.publish_revocation_lists().await.unwrap();
    let server = Nginx::start(&files.path().join("ca.pem"), &files.path().join("list.crl"));
    server.ready().await;

    let plugin = ["creds", "kube", "--scope", SCOPE, "--purpose", "Read orders"];
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": HALLPASS, "args": plugin, "interactiveMode": "Never",
        "provideClusterInfo": true,
    });
    let cluster = json!({ "server": server.url(), "certificate-authority": server.certificate() });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "k", "cluster": cluster }],
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "users": [{ "name": "u", "user": { "exec": exec } }],
    });
    std::fs::write(files.path().join("kubeconfig"), config.to_string()).unwrap();
    let mut kubectl = house.program(&tool("kubectl"));
    kubectl.env("KUBECONFIG", files.path().join("kubeconfig")).args(["get", "--raw", "/"]);
    let (code, seen, err) = ran(&mut kubectl).await;
    assert_eq!(code, 0, "{err}: {}", server.log());
    let page = house.harness.get("/v1/leases?limit=100", &house.harness.operator()).await.expect(200);
    let lease = page["items"][0]["id"].as_str().unwrap();
    assert!(seen.contains(lease) && seen.contains("CN=orders-reader") && seen.contains("O=agents"), "{seen}");

    let (code, out, err) = ran(&mut house.hallpass(&plugin)).await;
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    let status = answer["status"].as_object().unwrap();
    let members: BTreeSet<&str> = status.keys().map(String::as_str).collect();
    assert_eq!(
        members,
        ["clientCertificateData", "clientKeyData", "expirationTimestamp"].into(),
        "by whom servers are trusted, the kubeconfig says"
    );
    for (member, file) in [("clientCertificateData", "leaf.pem"), ("clientKeyData", "leaf.key")] {
        std::fs::write(files.path().join(file), status[member].as_str().unwrap()).unwrap();
    }
    openssl(&["verify", "-purpose", "sslclient", "-CAfile", &at("ca.pem"), &at("leaf.pem")]).unwrap();
    assert_eq!(
        openssl(&["x509", "-in", &at("leaf.pem"), "-noout", "-pubkey"]).unwrap(),
        openssl(&["pkey", "-in", &at("leaf.key"), "-pubout"]).unwrap()
    );
    assert_eq!(house.leases().await, (2, 2));
}

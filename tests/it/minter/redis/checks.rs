//! What an operator is told to mend, and how the server is reached.

use std::path::Path;
use std::process::Command;

use hallpass::minter::{CredentialRef, MintError, Revoked};

use super::{end, live, minter_at, minter_with, reads, value};
use crate::support::redis::Redis;

#[tokio::test]
async fn red_09_the_rights_of_the_page_are_enough_and_each_thing_that_is_missing_or_too_much_is_named() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    let said = async |change: &[&str], back: &[&str], why: &[&str]| {
        assert_eq!(redis.operator(&[&["acl", "setuser"][..], change].concat()), "OK");
        let found = minter.check().await.unwrap();
        assert!(found.len() == 1 && why.iter().all(|why| found[0].contains(why)), "{change:?}: {found:?}");
        assert_eq!(redis.operator(&[&["acl", "setuser"][..], back].concat()), "OK");
        // A user whose keys were taken away has them back.
        assert_eq!(minter.check().await.unwrap(), Vec::<String>::new(), "{back:?}");
    };
    for right in [
        "acl|setuser",
        "acl|deluser",
        "acl|users",
        "acl|save",
        "client|kill",
        "client|list",
        "config|get",
        "set",
        "multi",
    ] {
        let (less, more) = (format!("-{right}"), format!("+{right}"));
        said(&["hallpass", &less], &["hallpass", &more], &[&format!("may not `{right}`"), &more]).await;
    }
    said(&["hallpass", "-acl|dryrun"], &["hallpass", "+acl|dryrun"], &["cannot be seen", "+acl|dryrun"]).await;
    said(&["hallpass", "+flushall"], &["hallpass", "-flushall"], &["more than it needs (flushall)"]).await;
    said(
        &["default", "on", "nopass"],
        &["default", "off", "resetpass"],
        &["`default` without a password", "default off"],
    )
    .await;
    redis.operator(&["replicaof", "127.0.0.1", "1"]);
    let found = minter.check().await.unwrap();
    assert!(found.iter().any(|said| said.contains("stands alone")), "{found:?}");
    let wrong = redis.path("wrong");
    crate::support::openssh::write_private(&wrong, "wrong");
    let settings = redis.settings("").replace(redis.path("password").to_str().unwrap(), wrong.to_str().unwrap());
    let refused = minter_with("tested", &settings).check().await;
    assert!(matches!(&refused, Err(MintError::Misconfigured(why)) if !why.contains("wrong-")), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_keeps_its_users_in_no_file_is_named_and_forgets_them() {
    let mut redis = Redis::start_without_file();
    let minter = minter_at(&redis);
    let found = minter.check().await.unwrap();
    assert!(found.len() == 1 && found[0].contains("allow_volatile"), "{found:?}");
    let allowed = minter_with("tested", &redis.settings("allow_volatile = true"));
    assert_eq!(allowed.check().await.unwrap(), Vec::<String>::new());
    let (plan, _) = live(&*minter, &[reads("acme")]).await;
    let (other, _) = live(&*minter, &[reads("acme")]).await;
    let ended = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(matches!(&ended, Revoked::Gone(how) if how.contains("no ACL file")), "{ended:?}");
    redis.crash();
    redis.resume();
    assert!(!redis.operator(&["acl", "users"]).contains(other.handle.as_str()));
    end(&*minter, &other).await;
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn red_01_beyond_this_machine_the_servers_certificate_is_verified_by_authority_and_name() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let made = tempfile::tempdir().unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(made.path(), &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"));
    openssl(made.path(), &format!("req -x509 {key} -keyout other.key -out other.pem -days 2 -subj /CN=other"));
    openssl(made.path(), &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    std::fs::write(made.path().join("san"), "subjectAltName=DNS:localhost").unwrap();
    openssl(made.path(), "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -out server.crt -days 2 -extfile san");
    let port = crate::support::ports::free_ports(1);
    let file = |name: &str| made.path().join(name).display().to_string();
    let redis = Redis::start_with(
        &[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &file("server.crt"),
            "--tls-key-file",
            &file("server.key"),
            "--tls-ca-cert-file",
            &file("ca.pem"),
            "--tls-auth-clients",
            "no",
        ]
        .map(str::to_owned),
    );
    let settings = |host: &str, authority: &str| {
        let plain = format!("redis://hallpass@127.0.0.1:{}", redis.port);
        let more = format!("ca_file = '{}'", file(authority));
        redis.settings(&more).replace(&plain, &format!("rediss://hallpass@{host}:{port}"))
    };
    let minter = minter_with("tls", &settings("localhost", "ca.pem"));
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    let (plan, minted) = live(&*minter, &[reads("acme")]).await;
    assert!(value(&minted, "url").starts_with("rediss://") && value(&minted, "tls") == "true");
    let mut cli = Command::new("redis-cli");
    cli.args(["--no-auth-warning", "--cacert", &file("ca.pem"), "-u", value(&minted, "url"), "get", "orders:acme:1"]);
    assert_eq!(crate::support::redis::said(&cli.output().unwrap()), "");
    end(&*minter, &plan).await;
    for (host, authority) in [("localhost", "other.pem"), ("127.0.0.1", "ca.pem")] {
        let refused = minter_with("tls", &settings(host, authority)).check().await;
        assert!(refused.is_err(), "{host} {authority}: {refused:?}");
    }
}

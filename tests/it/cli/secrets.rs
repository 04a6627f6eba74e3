//! Secrets leave no trace: a broker is used and abused with the loudest logging, and then everything it wrote is searched for
//! every secret that was in play.

use std::path::Path;

use hallpass::client::{Client, ClientSettings, TokenSource};
use hallpass::sys::{ExposeSecret as _, Ids, SecretString, SystemClock, SystemEntropy};

use super::{Dev, hallpass, run};
use crate::support::ports::free_ports;

fn ids() -> Ids {
    Ids::new(std::sync::Arc::new(SystemClock), std::sync::Arc::new(SystemEntropy::default()))
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// A token of the dev issuer.
fn identity_token(state: &serde_json::Value) -> String {
    let tokens = TokenSource::DevIssuer {
        endpoint: state["token_endpoint"].as_str().unwrap().parse().unwrap(),
        secret: SecretString::from(state["token_secret"].as_str().unwrap()),
        ask: serde_json::json!({ "name": "release-bot" }),
    };
    let server = state["server"].as_str().unwrap().to_owned();
    let client = Client::new(ClientSettings { server, tokens, ca_file: None, ids: ids() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = runtime.block_on(client.fetch_token()).unwrap().unwrap();
    token.expose_secret().to_owned()
}

/// The metrics, over a connection of our own.
fn metrics(port: u16) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Every secret of one exec, as the child saw it.
fn credentials(dev: &Dev, scope: &str, variable: &str) -> String {
    let mut exec = dev.by("release-bot", &["exec", "--no-masking", "--purpose", "read", "--scope", scope]);
    let (code, out, err) = run(exec.args(["--", "printenv", variable]));
    assert_eq!(code, 0, "{err}");
    out.trim().to_owned()
}

/// Call with tokens that must be refused, and answer everything that was said about it.
fn abuse(dev: &Dev, used: &str, unused: &str) -> String {
    let token = |text: &str, arguments: &[&str]| {
        run(hallpass().args(["--server", &dev.url()]).args(arguments).env("HALLPASS_TOKEN", text))
    };
    let mut said = String::new();
    assert_eq!(token(used, &["whoami"]).0, 0);
    let forged = format!("{unused}x");
    for (text, arguments) in [
        (used, &["whoami"][..]),
        (forged.as_str(), &["whoami"]),
        (unused, &["task", "open", "--purpose", "x", "--scope", "sandbox:releases:nothing"]),
        ("canary-in-a-token-that-is-none", &["whoami"]),
    ] {
        let (code, out, err) = token(text, arguments);
        assert_ne!(code, 0, "{out}");
        said += &(out + &err);
    }
    said
}

#[test]
fn sec_01_sec_02_sec_04_no_secret_is_in_logs_database_audit_metrics_problems_or_arguments() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dev");
    let port = free_ports(3);
    Dev::start_in(&folder, port, &[], None).stop();
    let metrics_port = free_ports(1);
    let config = folder.join("hallpass.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let with_metrics = format!("[server]\nmetrics_listen = \"127.0.0.1:{metrics_port}\"\n");
    std::fs::write(&config, text.replace("[server]\n", &with_metrics)).unwrap();
    let mut dev = Dev::start_in(&folder, port, &[("RUST_LOG", "trace")], None);

    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("dev.json")).unwrap()).unwrap();
    let used = identity_token(&state);
    let unused = identity_token(&state);
    let mut said = abuse(&dev, &used, &unused);
    let sandbox = credentials(&dev, "sandbox:releases:read", "SANDBOX_TOKEN");
    let jwt = credentials(&dev, "api:releases:read", "HALLPASS_ACCESS_TOKEN");
    for arguments in [
        &["audit", "search", "--limit", "200", "-o", "json"][..],
        &["lease", "list", "--all", "-o", "json"],
        &["inbox", "list", "--state", "granted", "-o", "json"],
    ] {
        let (code, out, err) = run(&mut dev.by("dev-approver", arguments));
        assert_eq!(code, 0, "{err}");
        said += &(out + &err);
    }
    let metrics = metrics(metrics_port);
    assert!(metrics.contains("hallpass_"), "{metrics}");
    let arguments = std::fs::read(format!("/proc/{}/cmdline", dev.child.id())).unwrap();
    let before_stop = files(&folder.join("data"));
    let (_, log) = dev.stop();
    assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""), "the log is loud");

    let mut places = vec![
        ("the log".to_owned(), log.into_bytes()),
        ("what commands said".to_owned(), said.into_bytes()),
        ("the metrics".to_owned(), metrics.into_bytes()),
        ("the arguments".to_owned(), arguments),
    ];
    places.extend(before_stop);
    places.extend(files(&folder.join("data")));
    let kek = std::fs::read_to_string(folder.join("kek")).unwrap();
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for (what, secret) in [
        ("the key-encryption key", kek.trim().to_owned()),
        ("the resource server's secret", state["resource_server_secret"].as_str().unwrap().to_owned()),
        ("the dev issuer's secret", state["token_secret"].as_str().unwrap().to_owned()),
        ("a used identity token", signature(&used)),
        ("an identity token", signature(&unused)),
        ("a canary", "canary-in-a-token-that-is-none".to_owned()),
        ("a sandbox credential", sandbox),
        ("an access token", signature(&jwt)),
    ] {
        assert!(secret.len() >= 20, "{what} is too short to be looked for");
        for (place, bytes) in &places {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{what} is in {place}");
        }
    }
}

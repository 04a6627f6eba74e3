//! `hallpass dev`, `demo` and `doctor`.

use super::{Dev, hallpass, run};
use crate::support::ports::free_ports;

#[test]
fn the_demo_sees_every_step_to_be_true() {
    let (code, out, err) = run(hallpass().arg("demo"));
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(out.matches("✓ ok").count(), 16, "{out}");
    assert!(!out.contains('✗'), "{out}");
}

#[test]
fn dev_refuses_an_address_that_others_can_reach() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:8600", "192.0.2.1:8600", "[::]:8600"] {
        let (code, _, err) = run(hallpass().args(["dev", "--listen", address]).current_dir(folder.path()));
        assert_eq!(code, 2, "{address}: {err}");
        assert!(err.contains("other machines") && err.contains("fix"), "{err}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn dev_says_when_a_port_is_taken() {
    let port = free_ports(3);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let (code, _, err) = run(hallpass().args(["dev", "--listen", &listen]).current_dir(folder.path()));
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&format!("127.0.0.1:{}", port + 1)) && err.contains("--listen"), "{err}");
}

#[test]
fn dev_keeps_what_was_edited_and_stops_cleanly() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dev");
    let port = free_ports(3);
    let mut first = Dev::start_in(&folder, port, &[], None);
    let (code, log) = first.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!folder.join("dev.json").exists(), "nobody may be called who is not there");
    let policy = folder.join("policies/operators.cedar");
    let edited = std::fs::read_to_string(&policy).unwrap() + "\n// mine\n";
    std::fs::write(&policy, &edited).unwrap();
    let kek = std::fs::read_to_string(folder.join("kek")).unwrap();
    let mut second = Dev::start_in(&folder, port, &[], None);
    assert_eq!(std::fs::read_to_string(&policy).unwrap(), edited);
    assert_eq!(std::fs::read_to_string(folder.join("kek")).unwrap(), kek);
    assert_eq!(second.stop().0, Some(0));
}

#[test]
fn serve_refuses_what_dev_made_and_doctor_finds_it_well() {
    let mut dev = Dev::start();
    let config = dev.folder.join("hallpass.toml");
    let with = |arguments: &[&str]| run(hallpass().arg("--config").arg(&config).args(arguments));
    let (code, out, err) = with(&["doctor"]);
    assert_eq!(code, 0, "{out}{err}");
    for what in ["clock", "key-encryption key", "database", "issuer dev-agents", "sign-in", "policy", "backend sandbox"]
    {
        assert!(out.contains(what), "{what}: {out}");
    }
    let (code, _, err) = with(&["serve"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("throw-away"), "{err}");
    dev.stop();
    let (code, out, err) = with(&["doctor"]);
    assert_eq!(code, 1, "the issuer is away now: {err}");
    assert!(out.contains("✗ FAIL  issuer dev-agents") && out.contains("fix:"), "{out}");
}

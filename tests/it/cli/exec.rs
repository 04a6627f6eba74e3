//! `hallpass exec`: the child's exit code is ours, its output has no secret, everything dies with it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::{Dev, hallpass, run, said, signal};
use crate::support::ports::free_ports;

fn read_as(dev: &Dev, options: &[&str], command: &[&str]) -> Command {
    let mut exec = dev.by("release-bot", &["exec", "--purpose", "read", "--scope", "sandbox:releases:read"]);
    exec.args(options).arg("--").args(command);
    exec
}

/// The only task of a fresh broker, as its audit tells it.
fn kinds(dev: &Dev) -> Vec<String> {
    let (code, out, err) = run(&mut dev.by("dev-approver", &["audit", "search", "--limit", "200", "-o", "jsonl"]));
    assert_eq!(code, 0, "{err}");
    let kind = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["event"]["kind"].as_str().unwrap().to_owned()
    };
    out.lines().map(kind).collect()
}

#[test]
fn the_childs_exit_code_is_ours_and_its_output_has_no_secret() {
    let dev = Dev::start();
    let script = r#"printf 'a%sb' "$SANDBOX_TOKEN"; printf 'c%sd' "$SANDBOX_TOKEN" >&2; exit 7"#;
    let (code, out, err) = run(&mut read_as(&dev, &[], &["sh", "-c", script]));
    assert_eq!((code, out.as_str(), err.as_str()), (7, "a[masked]b", "c[masked]d"));
    let (code, out, _) = run(&mut read_as(&dev, &["--no-masking"], &["sh", "-c", script]));
    assert_eq!(code, 7);
    assert!(out.len() > 20 && !out.contains("masked"), "without masking the child's output passes as it is: {out}");
    assert_eq!(run(&mut read_as(&dev, &[], &["sh", "-c", "kill -9 $$"])).0, 137);
    assert_eq!(run(&mut read_as(&dev, &[], &["/no/such/program"])).0, 127);
    let kinds = kinds(&dev);
    let count = |kind: &str| kinds.iter().filter(|seen| *seen == kind).count();
    assert_eq!(count("task.opened"), 4);
    assert_eq!((count("task.closed"), count("lease.ended")), (4, 4), "everything dies with the child: {kinds:?}");
}

#[test]
fn a_child_gets_its_credentials_in_a_private_file_that_goes_away() {
    let dev = Dev::start();
    let script = r#"stat -c %a "$HALLPASS_CREDENTIALS_FILE"; echo "$HALLPASS_CREDENTIALS_FILE"; cat "$HALLPASS_CREDENTIALS_FILE""#;
    let (code, out, err) = run(&mut read_as(&dev, &[], &["sh", "-c", script]));
    assert_eq!(code, 0, "{err}");
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("600"));
    assert!(!std::path::Path::new(lines.next().unwrap()).exists(), "it is gone afterwards");
    let file: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(file["credentials"][0]["values"]["token"], "[masked]");
}

#[test]
fn a_signal_reaches_the_child_and_the_task_still_ends() {
    let dev = Dev::start();
    let script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = read_as(&dev, &[], &["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(42));
    assert!(kinds(&dev).contains(&"task.closed".to_owned()));
}

#[test]
fn what_the_command_left_running_keeps_nothing_alive() {
    let dev = Dev::start();
    let (code, out, err) = run(&mut read_as(&dev, &[], &["sh", "-c", "sleep 600 & echo left $!; exit 3"]));
    assert_eq!(code, 3, "{err}");
    let left = out.trim().strip_prefix("left ").expect("what the command said comes whole").to_owned();
    assert!(kinds(&dev).contains(&"task.closed".to_owned()), "its access ended with the command");
    assert!(Command::new("kill").arg(left).status().unwrap().success(), "and it was still there");
}

#[test]
fn a_command_whose_output_nobody_reads_any_more_is_told_so() {
    let dev = Dev::start();
    let mut exec = read_as(&dev, &[], &["yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(exec.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "y\n");
    // The pipe is closed here; `yes` hears of it and ends, and so does its task.
    assert_ne!(exec.wait().unwrap().code(), Some(0));
    assert!(kinds(&dev).contains(&"task.closed".to_owned()));
}

#[test]
fn exec_waits_for_a_person_and_then_runs() {
    let dev = Dev::start();
    let mut exec = dev.by("release-bot", &["exec", "--purpose", "publish", "--scope", "sandbox:releases:write"]);
    let mut child =
        exec.args(["--", "sh", "-c", "echo ran"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting") && line.contains("1 of release-approvers"), "{line}");
    let (code, request, err) = run(&mut dev.by("dev-approver", &["inbox", "list", "-o", "name"]));
    assert_eq!(code, 0, "{err}");
    let request = request.trim().to_owned();
    let (code, out, err) = run(&mut dev.by("dev-approver", &["inbox", "approve", &request, "--reason", "checked"]));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("granted") && err.contains("release-bot wants to WRITE sandbox:releases"), "{out}{err}");
    let (code, out, _) = said(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (0, "ran\n"));
}

#[test]
fn apr_13_a_narrower_yes_from_the_command_line_is_what_is_minted() {
    let dev = Dev::start();
    let write = ["exec", "--purpose", "publish", "--scope", "sandbox:releases:write", "--no-wait", "--", "true"];
    assert_eq!(run(&mut dev.by("release-bot", &write)).0, 4);
    let (_, request, _) = run(&mut dev.by("dev-approver", &["inbox", "list", "-o", "name"]));
    let approve = ["inbox", "approve", request.trim()];
    for (more, says) in [
        (["--ttl", "2h"], "more than"),
        (["--drop", "sandbox:releases:read"], "is not a scope of this request"),
        (["--drop", "sandbox:releases:write"], "deny it instead"),
    ] {
        let (code, _, err) = run(dev.by("dev-approver", &approve).args(more));
        assert!(code == 2 && err.contains(says), "{more:?}: {code} {err}");
    }
    let (code, out, err) = run(dev.by("dev-approver", &approve).args(["--ttl", "1m"]));
    assert!(code == 0 && out.contains("granted"), "{out}{err}");
    let (_, shown, _) = run(&mut dev.by("dev-approver", &["inbox", "show", request.trim(), "-o", "json"]));
    assert!(shown.contains("\"ttl_seconds\": 60") || shown.contains("\"ttl_seconds\":60"), "{shown}");
}

#[test]
fn what_is_denied_pending_unknown_or_away_has_its_exit_code() {
    let dev = Dev::start();
    let write = ["exec", "--purpose", "publish", "--scope", "sandbox:releases:write"];
    let (code, _, err) = run(dev.by("triage-bot", &write).args(["--", "true"]));
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("error: ") && err.contains("fix ") && err.contains("request id"), "{err}");
    let (code, out, err) = run(dev.by("release-bot", &write).args(["--no-wait", "--", "echo", "ran"]));
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    let (code, _, err) = run(hallpass().args(["--server", &dev.url(), "whoami"]).env("HALLPASS_TOKEN", "a.b.c"));
    assert_eq!(code, 7, "{err}");
    assert!(!err.contains("a.b.c"), "{err}");
    let (code, _, err) = run(hallpass().args(["--server", &format!("http://127.0.0.1:{}", free_ports(1)), "whoami"]));
    assert_eq!(code, 6, "{err}");
    assert_eq!(run(hallpass().args(["exec", "--purpose", "x"])).0, 2);
    let (code, _, err) = run(&mut dev.by("nobody", &["whoami"]));
    assert_eq!(code, 7, "{err}");
    assert!(err.contains("release-bot"), "it says who there is: {err}");
}

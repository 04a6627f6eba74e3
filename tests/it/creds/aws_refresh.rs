//! What `hallpass exec` serves boto3 when keys end while the command runs: lives that no backend would give, so the broker is one of
//! recorded answers.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::recorded::{Recorded, SCOPE};
use super::{HALLPASS, boto, others, ran};

fn exec(broker: &Recorded, home: &Path, times: &str) -> Command {
    let mut exec = super::program(HALLPASS, home, &broker.server);
    others(&mut exec, home);
    exec.env("HALLPASS_TOKEN", "an-identity");
    exec.args(["exec", "--scope", SCOPE, "--purpose", "Read releases", "--"]).args(boto(times));
    exec
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(value: &Value) -> &str {
    value["access_key"].as_str().unwrap().strip_prefix("ASIAEXAMPLE").unwrap_or("of somebody else's")
}

#[tokio::test]
async fn keys_that_end_are_asked_for_again_and_masked_like_the_first() {
    let (broker, home) = (Recorded::start(&[0, 900]).await, tempfile::tempdir().unwrap());
    let (code, out, err) = ran(&mut exec(&broker, home.path(), "2")).await;
    assert_eq!(code, 0, "{err}");
    for keys in lines(&out) {
        assert_eq!(number(&keys), "2");
        assert_eq!((&keys["secret_key"], &keys["token"]), (&"[masked]".into(), &"[masked]".into()));
    }
    assert_eq!(broker.take_calls(), ["open", "requests", "complete"], "asked once, not for every call");
}

#[tokio::test]
async fn a_refusal_reaches_the_sdk_and_there_are_no_other_keys() {
    let (broker, home) = (Recorded::start(&[0]).await, tempfile::tempdir().unwrap());
    broker.deny();
    let (code, out, err) = ran(&mut exec(&broker, home.path(), "1")).await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("warning: no new AWS credentials: Policy permits none of it."), "{err}");
    assert!(err.contains("policy-denied") && !err.contains("AKIA"), "{err}");
    assert_eq!(
        broker.take_calls(),
        ["open", "requests", "complete"],
        "and whoever is told no is not asked again at once"
    );
}

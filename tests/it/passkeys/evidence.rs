//! Evidence: a real file, made with a foreign authenticator, is verified by the command line and by a script that shares no code with
//! it, and by neither once any part of it was changed, even where whoever changed it made the file whole again.

use std::path::Path;
use std::process::{Command, Output};

use hallpass::domain::{Approval, Person};
use hallpass::sys::{canonical_json, sha256};
use serde_json::{Value, json};

use super::world::{World, statement};
use crate::support::foreign::python;

/// A request with one signed verdict and one that is not, and the evidence as an auditor reads it.
async fn evidence(change: &Value) -> Value {
    let mut world = World::start().await;
    let ann = world.person("dev-approver");
    world.register(&ann, change).await;
    let (said, answer) = world.sign(&ann, &json!({})).await;
    let (request, ask) = world.pending().await;
    assert_eq!(said, statement(&ann, &request, &ask));
    let proof = world.broker().check_assertion(&ann, &said, &answer).await.unwrap();
    let signed = Approval {
        id: world.ids.approval(),
        request: said.request,
        person: ann.operator.person.clone(),
        in_place_of: None,
        groups: ann.operator.groups.clone(),
        verdict: said.verdict,
        narrow: None,
        request_digest: said.request_digest,
        bundle: None,
        plan: None,
        reason: said.reason.clone(),
        proof: Some(proof.json.clone()),
        thought_millis: None,
        at: hallpass::sys::Clock::now(&*world.harness.clock),
        seal: None,
    };
    world.harness.clock.advance_secs(1);
    let unsigned = Approval { id: world.ids.approval(), person: Person::new("bob"), proof: None, ..signed.clone() };
    let mut tx = world.store.begin("verdict");
    tx.insert_approval(&signed);
    tx.insert_approval(&unsigned);
    proof.record(&mut tx);
    tx.commit(world.fact()).await.unwrap();

    let path = format!("/v1/requests/{request}/evidence");
    let auditor = world.harness.person("auditor", &["hallpass-auditors"]);
    let evidence = world.harness.get(&path, &auditor).await.expect(200);
    assert_eq!(world.harness.get(&path, &world.harness.approver()).await.expect(200), evidence);
    assert_eq!(world.harness.get(&path, &world.harness.agent("release-bot")).await.status.as_u16(), 403);
    let registered: Value = serde_json::from_str(text(&evidence, "registration")).unwrap();
    assert_eq!(world.events("passkey.registered").await, [registered], "the audit has it, byte for byte");
    evidence
}

fn text<'a>(evidence: &'a Value, member: &str) -> &'a str {
    evidence["verdicts"][0]["proof"][member].as_str().unwrap()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn ours(file: &Path, more: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_hallpass")).args(["audit", "verify-approval"]).arg(file).args(more))
}

fn theirs(file: &Path, more: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify_approval.py");
    run(Command::new(python()).arg(script).arg(file).args(more))
}

/// Both verifiers' verdicts on some bytes.
fn verdicts(bytes: &[u8]) -> [(bool, String); 2] {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    [ours(file.path(), &[]), theirs(file.path(), &[])].map(|output| {
        let said = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(code <= 1, "{code}: {said}");
        assert!(!said.contains("Traceback") && !said.contains("panicked"), "{said}");
        (code == 0, said)
    })
}

/// The same with the digest of what it is now, as somebody who changes evidence would make it.
fn made_whole(evidence: &Value) -> Vec<u8> {
    let mut evidence = evidence.clone();
    evidence.as_object_mut().unwrap().remove("digest");
    evidence["digest"] = json!(sha256(canonical_json(&evidence).unwrap()).to_string());
    serde_json::to_vec_pretty(&evidence).unwrap()
}

#[tokio::test]
async fn evidence_is_verified_without_a_server_by_two_verifiers() {
    for alg in [-7, -8, -257] {
        let evidence = evidence(&json!({ "alg": alg })).await;
        for (verified, said) in verdicts(&made_whole(&evidence)) {
            assert!(verified, "{alg}: {said}");
            for part in [
                "approve of dev-approver",
                "release-bot asks for api:releases:write(prefix=v1)",
                "600 s",
                "sha256:",
                "evt_",
            ] {
                let said = said.replace('`', "");
                assert!(said.contains(part), "`{part}` is not in {said}");
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), evidence.to_string()).unwrap();
        assert!(ours(file.path(), &["--rp-id", "hallpass.test"]).status.success());
        assert!(!ours(file.path(), &["--rp-id", "evil.example"]).status.success());
        assert!(theirs(file.path(), &["hallpass.test"]).status.success());
        assert!(!theirs(file.path(), &["evil.example"]).status.success());
        let said = String::from_utf8(ours(file.path(), &[]).stdout).unwrap();
        assert!(said.contains("not signed: `approve` of bob"), "{said}");
    }
}

#[tokio::test]
async fn one_flipped_byte_in_any_part_is_found_by_both_though_the_file_was_made_whole_again() {
    let evidence = evidence(&json!({})).await;
    // Every text of the proof, and what the record says of the verdict.
    let mut parts: Vec<String> =
        ["person", "verdict", "reason", "request_digest"].map(|name| format!("/verdicts/0/{name}")).to_vec();
    let proof = evidence["verdicts"][0]["proof"].as_object().unwrap();
    parts.extend(
        proof.iter().filter(|(_, value)| value.is_string()).map(|(name, _)| format!("/verdicts/0/proof/{name}")),
    );
    parts.extend(["/verdicts/0/proof/shown/request", "/verdicts/0/proof/shown/effect", "/request"].map(str::to_owned));
    parts.push("/verdicts/0/proof/origins/0".to_owned());
    for part in &parts {
        let whole = evidence.pointer(part).unwrap().as_str().unwrap();
        for place in places(part, whole) {
            let mut changed = evidence.clone();
            let mut bytes = whole.as_bytes().to_vec();
            bytes[place] ^= 1;
            *changed.pointer_mut(part).unwrap() = json!(String::from_utf8_lossy(&bytes));
            for (verified, said) in verdicts(&made_whole(&changed)) {
                assert!(!verified, "{part}, byte {place}: {said}");
                assert!(said.contains("not verified"), "{said}");
            }
        }
    }
    for part in ["/v", "/verdicts/0/proof/v"] {
        let mut changed = evidence.clone();
        *changed.pointer_mut(part).unwrap() = json!(2);
        assert!(verdicts(&made_whole(&changed)).iter().all(|(verified, _)| !verified), "{part}");
    }
}

/// The bytes to flip: three of each part. Of the registration those that tie it to the key and the person; what else it says, the
/// audit vouches for.
fn places(part: &str, whole: &str) -> Vec<usize> {
    if part.ends_with("registration") {
        let inside = |needle: &str| whole.find(needle).unwrap() + needle.len() + 3;
        return vec![
            inside("\"key\":\"sha256:"),
            inside("\"credential\":\"sha256:"),
            inside("\"name\":\""),
            inside("\"kind\":\"passkey"),
        ];
    }
    vec![0, whole.len() / 2, whole.len() - 1]
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_proves_nothing_is_refused_by_both() {
    let evidence = evidence(&json!({})).await;
    let text = evidence.to_string();
    // A byte anywhere, in places spread over the file, without making it whole again.
    for place in (0..text.len()).step_by(97) {
        let mut bytes = text.clone().into_bytes();
        bytes[place] ^= 1;
        for (verified, said) in verdicts(&bytes) {
            assert!(!verified, "byte {place}: {said}");
        }
    }
    let mut unsigned = evidence.clone();
    unsigned["verdicts"][0].as_object_mut().unwrap().remove("proof");
    let mut none = evidence.clone();
    none["verdicts"] = json!([]);
    let mut other_key = evidence.clone();
    let other = self::evidence(&json!({})).await;
    for member in ["cose_key", "credential", "registration"] {
        other_key["verdicts"][0]["proof"][member] = other["verdicts"][0]["proof"][member].clone();
    }
    for (changed, why) in [(unsigned, "nothing is proven"), (none, "nothing is proven"), (other_key, "does not hold")] {
        for (verified, said) in verdicts(&made_whole(&changed)) {
            assert!(!verified && said.contains(why), "{said}");
        }
    }
    for nonsense in [&b""[..], b"{}", b"[]", b"\xff", b"{\"v\":1,\"v\":1}"] {
        assert!(verdicts(nonsense).iter().all(|(verified, _)| !verified), "{nonsense:?}");
    }
}

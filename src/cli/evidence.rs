//! `hallpass audit verify-approval FILE`: check what passkeys signed, without a server and without trusting one. Whoever reads the answer
//! learns what is proven, and what only the audit vouches for.

use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use crate::api::{Evidence, EvidenceVerdict, Proof};
use crate::domain::Backup;
use crate::identity::webauthn::{AssertionResponse, KnownCredential, RelyingParty, verify_assertion};
use crate::sys::{canonical_json, parse_object, sha256};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Deepest nesting of a file, and of the documents in it.
const MAX_DEPTH: usize = 16;

/// Why evidence proves nothing, or something else than it says.
type Flaw = String;

/// Check a file of evidence; what it proves, in lines for people.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn verify_file(file: &Path, rp_id: Option<&str>) -> Result<Vec<String>, Flaw> {
    let size = std::fs::metadata(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("{} has {size} bytes, more than any evidence", file.display()));
    }
    let bytes = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let mut document = parse_object(&bytes, MAX_DEPTH).map_err(|error| format!("the file is {error}"))?;
    let evidence: Evidence = serde_json::from_value(Value::Object(document.clone()))
        .map_err(|error| format!("the file is no evidence of version 1: {error}"))?;
    document.remove("digest");
    let whole = canonical_json(&document).map(sha256).map_err(|error| error.to_string())?;
    if whole.to_string() != evidence.digest || evidence.v != 1 {
        return Err("the file is not whole: its digest is that of another one".to_owned());
    }
    let mut lines = Vec::new();
    let mut signed = 0_u32;
    for verdict in &evidence.verdicts {
        match &verdict.proof {
            Some(proof) => {
                let about = |flaw| format!("verdict {}: {flaw}", verdict.approval);
                lines.extend(check(&evidence, verdict, proof, rp_id).map_err(about)?);
                signed = signed.saturating_add(1);
            }
            None => lines.push(format!(
                "not signed: `{}` of {} ({}); only the audit vouches for it",
                verdict.verdict, verdict.person, verdict.approval
            )),
        }
    }
    if signed == 0 {
        return Err(format!("no verdict on {} was signed by a passkey, so nothing is proven", evidence.request));
    }
    Ok(lines)
}

/// Check one proof against itself and against what is said of the verdict.
fn check(
    evidence: &Evidence,
    verdict: &EvidenceVerdict,
    proof: &Proof,
    rp_id: Option<&str>,
) -> Result<Vec<String>, Flaw> {
    if proof.v != 1 {
        return Err("its proof is of a version that is not known here".to_owned());
    }
    let shown = object("what was shown", &proof.shown.request)?;
    let statement = object("the statement", &proof.statement)?;
    let registration = object("the registration", &proof.registration)?;
    // What was shown has the digest that was signed, and the effect the digest that was shown.
    equal("what was shown", &sha256(&proof.shown.request).to_string(), text(&statement, "request_digest"))?;
    equal("the effect", &sha256(&proof.shown.effect).to_string(), text(&shown, "plan"))?;
    // The record says what was signed.
    equal("the request", &evidence.request, text(&statement, "request"))?;
    equal("the person", &verdict.person, text(&statement, "person"))?;
    equal("the verdict", &verdict.verdict, text(&statement, "verdict"))?;
    equal("the digest of the record", &verdict.request_digest, text(&statement, "request_digest"))?;
    equal("the reason", verdict.reason.as_deref().unwrap_or_default(), text(&statement, "reason"))?;
    // The key is the one that was registered, by that person.
    let (key, credential) = (bytes("the key", &proof.cose_key)?, bytes("the credential", &proof.credential)?);
    let data = registration.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
    let actor = registration.get("actor").and_then(Value::as_object).cloned().unwrap_or_default();
    equal("the registration", "passkey.registered", text(&registration, "kind"))?;
    equal("the key", &sha256(&key).to_string(), text(&data, "key"))?;
    equal("the credential", &sha256(&credential).to_string(), text(&data, "credential"))?;
    equal("who registered it", &verdict.person, text(&actor, "name"))?;
    // The signature: for this relying party, at one of its pages, with the person verified.
    if let Some(expected) = rp_id {
        equal("whom the passkey signs for", expected, &proof.rp_id)?;
    }
    let party = RelyingParty::new(&proof.rp_id, &proof.origins).map_err(|error| error.to_string())?;
    let challenge = sha256([&*bytes("the nonce", &proof.nonce)?, proof.statement.as_bytes()].concat());
    let (client_data, auth_data) =
        (bytes("client_data", &proof.client_data)?, bytes("authenticator_data", &proof.authenticator_data)?);
    let signature = bytes("the signature", &proof.signature)?;
    let backup: Backup = text(&data, "backup").parse().map_err(|_| "the registration is not readable".to_owned())?;
    // How often the key had signed before is the broker's to know; here any count will do.
    let known = KnownCredential { cose_key: &key, sign_count: 0, backup };
    let response = AssertionResponse { client_data: &client_data, auth_data: &auth_data, signature: &signature };
    verify_assertion(&party, challenge.as_bytes(), &known, &response)
        .map_err(|fault| format!("the passkey's signature does not hold: {fault}"))?;
    Ok(say(evidence, verdict, proof, &shown, (&registration, &data), &key))
}

fn say(
    evidence: &Evidence,
    verdict: &EvidenceVerdict,
    proof: &Proof,
    shown: &Map<String, Value>,
    (registration, data): (&Map<String, Value>, &Map<String, Value>),
    key: &[u8],
) -> Vec<String> {
    let scopes = shown.get("scopes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let scopes: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
    vec![
        format!(
            "signed: `{}` of {} on {}, recorded at {}",
            verdict.verdict, verdict.person, evidence.request, verdict.at
        ),
        format!(
            "  shown: {} asks for {} for {} s, task {}",
            text(shown, "agent"),
            scopes.join(" and "),
            shown.get("ttl_seconds").unwrap_or(&Value::Null),
            text(shown, "task")
        ),
        format!("  effect {}, under policy bundle {}", text(shown, "plan"), text(shown, "bundle")),
        format!(
            "  key: {} ({}), signing for {} with its person verified; {}",
            text(data, "name"),
            text(data, "passkey"),
            proof.rp_id,
            sha256(key)
        ),
        format!(
            "  registered at {} in event {}: see that the audit has it",
            text(registration, "at"),
            text(registration, "id")
        ),
    ]
}

fn object(what: &str, json: &str) -> Result<Map<String, Value>, Flaw> {
    parse_object(json.as_bytes(), MAX_DEPTH).map_err(|error| format!("{what} is {error}"))
}

/// A text member; empty when there is none.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> &'a str {
    members.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn bytes(what: &str, text: &str) -> Result<Vec<u8>, Flaw> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| format!("{what} is not base64url"))
}

fn equal(what: &str, one: &str, other: &str) -> Result<(), Flaw> {
    if one == other { Ok(()) } else { Err(format!("{what} does not fit the rest: `{one}` against `{other}`")) }
}

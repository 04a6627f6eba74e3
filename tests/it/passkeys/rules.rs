//! The rules of WebAuthn, tried with a foreign authenticator: what it makes and signs is taken, by us and by a second relying party;
//! each change of it is refused, for its own reason.

use hallpass::domain::{Backup, PasskeyFault};
use hallpass::identity::webauthn::{
    AssertionResponse, KnownCredential, NewCredential, RegistrationResponse, RelyingParty, verify_assertion,
    verify_registration,
};
use serde_json::{Value, json};

use super::authenticator::{Authenticator, BE, BS, ORIGIN, RP_ID, UP, UV, b64, bytes};

const CHALLENGE: &[u8; 32] = b"a challenge of thirty-two bytes.";
const AT: u8 = 64;

fn party() -> RelyingParty {
    RelyingParty::new(RP_ID, &[ORIGIN.to_owned()]).unwrap()
}

fn creation() -> Value {
    json!({ "rp": { "id": RP_ID }, "challenge": b64(CHALLENGE), "authenticatorSelection": { "userVerification": "required" },
        "pubKeyCredParams": [{ "alg": -8 }, { "alg": -7 }, { "alg": -257 }] })
}

fn request(credential: &[u8]) -> Value {
    json!({ "rpId": RP_ID, "challenge": b64(CHALLENGE), "userVerification": "required",
        "allowCredentials": [{ "id": b64(credential) }] })
}

fn register(made: &Value) -> Result<NewCredential, PasskeyFault> {
    let (client_data, object) = (bytes(made, "client_data"), bytes(made, "attestation_object"));
    let response = RegistrationResponse { client_data: &client_data, attestation_object: &object };
    verify_registration(&party(), CHALLENGE, &response)
}

/// A credential, and what it signs.
struct Signed {
    made: NewCredential,
    client_data: Vec<u8>,
    auth_data: Vec<u8>,
    signature: Vec<u8>,
    raw: Value,
}

fn signed(authenticator: &mut Authenticator, create: &Value, get: &Value) -> Signed {
    let made = register(&authenticator.create(&creation(), create)).unwrap();
    let raw = authenticator.get(&request(&made.id), get);
    Signed {
        client_data: bytes(&raw, "client_data"),
        auth_data: bytes(&raw, "authenticator_data"),
        signature: bytes(&raw, "signature"),
        made,
        raw,
    }
}

fn verify(signed: &Signed) -> Result<(), PasskeyFault> {
    verify_against(signed, CHALLENGE, signed.made.sign_count)
}

fn verify_against(signed: &Signed, challenge: &[u8], sign_count: u32) -> Result<(), PasskeyFault> {
    let known = KnownCredential { cose_key: &signed.made.cose_key, sign_count, backup: signed.made.backup };
    let response = AssertionResponse {
        client_data: &signed.client_data,
        auth_data: &signed.auth_data,
        signature: &signed.signature,
    };
    verify_assertion(&party(), challenge, &known, &response).map(drop)
}

#[test]
fn what_an_authenticator_makes_and_signs_is_taken_by_us_and_by_a_second_relying_party() {
    let mut authenticator = Authenticator::start();
    for alg in [-7, -8, -257] {
        for attest in ["none", "packed"] {
            let object = authenticator.create(&creation(), &json!({ "alg": alg, "attest": attest }));
            let made = register(&object).unwrap();
            assert_eq!(made.backup, Backup::SingleDevice);
            let common = json!({ "do": "check_create", "rp_id": RP_ID, "origin": ORIGIN, "challenge": b64(CHALLENGE) });
            let mut case = common.clone();
            case["object"] = object.clone();
            let second = authenticator.ask(&case);
            assert_eq!(second, json!({ "credential": b64(&made.id), "cose_key": b64(&made.cose_key) }), "{alg}");

            let raw = authenticator.get(&request(&made.id), &json!({}));
            case["do"] = json!("check_get");
            case["response"] = raw.clone();
            assert_eq!(authenticator.ask(&case), json!({ "ok": true }), "{alg}");
            let signed = Signed {
                client_data: bytes(&raw, "client_data"),
                auth_data: bytes(&raw, "authenticator_data"),
                signature: bytes(&raw, "signature"),
                made,
                raw,
            };
            assert_eq!(verify(&signed), Ok(()), "{alg} {attest}");
        }
    }
}

#[test]
fn every_flipped_bit_of_what_was_signed_is_refused() {
    let mut authenticator = Authenticator::start();
    for alg in [-7, -8, -257] {
        let mut signed = signed(&mut authenticator, &json!({ "alg": alg }), &json!({}));
        for part in 0..4 {
            let length = part_of(&mut signed, part).len();
            for place in 0..length {
                for bit in 0..8 {
                    part_of(&mut signed, part)[place] ^= 1 << bit;
                    assert!(verify(&signed).is_err(), "{alg}: part {part}, byte {place}, bit {bit}");
                    part_of(&mut signed, part)[place] ^= 1 << bit;
                }
            }
        }
        assert_eq!(verify(&signed), Ok(()));
    }
}

fn part_of(signed: &mut Signed, part: usize) -> &mut Vec<u8> {
    match part {
        0 => &mut signed.client_data,
        1 => &mut signed.auth_data,
        2 => &mut signed.signature,
        _ => &mut signed.made.cose_key,
    }
}

#[test]
fn every_part_cut_short_or_made_longer_is_refused() {
    let mut authenticator = Authenticator::start();
    let mut signed = signed(&mut authenticator, &json!({}), &json!({}));
    for part in 0..4 {
        let whole = part_of(&mut signed, part).clone();
        for length in 0..whole.len() {
            *part_of(&mut signed, part) = whole[..length].to_vec();
            assert!(verify(&signed).is_err(), "part {part} cut to {length}");
        }
        for more in [&[0_u8][..], &[0; 8192]] {
            *part_of(&mut signed, part) = [&whole, more].concat();
            assert!(verify(&signed).is_err(), "part {part} with {} more", more.len());
        }
        *part_of(&mut signed, part) = whole;
    }
    let object = authenticator.create(&creation(), &json!({}));
    let whole = bytes(&object, "attestation_object");
    for length in 0..whole.len() {
        let mut cut = object.clone();
        cut["attestation_object"] = json!(b64(&whole[..length]));
        assert!(register(&cut).is_err(), "cut to {length}");
    }
}

/// What is signed honestly but says the wrong thing: the change, and why it is refused.
fn wrong_assertions() -> Vec<(Value, PasskeyFault)> {
    use PasskeyFault as F;
    let tweak = |tweak: Value| json!({ "tweak": tweak });
    vec![
        (json!({ "origin": "https://hallpass.test.evil.example" }), F::WrongOrigin),
        (json!({ "origin": "http://hallpass.test" }), F::WrongOrigin),
        (json!({ "origin": "https://hallpass.test:444" }), F::WrongOrigin),
        (json!({ "origin": "https://HALLPASS.test" }), F::WrongOrigin),
        (json!({ "origin": "https://hallpass.test/" }), F::WrongOrigin),
        (tweak(json!({ "client": { "origin": null } })), F::Malformed),
        (tweak(json!({ "rp_id": "hallpass.example" })), F::OtherRelyingParty),
        (tweak(json!({ "rp_id": "test" })), F::OtherRelyingParty),
        (tweak(json!({ "flags": UP })), F::NotVerified),
        (tweak(json!({ "flags": UV })), F::NotPresent),
        (tweak(json!({ "flags": 0 })), F::NotPresent),
        (tweak(json!({ "flags": UP | UV | BS })), F::BackupChanged),
        (tweak(json!({ "flags": UP | UV | BE })), F::BackupChanged),
        (tweak(json!({ "flags": UP | UV | BE | BS })), F::BackupChanged),
        (tweak(json!({ "flags": UP | UV | AT })), F::Malformed),
        (tweak(json!({ "flags": UP | UV | 128 })), F::Malformed),
        (tweak(json!({ "challenge": b64(b"another challenge of 32 bytes...") })), F::OtherChallenge),
        (tweak(json!({ "challenge": format!("{}=", b64(CHALLENGE)) })), F::OtherChallenge),
        (tweak(json!({ "client": { "type": "webauthn.create" } })), F::WrongType),
        (tweak(json!({ "client": { "type": "payment.get" } })), F::WrongType),
        (tweak(json!({ "client": { "crossOrigin": true } })), F::CrossOrigin),
        (tweak(json!({ "client": { "crossOrigin": "false" } })), F::Malformed),
        (tweak(json!({ "client": { "topOrigin": "https://hallpass.test" } })), F::CrossOrigin),
        (tweak(json!({ "client": { "challenge": null } })), F::Malformed),
        (tweak(json!({ "client": { "type": null } })), F::Malformed),
        (tweak(json!({ "client": { "padding": "x".repeat(5000) } })), F::Malformed),
    ]
}

#[test]
fn what_is_signed_but_says_the_wrong_thing_is_refused_for_its_own_reason() {
    let mut authenticator = Authenticator::start();
    let signed_once = signed(&mut authenticator, &json!({}), &json!({}));
    for (change, fault) in wrong_assertions() {
        let raw = authenticator.get(&request(&signed_once.made.id), &change);
        let wrong = Signed {
            client_data: bytes(&raw, "client_data"),
            auth_data: bytes(&raw, "authenticator_data"),
            signature: bytes(&raw, "signature"),
            made: signed_once.made.clone(),
            raw,
        };
        assert_eq!(verify(&wrong), Err(fault), "{change}");
    }
}

#[test]
fn members_and_extensions_nobody_asked_for_are_passed_over() {
    let mut authenticator = Authenticator::start();
    for change in [
        json!({ "tweak": { "client": { "crossOrigin": null } } }),
        json!({ "tweak": { "client": { "other_keys_can_be_added_here": "do not compare clientDataJSON" } } }),
        json!({ "tweak": { "extensions": { "uvm": [[2, 4, 2]] } } }),
        json!({ "tweak": { "flags": UP | UV | 2 } }),
    ] {
        let signed = signed(&mut authenticator, &json!({}), &change);
        assert_eq!(verify(&signed), Ok(()), "{change}");
    }
    let made = authenticator.create(&creation(), &json!({ "tweak": { "extensions": { "credProtect": 3 } } }));
    assert!(register(&made).is_ok());
}

#[test]
fn a_count_that_does_not_grow_is_refused_and_none_at_all_is_not() {
    let mut authenticator = Authenticator::start();
    let counted = signed(&mut authenticator, &json!({}), &json!({ "tweak": { "count": 7 } }));
    for (before, verdict) in [
        (0, Ok(())),
        (6, Ok(())),
        (7, Err(PasskeyFault::CountWentBack)),
        (8, Err(PasskeyFault::CountWentBack)),
        (u32::MAX, Err(PasskeyFault::CountWentBack)),
    ] {
        assert_eq!(verify_against(&counted, CHALLENGE, before), verdict, "{before}");
    }
    let uncounted = signed(&mut authenticator, &json!({}), &json!({ "tweak": { "count": 0 } }));
    assert_eq!(verify_against(&uncounted, CHALLENGE, 0), Ok(()));
    assert_eq!(verify_against(&uncounted, CHALLENGE, 1), Err(PasskeyFault::CountWentBack));
}

#[test]
fn another_key_and_another_challenge_do_not_fit() {
    let mut authenticator = Authenticator::start();
    let mut one = signed(&mut authenticator, &json!({}), &json!({}));
    let other = signed(&mut authenticator, &json!({}), &json!({}));
    assert_eq!(verify_against(&one, b"", 0), Err(PasskeyFault::OtherChallenge));
    assert_ne!(one.raw["credential"], other.raw["credential"]);
    one.made.cose_key = other.made.cose_key;
    assert_eq!(verify(&one), Err(PasskeyFault::BadSignature));
}

#[test]
fn a_registration_that_breaks_a_rule_is_refused() {
    use PasskeyFault as F;
    let mut authenticator = Authenticator::start();
    let tweak = |tweak: Value| json!({ "tweak": tweak });
    for (change, fault) in [
        (json!({ "attest": "x5c" }), F::AttestationRefused),
        (json!({ "origin": "https://evil.example" }), F::WrongOrigin),
        (tweak(json!({ "rp_id": "evil.example" })), F::OtherRelyingParty),
        (tweak(json!({ "flags": UP | AT })), F::NotVerified),
        (tweak(json!({ "flags": UV | AT })), F::NotPresent),
        (tweak(json!({ "flags": UP | UV })), F::Malformed),
        (tweak(json!({ "flags": UP | UV | AT | BS })), F::BackupChanged),
        (tweak(json!({ "client": { "type": "webauthn.get" } })), F::WrongType),
        (tweak(json!({ "client": { "crossOrigin": true } })), F::CrossOrigin),
        (tweak(json!({ "client": { "topOrigin": "https://evil.example" } })), F::CrossOrigin),
        (tweak(json!({ "challenge": b64(b"another") })), F::OtherChallenge),
        (json!({ "id": b64(&[7; 1024]) }), F::Malformed),
        (json!({ "id": "" }), F::Malformed),
    ] {
        let made = authenticator.create(&creation(), &change);
        assert_eq!(register(&made), Err(fault), "{change}");
    }
    assert!(register(&authenticator.create(&creation(), &json!({ "id": b64(&[7; 1023]) }))).is_ok());
    for (backup, known) in [(BE, Backup::Eligible), (BE | BS, Backup::BackedUp)] {
        let made = authenticator.create(&creation(), &json!({ "backup": backup }));
        assert_eq!(register(&made).unwrap().backup, known);
    }
}

#[test]
fn every_flipped_bit_of_a_self_attested_registration_is_refused_but_for_what_no_signature_covers() {
    let mut authenticator = Authenticator::start();
    let made = authenticator.create(&creation(), &json!({ "alg": -8, "attest": "packed" }));
    for part in ["client_data", "attestation_object"] {
        let whole = bytes(&made, part);
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[place] ^= 1 << bit;
                let mut changed = made.clone();
                changed[part] = json!(b64(&flipped));
                assert!(register(&changed).is_err(), "{part}, byte {place}, bit {bit}");
            }
        }
    }
}

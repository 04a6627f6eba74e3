//! Signing keys: sealed they give nothing away, open they sign what others verify, and rotation never leaves a gap.

use std::os::unix::fs::PermissionsExt as _;

use josekit::jwk::Jwk;
use josekit::jws::alg::eddsa::EddsaJwsAlgorithm;
use josekit::jws::{ES256, JwsVerifier};
use proptest::prelude::*;

use super::*;
use crate::domain::{Timestamp, Ttl};
use crate::sys::{SecretString, SeededEntropy};

const T0: Timestamp = Timestamp::from_secs(1_790_000_000);
const DAY: i64 = 86_400;

fn at(secs: i64) -> Timestamp {
    T0.plus_millis(secs * 1000)
}

fn kek(fill: u8) -> Kek {
    Kek::from_base64(&SecretString::from(data_encoding::BASE64.encode(&[fill; 32]))).unwrap()
}

fn times() -> KeyTimes {
    KeyTimes { created_at: T0, activates_at: at(60), signs_until: at(120), retires_at: at(180) }
}

fn key(algorithm: KeyAlgorithm) -> SigningKey {
    SigningKey::generate(algorithm, times(), &SeededEntropy::new(1)).unwrap()
}

fn settings() -> RotationSettings {
    RotationSettings::new(RotationSettings::ROTATE_AFTER_SECS, 3600, Ttl::EIGHT_HOURS).unwrap()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn what_josekit_verifies_is_what_we_signed() {
    for algorithm in KeyAlgorithm::ALL {
        let key = key(*algorithm);
        let signature = key.sign(b"message").unwrap();
        let mut jwk = key.public_jwk();
        // josekit knows only the older name of Ed25519.
        jwk.as_object_mut().unwrap().remove("alg");
        let jwk = Jwk::from_bytes(jwk.to_string()).unwrap();
        let verifier: Box<dyn JwsVerifier> = match algorithm {
            KeyAlgorithm::Es256 => Box::new(ES256.verifier_from_jwk(&jwk).unwrap()),
            KeyAlgorithm::Ed25519 => Box::new(EddsaJwsAlgorithm::Eddsa.verifier_from_jwk(&jwk).unwrap()),
        };
        verifier.verify(b"message", &signature).unwrap();
        assert!(verifier.verify(b"massage", &signature).is_err());
        assert!(key.verify(b"message", &signature));
        assert!(!key.verify(b"massage", &signature));
    }
}

#[test]
fn a_sealed_key_comes_back_with_its_life_and_signs_for_the_same_public_key() {
    for algorithm in KeyAlgorithm::ALL {
        let key = key(*algorithm);
        let sealed = key.seal(&kek(7), &SeededEntropy::new(2)).unwrap();
        let back = SigningKey::unseal(&key.kid, *algorithm, &sealed, &kek(7)).unwrap();
        assert_eq!(*back, *key);
        assert_eq!(back.public_jwk(), key.public_jwk());
        assert!(key.verify(b"message", &back.sign(b"message").unwrap()));
    }
}

#[test]
fn sec_06_sealed_bytes_hold_no_private_part_and_no_two_sealings_are_alike() {
    let key = key(KeyAlgorithm::Es256);
    let entropy = SeededEntropy::new(2);
    let kek = kek(7);
    let sealed = key.seal(&kek, &entropy).unwrap();
    let plain = kek.unseal(&format!("signing key\0ES256\0{}", key.kid), &sealed).unwrap();
    // RFC 5915: the private scalar follows the octet string header 04 20 in the PKCS#8 document.
    let start = plain.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
    let private = &plain[start..start + 32];
    assert!(!contains(&sealed, private));
    assert!(!contains(&sealed, &private[..8]));
    assert_ne!(sealed, key.seal(&kek, &entropy).unwrap());
    let public = key.public_jwk();
    let members: std::collections::BTreeSet<_> = public.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members.into_iter().collect::<Vec<_>>(), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    let encoded = data_encoding::BASE64URL_NOPAD.encode(private);
    assert!(!format!("{key:?} {kek:?} {public}").contains(&encoded));
    assert!(!format!("{key:?} {kek:?}").contains("[7, 7"));
}

#[test]
fn sec_06_a_wrong_key_encryption_key_is_named_as_such() {
    let key = key(KeyAlgorithm::Es256);
    let sealed = key.seal(&kek(7), &SeededEntropy::new(2)).unwrap();
    match SigningKey::unseal(&key.kid, key.algorithm, &sealed, &kek(8)) {
        Err(KeyError::WrongKek { sealed_with, given }) => {
            assert_eq!((sealed_with, given), (kek(7).check_value(), kek(8).check_value()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn sec_06_any_flipped_bit_and_any_cut_is_found() {
    let key = key(KeyAlgorithm::Ed25519);
    let sealed = key.seal(&kek(7), &SeededEntropy::new(2)).unwrap();
    for place in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[place] ^= 1 << bit;
            assert!(SigningKey::unseal(&key.kid, key.algorithm, &changed, &kek(7)).is_err(), "byte {place} bit {bit}");
        }
        assert!(SigningKey::unseal(&key.kid, key.algorithm, &sealed[..place], &kek(7)).is_err(), "cut at {place}");
    }
}

#[test]
fn a_sealed_key_cannot_take_the_name_or_the_algorithm_of_another() {
    let key = key(KeyAlgorithm::Es256);
    let sealed = key.seal(&kek(7), &SeededEntropy::new(2)).unwrap();
    for (kid, algorithm) in [("other", KeyAlgorithm::Es256), (key.kid.as_str(), KeyAlgorithm::Ed25519)] {
        let refused = SigningKey::unseal(kid, algorithm, &sealed, &kek(7));
        assert!(matches!(refused, Err(KeyError::Corrupt { .. })), "{refused:?}");
    }
}

#[test]
fn sec_06_a_key_file_is_made_for_its_owner_alone_and_refused_when_others_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kek");
    let made = Kek::generate_file(&path, &SeededEntropy::new(3)).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(Kek::from_file(&path).unwrap().check_value(), made.check_value());
    assert!(matches!(Kek::generate_file(&path, &SeededEntropy::new(4)), Err(KeyError::Unavailable { .. })));
    for loose in [0o640, 0o604, 0o660, 0o610, 0o777] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(loose)).unwrap();
        let error = Kek::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
    assert!(matches!(Kek::from_file(&dir.path().join("none")), Err(KeyError::Unavailable { .. })));
    assert!(matches!(Kek::from_file(dir.path()), Err(KeyError::Refused(_))));
}

#[test]
fn what_is_not_32_bytes_in_base64_is_no_key_encryption_key() {
    for text in
        ["", "AAAA", "not base64", &data_encoding::BASE64.encode(&[1; 31]), &data_encoding::BASE64.encode(&[1; 33])]
    {
        let error = Kek::from_base64(&SecretString::from(text)).unwrap_err().to_string();
        assert!(error.contains("openssl rand -base64 32"), "{error}");
        assert!(text.is_empty() || !error.contains(text));
    }
    let padded = SecretString::from(format!(" {}\n", data_encoding::BASE64.encode(&[7; 32])));
    assert_eq!(Kek::from_base64(&padded).unwrap().check_value(), kek(7).check_value());
}

#[test]
fn the_jwk_set_has_keys_before_they_sign_and_until_they_retire() {
    let ring = KeyRing::new(vec![key(KeyAlgorithm::Es256)]);
    let count = |secs| {
        let set: serde_json::Value = serde_json::from_str(&ring.jwks(at(secs))).unwrap();
        set["keys"].as_array().unwrap().len()
    };
    assert_eq!([count(-1), count(0), count(60), count(179), count(180)], [0, 1, 1, 1, 0]);
    let signs = |secs| ring.signing_key(KeyAlgorithm::Es256, at(secs)).is_some();
    assert_eq!([signs(59), signs(60), signs(119), signs(120)], [false, true, true, false]);
    assert!(ring.signing_key(KeyAlgorithm::Ed25519, at(60)).is_none());
    let kid = &ring.keys()[0].kid;
    assert!(ring.find(kid, at(179)).is_some() && ring.find(kid, at(180)).is_none() && ring.find("x", at(60)).is_none());
}

#[test]
fn the_first_key_signs_at_once() {
    let todo = rotation(&[], KeyAlgorithm::ALL, T0, &settings());
    assert_eq!(todo.create.len(), 2);
    assert!(todo.create.iter().all(|(_, times)| times.created_at == T0 && times.activates_at == T0));
}

#[test]
fn keys_that_would_be_replaced_before_they_are_known_are_refused() {
    assert!(RotationSettings::new(3600, 3600, Ttl::TEN_MINUTES).is_err());
}

fn turn(keys: &mut Vec<KeyLife>, now: Timestamp, settings: &RotationSettings) -> Rotation {
    let todo = rotation(keys, &[KeyAlgorithm::Es256], now, settings);
    keys.retain(|key| !todo.retire.contains(&key.kid));
    for (algorithm, times) in &todo.create {
        let kid = format!("{}-{}", now.as_millis(), keys.len());
        keys.push(KeyLife { kid, algorithm: *algorithm, times: *times });
    }
    todo
}

proptest! {
    #[test]
    fn jwt_04_whatever_the_sweeps_a_new_key_is_known_before_it_signs_and_an_old_one_until_its_tokens_end(
        pauses in proptest::collection::vec(60_i64..20 * 3600, 50..300),
        max_age in 60_u32..7200,
        ttl in 1_i64..=DAY,
    ) {
        let ttl_life = Ttl::from_secs(ttl).unwrap();
        let settings = RotationSettings::new(10 * 86_400, max_age, ttl_life).unwrap();
        let (mut keys, mut now) = (Vec::new(), T0);
        let first = turn(&mut keys, now, &settings).create;
        prop_assert_eq!(first.len(), 1);
        for pause in pauses {
            now = now.plus_millis(pause * 1000);
            let active = keys.iter().filter(|key| key.may_sign(now)).max_by_key(|key| key.times.activates_at).cloned();
            // Never a gap as long as the sweep comes at least daily.
            let active = active.expect("a key that signs");
            // Known for a cache's life before its first use, but for the very first.
            let known = active.times.activates_at.millis_since(active.times.created_at);
            prop_assert!(active.times.created_at == T0 || known >= i64::from(max_age) * 1000);
            // A token it signs now is verified until its end.
            prop_assert!(active.is_published(now.plus(ttl_life)));
            let todo = turn(&mut keys, now, &settings);
            prop_assert!(todo.create.len() <= 1);
            prop_assert_eq!(&todo.active, &vec![active.kid]);
            prop_assert!(keys.len() <= 3, "{:?}", keys);
        }
    }
}

#[test]
fn jwt_04_after_a_long_standstill_a_key_signs_at_once_and_the_old_one_is_deleted() {
    let settings = settings();
    let mut keys = Vec::new();
    turn(&mut keys, T0, &settings);
    let later = at(90 * DAY);
    let todo = turn(&mut keys, later, &settings);
    assert_eq!((todo.create.len(), todo.retire.len(), todo.active.len()), (1, 1, 0));
    assert!(keys.len() == 1 && keys[0].may_sign(later));
}

#[test]
fn a_life_out_of_order_is_refused() {
    let wrong = KeyTimes { activates_at: at(-1), ..times() };
    assert!(SigningKey::generate(KeyAlgorithm::Es256, wrong, &SeededEntropy::new(1)).is_err());
}

#[test]
fn a_mac_fits_one_text_one_label_and_one_key() {
    let mac = kek(1).mac("approval", "yes").unwrap();
    assert_eq!(mac.len(), 64);
    assert!(kek(1).is_mac("approval", "yes", &mac));
    let upper = mac.to_uppercase();
    for (key, label, text, mac) in [
        (1, "grant", "yes", mac.as_str()),
        (1, "approval", "yes ", &mac),
        (2, "approval", "yes", &mac),
        (1, "approval", "yes", ""),
        (1, "approval", "yes", mac.get(..62).unwrap()),
        (1, "approval", "yes", &upper),
    ] {
        assert!(!kek(key).is_mac(label, text, mac), "{key} {label} {text} {mac}");
    }
}

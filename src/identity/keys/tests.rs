//! Key sets and signatures against vectors that others made: Wycheproof, RFC 7520 and go-spiffe.

use super::*;
use crate::identity::jwt::check_signature;
use crate::identity::presented::CompactJws;
use serde_json::json;

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).expect(&path)).unwrap()
}

/// The verifier as it runs in production, less the claims, with whatever algorithms we know allowed.
fn accepts(set: &Value, jws: &str) -> bool {
    let parse = || {
        let keys = KeySet::parse(&serde_json::to_vec(set).unwrap(), Algorithm::ALL, KeyUse::Signature).ok()?;
        let jws = CompactJws::parse(jws).ok()?;
        check_signature(&jws, Algorithm::from_alg(&jws.unverified_alg)?, &keys).ok()
    };
    parse().is_some()
}

#[test]
fn of_wycheproofs_401_signatures_exactly_the_32_right_asymmetric_ones_are_accepted() {
    let file = vectors("wycheproof-jose/json_web_signature_test.json");
    let deviations = vectors("wycheproof-jose/deviations.json");
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect::<HashSet<_>>();
    let symmetric = ids(&deviations["asymmetric_only_profile"]["hs256_valid_tcIds"]);
    let mislabelled: HashMap<u64, &str> = deviations["json_web_signature_test.json"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| (case["tcId"].as_u64().unwrap(), case["expect"].as_str().unwrap()))
        .collect();
    let (mut seen, mut accepted) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or(&group["private"]);
        for case in group["tests"].as_array().unwrap() {
            let id = case["tcId"].as_u64().unwrap();
            let label = mislabelled.get(&id).copied().unwrap_or_else(|| case["result"].as_str().unwrap());
            let hmac = symmetric.contains(&id) || key["kty"] == "oct";
            // A case in JSON serialisation is an object; we take the compact form only.
            let answer = case["jws"].as_str().is_some_and(|jws| accepts(&json!({ "keys": [key] }), jws));
            assert_eq!(answer, label == "valid" && !hmac, "tcId {id}: {}", case["comment"]);
            seen += 1;
            accepted += u32::from(answer);
        }
    }
    assert_eq!((seen, accepted), (401, 32));
}

#[test]
fn wycheproofs_bad_keys_and_key_sets_verify_nothing() {
    let file = vectors("wycheproof-jose/json_web_key_test.json");
    let mut seen = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let set = group.get("public").unwrap_or(&group["private"]);
        let secret = set["keys"].as_array().unwrap().iter().any(|key| key["kty"] == "oct");
        for case in group["tests"].as_array().unwrap() {
            let expected = case["result"] == "valid" && !secret;
            assert_eq!(accepts(set, case["jws"].as_str().unwrap()), expected, "{case}");
            seen += 1;
        }
    }
    assert_eq!(seen, 26);
}

#[test]
fn rfc_7520s_signatures_verify_where_we_take_the_algorithm() {
    for (file, expected) in
        [("4_1.rsa_v15_signature", true), ("4_2.rsa-pss_signature", true), ("4_3.ecdsa_signature", false)]
    {
        let case = vectors(&format!("rfc7520-cookbook/jws/{file}.json"));
        let mut key = case["input"]["key"].clone();
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            key.as_object_mut().unwrap().remove(private);
        }
        let jws = case["output"]["compact"].as_str().unwrap();
        // The third is ES512 on P-521, which we do not take.
        assert_eq!(accepts(&json!({ "keys": [key] }), jws), expected, "{file}");
        let cut: String = jws.chars().take(jws.len() - 4).collect();
        assert!(!accepts(&json!({ "keys": [key] }), &cut), "{file}, signature cut");
    }
}

fn error(set: &Value, key_use: KeyUse) -> Option<KeySetError> {
    KeySet::parse(&serde_json::to_vec(set).unwrap(), Algorithm::ALL, key_use).err()
}

#[test]
fn go_spiffes_bundles_are_read_as_go_spiffe_reads_them() {
    let bundle = |name: &str| {
        KeySet::parse(
            &serde_json::to_vec(&vectors(&format!("spiffe/{name}.json"))).unwrap(),
            Algorithm::ALL,
            KeyUse::JwtSvid,
        )
    };
    let counts = [
        ("spiffebundle_valid_1", 1),
        ("spiffebundle_valid_2", 6),
        ("spiffebundle_valid_with_wit", 2),
        ("spiffebundle_multiple_x509", 1),
        ("jwtbundle_jwks_valid_1", 1),
        ("jwtbundle_jwks_valid_2", 2),
    ];
    for (name, count) in counts {
        assert_eq!(bundle(name).map(|set| set.len()).map_err(|error| error.to_string()), Ok(count), "{name}");
    }
    assert_eq!(bundle("spiffebundle_missing_kid").err(), Some(KeySetError::KidMissing));
    assert_eq!(bundle("jwtbundle_jwks_missing_kid").err(), Some(KeySetError::KidMissing));
    assert_eq!(bundle("spiffebundle_no_keys").err(), Some(KeySetError::Malformed));
}

#[test]
fn a_set_with_a_secret_or_two_keys_of_one_name_or_too_many_is_refused_whole() {
    let good = vectors("spiffe/jwtbundle_jwks_valid_1.json")["keys"][0].clone();
    assert_eq!(error(&json!({ "keys": [good] }), KeyUse::Signature), None);
    assert_eq!(error(&json!({ "keys": [good, good] }), KeyUse::Signature), Some(KeySetError::DuplicateKid));
    assert_eq!(
        error(&json!({ "keys": [good, { "kty": "oct", "k": "AA" }] }), KeyUse::Signature),
        Some(KeySetError::Secret)
    );
    let many: Vec<_> = (0..101).map(|n| json!({ "kty": "EC", "kid": n.to_string() })).collect();
    assert_eq!(error(&json!({ "keys": many }), KeyUse::Signature), Some(KeySetError::TooMany));
    assert_eq!(error(&json!({}), KeyUse::Signature), Some(KeySetError::Malformed));
    assert_eq!(error(&json!({ "keys": [1] }), KeyUse::Signature), Some(KeySetError::Malformed));
}

#[test]
fn a_key_that_is_of_no_use_is_left_out_and_the_others_stay() {
    let good = vectors("spiffe/jwtbundle_jwks_valid_1.json")["keys"][0].clone();
    let with = |changes: &[(&str, Value)]| {
        let mut key = good.clone();
        for (name, value) in changes {
            key[*name] = value.clone();
        }
        key["kid"] = json!("other");
        let set = json!({ "keys": [good, key] });
        KeySet::parse(&serde_json::to_vec(&set).unwrap(), Algorithm::ALL, KeyUse::Signature).unwrap().len()
    };
    assert_eq!(with(&[]), 2);
    assert_eq!(with(&[("alg", json!("ES256")), ("use", json!("sig")), ("key_ops", json!(["verify"]))]), 2);
    for change in [
        ("alg", json!("ES384")),
        ("alg", json!(7)),
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!("verify")),
        ("crv", json!("P-521")),
        ("crv", json!("P-384")),
        ("kty", json!("RSA")),
        ("kty", json!("AKP")),
        ("d", json!("AA")),
        ("x", json!("AA")),
        ("y", good["x"].clone()),
    ] {
        assert_eq!(with(std::slice::from_ref(&change)), 1, "{change:?}");
    }
}

#[test]
fn a_token_without_a_key_name_finds_its_key_only_where_there_is_one_choice() {
    let two = vectors("spiffe/jwtbundle_jwks_valid_2.json");
    let set =
        |keys: &Value| KeySet::parse(&serde_json::to_vec(keys).unwrap(), Algorithm::ALL, KeyUse::Signature).unwrap();
    assert!(matches!(set(&two).find(None, Algorithm::Es256), Found::Unknown));
    let one = set(&json!({ "keys": [two["keys"][0]] }));
    assert!(matches!(one.find(None, Algorithm::Es256), Found::Key(_)));
    assert!(matches!(one.find(None, Algorithm::Es384), Found::Unknown));
    assert!(matches!(one.find(Some("C6vs25welZOx6WksNYfbMfiw9l96pMnD"), Algorithm::Rs256), Found::Unfit));
    assert!(matches!(one.find(Some(""), Algorithm::Es256), Found::Unknown));
}

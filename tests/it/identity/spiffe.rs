//! JWT-SVIDs: the subject's trust domain decides whose keys count.

use hallpass::identity::{IssuerSettings, Verifiers};
use serde_json::{Value, json};

use crate::support::idp::{AUDIENCE, NOW_SECS, TestKey, at, present, settings, verdict, verifiers};

/// Two trust domains whose keys have one name.
struct Domains {
    a: TestKey,
    b: TestKey,
    desk: Verifiers,
    _folder: tempfile::TempDir,
}

fn domains() -> Domains {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (TestKey::es256("k"), TestKey::es256("k"));
    let bundle = |domain: &str, key: &TestKey| -> IssuerSettings {
        let file = folder.path().join(domain);
        let mut public = key.public.clone();
        public["use"] = json!("jwt-svid");
        let bundle = json!({ "spiffe_sequence": 1, "keys": [{ "kty": "EC", "use": "x509-svid" }, public] });
        std::fs::write(&file, bundle.to_string()).unwrap();
        settings(&format!(
            "name = \"{domain}\"\npreset = \"spiffe\"\nissuer = \"spiffe://{domain}\"\njwks_file = \"{}\"",
            file.display()
        ))
    };
    let desk = verifiers(&[bundle("td-a", &a), bundle("td-b", &b)]);
    Domains { a, b, desk, _folder: folder }
}

fn svid(subject: &str) -> Value {
    json!({ "sub": subject, "aud": [AUDIENCE], "exp": NOW_SECS + 300 })
}

#[tokio::test]
async fn a_jwt_svid_needs_no_issuer() {
    let Domains { a, b, desk, _folder } = domains();
    let identity = present(&desk, &a.sign(&svid("spiffe://td-a/ns/prod/sa/bot")), at(0)).await.unwrap();
    assert_eq!((identity.issuer(), identity.subject()), ("spiffe://td-a", "spiffe://td-a/ns/prod/sa/bot"));
    // What `iss` says does not matter, as long as we know nobody of that name.
    let mut claims = svid("spiffe://td-b/bot");
    claims["iss"] = json!("https://spire.example");
    assert_eq!(verdict(&desk, &b.sign(&claims), at(0)).await, Ok("spiffe://td-b/bot".to_owned()));
    for typ in ["JWT", "JOSE"] {
        let header = json!({ "alg": "ES256", "kid": "k", "typ": typ });
        assert!(verdict(&desk, &b.sign_with(&header, &svid("spiffe://td-b/bot")), at(0)).await.is_ok());
    }
}

#[tokio::test]
async fn tok_36_one_trust_domain_cannot_sign_for_another() {
    let Domains { a, b, desk, _folder } = domains();
    assert_eq!(verdict(&desk, &b.sign(&svid("spiffe://td-a/bot")), at(0)).await, Err("bad_signature"));
    let mut claims = svid("spiffe://td-a/bot");
    claims["iss"] = json!("spiffe://td-b");
    assert_eq!(verdict(&desk, &b.sign(&claims), at(0)).await, Err("svid_invalid"));
    assert_eq!(verdict(&desk, &a.sign(&claims), at(0)).await, Err("bad_signature"));
    assert_eq!(verdict(&desk, &a.sign(&svid("spiffe://td-c/bot")), at(0)).await, Err("unknown_issuer"));
}

#[tokio::test]
async fn tok_36_a_jwt_svid_without_exp_or_aud_is_refused() {
    let Domains { a, desk, _folder, .. } = domains();
    let without = |name: &str| {
        let mut claims = svid("spiffe://td-a/bot");
        claims.as_object_mut().unwrap().remove(name);
        a.sign(&claims)
    };
    assert_eq!(verdict(&desk, &without("exp"), at(0)).await, Err("exp_missing"));
    assert_eq!(verdict(&desk, &without("aud"), at(0)).await, Err("aud_missing"));
    let mut claims = svid("spiffe://td-a/bot");
    claims["exp"] = json!(NOW_SECS + 86_401);
    assert_eq!(verdict(&desk, &a.sign(&claims), at(0)).await, Err("lifetime_too_long"));
}

#[tokio::test]
async fn a_jwt_svid_names_its_key_and_a_workload() {
    let Domains { a, desk, _folder, .. } = domains();
    let header = json!({ "alg": "ES256" });
    assert_eq!(verdict(&desk, &a.sign_with(&header, &svid("spiffe://td-a/bot")), at(0)).await, Err("key_unknown"));
    let mut claims = svid("spiffe://td-a");
    claims["iss"] = json!("spiffe://td-a");
    assert_eq!(verdict(&desk, &a.sign(&claims), at(0)).await, Err("svid_invalid"));
    for subject in ["spiffe://TD-A/x", "spiffe://td-a/%2e%2e", "spiffe://td-a/x?q", "spiffe://td-a:443/x", "td-a/x"] {
        claims["sub"] = json!(subject);
        assert_eq!(verdict(&desk, &a.sign(&claims), at(0)).await, Err("svid_invalid"), "{subject}");
    }
    let eddsa = TestKey::eddsa("k");
    assert_eq!(verdict(&desk, &eddsa.sign(&svid("spiffe://td-a/bot")), at(0)).await, Err("alg_not_allowed"));
}
